//! Incremental backups: what changed since the backup before, as change deltas.
//!
//! [`export_incremental`] has the three ways in which changes are found. A tracker's base is named by identity
//! and manifest checksum of the backup, never by a snapshot number: those begin anew with every process.

mod changes;
mod compare;
mod files;
mod pending;
mod tracker;

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde::Serialize;
use whimbrel_mvcc::{Digest, KeyRange, Snapshot};

use self::changes::{DeltaOut, Found};
use self::files::StoreFiles;
use self::pending::Piece;
use self::tracker::Changes;
pub use self::tracker::{Tracker, TrackerOptions};
use crate::Error;
use crate::error::{Part, Place};
use crate::export::{self, ExportOptions, check_stores, empty_store, now_unix_ms, write_shard};
use crate::file::{BackupId, FileKind};
use crate::manifest::{Base, FileRecord, Link, MANIFEST, Manifest, StoreRecord};
use crate::progress::{Work, rate};
use crate::publish::BackupWriter;
use crate::repository::Chain;
use crate::storage::Storage;

/// Changed keys that are worth a delta of their own.
const KEYS_PER_DELTA: usize = 32_768;

/// What an incremental backup wrote.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct IncrementalReport {
    /// The snapshot number that the backup shows.
    pub snapshot: u64,
    /// Backups before it in its chain.
    pub position: u32,
    /// Entries of all stores when everything is restored.
    pub entries: u64,
    /// Entries that were written.
    pub puts: u64,
    /// Removes that were written.
    pub removes: u64,
    /// Bytes of keys and values that were written.
    pub raw_bytes: u64,
    /// Bytes of the files.
    pub stored_bytes: u64,
    /// Shards and deltas.
    pub files: usize,
    /// How the changes were found.
    pub stores: Ways,
    /// Wall time from the call to the durable manifest.
    pub seconds: f64,
}

/// How many stores went which way; see [`export_incremental`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Ways {
    /// Followed since the base.
    pub followed: usize,
    /// Compared with the base's files.
    pub compared: usize,
    /// Not in the base, so written whole.
    pub whole: usize,
}

impl IncrementalReport {
    /// Entries and removes written a second.
    #[must_use]
    pub fn changes_per_second(&self) -> f64 {
        rate(self.puts + self.removes, self.seconds)
    }
}

/// Writes what changed between the newest backup of `base` and the snapshots, as a backup that continues it.
///
/// The snapshots must have one number, as for [`export`](crate::export()), and must be newer than the
/// backup. A store of the base that is not among them is not in the new backup. For each store one of
/// three ways is taken, by itself:
///
/// | the store | how its changes are found | cost |
/// |---|---|---|
/// | was followed by `tracker` since the base | the keys that were written are looked up in the base's snapshot and in the new one | proportional to the changes |
/// | is in the base, and was not followed (a restart, another tracker, another `Store` of that name) | the base's files are merged and compared with the new snapshot | about a full backup's time |
/// | is not in the base | it is written whole | a full backup's |
///
/// A key is written only when its value differs, so the way makes no difference to the result.
/// [`Tracker::watch`] is called before the snapshots are taken. After success the new backup is the tracker's
/// base.
///
/// [`back_up`](crate::repository::back_up) is the usual way to a repository of chains.
///
/// # Complexity
/// Proportional to the changes for followed stores, otherwise linear in the entries; parallel.
///
/// # Errors
/// As [`export`](crate::export()); whatever is wrong with files of the base where they are compared
/// ([`Error::InBackup`]); [`Error::Mismatch`] when the base's files do not add up. After an error there is
/// no backup, and the tracker is as before.
pub fn export_incremental(
    base: &Chain,
    stores: &[(String, Snapshot)],
    storage: &dyn Storage,
    options: &ExportOptions,
    tracker: Option<&mut Tracker>,
) -> Result<IncrementalReport, Error> {
    increment(BackupId::generate(), base, stores, storage, options, tracker)
}

/// [`export_incremental`] under an identity.
pub(crate) fn increment(
    id: BackupId,
    base: &Chain,
    stores: &[(String, Snapshot)],
    storage: &dyn Storage,
    options: &ExportOptions,
    mut tracker: Option<&mut Tracker>,
) -> Result<IncrementalReport, Error> {
    let started = Instant::now();
    let snapshot = check_stores(stores)?;
    if let Some(tracker) = &mut tracker {
        tracker.collect(stores);
    }
    let backup = BackupWriter::begin(storage, id)?;
    let sources = sources(base, stores, tracker.as_deref());
    let tasks = plan(base, stores, &sources, options);
    options.work.begin(tasks.iter().map(Task::entries).sum());
    tracing::debug!(stores = stores.len(), tasks = tasks.len(), snapshot, "increment begins");
    let done = options.work.for_each(&tasks, |work, task| task.run(&backup, options, work))?;
    let mut manifest = Manifest::new(backup.id(), now_unix_ms(), snapshot);
    manifest.base = Some(base_member(base, stores, &sources));
    manifest.user = options.user.clone();
    manifest.stores = records(base, stores, &sources, &tasks, done)?;
    let link = manifest.link()?;
    backup.publish(&manifest)?;
    if let Some(tracker) = tracker {
        tracker.rebase(link, stores);
    }
    let report = report(&manifest, ways(&sources), started);
    tracing::debug!(report.puts, report.removes, report.seconds, "increment is durable");
    Ok(report)
}

/// Where a store's changes come from.
enum Origin {
    Followed(Changes),
    Compared,
    Whole,
}

fn sources(base: &Chain, stores: &[(String, Snapshot)], tracker: Option<&Tracker>) -> Vec<Origin> {
    let (link, newest) = (base.newest().link(), base.newest().manifest());
    let known: HashSet<&str> = newest.stores.iter().map(|store| store.name.as_str()).collect();
    let of = |(name, snapshot): &(String, Snapshot)| {
        if !known.contains(name.as_str()) {
            return Origin::Whole;
        }
        let changes = tracker.and_then(|tracker| tracker.changes(link, name, snapshot));
        changes.map_or(Origin::Compared, Origin::Followed)
    };
    stores.iter().map(of).collect()
}

/// A part of the work, which makes one file at most.
struct Task<'t> {
    store: u32,
    number: u32,
    snapshot: &'t Snapshot,
    part: TaskPart<'t>,
}

enum TaskPart<'t> {
    Pieces { base: &'t Snapshot, pieces: Vec<Piece<'t>> },
    Range { base: &'t Chain, name: &'t str, range: KeyRange, entries: usize },
    Whole { range: KeyRange, entries: usize },
}

fn plan<'t>(
    base: &'t Chain,
    stores: &'t [(String, Snapshot)],
    sources: &'t [Origin],
    options: &ExportOptions,
) -> Vec<Task<'t>> {
    let mut tasks = Vec::new();
    for ((store, (name, snapshot)), origin) in (0_u32..).zip(stores).zip(sources) {
        let mut add = |part| {
            let number = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
            tasks.push(Task { store, number, snapshot, part });
        };
        match origin {
            Origin::Followed(changes) => {
                for pieces in parts(changes, options.work.threads()) {
                    add(TaskPart::Pieces { base: &changes.base, pieces });
                }
            }
            Origin::Compared | Origin::Whole => {
                let ranges = snapshot.split(options.shards(snapshot));
                let entries = snapshot.store().len_estimate() / ranges.len().max(1);
                for range in ranges {
                    add(match origin {
                        Origin::Compared => TaskPart::Range { base, name, range, entries },
                        _ => TaskPart::Whole { range, entries },
                    });
                }
            }
        }
    }
    tasks
}

/// Cuts what changed in a store into parts of about equal work.
fn parts(changes: &Changes, threads: usize) -> Vec<Vec<Piece<'_>>> {
    // Few keys on several threads would make small files; many on each would leave threads idle.
    let run = (changes.pending.keys() / (2 * threads)).clamp(KEYS_PER_DELTA / 16, KEYS_PER_DELTA);
    let spans = changes.pending.spans();
    let cuts = (4 * threads).div_ceil(spans.max(1));
    let pieces = changes.pending.pieces(run, |range| changes.base.split_range(range, cuts));
    let mut parts: Vec<Vec<Piece<'_>>> = Vec::new();
    let mut keys = run;
    for piece in pieces {
        // An interval is worth a part of its own unless there are very many.
        let weight = match &piece {
            Piece::Keys(keys) => keys.len(),
            Piece::Span(_) => run.div_ceil(spans.div_ceil(8 * threads).max(1)),
        };
        match parts.last_mut().filter(|_| keys + weight <= run) {
            Some(part) => {
                part.push(piece);
                keys += weight;
            }
            None => {
                parts.push(vec![piece]);
                keys = weight;
            }
        }
    }
    parts
}

/// What a task made.
struct Done {
    record: Option<FileRecord>,
    kind: FileKind,
    found: Found,
}

impl Task<'_> {
    /// Entries to look at, about.
    fn entries(&self) -> u64 {
        let entries = match &self.part {
            TaskPart::Pieces { pieces, .. } => pieces.iter().map(Piece::least).sum(),
            TaskPart::Range { entries, .. } | TaskPart::Whole { entries, .. } => *entries,
        };
        entries as u64
    }

    fn run(
        &self,
        backup: &BackupWriter<'_>,
        options: &ExportOptions,
        work: &Work,
    ) -> Result<Done, Error> {
        let Self { store, number, snapshot, part } = self;
        let (store, number, blocks) = (*store, *number, options.blocks);
        if let TaskPart::Whole { range, .. } = part {
            let range = range.clone();
            let task = export::Task { store, number, snapshot, range };
            let shard = write_shard(backup, &task, blocks, work)?;
            let record = shard.map(|shard| backup.sync(shard)).transpose()?;
            return Ok(Done { record, kind: FileKind::Shard, found: Found::default() });
        }
        let found = Found::default();
        let mut out = DeltaOut { backup, work, blocks, store, number, found, open: None };
        match part {
            TaskPart::Pieces { base, pieces } => out.between(base, snapshot, pieces)?,
            TaskPart::Range { base, name, range, .. } => {
                // Opened for each range, so that no more files are open than threads need.
                let files = StoreFiles::open(base, name)?;
                out.compare(&files, range, snapshot)?;
            }
            TaskPart::Whole { .. } => {}
        }
        let (record, found) = out.finish()?;
        Ok(Done { record, kind: FileKind::ChangeDelta, found })
    }
}

fn base_member(base: &Chain, stores: &[(String, Snapshot)], sources: &[Origin]) -> Base {
    let Link { id, crc32c } = base.newest().link();
    let continued = stores.iter().zip(sources).filter(|(_, it)| !matches!(it, Origin::Whole));
    let stores = continued.map(|((name, _), _)| name.clone()).collect();
    Base { id, crc32c, position: base.newest().manifest().position() + 1, stores }
}

/// What the manifest says of each store: the base's digest, and what the changes do to it.
fn records(
    base: &Chain,
    stores: &[(String, Snapshot)],
    sources: &[Origin],
    tasks: &[Task<'_>],
    done: Vec<Done>,
) -> Result<Vec<StoreRecord>, Error> {
    let before: HashMap<&str, Digest> = {
        let stores = &base.newest().manifest().stores;
        stores.iter().map(|store| (store.name.as_str(), store.digest())).collect()
    };
    let mut records: Vec<StoreRecord> = stores.iter().map(|(name, _)| empty_store(name)).collect();
    let mut old = vec![Digest::default(); stores.len()];
    let mut digests: Vec<Digest> = stores
        .iter()
        .map(|(name, _)| before.get(name.as_str()).copied().unwrap_or_default())
        .collect();
    for (task, done) in tasks.iter().zip(done) {
        let at = task.store as usize;
        digests[at].merge(&done.found.change);
        old[at].merge(&done.found.old);
        let Some(record) = done.record else { continue };
        if done.kind == FileKind::Shard {
            digests[at].merge(&record.tally().digest);
            records[at].shards.push(record);
        } else {
            records[at].deltas.push(record);
        }
    }
    for (at, record) in records.iter_mut().enumerate() {
        (record.entries, record.digest) = (digests[at].count, digests[at].sum);
        let stated = before.get(record.name.as_str()).copied().unwrap_or_default();
        if matches!(sources[at], Origin::Compared) && old[at] != stated {
            let error = Error::Mismatch {
                place: Place::new(MANIFEST, Part::Whole),
                what: "the digest of a store in the chain's files",
                expected: format!("{stated:?}"),
                got: format!("{:?}", old[at]),
            };
            return Err(error.within(base.newest().dir()));
        }
    }
    Ok(records)
}

fn ways(sources: &[Origin]) -> Ways {
    let count = |of: fn(&Origin) -> bool| sources.iter().filter(|origin| of(origin)).count();
    Ways {
        followed: count(|origin| matches!(origin, Origin::Followed(_))),
        compared: count(|origin| matches!(origin, Origin::Compared)),
        whole: count(|origin| matches!(origin, Origin::Whole)),
    }
}

fn report(manifest: &Manifest, stores: Ways, started: Instant) -> IncrementalReport {
    let sum = |of: fn(&FileRecord) -> u64| manifest.files().map(|(_, _, file)| of(file)).sum();
    IncrementalReport {
        snapshot: manifest.snapshot,
        position: manifest.position(),
        entries: manifest.entries(),
        puts: sum(|file| file.entries),
        removes: sum(|file| file.removes),
        raw_bytes: sum(|file| file.raw_bytes),
        stored_bytes: sum(|file| file.bytes),
        files: manifest.files().count(),
        stores,
        seconds: started.elapsed().as_secs_f64(),
    }
}
