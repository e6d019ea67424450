//! Goal: `split` cuts any range into parts of about equal size.
//! Method: lists of several sizes, built in bulk; the parts are counted.

use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::{Barrier, List, SegmentBuilder};

fn list_of(records: u32) -> List {
    let mut builder = SegmentBuilder::new();
    for number in 0..records {
        builder.push(&number.to_be_bytes(), 0, |_| 8).expect("in order");
    }
    List::from_segments(Arc::new(Barrier::new()), vec![builder.finish()]).expect("one segment")
}

/// Sizes of the parts of a range.
fn parts(list: &List, n: usize, lo: Bound<&[u8]>, hi: Bound<&[u8]>) -> Vec<usize> {
    let g = list.barrier().pin();
    let cuts = list.split(n, lo, hi, &g);
    assert!(cuts.len() < n.max(1), "{} cuts for {n} parts", cuts.len());
    assert!(cuts.is_sorted_by(|a, b| a < b), "the cuts are not ascending");
    let mut sizes = vec![0];
    let mut next = 0;
    list.walk(lo, &g, |record| {
        let inside = match hi {
            Bound::Unbounded => true,
            Bound::Included(hi) => record.key() <= hi,
            Bound::Excluded(hi) => record.key() < hi,
        };
        if !inside {
            return ControlFlow::Break(());
        }
        while next < cuts.len() && record.key() >= &cuts[next][..] {
            next += 1;
            sizes.push(0);
        }
        *sizes.last_mut().expect("one at least") += 1;
        ControlFlow::Continue(())
    });
    sizes
}

fn assert_even(sizes: &[usize], n: usize, total: usize) {
    assert_eq!(sizes.iter().sum::<usize>(), total);
    assert_eq!(sizes.len(), n);
    let share = total / n;
    for &size in sizes {
        assert!(size.abs_diff(share) * 5 <= share, "a part of {size}, the share is {share}");
    }
}

#[test]
fn parts_are_even() {
    for (records, n) in [(200, 2), (1_600, 16), (50_000, 3), (200_000, 16), (200_000, 7)] {
        let list = list_of(records);
        let sizes = parts(&list, n, Bound::Unbounded, Bound::Unbounded);
        assert_even(&sizes, n, records as usize);
    }
}

#[test]
fn parts_of_a_range_are_even() {
    let list = list_of(100_000);
    let (lo, hi) = (20_000_u32.to_be_bytes(), 70_000_u32.to_be_bytes());
    assert_even(&parts(&list, 8, Bound::Included(&lo), Bound::Excluded(&hi)), 8, 50_000);
    assert_even(&parts(&list, 8, Bound::Excluded(&lo), Bound::Included(&hi)), 8, 50_000);
}

#[test]
fn few_records_and_few_parts() {
    let list = list_of(3);
    let all = (Bound::Unbounded, Bound::Unbounded);
    assert_eq!(parts(&list, 0, all.0, all.1), [3]);
    assert_eq!(parts(&list, 1, all.0, all.1), [3]);
    assert_eq!(parts(&list, 3, all.0, all.1), [1, 1, 1]);
    assert_eq!(parts(&list, usize::MAX, all.0, all.1), [1, 1, 1]);
    let empty = list_of(0);
    assert_eq!(parts(&empty, 4, all.0, all.1), [0]);
    let key = 1_u32.to_be_bytes();
    assert_eq!(parts(&list, 4, Bound::Excluded(&key), Bound::Excluded(&key)), [0]);
}
