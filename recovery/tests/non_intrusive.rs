//! Goal: a backup whose snapshots were given up at its beginning is what they saw, entry for entry, while
//! everything is written over and collected; and it keeps no garbage from being collected.
//! Method: an export that is interrupted after its first portion, while all is updated, removed and
//! collected; exports beside writers; the oracle is a copy made before, or a snapshot that is held at the same number;
//! damaged, repeated and failing GC deltas.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../backup/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::Entries;
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::manifest::{Manifest, StoreRecord};
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::storage::Directory;
use whimbrel_backup::{
    Cancel, Error, ExportOptions, ExportReport, Progress, Work, export, export_non_intrusive,
    inspect, verify,
};
use whimbrel_mvcc::{Batch, Clock, Ingest, IngestOptions, Snapshot, Store, StoreOptions};
use whimbrel_recovery::{RestoreOptions, restore};

fn content(snapshot: &Snapshot) -> Entries {
    snapshot.range(..).entries().collect()
}

fn key(n: u32) -> Vec<u8> {
    format!("key/{n:06}").into_bytes()
}

/// Values of 100 bytes.
fn filled(clock: &Clock, keys: u32) -> Store {
    let options = StoreOptions::new().with_manual_collection().with_running_digest();
    let store = Store::with_options(clock, options);
    for n in 0..keys {
        store.put(&key(n), &[b'o'; 100]).unwrap();
    }
    store
}

/// Runs a step once, on the thread that has done the first portion of the work.
struct AfterFirst<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send> Progress for AfterFirst<F> {
    fn add(&self, _: u64, _: u64) {
        // Outside of the lock: the step takes its time, and other threads go on.
        let step = self.0.lock().unwrap().take();
        if let Some(step) = step {
            step();
        }
    }
}

fn after_first(step: impl FnOnce() + Send + 'static) -> ExportOptions {
    let progress = Arc::new(AfterFirst(Mutex::new(Some(step))));
    ExportOptions::default()
        .with_shards_per_store(3)
        .with_work(Work::default().with_threads(1).with_progress(progress))
}

fn restored(dir: &Path) -> Vec<Entries> {
    let options =
        RestoreOptions::default().with_store_options(StoreOptions::new().with_running_digest());
    let restored = restore(dir, &Clock::new(), &options).unwrap();
    restored.stores.iter().map(|(_, store)| content(&store.snapshot())).collect()
}

/// The backup is sound, states what is in it, and is what was expected.
fn check(dir: &Path, report: &ExportReport, expected: &[Entries]) {
    assert_eq!(restored(dir), expected);
    let entries: u64 = expected.iter().map(|entries| entries.len() as u64).sum();
    assert_eq!(report.entries, entries);
    assert_eq!(verify(dir).unwrap().entries, entries, "each key is in one file");
    let manifest = inspect(dir).unwrap().manifest;
    for (store, expected) in manifest.stores.iter().zip(expected) {
        assert_eq!(store.digest(), common::tally(expected).digest, "{}", store.name);
    }
}

const KEYS: u32 = 10_000;

/// Collects all that no snapshot keeps. (An observer may have no room at first.)
fn collect(store: &Store) {
    while store.stats().collectable.entries > 0 {
        store.collect();
        thread::yield_now();
    }
}

/// Updates two keys in three, removes the third, and collects. Returns what cannot be collected.
fn turn_over(store: &Store) -> u64 {
    for n in 0..KEYS {
        if n % 3 == 0 {
            store.remove(&key(n)).unwrap();
        } else {
            store.put(&key(n), b"new").unwrap();
        }
    }
    collect(store);
    store.stats().dead
}

#[test]
fn all_is_collected_during_the_export_and_all_is_in_the_backup() {
    let store = filled(&Clock::new(), KEYS);
    let before = content(&store.snapshot());
    let garbage = Arc::new(AtomicU64::new(u64::MAX));
    let step = {
        let (store, garbage) = (store.clone(), garbage.clone());
        move || garbage.store(turn_over(&store), Ordering::Relaxed)
    };
    let dir = tempfile::tempdir().unwrap();
    let options = after_first(step).with_gc_delta_memory(0);
    let stores = vec![("s".to_owned(), store.snapshot())];
    let report = export_non_intrusive(stores, dir.path(), &options).unwrap();
    assert_eq!(garbage.load(Ordering::Relaxed), 0, "nothing was kept during the export");
    assert!(report.gc_deltas.len() > 1, "{:?}", report.gc_deltas);
    let in_deltas: u64 = report.gc_deltas.iter().map(|delta| delta.entries).sum();
    assert!(in_deltas > u64::from(KEYS) / 2, "most was gone before the walk came: {in_deltas}");
    check(dir.path(), &report, &[before]);
    let files = inspect(dir.path()).unwrap().files;
    assert_eq!(files.iter().filter(|file| file.kind == "GC delta").count(), report.gc_deltas.len());
    // The observation is over.
    assert_eq!(turn_over(&store), 0);
    // Held, the same snapshot keeps a second copy of everything.
    let garbage = Arc::new(AtomicU64::new(0));
    let (step, before) = {
        let (store, garbage) = (store.clone(), garbage.clone());
        let before = content(&store.snapshot());
        (move || garbage.store(turn_over(&store), Ordering::Relaxed), before)
    };
    let dir = tempfile::tempdir().unwrap();
    let stores = [("s".to_owned(), store.snapshot())];
    let report = export(&stores, dir.path(), &after_first(step)).unwrap();
    let kept = garbage.load(Ordering::Relaxed);
    assert!(kept >= before.len() as u64, "a snapshot that is held keeps what it sees: {kept}");
    assert_eq!(report.gc_deltas.len(), 0);
    check(dir.path(), &report, &[before]);
}

#[test]
fn what_fits_into_memory_needs_no_gc_deltas() {
    let store = filled(&Clock::new(), KEYS);
    let before = content(&store.snapshot());
    let other = store.clone();
    let options = after_first(move || assert_eq!(turn_over(&other), 0));
    let dir = tempfile::tempdir().unwrap();
    let stores = vec![("s".to_owned(), store.snapshot())];
    let report = export_non_intrusive(stores, dir.path(), &options).unwrap();
    assert_eq!(report.gc_deltas.len(), 0);
    check(dir.path(), &report, &[before]);
}

#[test]
fn keys_that_are_dropped_before_the_walk_comes_are_in_the_backup() {
    let clock = Clock::new();
    let (first, second) = (filled(&clock, 1000), filled(&clock, KEYS));
    let hold = clock.hold();
    let stores = [("first", &first), ("second", &second)];
    let stores = stores.map(|(name, store)| (name.to_owned(), store.snapshot_at(&hold)));
    let expected = stores.each_ref().map(|(_, snapshot)| content(snapshot));
    drop(hold);
    let options = after_first(move || {
        (0..KEYS).for_each(|n| _ = second.remove(&key(n)).unwrap());
        collect(&second);
        assert_eq!(second.stats().versions, 0, "values and tombstones are gone");
    });
    let dir = tempfile::tempdir().unwrap();
    let report =
        export_non_intrusive(stores.into(), dir.path(), &options.with_gc_delta_memory(0)).unwrap();
    let deltas: u64 = report.gc_deltas.iter().map(|delta| delta.entries).sum();
    assert!(deltas > u64::from(KEYS) / 2, "{deltas}");
    assert!(report.gc_deltas.iter().all(|delta| delta.store == "second"));
    check(dir.path(), &report, &expected);
}

#[test]
fn what_an_ingest_replaces_during_the_export_is_in_the_backup() {
    let store = filled(&Clock::new(), KEYS);
    let ingest = Ingest::begin(&[&store], IngestOptions::new()).unwrap();
    let mut part = ingest.part(&store).unwrap();
    for n in 0..KEYS {
        let put = if n % 3 == 0 { part.remove(&key(n)) } else { part.put(&key(n), b"ingested") };
        put.unwrap();
    }
    drop(part);
    // These win over it, and have lower numbers.
    (0..KEYS).step_by(7).for_each(|n| store.put(&key(n), b"mine").unwrap());
    let before = content(&store.snapshot());
    let stores = vec![("s".to_owned(), store.snapshot())];
    let step = move || {
        ingest.commit().unwrap();
        collect(&store);
        let left = (0..KEYS).filter(|n| n % 3 != 0 || n % 7 == 0).count() as u64;
        assert_eq!(store.stats().versions, left, "what it replaced is gone");
    };
    let dir = tempfile::tempdir().unwrap();
    let options = after_first(step).with_gc_delta_memory(0);
    let report = export_non_intrusive(stores, dir.path(), &options).unwrap();
    let in_deltas: u64 = report.gc_deltas.iter().map(|delta| delta.entries).sum();
    assert!(in_deltas > u64::from(KEYS) / 2, "most was gone before the walk came: {in_deltas}");
    check(dir.path(), &report, &[before]);
}

#[test]
fn a_snapshot_held_at_the_same_number_is_what_comes_back() {
    exports_beside_writers(true);
}

#[test]
fn exports_beside_writers_are_what_the_snapshots_saw() {
    exports_beside_writers(false);
}

/// The oracle is a snapshot at the same number that stays open, or what the snapshot that is given up
/// said before.
fn exports_beside_writers(held: bool) {
    const GROUPS: u32 = 200;
    let clock = Clock::new();
    let (a, b) = (Store::new(&clock), Store::new(&clock));
    let key = |group: u32, n: u32| format!("group/{group:04}/{n}").into_bytes();
    let write = |group: u32, number: u64| {
        let mut batch = Batch::new();
        let value = number.to_le_bytes().repeat(20);
        for n in 0..8 {
            // All keys of `a` are written each time; of `b` every second one is removed.
            batch.put(&a, key(group, n), value.clone());
            if (number + u64::from(n)).is_multiple_of(2) {
                batch.put(&b, key(group, n), value.clone());
            } else {
                batch.remove(&b, key(group, n));
            }
        }
        batch.commit().unwrap();
    };
    (0..GROUPS).for_each(|group| write(group, 0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2_u32 {
            let (write, stop) = (&write, &stop);
            scope.spawn(move || {
                let mut number = 1;
                // ORDERING: Relaxed; the flag only ends the loops.
                while !stop.load(Ordering::Relaxed) {
                    (0..GROUPS).filter(|group| group % 2 == writer).for_each(|g| write(g, number));
                    number += 1;
                }
            });
        }
        // A failed assertion below must end the writers as well.
        let _stop = StopOnDrop(&stop);
        for round in 0..10 {
            let hold = clock.hold();
            let named = [("a", &a), ("b", &b)];
            let stores = named.map(|(name, store)| (name.to_owned(), store.snapshot_at(&hold)));
            let oracle = stores.clone().map(|(_, snapshot)| snapshot);
            let before = oracle.each_ref().map(content);
            let oracle = held.then_some(oracle);
            drop(hold);
            let dir = tempfile::tempdir().unwrap();
            let options = ExportOptions::default()
                .with_shards_per_store(3)
                .with_gc_delta_memory(if round % 2 == 0 { 0 } else { 1 << 20 });
            let report = export_non_intrusive(stores.into(), dir.path(), &options).unwrap();
            let expected = oracle.map_or(before, |oracle| oracle.each_ref().map(content));
            check(dir.path(), &report, &expected);
        }
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed; the flag only ends the loops.
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_cancelled_export_leaves_neither_files_nor_an_observer() {
    let store = filled(&Clock::new(), KEYS);
    let cancel = Cancel::new();
    let (other, flag) = (store.clone(), cancel.clone());
    let step = move || {
        turn_over(&other);
        flag.cancel();
    };
    let progress = Arc::new(AfterFirst(Mutex::new(Some(step))));
    let work = Work::default().with_threads(1).with_progress(progress).with_cancel(cancel);
    let options = ExportOptions::default().with_work(work).with_gc_delta_memory(0);
    let dir = tempfile::tempdir().unwrap();
    let stores = vec![("s".to_owned(), store.snapshot())];
    let error = export_non_intrusive(stores.clone(), dir.path(), &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let options = ExportOptions::default();
    let report = export_non_intrusive(stores, dir.path(), &options).unwrap();
    assert_eq!(report.entries, u64::from(KEYS));
}

#[test]
fn two_exports_of_one_store_at_once_are_refused() {
    let store = filled(&Clock::new(), 10);
    let other = store.clone();
    let options = after_first(move || {
        let dir = tempfile::tempdir().unwrap();
        let stores = vec![("s".to_owned(), other.snapshot())];
        let error = export_non_intrusive(stores, dir.path(), &ExportOptions::default());
        let error = error.unwrap_err();
        assert!(matches!(error, Error::Observation(_)) && error.is_retryable(), "{error}");
    });
    let dir = tempfile::tempdir().unwrap();
    let stores = vec![("s".to_owned(), store.snapshot())];
    export_non_intrusive(stores, dir.path(), &options).unwrap();
}

/// A backup by hand: a shard, and a GC delta that repeats one of its keys with this value.
fn overlapping(dir: &Path, repeated: &[u8]) -> Entries {
    let storage = Directory::create(dir).unwrap();
    let backup = BackupWriter::begin(&storage, common::ID).unwrap();
    let mut shard = backup.shard(0, 0, BlockOptions::default()).unwrap();
    shard.push(b"a", b"1").unwrap();
    shard.push(b"c", b"3").unwrap();
    let mut delta = backup.gc_delta(0, 0, BlockOptions::default()).unwrap();
    delta.push(b"a", repeated).unwrap();
    delta.push(b"b", b"2").unwrap();
    let all = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")];
    let all: Entries = all.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let digest = common::tally(&all).digest;
    let mut manifest = Manifest::new(backup.id(), 0, 7);
    manifest.stores = vec![StoreRecord {
        name: "s".into(),
        entries: digest.count,
        digest: digest.sum,
        shards: vec![backup.finish_shard(shard).unwrap()],
        gc_deltas: vec![backup.finish_gc_delta(delta).unwrap()],
        deltas: vec![],
    }];
    backup.publish(&manifest).unwrap();
    all
}

#[test]
fn entries_that_shards_and_gc_deltas_have_both_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let all = overlapping(dir.path(), b"1");
    verify(dir.path()).unwrap();
    assert_eq!(restored(dir.path()), [all]);
    let dir = tempfile::tempdir().unwrap();
    overlapping(dir.path(), b"another");
    let refused = restore(dir.path(), &Clock::new(), &RestoreOptions::default()).unwrap_err();
    assert!(refused.is_corruption(), "{refused}");
}

#[test]
fn every_damage_of_a_gc_delta_is_refused() {
    let dir = common::fast_dir();
    overlapping(dir.path(), b"1");
    let path = dir.path().join("gc-0000");
    let damages = common::damage(&path, |what| {
        let error = verify(dir.path()).expect_err(what);
        assert!(error.is_corruption(), "{what}: {error}");
        let named = error.place().is_none_or(|place| place.file() == "gc-0000");
        assert!(named, "{what}: {error}");
    });
    assert!(damages > 1000);
    verify(dir.path()).unwrap();
}
