//! Keys with one owner each, whose history is known to all.
//!
//! The *state* of a key is the number of its changes: present where it is odd, and then the record's
//! cell and inline part hold it. The owner publishes `begun` before a change and `done` after it. Who
//! reads `done`, looks the key up, and then reads `begun`, knows the first and the last state that it
//! may have seen: where both are equal the answer is exact.

use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::Instant;

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, Record, SEALED, Shape};

use crate::harness::{Random, SHAPES, check_end, run, seconds, together};

/// What an owner does with its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Any key; in turn mostly insertions, mostly removals, both.
    Random,
    /// Inserts all in ascending order, as fast as the others; then removes them so.
    Ascending,
    /// The same in descending order.
    Descending,
    /// Inserts and removes ranges of keys as a whole.
    Ranges,
    /// Inserts and removes keys at both ends of the ranges.
    Edges,
}

/// Length of the ranges.
const RANGE: usize = 50;

/// Walks of part of the list cover so many numbers.
const WINDOW: usize = 40;

/// The number comes first: the keys of all owners are mixed.
fn key_of(owner: usize, number: usize) -> [u8; 5] {
    let [a, b, c, d] = u32::try_from(number).expect("small").to_be_bytes();
    [a, b, c, d, u8::try_from(owner).expect("small")]
}

fn cell_of(owner: usize, number: usize, state: u64) -> u64 {
    (state << 32) | ((number as u64) << 8) | ((owner as u64) << 3) | 4
}

struct Key {
    begun: AtomicU64,
    done: AtomicU64,
}

struct World {
    list: List,
    owners: usize,
    numbers: usize,
    /// By number, then owner: as they lie in the list.
    keys: Vec<Key>,
    stop: AtomicBool,
}

/// Where a record lies, and the state that it holds; none when it is sealed by now.
fn look(record: Record<'_>) -> (usize, usize, Option<u64>) {
    let key = record.key();
    let number = u32::from_be_bytes(key[..4].try_into().expect("4 bytes")) as usize;
    let owner = usize::from(key[4]);
    assert_eq!(record.inline_len(), 16);
    // SAFETY: 16 bytes, aligned to 8, written before the record was linked, never changed.
    let [inline, inverse] = unsafe { record.inline().cast::<[u64; 2]>().read() };
    assert_eq!(inline, !inverse, "the inline part is torn");
    assert_eq!(inline, cell_of(owner, number, inline >> 32), "the inline part of another key");
    let cell = record.cell().load(Ordering::Acquire);
    assert!(cell == SEALED || cell == inline, "the cell of another record");
    (owner, number, (cell != SEALED).then_some(cell >> 32))
}

impl World {
    fn key(&self, owner: usize, number: usize) -> &Key {
        &self.keys[number * self.owners + owner]
    }

    fn insert(&self, owner: usize, number: usize, g: &Guard<'_>) {
        let key = self.key(owner, number);
        let state = key.done.load(Ordering::Relaxed);
        let present = state % 2 == 1;
        if !present {
            key.begun.store(state + 1, Ordering::Release);
        }
        let cell = cell_of(owner, number, state + 1);
        let init = |record: Record<'_>| {
            // SAFETY: 16 bytes, aligned to 8, of a record that nobody else can see.
            unsafe { record.inline().cast::<[u64; 2]>().write([cell, !cell]) };
            cell
        };
        let made = self.list.find_or_insert(&key_of(owner, number), 16, init, g).expect("short");
        let found = matches!(made, FindOrInsert::Found(_));
        assert_eq!(found, present, "key {number} of {owner} in state {state}");
        let now = if present { state } else { state + 1 };
        assert_eq!(look(made.record()), (owner, number, Some(now)));
        key.done.store(now, Ordering::Release);
    }

    fn remove(&self, owner: usize, number: usize, g: &Guard<'_>) {
        let key = self.key(owner, number);
        let state = key.done.load(Ordering::Relaxed);
        let found = self.list.find(&key_of(owner, number), g);
        let seen = found.map(look);
        let expected = (state % 2 == 1).then_some((owner, number, Some(state)));
        assert_eq!(seen, expected, "key {number} of {owner} in state {state}");
        if let Some(record) = found {
            key.begun.store(state + 1, Ordering::Release);
            let before = record.cell().swap(SEALED, Ordering::AcqRel);
            assert_ne!(before, SEALED, "another thread sealed it");
            self.list.unlink_sealed(record, g);
            key.done.store(state + 1, Ordering::Release);
        }
    }

    /// One round of an owner. Each operation has a session of its own.
    fn change(&self, owner: usize, work: Work, round: usize, random: &mut Random) {
        let numbers = self.numbers;
        let one = |number: usize, insert: bool| {
            let g = self.list.barrier().pin();
            if insert {
                self.insert(owner, number, &g);
            } else {
                self.remove(owner, number, &g);
            }
        };
        match work {
            Work::Random => {
                let of_eight = [7, 1, 4, 4][round % 4];
                (0..1_000).for_each(|_| one(random.below(numbers), random.below(8) < of_eight));
            }
            Work::Ascending => (0..numbers).for_each(|number| one(number, round.is_multiple_of(2))),
            Work::Descending => {
                (0..numbers).rev().for_each(|number| one(number, round.is_multiple_of(2)));
            }
            Work::Ranges => {
                let from = random.below(numbers / RANGE) * RANGE;
                (from..from + RANGE).for_each(|number| one(number, true));
                if round.is_multiple_of(2) {
                    (from..from + RANGE).for_each(|number| one(number, false));
                } else {
                    (from..from + RANGE).rev().for_each(|number| one(number, false));
                }
            }
            Work::Edges => {
                let edge = random.below(numbers / RANGE) * RANGE;
                for _ in 0..20 {
                    let number = (edge + numbers + random.below(6) - 3) % numbers;
                    one(number, random.below(2) == 0);
                }
            }
        }
    }

    /// The states that the keys of these numbers have reached for certain.
    fn reached(&self, from: usize, to: usize, reached: &mut Vec<u64>) {
        reached.clear();
        let keys = &self.keys[from * self.owners..to * self.owners];
        reached.extend(keys.iter().map(|key| key.done.load(Ordering::Acquire)));
    }

    /// Judges what was seen of a key, whose state was `first` or later.
    fn judge(&self, owner: usize, number: usize, first: u64, seen: Option<u64>) {
        // Whoever saw what a change did sees that it had begun.
        fence(Ordering::Acquire);
        let last = self.key(owner, number).begun.load(Ordering::Relaxed);
        let possible = match seen {
            Some(state) => state % 2 == 1 && first <= state && state <= last,
            None => first.is_multiple_of(2) || last > first,
        };
        assert!(possible, "key {number} of {owner}: saw {seen:?}, was {first} to {last}");
    }

    /// Walks over the numbers from `from` to below `to` and judges every key.
    fn walk(&self, from: usize, to: usize, back: bool, g: &Guard<'_>, pad: &mut Pad) {
        self.reached(from, to, &mut pad.reached);
        pad.seen.clear();
        pad.seen.resize(pad.reached.len(), None);
        let mut previous: Option<usize> = None;
        let note = |record: Record<'_>| {
            let (owner, number, state) = look(record);
            if !(from..to).contains(&number) {
                return ControlFlow::Break(());
            }
            let at = (number - from) * self.owners + owner;
            let in_order = previous.is_none_or(|last| if back { last > at } else { last < at });
            assert!(in_order, "a walk is not in order");
            previous = Some(at);
            pad.seen[at] = state;
            ControlFlow::Continue(())
        };
        if back {
            self.list.walk_back(Bound::Excluded(&key_of(0, to)), g, note);
        } else {
            self.list.walk(Bound::Included(&key_of(0, from)), g, note);
        }
        for (at, (first, seen)) in pad.reached.iter().zip(&pad.seen).enumerate() {
            self.judge(at % self.owners, from + at / self.owners, *first, *seen);
        }
    }

    /// Reads in all ways until the test is over; returns how often.
    fn read(&self, seed: u64) -> u64 {
        let mut random = Random(seed);
        let mut pad = Pad::default();
        let mut rounds = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let g = self.list.barrier().pin();
            let from = random.below(self.numbers);
            let to = (from + WINDOW).min(self.numbers);
            let back = random.below(2) == 0;
            match random.below(8) {
                0 => self.walk(0, self.numbers, back, &g, &mut pad),
                1..5 => self.walk(from, to, back, &g, &mut pad),
                5 | 6 => {
                    let owner = random.below(self.owners);
                    let first = self.key(owner, from).done.load(Ordering::Acquire);
                    let found = self.list.find(&key_of(owner, from), &g);
                    self.judge(owner, from, first, found.and_then(|record| look(record).2));
                }
                _ => self.find_many(from, to, &g, &mut pad),
            }
            rounds += 1;
        }
        rounds
    }

    fn find_many(&self, from: usize, to: usize, g: &Guard<'_>, pad: &mut Pad) {
        self.reached(from, to, &mut pad.reached);
        let keys: Vec<[u8; 5]> = (from * self.owners..to * self.owners)
            .map(|at| key_of(at % self.owners, at / self.owners))
            .collect();
        let slices: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.list.find_many(&slices, g, |at, found| {
            let (owner, number) = (at % self.owners, from + at / self.owners);
            let seen = found.map(look);
            assert!(seen.is_none_or(|seen| (seen.0, seen.1) == (owner, number)), "another key");
            self.judge(owner, number, pad.reached[at], seen.and_then(|seen| seen.2));
        });
    }
}

/// Memory that a reader uses again.
#[derive(Default)]
struct Pad {
    reached: Vec<u64>,
    seen: Vec<Option<u64>>,
}

fn one(name: &str, shape: Shape, numbers: usize, work: &[Work]) -> String {
    let owners = work.len();
    let key = || Key { begun: AtomicU64::new(0), done: AtomicU64::new(0) };
    let mut world = World {
        list: List::with_shape(Arc::new(Barrier::with_stripes(4)), shape),
        owners,
        numbers,
        keys: (0..owners * numbers).map(|_| key()).collect(),
        stop: AtomicBool::new(false),
    };
    let shared = &world;
    let end = Instant::now() + seconds() / 3;
    let mut threads: Vec<Box<dyn FnOnce() -> u64 + Send + '_>> = Vec::new();
    for (owner, work) in work.iter().enumerate() {
        threads.push(Box::new(move || {
            let mut random = Random(0x9E37_79B9 + owner as u64);
            let mut round = 0;
            while Instant::now() < end || round < 2 {
                shared.change(owner, *work, round, &mut random);
                round += 1;
            }
            shared.stop.store(true, Ordering::Relaxed);
            0
        }));
    }
    for reader in 0..2 {
        threads.push(Box::new(move || shared.read(77 + reader)));
    }
    let reads: u64 = together(threads).into_iter().sum();
    assert!(reads > 0, "nothing was read");
    let states: Vec<u64> = world.keys.iter().map(|key| key.done.load(Ordering::Relaxed)).collect();
    let g = world.list.barrier().pin();
    world.walk(0, numbers, false, &g, &mut Pad::default());
    world.walk(0, numbers, true, &g, &mut Pad::default());
    drop(g);
    let expected = states.iter().filter(|state| **state % 2 == 1).count();
    check_end(&mut world.list, expected);
    let changes: u64 = states.iter().sum();
    let retired = world.list.barrier().stats().retired;
    let words = shape.words[0];
    format!("{name}, {words} words: changes={changes} reads={reads} retired={retired}")
}

/// Owners with this work on so many keys each, and two readers, on blocks of all sizes.
pub(crate) fn test(name: &str, numbers: usize, work: &[Work]) {
    for shape in SHAPES {
        run(|| one(name, shape, numbers, work));
    }
}
