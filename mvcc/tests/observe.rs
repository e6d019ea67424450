//! Goal: a snapshot that is given up for an observer is still read whole, whatever is written and collected
//! meanwhile, and what it alone saw goes; an observer that fails hurts nobody but its observation.
//! Method: what walk and observer have together is compared with a copy that was made while the snapshot was
//! held; writers that put, remove and batch on few keys beside it.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;
#[path = "common/walked.rs"]
mod walked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::{Rng, assert_clean};
use walked::{Entries, Kept, StopOnDrop, content, together, walk, walk_resting};
use whimbrel_mvcc::{Batch, Clock, Error, Store, StoreOptions, UnlinkAnswer, UnlinkObserver};

fn filled(keys: u32) -> Store {
    let store = Store::new(&Clock::new());
    for n in 0..keys {
        store.put(&n.to_be_bytes(), &[7; 20]).unwrap();
    }
    store
}

#[test]
fn what_the_snapshot_alone_saw_goes_and_is_told() {
    let store = filled(1000);
    let snapshot = store.snapshot();
    let expected = content(&snapshot);
    for n in 0..1000_u32 {
        if n % 3 == 0 {
            store.remove(&n.to_be_bytes()).unwrap();
        } else {
            store.put(&n.to_be_bytes(), b"new").unwrap();
        }
    }
    let kept = Arc::new(Kept::default());
    let observation = snapshot.observe_unlinks(kept.clone()).unwrap();
    let before = walk(&observation);
    assert_eq!(before, expected, "nothing was collected yet");
    store.collect();
    let stats = store.stats();
    assert_eq!((stats.dead, stats.held.entries), (0, 0), "the snapshot is given up: {stats:?}");
    assert_eq!(walk(&observation), Entries::new());
    assert_eq!(*kept.0.lock().unwrap(), expected);
    observation.finish().unwrap();
    assert_clean(&store);
}

#[test]
fn a_version_that_hides_another_stays_until_the_end() {
    let store = filled(10);
    let older = store.snapshot();
    for n in 0..10_u32 {
        store.put(&n.to_be_bytes(), b"second").unwrap();
    }
    store.remove(&3_u32.to_be_bytes()).unwrap();
    let snapshot = store.snapshot();
    let expected = content(&snapshot);
    let kept = Arc::new(Kept::default());
    let observation = snapshot.observe_unlinks(kept.clone()).unwrap();
    for n in 0..10_u32 {
        store.put(&n.to_be_bytes(), b"third").unwrap();
    }
    store.collect();
    // A walk that found the older snapshot's values, or key 3, would be wrong.
    assert_eq!(walk(&observation), expected);
    assert_eq!(*kept.0.lock().unwrap(), Entries::new());
    observation.finish().unwrap();
    store.collect();
    // The tombstone of key 3 was filed under the older snapshot when it was the newest of its key.
    assert_eq!(store.stats().dead, 11, "what the older snapshot sees is left");
    drop(older);
    assert_clean(&store);
}

#[test]
fn a_store_has_one_observation_at_a_time() {
    let store = filled(1);
    let first = store.snapshot().observe_unlinks(Arc::new(Kept::default())).unwrap();
    let second = store.snapshot().observe_unlinks(Arc::new(Kept::default()));
    assert!(matches!(second, Err(Error::ObservationActive { .. })), "{second:?}");
    assert!(second.unwrap_err().is_retryable());
    assert_eq!(store.clock().open_holds(), 0);
    drop(first);
    let third = store.snapshot().observe_unlinks(Arc::new(Kept::default())).unwrap();
    assert!(!third.is_lost());
    third.finish().unwrap();
}

/// Gives up or panics at its third call.
struct Fails {
    panics: bool,
    calls: AtomicUsize,
}

impl UnlinkObserver for Fails {
    fn unlinked(&self, _: &[u8], _: &[u8]) -> UnlinkAnswer {
        if self.calls.fetch_add(1, Ordering::Relaxed) < 2 {
            return UnlinkAnswer::Taken;
        }
        assert!(!self.panics, "an observer's defect");
        UnlinkAnswer::Lost
    }
}

/// Has room for every other entry.
#[derive(Default)]
struct Hesitates(Kept, AtomicUsize);

impl UnlinkObserver for Hesitates {
    fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer {
        match self.1.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => UnlinkAnswer::Later,
            _ => self.0.unlinked(key, value),
        }
    }
}

#[test]
fn versions_for_which_there_is_no_room_stay_until_there_is() {
    let options = StoreOptions::new().with_manual_collection();
    let store = Store::with_options(&Clock::new(), options);
    for n in 0..1000_u32 {
        store.put(&n.to_be_bytes(), b"old").unwrap();
    }
    let expected = content(&store.snapshot());
    let observer = Arc::new(Hesitates::default());
    let observation = store.snapshot().observe_unlinks(observer.clone()).unwrap();
    for n in 0..1000_u32 {
        store.put(&n.to_be_bytes(), b"new").unwrap();
    }
    let first = store.collect();
    assert!(first.unlinked > 0 && first.kept > 0, "{first:?}");
    let walked = walk(&observation);
    assert_eq!(walked.len(), first.kept);
    assert_eq!(together(walked, &observer.0), expected);
    while store.stats().dead > 0 {
        store.collect();
    }
    assert_eq!(*observer.0.0.lock().unwrap(), expected);
    observation.finish().unwrap();
    assert_clean(&store);
}

#[test]
fn an_observer_that_fails_is_lost_and_the_collector_goes_on() {
    for panics in [false, true] {
        let store = filled(100);
        let observer = Arc::new(Fails { panics, calls: AtomicUsize::new(0) });
        let observation = store.snapshot().observe_unlinks(observer.clone()).unwrap();
        for n in 0..100_u32 {
            store.put(&n.to_be_bytes(), b"new").unwrap();
        }
        store.collect();
        assert_eq!(store.stats().dead, 0);
        assert_eq!(observer.calls.load(Ordering::Relaxed), 3, "told no more");
        assert!(observation.is_lost());
        let lost = observation.finish().unwrap_err();
        assert!(matches!(lost, Error::ObserverLost { .. }), "{lost}");
        assert_clean(&store);
    }
}

#[test]
fn a_dropped_observation_keeps_nothing() {
    let store = filled(10);
    let older = store.snapshot();
    store.put(&0_u32.to_be_bytes(), b"second").unwrap();
    let kept = Arc::new(Kept::default());
    let observation = store.snapshot().observe_unlinks(kept.clone()).unwrap();
    store.put(&0_u32.to_be_bytes(), b"third").unwrap();
    store.collect();
    assert_eq!(store.stats().dead, 2);
    drop(observation);
    assert_eq!(Arc::strong_count(&kept), 1, "nobody else has the observer");
    store.collect();
    assert_eq!(store.stats().dead, 1);
    drop(older);
    assert_clean(&store);
}

#[test]
fn the_end_of_a_walk_is_that_of_its_range() {
    let store = filled(10_000);
    let observation = store.snapshot().observe_unlinks(Arc::new(Kept::default())).unwrap();
    let (lo, hi) = (100_u32.to_be_bytes(), 9_000_u32.to_be_bytes());
    let mut walk = observation.walk(&lo[..]..&hi[..]);
    let (mut portions, mut last) = (0, lo.to_vec());
    while walk.advance() {
        portions += 1;
        let entries: Vec<_> = walk.entries().map(|(key, _)| key.to_vec()).collect();
        assert!(entries.is_sorted() && entries.len() <= 256);
        assert!(entries.first().is_none_or(|first| *first >= last), "each once");
        if let Some(key) = entries.last() {
            last.clone_from(key);
            let reached = walk.reached();
            assert!(
                matches!(reached, std::ops::Bound::Included(key) if key == last) || portions > 34
            );
        }
    }
    assert_eq!((walk.reached(), portions), (std::ops::Bound::Excluded(&hi[..]), 35));
    assert_eq!(last, 8_999_u32.to_be_bytes());
}

/// Puts, removes and batches on few keys, and compacts now and then.
fn write(stores: &[Store; 2], seed: u64, stopped: &AtomicBool) {
    let mut random = Rng(seed);
    while !stopped.load(Ordering::Relaxed) {
        let key = |n: u64| n.to_be_bytes();
        let store = &stores[usize::from(random.below(2) == 0)];
        // Some values are inline at first, some never.
        let byte = u8::try_from(random.below(250)).unwrap();
        let value = vec![byte; [8, 300][usize::from(random.below(4) == 0)]];
        match random.below(100) {
            0..50 => store.put(&key(random.below(2000)), &value).unwrap(),
            50..80 => _ = store.remove(&key(random.below(2000))).unwrap(),
            80..99 => {
                let mut batch = Batch::new();
                for _ in 0..5 {
                    batch.put(&stores[0], key(random.below(2000)), value.clone());
                    batch.remove(&stores[1], key(random.below(2000)));
                }
                batch.commit().unwrap();
            }
            _ if random.below(50) == 0 => _ = store.compact(),
            _ => {}
        }
    }
}

#[test]
fn walks_beside_writers_are_whole() {
    let clock = Clock::new();
    let stores = [(); 2].map(|()| Store::with_options(&clock, StoreOptions::new()));
    let (stopped, told, missed) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for seed in 0..2 {
            let (stores, stopped) = (&stores, &stopped);
            scope.spawn(move || write(stores, seed, stopped));
        }
        // A failed assertion must end the writers as well.
        let _stop = StopOnDrop(&stopped);
        let mut older = None;
        for round in 0..60 {
            let hold = clock.hold();
            let expected = stores.each_ref().map(|store| content(&store.snapshot_at(&hold)));
            let observers = [(); 2].map(|()| Arc::new(Kept::default()));
            let observed = [0, 1].map(|at: usize| {
                let snapshot = stores[at].snapshot_at(&hold);
                snapshot.observe_unlinks(observers[at].clone()).unwrap()
            });
            // Each third round beside a snapshot that is older and stays.
            older = (round % 3 > 0).then(|| older.unwrap_or_else(|| clock.hold()));
            drop(hold);
            let rest = Duration::from_micros(500);
            let walked = observed.each_ref().map(|observation| walk_resting(observation, rest));
            for observation in observed {
                observation.finish().unwrap();
            }
            for ((walked, kept), expected) in walked.into_iter().zip(&observers).zip(expected) {
                let (few, many) = (walked.len(), expected.len());
                missed.fetch_add(many - few, Ordering::Relaxed);
                told.fetch_add(kept.0.lock().unwrap().len(), Ordering::Relaxed);
                assert!(walked.iter().all(|(key, value)| expected.get(key) == Some(value)));
                assert_eq!(together(walked, kept), expected, "round {round}");
            }
        }
    });
    assert!(missed.into_inner() > 0 && told.into_inner() > 0, "nothing was put to the test");
    stores.iter().for_each(assert_clean);
}
