//! Goal: a run goes into the list as a whole where the list has no record in its range, and not at all elsewhere,
//! whatever else is done beside it; the structure stays sound.
//! Method: random runs, insertions and removals against a set; then threads that splice, insert and remove.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use proptest::prelude::*;
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{Barrier, BulkError, FindOrInsert, List, Run, SEALED, Shape};

const LIVE: u64 = 8;

fn run_of(keys: impl IntoIterator<Item = u32>) -> Run {
    let mut run = Run::new();
    keys.into_iter().for_each(|key| run.push(&key.to_be_bytes(), 3, |_| LIVE).expect("ascending"));
    run
}

fn insert(list: &List, key: u32) -> bool {
    let g = list.barrier().pin();
    let made = list.find_or_insert(&key.to_be_bytes(), 3, |_| LIVE, &g).expect("short");
    matches!(made, FindOrInsert::Inserted(_))
}

fn remove(list: &List, key: u32) -> bool {
    let g = list.barrier().pin();
    let Some(record) = list.find(&key.to_be_bytes(), &g) else { return false };
    let (cell, relaxed) = (record.cell(), Ordering::Relaxed);
    if cell.compare_exchange(LIVE, SEALED, Ordering::AcqRel, relaxed).is_err() {
        return false;
    }
    list.unlink_sealed(record, &g);
    true
}

fn splice(list: &List, run: Run) -> bool {
    let len = run.len();
    match list.splice(run, &list.barrier().pin()) {
        Ok(records) => records.len() == len,
        Err(run) => {
            assert_eq!(run.len(), len);
            false
        }
    }
}

fn keys_of(list: &List) -> BTreeSet<u32> {
    let (g, mut keys) = (list.barrier().pin(), BTreeSet::new());
    list.walk(Bound::Unbounded, &g, |record| {
        let key = record.key().try_into().expect("four bytes");
        assert!(keys.insert(u32::from_be_bytes(key)), "twice");
        ControlFlow::Continue(())
    });
    keys
}

#[derive(Debug, Clone)]
enum Op {
    /// So many keys from one on, with this distance.
    Splice(u32, u32, u32),
    Insert(u32),
    Remove(u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0_u32..3000, 1_u32..200, 1_u32..4).prop_map(|(from, n, step)| Op::Splice(from, n, step)),
        4 => (0_u32..3000).prop_map(Op::Insert),
        4 => (0_u32..3000).prop_map(Op::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_run_goes_in_whole_or_not_at_all(
        ops in proptest::collection::vec(op(), 1..120),
        small in any::<bool>(),
    ) {
        let shape = Shape { words: [5, 5], fill: [4, 4], levels: 8 };
        let barrier = Arc::new(Barrier::new());
        let mut list =
            if small { List::with_shape(barrier, shape) } else { List::new(barrier) };
        let mut set = BTreeSet::new();
        for op in ops {
            match op {
                Op::Splice(from, n, step) => {
                    let keys: Vec<u32> = (0..n).map(|at| from + at * step).collect();
                    let last = keys[keys.len() - 1];
                    let free = set.range(from..=last).next().is_none();
                    let g = list.barrier().pin();
                    let fits = match list.gap(&from.to_be_bytes(), &g) {
                        None => false,
                        Some(Bound::Excluded(end)) => last.to_be_bytes()[..] < end[..],
                        Some(_) => true,
                    };
                    drop(g);
                    prop_assert!(!fits || free);
                    // What the gap says is right as long as nobody else is there.
                    prop_assert_eq!(splice(&list, run_of(keys.iter().copied())), fits);
                    if fits {
                        set.extend(keys);
                    }
                }
                Op::Insert(key) => prop_assert_eq!(insert(&list, key), set.insert(key)),
                Op::Remove(key) => prop_assert_eq!(remove(&list, key), set.remove(&key)),
            }
        }
        prop_assert_eq!(keys_of(&list), set.clone());
        prop_assert_eq!(list.len_estimate(), set.len());
        let bytes = list.bytes();
        list.audit();
        prop_assert!(bytes > 0);
    }
}

#[test]
fn runs_are_in_order_and_keys_short() {
    let mut run = run_of([1, 2]);
    let refused = run.push(&2_u32.to_be_bytes(), 0, |_| LIVE);
    assert!(matches!(refused, Err(BulkError::OutOfOrder { .. })));
    assert!(matches!(run.push(&[9; 1 << 17], 0, |_| LIVE), Err(BulkError::KeyTooLong(_))));
    assert_eq!(run.len(), 2);
    let list = List::new(Arc::new(Barrier::new()));
    assert!(splice(&list, Run::new()) && splice(&list, run));
    assert_eq!(keys_of(&list), BTreeSet::from([1, 2]));
}

#[test]
fn a_list_of_runs_is_as_dense_as_one_built_in_bulk() {
    let mut list = List::new(Arc::new(Barrier::new()));
    for from in (0..200_000).step_by(250) {
        assert!(splice(&list, run_of(from..from + 250)));
        list.barrier().flush();
    }
    list.barrier().flush();
    list.barrier().flush();
    assert_eq!(list.len_estimate(), 200_000);
    // A record of 24 bytes and its key, padded, and what a block takes for it.
    assert!(list.bytes() / 200_000 < 56, "{} bytes an entry", list.bytes() / 200_000);
    assert_eq!(list.audit(), 200_000);
}

/// Rounds of each thread.
const ROUNDS: u32 = if cfg!(debug_assertions) { 300 } else { 2000 };

#[test]
fn threads_splice_insert_and_remove() {
    let mut list = List::new(Arc::new(Barrier::new()));
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let list = &list;
            scope.spawn(move || {
                let mut mine: BTreeSet<u32> = BTreeSet::new();
                let mut random = u64::from(thread) + 1;
                for _ in 0..ROUNDS {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let number = (random >> 33) as u32;
                    // Keys of a thread are its own, between those of the others.
                    let key = |at: u32| (at % 4000) * 4 + thread;
                    match number % 4 {
                        0 | 1 => {
                            let from = number / 4 % 3900;
                            let keys: Vec<u32> = (from..from + 1 + number % 60).map(key).collect();
                            if splice(list, run_of(keys.iter().copied())) {
                                keys.into_iter().for_each(|key| assert!(mine.insert(key)));
                            }
                        }
                        2 => {
                            let key = key(number / 4);
                            assert_eq!(insert(list, key), mine.insert(key));
                        }
                        _ => {
                            let from = key(number / 4);
                            let some: Vec<u32> = mine.range(from..).take(40).copied().collect();
                            for key in some {
                                assert!(remove(list, key) && mine.remove(&key));
                            }
                        }
                    }
                    if number.is_multiple_of(16) {
                        list.barrier().flush();
                    }
                }
                let seen: BTreeSet<u32> =
                    keys_of(list).into_iter().filter(|key| key % 4 == thread).collect();
                assert_eq!(seen, mine);
            });
        }
    });
    list.audit();
}
