//! Goal: compaction beside writers, batches, snapshots and collectors loses nothing and changes nothing
//! that is seen, and brings the figures of a churned or emptied store to those of a fresh one.
//! Method: writers own keys and check what they wrote last; snapshots are digested again and again.
//! `WHIMBREL_STRESS` multiplies the rounds.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Rng, assert_clean, digest_of};
use whimbrel_mvcc::{Batch, Clock, Store, StoreOptions};

const KEYS: u64 = 600;

fn rounds(base: u64) -> u64 {
    let times = std::env::var("WHIMBREL_STRESS").ok().and_then(|times| times.parse().ok());
    base * times.unwrap_or(1)
}

fn new_store() -> Store {
    Store::with_options(&Clock::new(), StoreOptions::new().with_running_digest())
}

fn key(n: u64, owner: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key[8] = owner.to_le_bytes()[0];
    key
}

/// Writes and removes keys of its own, one by one and in batches, and checks each before.
fn write_own(store: &Store, owner: u64) {
    let mut rng = Rng(owner);
    let mut mine = vec![None; usize::try_from(KEYS).unwrap()];
    for round in 1..rounds(40_000) {
        let n = rng.below(KEYS);
        let at = usize::try_from(n).unwrap();
        let value = vec![round.to_le_bytes()[0]; usize::try_from(rng.below(3) * 150 + 1).unwrap()];
        assert_eq!(store.get(&key(n, owner)), mine[at], "owner {owner}, key {n}");
        match rng.below(4) {
            0 => {
                assert_eq!(store.remove(&key(n, owner)).unwrap(), mine[at].take());
            }
            1 => {
                let other = (at + 7) % mine.len();
                let mut batch = Batch::new();
                batch.put(store, key(n, owner), value.clone());
                batch.put(store, key(other as u64, owner), value.clone());
                batch.commit().unwrap();
                mine[other] = Some(value.clone());
                mine[at] = Some(value);
            }
            _ => {
                store.put(&key(n, owner), &value).unwrap();
                mine[at] = Some(value);
            }
        }
    }
}

#[test]
fn compaction_beside_writers_and_snapshots() {
    let store = new_store();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|owner| {
                let store = store.clone();
                scope.spawn(move || write_own(&store, owner))
            })
            .collect();
        let compactor = scope.spawn(|| {
            let mut moved = 0;
            while !stop.load(Ordering::Relaxed) {
                moved += store.compact().moved;
            }
            moved
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let snapshot = store.snapshot();
                let digest = digest_of(&snapshot);
                for _ in 0..4 {
                    assert_eq!(digest_of(&snapshot), digest, "snapshot {}", snapshot.number());
                    let down = snapshot.range(..).rev().entries().count();
                    assert_eq!(down as u64, digest.count);
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(compactor.join().unwrap() > 1000, "nothing moved");
    });
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())), "running digest");
    assert_clean(&store);
    let report = store.compact();
    assert_eq!((report.moved as u64, report.kept), (store.stats().entries, 0));
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())), "after compaction");
    assert_clean(&store);
}

#[test]
fn a_churned_store_has_the_figures_of_a_fresh_one() {
    let store = new_store();
    let fill = |round: u8| {
        for n in 0..10_000 {
            let len = usize::try_from(n % 300).unwrap();
            store.put(&key(n, 0), &vec![round; len]).unwrap();
        }
    };
    fill(0);
    let fresh = store.stats();
    (1..4).for_each(fill);
    let held = store.snapshot();
    fill(4);
    let report = store.compact();
    assert_eq!((report.moved, report.kept), (0, 10_000), "the snapshot keeps older versions");
    drop(held);
    let digest = store.digest();
    let report = store.compact();
    assert_eq!((report.moved, report.kept), (10_000, 0));
    assert_eq!(store.stats().version_bytes, fresh.version_bytes);
    assert_eq!((store.digest(), store.stats().entries), (digest, 10_000));
    assert_clean(&store);
}

#[test]
fn an_emptied_store_gives_its_blocks_back() {
    let store = new_store();
    for n in 0..20_000 {
        store.put(&key(n, 0), b"12345678").unwrap();
    }
    let full = store.stats().record_bytes;
    for n in (0..20_000).map(|n| n * 7_919 % 20_000).filter(|n| n % 10 != 3) {
        store.remove(&key(n, 0)).unwrap();
    }
    let report = store.compact();
    assert_eq!((report.moved, report.kept), (2_000, 0));
    assert!(report.merged > 0, "{report:?}");
    let bytes = store.stats().record_bytes;
    assert!(bytes * 100 < full * 13, "{bytes} of {full} bytes are left");
    for n in 0..20_000 {
        assert_eq!(store.contains_key(&key(n, 0)), n % 10 == 3);
    }
    assert_clean(&store);
}
