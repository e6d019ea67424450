//! Goal: with several threads updating the same documents, every snapshot shows each document
//! wholly: its back-index entry and its entries in all indexes agree exactly, all of one update;
//! and a snapshot's answers never change.
//! Method: each update writes one fresh number into every field; a checker takes snapshots beside
//! the writers. At the end what is there equals the last update of each document by its own count.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use whimbrel::{Collection, CollectionDef, CollectionView, Document, Engine, IndexDef, Value};

const DOCUMENTS: u64 = 12;
const WRITERS: u64 = 3;
const RUN: Duration = Duration::from_millis(1500);

fn definition(partitions: u16) -> CollectionDef {
    CollectionDef::new("c")
        .index(IndexDef::new("a").asc("n").covering(["m"]))
        .index(IndexDef::new("b").desc("n").asc("fixed"))
        .index(IndexDef::new("tags").multi("tags"))
        .index(IndexDef::new("fixed").asc("fixed").covering(["n"]))
        .partitions(partitions)
}

fn document(n: i64) -> Document {
    // Between one and four tags, so that the number of entries changes too.
    let tags: Vec<_> = (0..=n % 4).map(|t| n * 10 + t).collect();
    Document::new().set("n", n).set("m", -n).set("fixed", "x").set_many("tags", tags)
}

/// The number that a document has in an index, by the covered value or the key.
fn numbers(
    view: &CollectionView,
    index: &str,
    of: impl Fn(&whimbrel::Row) -> i64,
) -> BTreeMap<Vec<u8>, i64> {
    let rows = view.query(index).unwrap().fetch().unwrap();
    let count = rows.len();
    let map: BTreeMap<_, _> = rows.iter().map(|r| (r.doc_id().to_vec(), of(r))).collect();
    assert_eq!(map.len(), count, "index {index}: one row a document");
    map
}

fn check(view: &CollectionView) -> BTreeMap<Vec<u8>, i64> {
    view.check().unwrap();
    let int = |row: &whimbrel::Row, field: &str| row.get(field).and_then(Value::as_int).unwrap();
    let a = numbers(view, "a", |row| int(row, "n"));
    assert_eq!(a, numbers(view, "a", |row| -int(row, "m")), "covered values of another update");
    assert_eq!(a, numbers(view, "b", |row| int(row, "n")), "indexes of different updates");
    assert_eq!(a, numbers(view, "fixed", |row| int(row, "n")), "a key that stays, another update");
    let mut tags: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
    for row in view.query("tags").unwrap().rows().unwrap() {
        let row = row.unwrap();
        let n = a[row.doc_id()];
        assert_eq!(int(&row, "tags") / 10, n, "a tag of another update");
        *tags.entry(row.doc_id().to_vec()).or_default() += 1;
    }
    for (doc, n) in &a {
        assert_eq!(tags[doc], n % 4 + 1, "tags of {doc:?}");
    }
    a
}

fn write(collection: &Collection, next: &AtomicU64, stop: &AtomicBool, thread: u64) -> u64 {
    let mut state = 0x9E37_79B9 + thread;
    let mut writes = 0;
    while !stop.load(Ordering::Relaxed) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let id = (state % DOCUMENTS).to_string();
        if state >> 32 & 7 == 0 {
            collection.remove(&id).unwrap();
        } else {
            let n = i64::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
            collection.update(&id, &document(n)).unwrap();
        }
        writes += 1;
    }
    writes
}

/// Stops the writers however the checker ends, so that its panic is seen and not waited on.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn run(partitions: u16) {
    let engine = Engine::new();
    let collection = engine.create_collection(definition(partitions)).unwrap();
    let (next, stop) = (AtomicU64::new(1), AtomicBool::new(false));
    let (writes, snapshots) = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|t| {
                let (collection, next, stop) = (&collection, &next, &stop);
                scope.spawn(move || write(collection, next, stop, t))
            })
            .collect();
        let stop = StopOnDrop(&stop);
        let started = Instant::now();
        let mut snapshots = 0u64;
        let mut held = None;
        while started.elapsed() < RUN {
            let snapshot = engine.snapshot();
            let seen = check(&snapshot.collection("c").unwrap());
            if let Some((old, old_seen, digest)) = held.take() {
                let old: whimbrel::EngineSnapshot = old;
                assert_eq!(check(&old.collection("c").unwrap()), old_seen, "a snapshot moved");
                assert_eq!(old.digest(), digest, "a snapshot moved");
            }
            let digest = snapshot.digest();
            held = Some((snapshot, seen, digest));
            snapshots += 1;
        }
        drop(stop);
        let writes: u64 = writers.into_iter().map(|w| w.join().unwrap()).sum();
        (writes, snapshots)
    });
    check(&collection.view());
    assert!(writes > 0 && snapshots > 0, "{writes} writes, {snapshots} snapshots");
}

#[test]
fn every_snapshot_shows_whole_documents() {
    run(1);
}

#[test]
fn and_over_several_partitions() {
    run(4);
}

#[test]
fn updates_of_one_thread_are_seen_by_its_next_snapshot() {
    let engine = Engine::new();
    let collection = engine.create_collection(definition(2)).unwrap();
    thread::scope(|scope| {
        for t in 0..2i64 {
            let (engine, collection) = (&engine, &collection);
            scope.spawn(move || {
                for n in 0..300 {
                    let n = n * 2 + t;
                    collection.update(t.to_string(), &document(n)).unwrap();
                    let view = engine.snapshot().collection("c").unwrap();
                    assert_eq!(view.query("a").unwrap().eq([n]).count().unwrap(), 1);
                }
            });
        }
    });
}
