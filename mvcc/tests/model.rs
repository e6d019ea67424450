//! Goal: single-threaded, a store answers like an ordered map, and every snapshot like a copy of that
//! map made when it was taken, whatever is written, collected and closed in whatever order.
//! Method: random operation sequences against a `BTreeMap` with several snapshots open.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;

use common::{assert_clean, digest_of};
use proptest::prelude::*;
use whimbrel_mvcc::{
    Batch, CasOutcome, Clock, Digest, Error, Inserted, KeyRange, Snapshot, Store, StoreOptions,
    StoreSegmentBuilder,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    InsertUnique(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    CompareAndSet(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>),
    CasPresent(Vec<u8>, Option<Vec<u8>>),
    Batch(Vec<(Vec<u8>, Option<Vec<u8>>)>, Option<bool>),
    Snapshot,
    Close(usize),
    Collect,
    Compact,
    Check(usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        9 => (0_u8..12).prop_map(|n| vec![b'k', n]),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => (200_usize..300).prop_map(|len| vec![7; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let change = (key(), proptest::option::of(value()));
    prop_oneof![
        6 => (key(), value()).prop_map(|(k, v)| Op::Put(k, v)),
        2 => (key(), value()).prop_map(|(k, v)| Op::InsertUnique(k, v)),
        4 => key().prop_map(Op::Remove),
        1 => (key(), proptest::option::of(value()), proptest::option::of(value()))
            .prop_map(|(k, e, n)| Op::CompareAndSet(k, e, n)),
        1 => (key(), proptest::option::of(value())).prop_map(|(k, n)| Op::CasPresent(k, n)),
        3 => (proptest::collection::vec(change, 1..6), proptest::option::of(any::<bool>()))
            .prop_map(|(ops, holds)| Op::Batch(ops, holds)),
        3 => Just(Op::Snapshot),
        2 => (0_usize..8).prop_map(Op::Close),
        2 => Just(Op::Collect),
        2 => Just(Op::Compact),
        2 => (0_usize..8).prop_map(Op::Check),
    ]
}

struct Run {
    store: Store,
    map: Map,
    open: Vec<(Snapshot, Map)>,
}

impl Run {
    fn new(options: StoreOptions) -> Self {
        let store = Store::with_options(&Clock::new(), options);
        Self { store, map: Map::new(), open: Vec::new() }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(key, value) => {
                self.store.put(key, value).unwrap();
                self.map.insert(key.clone(), value.clone());
            }
            Op::InsertUnique(key, value) => {
                let did = self.store.insert_unique(key, value).unwrap();
                assert_eq!(did == Inserted::Exists, self.map.contains_key(key));
                self.map.entry(key.clone()).or_insert_with(|| value.clone());
            }
            Op::Remove(key) => {
                assert_eq!(self.store.remove(key).unwrap(), self.map.remove(key));
            }
            Op::CompareAndSet(key, expected, new) => self.cas(key, expected.clone(), new.as_ref()),
            Op::CasPresent(key, new) => self.cas(key, self.map.get(key).cloned(), new.as_ref()),
            Op::Batch(ops, holds) => self.batch(ops, *holds),
            Op::Snapshot => {
                if self.open.len() < 8 {
                    self.open.push((self.store.snapshot(), self.map.clone()));
                }
            }
            Op::Close(at) => {
                if *at < self.open.len() {
                    self.open.remove(*at);
                }
            }
            Op::Collect => _ = self.store.collect_all(),
            Op::Compact => {
                let before = self.store.digest();
                let report = self.store.compact();
                let records = self.store.stats().records;
                assert_eq!((report.moved + report.kept) as u64, records);
                assert!(!self.open.is_empty() || report.kept == 0, "{report:?}");
                assert_eq!(self.store.digest(), before);
            }
            Op::Check(at) => {
                if let Some((snapshot, map)) = self.open.get(*at) {
                    check(snapshot, map);
                }
            }
        }
    }

    fn cas(&mut self, key: &[u8], expected: Option<Vec<u8>>, new: Option<&Vec<u8>>) {
        let current = self.map.get(key).cloned();
        let did =
            self.store.compare_and_set(key, expected.as_deref(), new.map(Vec::as_slice)).unwrap();
        if current == expected {
            assert_eq!(did, CasOutcome::Done);
            write(&mut self.map, key, new);
        } else {
            assert_eq!(did, CasOutcome::Differs(current));
        }
    }

    /// `holds`: with a precondition on the first key that does or does not hold.
    fn batch(&mut self, ops: &[(Vec<u8>, Option<Vec<u8>>)], holds: Option<bool>) {
        let mut batch = Batch::new();
        let first = ops.iter().map(|(key, _)| key).min().unwrap();
        match holds {
            Some(true) => {
                let (value, token) = self.store.get_versioned(first);
                assert_eq!(value.as_ref(), self.map.get(first));
                batch.expect(&self.store, first.clone(), token);
            }
            Some(false) => {
                let (value, token) = self.store.get_versioned(first);
                let other = [value.as_deref().unwrap_or_default(), b"!"].concat();
                self.store.put(first, &other).unwrap();
                self.map.insert(first.clone(), other);
                batch.expect(&self.store, first.clone(), token);
            }
            None => {}
        }
        for (key, value) in ops {
            match value {
                Some(value) => batch.put(&self.store, key.clone(), value.clone()),
                None => batch.remove(&self.store, key.clone()),
            };
        }
        match (batch.commit(), holds) {
            (Err(Error::PreconditionFailed { key }), Some(false)) => assert_eq!(&key, first),
            (Ok(_), None | Some(true)) => {
                for (key, value) in ops {
                    write(&mut self.map, key, value.as_ref());
                }
            }
            (other, _) => panic!("precondition {holds:?}, got {other:?}"),
        }
    }

    fn finish(mut self) {
        check(&self.store.snapshot(), &self.map);
        for (key, value) in &self.map {
            assert_eq!(self.store.get(key).as_ref(), Some(value));
        }
        self.open.iter().for_each(|(snapshot, map)| check(snapshot, map));
        self.store.collect_all();
        self.open.iter().for_each(|(snapshot, map)| check(snapshot, map));
        self.open.clear();
        assert_clean(&self.store);
        assert_eq!(self.store.digest(), Some(digest_of(&self.store.snapshot())));
    }
}

fn write(map: &mut Map, key: &[u8], value: Option<&Vec<u8>>) {
    match value {
        Some(value) => _ = map.insert(key.to_vec(), value.clone()),
        None => _ = map.remove(key),
    }
}

/// The snapshot is the map: point reads, both directions, counts, a range, the pieces of a split.
fn check(snapshot: &Snapshot, map: &Map) {
    let owned = |(k, v): (&Vec<u8>, &Vec<u8>)| (k.clone(), v.clone());
    let up: Vec<_> = snapshot.range(..).entries().collect();
    assert_eq!(up, map.iter().map(owned).collect::<Vec<_>>());
    let down: Vec<_> = snapshot.range(..).rev().entries().collect();
    assert_eq!(down, map.iter().rev().map(owned).collect::<Vec<_>>());
    assert_eq!(snapshot.len(), map.len());
    for n in 0..13 {
        let key = vec![b'k', n];
        assert_eq!(snapshot.get(&key).as_ref(), map.get(&key));
        let range = (Bound::Excluded(key.clone()), Bound::Included(vec![b'k', n + 3]));
        let some: Vec<_> = snapshot.range(range.clone()).entries().collect();
        assert_eq!(some, map.range(range).map(owned).collect::<Vec<_>>());
    }
    let pieces = snapshot.split(3);
    let glued: Vec<_> =
        pieces.into_iter().flat_map(|piece| snapshot.range(piece).entries()).collect();
    assert_eq!(glued, up);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn answers_like_a_map_and_its_copies(
        ops in proptest::collection::vec(op(), 1..120),
        manual in any::<bool>(),
    ) {
        let options = StoreOptions::new().with_running_digest();
        let options = if manual { options.with_manual_collection() } else { options };
        let mut run = Run::new(options);
        ops.iter().for_each(|op| run.apply(op));
        run.finish();
    }

    #[test]
    fn bulk_loaded_store_goes_on_like_any_other(
        entries in proptest::collection::btree_map(key(), value(), 0..60),
        cut in 0_usize..60,
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        // One digest is computed as the entries come, the other from the entries.
        let mut left = StoreSegmentBuilder::new().with_digest();
        let mut right = StoreSegmentBuilder::new();
        let mut digest = Digest::default();
        for (at, (key, value)) in entries.iter().enumerate() {
            let builder = if at < cut { &mut left } else { &mut right };
            builder.push(key, value).unwrap();
            digest.add(key, value);
        }
        let segments = vec![left.finish(), right.finish()];
        let mut parts = Digest::default();
        segments.iter().for_each(|segment| parts.merge(&segment.digest()));
        prop_assert_eq!(parts, digest);
        let options = StoreOptions::new().with_running_digest();
        let store = Store::from_segments(&Clock::new(), options, segments).unwrap();
        prop_assert_eq!(store.digest(), Some(digest));
        let mut run = Run { store, map: entries, open: Vec::new() };
        ops.iter().for_each(|op| run.apply(op));
        run.finish();
    }

    #[test]
    fn ranges_agree_with_a_map(
        keys in proptest::collection::btree_set(key(), 0..40),
        lo in key(), hi in key(), seek in key(), kinds in (0..3, 0..3),
    ) {
        let store = Store::new(&Clock::new());
        for key in &keys {
            store.put(key, b"").unwrap();
        }
        let bound = |kind, key: &Vec<u8>| match kind {
            0 => Bound::Included(key.clone()),
            1 => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        };
        let range = KeyRange { lo: bound(kinds.0, &lo), hi: bound(kinds.1, &hi) };
        let inside: Vec<_> = keys.iter().filter(|key| range.contains(key)).cloned().collect();
        let snapshot = store.snapshot();
        let got: Vec<_> = snapshot.range(range.clone()).entries().map(|(key, _)| key).collect();
        prop_assert_eq!(&got, &inside);
        prop_assert_eq!(snapshot.count(range.clone()), inside.len());
        let mut cursor = snapshot.range(range.clone());
        cursor.seek(&seek);
        let next = cursor.next_entry().map(|(key, _)| key.to_vec());
        prop_assert_eq!(next, inside.iter().find(|key| **key >= seek).cloned());
        let mut cursor = snapshot.range(range).rev();
        cursor.seek(&seek);
        let next = cursor.next_entry().map(|(key, _)| key.to_vec());
        prop_assert_eq!(next, inside.iter().rev().find(|key| **key <= seek).cloned());
    }
}
