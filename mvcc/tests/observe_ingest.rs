//! Goal: a snapshot that is given up for an observer is read whole beside ingests: what one replaced is told before
//! it is collected, once, and of what nobody saw at that number (entries that lost, that were taken back, or that
//! came later) nothing is told.
//! Method: cases by hand; then one ingest after the other, over and behind, committed and cancelled, beside a
//! thread that writes some of its keys and one that collects. The oracle is a copy that was made while the snapshot
//! was held.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;
#[path = "common/walked.rs"]
mod walked;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Rng, assert_clean};
use walked::{Entries, Kept, StopOnDrop, content, together, walk, walk_resting};
use whimbrel_mvcc::{Batch, Clock, Ingest, IngestMode, IngestOptions, Store, StoreOptions};

fn key(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

/// What is garbage stays until it is asked for. Key n is there, with value "old", for n below `keys`.
fn filled(keys: u64) -> Store {
    let options = StoreOptions::new().with_manual_collection();
    let store = Store::with_options(&Clock::new(), options);
    (0..keys).for_each(|n| store.put(key(n), "old").unwrap());
    store
}

fn begin(store: &Store, mode: IngestMode) -> Ingest {
    Ingest::begin(&[store], IngestOptions::new().with_mode(mode)).unwrap()
}

/// Puts entries in place; an empty value stands for a removal.
fn fill<V: AsRef<[u8]>>(
    ingest: &Ingest,
    store: &Store,
    entries: impl IntoIterator<Item = (u64, V)>,
) {
    let mut part = ingest.part(store).unwrap();
    for (n, value) in entries {
        match value.as_ref() {
            [] => part.remove(&key(n)).unwrap(),
            value => part.put(&key(n), value).unwrap(),
        }
    }
}

fn told(kept: &Kept) -> Entries {
    kept.0.lock().unwrap().clone()
}

#[test]
fn what_an_ingest_replaces_is_told() {
    let store = filled(100);
    let ingest = begin(&store, IngestMode::Over);
    let value = |n: u64| if n.is_multiple_of(3) { "" } else { "new" };
    fill(&ingest, &store, (0..50).map(|n| (n, value(n))));
    let snapshot = store.snapshot();
    let expected = content(&snapshot);
    let kept = Arc::new(Kept::default());
    let observation = snapshot.observe_unlinks(kept.clone()).unwrap();
    fill(&ingest, &store, (50..90).map(|n| (n, value(n))));
    store.collect();
    assert_eq!((told(&kept), walk(&observation)), (Entries::new(), expected.clone()));
    ingest.commit().unwrap();
    store.collect();
    assert_eq!(told(&kept).len(), 90, "all that it replaced is gone");
    let walked = walk(&observation);
    assert_eq!(walked.len(), 10);
    assert_eq!(together(walked, &kept), expected);
    observation.finish().unwrap();
    assert_clean(&store);
}

#[test]
fn what_an_ingest_wrote_is_told_when_the_next_one_replaces_it() {
    let store = filled(10);
    let write = |value: &'static str| {
        let ingest = begin(&store, IngestMode::Over);
        fill(&ingest, &store, (5..20).map(|n| (n, value)));
        // One entry of each loses.
        store.put(key(7), value.to_uppercase()).unwrap();
        ingest.commit().unwrap();
    };
    write("first");
    let snapshot = store.snapshot();
    let expected = content(&snapshot);
    let kept = Arc::new(Kept::default());
    let observation = snapshot.observe_unlinks(kept.clone()).unwrap();
    write("");
    store.collect();
    assert_eq!(told(&kept).len(), 15);
    assert_eq!(together(walk(&observation), &kept), expected);
    observation.finish().unwrap();
    assert_clean(&store);
}

#[test]
fn what_was_written_on_a_running_ingest_hides_what_that_replaced() {
    let store = filled(1);
    let ingest = begin(&store, IngestMode::Over);
    fill(&ingest, &store, [(0, "ingested")]);
    store.put(key(0), "mine").unwrap();
    let kept = Arc::new(Kept::default());
    let observation = store.snapshot().observe_unlinks(kept.clone()).unwrap();
    // The version that was there dies by a number that the snapshot does not have, and is not what it saw.
    assert!(ingest.commit().unwrap().number > observation.number());
    store.collect();
    assert_eq!(told(&kept), Entries::new());
    let mine = Entries::from([(key(0).to_vec(), b"mine".to_vec())]);
    assert_eq!(walk(&observation), mine);
    store.put(key(0), "later").unwrap();
    store.collect();
    assert_eq!((told(&kept), walk(&observation)), (mine, Entries::new()));
    observation.finish().unwrap();
    assert_clean(&store);
}

#[test]
fn nothing_is_told_of_an_ingest_that_was_cancelled() {
    let store = filled(3);
    let ingest = begin(&store, IngestMode::Over);
    fill(&ingest, &store, [(0, "ingested"), (1, "ingested"), (2, ""), (3, "ingested")]);
    store.put(key(1), "mine").unwrap();
    let snapshot = store.snapshot();
    let expected = content(&snapshot);
    let kept = Arc::new(Kept::default());
    let observation = snapshot.observe_unlinks(kept.clone()).unwrap();
    store.remove(key(1)).unwrap();
    ingest.cancel();
    store.collect();
    assert_eq!(told(&kept), Entries::from([(key(1).to_vec(), b"mine".to_vec())]));
    assert_eq!(together(walk(&observation), &kept), expected);
    (0..4).for_each(|n| store.put(key(n), "later").unwrap());
    store.collect();
    assert_eq!((told(&kept), walk(&observation)), (expected, Entries::new()));
    observation.finish().unwrap();
    assert_clean(&store);
}

/// Keys that ingests alone write, and behind them some that others write as well.
const OWN: u64 = 500;
const SHARED: u64 = 200;

/// Who wrote a value: its first byte.
const WRITER: u8 = 1;
const INGEST: u8 = 2;
const CANCELLED: u8 = 3;

/// Some fit into their records, some do not.
fn value(by: u8, random: &mut Rng) -> Vec<u8> {
    let mut value = vec![u8::try_from(random.below(250)).unwrap(); 8];
    value[0] = by;
    value.resize([8, 300][usize::from(random.below(4) == 0)], 0);
    value
}

fn write(store: &Store, stopped: &AtomicBool) {
    let mut random = Rng(1);
    while !stopped.load(Ordering::Relaxed) {
        let [one, other] = [(); 2].map(|()| key(OWN + random.below(SHARED)));
        let value = value(WRITER, &mut random);
        match random.below(10) {
            0..5 => store.put(one, &value).unwrap(),
            5..8 => _ = store.remove(one).unwrap(),
            _ => {
                let mut batch = Batch::new();
                batch.put(store, one, value).remove(store, other);
                batch.commit().unwrap();
            }
        }
    }
}

fn ingest(store: &Store, stopped: &AtomicBool) {
    let mut random = Rng(2);
    while !stopped.load(Ordering::Relaxed) {
        let is_behind = random.below(4) == 0;
        let is_cancelled = random.below(4) == 0;
        let ingest = begin(store, if is_behind { IngestMode::Behind } else { IngestMode::Over });
        let by = if is_cancelled { CANCELLED } else { INGEST };
        let mut entries = Vec::new();
        for n in 0..OWN + SHARED {
            match random.below(8) {
                0 => entries.push((n, Vec::new())),
                1..4 => entries.push((n, value(by, &mut random))),
                _ => {}
            }
        }
        fill(&ingest, store, entries);
        thread::sleep(Duration::from_micros(random.below(500)));
        if is_cancelled {
            ingest.cancel();
        } else {
            ingest.commit().unwrap();
        }
    }
}

fn collect(store: &Store, stopped: &AtomicBool) {
    let mut random = Rng(3);
    while !stopped.load(Ordering::Relaxed) {
        store.collect();
        if random.below(100) == 0 {
            store.compact();
        }
        thread::yield_now();
    }
}

#[test]
fn walks_beside_ingests_are_whole() {
    let store = Store::new(&Clock::new());
    let stopped = AtomicBool::new(false);
    // How many entries a walk missed; were told of a key that ingests alone write; were told, of an ingest.
    let (mut missed, mut replaced, mut of_ingest) = (0, 0, 0);
    thread::scope(|scope| {
        for work in [write, ingest, collect] {
            let (store, stopped) = (&store, &stopped);
            scope.spawn(move || work(store, stopped));
        }
        let _stop = StopOnDrop(&stopped);
        let mut random = Rng(4);
        for round in 0..100 {
            thread::sleep(Duration::from_micros(random.below(1000)));
            let snapshot = store.snapshot();
            let expected = content(&snapshot);
            assert!(expected.values().all(|value| value[0] != CANCELLED), "it was taken back");
            let kept = Arc::new(Kept::default());
            let observation = snapshot.observe_unlinks(kept.clone()).unwrap();
            let walked = walk_resting(&observation, Duration::from_micros(300));
            observation.finish().unwrap();
            let is_seen = |(key, value): (&Vec<u8>, &Vec<u8>)| expected.get(key) == Some(value);
            assert!(walked.iter().all(is_seen), "round {round}");
            let told = told(&kept);
            assert!(told.iter().all(is_seen), "round {round}: told of what it did not see");
            missed += expected.len() - walked.len();
            replaced += told.keys().filter(|told| told.as_slice() < key(OWN).as_slice()).count();
            of_ingest += told.values().filter(|value| value[0] == INGEST).count();
            assert_eq!(together(walked, &kept), expected, "round {round}");
        }
    });
    println!("missed {missed}, replaced by ingests {replaced}, written by ingests {of_ingest}");
    assert!(missed > 0 && replaced > 0 && of_ingest > 0, "nothing was put to the test");
    assert_clean(&store);
}
