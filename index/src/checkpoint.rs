//! Checkpoints: numbered backups in one directory, of which the newest complete one counts.
//!
//! Under the directory's lock: write `checkpoint-N+1` (complete once its manifest is there and
//! synced), sync the directory, then remove the others. A crash at any point leaves the last
//! complete checkpoint: before the manifest it is the old one, after it the new one; what else
//! lies there is removed by the next checkpoint that completes.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::{ExportOptions, ExportReport};
use whimbrel_recovery::RestoreOptions;

use crate::backup::Restored;
use crate::engine::Engine;
use crate::error::Error;

/// Longest resume token, in bytes.
pub const MAX_RESUME_TOKEN_BYTES: usize = 65_536;

const LOCK: &str = "LOCK";
const NAME: &str = "checkpoint-";

/// What a checkpoint did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CheckpointReport {
    /// Its number in the directory.
    pub number: u64,
    /// Where it is.
    pub path: PathBuf,
    /// What was written, and how fast.
    pub export: ExportReport,
    /// Earlier checkpoints, complete or not, that were removed after it.
    pub removed: Vec<PathBuf>,
}

impl Engine {
    /// Writes a checkpoint of everything into `dir`, beside writers, and keeps `resume_token` with
    /// it: the position in the upstream log up to which updates *had returned before this call*.
    /// [`open`](Self::open) gives it back, and the log is replayed from there. What was updated
    /// later may be in the checkpoint too; replaying it is harmless, because an update replaces
    /// the whole document.
    ///
    /// The checkpoint before is removed only when this one is complete and durable.
    ///
    /// # Complexity
    /// O(n), parallel over key ranges.
    ///
    /// # Errors
    /// The checkpoint before is still there on any: [`Error::ResumeTokenTooLong`],
    /// [`Error::CheckpointBusy`], [`Error::Backup`] (a full disk, say), [`Error::Io`].
    ///
    /// # Examples
    /// ```
    /// use whimbrel::{CollectionDef, Document, Engine, IndexDef};
    /// let engine = Engine::new();
    /// let def = CollectionDef::new("users").index(IndexDef::new("by_age").asc("age"));
    /// engine.create_collection(def)?.update("ann", &Document::new().set("age", 41))?;
    /// let dir = tempfile::tempdir().expect("a temporary directory");
    /// engine.checkpoint(dir.path(), b"offset 17")?;
    ///
    /// let restored = Engine::open(dir.path())?;
    /// assert_eq!(restored.resume_token, b"offset 17");
    /// assert_eq!(restored.engine.collection("users")?.query("by_age")?.eq([41]).count()?, 1);
    /// # Ok::<(), whimbrel::Error>(())
    /// ```
    pub fn checkpoint(
        &self,
        dir: impl AsRef<Path>,
        resume_token: &[u8],
    ) -> Result<CheckpointReport, Error> {
        self.checkpoint_with(dir, resume_token, &ExportOptions::default())
    }

    /// [`checkpoint`](Self::checkpoint) with options: threads, progress, cancellation.
    ///
    /// # Errors
    /// As there.
    pub fn checkpoint_with(
        &self,
        dir: impl AsRef<Path>,
        resume_token: &[u8],
        options: &ExportOptions,
    ) -> Result<CheckpointReport, Error> {
        let dir = dir.as_ref();
        if resume_token.len() > MAX_RESUME_TOKEN_BYTES {
            let (got, limit) = (resume_token.len(), MAX_RESUME_TOKEN_BYTES);
            return Err(Error::ResumeTokenTooLong { got, limit });
        }
        fs::create_dir_all(dir).map_err(|e| io_error(dir, "creating the directory", e))?;
        let _lock = lock(dir)?;
        let earlier = list(dir)?;
        let number = earlier.iter().map(|(n, _)| n + 1).max().unwrap_or(1);
        let path = dir.join(format!("{NAME}{number:08}"));
        let snapshot = self.snapshot_named("checkpoint");
        let export = snapshot.export(&path, options, Some(resume_token)).inspect_err(|_| {
            // What it made of files is removed already; the directory is only untidy.
            let _ = fs::remove_dir(&path);
        })?;
        sync_dir(dir)?;
        let mut removed = Vec::new();
        for (_, old) in earlier {
            match fs::remove_dir_all(&old) {
                Ok(()) => removed.push(old),
                // The new one is complete: this is disk space, and the next checkpoint tries again.
                Err(e) => tracing::warn!(path = %old.display(), %e, "cannot remove a checkpoint"),
            }
        }
        Ok(CheckpointReport { number, path, export, removed })
    }

    /// Makes an engine from the newest complete checkpoint in `dir`, and hands back the resume
    /// token that was kept with it. Everything is verified first; a damaged checkpoint is an
    /// error, never passed over in silence.
    ///
    /// # Complexity
    /// O(bytes of the checkpoint), parallel.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`]; [`Error::CheckpointBusy`] while one is being written;
    /// [`Error::Restore`] naming file, block and cause when it is damaged; [`Error::Io`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Restored, Error> {
        Self::open_with(dir, &RestoreOptions::default())
    }

    /// [`open`](Self::open) with options: threads, progress, cancellation, a limit of memory.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(dir: impl AsRef<Path>, options: &RestoreOptions) -> Result<Restored, Error> {
        let dir = dir.as_ref();
        let none = || Error::NoCheckpoint { dir: dir.to_owned() };
        let _lock = lock_shared(dir)?.ok_or_else(none)?;
        let complete = list(dir)?.into_iter().filter(|(_, path)| path.join(MANIFEST).exists());
        let (_, newest) = complete.max_by_key(|(number, _)| *number).ok_or_else(none)?;
        Self::restore(newest, options)
    }
}

/// The checkpoints in the directory, complete or not.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let failed = |e| io_error(dir, "listing the directory", e);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix(NAME)).map(str::parse);
        if let Some(Ok(number)) = number
            && number < u64::MAX
        {
            found.push((number, entry.path()));
        }
    }
    Ok(found)
}

/// One checkpoint at a time, also of several processes; the system gives the lock back when its
/// holder ends, however it ends.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|e| io_error(&path, "opening the lock file", e))?;
    taken(file.try_lock(), dir, &path)?;
    Ok(file)
}

/// Keeps checkpoints away while one is read; `None` where there has never been one.
fn lock_shared(dir: &Path) -> Result<Option<File>, Error> {
    let path = dir.join(LOCK);
    match File::open(&path) {
        Ok(file) => {
            taken(file.try_lock_shared(), dir, &path)?;
            Ok(Some(file))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io_error(&path, "opening the lock file", e)),
    }
}

fn taken(locked: Result<(), TryLockError>, dir: &Path, path: &Path) -> Result<(), Error> {
    match locked {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::CheckpointBusy { dir: dir.to_owned() }),
        Err(TryLockError::Error(e)) => Err(io_error(path, "locking", e)),
    }
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    let synced = File::open(dir).and_then(|d| d.sync_all());
    synced.map_err(|e| io_error(dir, "syncing the directory", e))
}

fn io_error(path: &Path, action: &'static str, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), action, source }
}
