//! Goal: every write that a snapshot taken after the start of a capture does not see is captured, as a key
//! or, above the memory limit, in an interval; at most two captures run.
//! Method: real writers beside the start of the capture and its drains; at the end the difference between
//! the snapshot and the newest state must be covered by what was drained.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::Rng;
use whimbrel_mvcc::{
    Batch, Capture, CaptureOptions, Captured, Clock, Error, KeyRange, Snapshot, Store,
};

fn quiesce(store: &Store) {
    let ticket = store.clock().barrier().ticket();
    while !store.clock().barrier().poll(ticket) {
        thread::yield_now();
    }
}

/// Keys that differ between a snapshot and a later one.
fn difference(before: &Snapshot, after: &Snapshot) -> BTreeSet<Vec<u8>> {
    let old: BTreeSet<_> = before.range(..).entries().collect();
    let new: BTreeSet<_> = after.range(..).entries().collect();
    old.symmetric_difference(&new).map(|(key, _)| key.clone()).collect()
}

fn writer(store: &Store, seed: u64, stop: &AtomicBool) {
    let mut rng = Rng(seed);
    while !stop.load(Ordering::Relaxed) {
        let key = || (seed % 3 * 1000).to_be_bytes();
        let keys: Vec<_> =
            (0..3).map(|_| [key().as_slice(), &rng.below(400).to_be_bytes()].concat()).collect();
        let value = rng.next().to_be_bytes();
        match rng.below(3) {
            0 => store.put(&keys[0], &value).unwrap(),
            1 => _ = store.remove(&keys[0]).unwrap(),
            _ => {
                let mut batch = Batch::new();
                batch.put(store, keys[0].clone(), value).remove(store, keys[1].clone());
                batch.put(store, b"shared".to_vec(), value).put(store, keys[2].clone(), value);
                _ = batch.commit().unwrap();
            }
        }
    }
}

/// Starts writers, then a capture, takes a snapshot; later stops the writers and drains the rest.
fn run(options: CaptureOptions) -> (Snapshot, Snapshot, Vec<Captured>) {
    let store = Store::new(&Clock::new());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|seed| {
                let (store, stop) = (&store, &stop);
                scope.spawn(move || writer(store, seed, stop))
            })
            .collect();
        thread::sleep(std::time::Duration::from_millis(5));
        let capture: Capture = store.capture(options).unwrap();
        quiesce(&store);
        let before = store.snapshot();
        let mut captured = Vec::new();
        for _ in 0..10 {
            thread::sleep(std::time::Duration::from_millis(5));
            captured.push(capture.drain());
        }
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        captured.push(capture.stop());
        (before, store.snapshot(), captured)
    })
}

#[test]
fn captures_every_key_that_the_snapshot_does_not_see() {
    let (mut changed, mut keys) = (0, 0);
    for _ in 0..8 {
        let (before, after, captured) = run(CaptureOptions::new());
        assert!(captured.iter().all(|part| part.intervals.is_empty()));
        let captured: BTreeSet<_> = captured.into_iter().flat_map(|part| part.keys).collect();
        let difference = difference(&before, &after);
        assert!(difference.is_subset(&captured), "lost {:?}", difference.difference(&captured));
        changed += difference.len();
        keys += captured.len();
    }
    assert!(
        changed > 100 && keys >= changed,
        "{changed} changed, {keys} captured: nothing was tried"
    );
}

#[test]
fn above_its_limit_every_key_lies_in_an_interval() {
    let mut intervals = 0;
    for _ in 0..4 {
        let (before, after, captured) = run(CaptureOptions::new().max_bytes(2_000).buckets(32));
        for part in &captured {
            assert!(part.bytes <= 2_000, "{} bytes kept", part.bytes);
            assert!(part.keys.is_sorted());
            assert!(part.intervals.is_sorted_by(apart), "{:?}", part.intervals);
            intervals += part.intervals.len();
        }
        for key in difference(&before, &after) {
            let covered = captured.iter().any(|part| {
                part.keys.contains(&key) || part.intervals.iter().any(|range| range.contains(&key))
            });
            assert!(covered, "lost {key:?}");
        }
    }
    assert!(intervals > 0, "the limit was never met");
}

fn apart(a: &KeyRange, b: &KeyRange) -> bool {
    use std::ops::Bound::{Excluded, Included};
    matches!((&a.hi, &b.lo), (Excluded(hi), Included(lo)) if hi < lo)
}

#[test]
fn a_store_has_two_captures_at_a_time_that_know_nothing_of_each_other() {
    let store = Store::new(&Clock::new());
    let first = store.capture(CaptureOptions::new()).unwrap();
    store.put(b"a", b"1").unwrap();
    let second = store.capture(CaptureOptions::new()).unwrap();
    let refused = store.capture(CaptureOptions::new()).unwrap_err();
    assert!(matches!(refused, Error::CaptureActive { .. }) && refused.is_retryable());
    store.put(b"b", b"2").unwrap();
    assert_eq!(first.drain().keys, [b"a".to_vec(), b"b".to_vec()]);
    assert_eq!(second.drain().keys, [b"b".to_vec()]);
    assert!(first.stop().is_empty());
    store.remove(b"a").unwrap();
    store.remove(b"absent").unwrap();
    let third = store.capture(CaptureOptions::new()).unwrap();
    store.put(b"c", b"3").unwrap();
    assert_eq!(second.stop().keys, [b"a".to_vec(), b"c".to_vec()]);
    assert_eq!(third.stop().keys, [b"c".to_vec()]);
}
