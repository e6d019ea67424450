//! Goal: what an incremental backup looks at is everything that differs between two snapshots, and what it
//! keeps for the one after covers everything that its own snapshot does not see (T1 to T3 of
//! `backup/src/incremental/tracker.rs`).
//! Method: every interleaving (up to the bound) of a writer and the steps of a backup, on the shipped store,
//! capture and barrier; the same models with a step left out must fail.
#![cfg(whimbrel_loom)]

use loom::thread;
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_mvcc::{CaptureOptions, Clock, Store};

const BOUND: Bound = Bound::Preemptions(3);

const KEY: &[u8] = b"k";

/// What the backup does otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Drain, snapshot, wait, drain.
    AsItIs,
    /// The operations under way are not waited for before the second drain.
    NoWait,
    /// What the second drain gave is not kept for the next backup.
    LateForgotten,
    /// The snapshot is taken before the first drain, and what that gave is kept: its number says so.
    EarlySnapshot,
    /// The same, but what the first drain gave is forgotten as if the snapshot saw it.
    EarlyForgotten,
}

fn quiesce(clock: &Clock) {
    let ticket = clock.barrier().ticket();
    while !clock.barrier().poll(ticket) {
        thread::yield_now();
    }
}

fn backup_against_writer(plan: Plan) {
    let clock = Clock::new();
    let store = Store::new(&clock);
    store.put(KEY, b"0").expect("put");
    let capture = store.capture(CaptureOptions::new().buckets(1)).expect("the only capture");
    quiesce(&clock);
    let base = store.snapshot();
    let writer = {
        let store = store.clone();
        thread::spawn(move || store.put(KEY, b"1").expect("put"))
    };
    let early = matches!(plan, Plan::EarlySnapshot | Plan::EarlyForgotten);
    let taken = early.then(|| store.snapshot());
    let mut pending = capture.drain().keys;
    let drained_at = clock.now();
    let snapshot = taken.unwrap_or_else(|| store.snapshot());
    if plan != Plan::NoWait {
        quiesce(&clock);
    }
    let late = capture.drain().keys;
    let looked_at = pending.iter().chain(&late).any(|key| key == KEY);
    if snapshot.get(KEY) != base.get(KEY) {
        assert!(looked_at, "a change is not looked at");
    }
    if snapshot.number() >= drained_at || plan == Plan::EarlyForgotten {
        pending.clear();
    }
    if plan != Plan::LateForgotten {
        pending.extend(late);
    }
    writer.join().expect("no panic");
    pending.extend(capture.drain().keys);
    if snapshot.get(KEY) != store.get(KEY) {
        assert!(pending.iter().any(|key| key == KEY), "a change is forgotten");
    }
}

#[test]
fn backup_against_a_writer() {
    explore(BOUND, || backup_against_writer(Plan::AsItIs));
}

#[test]
fn backup_of_an_early_snapshot_against_a_writer() {
    explore(BOUND, || backup_against_writer(Plan::EarlySnapshot));
}

#[test]
#[should_panic(expected = "a change is not looked at")]
fn a_backup_that_does_not_wait_is_caught() {
    explore(BOUND, || backup_against_writer(Plan::NoWait));
}

#[test]
#[should_panic(expected = "a change is forgotten")]
fn a_backup_that_forgets_what_came_late_is_caught() {
    explore(BOUND, || backup_against_writer(Plan::LateForgotten));
}

#[test]
#[should_panic(expected = "a change is forgotten")]
fn a_backup_that_forgets_what_an_early_snapshot_does_not_see_is_caught() {
    explore(BOUND, || backup_against_writer(Plan::EarlyForgotten));
}
