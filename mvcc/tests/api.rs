//! Goal: the store reads like a map: keys and values in any form, the names of `BTreeMap` with its answers,
//! values borrowed or copied, and types that may go to other threads.
//! Method: each call once beside a `BTreeMap`; bounds that the compiler checks.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::Arc;
use std::thread;

use whimbrel_mvcc::{
    Batch, Capture, CasOutcome, Clock, Collectors, Cursor, CursorToken, Entries, Hold, Inserted,
    KeyRange, Snapshot, Store, StoreOptions, StoreSegment, StoreSegmentBuilder, VersionToken,
};

fn is_shared<T: Send + Sync + Debug + 'static>() {}

#[test]
fn what_is_open_may_go_to_other_threads() {
    fn is_cloned<T: Clone>() {}
    is_shared::<Clock>();
    is_shared::<Store>();
    is_shared::<Snapshot>();
    is_shared::<Hold>();
    is_shared::<Cursor>();
    is_shared::<Entries>();
    is_shared::<CursorToken>();
    is_shared::<Capture>();
    is_shared::<Collectors>();
    is_shared::<Batch>();
    is_shared::<VersionToken>();
    is_shared::<KeyRange>();
    is_cloned::<Clock>();
    is_cloned::<Store>();
    is_cloned::<Snapshot>();
    is_cloned::<Hold>();
    is_cloned::<CursorToken>();
}

#[test]
fn segments_may_be_built_elsewhere() {
    fn is_sent<T: Send + Debug + 'static>() {}
    is_sent::<StoreSegment>();
}

#[test]
fn keys_and_values_come_in_any_form() {
    let store = Store::new(&Clock::new());
    store.put("str", "value").unwrap();
    store.put(String::from("string"), vec![1, 2]).unwrap();
    store.put(b"array", [3; 3]).unwrap();
    store.put([4_u8, 5], &[6, 7][..]).unwrap();
    store.put(&vec![8; 8], &[]).unwrap();
    store.put(Arc::<[u8]>::from([9].as_slice()), Box::<[u8]>::from([1].as_slice())).unwrap();
    assert_eq!(store.insert_unique("str", "other"), Ok(Inserted::Exists));
    assert_eq!(store.compare_and_set("str", Some(b"value"), None), Ok(CasOutcome::Done));
    assert_eq!(store.remove(String::from("string")), Ok(Some(vec![1, 2])));
    assert_eq!(store.get_versioned([4, 5]), (Some(vec![6, 7]), VersionToken::of_value(&[6, 7])));
    let snapshot = store.snapshot();
    assert_eq!(snapshot.get("array"), Some(vec![3; 3]));
    assert_eq!(snapshot.get_with([9], <[u8]>::to_vec), Some(vec![1]));
    assert!(snapshot.contains_key(vec![8; 8]) && !snapshot.contains_key("str"));
    assert_eq!(snapshot.prefix("arr").entries().count(), 1);
    assert_eq!(snapshot.range(String::from("a")..).entries().count(), 1);
}

fn both() -> (BTreeMap<Vec<u8>, Vec<u8>>, Store) {
    let entries =
        (0..500_u32).map(|n| (n.wrapping_mul(0x9E37_79B9).to_be_bytes(), n.to_le_bytes()));
    let map =
        entries.map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<BTreeMap<_, _>>();
    let store = Store::new(&Clock::new());
    store.extend(&map).unwrap();
    (map, store)
}

#[test]
fn scans_answer_as_those_of_a_map() {
    let (map, store) = both();
    let snapshot = store.snapshot();
    let owned = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
    assert!(snapshot.iter().eq(map.iter().map(owned)));
    assert!((&snapshot).into_iter().eq(map.clone()));
    assert_eq!(snapshot.first_key_value(), map.first_key_value().map(owned));
    assert_eq!(snapshot.last_key_value(), map.last_key_value().map(owned));
    assert_eq!((snapshot.len(), snapshot.is_empty()), (map.len(), false));
    let keys: Vec<&Vec<u8>> = map.keys().collect();
    for (lo, hi) in [(keys[3], keys[400]), (keys[10], keys[11]), (keys[0], keys[499])] {
        let ranges = [
            KeyRange::from(&lo[..]..&hi[..]),
            KeyRange::from(&lo[..]..=&hi[..]),
            KeyRange::from((Bound::Excluded(&lo[..]), Bound::Unbounded)),
        ];
        for range in ranges {
            // A range of keys is one for maps, too.
            let expected: Vec<_> = map.range::<[u8], _>(range.clone()).map(owned).collect();
            let mut got = Vec::new();
            for entry in snapshot.range(range.clone()) {
                got.push(entry);
            }
            assert_eq!(got, expected);
            assert_eq!(snapshot.count(range.clone()), expected.len());
            assert!(snapshot.range(range).rev().into_iter().eq(expected.into_iter().rev()));
        }
    }
    let mut ended = snapshot.range(..&keys[1][..]).into_iter();
    assert!(ended.next().is_some());
    assert_eq!((ended.next(), ended.next()), (None, None), "iterators end for good");
}

#[test]
fn of_nothing_there_is_nothing() {
    let store = Store::new(&Clock::new());
    store.put("gone", "").unwrap();
    store.remove("gone").unwrap();
    let snapshot = store.snapshot();
    assert_eq!((snapshot.len(), snapshot.is_empty()), (0, true));
    assert_eq!((snapshot.first_key_value(), snapshot.last_key_value()), (None, None));
    assert_eq!(snapshot.iter().next(), None);
}

#[test]
fn sorted_entries_become_a_store() {
    let (map, store) = both();
    let mut builder = StoreSegmentBuilder::new();
    builder.extend(&map).unwrap();
    assert!(builder.extend([("a", "")]).is_err(), "in the middle");
    let segments = vec![builder.finish()];
    let loaded = Store::from_segments(&Clock::new(), StoreOptions::new(), segments).unwrap();
    assert!(loaded.snapshot().iter().eq(store.snapshot().iter()));
}

#[test]
fn an_extension_ends_at_what_is_refused() {
    let store = Store::new(&Clock::new());
    let entries = [vec![1], vec![0; 70_000], vec![2]].map(|key| (key, "value"));
    assert!(store.extend(entries).is_err());
    assert_eq!((store.contains_key([1]), store.contains_key([2])), (true, false));
}

#[test]
fn values_under_a_guard_stay_though_they_are_written_over() {
    let clock = Clock::new();
    let store = Store::new(&clock);
    let value = |byte: u8| vec![byte; 1000];
    store.extend([("a", value(1)), ("b", value(2))]).unwrap();
    let snapshot = store.snapshot();
    store.put("b", value(3)).unwrap();
    let guard = clock.pin();
    let held = [store.get_ref("a", &guard), store.get_ref("b", &guard)];
    let old = snapshot.get_ref("b", &guard);
    assert_eq!(store.get_ref("c", &guard), None);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 4..100 {
                store.extend([("a", value(round)), ("b", value(round))]).unwrap();
            }
            store.remove("a").unwrap();
            store.collect_all();
        });
    });
    let expected = [value(1), value(3), value(2)];
    assert_eq!([held[0], held[1], old].map(Option::unwrap), expected.each_ref().map(Vec::as_slice));
    drop(guard);
    drop(snapshot);
    store.collect_all();
    let barrier = clock.barrier().stats();
    assert_eq!(barrier.retired, barrier.reclaimed, "{barrier:?}");
}

#[test]
#[should_panic(expected = "of another barrier")]
fn a_guard_of_another_clock_is_refused() {
    let other = Clock::new();
    let guard = other.pin();
    let _ = Store::new(&Clock::new()).get_ref("key", &guard).is_some();
}

#[test]
fn what_is_printed_is_short() {
    let (_, store) = both();
    let snapshot = store.snapshot();
    let mut cursor = snapshot.range(..);
    cursor.next_entry();
    for text in [format!("{store:?}"), format!("{snapshot:?}"), format!("{cursor:?}")] {
        assert!(text.len() < 2_000, "{} bytes: {text}", text.len());
    }
    assert!(format!("{cursor:?}").contains("position: Some([0, 0, 0, 0])"), "{cursor:?}");
}
