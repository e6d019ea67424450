//! Goal: an ingest appears as a whole or not at all, wins over what was there when it began or over nothing,
//! loses to what came meanwhile, changes nothing the second time, and leaves no garbage, committed or not.
//! Method: cases by hand. (`ingest_random.rs` has random ones, and threads.)

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;
#[path = "common/ingests.rs"]
mod ingests;

use std::collections::BTreeMap;
use std::thread;

use common::Rng;
use ingests::{begin, check_clean, content, store};
use whimbrel_mvcc::{
    Batch, CasOutcome, Clock, Error, Ingest, IngestMode, IngestOptions, IngestReport, Inserted,
    MAX_BATCH_OPS, Store, VersionToken,
};

type Entry<'e> = (&'e str, Option<&'e str>);

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
