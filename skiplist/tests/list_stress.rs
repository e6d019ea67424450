//! Goal: real threads never lose, double or misplace a record, whatever is rebuilt around them.
//! Method: the first byte of a key names the one thread that may insert and seal it, so each thread
//! knows exactly which of its keys are present; cells carry (thread, key, generation), so a record
//! that anybody reads tells whether it can be what it seems. Readers walk both ways meanwhile.
//! Another test lets all threads fight for the same keys and counts insertions and seals.

use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, Record, SEALED, Shape};

const SHAPES: [Shape; 3] = [
    Shape { words: [3, 3], fill: [2, 2], levels: 12 },
    Shape { words: [8, 5], fill: [6, 3], levels: 12 },
    Shape { words: [58, 61], fill: [44, 46], levels: 12 },
];

/// A small generator of our own: runs are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// Keys of all threads are mixed: the number comes first.
fn key_of(thread: u64, number: u64) -> [u8; 5] {
    let number = u32::try_from(number).expect("small").to_be_bytes();
    [number[0], number[1], number[2], number[3], u8::try_from(thread).expect("small")]
}

fn cell_of(thread: u64, number: u64, generation: u64) -> u64 {
    (generation << 32) | (number << 8) | (thread << 3) | 4
}

fn check_record(record: Record<'_>, keys: u64) {
    let key = record.key();
    let number = u64::from(u32::from_be_bytes([key[0], key[1], key[2], key[3]]));
    assert!(number < keys);
    let cell = record.cell().load(Ordering::Acquire);
    if cell != SEALED {
        assert_eq!(cell & 0xFFFF_FFFF, cell_of(u64::from(key[4]), number, 0), "a wrong cell");
    }
}

fn owner(list: &List, thread: u64, keys: u64, operations: u64) -> Vec<bool> {
    let mut random = Random(0x9E37_79B9 + thread);
    let mut present = vec![false; usize::try_from(keys).expect("small")];
    let mut generation = 0;
    let mut phase = 0;
    for operation in 0..operations {
        if operation % 4096 == 0 {
            phase = random.below(4);
        }
        let number = random.below(keys);
        let at = usize::try_from(number).expect("small");
        let key = key_of(thread, number);
        let g = list.barrier().pin();
        // Phases of growth, of shrinking, and of both at once.
        let insert = random.below(8) < [7, 1, 4, 4][usize::try_from(phase).expect("small")];
        if insert {
            generation += 1;
            let cell = cell_of(thread, number, generation);
            let made = list.find_or_insert(&key, 8, |_| cell, &g).expect("short");
            assert_eq!(matches!(made, FindOrInsert::Found(_)), present[at], "{key:?}");
            check_record(made.record(), keys);
            present[at] = true;
        } else if let Some(record) = list.find(&key, &g) {
            assert!(present[at], "found what was removed: {key:?}");
            record.cell().store(SEALED, Ordering::Release);
            list.unlink_sealed(record, &g);
            present[at] = false;
        } else {
            assert!(!present[at], "lost {key:?}");
        }
    }
    present
}

fn walker(list: &List, keys: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random(77);
    let mut walks = 0;
    while !stop.load(Ordering::Relaxed) {
        let g = list.barrier().pin();
        let from = key_of(0, random.below(keys));
        let mut previous: Option<Vec<u8>> = None;
        let mut left = 200;
        let back = walks % 2 == 1;
        let mut see = |record: Record<'_>| {
            check_record(record, keys);
            let key = record.key().to_vec();
            if let Some(previous) = &previous {
                assert!(if back { *previous > key } else { *previous < key }, "not in order");
            }
            previous = Some(key);
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        if back {
            list.walk_back(Bound::Included(&from), &g, &mut see);
        } else {
            list.walk(Bound::Included(&from), &g, &mut see);
        }
        walks += 1;
    }
    walks
}

fn count(list: &List, g: &Guard<'_>) -> usize {
    let mut count = 0;
    list.walk(Bound::Unbounded, g, |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    count
}

fn owners_and_walkers(shape: Shape, keys: u64, operations: u64) {
    let barrier = Arc::new(Barrier::new());
    let mut list = List::with_shape(barrier.clone(), shape);
    let stop = AtomicBool::new(false);
    let presents: Vec<Vec<bool>> = std::thread::scope(|scope| {
        let (list, stop) = (&list, &stop);
        let walkers: Vec<_> =
            (0..2).map(|_| scope.spawn(move || walker(list, keys, stop))).collect();
        let owners: Vec<_> = (0..4)
            .map(|thread| scope.spawn(move || owner(list, thread, keys, operations)))
            .collect();
        let presents = owners.into_iter().map(|owner| owner.join().expect("no panic")).collect();
        stop.store(true, Ordering::Relaxed);
        let walks: u64 = walkers.into_iter().map(|walker| walker.join().expect("no panic")).sum();
        assert!(walks > 0);
        presents
    });
    let expected: usize = presents.iter().flatten().filter(|present| **present).count();
    {
        let g = list.barrier().pin();
        for (thread, present) in (0..).zip(&presents) {
            for (number, present) in (0..).zip(present) {
                assert_eq!(list.find(&key_of(thread, number), &g).is_some(), *present);
            }
        }
        assert_eq!(count(&list, &g), expected);
        assert_eq!(list.len_estimate(), expected);
    }
    list.audit();
    barrier.flush();
    barrier.flush();
    let stats = barrier.stats();
    assert_eq!(stats.retired, stats.reclaimed, "all that was retired is reclaimed");
    assert_eq!(stats.retired_bytes, stats.reclaimed_bytes);
}

#[test]
fn owners_of_keys_find_exactly_their_own() {
    for (shape, operations) in SHAPES.into_iter().zip([20_000, 40_000, 80_000]) {
        owners_and_walkers(shape, 3000, operations);
    }
}

#[test]
fn few_keys_make_blocks_come_and_go() {
    for (shape, operations) in SHAPES.into_iter().zip([20_000, 40_000, 80_000]) {
        owners_and_walkers(shape, 20, operations);
    }
}

#[test]
fn insertions_less_seals_are_what_is_left() {
    const KEYS: usize = 64;
    for shape in SHAPES {
        let mut list = List::with_shape(Arc::new(Barrier::new()), shape);
        let inserted: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        let sealed: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 0..6_u64 {
                let (list, inserted, sealed) = (&list, &inserted, &sealed);
                scope.spawn(move || {
                    let mut random = Random(thread + 1);
                    for _ in 0..30_000 {
                        let at = usize::try_from(random.below(KEYS as u64)).expect("small");
                        let key = [u8::try_from(at).expect("small")];
                        let g = list.barrier().pin();
                        let made = list.find_or_insert(&key, 0, |_| 2, &g).expect("short");
                        match made {
                            FindOrInsert::Inserted(_) => {
                                inserted[at].fetch_add(1, Ordering::Relaxed);
                            }
                            FindOrInsert::Found(record) => {
                                let cell = record.cell();
                                let (from, relaxed) = (2, Ordering::Relaxed);
                                if cell.compare_exchange(from, SEALED, relaxed, relaxed).is_ok() {
                                    sealed[at].fetch_add(1, Ordering::Relaxed);
                                    list.unlink_sealed(record, &g);
                                }
                            }
                        }
                    }
                });
            }
        });
        list.audit();
        let g = list.barrier().pin();
        for at in 0..KEYS {
            let left = inserted[at].load(Ordering::Relaxed) - sealed[at].load(Ordering::Relaxed);
            let found = list.find(&[u8::try_from(at).expect("small")], &g).is_some();
            assert_eq!(u64::from(found), left);
        }
    }
}
