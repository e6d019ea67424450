//! What the models of `whimbrel-mvcc` share: one store, byte values, and all orders of the threads.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_mvcc::{
    Capture, CaptureOptions, Captured, Clock, Ingest, IngestMode, IngestOptions, IngestReport,
    Observation, Snapshot, Store, StoreOptions, StoreSegmentBuilder, UnlinkAnswer, UnlinkObserver,
};

/// Two keys: a store of both is one block.
pub(crate) const A: &[u8] = b"a0";
pub(crate) const B: &[u8] = b"b0";
/// A third still fits; with the fourth the block is split.
pub(crate) const C: &[u8] = b"c0";
pub(crate) const D: &[u8] = b"d0";

/// What the threads of a model work on.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    /// For models whose capture outlives the thread that started it. Not part of what is explored.
    pub(crate) capture: std::sync::Mutex<Option<Capture>>,
    /// An ingest that was begun by another thread than the one that ends it. Not part of what is explored.
    ingest: std::sync::Mutex<Option<Ingest>>,
    /// Snapshots that outlive the thread that took them. Not part of what is explored.
    held: std::sync::Mutex<Vec<Snapshot>>,
    /// The observation there is, and what its observer was told. Not part of what is explored.
    observed: std::sync::Mutex<(Option<Observation>, Option<std::sync::Arc<Told>>)>,
}

/// An observer: the values of `A` and `B` that it was told; 0: not yet.
///
/// Relaxed: who must have been told before gets its order from what it read, or the model fails.
#[derive(Default)]
pub(crate) struct Told([AtomicU64; 2]);

impl Told {
    pub(crate) fn values(&self) -> [u8; 2] {
        let value = |at: usize| u8::try_from(self.0[at].load(Ordering::Relaxed)).expect("a byte");
        [value(0), value(1)]
    }
}

impl UnlinkObserver for Told {
    fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer {
        let before = self.0[usize::from(key == B)].swap(value[0].into(), Ordering::Relaxed);
        assert_eq!(before, 0, "told twice of {key:?}, then {value:?}");
        UnlinkAnswer::Taken
    }
}

/// The values of `A` and `B` that a walk finds; 0: missed.
pub(crate) fn walk(observation: &Observation) -> [u8; 2] {
    let (mut walk, mut values) = (observation.walk(..), [0; 2]);
    while walk.advance() {
        for (key, value) in walk.entries() {
            values[usize::from(key == B)] = value[0];
        }
    }
    values
}

/// What was walked is of the observed number, and of what was missed the observer was told before.
pub(crate) fn check_walked(walked: [u8; 2], told: &Told, expected: [u8; 2]) {
    let told = told.values();
    for at in 0..2 {
        let got = if walked[at] == 0 { told[at] } else { walked[at] };
        assert_eq!(got, expected[at], "walked {walked:?}, told {told:?} of {expected:?}");
    }
}

impl World {
    /// Writers leave the garbage to the thread that collects.
    fn new() -> Self {
        let clock = Clock::new();
        let store = Store::with_options(&clock, Self::options());
        Self::of(clock, store)
    }

    /// A store that was built in bulk from two segments, of two blocks: each key has this value.
    fn loaded(value: u8) -> Self {
        let clock = Clock::new();
        let segment = |keys: &[&[u8]]| {
            let mut builder = StoreSegmentBuilder::new();
            for key in keys {
                builder.push(key, &[value]).expect("ascending keys");
            }
            builder.finish()
        };
        let segments = vec![segment(&[A, B]), segment(&[C, D])];
        let store = Store::from_segments(&clock, Self::options(), segments);
        Self::of(clock, store.expect("ascending segments"))
    }

    fn options() -> StoreOptions {
        StoreOptions::new().with_manual_collection().with_running_digest()
    }

    fn of(clock: Clock, store: Store) -> Self {
        let (capture, ingest) = (std::sync::Mutex::new(None), std::sync::Mutex::new(None));
        let (held, observed) = (std::sync::Mutex::default(), std::sync::Mutex::default());
        Self { store, clock, capture, ingest, held, observed }
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
        self.capture_with(CaptureOptions::new());
    }

    /// Starts a capture that notes intervals only.
    pub(crate) fn start_capture_of_intervals(&self) {
        self.capture_with(CaptureOptions::new().max_bytes(0));
    }

    fn capture_with(&self, options: CaptureOptions) {
        let capture = self.store.capture(options.buckets(1)).expect("the only one");
        *self.capture.lock().expect("not poisoned") = Some(capture);
    }

    pub(crate) fn stop_capture(&self) {
        let capture = self.capture.lock().expect("not poisoned").take();
        drop(capture);
    }

    /// Begins an ingest and puts all its entries in place; 0 stands for a removal.
    pub(crate) fn start_ingest(&self, mode: IngestMode, entries: &[(&[u8], u8)]) {
        let ingest = self.begin_ingest(mode);
        Self::fill_ingest(&self.store, &ingest, entries);
        *self.ingest.lock().expect("not poisoned") = Some(ingest);
    }

    pub(crate) fn begin_ingest(&self, mode: IngestMode) -> Ingest {
        let options = IngestOptions::new().with_mode(mode);
        Ingest::begin(&[&self.store], options).expect("the only one")
    }

    pub(crate) fn fill_ingest(store: &Store, ingest: &Ingest, entries: &[(&[u8], u8)]) {
        let mut part = ingest.part(store).expect("of this store");
        for (key, value) in entries {
            let put = if *value == 0 { part.remove(key) } else { part.put(key, &[*value]) };
            put.expect("ascending keys");
        }
    }

    /// For an ingest that was begun without entries.
    pub(crate) fn fill_and_commit_ingest(&self, entries: &[(&[u8], u8)]) {
        let ingest = self.ingest.lock().expect("not poisoned").take().expect("begun");
        Self::fill_ingest(&self.store, &ingest, entries);
        ingest.commit().expect("without a condition");
    }

    pub(crate) fn commit_ingest(&self) -> IngestReport {
        let ingest = self.ingest.lock().expect("not poisoned").take();
        ingest.expect("begun").commit().expect("without a condition")
    }

    pub(crate) fn cancel_ingest(&self) {
        let ingest = self.ingest.lock().expect("not poisoned").take();
        ingest.expect("begun").cancel();
    }

    /// Takes a snapshot that stays open until [`World::release`].
    pub(crate) fn hold(&self) {
        let snapshot = self.store.snapshot();
        self.held.lock().expect("not poisoned").push(snapshot);
    }

    /// Closes the snapshots that are held.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock().expect("not poisoned"));
        drop(held);
    }

    /// Takes a snapshot and gives it up for an observer.
    pub(crate) fn observe(&self) {
        self.observe_snapshot(self.store.snapshot());
    }

    pub(crate) fn observe_snapshot(&self, snapshot: Snapshot) {
        let told = std::sync::Arc::new(Told::default());
        let observation = snapshot.observe_unlinks(told.clone()).expect("the only one");
        *self.observed.lock().expect("not poisoned") = (Some(observation), Some(told));
    }

    /// The observation, for the one thread that has to do with it.
    pub(crate) fn take_observation(&self) -> Option<Observation> {
        self.observed.lock().expect("not poisoned").0.take()
    }

    /// What the observer was told.
    pub(crate) fn told(&self) -> std::sync::Arc<Told> {
        self.observed.lock().expect("not poisoned").1.clone().expect("observed")
    }

    /// Ends the observation, if there is one.
    pub(crate) fn finish(&self) {
        if let Some(observation) = self.take_observation() {
            observation.finish().expect("the observer goes on");
        }
    }

    /// The keys captured since the last time.
    pub(crate) fn drain(&self) -> Vec<Vec<u8>> {
        self.drain_all().keys
    }

    pub(crate) fn drain_all(&self) -> Captured {
        self.capture.lock().expect("not poisoned").as_ref().expect("started").drain()
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
        self.stop_capture();
        self.finish();
        self.release();
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

/// Explores `acts` on a store of the keys `A` to `D`, with value 1 each, that was built in bulk.
pub(crate) fn explore_loaded(bound: Bound, acts: &[Act], after: fn(&World, &[Vec<u8>])) {
    for order in orders(acts.len()) {
        explore_world(bound, || World::loaded(1), acts, after, order);
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
    let make = move || {
        let world = World::new();
        before(&world);
        world
    };
    explore_world(bound, make, acts, after, order);
}

fn explore_world(
    bound: Bound,
    make: impl Fn() -> World + Send + Sync + 'static,
    acts: &[Act],
    after: fn(&World, &[Vec<u8>]),
    order: Vec<usize>,
) {
    let acts: Vec<Act> = acts.to_vec();
    explore(bound, move || {
        let world = Arc::new(make());
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
