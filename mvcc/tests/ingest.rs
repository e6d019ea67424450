//! Goal: an ingest appears as a whole or not at all, wins over what was there when it began or over nothing,
//! loses to what came meanwhile, changes nothing the second time, and leaves no garbage, committed or not.
//! Method: cases by hand; random sequences in which an ingest is open against a map; then threads that write the
//! same keys, read, take snapshots and collect beside one ingest after the other.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Rng, assert_clean, digest_of};
use proptest::prelude::*;
use whimbrel_mvcc::{
    Batch, CasOutcome, Clock, Error, Ingest, IngestMode, IngestOptions, IngestReport, Inserted,
    MAX_BATCH_OPS, Snapshot, Store, StoreOptions, VersionToken,
};

type Entry<'e> = (&'e str, Option<&'e str>);

fn store() -> Store {
    Store::with_options(&Clock::new(), StoreOptions::new().with_running_digest())
}

fn begin(store: &Store, options: IngestOptions) -> Ingest {
    Ingest::begin(&[store], options).unwrap()
}

fn fill(ingest: &Ingest, store: &Store, entries: &[Entry<'_>]) {
    let mut part = ingest.part(store).unwrap();
    for (key, value) in entries {
        match value {
            Some(value) => part.put(key.as_bytes(), value.as_bytes()).unwrap(),
            None => part.remove(key.as_bytes()).unwrap(),
        }
    }
}

fn ingest(store: &Store, options: IngestOptions, entries: &[Entry<'_>]) -> IngestReport {
    let ingest = begin(store, options);
    fill(&ingest, store, entries);
    ingest.commit().unwrap()
}

fn get(store: &Store, key: &str) -> Option<String> {
    store.get(key.as_bytes()).map(|value| String::from_utf8(value).unwrap())
}

fn content(snapshot: &Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    snapshot.range(..).entries().collect()
}

fn check_clean(store: &Store) {
    assert_clean(store);
    assert_eq!(store.digest(), Some(digest_of(&store.snapshot())));
}

#[test]
fn all_entries_appear_at_one_number() {
    let store = store();
    for n in 0..100_u32 {
        store.put(format!("{n:03}").as_bytes(), b"old").unwrap();
    }
    let before = store.snapshot();
    let ingest = begin(&store, IngestOptions::new());
    let mut part = ingest.part(&store).unwrap();
    for n in (0..2 * MAX_BATCH_OPS).step_by(2) {
        part.put(format!("{n:05}").as_bytes(), b"new").unwrap();
    }
    part.remove(b"000").unwrap_err();
    drop(part);
    let mut part = ingest.part(&store).unwrap();
    for n in (0..100_u32).step_by(3) {
        part.remove(format!("{n:03}").as_bytes()).unwrap();
    }
    drop(part);
    let between = store.snapshot();
    let old = content(&before);
    assert_eq!(content(&between), old, "nothing is seen before the commit");
    assert_eq!(store.get(b"00000"), None);
    assert_eq!(store.get(b"000"), Some(b"old".to_vec()));
    let report = ingest.commit().unwrap();
    assert_eq!((report.same, report.lost), (0, 0));
    assert_eq!(report.written, MAX_BATCH_OPS as u64 + 34);
    let after = store.snapshot();
    assert!(before.number() < report.number && report.number <= after.number());
    assert_eq!(content(&between), old, "nor in a snapshot from before");
    assert_eq!(after.len(), 66 + MAX_BATCH_OPS);
    drop((before, between, after));
    check_clean(&store);
}

#[test]
fn over_wins_over_what_was_there_and_loses_to_what_comes() {
    let store = store();
    for key in ["a", "b", "c", "d", "e"] {
        store.put(key.as_bytes(), b"old").unwrap();
    }
    store.remove(b"e").unwrap();
    let ingest = begin(&store, IngestOptions::new());
    store.put(b"a", b"came first").unwrap();
    store.remove(b"b").unwrap();
    let new = Some("new");
    fill(
        &ingest,
        &store,
        &[("a", new), ("b", new), ("c", new), ("d", new), ("e", new), ("f", new)],
    );
    store.put(b"c", b"came after").unwrap();
    assert_eq!(
        store.remove(b"d").unwrap(),
        Some(b"old".to_vec()),
        "what is there, and not what will be"
    );
    assert_eq!(store.insert_unique(b"f", b"mine").unwrap(), Inserted::Inserted);
    let report = ingest.commit().unwrap();
    assert_eq!((report.written, report.same, report.lost), (4, 0, 5));
    let got: Vec<_> = ["a", "b", "c", "d", "e", "f"].iter().map(|key| get(&store, key)).collect();
    let is = |value: &str| Some(value.to_owned());
    let wanted = [is("came first"), None, is("came after"), None, is("new"), is("mine")];
    assert_eq!(got, wanted);
    check_clean(&store);
}

#[test]
fn behind_loses_to_whatever_is_there() {
    let store = store();
    store.put(b"a", b"old").unwrap();
    store.put(b"b", b"old").unwrap();
    let base = store.snapshot();
    store.remove(b"b").unwrap();
    store.collect_all();
    let options = IngestOptions::new().with_mode(IngestMode::Behind).with_base(base.hold());
    let ingest = begin(&store, options);
    let new = Some("new");
    fill(&ingest, &store, &[("a", new), ("b", new), ("c", new), ("d", new), ("e", None)]);
    store.put(b"d", b"came after").unwrap();
    let report = ingest.commit().unwrap();
    assert_eq!((report.written, report.same, report.lost), (2, 1, 3));
    assert_eq!((get(&store, "a"), get(&store, "b")), (Some("old".into()), None));
    assert_eq!(
        (get(&store, "c"), get(&store, "d")),
        (Some("new".into()), Some("came after".into()))
    );
    drop(base);
    check_clean(&store);
}

#[test]
fn operations_on_a_running_ingest_see_what_is_below_it() {
    let store = store();
    store.put(b"there", b"old").unwrap();
    let ingest = begin(&store, IngestOptions::new());
    fill(&ingest, &store, &[("absent", Some("new")), ("there", Some("new"))]);
    assert!(!store.contains_key(b"absent"));
    assert_eq!(store.insert_unique(b"there", b"mine").unwrap(), Inserted::Exists);
    assert_eq!(store.remove(b"absent").unwrap(), None);
    let cas = |old: &[u8]| store.compare_and_set(b"there", Some(old), Some(b"mine")).unwrap();
    assert_eq!(cas(b"new"), CasOutcome::Differs(Some(b"old".to_vec())));
    let mut batch = Batch::new();
    batch.expect(&store, "there", VersionToken::of_value(b"new")).put(&store, "there", "mine");
    assert!(matches!(batch.commit(), Err(Error::PreconditionFailed { .. })));
    // None of these wrote, so the ingest loses nothing.
    assert_eq!(ingest.commit().unwrap().lost, 0);
    assert_eq!(
        (get(&store, "absent"), get(&store, "there")),
        (Some("new".into()), Some("new".into()))
    );

    let ingest = begin(&store, IngestOptions::new());
    fill(&ingest, &store, &[("a", Some("3")), ("absent", Some("3")), ("there", Some("3"))]);
    assert_eq!(cas(b"new"), CasOutcome::Done);
    let mut batch = Batch::new();
    batch.expect(&store, "absent", VersionToken::of_value(b"new"));
    batch.put(&store, "absent", "batch").put(&store, "there", "batch");
    batch.commit().unwrap();
    assert_eq!(ingest.commit().unwrap().lost, 2);
    let got = ["a", "absent", "there"].map(|key| get(&store, key).unwrap());
    assert_eq!(got, ["3", "batch", "batch"]);
    check_clean(&store);
}

#[test]
fn cancelled_it_leaves_nothing() {
    let store = store();
    for key in ["a", "b", "c"] {
        store.put(key.as_bytes(), b"old").unwrap();
    }
    store.remove(b"c").unwrap();
    let held = store.snapshot();
    let ingest = begin(&store, IngestOptions::new());
    let new = Some("new");
    fill(&ingest, &store, &[("a", new), ("b", new), ("c", new), ("d", new), ("e", new)]);
    store.put(b"b", b"mine").unwrap();
    store.put(b"e", b"mine").unwrap();
    store.put(b"e", b"mine too").unwrap();
    ingest.cancel();
    let got = ["a", "b", "c", "d", "e"].map(|key| get(&store, key).unwrap_or_default());
    assert_eq!(got, ["old", "mine", "", "", "mine too"]);
    assert_eq!(content(&held).len(), 2);
    store.put(b"a", b"mine").unwrap();
    drop(held);
    check_clean(&store);
    // The store is free for the next one.
    assert_eq!(ingest_again(&store).written, 1);
}

fn ingest_again(store: &Store) -> IngestReport {
    ingest(store, IngestOptions::new(), &[("a", Some("again"))])
}

#[test]
fn the_same_again_changes_nothing() {
    let store = store();
    store.put(b"gone", b"x").unwrap();
    let entries: [Entry<'_>; 3] = [("a", Some("1")), ("b", Some("2")), ("gone", None)];
    assert_eq!(ingest(&store, IngestOptions::new(), &entries).written, 3);
    let digest = store.digest();
    let again = ingest(&store, IngestOptions::new(), &entries);
    assert_eq!((again.written, again.same), (0, 3));
    assert_eq!(store.digest(), digest);
    check_clean(&store);
}

#[test]
fn a_written_range_fails_it_as_a_whole() {
    let store = store();
    for key in ["a", "m", "z"] {
        store.put(key.as_bytes(), b"old").unwrap();
    }
    let seen = store.snapshot();
    let options = || IngestOptions::new().with_unwritten("b".."y", seen.hold());
    store.put(b"a", b"outside").unwrap();
    let entries: [Entry<'_>; 2] = [("k", Some("new")), ("z", Some("new"))];
    assert_eq!(ingest(&store, options(), &entries).written, 2);
    // Its own writes are writes since then.
    let ingest = begin(&store, options());
    fill(&ingest, &store, &[("z", Some("newer"))]);
    match ingest.commit() {
        Err(Error::WrittenSince { key, .. }) => assert_eq!(key, b"k"),
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&store, "z"), Some("new".into()));
    drop(seen);
    let seen = store.snapshot();
    let options = || IngestOptions::new().with_unwritten("b".."y", seen.hold());
    for write in [(|store| _ = store.remove(b"m").unwrap()) as fn(&Store), |store| {
        store.put(b"c", b"new").unwrap();
    }] {
        let ingest = begin(&store, options());
        fill(&ingest, &store, &[("x", Some("new"))]);
        write(&store);
        store.collect_all();
        assert!(matches!(ingest.commit(), Err(Error::WrittenSince { .. })));
        assert_eq!(get(&store, "x"), None);
    }
    drop(seen);
    check_clean(&store);
}

#[test]
fn one_ingest_over_several_stores() {
    let clock = Clock::new();
    let (one, two) = (Store::new(&clock), Store::new(&clock));
    let ingest = Ingest::begin(&[&one, &two], IngestOptions::new()).unwrap();
    thread::scope(|scope| {
        for store in [&one, &two] {
            for from in [0_u32, 500] {
                let ingest = &ingest;
                scope.spawn(move || {
                    let mut part = ingest.part(store).unwrap();
                    (from..from + 500).for_each(|n| part.put(&n.to_be_bytes(), b"1").unwrap());
                });
            }
        }
    });
    let hold = clock.hold();
    assert_eq!(ingest.commit().unwrap().written, 2000);
    assert!(one.snapshot_at(&hold).is_empty() && two.snapshot_at(&hold).is_empty());
    assert_eq!((one.snapshot().len(), two.snapshot().len()), (1000, 1000));
    drop(hold);
    check_store(&one);
    check_store(&two);
}

fn check_store(store: &Store) {
    for _ in 0..4 {
        store.collect_all();
    }
    let stats = store.stats();
    assert_eq!((stats.dead, stats.versions), (0, stats.entries), "{stats:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let clock = Clock::new();
    let (one, two) = (Store::new(&clock), Store::new(&clock));
    let foreign = Store::new(&Clock::new());
    let begin = |stores: &[&Store]| Ingest::begin(stores, IngestOptions::new());
    assert!(matches!(begin(&[&one, &foreign]), Err(Error::ForeignClock)));
    assert!(matches!(begin(&[&one, &one]), Err(Error::IngestActive { .. })));
    let hold = foreign.clock().hold();
    let options = IngestOptions::new().with_base(&hold);
    assert!(matches!(Ingest::begin(&[&one], options), Err(Error::ForeignClock)));
    let first = begin(&[&one]).unwrap();
    assert!(matches!(begin(&[&two, &one]), Err(Error::IngestActive { .. })));
    assert!(matches!(first.part(&two), Err(Error::NotOfIngest { .. })));
    let second = begin(&[&two]).unwrap();
    let mut part = second.part(&two).unwrap();
    part.put(b"b", b"").unwrap();
    assert!(matches!(part.put(b"b", b""), Err(Error::OutOfOrder { .. })));
    assert!(matches!(part.put(b"a", b""), Err(Error::OutOfOrder { .. })));
    assert!(matches!(part.put(&vec![0; 1 << 17], b""), Err(Error::KeyTooLong { .. })));
    drop(part);
    let mut other = second.part(&two).unwrap();
    assert!(matches!(other.put(b"b", b""), Err(Error::OutOfOrder { .. })), "another part has it");
    drop(other);
    assert_eq!(second.commit().unwrap().written, 1);
    // Noticed late, it is said by the commit.
    let third = begin(&[&two]).unwrap();
    let (mut part, mut other) = (third.part(&two).unwrap(), third.part(&two).unwrap());
    part.put(b"c", b"").unwrap();
    other.put(b"c", b"").unwrap();
    drop((part, other));
    assert!(matches!(third.commit(), Err(Error::OutOfOrder { .. })));
    assert_eq!(two.get(b"c"), None);
    drop(first);
    begin(&[&one]).unwrap();
}

#[test]
fn blocks_and_single_entries_take_turns() {
    // Dense keys between which there is nothing, some that are there, and gaps of all sizes.
    let store = store();
    let mut rng = Rng(7);
    let mut map = BTreeMap::new();
    for _ in 0..300 {
        let key = rng.below(30_000).to_be_bytes().to_vec();
        store.put(&key, b"old").unwrap();
        map.insert(key, b"old".to_vec());
    }
    let held = store.snapshot();
    let ingest = begin(&store, IngestOptions::new());
    let mut part = ingest.part(&store).unwrap();
    for n in 0..30_000_u64 {
        let (key, value) = (n.to_be_bytes().to_vec(), vec![b'n'; (n % 300) as usize]);
        match n % 41 {
            40 => {
                part.remove(&key).unwrap();
                map.remove(&key);
            }
            1 | 2 => {}
            _ => {
                part.put(&key, &value).unwrap();
                map.insert(key, value);
            }
        }
    }
    drop(part);
    assert_eq!(held.len(), store.snapshot().len());
    let report = ingest.commit().unwrap();
    assert_eq!(report.written + report.same, 30_000 - 2 * (30_000_u64 / 41 + 1));
    assert_eq!(content(&store.snapshot()), map);
    assert!(content(&held).values().all(|value| value == b"old"));
    drop(held);
    check_clean(&store);
}

#[test]
fn a_capture_hears_of_all_keys() {
    let store = store();
    let capture = store.capture(whimbrel_mvcc::CaptureOptions::new()).unwrap();
    ingest(&store, IngestOptions::new(), &[("a", Some("1")), ("b", Some("2"))]);
    assert_eq!(capture.drain().keys, [b"a", b"b"]);
}

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
