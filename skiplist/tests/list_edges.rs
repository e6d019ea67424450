//! Goal: the corners of the block list's interface: panics, long and empty keys, splitting, shrinking.
//! Method: one scenario a test, on one thread.

use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{
    Barrier, BulkError, Compacted, List, MAX_KEY_LEN, SEALED, SegmentBuilder, Shape,
};

fn new_list() -> List {
    List::new(Arc::new(Barrier::new()))
}

/// Numbers in an order that looks random; a permutation of `0..1 << 17` for numbers below that.
fn mixed(number: u32) -> [u8; 4] {
    (number.wrapping_mul(0x9E37_79B1) ^ 0x5555_5555).to_be_bytes()
}

fn insert(list: &List, key: &[u8]) {
    let g = list.barrier().pin();
    let _ = list.find_or_insert(key, 8, |_| 8, &g).expect("short");
}

fn remove(list: &List, key: &[u8]) {
    let g = list.barrier().pin();
    let record = list.find(key, &g).expect("it is there");
    record.cell().store(SEALED, Ordering::Release);
    list.unlink_sealed(record, &g);
}

fn keys_of(list: &List) -> Vec<Vec<u8>> {
    let g = list.barrier().pin();
    let mut keys = Vec::new();
    list.walk(Bound::Unbounded, &g, |record| {
        keys.push(record.key().to_vec());
        ControlFlow::Continue(())
    });
    keys
}

#[test]
fn a_panic_in_a_callback_leaves_the_list_usable() {
    let mut list = new_list();
    for number in 0..5_000 {
        if number % 7 == 0 {
            let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let g = list.barrier().pin();
                let init = |_: whimbrel_skiplist::Record<'_>| {
                    std::panic::resume_unwind(Box::new("planned"))
                };
                let _ = list.find_or_insert(&mixed(number), 8, init, &g);
            }));
            assert!(tried.is_err());
        }
        insert(&list, &mixed(number));
    }
    let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let g = list.barrier().pin();
        list.walk(Bound::Unbounded, &g, |_| std::panic::resume_unwind(Box::new("planned")));
    }));
    assert!(walked.is_err());
    list.audit();
    assert_eq!(list.len_estimate(), 5_000);
}

#[test]
fn a_range_leaves_at_once() {
    for (from, to) in [(0, 0), (0, 1), (5, 7), (100, 9_000), (0, 10_000), (9_999, 10_000)] {
        let mut list = new_list();
        for number in 0..10_000_u32 {
            insert(&list, &mixed(number));
        }
        let mut keys = keys_of(&list);
        let full = list.bytes();
        let end = keys.get(to).cloned().unwrap_or_else(|| vec![0xFF; 5]);
        let g = list.barrier().pin();
        let bounds = (Bound::Included(&keys[from][..]), Bound::Excluded(&end[..]));
        let ended = list.remove_range(bounds.0, bounds.1, &g, |record| {
            record.cell().swap(SEALED, Ordering::AcqRel) != SEALED
        });
        drop(g);
        assert_eq!(ended, to - from);
        keys.drain(from..to);
        assert_eq!(keys_of(&list), keys);
        assert_eq!(list.audit(), keys.len());
        // What is left, and a block or two a level.
        let share = full * keys.len() / 10_000;
        assert!(list.bytes() < share + share / 5 + 8_000, "{} of {full}", list.bytes());
    }
}

#[test]
fn keys_may_be_empty_and_long() {
    let mut list = new_list();
    let long = vec![7; MAX_KEY_LEN];
    for at in 0..200 {
        let mut key = long.clone();
        key[MAX_KEY_LEN - 1] = at;
        insert(&list, &key);
        insert(&list, &key[..usize::from(at) * 300]);
    }
    let g = list.barrier().pin();
    assert!(list.find(&[], &g).is_some());
    assert!(list.find_or_insert(&vec![7; MAX_KEY_LEN + 1], 0, |_| 8, &g).is_err());
    assert_eq!(list.first(&g).map(|record| record.key().len()), Some(0));
    drop(g);
    list.audit();
    let keys = keys_of(&list);
    assert_eq!(keys.len(), 400);
    assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn many_lookups_at_once_answer_as_single_ones() {
    let list = new_list();
    for number in 0..20_000 {
        insert(&list, &mixed(number * 2));
    }
    for number in (0..20_000).step_by(3) {
        remove(&list, &mixed(number * 2));
    }
    let keys: Vec<[u8; 4]> = (0..40_000).map(mixed).collect();
    let keys: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
    let g = list.barrier().pin();
    for group in [&keys[..], &keys[..1], &keys[..0], &keys[5..22]] {
        let mut asked = 0;
        list.find_many(group, &g, |at, found| {
            assert_eq!(at, asked);
            assert_eq!(found, list.find(group[at], &g));
            asked += 1;
        });
        assert_eq!(asked, group.len());
    }
}

/// (tenant, user, number) as the number-th of them: most of it the same in neighbouring keys.
fn of_tenant(number: u32) -> Vec<u8> {
    let [high, low, user, last] = mixed(number);
    let mut key = b"tenant".to_vec();
    key.extend_from_slice(&(u64::from(high) % 23).to_be_bytes());
    // Some tenants have a field more.
    if high % 5 == 0 {
        key.push(low);
    }
    key.push(b'u');
    key.extend_from_slice(&(u64::from(low) * 256 + u64::from(user)).to_be_bytes());
    key.push(last);
    key
}

#[test]
fn keys_with_long_common_prefixes_are_found() {
    let list = new_list();
    let mut right = std::collections::BTreeSet::new();
    for number in (0..60_000).filter(|number| number % 3 > 0) {
        insert(&list, &of_tenant(number));
        right.insert(of_tenant(number));
    }
    assert!(keys_of(&list).iter().eq(&right));
    let g = list.barrier().pin();
    for number in 0..60_000 {
        let mut key = of_tenant(number);
        assert_eq!(list.find(&key, &g).is_some(), right.contains(&key), "{key:?}");
        key.truncate(number as usize % 16);
        assert_eq!(list.find(&key, &g).is_some(), right.contains(&key), "{key:?}");
        let mut next = None;
        list.walk(Bound::Included(&key), &g, |record| {
            next = Some(record.key());
            ControlFlow::Break(())
        });
        assert_eq!(next, right.range(key..).next().map(Vec::as_slice));
    }
}

#[test]
fn segments_out_of_order_are_refused() {
    let segment = |keys: &[&str]| {
        let mut builder = SegmentBuilder::new();
        for key in keys {
            builder.push(key.as_bytes(), 0, |_| 8).expect("in order");
        }
        builder.finish()
    };
    let barrier = Arc::new(Barrier::new());
    let refused = List::from_segments(barrier, vec![segment(&["b", "d"]), segment(&["c"])]);
    assert!(matches!(refused, Err(BulkError::OutOfOrder { .. })));
    let mut builder = SegmentBuilder::new();
    builder.push(b"b", 0, |_| 8).expect("the first");
    assert!(matches!(builder.push(b"b", 0, |_| 8), Err(BulkError::OutOfOrder { .. })));
    assert_eq!(builder.len(), 1);
}

type Range<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

#[test]
fn parts_of_a_split_are_about_equal() {
    let list = new_list();
    // A dense and a loose half, as bulk loading and churn leave them.
    for number in 0..60_000_u32 {
        insert(&list, &mixed(number));
    }
    let all = keys_of(&list);
    let ranges: [Range<'_>; 3] = [
        (Bound::Unbounded, Bound::Unbounded),
        (Bound::Included(&all[10_000]), Bound::Excluded(&all[50_000])),
        (Bound::Excluded(&all[777]), Bound::Included(&all[4_000])),
    ];
    for (lo, hi) in ranges {
        let inside = |key: &Vec<u8>| {
            (match lo {
                Bound::Unbounded => true,
                Bound::Included(lo) => key.as_slice() >= lo,
                Bound::Excluded(lo) => key.as_slice() > lo,
            }) && (match hi {
                Bound::Unbounded => true,
                Bound::Included(hi) => key.as_slice() <= hi,
                Bound::Excluded(hi) => key.as_slice() < hi,
            })
        };
        let range: Vec<_> = all.iter().filter(|key| inside(key)).cloned().collect();
        for parts in [2, 3, 7, 16, 30] {
            let g = list.barrier().pin();
            let cuts = list.split(parts, lo, hi, &g);
            assert_eq!(cuts.len(), parts - 1);
            let mut from = 0;
            let ends = cuts.iter().map(|cut| range.partition_point(|key| key < cut));
            for end in ends.chain([range.len()]) {
                let share = (end - from) as f64 * parts as f64 / range.len() as f64;
                assert!((0.8..1.2).contains(&share), "{parts} parts, one of {share}");
                from = end;
            }
        }
    }
}

#[test]
fn a_list_shrinks_when_records_leave() {
    const ENTRIES: u32 = 60_000;
    // Contiguous keys of nine tenths, then keys at random.
    for (contiguous, limit) in [(true, 0.2), (false, 0.3)] {
        let mut list = new_list();
        for number in 0..ENTRIES {
            insert(&list, &mixed(number));
        }
        let full = list.bytes();
        let keys = keys_of(&list);
        for (at, key) in keys.iter().enumerate() {
            if if contiguous { at < keys.len() * 9 / 10 } else { !at.is_multiple_of(10) } {
                remove(&list, key);
            }
        }
        list.audit();
        let left = list.bytes() as f64 / full as f64;
        assert!(left <= limit, "{left} of the bytes are left, contiguous: {contiguous}");
        assert_eq!(list.len_estimate(), keys.len() / 10);
        assert_eq!(keys_of(&list).len(), keys.len() / 10);
    }
}

#[test]
#[should_panic(expected = "the guard is of another barrier")]
fn a_foreign_guard_is_refused() {
    let (one, other) = (new_list(), new_list());
    let g = other.barrier().pin();
    let _ = one.find(b"knot", &g);
}

#[test]
#[should_panic(expected = "needs more levels")]
fn a_bulk_load_that_needs_more_levels_is_refused() {
    let shape = Shape { words: [3, 3], fill: [2, 2], levels: 2 };
    let mut builder = SegmentBuilder::with_shape(shape);
    for key in [b"a", b"b", b"c"] {
        builder.push(key, 0, |_| 2).expect("ascending keys");
    }
    let _ = List::from_segments(Arc::new(Barrier::new()), vec![builder.finish()]);
}

/// A process may have thousands of lists that are all but empty.
#[test]
fn a_list_that_holds_little_takes_little() {
    let list = new_list();
    let empty = list.bytes();
    assert!(empty <= 256, "{empty} bytes without a record");
    let mut bytes = Vec::new();
    for n in 0..45_u8 {
        insert(&list, &[n]);
        assert!(keys_of(&list).into_iter().eq((0..=n).map(|n| vec![n])));
        bytes.push(list.bytes());
    }
    // Records of 32 bytes; the small block makes room for one of the usual size, once.
    assert!(bytes[10] <= empty + 11 * 32 && bytes[11] > bytes[10] + 256, "{bytes:?}");
    assert!(bytes[44] <= bytes[11] + 33 * 32, "{bytes:?}");
    (0..45_u8).for_each(|n| remove(&list, &[n]));
    let (all, g) = (Bound::Unbounded, list.barrier().pin());
    assert_eq!(list.compact(all, all, 100, &mut Compacted::default(), &g), None);
    assert_eq!(list.bytes(), empty, "when all are gone");
}
