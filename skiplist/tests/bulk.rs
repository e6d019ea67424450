//! Goal: a list built from segments equals one built by inserting, and wrong input is refused.
//! Method: both are built from the same keys and compared by every way of reading; then changed
//! alike and compared again.

use std::ops::{Bound, ControlFlow};

use proptest::prelude::*;
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{
    Barrier, BulkError, KeyTooLong, List, MAX_KEY_LEN, SEALED, Segment, SegmentBuilder,
};

fn segment(keys: &[Vec<u8>]) -> Segment {
    let mut builder = SegmentBuilder::new();
    for key in keys {
        builder.push(key, key.len(), |_| 8 + key.len() as u64).expect("in order");
    }
    assert_eq!(builder.len(), keys.len());
    let segment = builder.finish();
    let mut seen = Vec::new();
    segment.for_each(|record| seen.push(record.key().to_vec()));
    assert_eq!(seen, keys);
    segment
}

fn inserted(keys: &[Vec<u8>]) -> List {
    let list = List::new(Arc::new(Barrier::new()));
    let g = list.barrier().pin();
    for key in keys {
        list.find_or_insert(key, key.len(), |_| 8 + key.len() as u64, &g).expect("short");
    }
    drop(g);
    list
}

fn content(list: &List) -> Vec<(Vec<u8>, u64, usize)> {
    let g = list.barrier().pin();
    let mut forwards = Vec::new();
    list.walk(Bound::Unbounded, &g, |r| {
        forwards.push((r.key().to_vec(), r.cell().load(Ordering::Relaxed), r.inline_len()));
        ControlFlow::Continue(())
    });
    let mut backwards = Vec::new();
    list.walk_back(Bound::Unbounded, &g, |r| {
        backwards.push((r.key().to_vec(), r.cell().load(Ordering::Relaxed), r.inline_len()));
        ControlFlow::Continue(())
    });
    backwards.reverse();
    assert_eq!(forwards, backwards);
    for (key, value, _) in &forwards {
        let found = list.find(key, &g).expect("a key that was walked");
        assert_eq!(found.cell().load(Ordering::Relaxed), *value);
    }
    forwards
}

/// Short keys of any bytes, and longer ones that have much in common.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        prop::collection::vec(0_u8..3, 15..18),
        prop::collection::vec(prop_oneof![Just(7_u8), any::<u8>()], 24..34),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_list_built_by_inserting(
        keys in prop::collection::btree_set(key(), 0..300),
        cuts in prop::collection::vec(0_usize..300, 0..5),
    ) {
        let keys: Vec<_> = keys.into_iter().collect();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(keys.len())).collect();
        cuts.extend([0, keys.len()]);
        cuts.sort_unstable();
        let segments = cuts.windows(2).map(|cut| segment(&keys[cut[0]..cut[1]])).collect();
        let mut built = List::from_segments(Arc::new(Barrier::new()), segments).expect("in order");
        let mut other = inserted(&keys);
        prop_assert_eq!(content(&built), content(&other));
        prop_assert_eq!(built.len_estimate(), other.len_estimate());

        // change both alike: every third key goes, a new one comes before each
        for list in [&built, &other] {
            let g = list.barrier().pin();
            for key in keys.iter().step_by(3) {
                let record = list.find(key, &g).expect("it is there");
                record.cell().store(SEALED, Ordering::Release);
                list.unlink_sealed(record, &g);
                let mut new = key.clone();
                new.push(0);
                list.find_or_insert(&new, 0, |_| 8, &g).expect("short");
            }
        }
        prop_assert_eq!(built.audit(), other.audit());
        prop_assert_eq!(content(&built), content(&other));
    }
}

#[test]
fn out_of_order_is_refused_and_the_builder_goes_on() {
    let mut builder = SegmentBuilder::new();
    builder.push(b"m", 0, |_| 8).expect("the first");
    for got in [b"m".as_slice(), b"a", b""] {
        let error = builder.push(got, 0, |_| 8).expect_err("not ascending");
        assert_eq!(error, BulkError::OutOfOrder { previous: b"m".to_vec(), got: got.to_vec() });
    }
    builder.push(b"n", 0, |_| 8).expect("ascending again");
    assert_eq!(builder.finish().len(), 2);
}

#[test]
fn the_order_of_keys_is_that_of_slices() {
    let mut keys: Vec<Vec<u8>> = vec![vec![]];
    for len in 1..=20 {
        for last in [0, 1, 127, 255] {
            keys.push([vec![0; len - 1], vec![last]].concat());
            keys.push([vec![7; len - 1], vec![last]].concat());
        }
    }
    keys.sort();
    keys.dedup();
    for (at, key) in keys.iter().enumerate() {
        for (other_at, other) in keys.iter().enumerate() {
            let mut builder = SegmentBuilder::new();
            builder.push(key, 0, |_| 8).expect("the first");
            assert_eq!(builder.push(other, 0, |_| 8).is_ok(), at < other_at, "{key:?} {other:?}");
            let mut builder = SegmentBuilder::new();
            builder.push_filled(key, key, 8).expect("the first");
            let pushed = builder.push_filled(other, other, 8);
            assert_eq!(pushed.is_ok(), at < other_at, "{key:?} {other:?}");
        }
    }
}

#[test]
fn filled_records_have_their_bytes_and_may_follow_others() {
    let filler: Vec<u8> = (0..=255).collect();
    let mut builder = SegmentBuilder::new();
    for len in 0..=70_u8 {
        let inline = &filler[usize::from(len)..2 * usize::from(len)];
        builder.push_filled(&[len, 1], inline, 8 + u64::from(len)).expect("in order");
        builder.push(&[len, 2], 0, |_| 8).expect("in order");
        let error = builder.push_filled(&[len, 2], b"", 8).expect_err("the same key");
        assert!(matches!(error, BulkError::OutOfOrder { .. }));
    }
    let error = builder.push_filled(&vec![255; MAX_KEY_LEN + 1], b"", 8).expect_err("too long");
    assert!(matches!(error, BulkError::KeyTooLong(_)));
    let (segment, mut at) = (builder.finish(), 0_usize);
    segment.for_each(|record| {
        let len = if at % 2 == 0 { at / 2 } else { 0 };
        assert_eq!(
            (record.key()[0], record.inline_len()),
            (u8::try_from(at / 2).expect("few"), len)
        );
        // SAFETY: the segment has the record, whose inline part is so long and was filled.
        let bytes = unsafe { std::slice::from_raw_parts(record.inline().as_ptr(), len) };
        assert_eq!(bytes, &filler[len..2 * len]);
        assert_eq!(record.cell().load(Ordering::Relaxed), 8 + len as u64);
        at += 1;
    });
    assert_eq!(at, 2 * 71);
}

#[test]
fn overlapping_segments_are_refused() {
    let (low, high) = (vec![b"a".to_vec(), b"m".to_vec()], vec![b"m".to_vec(), b"z".to_vec()]);
    let error = List::from_segments(Arc::new(Barrier::new()), vec![segment(&low), segment(&high)])
        .expect_err("m twice");
    assert_eq!(error, BulkError::OutOfOrder { previous: b"m".to_vec(), got: b"m".to_vec() });
    assert_eq!(error.to_string(), "key \"m\" does not follow \"m\" in strictly ascending order");
}

#[test]
fn long_keys_are_refused_and_the_longest_fits() {
    let list = List::new(Arc::new(Barrier::new()));
    let g = list.barrier().pin();
    let longest = vec![7; MAX_KEY_LEN];
    let too_long = vec![7; MAX_KEY_LEN + 1];
    let made = list.find_or_insert(&longest, 0, |_| 8, &g).expect("the limit itself");
    assert_eq!(made.record().key(), longest);
    let expected = KeyTooLong { len: MAX_KEY_LEN + 1 };
    assert_eq!(list.find_or_insert(&too_long, 0, |_| 8, &g), Err(expected));
    assert!(list.find(&too_long, &g).is_none());
    let mut builder = SegmentBuilder::new();
    assert_eq!(builder.push(&too_long, 0, |_| 8), Err(BulkError::KeyTooLong(expected)));
}

#[test]
fn the_inline_part_is_zeroed_and_aligned() {
    let list = List::new(Arc::new(Barrier::new()));
    let g = list.barrier().pin();
    for len in (0..=40).chain([4096]) {
        let init = |record: whimbrel_skiplist::Record<'_>| {
            let inline = record.inline();
            assert!(inline.cast::<u64>().is_aligned());
            // SAFETY: `len` bytes that nobody else can see.
            let bytes = unsafe { std::slice::from_raw_parts(inline.as_ptr(), len) };
            assert!(bytes.iter().all(|&byte| byte == 0));
            8
        };
        let key: Vec<u8> = (0..=u8::try_from(len % 50).expect("small")).rev().collect();
        let record = list.find_or_insert(&key, len, init, &g).expect("short").record();
        assert_eq!((record.key(), record.inline_len()), (&key[..], len));
    }
}

#[test]
fn a_panic_in_init_leaves_the_list_as_it_was() {
    let list = List::new(Arc::new(Barrier::new()));
    let before = list.bytes();
    let g = list.barrier().pin();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = list.find_or_insert(b"k", 64, |_| panic!("on purpose"), &g);
    }));
    assert!(result.is_err());
    assert!(list.find(b"k", &g).is_none());
    assert_eq!((list.len_estimate(), list.bytes()), (0, before));
}

#[test]
#[should_panic(expected = "another barrier")]
fn a_guard_of_another_barrier_is_refused() {
    let list = List::new(Arc::new(Barrier::new()));
    let other = Barrier::new();
    let _ = list.find(b"k", &other.pin());
}

#[test]
#[should_panic(expected = "sealed cell")]
fn an_unsealed_record_is_not_taken_out() {
    let list = List::new(Arc::new(Barrier::new()));
    let g = list.barrier().pin();
    let record = list.find_or_insert(b"k", 0, |_| 8, &g).expect("short").record();
    list.unlink_sealed(record, &g);
}
