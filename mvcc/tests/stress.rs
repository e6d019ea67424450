//! Goal: with many threads at once, snapshots are stable cuts, batches are atomic, single operations are
//! linearizable, and afterwards all garbage is gone and the running digest is exact.
//! Method: real threads; values encode what they may be seen with, so that any violation is visible.
//! Sizes: `WHIMBREL_STRESS` multiplies the rounds (default 1, a few seconds in all).

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::cast_possible_truncation, reason = "small numbers make keys")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Rng, assert_clean, digest_of};
use whimbrel_mvcc::{Batch, CasOutcome, Clock, Error, Inserted, Snapshot, Store, StoreOptions};

fn rounds(base: u64) -> u64 {
    let times = std::env::var("WHIMBREL_STRESS").ok().and_then(|times| times.parse().ok());
    base * times.unwrap_or(1)
}

fn new_store() -> Store {
    Store::with_options(&Clock::new(), StoreOptions::new().with_running_digest())
}

fn finish(store: &Store) {
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())), "running digest");
    assert_clean(store);
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())), "after collection");
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("8 bytes"))
}

fn number_at(snapshot: &Snapshot, key: &[u8]) -> u64 {
    snapshot.get_with(key, number).unwrap_or(0)
}

#[test]
fn snapshots_never_change() {
    let store = new_store();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let store = store.clone();
                scope.spawn(move || write_at_random(&store, seed, rounds(20_000)))
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held: Vec<(Snapshot, _)> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = store.snapshot();
                    let digest = digest_of(&snapshot);
                    held.push((snapshot, digest));
                    for (snapshot, digest) in &held {
                        assert_eq!(digest_of(snapshot), *digest, "snapshot {}", snapshot.number());
                        assert_eq!(snapshot.len() as u64, digest.count);
                        let down = snapshot.range(..).rev().entries().count();
                        assert_eq!(down as u64, digest.count);
                    }
                    if held.len() > 5 {
                        held.remove(held.len() / 2);
                        held.remove(0);
                    }
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    finish(&store);
}

fn write_at_random(store: &Store, seed: u64, rounds: u64) {
    let mut rng = Rng(seed);
    for round in 0..rounds {
        let key = [b'k', rng.below(48) as u8];
        let value =
            vec![round as u8; rng.below(20) as usize + 300 * usize::from(rng.below(50) == 0)];
        match rng.below(10) {
            0..4 => store.put(&key, &value).unwrap(),
            4..7 => _ = store.remove(&key).unwrap(),
            7 => _ = store.insert_unique(&key, &value).unwrap(),
            8 => _ = store.compare_and_set(&key, None, Some(&value)).unwrap(),
            _ => {
                let mut batch = Batch::new();
                for _ in 0..rng.below(6) + 1 {
                    let key = [b'k', rng.below(48) as u8];
                    match rng.below(2) {
                        0 => batch.put(store, key, value.clone()),
                        _ => batch.remove(store, key),
                    };
                }
                _ = batch.commit().unwrap();
            }
        }
    }
}

#[test]
fn batches_are_seen_whole() {
    const KEYS: u8 = 6;
    let clock = Clock::new();
    let options = || StoreOptions::new().with_running_digest();
    let (a, b) = (Store::with_options(&clock, options()), Store::with_options(&clock, options()));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // Every batch writes all keys of both stores, each writer adding them in its own order.
        let writers: Vec<_> = (0..3_u64)
            .map(|seed| {
                let (a, b) = (&a, &b);
                scope.spawn(move || {
                    for round in 0..rounds(4_000) {
                        let mut batch = Batch::new();
                        let value = (seed << 32 | round).to_be_bytes();
                        let removes = round % 5 == 4;
                        for key in 0..KEYS {
                            for store in [a, b] {
                                match removes {
                                    true => batch.remove(store, [key]),
                                    false => batch.put(store, [key], value),
                                };
                            }
                        }
                        let committed = batch.commit().unwrap();
                        assert!(committed.number <= a.clock().now());
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let hold = clock.hold();
                    let (a, b) = (a.snapshot_at(&hold), b.snapshot_at(&hold));
                    let first = a.get(&[0]);
                    for key in (0..KEYS).rev() {
                        assert_eq!(a.get(&[key]), first, "key {key} of a at {}", hold.number());
                        assert_eq!(b.get(&[key]), first, "key {key} of b at {}", hold.number());
                    }
                }
            });
        }
        // Single writes in the way: a key above all of the batches, and reads of the newest.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = a.get(&[KEYS / 2]);
                b.put(&[KEYS], b"single").unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    finish(&a);
    finish(&b);
}

#[test]
fn overlapping_batches_keep_the_sum() {
    // Transfers between accounts, each a batch with a precondition on its first key; a transfer writes
    // the second account from a value that the precondition cannot protect, so each account pair has a
    // guard key first in order.
    const PAIRS: u64 = 3;
    const TOTAL: u64 = 1000;
    let store = new_store();
    for pair in 0..PAIRS {
        let mut batch = Batch::new();
        batch.put(&store, [pair as u8, 0], 0_u64.to_be_bytes());
        batch.put(&store, [pair as u8, 1], TOTAL.to_be_bytes());
        batch.put(&store, [pair as u8, 2], 0_u64.to_be_bytes());
        batch.commit().unwrap();
    }
    let (done, retried) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|seed| {
                let (store, done, retried) = (&store, &done, &retried);
                scope.spawn(move || {
                    let mut rng = Rng(seed);
                    for _ in 0..rounds(8_000) {
                        let pair = rng.below(PAIRS) as u8;
                        while let Err(err) = transfer(store, pair, rng.below(2) == 0) {
                            assert!(matches!(err, Error::PreconditionFailed { .. }), "{err}");
                            retried.fetch_add(1, Ordering::Relaxed);
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let snapshot = store.snapshot();
                for pair in 0..PAIRS as u8 {
                    let sum = number_at(&snapshot, &[pair, 1]) + number_at(&snapshot, &[pair, 2]);
                    assert_eq!(sum, TOTAL, "pair {pair} at {}", snapshot.number());
                }
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let snapshot = store.snapshot();
    let counted: u64 = (0..PAIRS as u8).map(|pair| number_at(&snapshot, &[pair, 0])).sum();
    assert_eq!(counted, done.load(Ordering::Relaxed), "each transfer counted once");
    drop(snapshot);
    finish(&store);
}

fn transfer(store: &Store, pair: u8, up: bool) -> Result<(), Error> {
    let (count, token) = store.get_versioned(&[pair, 0]);
    let from = [pair, if up { 1 } else { 2 }];
    let to = [pair, if up { 2 } else { 1 }];
    // Read after the token: if the guard key is unchanged at the commit, so are these.
    let have = store.get_with(&from, number).unwrap();
    let other = store.get_with(&to, number).unwrap();
    let step = have.min(7);
    let mut batch = Batch::new();
    batch.expect(store, [pair, 0], token);
    batch.put(store, [pair, 0], (number(&count.unwrap()) + 1).to_be_bytes());
    batch.put(store, from, (have - step).to_be_bytes());
    batch.put(store, to, (other + step).to_be_bytes());
    batch.commit().map(|_| ())
}

#[test]
fn compare_and_set_counts_every_success() {
    let store = new_store();
    let threads = 4;
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..rounds(8_000) {
                    let mut current = store.get(b"counter");
                    loop {
                        let next = current.as_deref().map_or(0, number) + 1;
                        let new = next.to_be_bytes();
                        match store.compare_and_set(b"counter", current.as_deref(), Some(&new)) {
                            Ok(CasOutcome::Done) => break,
                            Ok(CasOutcome::Differs(other)) => {
                                assert!(
                                    other.as_deref().map(number) != current.as_deref().map(number)
                                );
                                current = other;
                            }
                            Err(err) => panic!("{err}"),
                        }
                    }
                }
            });
        }
    });
    assert_eq!(store.get_with(b"counter", number), Some(threads * rounds(8_000)));
    finish(&store);
}

/// Writer w writes 1, 2, 3.. in turn to its keys; a snapshot must show a prefix of that, at least as
/// long as what had returned before, and readers of the newest must never go back.
#[test]
fn snapshots_are_downward_closed_cuts() {
    const WRITERS: usize = 3;
    const KEYS: u64 = 4;
    let store = new_store();
    let returned: Vec<AtomicU64> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let key = |writer: usize, n: u64| [writer as u8, (n % KEYS) as u8];
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, returned) = (&store, &returned);
                scope.spawn(move || {
                    for n in 1..=rounds(30_000) {
                        if n % 7 == 0 {
                            let mut batch = Batch::new();
                            batch.put(store, key(writer, n), n.to_be_bytes());
                            batch.commit().unwrap();
                        } else {
                            store.put(&key(writer, n), &n.to_be_bytes()).unwrap();
                        }
                        returned[writer].store(n, Ordering::Release);
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let before: Vec<u64> =
                        returned.iter().map(|n| n.load(Ordering::Acquire)).collect();
                    let snapshot = store.snapshot();
                    for (writer, before) in before.iter().enumerate() {
                        check_prefix(&store, &snapshot, writer, *before, key);
                    }
                }
            });
        }
        for writer in writers {
            writer.join().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    finish(&store);
}

fn check_prefix(
    store: &Store,
    snapshot: &Snapshot,
    writer: usize,
    before: u64,
    key: impl Fn(usize, u64) -> [u8; 2],
) {
    let at = snapshot.number();
    let seen: Vec<u64> = (0..4).map(|n| number_at(snapshot, &key(writer, n))).collect();
    let most = *seen.iter().max().unwrap();
    assert!(most >= before, "writer {writer} at {at}: {most} seen, {before} had returned");
    for n in most.saturating_sub(3).max(1)..=most {
        assert_eq!(seen[(n % 4) as usize], n, "writer {writer} at {at}: {seen:?} is no prefix");
    }
    for n in 0..4 {
        let newest = store.get_with(&key(writer, n), number).unwrap_or(0);
        assert!(newest >= seen[n as usize], "a read of the newest went back");
    }
}

#[test]
fn inserts_and_removes_pair_up() {
    const KEYS: u64 = 5;
    let store = new_store();
    let balance: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let taken: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4_u64)
            .map(|seed| {
                let (store, balance) = (&store, &balance);
                scope.spawn(move || {
                    let (mut rng, mut taken) = (Rng(seed), Vec::new());
                    for round in 0..rounds(15_000) {
                        let slot = rng.below(KEYS);
                        let value = (seed << 32 | round).to_be_bytes();
                        if rng.below(2) == 0 {
                            if store.insert_unique(&[slot as u8], &value).unwrap()
                                == Inserted::Inserted
                            {
                                balance[slot as usize].fetch_add(1, Ordering::Relaxed);
                            }
                        } else if let Some(value) = store.remove(&[slot as u8]).unwrap() {
                            balance[slot as usize].fetch_sub(1, Ordering::Relaxed);
                            taken.push(number(&value));
                        }
                        if round % 64 == 0 {
                            drop(store.snapshot());
                        }
                    }
                    taken
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let mut unique = taken.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), taken.len(), "a value was removed twice");
    for slot in 0..KEYS {
        let present = u64::from(store.contains_key(&[slot as u8]));
        assert_eq!(balance[slot as usize].load(Ordering::Relaxed), present, "key {slot}");
    }
    finish(&store);
}

#[test]
fn a_held_snapshot_keeps_only_what_it_sees() {
    let store = new_store();
    for n in 0..200_u64 {
        store.put(&n.to_be_bytes(), b"first").unwrap();
    }
    let held = store.snapshot();
    let digest = digest_of(&held);
    for round in 0..rounds(50) {
        for n in 0..200_u64 {
            store.put(&n.to_be_bytes(), &round.to_be_bytes()).unwrap();
        }
        drop(store.snapshot());
    }
    store.collect();
    let stats = store.stats();
    assert_eq!(stats.versions, 400, "the newest and what the snapshot sees: {stats:?}");
    assert_eq!(digest_of(&held), digest);
    drop(held);
    finish(&store);
}

#[test]
fn the_registry_grows_under_many_open_snapshots() {
    // Every round has a new clock, whose registry of open snapshots grows while it is being read.
    for round in 0..rounds(60) {
        let store = new_store();
        thread::scope(|scope| {
            for writer in 0..3_u8 {
                let store = &store;
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for n in 1..=40_u64 {
                        store.put(&[writer], &n.to_be_bytes()).unwrap();
                        held.push((store.snapshot(), n));
                        if n % 10 == 0 {
                            store.collect();
                        }
                    }
                    for (snapshot, n) in &held {
                        assert_eq!(number_at(snapshot, &[writer]), *n, "round {round}");
                    }
                });
            }
        });
        finish(&store);
    }
}

#[test]
fn dropping_a_store_gives_everything_back() {
    let clock = Clock::new();
    let store = Store::new(&clock);
    let hold = clock.hold();
    for n in 0..1000_u64 {
        store.put(&n.to_be_bytes(), &[1; 400]).unwrap();
        store.put(&n.to_be_bytes(), &[2; 10]).unwrap();
    }
    let snapshot = store.snapshot_at(&hold);
    assert!(snapshot.is_empty());
    drop(store);
    assert!(snapshot.is_empty(), "a snapshot keeps its store");
    drop(snapshot);
    for _ in 0..4 {
        clock.barrier().flush();
    }
    let stats = clock.barrier().stats();
    assert_eq!(stats.retired, stats.reclaimed, "{stats:?}");
}
