//! Goal: with an ingest open, every operation answers as it should, and readers never see a part of it.
//! Method: random sequences in which an ingest is open against a map; then threads that write the same keys, read,
//! take snapshots and collect beside one ingest after the other.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;
#[path = "common/ingests.rs"]
mod ingests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::Rng;
use ingests::{begin, check_clean, content, store};
use proptest::prelude::*;
use whimbrel_mvcc::{
    Batch, Clock, Ingest, IngestMode, IngestOptions, Inserted, Snapshot, Store, StoreOptions,
};

#[derive(Debug, Clone)]
enum Op {
    Put(u8, u8),
    InsertUnique(u8, u8),
    Remove(u8),
    Batch(Vec<(u8, Option<u8>)>, bool),
    Snapshot,
    Close,
    Collect,
    Compact,
    Begin(bool),
    Entry(u8, Option<u8>),
    Commit,
    Cancel,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0_u8..10;
    let value = || any::<u8>();
    prop_oneof![
        5 => (key(), value()).prop_map(|(k, v)| Op::Put(k, v)),
        2 => (key(), value()).prop_map(|(k, v)| Op::InsertUnique(k, v)),
        4 => key().prop_map(Op::Remove),
        3 => (proptest::collection::vec((key(), proptest::option::of(value())), 1..5), any::<bool>())
            .prop_map(|(ops, expect)| Op::Batch(ops, expect)),
        2 => Just(Op::Snapshot),
        1 => Just(Op::Close),
        2 => Just(Op::Collect),
        1 => Just(Op::Compact),
        3 => any::<bool>().prop_map(Op::Begin),
        9 => (key(), proptest::option::of(value())).prop_map(|(k, v)| Op::Entry(k, v)),
        2 => Just(Op::Commit),
        1 => Just(Op::Cancel),
    ]
}

/// An ingest that is open, and what the map says of it.
struct Open {
    ingest: Ingest,
    behind: bool,
    /// Entries that are in place.
    entries: BTreeMap<u8, Option<u8>>,
    /// Keys that were written or removed since it began.
    written: BTreeSet<u8>,
}

struct Run {
    store: Store,
    map: BTreeMap<u8, u8>,
    /// Keys that were removed: a tombstone may be there.
    removed: BTreeSet<u8>,
    open: Option<Open>,
    snapshots: Vec<(Snapshot, BTreeMap<u8, u8>)>,
}

impl Run {
    fn wrote(&mut self, key: u8, value: Option<u8>) {
        match value {
            Some(value) => _ = self.map.insert(key, value),
            None => {
                self.map.remove(&key);
                self.removed.insert(key);
            }
        }
        if let Some(open) = &mut self.open {
            open.written.insert(key);
        }
    }

    fn entry(&mut self, key: u8, value: Option<u8>) {
        let Some(open) = &mut self.open else { return };
        let unknown = open.behind && self.removed.contains(&key) && !open.written.contains(&key);
        if unknown || open.entries.contains_key(&key) {
            return;
        }
        let mut part = open.ingest.part(&self.store).unwrap();
        match value {
            Some(value) => part.put(&[key], &[value]).unwrap(),
            None => part.remove(&[key]).unwrap(),
        }
        let current = self.map.get(&key).copied();
        let loses = open.written.contains(&key) || (open.behind && current.is_some());
        assert_eq!(part.written() == 1, !loses && current != value, "{key} {value:?} {current:?}");
        if part.written() == 1 {
            open.entries.insert(key, value);
        }
    }

    fn commit(&mut self) {
        let Some(open) = self.open.take() else { return };
        let report = open.ingest.commit().unwrap();
        assert_eq!(report.written, open.entries.len() as u64);
        for (key, value) in open.entries.into_iter().filter(|(key, _)| !open.written.contains(key))
        {
            self.wrote(key, value);
        }
    }

    fn batch(&mut self, ops: &[(u8, Option<u8>)], expect: bool) {
        let mut batch = Batch::new();
        if expect {
            let first = ops.iter().map(|(key, _)| *key).min().unwrap();
            let (_, token) = self.store.get_versioned(&[first]);
            batch.expect(&self.store, [first], token);
        }
        for (key, value) in ops {
            match value {
                Some(value) => batch.put(&self.store, [*key], [*value]),
                None => batch.remove(&self.store, [*key]),
            };
        }
        batch.commit().unwrap();
        ops.iter().for_each(|(key, value)| self.wrote(*key, *value));
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(key, value) => {
                self.store.put(&[*key], &[*value]).unwrap();
                self.wrote(*key, Some(*value));
            }
            Op::InsertUnique(key, value) => {
                let did = self.store.insert_unique(&[*key], &[*value]).unwrap();
                assert_eq!(did == Inserted::Exists, self.map.contains_key(key));
                if did == Inserted::Inserted {
                    self.wrote(*key, Some(*value));
                }
            }
            Op::Remove(key) => {
                let removed = self.store.remove(&[*key]).unwrap();
                assert_eq!(removed, self.map.get(key).map(|value| vec![*value]));
                if removed.is_some() {
                    self.wrote(*key, None);
                }
            }
            Op::Batch(ops, expect) => self.batch(ops, *expect),
            Op::Snapshot => self.snapshots.push((self.store.snapshot(), self.map.clone())),
            Op::Close => _ = self.snapshots.pop(),
            Op::Collect => _ = self.store.collect_all(),
            Op::Compact => _ = self.store.compact(),
            Op::Begin(behind) if self.open.is_none() => {
                let mode = if *behind { IngestMode::Behind } else { IngestMode::Over };
                let ingest = begin(&self.store, IngestOptions::new().with_mode(mode));
                let (entries, written) = (BTreeMap::new(), BTreeSet::new());
                self.open = Some(Open { ingest, behind: *behind, entries, written });
            }
            Op::Begin(_) => {}
            Op::Entry(key, value) => self.entry(*key, *value),
            Op::Commit => self.commit(),
            Op::Cancel => self.open = None,
        }
        self.check(&self.store.snapshot(), &self.map);
    }

    fn check(&self, snapshot: &Snapshot, map: &BTreeMap<u8, u8>) {
        let wanted: BTreeMap<_, _> =
            map.iter().map(|(key, value)| (vec![*key], vec![*value])).collect();
        assert_eq!(content(snapshot), wanted);
    }

    fn finish(mut self) {
        self.open = None;
        self.snapshots.iter().for_each(|(snapshot, map)| self.check(snapshot, map));
        for key in 0..10 {
            assert_eq!(self.store.get(&[key]), self.map.get(&key).map(|value| vec![*value]));
        }
        self.snapshots.clear();
        check_clean(&self.store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn with_an_ingest_open_it_answers_like_a_map(
        ops in proptest::collection::vec(op(), 1..80),
        manual in any::<bool>(),
    ) {
        let options = StoreOptions::new().with_running_digest();
        let options = if manual { options.with_manual_collection() } else { options };
        let store = Store::with_options(&Clock::new(), options);
        let (map, removed) = (BTreeMap::new(), BTreeSet::new());
        let mut run = Run { store, map, removed, open: None, snapshots: Vec::new() };
        ops.iter().for_each(|op| run.apply(op));
        run.finish();
    }
}

/// Rounds of ingest beside the threads; each writes its number to all keys of its own, and to the shared ones.
const ROUNDS: u64 = if cfg!(debug_assertions) { 60 } else { 300 };
const OWN: u64 = 300;
const SHARED: u64 = 40;

fn own(n: u64) -> Vec<u8> {
    [b"o".as_slice(), &n.to_be_bytes()].concat()
}

fn shared(n: u64) -> Vec<u8> {
    [b"s".as_slice(), &n.to_be_bytes()].concat()
}

fn number(value: &[u8]) -> u64 {
    u64::from_le_bytes(value.try_into().unwrap())
}

fn one_round(store: &Store, round: u64) {
    let ingest = begin(store, IngestOptions::new());
    thread::scope(|scope| {
        let ingest = &ingest;
        scope.spawn(move || {
            let mut part = ingest.part(store).unwrap();
            (0..OWN).for_each(|n| part.put(&own(n), &round.to_le_bytes()).unwrap());
        });
        let mut part = ingest.part(store).unwrap();
        (0..SHARED).for_each(|n| part.put(&shared(n), &round.to_le_bytes()).unwrap());
    });
    // Every third is cancelled; no reader may ever see its number.
    if round.is_multiple_of(3) {
        ingest.cancel();
    } else {
        ingest.commit().unwrap();
        assert_eq!(store.get_with(&own(0), number), Some(round));
    }
}

fn read_whole(store: &Store, stop: &AtomicBool) {
    let mut newest = 0;
    while !stop.load(Ordering::Relaxed) {
        let seen = store.get_with(&own(OWN - 1), number).unwrap_or(0);
        assert!(seen >= newest && (seen == 0 || !seen.is_multiple_of(3)), "{seen} after {newest}");
        let other = store.get_with(&own(0), number).unwrap_or(0);
        assert!(other >= seen, "an ingest was read on one key and not on the other afterwards");
        let snapshot = store.snapshot();
        let first = snapshot.get_with(&own(0), number).unwrap_or(0);
        assert!(first >= other, "a snapshot lacks what was read before");
        let mut cursor = snapshot.prefix(b"o");
        let mut count = 0;
        while let Some((_, value)) = cursor.next_entry() {
            assert_eq!(number(value), first, "torn");
            count += 1;
        }
        assert!(count == 0 || count == OWN);
        newest = first;
    }
}

/// Values above all rounds, so that they differ from what ingests write.
fn write_shared(store: &Store, stop: &AtomicBool, seed: u64) {
    let mut rng = Rng(seed);
    let mut count = 1 << 32;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let (key, value) = (shared(rng.below(SHARED)), u64::to_le_bytes(count));
        match rng.below(6) {
            0 => _ = store.remove(&key).unwrap(),
            1 => _ = store.insert_unique(&key, &value).unwrap(),
            2 => {
                let (_, token) = store.get_versioned(&key);
                let mut batch = Batch::new();
                batch.expect(store, key.clone(), token).put(store, key, value);
                _ = batch.commit();
            }
            3 => {
                let mut batch = Batch::new();
                let other = shared(rng.below(SHARED));
                batch.put(store, key, value).put(store, other, value);
                batch.commit().unwrap();
            }
            4 => {
                let old = store.get(&key);
                _ = store.compare_and_set(&key, old.as_deref(), Some(&value)).unwrap();
            }
            _ => store.put(&key, &value).unwrap(),
        }
    }
}

#[test]
fn beside_readers_and_writers() {
    let store = store();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| read_whole(&store, &stop));
        scope.spawn(|| write_shared(&store, &stop, 1));
        scope.spawn(|| write_shared(&store, &stop, 2));
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                store.compact();
                store.collect_all();
            }
        });
        (1..=ROUNDS).for_each(|round| one_round(&store, round));
        stop.store(true, Ordering::Relaxed);
    });
    check_clean(&store);
}
