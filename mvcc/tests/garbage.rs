//! Goal: who collects garbage and when: workers, writers above a bound, nobody on the thread that closes a
//! snapshot; and that the figures say what there is.
//! Method: figures before and after each step; what other threads do is waited for, with a generous end.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;
#[path = "common/wait.rs"]
mod wait;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::assert_clean;
use wait::wait_for;
use whimbrel_mvcc::{Batch, Clock, Collectors, Store, StoreOptions};

const KEYS: u64 = 500;

fn key(n: u64) -> [u8; 8] {
    (n % KEYS).to_be_bytes()
}

fn overwrite(store: &Store, times: u64) {
    for n in 0..times * KEYS {
        store.put(&key(n), &n.to_le_bytes()).unwrap();
    }
}

fn background(clock: &Clock) -> Store {
    Store::with_options(clock, StoreOptions::new().with_background_collection())
}

#[test]
fn workers_drain_garbage_with_idle_writers() {
    let clock = Clock::new();
    let (store, other) = (background(&clock), background(&clock));
    let collectors = Collectors::start(&clock, 2).unwrap();
    assert_eq!(collectors.workers(), 2);
    for _ in 0..3 {
        overwrite(&store, 5);
        overwrite(&other, 2);
        store.remove(&key(7)).unwrap();
        wait_for("the dead lists", || store.stats().dead + other.stats().dead == 0);
        wait_for("the barrier", || clock.stats().unreclaimed.entries == 0);
        assert_eq!(store.stats().versions, KEYS - 1);
        store.put(&key(7), b"again").unwrap();
    }
    collectors.stop();
    assert_clean(&store);
}

#[test]
fn writers_of_a_background_store_collect_only_while_there_are_no_workers() {
    let clock = Clock::new();
    let store = background(&clock);
    overwrite(&store, 4);
    assert!(store.stats().dead < 10, "without workers writers collect: {:?}", store.stats());
    let collectors = Collectors::start(&clock, 1).unwrap();
    overwrite(&store, 4);
    wait_for("the worker", || store.stats().dead == 0);
    drop(collectors);
    overwrite(&store, 4);
    assert!(store.stats().dead < 10, "the workers are gone: {:?}", store.stats());
}

#[test]
fn manual_collection_is_left_alone() {
    let clock = Clock::new();
    let manual = Store::with_options(&clock, StoreOptions::new().with_manual_collection());
    let other = background(&clock);
    let collectors = Collectors::start(&clock, 1).unwrap();
    overwrite(&manual, 3);
    overwrite(&other, 3);
    wait_for("the other store", || other.stats().dead == 0);
    assert_eq!(manual.stats().dead, 2 * KEYS);
    drop(collectors);
    manual.collect();
    assert_eq!(manual.stats().dead, 0);
}

#[test]
fn closing_a_snapshot_does_no_work_and_wakes_a_worker() {
    let clock = Clock::new();
    let store = Store::new(&clock);
    overwrite(&store, 1);
    let held = store.snapshot();
    overwrite(&store, 20);
    store.collect();
    let before = store.stats();
    assert_eq!(before.held.entries, KEYS, "what it sees and no more: {before:?}");
    assert_eq!((before.collectable.entries, before.versions), (0, 2 * KEYS), "{before:?}");
    drop(held);
    assert_eq!(store.stats(), before, "the thread that closed it looked at entries");

    let held = store.snapshot();
    store.collect();
    overwrite(&store, 1);
    store.collect();
    let collectors = Collectors::start(&clock, 1).unwrap();
    // Time to fall asleep; a longer or shorter one changes nothing.
    thread::sleep(Duration::from_millis(10));
    assert_eq!(store.stats().held.entries, KEYS);
    drop(held);
    wait_for("the worker", || store.stats().dead == 0);
    drop(collectors);
    assert_clean(&store);
}

#[test]
fn what_a_closed_snapshot_held_is_taken_up_bit_by_bit() {
    let store = Store::new(&Clock::new());
    overwrite(&store, 1);
    let held = store.snapshot();
    overwrite(&store, 1);
    store.collect();
    drop(held);
    store.put(&key(0), b"one write").unwrap();
    let after = store.stats();
    assert_eq!(after.held.entries, 0, "the closing was noticed: {after:?}");
    assert!(after.collectable.entries >= KEYS - 128, "one write collected {after:?}");
    assert_clean(&store);
}

/// Four writers overwrite for a while; the most garbage that was seen after a write, in bytes.
fn most_garbage(store: &Store, batches: bool) -> u64 {
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        for writer in 0..4 {
            let most = &most;
            scope.spawn(move || {
                let value = [writer; 100];
                for round in 0..6_000 {
                    let n = round * 7 + u64::from(writer);
                    if batches {
                        let mut batch = Batch::new();
                        (0..10).for_each(|m| _ = batch.put(store, key(n + m * 31), value));
                        batch.commit().unwrap();
                    } else {
                        store.put(&key(n), &value).unwrap();
                    }
                    let garbage = store.stats().collectable;
                    most.fetch_max(garbage.bytes + garbage.entries * 56, Ordering::Relaxed);
                }
            });
        }
    });
    most.into_inner()
}

#[test]
fn garbage_stays_below_its_bound_under_four_writers() {
    const BOUND: u64 = 400_000;
    let bounded = |options: StoreOptions, workers: usize, batches: bool| {
        let clock = Clock::new();
        let store = Store::with_options(&clock, options.with_garbage_bound(BOUND));
        overwrite(&store, 1);
        let collectors = (workers > 0).then(|| Collectors::start(&clock, workers).unwrap());
        let most = most_garbage(&store, batches);
        // The writes that are under way, and a few more where the collector's thread lost its processor.
        assert!(most < BOUND * 3 / 2, "{most} bytes of garbage, {workers} workers");
        drop(collectors);
        assert_clean(&store);
        most
    };
    let manual = StoreOptions::new().with_manual_collection();
    assert!(bounded(manual.clone(), 0, false) > BOUND / 2, "the bound was never reached");
    bounded(manual, 0, true);
    bounded(StoreOptions::new(), 0, true);
    bounded(StoreOptions::new().with_background_collection(), 1, false);
}

#[test]
fn what_snapshots_hold_does_not_count_as_garbage_above_the_bound() {
    let options = StoreOptions::new().with_manual_collection().with_garbage_bound(10_000);
    let store = Store::with_options(&Clock::new(), options);
    overwrite(&store, 1);
    let held = store.snapshot();
    overwrite(&store, 10);
    let stats = store.stats();
    assert_eq!(stats.held.entries, KEYS, "{stats:?}");
    assert!(stats.collectable.entries < 500, "{stats:?}");
    drop(held);
    overwrite(&store, 1);
    assert!(store.stats().dead < 500, "{:?}", store.stats());
}

#[test]
fn stores_are_dropped_while_workers_collect_them() {
    let clock = Clock::new();
    let collectors = Collectors::start(&clock, 2).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let drops = scope.spawn(|| {
            for round in 0..60 {
                let store = background(&clock);
                let held = store.snapshot();
                overwrite(&store, 3);
                if round % 3 == 0 {
                    wait_for("a worker", || store.stats().dead < 2 * KEYS);
                }
                drop(store);
                drop(held);
            }
            stop.store(true, Ordering::Relaxed);
        });
        while !stop.load(Ordering::Relaxed) && !drops.is_finished() {
            assert!(clock.stats().stores <= 1);
        }
    });
    drop(collectors);
    assert_eq!((clock.stats().stores, clock.open_holds()), (0, 0));
    (0..8).for_each(|_| clock.barrier().flush());
    assert_eq!(clock.stats().unreclaimed.entries, 0, "{:?}", clock.barrier().stats());
}

#[test]
fn collectors_start_and_stop_again_and_again() {
    let clock = Clock::new();
    let store = background(&clock);
    for round in 0..50 {
        let collectors = Collectors::start(&clock, round % 3).unwrap();
        assert_eq!(collectors.workers(), (round % 3).max(1));
        overwrite(&store, 1);
        drop(collectors);
    }
    assert_clean(&store);
}
