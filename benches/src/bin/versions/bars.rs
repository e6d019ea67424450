//! The bars.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use whimbrel_benches::bars::Row;
use whimbrel_benches::measure::{float, median, mib, time};
use whimbrel_benches::{Seeded, VALUE, random_keys, store_by_puts};
use whimbrel_mvcc::{Batch, Clock, Collectors, Snapshot, Store, StoreOptions};
use whimbrel_skiplist::{Barrier, List};

use crate::measure::{Latencies, resident};

type Key = [u8; 16];

/// How much is done.
pub(crate) struct Size {
    entries: usize,
    updates: usize,
    snapshots: usize,
    /// Snapshots that are timed.
    timed: usize,
    rounds: usize,
}

impl Size {
    pub(crate) const FULL: Self = Self {
        entries: 1_000_000,
        updates: 10_000_000,
        snapshots: 1_000,
        timed: 20_000,
        rounds: 5,
    };

    pub(crate) const QUICK: Self =
        Self { entries: 50_000, updates: 500_000, snapshots: 1_000, timed: 2_000, rounds: 3 };
}

pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Size) -> Vec<Row>,
}

pub(crate) const BARS: &[Bar] = &[
    Bar { name: "held", run: held },
    Bar { name: "many", run: many },
    Bar { name: "delete", run: delete },
    Bar { name: "snapshot", run: snapshot },
    Bar { name: "batch", run: batch },
    Bar { name: "list", run: list },
    Bar { name: "worker", run: worker },
    Bar { name: "stores", run: stores },
];

fn put(store: &Store, key: &Key) {
    store.put(key, &VALUE).expect("keys and values are short");
}

/// Overwrites so many keys, drawn at random.
fn update(store: &Store, keys: &[Key], times: usize, random: &mut Seeded) {
    (0..times).for_each(|_| put(store, &keys[random.below(keys.len())]));
}

fn get(store: &Store, keys: &[Key], times: usize, random: &mut Seeded) {
    for _ in 0..times {
        let found = store.get_with(&keys[random.below(keys.len())], |value| value[0]);
        assert!(black_box(found).is_some(), "every key is there");
    }
}

/// One snapshot held while every key is updated ten times on average.
fn held(size: &Size) -> Vec<Row> {
    let keys = random_keys(size.entries, 1);
    let start = resident();
    let store = store_by_puts(&keys);
    let snapshot = store.snapshot();
    // Every key once: what the snapshot sees, and what is newest.
    keys.iter().for_each(|key| put(&store, key));
    store.collect_all();
    let seen = resident() - start;
    update(&store, &keys, size.updates - size.entries, &mut Seeded::new(2));
    store.collect_all();
    let kept = resident() - start;
    let (close, ()) = time(|| drop(snapshot));
    let what = format!(
        "memory under a snapshot held during {} updates of {} keys ({:.1} MiB; what it sees {:.1})",
        size.updates,
        size.entries,
        mib(kept),
        mib(seen)
    );
    let closing = close.as_secs_f64() * 1e6;
    vec![
        Row::at_most(what, 1.1, float(kept) / float(seen), "of what it sees"),
        Row::at_most("closing it, on its thread", 100.0, closing, "us"),
    ]
}

/// Nanoseconds of an operation, in turn on a store without snapshots and on one with many.
fn many(size: &Size) -> Vec<Row> {
    let keys = random_keys(size.entries, 3);
    let (bare, open) = (store_by_puts(&keys), store_by_puts(&keys));
    let mut random = Seeded::new(4);
    let between = size.updates / 10 / size.snapshots;
    let snapshots: Vec<Snapshot> = (0..size.snapshots)
        .map(|_| {
            let snapshot = open.snapshot();
            update(&open, &keys, between, &mut random);
            // As many updates, so that both have as many values beside their records.
            update(&bare, &keys, between, &mut random);
            snapshot
        })
        .collect();
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..size.rounds {
        for (ratios, work) in ratios.iter_mut().zip([update, get]) {
            let mut run = |store| time(|| work(store, &keys, size.entries, &mut random)).0;
            ratios.push(run(&bare).as_secs_f64() / run(&open).as_secs_f64());
        }
    }
    assert_eq!(open.clock().open_holds(), snapshots.len(), "all are open");
    let [put, get] = ratios.map(median);
    let what = |op| format!("{op} with {} snapshots open, over without", snapshots.len());
    vec![Row::at_least(what("put"), 0.8, put, "x"), Row::at_least(what("get"), 0.8, get, "x")]
}

/// Two threads remove every key; the end is when the last byte was returned.
fn delete(size: &Size) -> Vec<Row> {
    let keys = random_keys(size.entries, 5);
    let mut rates = Vec::new();
    for _ in 0..size.rounds {
        let store = store_by_puts(&keys);
        let (took, ()) = time(|| {
            thread::scope(|scope| {
                for half in keys.chunks(keys.len().div_ceil(2)) {
                    let store = &store;
                    scope.spawn(move || {
                        for key in half {
                            store.remove(key).expect("the key is short");
                        }
                        store.collect();
                    });
                }
            });
            while store.stats().dead > 0 || store.clock().stats().unreclaimed.entries > 0 {
                store.collect_all();
            }
        });
        let stats = store.stats();
        assert_eq!((stats.records, stats.versions), (0, 0), "nothing is left");
        rates.push(float(keys.len() as u64) / took.as_secs_f64() / 1e6);
    }
    let what = format!("delete of {} keys and their collection, 2 threads", keys.len());
    vec![Row::at_least(what, 3.0, median(rates), "M/s")]
}

/// Runs two writers until `work` returns; their latencies, and what it returned.
fn beside_writers<R>(store: &Store, keys: &[Key], work: impl FnOnce() -> R) -> (Latencies, R) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                let stop = &stop;
                scope.spawn(move || {
                    let (mut random, mut latencies) = (Seeded::new(seed), Latencies::default());
                    // ORDERING: Relaxed; a flag that ends the loop, nothing is read because of it.
                    while !stop.load(Ordering::Relaxed) {
                        let key = &keys[random.below(keys.len())];
                        latencies.note(time(|| put(store, key)).0);
                    }
                    latencies
                })
            })
            .collect();
        let result = work();
        // ORDERING: Relaxed; as where it is read.
        stop.store(true, Ordering::Relaxed);
        let mut all = Latencies::default();
        writers.into_iter().for_each(|writer| all.add(writer.join().expect("a writer")));
        (all, result)
    })
}

/// Snapshots taken beside two writers, and what the writers feel of it.
fn snapshot(size: &Size) -> Vec<Row> {
    const PAUSE: Duration = Duration::from_micros(100);
    let keys = random_keys(size.entries, 6);
    let store = store_by_puts(&keys);
    let pace = |each: &mut dyn FnMut()| {
        for _ in 0..size.timed {
            each();
            thread::sleep(PAUSE);
        }
    };
    // The same pauses, so that both pay for a third thread that wakes up.
    let (mut alone, ()) = beside_writers(&store, &keys, || pace(&mut || ()));
    let (mut beside, mut taken) = beside_writers(&store, &keys, || {
        let mut taken = Latencies::default();
        pace(&mut || {
            let (took, snapshot) = time(|| store.snapshot());
            taken.note(took);
            drop(snapshot);
        });
        taken
    });
    let (before, after) = (alone.per_mille(999), beside.per_mille(999));
    let what = format!("p99.9 of the writers above that without ({before:.1} us)");
    vec![
        Row::at_most("snapshot creation beside 2 writers, p50", 1.0, taken.per_mille(500), "us"),
        Row::at_most("snapshot creation beside 2 writers, p99", 20.0, taken.per_mille(990), "us"),
        Row::at_most(what, 20.0, after - before, "us"),
    ]
}

/// Batches of ten, an entry, over single puts.
fn batch(size: &Size) -> Vec<Row> {
    let keys = random_keys(size.entries, 7);
    let store = store_by_puts(&keys);
    let mut ratios = Vec::new();
    for _ in 0..size.rounds {
        let (single, ()) = time(|| keys.iter().for_each(|key| put(&store, key)));
        let (batches, ()) = time(|| {
            for ten in keys.chunks(10) {
                let mut batch = Batch::new();
                ten.iter().for_each(|key| _ = batch.put(&store, *key, VALUE));
                batch.commit().expect("a batch without a precondition takes effect");
            }
        });
        ratios.push(batches.as_secs_f64() / single.as_secs_f64());
    }
    vec![Row::at_most(
        "batch of 10 over one store, an entry",
        2.0,
        median(ratios),
        "x of single puts",
    )]
}

/// What versions cost on insert and get against the list alone.
fn list(size: &Size) -> Vec<Row> {
    let keys = random_keys(size.entries, 8);
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 0..size.rounds {
        let list = List::new(Arc::new(Barrier::new()));
        let (list_insert, ()) = time(|| {
            for key in &keys {
                let guard = list.barrier().pin();
                // The record as the store makes it, with the value in its cell.
                list.find_or_insert(key, VALUE.len(), |_| u64::from(key[0]) << 8 | 8, &guard)
                    .expect("the key is short");
            }
        });
        let (store_insert, store) = time(|| store_by_puts(&keys));
        let order = |seed| {
            let mut random = Seeded::new(seed);
            (0..keys.len()).map(move |_| random.below(size.entries))
        };
        let seed = 9 + round as u64;
        let (list_get, ()) = time(|| {
            for at in order(seed) {
                let guard = list.barrier().pin();
                let record = list.find(&keys[at], &guard).expect("every key is there");
                // ORDERING: Relaxed; a number that leads to nothing.
                black_box(record.cell().load(Ordering::Relaxed));
            }
        });
        let (store_get, ()) = time(|| {
            for at in order(seed) {
                assert!(black_box(store.get_with(&keys[at], |value| value[0])).is_some());
            }
        });
        ratios[0].push(store_insert.as_secs_f64() / list_insert.as_secs_f64());
        ratios[1].push(store_get.as_secs_f64() / list_get.as_secs_f64());
    }
    let [insert, get] = ratios.map(median);
    vec![
        Row::at_most("insert with versions, over the list alone", 1.15, insert, "x"),
        Row::at_most("get with versions, over the list alone", 1.15, get, "x"),
    ]
}

/// What one worker keeps up with: two writers that leave all garbage to it.
fn worker(size: &Size) -> Vec<Row> {
    const BOUND: u64 = 64 << 20;
    let keys = random_keys(size.entries, 10);
    let clock = Clock::new();
    let options = StoreOptions::new().with_background_collection().with_garbage_bound(BOUND);
    let store = Store::with_options(&clock, options);
    keys.iter().for_each(|key| put(&store, key));
    let collectors = Collectors::start(&clock, 1).expect("the system starts a thread");
    let (took, most) = time(|| {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..2)
                .map(|seed| {
                    let (store, keys) = (&store, &keys);
                    let times = size.updates / 4;
                    scope.spawn(move || update(store, keys, times, &mut Seeded::new(seed)))
                })
                .collect();
            let mut most = 0;
            while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
                most = most.max(store.stats().collectable.bytes);
                thread::sleep(Duration::from_millis(1));
            }
            most
        })
    });
    drop(collectors);
    let rate = float(size.updates as u64 / 2) / took.as_secs_f64() / 1e6;
    let what = format!("most garbage beside 1 worker and 2 writers at {rate:.2} M updates/s");
    vec![Row::at_most(what, mib(BOUND), mib(most), "MiB")]
}

/// What a store takes that has no entry, and what one that has.
fn stores(_: &Size) -> Vec<Row> {
    const STORES: usize = 16_384;
    let clock = Clock::new();
    let mut stores: Vec<Option<Store>> = Vec::new();
    stores.resize_with(STORES, || None);
    // What is there whatever stores there are.
    let _first = store_by_puts(&random_keys(1_000, 11));
    let start = resident();
    stores.iter_mut().for_each(|store| *store = Some(Store::new(&clock)));
    let empty = float(resident() - start) / float(STORES as u64);
    stores.iter().flatten().for_each(|store| put(store, &[0; 16]));
    let one = float(resident() - start) / float(STORES as u64);
    let what = format!("memory of one of {STORES} stores without entries (with one: {one:.0} B)");
    vec![Row::at_most(what, 1024.0, empty, "B")]
}
