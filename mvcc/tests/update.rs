//! Goal: read-modify-write does what was decided about what was there, once, whatever else runs; what it
//! writes is counted, captured and collected as any other write; a panic in the middle leaves nothing.
//! Method: one thread step by step, then threads that count on few keys.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use common::{assert_clean, digest_of};
use whimbrel_mvcc::{CaptureOptions, Clock, Error, Store, StoreOptions, Update, Updated};

const KEEP: Update<&[u8]> = Update::Keep;

fn number(value: Option<&[u8]>) -> u64 {
    value.map_or(0, |value| u64::from_be_bytes(value[..8].try_into().unwrap()))
}

fn store() -> Store {
    Store::with_options(&Clock::new(), StoreOptions::new().with_running_digest())
}

#[test]
fn what_was_decided_is_done() {
    let store = store();
    let capture = store.capture(CaptureOptions::new()).unwrap();
    let mut given = Vec::new();
    let mut update = |decision: Update<Vec<u8>>| {
        let done = store.update("key", |value| {
            given.push(value.map(<[u8]>::to_vec));
            decision.clone()
        });
        (done.unwrap(), store.get("key"))
    };
    assert_eq!(update(Update::Keep), (Updated::Kept, None));
    assert_eq!(update(Update::Remove), (Updated::Kept, None));
    let long = vec![7; 1000];
    for value in [b"one".to_vec(), long.clone(), Vec::new(), long] {
        assert_eq!(update(Update::Put(value.clone())), (Updated::Put, Some(value.clone())));
        assert_eq!(update(Update::Keep), (Updated::Kept, Some(value)));
    }
    assert_eq!(update(Update::Remove), (Updated::Removed, None));
    assert_eq!(update(Update::Put(b"again".to_vec())), (Updated::Put, Some(b"again".to_vec())));
    assert_eq!(given.len(), 12, "nobody else writes, so each ran once");
    assert_eq!(given.last(), Some(&None));
    assert_eq!(capture.drain().keys, [b"key"]);
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())));
    assert_clean(&store);
}

#[test]
fn what_is_kept_makes_no_version() {
    let store = store();
    store.put("key", "value").unwrap();
    let before = store.stats();
    for key in ["key", "absent"] {
        assert_eq!(store.update(key, |_| KEEP), Ok(Updated::Kept));
    }
    assert_eq!(store.update("absent", |_| Update::<&[u8]>::Remove), Ok(Updated::Kept));
    assert_eq!(store.stats(), before);
}

#[test]
fn snapshots_keep_what_was_there() {
    let store = store();
    store.put("key", 1_u64.to_be_bytes()).unwrap();
    let before = store.snapshot();
    store.update("key", |value| Update::Put((number(value) + 1).to_be_bytes())).unwrap();
    assert_eq!(number(before.get("key").as_deref()), 1);
    assert_eq!(number(store.snapshot().get("key").as_deref()), 2);
}

#[test]
fn a_long_key_is_refused_and_nothing_runs() {
    let refused = store().update(vec![0; 70_000], |_| -> Update { panic!("it does not run") });
    assert!(matches!(refused, Err(Error::KeyTooLong { len: 70_000, max: 65_535 })));
}

#[test]
fn after_a_panic_the_store_is_as_before() {
    let store = store();
    store.put("there", "value").unwrap();
    let before = store.stats();
    for key in ["there", "absent"] {
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            store.update(key, |_| -> Update { panic!("on purpose") })
        }));
        panicked.unwrap_err();
    }
    assert_eq!(store.stats(), before);
    assert_eq!(store.update("there", |_| Update::Put("new")), Ok(Updated::Put));
    assert_eq!(store.update("absent", |_| Update::Put("new")), Ok(Updated::Put));
    // The sessions of those that panicked have ended, so memory comes back.
    assert_clean(&store);
}

#[test]
fn other_keys_may_be_read_and_written_meanwhile() {
    let store = store();
    store.put("from", 5_u64.to_be_bytes()).unwrap();
    let moved = store.update("to", |to| {
        let sum = number(to) + number(store.get("from").as_deref());
        store.put("log", "read").unwrap();
        Update::Put(sum.to_be_bytes())
    });
    assert_eq!(moved, Ok(Updated::Put));
    assert_eq!(number(store.get("to").as_deref()), 5);
}

#[test]
fn no_count_is_lost() {
    const THREADS: u64 = 4;
    const TIMES: u64 = 5_000;
    let store = store();
    let runs: u64 = thread::scope(|scope| {
        let counters = (0..THREADS).map(|_| {
            scope.spawn(|| {
                let mut runs = 0;
                for time in 0..TIMES {
                    // A count of two keys; one of them is removed at each hundred, into a third.
                    let key = if time % 2 == 0 { "a" } else { "b" };
                    let mut due = 0;
                    let count = |value: Option<&[u8]>| {
                        runs += 1;
                        let count = number(value) + 1;
                        due = if count == 100 { 100 } else { 0 };
                        if due > 0 { Update::Remove } else { Update::Put(count.to_be_bytes()) }
                    };
                    store.update(key, count).unwrap();
                    if due > 0 {
                        let add =
                            |value: Option<&[u8]>| Update::Put((number(value) + due).to_be_bytes());
                        store.update("sum", add).unwrap();
                    }
                }
                runs
            })
        });
        counters.collect::<Vec<_>>().into_iter().map(|counter| counter.join().unwrap()).sum()
    });
    assert!(runs >= THREADS * TIMES);
    let sum: u64 = ["a", "b", "sum"].iter().map(|key| number(store.get(key).as_deref())).sum();
    assert_eq!(sum, THREADS * TIMES, "{runs} runs");
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())));
    assert_clean(&store);
}
