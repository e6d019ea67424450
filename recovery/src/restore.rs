//! From a backup's directory to stores that may be served.
//!
//! 1. Open: manifest, presence and lengths of all files, memory needed.
//! 2. Rebuild: every shard of every store is one task of a pool; it maps the file, checks it against the
//!    manifest, decodes block after block and builds a segment; then count, last key and digest must be
//!    the footer's.
//! 3. Stitch the segments of each store, in key order.
//! 4. Replay each store's deltas in the manifest's order.
//! 5. Compare each store's count and digest with the manifest. Only now anything is handed out.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::Path;
use std::time::Instant;

use whimbrel_backup::manifest::{FileRecord, MANIFEST, Manifest, StoreRecord};
use whimbrel_backup::shard::{Buffers, FileKind};
use whimbrel_backup::{Backup, Digest, Part, Place, Work};
use whimbrel_mvcc::{Clock, KeyRange, Store, StoreOptions, StoreSegment};

use crate::map::source;
use crate::rebuild::Rebuild;
use crate::replay::replay;
use crate::{Error, Rebuilt};

/// Bytes that a record takes besides key and value, about: cell, lengths, number, its word and its share
/// of the blocks above, and what is lost to size classes (ARCHITECTURE.md has the budget).
const RECORD_OVERHEAD: u64 = 44;

/// How [`restore`] works.
///
/// # Examples
/// ```
/// use whimbrel_backup::Work;
/// use whimbrel_recovery::RestoreOptions;
/// let options = RestoreOptions::default()
///     .with_work(Work::default().with_threads(2))
///     .with_max_memory(8 << 30)
///     .with_key_prefix("birds", b"c/birds/");
/// ```
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    work: Work,
    store: StoreOptions,
    prefixes: HashMap<String, Vec<u8>>,
    max_memory: Option<u64>,
}

impl RestoreOptions {
    /// Threads, progress and cancellation; default [`Work::default`].
    #[must_use]
    pub fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Options of the restored stores; default [`StoreOptions::new`].
    #[must_use]
    pub fn with_store_options(mut self, options: StoreOptions) -> Self {
        self.store = options;
        self
    }

    /// Puts `prefix` before every key of the store `store`; default nothing. Price: a copy of each key
    /// and a second hash of each entry.
    #[must_use]
    pub fn with_key_prefix(mut self, store: &str, prefix: &[u8]) -> Self {
        self.prefixes.insert(store.to_owned(), prefix.to_vec());
        self
    }

    /// Most bytes of memory that the entries may take; more is refused before anything is loaded. The
    /// need is estimated from the manifest: keys, values, and 64 bytes an entry. Default no limit.
    #[must_use]
    pub fn with_max_memory(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    fn prefix(&self, store: &str) -> &[u8] {
        self.prefixes.get(store).map_or(&[], Vec::as_slice)
    }
}

/// What [`restore`] made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The stores by name, in the manifest's order.
    pub stores: Vec<(String, Store)>,
    /// What the backup consisted of; `user` has what the layer above kept with it.
    pub manifest: Manifest,
    /// What was done and how fast.
    pub report: RestoreReport,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Entries in all restored stores.
    pub entries: u64,
    /// Shards rebuilt.
    pub shards: usize,
    /// Deltas replayed.
    pub deltas: usize,
    /// Bytes of keys and values in shards and deltas.
    pub raw_bytes: u64,
    /// Bytes of shards and deltas.
    pub stored_bytes: u64,
    /// Wall time of mapping, decoding and rebuilding.
    pub rebuild_seconds: f64,
    /// Wall time of replaying.
    pub replay_seconds: f64,
    /// Wall time of everything.
    pub seconds: f64,
}

impl RestoreReport {
    /// Entries restored a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    pub fn entries_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.entries as f64 / self.seconds } else { 0.0 }
    }
}

/// Restores every store of the backup in `dir`, under `clock`.
///
/// All entries are there at once, older than any snapshot of `clock`. Nothing of a store can be seen
/// before all of it was checked; after an error nothing is left.
///
/// # Complexity
/// Linear in the bytes, parallel over shards; memory for the entries, and for one decompressed block a
/// thread.
///
/// # Errors
/// [`Error::Backup`] for whatever is wrong with the backup, naming file and block;
/// [`Error::WrongContent`], [`Error::MemoryLimit`], [`Error::UnknownStore`], [`Error::Store`].
pub fn restore(dir: &Path, clock: &Clock, options: &RestoreOptions) -> Result<Restored, Error> {
    restore_backup(&Backup::open(dir)?, clock, options)
}

/// [`restore`] of a backup that is open, wherever it is. Files of a directory are mapped; of an object store
/// each is read in ranges, one after the other, while the next is under way.
///
/// # Errors
/// As [`restore`].
pub fn restore_backup(
    backup: &Backup,
    clock: &Clock,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    let started = Instant::now();
    let manifest = backup.manifest();
    check_options(manifest, options)?;
    let sum = |of: fn(&FileRecord) -> u64| manifest.files().map(|(_, _, file)| of(file)).sum();
    options.work.begin(sum(|file| file.entries + file.removes));
    let rebuilt = rebuild_shards(backup, options)?;
    let rebuild_seconds = started.elapsed().as_secs_f64();
    let mut stores = Vec::with_capacity(manifest.stores.len());
    for ((number, record), segments) in (0_u32..).zip(&manifest.stores).zip(rebuilt) {
        let source = StoreSource { backup, number, record, options };
        stores.push((record.name.clone(), source.build(clock, segments)?));
    }
    let seconds = started.elapsed().as_secs_f64();
    let report = RestoreReport {
        entries: manifest.entries(),
        shards: manifest.stores.iter().map(|store| store.shards.len()).sum(),
        deltas: manifest.stores.iter().map(|store| store.deltas.len()).sum(),
        raw_bytes: sum(|file| file.raw_bytes),
        stored_bytes: sum(|file| file.bytes),
        rebuild_seconds,
        replay_seconds: seconds - rebuild_seconds,
        seconds,
    };
    tracing::debug!(report.entries, report.shards, report.seconds, "restored");
    Ok(Restored { stores, manifest: manifest.clone(), report })
}

fn check_options(manifest: &Manifest, options: &RestoreOptions) -> Result<(), Error> {
    if let Some(store) = options.prefixes.keys().find(|name| manifest.store(name).is_none()) {
        return Err(Error::UnknownStore { store: store.clone() });
    }
    let prefixed = |store: &StoreRecord| options.prefix(&store.name).len() as u64;
    let of_store = |store: &StoreRecord| {
        let each = RECORD_OVERHEAD + prefixed(store);
        let of_file =
            |file: &FileRecord| file.raw_bytes.saturating_add(each.saturating_mul(file.entries));
        store.files().map(|(_, file)| of_file(file)).fold(0, u64::saturating_add)
    };
    let needed = manifest.stores.iter().map(of_store).fold(0, u64::saturating_add);
    match options.max_memory {
        Some(limit) if needed > limit => Err(Error::MemoryLimit { needed, limit }),
        _ => Ok(()),
    }
}

/// The segments of every store, in key order, with the digest of what was in the shards.
fn rebuild_shards(
    backup: &Backup,
    options: &RestoreOptions,
) -> Result<Vec<(Vec<StoreSegment>, Digest)>, Error> {
    let manifest = backup.manifest();
    let files: Vec<_> = manifest.files().filter(|(_, kind, _)| *kind == FileKind::Shard).collect();
    let rebuilt = options.work.for_each(&files, |work, (store, _, record)| {
        let prefix = options.prefix(&manifest.stores[*store as usize].name);
        rebuild_shard(backup, *store, record, prefix, work)
    })?;
    let mut stores: Vec<_> =
        manifest.stores.iter().map(|_| (Vec::new(), Digest::default())).collect();
    for ((store, _, _), rebuilt) in files.into_iter().zip(rebuilt) {
        let (segments, digest) = &mut stores[store as usize];
        digest.merge(&rebuilt.tally.digest);
        segments.push(rebuilt.segment);
    }
    Ok(stores)
}

fn rebuild_shard(
    backup: &Backup,
    store: u32,
    record: &FileRecord,
    prefix: &[u8],
    work: &Work,
) -> Result<Rebuilt, Error> {
    let file = backup.open_file(source(backup, record)?, store, FileKind::Shard, record)?;
    let range = KeyRange {
        lo: Bound::Included(record.first_key.clone()),
        hi: Bound::Included(record.last_key.clone()),
    };
    let mut rebuild = Rebuild::with_key_prefix(range, prefix);
    let mut buffers = Buffers::default();
    for number in 0..file.blocks() {
        if work.is_cancelled() {
            return Err(whimbrel_backup::Error::Cancelled.into());
        }
        let before = rebuild.raw_bytes();
        let entries = rebuild.push_decoded(&file.block(number, &mut buffers)?)?;
        work.add(entries.into(), rebuild.raw_bytes() - before);
    }
    let rebuilt = rebuild.finish(Place::new(&record.file, Part::Footer))?;
    file.check_end(&rebuilt.last_key, rebuilt.tally)?;
    Ok(rebuilt)
}

/// One store of the backup, its shards rebuilt.
struct StoreSource<'b> {
    backup: &'b Backup,
    number: u32,
    record: &'b StoreRecord,
    options: &'b RestoreOptions,
}

impl StoreSource<'_> {
    fn build(
        &self,
        clock: &Clock,
        (segments, mut digest): (Vec<StoreSegment>, Digest),
    ) -> Result<Store, Error> {
        let built = Store::from_segments(clock, self.options.store.clone(), segments);
        let place = || Place::new(MANIFEST, Part::Whole);
        let store = built.map_err(|source| Error::Store { place: place(), source })?;
        let (work, prefix) = (&self.options.work, self.options.prefix(&self.record.name));
        for record in &self.record.deltas {
            let (bytes, kind) = (source(self.backup, record)?, FileKind::ChangeDelta);
            let file = self.backup.open_file(bytes, self.number, kind, record)?;
            let applied = replay(&store, &file, prefix, || work.is_cancelled())?;
            digest.merge(&applied.digest);
            work.add(applied.puts + applied.removes, record.raw_bytes);
        }
        self.check("the number of entries", self.record.entries, digest.count)?;
        self.check("the digest", self.record.digest, digest.sum)?;
        if prefix.is_empty()
            && let Some(running) = store.digest()
        {
            self.check("the running digest's count", self.record.entries, running.count)?;
            self.check("the running digest", self.record.digest, running.sum)?;
        }
        Ok(store)
    }

    fn check(&self, what: &'static str, expected: u64, got: u64) -> Result<(), Error> {
        if expected == got {
            return Ok(());
        }
        Err(Error::WrongContent { store: self.record.name.clone(), what, expected, got })
    }
}
