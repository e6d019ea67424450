//! Makes a backup appear whole or not at all.
//!
//! The order of steps, each a line of the crash case analysis in `docs/format.md`:
//!
//! 1. create `MANIFEST.json.tmp`, which must not exist: it claims the place; then look that nothing
//!    else is there;
//! 2. write every shard and delta, sync each;
//! 3. sync the names;
//! 4. write the manifest under its temporary name, sync it;
//! 5. rename it to `MANIFEST.json`: from here on there is a backup;
//! 6. sync the names: from here on a crash cannot take it back, and only now success is reported.
//!
//! In an object store names are durable when they are there; the claim is a conditional put, and so is the
//! renaming: see [`Storage::rename`].

use std::io;
use std::sync::Mutex;

use crate::Error;
use crate::block::BlockOptions;
use crate::delta::{self, DeltaWriter};
use crate::file::BackupId;
use crate::gc_delta::{self, GcDeltaWriter};
use crate::manifest::{FileRecord, MANIFEST, MANIFEST_TMP, Manifest};
use crate::shard::{self, ShardWriter};
use crate::storage::{Storage, StorageFile};
use crate::writer::FileSummary;

/// Failed removals after which cleaning up is given up.
const REMOVE_FAILURES_MAX: u32 = 3;

/// What files of a backup are written to.
pub type Sink = Box<dyn StorageFile>;

/// A backup being written. Dropped without [`publish`](Self::publish) it removes what it made.
///
/// Shards and deltas may be written from several threads at once. [`export`](crate::export()) is the
/// usual way to a backup; this is for what it does not cover, such as deltas.
///
/// # Examples
/// ```
/// use whimbrel_backup::block::BlockOptions;
/// use whimbrel_backup::manifest::{FileRecord, Manifest, StoreRecord};
/// use whimbrel_backup::publish::BackupWriter;
/// use whimbrel_backup::shard::BackupId;
/// use whimbrel_backup::storage::Directory;
///
/// let dir = tempfile::tempdir()?;
/// let storage = Directory::create(&dir.path().join("backup"))?;
/// let backup = BackupWriter::begin(&storage, BackupId::generate())?;
/// let mut shard = backup.shard(0, 0, BlockOptions::default())?;
/// shard.push(b"key", b"value")?;
/// let record: FileRecord = backup.finish_shard(shard)?;
///
/// let mut manifest = Manifest::new(backup.id(), 0, 1);
/// let (entries, digest) = (record.entries, record.digest);
/// manifest.stores = vec![StoreRecord {
///     name: "birds".into(),
///     entries,
///     digest,
///     shards: vec![record],
///     gc_deltas: vec![],
///     deltas: vec![],
/// }];
/// backup.publish(&manifest)?;
/// assert_eq!(whimbrel_backup::verify(&dir.path().join("backup"))?.entries, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BackupWriter<'s> {
    storage: &'s dyn Storage,
    id: BackupId,
    claim: Option<Sink>,
    created: Mutex<Vec<String>>,
}

/// A file of a backup that is finished and not synced yet.
#[must_use = "it is not durable before it is synced"]
pub(crate) struct Unsynced {
    sink: Sink,
    record: FileRecord,
}

impl Unsynced {
    /// What goes into the manifest when it is synced.
    pub(crate) fn record(&self) -> &FileRecord {
        &self.record
    }
}

impl std::fmt::Debug for BackupWriter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupWriter")
            .field("place", &self.storage.path(""))
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl<'s> BackupWriter<'s> {
    /// Claims an empty place for a backup. Of several that try at once, one succeeds at most.
    ///
    /// # Errors
    /// [`Error::AlreadyABackup`], [`Error::Unfinished`], [`Error::ForeignFile`] when the place is not
    /// empty, [`Error::Io`].
    pub fn begin(storage: &'s dyn Storage, id: BackupId) -> Result<Self, Error> {
        let io = |action, source| Error::Io { action, path: storage.path(""), source };
        let names = || -> Result<Vec<String>, Error> {
            let files = storage.list().map_err(|source| io("list", source))?;
            Ok(files.into_iter().map(|file| file.name).collect())
        };
        refuse_content(storage, &names()?)?;
        let claim = storage.create_new(MANIFEST_TMP).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Unfinished { dir: storage.path("") },
            _ => Error::Io { action: "create", path: storage.path(MANIFEST_TMP), source },
        })?;
        let writer = Self { storage, id, claim: Some(claim), created: Mutex::new(Vec::new()) };
        // Again, now that nobody else can begin: another backup may have been published meanwhile.
        let mut found = names()?;
        found.retain(|name| name != MANIFEST_TMP);
        refuse_content(storage, &found)?;
        Ok(writer)
    }

    /// The identity of the backup.
    #[must_use]
    pub fn id(&self) -> BackupId {
        self.id
    }

    /// Begins shard `number` of the manifest's store `store`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn shard(
        &self,
        store: u32,
        number: u32,
        options: BlockOptions,
    ) -> Result<ShardWriter<Sink>, Error> {
        let identity = shard::identity(self.id, store, number);
        let name = identity.file_name();
        ShardWriter::new(self.create(&name)?, &self.storage.path(&name), identity, options)
    }

    /// Begins change delta `number` of the manifest's store `store`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn delta(
        &self,
        store: u32,
        number: u32,
        options: BlockOptions,
    ) -> Result<DeltaWriter<Sink>, Error> {
        let identity = delta::identity(self.id, store, number);
        let name = identity.file_name();
        DeltaWriter::new(self.create(&name)?, &self.storage.path(&name), identity, options)
    }

    /// Begins GC delta `number` of the manifest's store `store`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn gc_delta(
        &self,
        store: u32,
        number: u32,
        options: BlockOptions,
    ) -> Result<GcDeltaWriter<Sink>, Error> {
        let identity = gc_delta::identity(self.id, store, number);
        let name = identity.file_name();
        GcDeltaWriter::new(self.create(&name)?, &self.storage.path(&name), identity, options)
    }

    /// Finishes and syncs a shard. The record goes into the manifest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish_shard(&self, writer: ShardWriter<Sink>) -> Result<FileRecord, Error> {
        self.sync(Self::close_shard(writer)?)
    }

    /// Finishes a shard, which is to be synced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn close_shard(writer: ShardWriter<Sink>) -> Result<Unsynced, Error> {
        Ok(Self::unsynced(writer.finish()?))
    }

    /// Finishes and syncs a change delta. The record goes into the manifest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish_delta(&self, writer: DeltaWriter<Sink>) -> Result<FileRecord, Error> {
        self.sync(Self::unsynced(writer.finish()?))
    }

    /// Finishes and syncs a GC delta. The record goes into the manifest.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish_gc_delta(&self, writer: GcDeltaWriter<Sink>) -> Result<FileRecord, Error> {
        self.sync(Self::unsynced(writer.finish()?))
    }

    fn unsynced((sink, summary): (Sink, FileSummary)) -> Unsynced {
        Unsynced { sink, record: FileRecord::of(&summary) }
    }

    /// Syncs a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(crate) fn sync(
        &self,
        Unsynced { mut sink, record }: Unsynced,
    ) -> Result<FileRecord, Error> {
        sink.sync().map_err(|source| self.io("sync", &record.file, source))?;
        Ok(record)
    }

    /// Removes a file that was begun, if it was, so that it can be begun again.
    pub(crate) fn discard(&self, name: &str) -> Result<(), Error> {
        let mut created = self.created.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(at) = created.iter().position(|begun| begun == name) else { return Ok(()) };
        match self.storage.remove(name) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(self.io("remove", name, source));
            }
            _ => {}
        }
        created.swap_remove(at);
        Ok(())
    }

    fn create(&self, name: &str) -> Result<Sink, Error> {
        let sink = self.storage.create_new(name);
        let sink = sink.map_err(|source| self.io("create", name, source))?;
        let mut created = self.created.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        created.push(name.to_owned());
        Ok(sink)
    }

    /// Writes the manifest and gives it its name. When this returns, the backup is durable; when it
    /// fails, there is no backup, but for one case: an object store that falls silent in the very step may
    /// carry it out later. Everything is left in place then, so what appears is whole.
    ///
    /// # Errors
    /// [`Error::Io`], and whatever [`Manifest::encode`] refuses; [`Error::AlreadyABackup`] when somebody
    /// ignored the claim and published here meanwhile.
    pub fn publish(mut self, manifest: &Manifest) -> Result<(), Error> {
        if manifest.id != self.id {
            return Err(Error::Mismatch {
                place: crate::Place::new(MANIFEST, crate::Part::Whole),
                what: "the backup's identity",
                expected: self.id.to_string(),
                got: manifest.id.to_string(),
            });
        }
        let bytes = manifest.encode()?;
        let storage = self.storage;
        storage.sync_names().map_err(|source| self.io("sync", "", source))?;
        if let Some(claim) = &mut self.claim {
            let written = claim.write_all(&bytes).and_then(|()| claim.flush());
            let written = written.and_then(|()| claim.sync());
            written.map_err(|source| self.io("write", MANIFEST_TMP, source))?;
        }
        match storage.rename(MANIFEST_TMP, MANIFEST) {
            Ok(()) => self.claim = None,
            Err(source) => {
                match source.kind() {
                    // Somebody took the claim away, and may have begun anew under the same names: nothing
                    // here is surely ours any more. Or nobody knows whether it happened.
                    io::ErrorKind::AlreadyExists
                    | io::ErrorKind::NotFound
                    | io::ErrorKind::TimedOut => self.leave_all(),
                    _ => self.withdraw(&bytes),
                }
                return Err(match source.kind() {
                    io::ErrorKind::AlreadyExists => Error::AlreadyABackup { dir: storage.path("") },
                    _ => self.io("publish", MANIFEST, source),
                });
            }
        }
        if let Err(source) = storage.sync_names() {
            self.withdraw(&bytes);
            return Err(self.io("sync", "", source));
        }
        self.leave_all();
        Ok(())
    }

    /// The manifest has its name, or may have it, and may not keep it: takes it away first, if it is ours.
    /// The files may go only when its removal is durable; otherwise they stay, so that no manifest can
    /// outlive them.
    fn withdraw(&mut self, manifest: &[u8]) {
        let removed = match self.holds(MANIFEST, manifest) {
            Ok(true) => self.storage.remove(MANIFEST),
            Ok(false) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        if removed.and_then(|()| self.storage.sync_names()).is_err() {
            self.leave_all();
        }
    }

    /// Whether a file consists of these bytes.
    fn holds(&self, name: &str, bytes: &[u8]) -> io::Result<bool> {
        let source = self.storage.open(name)?;
        let mut scratch = Vec::new();
        Ok(source.len() == bytes.len() as u64
            && source.bytes(0, bytes.len(), &mut scratch)? == bytes)
    }

    /// Dropping the writer removes nothing from now on.
    fn leave_all(&mut self) {
        self.claim = None;
        self.created.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    }

    fn io(&self, action: &'static str, name: &str, source: io::Error) -> Error {
        Error::Io { action, path: self.storage.path(name), source }
    }
}

impl Drop for BackupWriter<'_> {
    fn drop(&mut self) {
        let created = self.created.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        // A manifest here is not ours: somebody cleared the place and began anew, under the same names.
        if !created.is_empty() && self.storage.open(MANIFEST).is_ok() {
            return;
        }
        let mut failures = 0;
        for name in created.drain(..) {
            // Best effort: what stays is refused as foreign by the next export, and is no backup. A
            // store that cannot be reached is not asked for every file.
            failures += u32::from(self.storage.remove(&name).is_err());
            if failures == REMOVE_FAILURES_MAX {
                break;
            }
        }
        if self.claim.take().is_some() {
            let _ = self.storage.remove(MANIFEST_TMP);
        }
    }
}

fn refuse_content(storage: &dyn Storage, names: &[String]) -> Result<(), Error> {
    if names.iter().any(|name| name == MANIFEST) {
        return Err(Error::AlreadyABackup { dir: storage.path("") });
    }
    if names.iter().any(|name| name == MANIFEST_TMP) {
        return Err(Error::Unfinished { dir: storage.path("") });
    }
    match names.first() {
        None => Ok(()),
        Some(name) => Err(Error::ForeignFile { dir: storage.path(""), file: name.clone() }),
    }
}
