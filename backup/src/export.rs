//! Writes what snapshots see, in parallel, beside running writers.

use std::collections::HashSet;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use whimbrel_mvcc::{KeyRange, Snapshot};

use crate::Error;
use crate::block::BlockOptions;
use crate::file::{BackupId, FileKind};
use crate::manifest::{FileRecord, Link, Manifest, StoreRecord, check_store_name};
use crate::progress::{Work, rate};
use crate::publish::{BackupWriter, Sink, Unsynced};
use crate::shard::{ShardWriter, Tally};
use crate::storage::{Directory, Storage};
use crate::syncer::Syncer;
use whimbrel_mvcc::Digest;

/// Bytes of entries that a non-intrusive export keeps, unless the caller says how many.
const GC_DELTA_MEMORY: usize = 64 << 20;

/// Entries between two looks at the cancel flag, and between two reports of progress.
pub(crate) const STEP: u64 = 4096;

/// Entries that are worth a shard of their own, unless the caller says how many shards.
const ENTRIES_PER_SHARD: usize = 50_000;

/// How [`export()`] works.
///
/// # Examples
/// ```
/// use whimbrel_backup::{ExportOptions, Work};
/// let options = ExportOptions::default()
///     .with_work(Work::default().with_threads(2))
///     .with_user(serde_json::json!({ "resume": 17 }));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    pub(crate) work: Work,
    pub(crate) blocks: BlockOptions,
    shards_per_store: Option<usize>,
    pub(crate) user: serde_json::Value,
    gc_delta_memory: Option<usize>,
}

impl ExportOptions {
    /// Threads, progress and cancellation; default [`Work::default`].
    #[must_use]
    pub fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// How blocks are made; default [`BlockOptions::default`].
    #[must_use]
    pub fn with_blocks(mut self, blocks: BlockOptions) -> Self {
        self.blocks = blocks;
        self
    }

    /// Most shards of a store, at least 1; default one for every 50,000 entries, at most four a thread.
    /// A restore works on as many shards at once as it has threads; each shard is a file.
    #[must_use]
    pub fn with_shards_per_store(mut self, shards: usize) -> Self {
        self.shards_per_store = Some(shards.max(1));
        self
    }

    /// What is kept in the manifest for the layer above, such as a schema and a resume token; default
    /// null.
    #[must_use]
    pub fn with_user(mut self, user: serde_json::Value) -> Self {
        self.user = user;
        self
    }

    /// Bytes of entries that [`export_non_intrusive`](crate::export_non_intrusive()) keeps in memory until
    /// it comes to their keys, over all stores; default 64 MiB. What is more goes into GC deltas, and
    /// twice as much may be on its way there. Price of a small limit: more of them, which a restore puts in
    /// entry by entry. A store has at least 256 KiB.
    #[must_use]
    pub fn with_gc_delta_memory(mut self, bytes: usize) -> Self {
        self.gc_delta_memory = Some(bytes);
        self
    }

    pub(crate) fn gc_delta_memory(&self) -> usize {
        self.gc_delta_memory.unwrap_or(GC_DELTA_MEMORY)
    }

    /// Ranges that a store is written in.
    pub(crate) fn shards(&self, snapshot: &Snapshot) -> usize {
        self.shards_per_store.unwrap_or_else(|| {
            let wanted = snapshot.store().len_estimate() / ENTRIES_PER_SHARD;
            wanted.clamp(1, 4 * self.work.threads())
        })
    }
}

/// What [`export()`] wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// The snapshot number that the backup shows.
    pub snapshot: u64,
    /// Entries of all stores.
    pub entries: u64,
    /// Bytes of keys and values.
    pub raw_bytes: u64,
    /// Bytes of shards and GC deltas.
    pub stored_bytes: u64,
    /// Wall time from the call to the durable manifest.
    pub seconds: f64,
    /// One for every shard, in the manifest's order.
    pub shards: Vec<ShardReport>,
    /// One for every GC delta; none of snapshots that were held.
    pub gc_deltas: Vec<ShardReport>,
}

impl ExportReport {
    /// Entries written a second.
    #[must_use]
    pub fn entries_per_second(&self) -> f64 {
        rate(self.entries, self.seconds)
    }

    /// Bytes of keys and values written a second.
    #[must_use]
    pub fn raw_bytes_per_second(&self) -> f64 {
        rate(self.raw_bytes, self.seconds)
    }

    /// How many bytes of keys and values a stored byte stands for; 0 when nothing was stored.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    pub fn ratio(&self) -> f64 {
        rate(self.raw_bytes, self.stored_bytes as f64)
    }
}

/// One shard or GC delta of an [`ExportReport`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ShardReport {
    /// Name of the file.
    pub file: String,
    /// Name of the store.
    pub store: String,
    /// Entries in it.
    pub entries: u64,
    /// Bytes of keys and values.
    pub raw_bytes: u64,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// Time that one thread spent on it, without the sync where another one does that.
    pub seconds: f64,
}

/// Writes a backup of everything that the snapshots see into the directory `dir`, which is created where
/// it is missing and must be empty.
///
/// Writers may go on: what they write after the snapshot is not in the backup. The snapshots must have
/// one number (take them with `snapshot_at` under one hold), so that the backup shows one moment.
///
/// # Complexity
/// Linear in the entries, parallel over key ranges; memory for one block and one index a thread.
///
/// # Errors
/// [`Error::AlreadyABackup`], [`Error::Unfinished`], [`Error::ForeignFile`] when the directory is not
/// empty; [`Error::MixedSnapshots`], [`Error::StoreName`]; [`Error::Io`], such as a full disk;
/// [`Error::Cancelled`]. After an error there is no backup, and the files it made are removed.
///
/// # Examples
/// ```
/// use whimbrel_backup::{ExportOptions, export, verify};
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"whimbrel", b"1")?;
/// let dir = tempfile::tempdir()?;
/// let target = dir.path().join("monday");
/// let snapshots = [("birds".to_string(), store.snapshot())];
/// let report = export(&snapshots, &target, &ExportOptions::default())?;
/// assert_eq!(report.entries, 1);
/// assert_eq!(verify(&target)?.entries, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export(
    stores: &[(String, Snapshot)],
    dir: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, Error> {
    check_stores(stores)?;
    export_to(stores, &Directory::create(dir)?, options)
}

/// [`export()`] to anything that takes files.
///
/// # Errors
/// As [`export()`].
pub fn export_to(
    stores: &[(String, Snapshot)],
    storage: &dyn Storage,
    options: &ExportOptions,
) -> Result<ExportReport, Error> {
    export_as(BackupId::generate(), stores, storage, options).map(|(report, _)| report)
}

/// [`export_to`] under an identity. Answers what names the backup for good, too.
pub(crate) fn export_as(
    id: BackupId,
    stores: &[(String, Snapshot)],
    storage: &dyn Storage,
    options: &ExportOptions,
) -> Result<(ExportReport, Link), Error> {
    let started = Instant::now();
    let snapshot = check_stores(stores)?;
    let backup = BackupWriter::begin(storage, id)?;
    let tasks = plan(stores, options);
    let estimate: usize = stores.iter().map(|(_, shown)| shown.store().len_estimate()).sum();
    tracing::debug!(stores = stores.len(), ranges = tasks.len(), snapshot, "export begins");
    options.work.begin(estimate as u64);
    let syncing = options.work.threads().min(tasks.len());
    let written = Syncer::run(&backup, syncing, |syncer| {
        options.work.for_each(&tasks, |work, task| {
            let begun = Instant::now();
            let shard = write_shard(&backup, task, options.blocks, work)?;
            let record = shard.map(|shard| syncer.sync(shard, work)).transpose()?;
            Ok(record.map(|record| (task.store, record, begun.elapsed().as_secs_f64())))
        })
    })?;
    let names = stores.iter().map(|(name, _)| name);
    let mut listing = Listing::new(backup.id(), snapshot, names, options);
    for (store, record, seconds) in written.into_iter().flatten() {
        listing.add(store, FileKind::Shard, record, seconds);
    }
    listing.publish(backup, started)
}

/// Manifest and report while they grow.
pub(crate) struct Listing {
    manifest: Manifest,
    shards: Vec<ShardReport>,
    gc_deltas: Vec<ShardReport>,
}

impl Listing {
    pub(crate) fn new<'n>(
        id: BackupId,
        snapshot: u64,
        names: impl Iterator<Item = &'n String>,
        options: &ExportOptions,
    ) -> Self {
        let mut manifest = Manifest::new(id, now_unix_ms(), snapshot);
        manifest.stores = names.map(|name| empty_store(name)).collect();
        manifest.user = options.user.clone();
        Self { manifest, shards: Vec::new(), gc_deltas: Vec::new() }
    }

    /// Adds a file whose keys no other file of the store has.
    pub(crate) fn add(&mut self, store: u32, kind: FileKind, record: FileRecord, seconds: f64) {
        let store = &mut self.manifest.stores[store as usize];
        let report = ShardReport {
            file: record.file.clone(),
            store: store.name.clone(),
            entries: record.entries,
            raw_bytes: record.raw_bytes,
            stored_bytes: record.bytes,
            seconds,
        };
        let mut digest: Digest = store.digest();
        digest.merge(&record.tally().digest);
        (store.entries, store.digest) = (digest.count, digest.sum);
        let (records, reports) = match kind {
            FileKind::GcDelta => (&mut store.gc_deltas, &mut self.gc_deltas),
            _ => (&mut store.shards, &mut self.shards),
        };
        records.push(record);
        reports.push(report);
    }

    /// Makes it a backup. Answers what names it for good, too.
    pub(crate) fn publish(
        self,
        backup: BackupWriter<'_>,
        started: Instant,
    ) -> Result<(ExportReport, Link), Error> {
        let Self { manifest, shards, gc_deltas } = self;
        let link = manifest.link()?;
        backup.publish(&manifest)?;
        let files = || shards.iter().chain(&gc_deltas);
        let report = ExportReport {
            snapshot: manifest.snapshot,
            entries: manifest.entries(),
            raw_bytes: files().map(|file| file.raw_bytes).sum(),
            stored_bytes: files().map(|file| file.stored_bytes).sum(),
            seconds: started.elapsed().as_secs_f64(),
            shards,
            gc_deltas,
        };
        tracing::debug!(report.entries, report.stored_bytes, report.seconds, "export is durable");
        Ok((report, link))
    }
}

/// One key range of one store.
#[derive(Debug)]
pub(crate) struct Task<'s> {
    pub(crate) store: u32,
    pub(crate) number: u32,
    pub(crate) snapshot: &'s Snapshot,
    pub(crate) range: KeyRange,
}

pub(crate) fn plan<'s>(stores: &'s [(String, Snapshot)], options: &ExportOptions) -> Vec<Task<'s>> {
    let numbered = (0_u32..).zip(stores);
    let ranges = numbered.flat_map(|(store, (_, snapshot))| {
        let ranges = snapshot.split(options.shards(snapshot));
        ranges.into_iter().map(move |range| (store, snapshot, range))
    });
    let numbered = (0_u32..).zip(ranges);
    numbered
        .map(|(number, (store, snapshot, range))| Task { store, number, snapshot, range })
        .collect()
}

/// Writes one range; no file where the snapshot sees nothing in it.
///
/// Entries are encoded where they lie, inside of the snapshot's barrier sessions. What takes long or waits is
/// done between these: a block is compressed and written when it is full.
pub(crate) fn write_shard(
    backup: &BackupWriter<'_>,
    task: &Task<'_>,
    blocks: BlockOptions,
    work: &Work,
) -> Result<Option<Unsynced>, Error> {
    let mut rest = task.range.clone();
    if !has_entries(task.snapshot, &rest) {
        return Ok(None);
    }
    let mut shard = backup.shard(task.store, task.number, blocks)?;
    let (mut told, mut written) = (Tally::default(), 0);
    while fill_block(task.snapshot, &mut rest, &mut shard)? {
        shard.flush_block()?;
        work.wrote(shard.written() - written)?;
        written = shard.written();
        if shard.tally().entries - told.entries >= STEP {
            told = tell(work, told, shard.tally());
        }
    }
    tell(work, told, shard.tally());
    let shard = BackupWriter::close_shard(shard)?;
    work.wrote(shard.record().bytes - written)?;
    Ok(Some(shard))
}

fn has_entries(snapshot: &Snapshot, range: &KeyRange) -> bool {
    let mut any = false;
    snapshot.scan(range.clone(), |_, _| {
        any = true;
        ControlFlow::Break(())
    });
    any
}

/// Encodes what the snapshot sees from the beginning of `rest` on, until the block is full: then it answers true,
/// and what is left is in `rest`.
fn fill_block(
    snapshot: &Snapshot,
    rest: &mut KeyRange,
    shard: &mut ShardWriter<Sink>,
) -> Result<bool, Error> {
    let mut is_full = Ok(false);
    snapshot.scan(rest.clone(), |key, value| match shard.push_within(key, value) {
        Ok(true) => ControlFlow::Continue(()),
        refused => {
            is_full = refused.map(|_| true);
            ControlFlow::Break(())
        }
    });
    rest.lo = Bound::Excluded(shard.last_key().to_vec());
    is_full
}

/// Tells the listener of what was written since `before`.
fn tell(work: &Work, before: Tally, now: Tally) -> Tally {
    work.add(now.entries - before.entries, now.raw_bytes - before.raw_bytes);
    now
}

/// Names must be usable and different, numbers must be the same. Answers the number.
pub(crate) fn check_stores(stores: &[(String, Snapshot)]) -> Result<u64, Error> {
    let mut names = HashSet::new();
    let first = stores.first().map_or(0, |(_, snapshot)| snapshot.number());
    for (name, snapshot) in stores {
        check_store_name(name)?;
        if !names.insert(name) {
            let (name, why) = (name.clone(), "another store has this name");
            return Err(Error::StoreName { name, why });
        }
        if snapshot.number() != first {
            return Err(Error::MixedSnapshots { first, other: snapshot.number() });
        }
    }
    Ok(first)
}

pub(crate) fn empty_store(name: &str) -> StoreRecord {
    let name = name.to_owned();
    let (shards, gc_deltas, deltas) = (Vec::new(), Vec::new(), Vec::new());
    StoreRecord { name, entries: 0, digest: 0, shards, gc_deltas, deltas }
}

pub(crate) fn now_unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
