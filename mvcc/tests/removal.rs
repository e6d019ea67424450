//! Goal: removing a key that was written once leaves nothing behind where no snapshot can tell, and what snapshots
//! see where one can; it counts, digests and captures as any other removal.
//! Method: stores whose garbage nobody collects unasked, and their figures after each step.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use common::{Rng, assert_clean, digest_of};
use whimbrel_mvcc::{CaptureOptions, CasOutcome, Clock, Store, StoreOptions};

const KEYS: u64 = 1_000;

fn key(n: u64) -> [u8; 8] {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
}

/// With each key written once.
fn filled() -> Store {
    let options = StoreOptions::new().with_manual_collection().with_running_digest();
    let store = Store::with_options(&Clock::new(), options);
    (0..KEYS).for_each(|n| store.put(&key(n), &n.to_le_bytes()).unwrap());
    store
}

fn remove_all(store: &Store) {
    for n in 0..KEYS {
        assert_eq!(store.remove(&key(n)).unwrap(), Some(n.to_le_bytes().to_vec()));
        assert_eq!(store.remove(&key(n)).unwrap(), None);
    }
}

/// Whether the running digest and the counts are those of what there is.
fn assert_counted(store: &Store) {
    let digest = digest_of(&store.snapshot());
    assert_eq!(store.digest(), Some(digest));
    assert_eq!(store.stats().entries, digest.count);
}

#[test]
fn nothing_is_left_where_no_snapshot_is_open() {
    let store = filled();
    let capture = store.capture(CaptureOptions::new()).unwrap();
    remove_all(&store);
    let stats = store.stats();
    assert_eq!((stats.entries, stats.versions, stats.dead, stats.records), (0, 0, 0, 0));
    assert_eq!(capture.drain().keys.len() as u64, KEYS);
    drop(capture);
    assert_counted(&store);
    assert_clean(&store);
}

#[test]
fn a_compare_and_set_to_nothing_removes_as_well() {
    let store = filled();
    for n in 0..KEYS {
        let expected = n.to_le_bytes();
        let differs = store.compare_and_set(&key(n), Some(b"another"), None).unwrap();
        assert_eq!(differs, CasOutcome::Differs(Some(expected.to_vec())));
        let did = store.compare_and_set(&key(n), Some(&expected), None).unwrap();
        assert_eq!(did, CasOutcome::Done);
    }
    let stats = store.stats();
    assert_eq!((stats.entries, stats.dead, stats.records), (0, 0, 0));
}

#[test]
fn after_the_clock_has_moved_a_collector_has_to_look_once() {
    let store = filled();
    drop(store.snapshot());
    for n in 0..KEYS / 2 {
        store.remove(&key(n)).unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.dead, stats.versions), (KEYS / 2, KEYS / 2 + KEYS), "value and removal each");
    let report = store.collect();
    assert_eq!((report.sealed as u64, report.unlinked, report.kept), (KEYS / 2, 0, 0));
    for n in KEYS / 2..KEYS {
        store.remove(&key(n)).unwrap();
    }
    assert_eq!((store.stats().dead, store.stats().records), (0, 0), "that was enough for all");
    assert_counted(&store);
    assert_clean(&store);
}

#[test]
fn a_snapshot_keeps_what_it_sees() {
    let store = filled();
    let held = store.snapshot();
    let digest = digest_of(&held);
    remove_all(&store);
    store.collect();
    assert_eq!((store.stats().held.entries, store.stats().entries), (KEYS, 0));
    assert_eq!(digest_of(&held), digest);
    // Half of the keys come again, on top of the removals.
    for n in (0..KEYS).step_by(2) {
        assert_eq!(store.get(&key(n)), None);
        store.put(&key(n), b"again").unwrap();
    }
    store.collect();
    let later = store.snapshot();
    for n in 0..KEYS {
        assert_eq!(held.get(&key(n)), Some(n.to_le_bytes().to_vec()));
        assert_eq!(later.get(&key(n)).is_some(), n % 2 == 0);
    }
    assert_eq!(digest_of(&held), digest);
    assert_counted(&store);
    drop(held);
    drop(later);
    store.collect();
    let stats = store.stats();
    assert_eq!((stats.entries, stats.versions, stats.records), (KEYS / 2, KEYS / 2, KEYS / 2));
    let report = store.compact();
    assert_eq!((report.moved as u64, report.kept), (KEYS / 2, 0), "nothing is left below");
    assert_clean(&store);
}

#[test]
fn a_snapshot_from_before_a_key_does_not_see_it_after_its_removal() {
    let store = Store::with_options(&Clock::new(), StoreOptions::new().with_manual_collection());
    store.put(b"other", b"1").unwrap();
    let before = store.snapshot();
    store.put(b"key", b"1").unwrap();
    let between = store.snapshot();
    assert_eq!(store.remove(b"key").unwrap(), Some(b"1".to_vec()));
    for _ in 0..2 {
        assert_eq!((before.get(b"key"), store.get(b"key")), (None, None));
        assert_eq!(between.get(b"key"), Some(b"1".to_vec()));
        assert_eq!((before.len(), between.len()), (1, 2));
        store.collect();
    }
    drop((before, between));
    assert_clean(&store);
}

#[test]
fn removals_and_writes_under_snapshots_that_come_and_go() {
    let store = filled();
    let mut rng = Rng(7);
    let mut held = Vec::new();
    for _ in 0..20_000 {
        let n = rng.below(KEYS / 10);
        match rng.below(8) {
            0..4 => _ = store.remove(&key(n)).unwrap(),
            4..6 => store.put(&key(n), &rng.next().to_le_bytes()).unwrap(),
            6 if rng.below(4) == 0 => {
                let snapshot = store.snapshot();
                held.push((digest_of(&snapshot), snapshot));
            }
            _ if held.len() > 6 => {
                let at = usize::try_from(rng.below(6)).unwrap();
                let (digest, snapshot) = held.swap_remove(at);
                assert_eq!(digest_of(&snapshot), digest, "snapshot {}", snapshot.number());
            }
            _ if rng.below(64) == 0 => _ = store.collect(),
            _ => {}
        }
    }
    assert_counted(&store);
    held.clear();
    assert_clean(&store);
}
