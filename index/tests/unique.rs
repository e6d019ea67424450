//! Goal: two documents never have one key of a unique index, whatever races; a refused or lost
//! attempt leaves nothing behind.
//! Method: many threads claim, keep and give up a few keys; snapshots beside them are checked from
//! within (a back-index entry that lists a key whose entry is another document's is an error), and
//! races for one free key have exactly one winner.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use whimbrel::mvcc::{Clock, Store};
use whimbrel::{Collection, CollectionDef, Document, Engine, Error, IndexDef, Partition, Value};

/// The first index is there to make updates long: a batch goes in in key order, so the more tags,
/// the longer the time between finding a unique key free and having it.
fn users() -> CollectionDef {
    CollectionDef::new("users")
        .index(IndexDef::new("tags").multi("tags"))
        .index(IndexDef::new("emails").multi("emails").unique().covering(["name"]))
        .index(IndexDef::new("login").asc("login").unique())
}

fn with_emails(emails: &[&str]) -> Document {
    Document::new().set_many("emails", emails.iter().copied()).set("name", "n")
}

fn slowed(doc: Document, tags: i64) -> Document {
    doc.set_many("tags", 0..tags)
}

/// Stops the writers however the checker ends, so that its panic is seen and not waited on.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_race_for_a_free_key_has_one_winner() {
    const THREADS: usize = 3;
    let engine = Engine::new();
    let users = engine.create_collection(users()).unwrap();
    let start = Barrier::new(THREADS);
    for round in 0..100 {
        let key = format!("k{round}");
        let winners: usize = thread::scope(|scope| {
            let attempts: Vec<_> = (0..THREADS)
                .map(|t| {
                    let (users, start, key) = (&users, &start, &key);
                    scope.spawn(move || {
                        start.wait();
                        match users.update(format!("{key}-{t}"), &slowed(with_emails(&[key]), 300))
                        {
                            Ok(()) => 1,
                            Err(Error::DuplicateKey { index, key: values, .. }) => {
                                assert_eq!(
                                    (index.as_str(), &values[..]),
                                    ("emails", &[key.into()][..])
                                );
                                0
                            }
                            Err(e) => panic!("{e}"),
                        }
                    })
                })
                .collect();
            attempts.into_iter().map(|a| a.join().unwrap()).sum()
        });
        assert_eq!(winners, 1, "round {round}");
    }
    let report = users.view().check().unwrap();
    assert_eq!((report.documents, report.reservations), (100, 0));
}

/// Several documents, several keys each, two unique indexes, documents shared between threads.
fn churn(users: &Collection, stop: &AtomicBool, thread: u64) -> (u64, u64) {
    let mut state = 88_172_645 + thread * 7_919;
    let mut random = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let (mut done, mut refused) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let id = format!("doc{}", random(6));
        if random(5) == 0 {
            users.remove(&id).unwrap();
            continue;
        }
        let emails: Vec<Value> =
            (0..random(4)).map(|_| Value::from(format!("e{}", random(8)))).collect();
        let mut doc = Document::new().set_many("emails", emails).set("name", format!("{thread}"));
        if random(2) == 0 {
            doc = doc.set("login", format!("l{}", random(4)));
        }
        match users.update(&id, &slowed(doc, 60)) {
            Ok(()) => done += 1,
            Err(Error::DuplicateKey { held_by, .. }) => {
                assert_ne!(held_by, id.as_bytes(), "refused because of itself");
                refused += 1;
            }
            Err(e) => panic!("{e}"),
        }
    }
    (done, refused)
}

#[test]
fn no_key_has_two_documents() {
    let engine = Engine::new();
    let users = engine.create_collection(users()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|t| {
                let (users, stop) = (&users, &stop);
                scope.spawn(move || churn(users, stop, t))
            })
            .collect();
        let stop = StopOnDrop(&stop);
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1500) {
            let view = users.view();
            view.check().unwrap();
            for index in ["emails", "login"] {
                let rows = view.query(index).unwrap().fetch().unwrap();
                let keys = rows.iter().filter(|r| !r.key()[0].is_null());
                let mut keys: Vec<_> = keys.map(|r| r.key().to_vec()).collect();
                let all = keys.len();
                keys.dedup();
                assert_eq!(keys.len(), all, "a key with two documents");
            }
        }
        drop(stop);
        for writer in writers {
            let (done, refused) = writer.join().unwrap();
            assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
        }
    });
    assert_eq!(users.view().check().unwrap().reservations, 0);
}

#[test]
fn keys_can_be_kept_given_up_and_handed_over() {
    let engine = Engine::new();
    let users = engine.create_collection(users()).unwrap();
    users.update("1", &with_emails(&["a", "b"])).unwrap();
    users.update("1", &with_emails(&["b", "c"])).unwrap();
    users.update("2", &with_emails(&["a"])).unwrap();
    let refused = users.update("2", &with_emails(&["d", "c"])).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "unique index \"emails\": the key (c) belongs to document \"1\""
    );
    // The refused update left nothing: what it wanted is free, what it had it has.
    users.update("3", &with_emails(&["d"])).unwrap();
    assert_eq!(users.query("emails").unwrap().eq(["a"]).fetch().unwrap()[0].doc_id(), b"2");
    assert!(users.remove("1").unwrap());
    users.update("4", &with_emails(&["b", "c"])).unwrap();
    users.view().check().unwrap();
    // Nulls are exempt: many documents without a login.
    assert_eq!(users.query("login").unwrap().eq([Value::Null]).count().unwrap(), 3);
}

#[test]
fn handles_on_one_store_guard_each_other() {
    let store = Store::new(&Clock::new());
    let a = Partition::create(&store, b"p/", &users(), 0).unwrap();
    let b = Partition::open(&store, b"p/").unwrap();
    a.update(b"1", &with_emails(&["x"])).unwrap();
    assert!(matches!(b.update(b"2", &with_emails(&["x"])), Err(Error::DuplicateKey { .. })));
    assert!(matches!(
        Partition::create(&store, b"p/", &users(), 0),
        Err(Error::CollectionExists { .. })
    ));
}

#[test]
fn a_reservation_of_a_process_that_is_gone_is_taken_over() {
    let store = Store::new(&Clock::new());
    let partition = Partition::create(&store, b"", &users(), 0).unwrap();
    // As docs of the layout have it: entry, index 1, the tuple ("x"); reserved, a process, a number.
    let key = b"\x02\x00\x01\x40x\x00\x01";
    let mut value = vec![0u8];
    value.extend_from_slice(&0xDEAD_u64.to_le_bytes());
    value.extend_from_slice(&7u64.to_le_bytes());
    store.put(key, &value).unwrap();
    let view = |p: &Partition| p.view(store.snapshot());
    assert_eq!(view(&partition).query("emails").unwrap().count().unwrap(), 0);
    partition.update(b"1", &with_emails(&["x"])).unwrap();
    assert_eq!(view(&partition).query("emails").unwrap().eq(["x"]).count().unwrap(), 1);
}
