//! From a backup's directory to stores that may be served.
//!
//! 1. Open: manifests of the chain, links between them, presence and lengths of all files, memory needed.
//! 2. Rebuild: every shard of every store is one task of a pool; it maps the file, checks it against the
//!    manifest, decodes block after block and builds a segment; then count, last key and digest must be
//!    the footer's.
//! 3. Stitch the segments of each store, in key order.
//! 4. Replay each store's deltas, backup by backup, in the manifests' order, GC deltas before change deltas; stores
//!    beside each other.
//! 5. Compare each store's count and digest with the manifest, after every backup of the chain. Only when
//!    all are right anything is handed out.

use std::ops::Bound;
use std::path::Path;
use std::time::Instant;

use whimbrel_backup::manifest::{MANIFEST, Manifest};
use whimbrel_backup::repository::Chain;
use whimbrel_backup::shard::{Buffers, FileKind, FileReader, Sequence, Source};
use whimbrel_backup::{Backup, Digest, Part, Place, Work};
use whimbrel_mvcc::{Clock, KeyRange, Store, StoreSegment, StoreSegmentBuilder};

use crate::Error;
use crate::map::source;
use crate::options::RestoreOptions;
use crate::plan::{Layer, Plan, ShardTask, StorePlan, covers, first_block, reaches};
use crate::rebuild::Rebuild;
use crate::replay::{Target, replay};

/// What a file's blocks are read from.
type Bytes = Box<dyn Source>;

/// What [`restore`] made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The stores by name, in the manifest's order.
    pub stores: Vec<(String, Store)>,
    /// What the newest backup of the chain consisted of; `user` has what the layer above kept with it.
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
    /// Backups of the chain.
    pub backups: usize,
    /// Shards rebuilt.
    pub shards: usize,
    /// GC deltas and change deltas replayed.
    pub deltas: usize,
    /// Bytes of keys and values in shards and deltas that were read.
    pub raw_bytes: u64,
    /// Bytes of these shards and deltas.
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

/// Restores every store of the backup in `dir`, under `clock`. An incremental backup is restored with the
/// chain that it ends, which is in the directories beside it.
///
/// All entries are there at once, older than any snapshot of `clock`. Nothing of a store can be seen
/// before all of it was checked; after an error nothing is left.
///
/// # Complexity
/// Linear in the bytes of the shards, parallel over shards; a search for each change of a delta, parallel
/// over stores; memory for the entries, and for one decompressed block a thread.
///
/// # Errors
/// [`Error::Backup`] for whatever is wrong with the backup or its chain, naming file and block;
/// [`Error::WrongContent`], [`Error::MemoryLimit`], [`Error::UnknownStore`], [`Error::Store`].
pub fn restore(dir: &Path, clock: &Clock, options: &RestoreOptions) -> Result<Restored, Error> {
    restore_chain(&Chain::of(dir)?, clock, options)
}

/// [`restore`] of a backup that is open, wherever it is. Files of a directory are mapped; of an object
/// store each is read in ranges, one after the other, while the next is under way.
///
/// # Errors
/// As [`restore`].
pub fn restore_backup(
    backup: &Backup,
    clock: &Clock,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    restore_chain(&Chain::ending_in(backup.clone())?, clock, options)
}

/// Restores what the newest backup of a chain shows. See [`restore`].
///
/// # Errors
/// As there.
pub fn restore_chain(
    chain: &Chain,
    clock: &Clock,
    options: &RestoreOptions,
) -> Result<Restored, Error> {
    let started = Instant::now();
    let plan = Plan::new(chain, options)?;
    let needs = plan.estimate();
    match needs.memory_limit {
        Some(limit) if needs.memory_bytes > limit => {
            return Err(Error::MemoryLimit { needed: needs.memory_bytes, limit });
        }
        _ => {}
    }
    options.work.begin(needs.entries);
    let shards = plan.shards();
    let building = rebuild_shards(&plan, &shards, clock)?;
    let rebuild_seconds = started.elapsed().as_secs_f64();
    let replayed = options.work.for_each(&building, |work, it| it.replay(work))?;
    let seconds = started.elapsed().as_secs_f64();
    let sum = |of: fn(&Replayed) -> u64| replayed.iter().map(of).sum::<u64>();
    let of_shards = |of: fn(&ShardTask<'_>) -> u64| shards.iter().map(of).sum::<u64>();
    let report = RestoreReport {
        entries: sum(|it| it.digest.count),
        backups: chain.backups().len(),
        shards: shards.len(),
        deltas: replayed.iter().map(|it| it.deltas).sum(),
        raw_bytes: of_shards(|it| it.record.raw_bytes) + sum(|it| it.raw_bytes),
        stored_bytes: of_shards(|it| it.record.bytes) + sum(|it| it.stored_bytes),
        rebuild_seconds,
        replay_seconds: seconds - rebuild_seconds,
        seconds,
    };
    tracing::debug!(report.entries, report.shards, report.seconds, "restored");
    let stores = building.into_iter().map(|it| (it.plan.record.name.clone(), it.store)).collect();
    Ok(Restored { stores, manifest: chain.newest().manifest().clone(), report })
}

/// A store whose shards are rebuilt.
struct Building<'p> {
    plan: &'p StorePlan<'p>,
    options: &'p RestoreOptions,
    store: Store,
    digest: Digest,
}

/// What came of replaying a store's deltas.
struct Replayed {
    deltas: usize,
    raw_bytes: u64,
    stored_bytes: u64,
    digest: Digest,
}

/// Rebuilds all shards in parallel, and stitches what belongs together.
fn rebuild_shards<'p>(
    plan: &'p Plan<'p>,
    shards: &[ShardTask<'_>],
    clock: &Clock,
) -> Result<Vec<Building<'p>>, Error> {
    let options = plan.options;
    let rebuilt = options.work.for_each(shards, |work, task| {
        rebuild_shard(task, options.range(), work).map_err(|error| match error {
            Error::Backup(source) => Error::Backup(task.layer.named(source)),
            other => other,
        })
    })?;
    let mut parts: Vec<(Vec<StoreSegment>, Digest)> =
        plan.stores.iter().map(|_| Default::default()).collect();
    for (task, (segment, digest)) in shards.iter().zip(rebuilt) {
        parts[task.at].0.push(segment);
        parts[task.at].1.merge(&digest);
    }
    let stitch = |(of, (segments, digest)): (&'p StorePlan<'p>, (Vec<StoreSegment>, Digest))| {
        let built = Store::from_segments(clock, options.store.clone(), segments);
        let place = || Place::new(MANIFEST, Part::Whole);
        let store = built.map_err(|source| Error::Store { place: place(), source })?;
        Ok(Building { plan: of, options, store, digest })
    };
    plan.stores.iter().zip(parts).map(stitch).collect()
}

fn rebuild_shard(
    task: &ShardTask<'_>,
    range: Option<&KeyRange>,
    work: &Work,
) -> Result<(StoreSegment, Digest), Error> {
    let ShardTask { layer, record, prefix, .. } = task;
    let bytes = source(layer.backup, record)?;
    let file = layer.backup.open_file(bytes, layer.store, FileKind::Shard, record)?;
    match range.filter(|range| !covers(Some(*range), record)) {
        None => rebuild_whole(&file, task, work),
        Some(range) => rebuild_part(&file, range, prefix, work),
    }
}

fn rebuild_whole(
    file: &FileReader<Bytes>,
    task: &ShardTask<'_>,
    work: &Work,
) -> Result<(StoreSegment, Digest), Error> {
    let record = task.record;
    let range = KeyRange {
        lo: Bound::Included(record.first_key.clone()),
        hi: Bound::Included(record.last_key.clone()),
    };
    let most = task.record.raw_bytes;
    let mut rebuild = Rebuild::with_key_prefix(range, task.prefix).with_most_raw_bytes(most);
    let mut buffers = Buffers::default();
    for number in 0..file.blocks() {
        work.check()?;
        let before = rebuild.raw_bytes();
        let entries = rebuild.push_decoded(&file.block(number, &mut buffers)?)?;
        work.add(entries.into(), rebuild.raw_bytes() - before);
    }
    let rebuilt = rebuild.finish(Place::new(&record.file, Part::Footer))?;
    file.check_end(&rebuilt.last_key, rebuilt.tally)?;
    Ok((rebuilt.segment, rebuilt.tally.digest))
}

/// Reads only the blocks that may have keys of the range. Each is checked by its checksums.
fn rebuild_part(
    file: &FileReader<Bytes>,
    range: &KeyRange,
    prefix: &[u8],
    work: &Work,
) -> Result<(StoreSegment, Digest), Error> {
    let (mut segment, mut digest) = (StoreSegmentBuilder::new(), Digest::default());
    let (mut sequence, mut buffers) = (Sequence::without_digest(), Buffers::default());
    let mut joined = prefix.to_vec();
    for number in first_block(file, range)..file.blocks() {
        work.check()?;
        if !reaches(range, file.block_key(number)) {
            break;
        }
        let block = file.block(number, &mut buffers)?;
        sequence.walk(&block, |key, value| {
            let Some(value) = value.filter(|_| range.contains(key)) else { return Ok(()) };
            joined.truncate(prefix.len());
            joined.extend_from_slice(key);
            digest.add(key, value);
            let pushed = segment.push(&joined, value);
            pushed.map_err(|source| Error::Store { place: block.place().clone(), source })
        })?;
        work.add(block.len().into(), 0);
    }
    Ok((segment.finish(), digest))
}

impl Building<'_> {
    /// Replays the deltas of all layers, and compares after each of them.
    fn replay(&self, work: &Work) -> Result<Replayed, Error> {
        let mut done = Replayed { deltas: 0, raw_bytes: 0, stored_bytes: 0, digest: self.digest };
        for layer in &self.plan.layers {
            self.replay_layer(layer, &mut done, work)?;
            self.check(layer, &done.digest)?;
        }
        Ok(done)
    }

    fn replay_layer(
        &self,
        layer: &Layer<'_>,
        done: &mut Replayed,
        work: &Work,
    ) -> Result<(), Error> {
        let range = self.options.range();
        let target = Target { store: &self.store, prefix: self.plan.prefix, range };
        for (kind, record) in layer.deltas(range) {
            let replay = || {
                let bytes = source(layer.backup, record)?;
                let file = layer.backup.open_file(bytes, layer.store, kind, record)?;
                replay(&target, &file, || work.is_cancelled())
            };
            let applied = replay().map_err(|error| match error {
                Error::Backup(source) => Error::Backup(layer.named(source)),
                other => other,
            })?;
            done.digest.merge(&applied.digest);
            done.deltas += 1;
            done.raw_bytes += record.raw_bytes;
            done.stored_bytes += record.bytes;
            work.add(applied.puts + applied.removes, record.raw_bytes);
        }
        Ok(())
    }

    /// The store must be what the manifest of the layer's backup states.
    fn check(&self, layer: &Layer<'_>, digest: &Digest) -> Result<(), Error> {
        if self.options.range().is_some() {
            return Ok(());
        }
        let stated = layer.record;
        same(layer, "the number of entries", stated.entries, digest.count)?;
        same(layer, "the digest", stated.digest, digest.sum)?;
        if self.plan.prefix.is_empty()
            && let Some(running) = self.store.digest()
        {
            same(layer, "the running digest's count", stated.entries, running.count)?;
            same(layer, "the running digest", stated.digest, running.sum)?;
        }
        Ok(())
    }
}

fn same(layer: &Layer<'_>, what: &'static str, expected: u64, got: u64) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    let name = &layer.record.name;
    let store = match layer.chain.backups() {
        [_] => name.clone(),
        _ => format!("{name} of {}", layer.backup.dir().display()),
    };
    Err(Error::WrongContent { store, what, expected, got })
}
