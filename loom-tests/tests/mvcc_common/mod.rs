//! What the models of `whimbrel-mvcc` share: one store, byte values, and all orders of the threads.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use loom::sync::Arc;
use loom::thread;
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_mvcc::mutant::{Mutant, plant};
use whimbrel_mvcc::{Capture, CaptureOptions, Clock, Snapshot, Store, StoreOptions};

/// Keys of one link each (the last byte of a key chooses its height in modelled builds).
pub(crate) const A: &[u8] = b"a0";
pub(crate) const B: &[u8] = b"b0";

/// What the threads of a model work on.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    /// For models whose capture outlives the thread that started it. Not part of what is explored.
    pub(crate) capture: std::sync::Mutex<Option<Capture>>,
}

impl World {
    /// Writers leave the garbage to the thread that collects.
    fn new() -> Self {
        let clock = Clock::new();
        let options = StoreOptions::new().with_manual_collection().with_running_digest();
        let store = Store::with_options(&clock, options);
        Self { store, clock, capture: std::sync::Mutex::new(None) }
    }

    pub(crate) fn put(&self, key: &[u8], value: u8) {
        self.store.put(key, &[value]).expect("short");
    }

    /// The newest value; 0 when absent.
    pub(crate) fn get(&self, key: &[u8]) -> u8 {
        self.store.get_with(key, |value| value[0]).unwrap_or(0)
    }

    pub(crate) fn remove(&self, key: &[u8]) -> u8 {
        self.store.remove(key).expect("short").map_or(0, |value| value[0])
    }

    pub(crate) fn start_capture(&self) {
        let capture = self.store.capture(CaptureOptions::new().buckets(1)).expect("the only one");
        *self.capture.lock().expect("not poisoned") = Some(capture);
    }

    /// The keys captured since the last time.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        self.capture.lock().expect("not poisoned").as_ref().expect("started").drain().keys
    }

    /// The running digest is that of what there is.
    fn check_digest(&self) {
        let mut digest = whimbrel_mvcc::Digest::default();
        for (key, value) in self.store.snapshot().range(..).entries() {
            digest.add(&key, &value);
        }
        assert_eq!(self.store.digest(), Some(digest), "running digest");
    }

    /// All garbage is found, and everything that was retired is reclaimed.
    fn check_clean(&self) {
        self.capture.lock().expect("not poisoned").take();
        for _ in 0..3 {
            self.store.collect_all();
        }
        self.clock.barrier().flush();
        let (stats, barrier) = (self.store.stats(), self.clock.barrier().stats());
        assert_eq!((stats.dead, stats.versions), (0, stats.entries), "{stats:?}");
        assert_eq!(barrier.retired, barrier.reclaimed, "{barrier:?}");
    }
}

/// The value in a snapshot; 0 when absent.
pub(crate) fn at(snapshot: &Snapshot, key: &[u8]) -> u8 {
    snapshot.get_with(key, |value| value[0]).unwrap_or(0)
}

/// What a thread of a model does, and what it saw.
pub(crate) type Act = fn(&World) -> Vec<u8>;

/// Explores `acts` on one world that `before` prepared, each in turn as the one that starts last
/// (exploration under a bound depends on it), and gives what they saw to `after`.
///
/// `WHIMBREL_MVCC_MUTANT` plants the defect of that name.
pub(crate) fn explore_acts(
    bound: Bound,
    before: fn(&World),
    acts: &[Act],
    after: fn(&World, &[Vec<u8>]),
) {
    for order in orders(acts.len()) {
        explore_order(bound, before, acts, after, order);
    }
}

/// Explores `acts` started in one order only.
pub(crate) fn explore_order(
    bound: Bound,
    before: fn(&World),
    acts: &[Act],
    after: fn(&World, &[Vec<u8>]),
    order: Vec<usize>,
) {
    let mutant = std::env::var("WHIMBREL_MVCC_MUTANT").ok().map(|name| {
        let found = Mutant::ALL.iter().find(|mutant| format!("{mutant:?}") == name);
        *found.unwrap_or_else(|| panic!("there is no mutant called {name}"))
    });
    let acts: Vec<Act> = acts.to_vec();
    explore(bound, move || {
        plant(mutant);
        let world = Arc::new(World::new());
        before(&world);
        let mut saw = vec![Vec::new(); acts.len()];
        let (last, spawned) = order.split_last().expect("a model has threads");
        let threads: Vec<_> = spawned
            .iter()
            .map(|at| {
                let (world, act) = (world.clone(), acts[*at]);
                (*at, thread::spawn(move || act(&world)))
            })
            .collect();
        saw[*last] = acts[*last](&world);
        for (at, thread) in threads {
            saw[at] = thread.join().expect("a thread of the model panicked");
        }
        after(&world, &saw);
        world.check_digest();
        world.check_clean();
    });
}

/// Every thread in turn as the one that runs on the main thread, which starts last.
fn orders(n: usize) -> Vec<Vec<usize>> {
    (0..n).map(|by| (0..n).map(|at| (at + by) % n).collect()).collect()
}
