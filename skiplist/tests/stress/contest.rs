//! Keys that all threads insert and seal, between neighbours that stay.
//!
//! A cell tells its key, its inserter and the inserter's count. One thread wins each insertion and each
//! seal, so insertions less seals are what is left; and whoever looks a key up again and again never
//! sees an earlier insertion of a thread after a later one.

use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;
use std::time::Instant;

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, Record, SEALED, Shape};

use crate::harness::{Random, SHAPES, check_end, run, seconds, together};

const THREADS: usize = 6;

/// Keys on each side that stay.
const NEIGHBOURS: usize = 60;

/// A key of the middle; keys on the left and on the right begin with 0 and 2.
fn key_of(side: u8, number: usize) -> [u8; 3] {
    let [high, low] = u16::try_from(number).expect("small").to_be_bytes();
    [side, high, low]
}

fn cell_of(number: usize, thread: usize, count: u64) -> u64 {
    (count << 32) | ((number as u64) << 16) | ((thread as u64) << 3) | 4
}

/// What one thread did, and the last insertions that it saw: by key and inserter.
struct Contestant<'l> {
    list: &'l List,
    keys: usize,
    thread: usize,
    count: u64,
    inserted: Vec<u64>,
    sealed: Vec<u64>,
    latest: Vec<[u64; THREADS]>,
}

impl Contestant<'_> {
    /// Notes what a record of the middle holds.
    fn note(&mut self, record: Record<'_>) -> u64 {
        let number = usize::from(u16::from_be_bytes([record.key()[1], record.key()[2]]));
        let cell = record.cell().load(Ordering::Acquire);
        if cell != SEALED {
            let thread = usize::try_from(cell >> 3).expect("64 bits") & 7;
            assert_eq!(cell, cell_of(number, thread, cell >> 32), "the cell of another key");
            let latest = &mut self.latest[number][thread];
            assert!(*latest <= cell >> 32, "an old insertion of {thread} came back");
            *latest = cell >> 32;
        }
        cell
    }

    fn fight(&mut self, number: usize, g: &Guard<'_>) {
        self.count += 1;
        let cell = cell_of(number, self.thread, self.count);
        let key = key_of(1, number);
        let made = self.list.find_or_insert(&key, 0, |_| cell, g).expect("short");
        let there = self.note(made.record());
        match made {
            FindOrInsert::Inserted(_) => self.inserted[number] += 1,
            FindOrInsert::Found(record) => {
                let (order, fail) = (Ordering::AcqRel, Ordering::Relaxed);
                if there != SEALED
                    && record.cell().compare_exchange(there, SEALED, order, fail).is_ok()
                {
                    self.sealed[number] += 1;
                    self.list.unlink_sealed(record, g);
                }
            }
        }
    }

    /// Walks over all: the neighbours are there, in order.
    fn walk(&mut self, back: bool, g: &Guard<'_>) {
        let mut sides = [0; 3];
        let mut previous: Option<[u8; 3]> = None;
        let list = self.list;
        let note = |record: Record<'_>| {
            let key: [u8; 3] = record.key().try_into().expect("3 bytes");
            let in_order = previous.is_none_or(|last| if back { last > key } else { last < key });
            assert!(in_order, "a walk is not in order");
            previous = Some(key);
            sides[usize::from(key[0])] += 1;
            if key[0] == 1 {
                self.note(record);
            }
            ControlFlow::Continue(())
        };
        if back {
            list.walk_back(Bound::Unbounded, g, note);
        } else {
            list.walk(Bound::Unbounded, g, note);
        }
        assert_eq!((sides[0], sides[2]), (NEIGHBOURS, NEIGHBOURS), "a walk missed what stays");
        assert!(sides[1] <= self.keys);
    }

    fn run(mut self, end: Instant) -> (Vec<u64>, Vec<u64>) {
        let mut random = Random(self.thread as u64 + 1);
        while Instant::now() < end {
            for _ in 0..64 {
                let g = self.list.barrier().pin();
                match random.below(32) {
                    0 => self.walk(random.below(2) == 0, &g),
                    1..4 => {
                        let key = key_of(1, random.below(self.keys));
                        if let Some(record) = self.list.find(&key, &g) {
                            self.note(record);
                        }
                    }
                    _ => self.fight(random.below(self.keys), &g),
                }
            }
        }
        (self.inserted, self.sealed)
    }
}

fn one(name: &str, shape: Shape, keys: usize) -> String {
    let mut list = List::with_shape(Arc::new(Barrier::with_stripes(4)), shape);
    for number in 0..NEIGHBOURS {
        for side in [0, 2] {
            let g = list.barrier().pin();
            list.find_or_insert(&key_of(side, number), 0, |_| 4, &g).expect("short");
        }
    }
    let shared = &list;
    let end = Instant::now() + seconds() / 3;
    let contestant = |thread: usize| Contestant {
        list: shared,
        keys,
        thread,
        count: 0,
        inserted: vec![0; keys],
        sealed: vec![0; keys],
        latest: vec![[0; THREADS]; keys],
    };
    type Counts = (Vec<u64>, Vec<u64>);
    let threads = (0..THREADS)
        .map(|thread| {
            let contestant = contestant(thread);
            Box::new(move || contestant.run(end)) as Box<dyn FnOnce() -> Counts + Send + '_>
        })
        .collect();
    let counts = together(threads);
    let mut expected = 2 * NEIGHBOURS;
    let g = list.barrier().pin();
    for number in 0..keys {
        let inserted: u64 = counts.iter().map(|(inserted, _)| inserted[number]).sum();
        let sealed: u64 = counts.iter().map(|(_, sealed)| sealed[number]).sum();
        let found = list.find(&key_of(1, number), &g).is_some();
        assert_eq!(inserted - sealed, u64::from(found), "key {number}");
        expected += usize::from(found);
    }
    drop(g);
    let changes: u64 = counts.iter().flat_map(|(ins, sealed)| ins.iter().chain(sealed)).sum();
    assert!(changes > 100, "the test did little: {changes} changes");
    check_end(&mut list, expected);
    let retired = list.barrier().stats().retired;
    format!("{name}, {} words: changes={changes} retired={retired}", shape.words[0])
}

/// Six threads on so many keys, on blocks of all sizes.
pub(crate) fn test(name: &str, keys: impl Fn(&Shape) -> usize) {
    for shape in SHAPES {
        run(|| one(name, shape, keys(&shape)));
    }
}
