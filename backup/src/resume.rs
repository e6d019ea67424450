//! An export that may be stopped and taken up again.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use whimbrel_mvcc::Snapshot;

use crate::Error;
use crate::export::{ExportOptions, ExportReport, Listing, Task, check_stores, plan, write_shard};
use crate::file::{BackupId, FileKind};
use crate::manifest::FileRecord;
use crate::progress::Work;
use crate::publish::BackupWriter;
use crate::reader::FileReader;
use crate::shard;
use crate::storage::{Directory, Storage};

/// An export into a directory that keeps the shards that are complete when it is stopped, by a cancel or by an
/// error such as a full disk, and goes on from there.
///
/// What is resumed must show the same moment, so this holds the snapshots: an export that was interrupted
/// by the end of its process begins anew. Before it goes on, the header, index and footer of every
/// complete shard are read and compared with what was written; one that is not the same is written again.
///
/// As long as the value lives, its directory stays claimed and keeps what is there. Dropping it without
/// [`publish`](Self::publish) removes everything.
///
/// # Examples
/// ```
/// use whimbrel_backup::storage::Directory;
/// use whimbrel_backup::{Cancel, Error, ExportOptions, PausableExport, Work, verify};
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"whimbrel", b"1")?;
/// let dir = tempfile::tempdir()?;
/// let target = dir.path().join("monday");
/// let storage = Directory::create(&target)?;
/// let snapshots = [("birds".to_string(), store.snapshot())];
/// let mut export = PausableExport::begin(&snapshots, &storage, &ExportOptions::default())?;
///
/// let cancel = Cancel::new();
/// cancel.cancel();
/// let stopped = export.run(&Work::default().with_cancel(cancel));
/// assert!(matches!(stopped, Err(Error::Cancelled)));
///
/// export.run(&Work::default())?;
/// assert_eq!(export.publish()?.entries, 1);
/// assert_eq!(verify(&target)?.entries, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PausableExport<'s> {
    stores: &'s [(String, Snapshot)],
    storage: &'s Directory,
    options: ExportOptions,
    backup: BackupWriter<'s>,
    snapshot: u64,
    tasks: Vec<Task<'s>>,
    /// For each task that is done, what came of it.
    done: Mutex<Vec<Option<Done>>>,
    started: Instant,
}

#[derive(Debug, Clone)]
struct Done {
    /// None where the snapshot sees nothing.
    record: Option<FileRecord>,
    seconds: f64,
}

impl<'s> PausableExport<'s> {
    /// Claims the directory, which must be empty, and plans the shards.
    ///
    /// # Errors
    /// As [`export`](crate::export()).
    pub fn begin(
        stores: &'s [(String, Snapshot)],
        storage: &'s Directory,
        options: &ExportOptions,
    ) -> Result<Self, Error> {
        let snapshot = check_stores(stores)?;
        let backup = BackupWriter::begin(storage, BackupId::generate())?;
        let tasks = plan(stores, options);
        let done = Mutex::new(vec![None; tasks.len()]);
        let (options, started) = (options.clone(), Instant::now());
        Ok(Self { stores, storage, options, backup, snapshot, tasks, done, started })
    }

    /// Shards there are to write, about.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.tasks.len()
    }

    /// Shards that are complete.
    #[must_use]
    pub fn complete(&self) -> usize {
        self.lock().iter().flatten().count()
    }

    /// Writes the shards that are not complete, and returns when all are. After an error those that are
    /// complete are kept, and it may be called again.
    ///
    /// # Errors
    /// [`Error::Cancelled`], [`Error::Io`].
    pub fn run(&mut self, work: &Work) -> Result<(), Error> {
        self.check_complete();
        let done = self.lock();
        let left: Vec<usize> = (0..self.tasks.len()).filter(|at| done[*at].is_none()).collect();
        drop(done);
        for &at in &left {
            // What a stopped run has written of it.
            let task = &self.tasks[at];
            let identity = shard::identity(self.backup.id(), task.store, task.number);
            self.backup.discard(&identity.file_name())?;
        }
        let entries: usize = self.stores.iter().map(|(_, it)| it.store().len_estimate()).sum();
        work.begin((entries * left.len() / self.tasks.len().max(1)) as u64);
        work.for_each(&left, |work, &at| {
            let begun = Instant::now();
            let shard = write_shard(&self.backup, &self.tasks[at], self.options.blocks, work)?;
            // Complete is what is durable, so it is synced here.
            let record = shard.map(|shard| self.backup.sync(shard)).transpose()?;
            let seconds = begun.elapsed().as_secs_f64();
            self.lock()[at] = Some(Done { record, seconds });
            Ok::<(), Error>(())
        })?;
        Ok(())
    }

    /// Writes what is left, with the work of the options, and makes it a backup.
    ///
    /// # Errors
    /// As [`export`](crate::export()): there is no backup then, and everything is removed.
    pub fn publish(mut self) -> Result<ExportReport, Error> {
        let work = self.options.work.clone();
        self.run(&work)?;
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let written = self.tasks.iter().zip(done).filter_map(|(task, done)| {
            let Done { record, seconds } = done?;
            Some((task.store, record?, seconds))
        });
        let names = self.stores.iter().map(|(name, _)| name);
        let mut listing = Listing::new(self.backup.id(), self.snapshot, names, &self.options);
        for (store, record, seconds) in written {
            listing.add(store, FileKind::Shard, record, seconds);
        }
        listing.publish(self.backup, self.started).map(|(report, _)| report)
    }

    /// Shards that are not on disk as they were written are to be written again.
    fn check_complete(&self) {
        for done in self.lock().iter_mut() {
            let Some(record) = done.as_ref().and_then(|done| done.record.as_ref()) else {
                continue;
            };
            let found = self.storage.open(&record.file).ok();
            let found = found.map(|source| FileReader::open(source, &record.file, FileKind::Shard));
            if found.is_some_and(|file| {
                file.is_ok_and(|file| FileRecord::of(&file.summary()) == *record)
            }) {
                continue;
            }
            tracing::warn!(file = record.file, "a shard is not as it was written; again");
            *done = None;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Done>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
