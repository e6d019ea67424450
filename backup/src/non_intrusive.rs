//! Export of snapshots that are given up at the beginning, so that garbage goes while it runs.
//!
//! 1. Each store is cut into ranges, and its snapshot given up for an observer (INIT; when all have
//!    answered, no registration is left: ACTIVE).
//! 2. The ranges are walked in parallel, as in an export of held snapshots. What the walk lacks because it
//!    was collected, the observer was told before; `gather.rs` puts both together, range by range.
//! 3. What takes up too much memory before the walk comes to it goes into GC deltas, on a thread of its own.
//! 4. The observations end (TERMINATE, answered), then the manifest is published.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use whimbrel_mvcc::{KeyRange, Observation, ObservedWalk, Snapshot, UnlinkAnswer, UnlinkObserver};

use crate::Error;
use crate::block::BlockOptions;
use crate::export::{ExportOptions, ExportReport, Listing, check_stores};
use crate::file::{BackupId, FileKind};
use crate::gather::{Entries, Gathering, Piece};
use crate::manifest::FileRecord;
use crate::progress::Work;
use crate::publish::{BackupWriter, Sink};
use crate::shard::ShardWriter;
use crate::storage::{Directory, Storage};

/// Least bytes of entries that are kept for a store.
const LEAST_MEMORY: usize = 256 << 10;

/// A file that was written: position of its store, record, seconds.
type Written = (u32, FileRecord, f64);

/// As [`export`](crate::export()), but gives the snapshots up before it copies them: what they alone see is
/// collected while the export runs, and is in the backup all the same.
///
/// [`export`](crate::export()) keeps all that its snapshots see until its end: beside writers that update
/// everything, a second copy of the data. This one keeps [a bounded part](ExportOptions::with_gc_delta_memory)
/// of what is collected before it comes to it, and writes the rest into GC deltas. The backup shows the
/// same: exactly what the snapshots saw. Clones of a snapshot, and others at its number, keep what they see
/// as ever; so drop the hold.
///
/// Whoever collects (writers, by default) hands over each version of the snapshot before it goes, once: a
/// copy and a search in a map. It never waits for the disk: while a GC delta is being written and the next one
/// is full, versions that the walk has not come to stay, as if the snapshot were held.
///
/// # Complexity
/// As [`export`](crate::export()); and O(log m) for each entry that is collected before the walk comes to it,
/// with m of them in memory.
///
/// # Errors
/// As [`export`](crate::export()); [`Error::Observation`] when another observer is in a store.
///
/// # Examples
/// ```
/// use whimbrel_backup::{ExportOptions, export_non_intrusive, verify};
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"whimbrel", b"1")?;
/// let dir = tempfile::tempdir()?;
/// let target = dir.path().join("monday");
/// let snapshots = vec![("birds".to_string(), store.snapshot())];
/// let report = export_non_intrusive(snapshots, &target, &ExportOptions::default())?;
/// assert_eq!(report.entries, 1);
/// assert_eq!(verify(&target)?.entries, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export_non_intrusive(
    stores: Vec<(String, Snapshot)>,
    dir: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, Error> {
    check_stores(&stores)?;
    export_non_intrusive_to(stores, &Directory::create(dir)?, options)
}

/// [`export_non_intrusive()`] to anything that takes files.
///
/// # Errors
/// As [`export_non_intrusive()`].
pub fn export_non_intrusive_to(
    stores: Vec<(String, Snapshot)>,
    storage: &dyn Storage,
    options: &ExportOptions,
) -> Result<ExportReport, Error> {
    let started = Instant::now();
    let snapshot = check_stores(&stores)?;
    let backup = BackupWriter::begin(storage, BackupId::generate())?;
    let estimate: usize = stores.iter().map(|(_, shown)| shown.store().len_estimate()).sum();
    options.work.begin(estimate as u64);
    let names: Vec<String> = stores.iter().map(|(name, _)| name.clone()).collect();
    let (spill, pieces) = Spill::new();
    let observed = observe(stores, options, &spill)?;
    tracing::debug!(stores = names.len(), snapshot, "non-intrusive export begins");
    let (shards, gc_deltas) = thread::scope(|scope| {
        let write = || write_pieces(&backup, pieces, options.blocks);
        let writer = thread::Builder::new().name("whimbrel-gc-delta".into());
        let writer = writer.spawn_scoped(scope, write).map_err(|error| no_thread(&error))?;
        // Ends the writer, whatever happens here.
        let open = CloseOnDrop(&spill);
        let shards = write_shards(&backup, &observed, options);
        let finished = finish(observed);
        drop(open);
        let gc_deltas = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // What the writer met is the cause of what the others did.
        let gc_deltas = gc_deltas?;
        finished?;
        Ok::<_, Error>((shards?, gc_deltas))
    })?;
    let mut listing = Listing::new(backup.id(), snapshot, names.iter(), options);
    for (store, record, seconds) in shards {
        listing.add(store, FileKind::Shard, record, seconds);
    }
    for (store, record, seconds) in gc_deltas {
        listing.add(store, FileKind::GcDelta, record, seconds);
    }
    listing.publish(backup, started).map(|(report, _)| report)
}

/// A store whose snapshot was given up.
struct Observed {
    observation: Observation,
    observer: Arc<Observer>,
    /// Each is walked by one thread.
    ranges: Vec<KeyRange>,
}

/// What the collector of a store speaks to.
struct Observer {
    /// Position of the store in the manifest.
    store: u32,
    gathering: Gathering,
    spill: Arc<Spill>,
}

impl UnlinkObserver for Observer {
    fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer {
        self.gathering.told(key, value, |piece| self.spill.send(self.store, piece))
    }
}

/// The way from observers to the thread that writes GC deltas.
struct Spill(Mutex<Option<SyncSender<(u32, Piece)>>>);

impl Spill {
    fn new() -> (Arc<Self>, Receiver<(u32, Piece)>) {
        // One piece is being written, one lies here.
        let (sender, receiver) = sync_channel(1);
        (Arc::new(Self(Mutex::new(Some(sender)))), receiver)
    }

    /// Waits for nobody: what the writer cannot take now comes back, for later or for good.
    fn send(&self, store: u32, piece: Piece) -> Result<(), (Piece, UnlinkAnswer)> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*sender else { return Err((piece, UnlinkAnswer::Lost)) };
        sender.try_send((store, piece)).map_err(|refused| match refused {
            TrySendError::Full((_, piece)) => (piece, UnlinkAnswer::Later),
            TrySendError::Disconnected((_, piece)) => (piece, UnlinkAnswer::Lost),
        })
    }
}

struct CloseOnDrop<'s>(&'s Spill);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Gives the snapshots up. When this returns none is left, and every collector knows its observer.
fn observe(
    stores: Vec<(String, Snapshot)>,
    options: &ExportOptions,
    spill: &Arc<Spill>,
) -> Result<Vec<Observed>, Error> {
    let memory = (options.gc_delta_memory() / stores.len().max(1)).max(LEAST_MEMORY);
    let numbered = (0_u32..).zip(stores);
    let observed = numbered.map(|(store, (_, snapshot))| {
        let ranges = snapshot.split(options.shards(&snapshot));
        let gathering = Gathering::new(&ranges, memory);
        let observer = Arc::new(Observer { store, gathering, spill: Arc::clone(spill) });
        let observation = snapshot.observe_unlinks(observer.clone())?;
        Ok::<_, Error>(Observed { observation, observer, ranges })
    });
    observed.collect()
}

/// Ends all observations, and answers whether they had all that they were to have.
fn finish(observed: Vec<Observed>) -> Result<(), Error> {
    // All of them, also after one that was lost.
    let finished: Vec<_> = observed.into_iter().map(|store| store.observation.finish()).collect();
    finished.into_iter().try_for_each(|finished| finished.map_err(Error::from))
}

/// One range of one store.
struct Task<'o> {
    store: &'o Observed,
    /// Of the range in its store, and of the file.
    at: usize,
    number: u32,
}

fn write_shards(
    backup: &BackupWriter<'_>,
    observed: &[Observed],
    options: &ExportOptions,
) -> Result<Vec<Written>, Error> {
    let ranges =
        observed.iter().flat_map(|store| (0..store.ranges.len()).map(move |at| (store, at)));
    let numbered = (0_u32..).zip(ranges);
    let tasks: Vec<_> = numbered.map(|(number, (store, at))| Task { store, at, number }).collect();
    let written = options.work.for_each(&tasks, |work, task| {
        let begun = Instant::now();
        let record = write_shard(backup, task, options.blocks, work)?;
        let store = task.store.observer.store;
        Ok::<_, Error>(record.map(|record| (store, record, begun.elapsed().as_secs_f64())))
    })?;
    debug_assert!(
        observed.iter().all(|store| store.observer.gathering.is_empty()),
        "all was walked, so all that was told is in a file"
    );
    Ok(written.into_iter().flatten().collect())
}

/// Writes one range; no file where the snapshot saw nothing in it, or all is in GC deltas.
fn write_shard(
    backup: &BackupWriter<'_>,
    task: &Task<'_>,
    blocks: BlockOptions,
    work: &Work,
) -> Result<Option<FileRecord>, Error> {
    let Observed { observation, observer, ranges } = task.store;
    let mut walk = observation.walk(ranges[task.at].clone());
    let mut writer: Option<ShardWriter<Sink>> = None;
    while let Some(missed) = observer.gathering.advance(task.at, &mut walk) {
        if work.is_cancelled() || observation.is_lost() {
            return Err(Error::Cancelled);
        }
        let (mut entries, mut bytes) = (0, 0);
        merge(&walk, missed, |key, value| {
            let writer = match &mut writer {
                Some(writer) => writer,
                none => none.insert(backup.shard(observer.store, task.number, blocks)?),
            };
            entries += 1;
            bytes += (key.len() + value.len()) as u64;
            writer.push(key, value)
        })?;
        work.add(entries, bytes);
    }
    writer.map(|writer| backup.finish_shard(writer)).transpose()
}

/// Gives the entries of a portion and what it missed to `each`, ascending, each once.
fn merge(
    walk: &ObservedWalk<'_>,
    missed: Entries,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut missed = missed.into_iter().peekable();
    for (key, value) in walk.entries() {
        while let Some((key, value)) = missed.next_if(|(missed, _)| missed.as_slice() < key) {
            each(&key, &value)?;
        }
        if let Some((_, told)) = missed.next_if(|(missed, _)| missed.as_slice() == key) {
            debug_assert_eq!(told, value, "a key has one value in a snapshot");
        }
        each(key, value)?;
    }
    missed.try_for_each(|(key, value)| each(&key, &value))
}

/// Writes each piece into a GC delta of its own, until nobody can send any more.
fn write_pieces(
    backup: &BackupWriter<'_>,
    pieces: Receiver<(u32, Piece)>,
    blocks: BlockOptions,
) -> Result<Vec<Written>, Error> {
    let mut written = Vec::new();
    for (number, (store, piece)) in (0_u32..).zip(pieces) {
        let begun = Instant::now();
        let mut writer = backup.gc_delta(store, number, blocks)?;
        // The ranges of a piece follow each other. Each is freed when it was written.
        for (_, entries) in piece {
            entries.iter().try_for_each(|(key, value)| writer.push(key, value))?;
        }
        let record = backup.finish_gc_delta(writer)?;
        written.push((store, record, begun.elapsed().as_secs_f64()));
    }
    Ok(written)
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::Threads { threads: 1, reason: error.to_string() }
}
