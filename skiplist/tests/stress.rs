//! Goal: threads that insert, remove, look up and walk beside each other never see a record of
//! another key, a key twice, a key out of order or memory that was reclaimed; nothing is leaked.
//! Method: the cell and the inline part encode the key and its generation, so any mix-up shows;
//! counts of every thread are compared with what is left; the whole structure is audited. Run under
//! AddressSanitizer and LeakSanitizer by `ci/san.sh`.

use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::thread;
use std::time::{Duration, Instant};

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::Ordering;
use whimbrel_skiplist::{Barrier, FindOrInsert, Guard, List, Record, SEALED};

/// Keys in play: few, so that threads meet.
const KEYS: u64 = 64;

fn seconds() -> Duration {
    let seconds = std::env::var("STRESS_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

/// A small generator (xorshift), seeded by the thread's number.
struct Random(u64);

impl Random {
    fn new(thread: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(thread + 1))
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

fn key_of(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The first value of a cell: key number and generation, never EMPTY or SEALED.
fn value_of(number: u64, generation: u64) -> u64 {
    (number << 40) | (generation << 3) | 2
}

/// Checks that what a record holds was made for its key.
fn check(record: Record<'_>) {
    let number = u64::from_be_bytes(record.key().try_into().expect("keys have 8 bytes"));
    let value = record.cell().load(Ordering::Acquire);
    assert!(value == SEALED || value >> 40 == number, "cell of another key");
    assert_eq!(record.inline_len(), 16);
    // SAFETY: 16 bytes, aligned to 8, written before the record was linked, never changed.
    let inline = unsafe { record.inline().cast::<[u64; 2]>().read() };
    assert_eq!(inline[0] >> 40, number, "inline part of another key");
    assert_eq!(inline[0], !inline[1], "inline part is torn");
}

fn insert(list: &List, number: u64, generation: u64, g: &Guard<'_>) -> bool {
    let value = value_of(number, generation);
    let init = |record: Record<'_>| {
        // SAFETY: 16 bytes, aligned to 8, of a record that nobody else can see.
        unsafe { record.inline().cast::<[u64; 2]>().write([value, !value]) };
        value
    };
    let outcome = list.find_or_insert(&key_of(number), 16, init, g).expect("a short key");
    check(outcome.record());
    matches!(outcome, FindOrInsert::Inserted(_))
}

fn remove(list: &List, number: u64, g: &Guard<'_>) -> bool {
    let Some(record) = list.find(&key_of(number), g) else { return false };
    check(record);
    let sealed = record.cell().swap(SEALED, Ordering::AcqRel) != SEALED;
    list.unlink_sealed(record, g);
    sealed
}

/// Inserts and removes; returns how many of each it did.
fn mutate(list: &List, thread: u64, stop: &AtomicBool) -> (u64, u64) {
    let mut random = Random::new(thread);
    let (mut inserted, mut removed) = (0, 0);
    let mut generation = 0;
    while !stop.load(Ordering::Relaxed) {
        let g = list.barrier().pin();
        let number = random.below(KEYS);
        generation += 1;
        if random.below(2) == 0 {
            inserted += u64::from(insert(list, number, generation, &g));
        } else {
            removed += u64::from(remove(list, number, &g));
        }
    }
    (inserted, removed)
}

/// Walks both ways from random places and looks keys up; returns how many records it saw.
fn read(list: &List, thread: u64, stop: &AtomicBool) -> u64 {
    let mut random = Random::new(thread);
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let g = list.barrier().pin();
        let start = key_of(random.below(KEYS));
        let mut last: Option<&[u8]> = None;
        list.walk(Bound::Included(&start), &g, |record| {
            check(record);
            assert!(record.key() >= &start[..] && last.is_none_or(|last| last < record.key()));
            last = Some(record.key());
            seen += 1;
            ControlFlow::Continue(())
        });
        let mut last: Option<&[u8]> = None;
        list.walk_back(Bound::Excluded(&start), &g, |record| {
            check(record);
            assert!(record.key() < &start[..] && last.is_none_or(|last| last > record.key()));
            last = Some(record.key());
            seen += 1;
            ControlFlow::Continue(())
        });
        if let Some(record) = list.find(&start, &g) {
            check(record);
            assert_eq!(record.key(), start);
        }
    }
    seen
}

#[test]
fn what_is_left_is_what_was_inserted_and_not_removed() {
    let list = List::new(Arc::new(Barrier::with_stripes(4)));
    let stop = AtomicBool::new(false);
    let (inserted, removed) = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|n| {
                scope.spawn({
                    let (list, stop) = (&list, &stop);
                    move || mutate(list, n, stop)
                })
            })
            .collect();
        let readers: Vec<_> = (4..6)
            .map(|n| {
                scope.spawn({
                    let (list, stop) = (&list, &stop);
                    move || read(list, n, stop)
                })
            })
            .collect();
        thread::sleep(seconds());
        stop.store(true, Ordering::Relaxed);
        let seen: u64 = readers.into_iter().map(|t| t.join().expect("a reader ended well")).sum();
        assert!(seen > 0);
        writers
            .into_iter()
            .map(|t| t.join().expect("a writer ended well"))
            .fold((0, 0), |sum, did| (sum.0 + did.0, sum.1 + did.1))
    });
    assert!(removed > 1000, "the test did little: {removed} removals");
    let mut list = list;
    let left = list.audit();
    assert_eq!(left as u64, inserted - removed);

    list.barrier().flush();
    let stats = list.barrier().stats();
    assert_eq!(stats.reclaimed, stats.retired, "something is stranded");
    assert_eq!(stats.reclaimed_bytes, stats.retired_bytes);
    let mut live = 0;
    list.for_each_mut(|record| {
        // A sealed one stays until its block is rebuilt.
        if record.cell().load(Ordering::Relaxed) != SEALED {
            check(record);
            live += 1;
        }
    });
    assert_eq!(live, left);
}

/// Keys that are never removed are seen by every walk, whatever happens around them.
#[test]
fn walks_miss_nothing_that_stays() {
    let list = List::new(Arc::new(Barrier::with_stripes(4)));
    let stop = AtomicBool::new(false);
    let walks = AtomicU64::new(0);
    // every fourth key stays
    let stays: Vec<_> = (0..KEYS).step_by(4).collect();
    for &number in &stays {
        assert!(insert(&list, number, 0, &list.barrier().pin()));
    }
    thread::scope(|scope| {
        for thread in 0..3 {
            let (list, stop) = (&list, &stop);
            scope.spawn(move || {
                let mut random = Random::new(thread);
                while !stop.load(Ordering::Relaxed) {
                    let g = list.barrier().pin();
                    let number = random.below(KEYS / 4) * 4 + 1 + random.below(3);
                    if random.below(2) == 0 {
                        insert(list, number, 1, &g);
                    } else {
                        remove(list, number, &g);
                    }
                }
            });
        }
        scope.spawn(|| {
            let end = Instant::now() + seconds();
            while Instant::now() < end {
                let g = list.barrier().pin();
                let mut seen = Vec::new();
                let mut note = |record: Record<'_>| {
                    let number = u64::from_be_bytes(record.key().try_into().expect("8 bytes"));
                    if number.is_multiple_of(4) {
                        seen.push(number);
                    }
                    ControlFlow::Continue(())
                };
                list.walk(Bound::Unbounded, &g, &mut note);
                list.walk_back(Bound::Unbounded, &g, &mut note);
                let backwards = seen.split_off(seen.len().min(stays.len()));
                assert_eq!(seen, stays, "a walk missed a key that stays");
                assert!(backwards.iter().rev().eq(&stays), "a walk back missed a key that stays");
                walks.fetch_add(1, Ordering::Relaxed);
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
    assert!(walks.load(Ordering::Relaxed) > 100);
}

/// Memory comes back while the list is in use, not only at its end.
#[test]
fn reclamation_keeps_up() {
    let list = List::new(Arc::new(Barrier::new()));
    for round in 0..20_000 {
        let g = list.barrier().pin();
        assert!(insert(&list, round % KEYS, round, &g));
        assert!(remove(&list, round % KEYS, &g));
    }
    let stats = list.barrier().stats();
    assert!(stats.retired > 20_000 - KEYS, "dead records stay: {stats:?}");
    assert!(stats.retired - stats.reclaimed < 1_000, "{stats:?}");
}
