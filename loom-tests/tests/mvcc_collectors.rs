//! Goal: a worker that sleeps is woken by whoever leaves work behind: a writer, a snapshot that closes.
//! Method: a worker beside one such act; afterwards nobody does anything but look whether the garbage
//! goes. A wake-up that is lost is a worker that sleeps for ever, since models have no time.
#![cfg(whimbrel_loom)]

use loom::thread;
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_mvcc::{Clock, Collectors, Snapshot, Store, StoreOptions};

const TWO: Bound = Bound::Preemptions(2);

fn put(store: &Store, value: u8) {
    store.put(b"a", &[value]).expect("short");
}

/// A store whose key was put once, and a worker.
struct World {
    store: Store,
    collectors: Collectors,
}

impl World {
    fn start(before: impl FnOnce(&Store)) -> Self {
        let clock = Clock::new();
        let options = StoreOptions::new().with_background_collection();
        let store = Store::with_options(&clock, options);
        put(&store, 1);
        before(&store);
        let collectors = Collectors::start(&clock, 1).expect("a thread of the model");
        Self { store, collectors }
    }

    /// Waits for the worker to collect everything.
    fn finish(self) {
        while self.store.stats().dead > 0 {
            thread::yield_now();
        }
        drop(self.collectors);
        let stats = self.store.stats();
        assert_eq!(stats.versions, 1, "{stats:?}");
    }
}

#[test]
fn sleep_against_put() {
    explore(TWO, || {
        let world = World::start(|_| {});
        put(&world.store, 2);
        world.finish();
    });
}

#[test]
fn sleep_against_closing_of_a_snapshot() {
    explore(TWO, || {
        let mut held: Option<Snapshot> = None;
        let world = World::start(|store| {
            held = Some(store.snapshot());
            put(store, 2);
            store.collect();
            assert_eq!(store.stats().held.entries, 1, "filed");
        });
        drop(held);
        world.finish();
    });
}

#[test]
fn stop_against_sleep() {
    explore(TWO, || {
        let world = World::start(|_| {});
        drop(world.collectors);
    });
}
