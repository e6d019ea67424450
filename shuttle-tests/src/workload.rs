//! Eight threads of eight operations each, and what must hold of their answers.
//!
//! A key is a number and a role. Some keys stay from the beginning to the end; some belong to one
//! thread, which knows what must become of them; some are raced for and never removed; some are
//! hot: all threads insert and remove them. Cells tell the key, the thread and the operation.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, Record, SEALED, Shape, model};

const THREADS: u8 = 8;
const OPERATIONS: u8 = 8;

/// Numbers of the keys of each role; few, so that threads meet.
const NUMBERS: u8 = 3;

/// Roles beside those of the threads.
const STAYS: u8 = 0xF0;
const RACED: u8 = 0xE0;
const HOT: u8 = 0xE8;

/// Small blocks: of the fewest words, with few levels, and wide enough for the vector search.
const SHAPES: [Shape; 3] = [
    Shape { words: [2, 2], fill: [1, 1], levels: 4 },
    Shape { words: [3, 3], fill: [2, 2], levels: 6 },
    Shape { words: [8, 4], fill: [6, 3], levels: 2 },
];

type Key = [u8; 2];

/// The number lies in front: the keys of all roles are mixed.
fn key_of(role: u8, number: u8) -> Key {
    [number, role]
}

fn cell_of(key: Key, thread: u8, operation: u8) -> u64 {
    u64::from_be_bytes([0, 0, 0, key[0], key[1], thread, operation, 4])
}

/// The record's key and cell; the cell was made for this key, or is sealed.
fn look(record: Record<'_>) -> (Key, u64) {
    let key: Key = record.key().try_into().expect("keys have 2 bytes");
    let cell = record.cell().load(Ordering::Acquire);
    let [_, _, _, number, role, ..] = cell.to_be_bytes();
    assert!(cell == SEALED || [number, role] == key, "{key:?} has the cell {cell:#x}");
    (key, cell)
}

/// What a thread knows and did.
struct Thread<'l> {
    list: &'l List,
    number: u8,
    operation: u8,
    /// Keys that are there, with their cells: those that stay, its own, and raced ones that it saw.
    present: BTreeMap<Key, u64>,
    log: Log,
}

/// What must agree between threads.
#[derive(Default)]
struct Log {
    /// Insertions less seals, by key.
    balance: BTreeMap<Key, i32>,
    /// Insertions of raced keys, with their cells.
    won: Vec<(Key, u64)>,
    /// What the thread knows to be there at its end.
    present: BTreeMap<Key, u64>,
}

impl Thread<'_> {
    fn next_cell(&self, key: Key) -> u64 {
        cell_of(key, self.number, self.operation)
    }

    /// One operation in a session of its own; every second one flushes the barrier.
    fn operate(&mut self) {
        let mut random = thread_rng();
        let (choice, number) = (random.gen_range(0..12_u8), random.gen_range(0..NUMBERS));
        let own = key_of(self.number, number);
        let barrier = self.list.barrier();
        let g = barrier.pin();
        match choice {
            0..3 => self.put_own(own, &g),
            3..5 => self.remove_own(own, &g),
            5 => self.get(&[own, key_of(STAYS, number)], &g),
            6 => self.race(key_of(RACED, number), &g),
            7..10 => self.flip(key_of(HOT, number), &g),
            10 => self.walk(false, &g),
            _ => self.walk(true, &g),
        }
        drop(g);
        if random.gen_range(0..2_u8) == 0 {
            barrier.flush();
        }
        self.operation += 1;
    }

    fn put_own(&mut self, key: Key, g: &Guard<'_>) {
        let cell = self.next_cell(key);
        let made = self.list.find_or_insert(&key, 0, |_| cell, g).expect("short");
        let now = look(made.record());
        match made {
            FindOrInsert::Found(_) => assert_eq!(Some(&now.1), self.present.get(&key), "{key:?}"),
            FindOrInsert::Inserted(_) => {
                assert_eq!(now, (key, cell));
                assert!(self.present.insert(key, cell).is_none(), "inserted twice: {key:?}");
                *self.log.balance.entry(key).or_default() += 1;
            }
        }
    }

    fn remove_own(&mut self, key: Key, g: &Guard<'_>) {
        let found = self.list.find(&key, g);
        assert_eq!(found.map(|record| look(record).1), self.present.remove(&key), "{key:?}");
        if let Some(record) = found {
            record.cell().store(SEALED, Ordering::Release);
            self.list.unlink_sealed(record, g);
            *self.log.balance.entry(key).or_default() -= 1;
        }
    }

    /// Looks keys up one by one and together.
    fn get(&self, keys: &[Key], g: &Guard<'_>) {
        for key in keys {
            let found = self.list.find(key, g).map(|record| look(record).1);
            assert_eq!(found.as_ref(), self.present.get(key), "{key:?}");
        }
        let slices: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.list.find_many(&slices, g, |at, found| {
            let found = found.map(|record| look(record).1);
            assert_eq!(found.as_ref(), self.present.get(&keys[at]), "{:?}", keys[at]);
        });
    }

    /// Inserts a key that is never removed: one thread wins, and all see its cell for ever.
    fn race(&mut self, key: Key, g: &Guard<'_>) {
        let cell = self.next_cell(key);
        let made = self.list.find_or_insert(&key, 0, |_| cell, g).expect("short");
        let now = look(made.record()).1;
        if let FindOrInsert::Inserted(_) = made {
            assert_eq!(now, cell);
            self.log.won.push((key, cell));
            *self.log.balance.entry(key).or_default() += 1;
        }
        let before = *self.present.entry(key).or_insert(now);
        assert_eq!(before, now, "a raced key changed its cell");
    }

    /// Inserts a hot key, or seals the record that is there.
    fn flip(&mut self, key: Key, g: &Guard<'_>) {
        let cell = self.next_cell(key);
        match self.list.find_or_insert(&key, 0, |_| cell, g).expect("short") {
            FindOrInsert::Inserted(_) => *self.log.balance.entry(key).or_default() += 1,
            FindOrInsert::Found(record) => {
                let (_, there) = look(record);
                let (order, fail) = (Ordering::AcqRel, Ordering::Relaxed);
                if there != SEALED
                    && record.cell().compare_exchange(there, SEALED, order, fail).is_ok()
                {
                    *self.log.balance.entry(key).or_default() -= 1;
                    self.list.unlink_sealed(record, g);
                }
            }
        }
    }

    /// Walks over all or from a number on; what the thread knows to be there must be seen, and of
    /// its own keys nothing else.
    fn walk(&self, back: bool, g: &Guard<'_>) {
        let edge = [thread_rng().gen_range(0..=NUMBERS)];
        let whole = edge[0] == NUMBERS;
        let from = if whole { Bound::Unbounded } else { Bound::Included(&edge[..]) };
        let seen = walk(self.list, from, back, g);
        let inside =
            |key: &Key| whole || if back { key[..] <= edge[..] } else { key[..] >= edge[..] };
        for (key, cell) in self.present.iter().filter(|(key, _)| inside(key)) {
            assert_eq!(seen.get(key), Some(cell), "a walk missed {key:?}");
        }
        for key in seen.keys() {
            assert!(inside(key), "a walk left its range");
            let known = key[1] != self.number || self.present.contains_key(key);
            assert!(known, "a walk saw {key:?}, which is removed");
        }
    }
}

/// Walks and checks the order.
fn walk(list: &List, from: Bound<&[u8]>, back: bool, g: &Guard<'_>) -> BTreeMap<Key, u64> {
    let mut seen = BTreeMap::new();
    let mut previous: Option<Key> = None;
    let note = |record: Record<'_>| {
        let (key, cell) = look(record);
        let in_order = previous.is_none_or(|last| if back { last > key } else { last < key });
        assert!(in_order, "{key:?} behind {previous:?}");
        previous = Some(key);
        seen.insert(key, cell);
        ControlFlow::Continue(())
    };
    if back {
        list.walk_back(from, g, note);
    } else {
        list.walk(from, g, note);
    }
    seen
}

/// One execution: a list of small blocks, eight threads, and all checks.
///
/// # Panics
///
/// When an answer, the structure, or the number of what was reclaimed is wrong.
pub fn run() {
    let shape = SHAPES[thread_rng().gen_range(0..SHAPES.len())];
    let list = Arc::new(List::with_shape(Arc::new(Barrier::new()), shape));
    let mut stays = BTreeMap::new();
    for number in 0..NUMBERS {
        let key = key_of(STAYS, number);
        let cell = cell_of(key, STAYS, 0);
        let _ = list.find_or_insert(&key, 0, |_| cell, &list.barrier().pin()).expect("short");
        stays.insert(key, cell);
    }
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (list, present) = (Arc::clone(&list), stays.clone());
            thread::spawn(move || {
                let log = Log::default();
                let mut thread = Thread { list: &list, number, operation: 0, present, log };
                (0..OPERATIONS).for_each(|_| thread.operate());
                Log { present: thread.present, ..thread.log }
            })
        })
        .collect();
    let logs = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    let expected = settle(stays, logs);
    check_end(Arc::into_inner(list).expect("the threads are gone"), &expected);
}

/// What must be there at the end, with the cells of those keys whose cells are known.
fn settle(stays: BTreeMap<Key, u64>, logs: Vec<Log>) -> BTreeMap<Key, Option<u64>> {
    let mut expected: BTreeMap<Key, Option<u64>> =
        stays.into_iter().map(|(key, cell)| (key, Some(cell))).collect();
    let mut balance: BTreeMap<Key, i32> = BTreeMap::new();
    let mut won: BTreeMap<Key, u64> = BTreeMap::new();
    for log in &logs {
        log.balance.iter().for_each(|(key, n)| *balance.entry(*key).or_default() += n);
        for (key, cell) in &log.won {
            assert!(won.insert(*key, *cell).is_none(), "two winners of {key:?}");
        }
    }
    for (key, count) in balance {
        assert!(count == 0 || count == 1, "{key:?}: {count} insertions more than seals");
        if count == 1 {
            expected.insert(key, None);
        }
    }
    for (key, cell) in logs.iter().flat_map(|log| &log.present) {
        let known = expected.get_mut(key).unwrap_or_else(|| panic!("nobody inserted {key:?}"));
        assert_eq!(*known.get_or_insert(*cell), *cell, "two cells of {key:?}");
        assert!(key[1] != RACED || won.get(key) == Some(cell), "not the winner's cell");
    }
    expected
}

/// The content, both ways; the structure; that all memory comes back.
fn check_end(mut list: List, expected: &BTreeMap<Key, Option<u64>>) {
    let barrier = Arc::clone(list.barrier());
    let stats = barrier.stats();
    assert_eq!(stats.terminated, stats.current, "nobody is inside: closed sessions are over");
    let g = barrier.pin();
    let seen = walk(&list, Bound::Unbounded, false, &g);
    assert_eq!(seen, walk(&list, Bound::Unbounded, true, &g), "both ways");
    assert!(seen.keys().eq(expected.keys()), "{seen:?} is there, expected {expected:?}");
    for (key, cell) in &seen {
        assert!(expected[key].is_none_or(|known| known == *cell), "a wrong cell of {key:?}");
        assert_eq!(list.find(key, &g).map(|record| look(record).1), Some(*cell));
    }
    drop(g);
    assert_eq!(list.len_estimate(), expected.len());
    assert_eq!(list.audit(), expected.len());
    barrier.flush();
    barrier.flush();
    let stats = barrier.stats();
    assert_eq!(stats.retired, stats.reclaimed, "something is stranded: {stats:?}");
    assert_eq!(stats.retired_bytes, stats.reclaimed_bytes);
    drop((list, barrier));
    assert_eq!(model::allocated(), 0, "blocks or records were leaked");
}
