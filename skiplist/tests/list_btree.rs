//! Goal: one thread sees what an ordered map would show, through any sequence of operations.
//! Method: random operations against `BTreeMap` (proptest), every answer compared; keys are short
//! and few, so that they meet often.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

use proptest::prelude::*;
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, SEALED, Seen, SegmentBuilder, Shape};

#[derive(Debug, Clone)]
enum Op {
    Insert(Vec<u8>, u64),
    Remove(Vec<u8>),
    Find(Vec<u8>),
    Walk(Bound<Vec<u8>>),
    WalkBack(Bound<Vec<u8>>),
    /// Both ways, between bounds, so many records at once.
    WalkSome(Bound<Vec<u8>>, Bound<Vec<u8>>, usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..4, 0..5)
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        Just(Bound::Unbounded),
        key().prop_map(Bound::Included),
        key().prop_map(Bound::Excluded)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (key(), 2_u64..1000).prop_map(|(key, value)| Op::Insert(key, value)),
        4 => key().prop_map(Op::Remove),
        2 => key().prop_map(Op::Find),
        1 => bound().prop_map(Op::Walk),
        1 => bound().prop_map(Op::WalkBack),
        2 => (bound(), bound(), 1_usize..60).prop_map(|(lo, hi, most)| Op::WalkSome(lo, hi, most)),
    ]
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

fn walk(list: &List, from: &Bound<Vec<u8>>, g: &Guard<'_>) -> Vec<(Vec<u8>, u64)> {
    let mut seen = Vec::new();
    list.walk(as_slice(from), g, |record| {
        seen.push((record.key().to_vec(), record.cell().load(Ordering::Relaxed)));
        ControlFlow::Continue(())
    });
    seen
}

fn walk_back(list: &List, from: &Bound<Vec<u8>>, g: &Guard<'_>) -> Vec<(Vec<u8>, u64)> {
    let mut seen = Vec::new();
    list.walk_back(as_slice(from), g, |record| {
        seen.push((record.key().to_vec(), record.cell().load(Ordering::Relaxed)));
        ControlFlow::Continue(())
    });
    seen
}

/// What walks in pieces see, each of which begins behind the last one.
fn walk_in_pieces(
    list: &List,
    (lo, hi): (Bound<&[u8]>, Bound<&[u8]>),
    most: usize,
    back: bool,
    g: &Guard<'_>,
) -> Vec<(Vec<u8>, u64)> {
    let mut seen = Vec::new();
    let mut from = if back { hi } else { lo };
    loop {
        let mut count = 0;
        let note = |record: Seen<'_>| {
            count += 1;
            if let Some((record, cell)) = record.live() {
                seen.push((record.key().to_vec(), cell));
            }
            ControlFlow::Continue(())
        };
        let last = if back {
            list.walk_back_some(from, lo, most, g, note)
        } else {
            list.walk_some(from, hi, most, g, note)
        };
        let Some(last) = last else {
            assert!(count < most, "{count} of {most}, and no end");
            return seen;
        };
        assert!(count >= most, "{count} of {most}");
        from = Bound::Excluded(last.key());
    }
}

fn apply(list: &List, map: &mut BTreeMap<Vec<u8>, u64>, op: Op) {
    let g = list.barrier().pin();
    match op {
        Op::Insert(key, value) => {
            match list.find_or_insert(&key, 0, |_| value, &g).expect("short key") {
                FindOrInsert::Inserted(record) => {
                    assert_eq!(map.insert(key.clone(), value), None);
                    assert_eq!(record.key(), key);
                }
                FindOrInsert::Found(record) => {
                    assert_eq!(map.get(&key), Some(&record.cell().load(Ordering::Relaxed)));
                }
            }
        }
        Op::Remove(key) => {
            let found = list.find(&key, &g);
            assert_eq!(found.is_some(), map.remove(&key).is_some());
            if let Some(record) = found {
                record.cell().store(SEALED, Ordering::Release);
                assert!(list.find(&key, &g).is_none());
                list.unlink_sealed(record, &g);
                list.unlink_sealed(record, &g);
            }
        }
        Op::Find(key) => {
            let found = list.find(&key, &g).map(|r| r.cell().load(Ordering::Relaxed));
            assert_eq!(found, map.get(&key).copied());
        }
        Op::Walk(from) => {
            let expected: Vec<_> = map
                .range::<[u8], _>((as_slice(&from), Bound::Unbounded))
                .map(|(key, value)| (key.clone(), *value))
                .collect();
            assert_eq!(walk(list, &from, &g), expected);
        }
        Op::WalkBack(from) => {
            let expected: Vec<_> = map
                .range::<[u8], _>((Bound::Unbounded, as_slice(&from)))
                .rev()
                .map(|(key, value)| (key.clone(), *value))
                .collect();
            assert_eq!(walk_back(list, &from, &g), expected);
        }
        Op::WalkSome(lo, hi, most) => {
            let range = (as_slice(&lo), as_slice(&hi));
            let inside = map.iter().filter(|(key, _)| range.contains(key.as_slice()));
            let mut expected: Vec<_> = inside.map(|(key, value)| (key.clone(), *value)).collect();
            assert_eq!(walk_in_pieces(list, range, most, false, &g), expected);
            expected.reverse();
            assert_eq!(walk_in_pieces(list, range, most, true, &g), expected);
        }
    }
    assert_eq!(list.len_estimate(), map.len());
    let first = list.first(&g).map(|r| r.key());
    assert_eq!(first, map.keys().next().map(Vec::as_slice));
    let last = list.last(&g).map(|r| r.key());
    assert_eq!(last, map.keys().next_back().map(Vec::as_slice));
}

const SHAPES: [Shape; 4] = [
    Shape { words: [2, 2], fill: [1, 1], levels: 12 },
    Shape { words: [3, 3], fill: [2, 2], levels: 2 },
    Shape { words: [8, 4], fill: [6, 3], levels: 12 },
    Shape { words: [56, 61], fill: [42, 46], levels: 12 },
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn answers_equal_those_of_an_ordered_map(
        ops in prop::collection::vec(op(), 1..400),
        shape in prop::sample::select(SHAPES.as_slice()),
    ) {
        let barrier = Arc::new(Barrier::new());
        let mut list = List::with_shape(barrier.clone(), shape);
        let empty = list.bytes();
        let mut map = BTreeMap::new();
        for op in ops {
            apply(&list, &mut map, op);
        }
        barrier.flush();
        let stats = barrier.stats();
        prop_assert_eq!(stats.retired, stats.reclaimed);
        prop_assert_eq!(stats.retired_bytes, stats.reclaimed_bytes);
        prop_assert!(list.bytes() >= empty);
        list.audit();
    }

    #[test]
    fn segments_become_the_list_that_inserting_makes(
        keys in prop::collection::btree_set(prop::collection::vec(0_u8..6, 0..6), 0..600),
        cuts in prop::collection::vec(0_usize..600, 0..4),
        ops in prop::collection::vec(op(), 0..100),
        shape in prop::sample::select(SHAPES.as_slice()),
    ) {
        let keys: Vec<_> = keys.into_iter().collect();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(keys.len())).collect();
        cuts.extend([0, keys.len()]);
        cuts.sort_unstable();
        let mut segments = Vec::new();
        let mut map = BTreeMap::new();
        for pair in cuts.windows(2) {
            let mut builder = SegmentBuilder::with_shape(Shape { levels: 12, ..shape });
            for key in &keys[pair[0]..pair[1]] {
                builder.push(key, 0, |_| 77).expect("in order");
                map.insert(key.clone(), 77);
            }
            segments.push(builder.finish());
        }
        let mut list = List::from_segments(Arc::new(Barrier::new()), segments).expect("in order");
        prop_assert_eq!(list.len_estimate(), map.len());
        for op in ops {
            apply(&list, &mut map, op);
        }
        for key in &keys {
            let g = list.barrier().pin();
            prop_assert_eq!(list.find(key, &g).is_some(), map.contains_key(key));
        }
        list.audit();
    }
}
