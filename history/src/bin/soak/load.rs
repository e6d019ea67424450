//! The threads of the load.

use std::fmt::{Display, Formatter};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Scope, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use whimbrel_history::Rng;
use whimbrel_mvcc::{
    Batch, CaptureOptions, Digest, Error, KeyRange, Snapshot, Store, StoreOptions,
    StoreSegmentBuilder,
};

/// Keys of the load; others than those of the histories.
const KEYS: usize = 100_000;

/// Entries of a bulk load.
const LOADED: u32 = 20_000;

/// Snapshots that one thread holds at most.
const HELD: usize = 24;

/// The longest that a snapshot is held.
const LONGEST: Duration = Duration::from_secs(20);

/// Load on two stores, until it is stopped.
pub(crate) struct Load<'l> {
    stores: &'l [Store; 2],
    seed: u64,
    stop: &'l AtomicBool,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    writes: AtomicU64,
    batches: AtomicU64,
    reads: AtomicU64,
    snapshots: AtomicU64,
    captures: AtomicU64,
    loads: AtomicU64,
    compactions: AtomicU64,
}

fn count(counter: &AtomicU64) {
    // ORDERING: Relaxed; a statistic.
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<'l> Load<'l> {
    pub(crate) fn new(stores: &'l [Store; 2], seed: u64, stop: &'l AtomicBool) -> Self {
        Self { stores, seed, stop, counts: Counts::default() }
    }

    pub(crate) fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) -> Vec<ScopedJoinHandle<'s, ()>> {
        let threads: [fn(&Self, Rng); 6] = [
            Self::write,
            Self::write,
            Self::hold_snapshots,
            Self::capture,
            Self::load_in_bulk,
            Self::collect_and_compact,
        ];
        let start = |(number, work): (u64, fn(&Self, Rng))| {
            let rng = Rng(self.seed.wrapping_add(number << 32));
            scope.spawn(move || work(self, rng))
        };
        (1..).zip(threads).map(start).collect()
    }

    fn goes_on(&self) -> bool {
        // ORDERING: Relaxed; nothing is published through it.
        !self.stop.load(Ordering::Relaxed)
    }

    /// Rests, unless the end comes before.
    fn rest(&self, most: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let begin = Instant::now();
        while self.goes_on() && begin.elapsed() < most {
            sleep(STEP.min(most.saturating_sub(begin.elapsed())));
        }
    }

    fn write(&self, mut rng: Rng) {
        while self.goes_on() {
            let (store, key) = (&self.stores[rng.below(2)], key(&mut rng));
            let value = value(&mut rng);
            let done = match rng.below(20) {
                0..7 => store.put(&key, &value),
                7..10 => store.remove(&key).map(|_| ()),
                10..12 => store.insert_unique(&key, &value).map(|_| ()),
                12..14 => {
                    let old = store.get(&key);
                    let new = (!rng.one_in(3)).then_some(&value[..]);
                    store.compare_and_set(&key, old.as_deref(), new).map(|_| ())
                }
                14 => self.write_batch(&mut rng),
                _ => {
                    count(&self.counts.reads);
                    let keys = [key, self::key(&mut rng), self::key(&mut rng)];
                    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    assert_eq!(store.get_many(&keys).len(), keys.len());
                    continue;
                }
            };
            done.expect("keys and values are short");
            count(&self.counts.writes);
        }
    }

    fn write_batch(&self, rng: &mut Rng) -> Result<(), Error> {
        count(&self.counts.batches);
        let most = if rng.one_in(100) { 1_000 } else { 12 };
        let mut batch = Batch::new();
        for _ in 0..=rng.below(most) {
            let (store, key) = (&self.stores[rng.below(2)], key(rng));
            if rng.one_in(2) {
                batch.remove(store, key);
            } else {
                batch.put(store, key, value(rng));
            }
        }
        batch.commit().map(|_| ())
    }

    /// Snapshots, each with a cursor somewhere in it, held for random times; what they show stays.
    fn hold_snapshots(&self, mut rng: Rng) {
        let mut held: Vec<(Snapshot, KeyRange, Digest, Instant)> = Vec::new();
        while self.goes_on() {
            let store = &self.stores[rng.below(2)];
            let snapshot = store.snapshot();
            count(&self.counts.snapshots);
            let range = KeyRange::prefix(&key(&mut rng)[..2]);
            let digest = digest_of_range(&snapshot, range.clone());
            // Short ones are many: the square of a random part of the longest.
            let part = Duration::from_millis(rng.below(1000) as u64).as_secs_f64();
            held.push((snapshot, range, digest, Instant::now() + LONGEST.mul_f64(part * part)));
            if held.len() > HELD {
                let one = rng.below(held.len());
                held[one].3 = Instant::now();
            }
            held.retain(|(snapshot, range, digest, until)| {
                let stays = Instant::now() < *until;
                stays || self.let_go(snapshot, range, digest)
            });
            self.rest(Duration::from_millis(rng.below(100) as u64));
        }
        for (snapshot, range, digest, _) in held {
            self.let_go(&snapshot, &range, &digest);
        }
    }

    /// Walks back through what the snapshot shows, with rests. False: it can be closed.
    fn let_go(&self, snapshot: &Snapshot, range: &KeyRange, expected: &Digest) -> bool {
        let mut digest = Digest::default();
        let mut cursor = snapshot.range(range.clone()).rev();
        let mut steps = 0;
        while let Some((key, value)) = cursor.next_entry() {
            digest.add(key, value);
            steps += 1;
            if steps % 200 == 0 && self.goes_on() {
                sleep(Duration::from_millis(1));
            }
        }
        assert_eq!(digest, *expected, "snapshot {} has changed", snapshot.number());
        false
    }

    /// Captures that run for a while, are drained, and end.
    fn capture(&self, mut rng: Rng) {
        while self.goes_on() {
            let store = &self.stores[rng.below(2)];
            let capture = store.capture(CaptureOptions::new()).expect("the only capture");
            for _ in 0..rng.below(5) {
                self.rest(Duration::from_millis(rng.below(300) as u64));
                drop(capture.drain());
            }
            drop(capture);
            count(&self.counts.captures);
            self.rest(Duration::from_millis(rng.below(2_000) as u64));
        }
    }

    /// Stores of the same clock that are loaded, used and dropped.
    fn load_in_bulk(&self, mut rng: Rng) {
        while self.goes_on() {
            let mut builder = StoreSegmentBuilder::new();
            let mut digest = Digest::default();
            for number in 0..LOADED {
                let (key, value) = (number.to_be_bytes(), value(&mut rng));
                builder.push(&key, &value).expect("in order");
                digest.add(&key, &value);
            }
            let (clock, options) = (self.stores[0].clock(), StoreOptions::new());
            let store = Store::from_segments(clock, options, vec![builder.finish()])
                .expect("one segment is in order");
            let snapshot = store.snapshot();
            for _ in 0..LOADED / 4 {
                let number = rng.below(LOADED as usize) as u64;
                store.remove(&number.to_be_bytes()[4..]).expect("a short key");
                store.put(&number.to_le_bytes(), b"new").expect("a short key");
            }
            assert_eq!(digest_of(&snapshot), digest, "a loaded store has changed");
            count(&self.counts.loads);
            drop((store, snapshot));
            self.rest(Duration::from_millis(rng.below(4_000) as u64));
        }
    }

    fn collect_and_compact(&self, mut rng: Rng) {
        while self.goes_on() {
            let store = &self.stores[rng.below(2)];
            if rng.one_in(20) {
                store.compact();
                count(&self.counts.compactions);
            } else {
                store.collect_all();
            }
            self.rest(Duration::from_millis(rng.below(300) as u64));
        }
    }
}

impl Display for Load<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let of = |counter: &AtomicU64| {
            // ORDERING: Relaxed; a statistic.
            counter.load(Ordering::Relaxed)
        };
        let counts = &self.counts;
        write!(
            f,
            "{} writes, {} batches, {} reads, {} snapshots, {} captures, {} loads, {} compactions",
            of(&counts.writes),
            of(&counts.batches),
            of(&counts.reads),
            of(&counts.snapshots),
            of(&counts.captures),
            of(&counts.loads),
            of(&counts.compactions),
        )
    }
}

fn key(rng: &mut Rng) -> Vec<u8> {
    let number = rng.below(KEYS);
    // Groups of a tenth: a prefix of two bytes is a part of the keys.
    let group = ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"][number % 10];
    format!("{group}{number:06}").into_bytes()
}

fn value(rng: &mut Rng) -> Vec<u8> {
    let len = match rng.below(100) {
        0 => 4_000,
        1..10 => 300 + rng.below(300),
        _ => rng.below(40),
    };
    vec![rng.next_u64().to_le_bytes()[0]; len]
}

/// Digest of all that the snapshot shows.
pub(crate) fn digest_of(snapshot: &Snapshot) -> Digest {
    digest_of_range(snapshot, KeyRange::all())
}

fn digest_of_range(snapshot: &Snapshot, range: KeyRange) -> Digest {
    let mut digest = Digest::default();
    snapshot.scan(range, |key, value| {
        digest.add(key, value);
        ControlFlow::Continue(())
    });
    digest
}

/// Removes every entry, by batches and one by one.
pub(crate) fn remove_all(store: &Store) {
    let snapshot = store.snapshot();
    let keys: Vec<Vec<u8>> = snapshot.range(..).entries().map(|(key, _)| key).collect();
    drop(snapshot);
    for (at, keys) in keys.chunks(500).enumerate() {
        let mut batch = Batch::new();
        for key in keys {
            if at % 2 == 0 {
                batch.remove(store, key.clone());
            } else {
                store.remove(key).expect("a short key");
            }
        }
        batch.commit().expect("keys of this store");
    }
}
