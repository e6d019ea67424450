//! Goal: the figures name the open snapshots with their ages and what they hold, and a snapshot that is open
//! for longer than the limit is named in a warning, once each time that it is older by as much.
//! Method: a clock whose time the test sets; a subscriber that keeps what is said.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "common/events.rs"]
mod events;
#[path = "common/wait.rs"]
mod wait;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use wait::wait_for;
use whimbrel_mvcc::{Clock, ClockOptions, Collectors, Store};

/// A time that stands still unless it is moved, in milliseconds.
#[derive(Clone, Default)]
struct Time(Arc<AtomicU64>);

impl Time {
    fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    /// A clock by this time that warns after ten seconds.
    fn clock(&self) -> Clock {
        let time = self.clone();
        let now = move || Duration::from_millis(time.0.load(Ordering::Relaxed));
        let options = ClockOptions::new().with_age_limit(Some(Duration::from_secs(10)));
        Clock::with_options(options.with_time(now))
    }
}

fn put_all(store: &Store, value: &[u8]) {
    for n in 0..100_u32 {
        store.put(&n.to_be_bytes(), value).unwrap();
    }
}

#[test]
fn the_figures_name_open_snapshots() {
    let time = Time::default();
    let clock = time.clock();
    let (a, b) = (Store::new(&clock), Store::new(&clock));
    put_all(&a, b"12345678");
    put_all(&b, b"12345678");
    let oldest = a.snapshot_named("backup");
    time.set(2_000);
    put_all(&a, b"second");
    let second = clock.hold_named("a name that is longer than the 32 bytes: \u{e9}");
    time.set(3_000);
    put_all(&b, b"third");
    let unnamed = b.snapshot();
    a.collect();
    b.collect();
    let stats = clock.stats();
    let named: Vec<_> = stats.snapshots.iter().map(|s| (s.number, s.name.as_str())).collect();
    let long = "a name that is longer than the 3";
    assert_eq!(
        named,
        [(oldest.number(), "backup"), (second.number(), long), (unnamed.number(), "")]
    );
    let ages: Vec<_> = stats.snapshots.iter().map(|s| s.age.as_millis()).collect();
    assert_eq!(ages, [3_000, 1_000, 0]);
    // Of `a` the oldest sees what was overwritten; of `b` both do, and the newer one counts.
    let held: Vec<_> = stats.snapshots.iter().map(|s| s.held.entries).collect();
    assert_eq!(held, [100, 100, 0]);
    assert_eq!(stats.oldest_snapshot().map(|s| s.number), Some(oldest.number()));
    assert_eq!((stats.stores, stats.total.entries, stats.total.versions), (2, 200, 400));
    assert_eq!((stats.total.held.entries, stats.total.collectable.entries), (200, 0));
    assert!(stats.total.held.bytes > 0 && stats.total.record_bytes > 0, "{stats:?}");
    drop((oldest, second));
    a.collect();
    b.collect();
    let stats = clock.stats();
    assert_eq!((stats.snapshots.len(), stats.total.held.entries), (1, 0));
    assert_eq!(stats.now, clock.now());
}

#[test]
fn the_figures_show_a_reader_that_stays_inside() {
    let time = Time::default();
    let clock = time.clock();
    let store = Store::new(&clock);
    put_all(&store, b"first");
    assert_eq!(clock.stats().oldest_reader, None);
    let guard = clock.pin();
    put_all(&store, b"second");
    put_all(&store, b"third");
    store.collect_all();
    let stats = clock.stats();
    assert!(stats.unreclaimed.entries > 0 && stats.unreclaimed.bytes > 0, "{stats:?}");
    assert!(stats.open_sessions > 0, "{stats:?}");
    assert_eq!(stats.oldest_reader, Some(Duration::ZERO));
    time.set(4_000);
    assert_eq!(clock.stats().oldest_reader, Some(Duration::from_secs(4)));
    drop(guard);
    store.collect_all();
    let stats = clock.stats();
    assert_eq!((stats.unreclaimed.entries, stats.oldest_reader), (0, None), "{stats:?}");
}

#[test]
fn an_old_snapshot_is_named_once_for_each_limit() {
    events::record();
    let time = Time::default();
    let clock = time.clock();
    let store = Store::new(&clock);
    put_all(&store, b"first");
    let held = store.snapshot_named("forgotten");
    put_all(&store, b"second");
    store.collect();
    let young = clock.hold_named("closed in time");
    time.set(10_000);
    assert_eq!(clock.watch_snapshots(), 0, "not longer than the limit");
    drop(young);
    time.set(10_001);
    assert_eq!((clock.watch_snapshots(), clock.watch_snapshots()), (1, 0));
    time.set(20_001);
    assert_eq!((clock.watch_snapshots(), clock.watch_snapshots()), (1, 0));
    // A look that comes late warns once.
    time.set(55_000);
    assert_eq!((clock.watch_snapshots(), clock.watch_snapshots()), (1, 0));
    let said = events::said("forgotten");
    assert_eq!(said.len(), 3, "{said:?}");
    let number = format!("snapshot={}", held.number());
    for what in ["WARN", number.as_str(), "age=10.001s", "limit=10s", "held_entries=100"] {
        assert!(said[0].contains(what), "{what} is missing: {}", said[0]);
    }
    assert!(events::said("closed in time").is_empty());
    drop(held);
    time.set(90_000);
    assert_eq!(clock.watch_snapshots(), 0);
}

#[test]
fn without_a_limit_nothing_is_said() {
    events::record();
    let clock = Clock::with_options(
        ClockOptions::new().with_age_limit(None).with_time(|| Duration::from_secs(1 << 40)),
    );
    let held = clock.hold_named("for ever");
    assert_eq!(clock.watch_snapshots(), 0);
    drop(held);
    assert!(events::said("for ever").is_empty());
}

#[test]
fn writers_that_collect_watch_the_ages() {
    events::record();
    let time = Time::default();
    let clock = time.clock();
    let store = Store::new(&clock);
    let held = store.snapshot_named("seen by a writer");
    time.set(15_000);
    (0..40).for_each(|_| put_all(&store, b"again"));
    assert_eq!(events::said("seen by a writer").len(), 1);
    drop(held);
}

#[test]
fn workers_watch_the_ages() {
    events::record();
    let options = ClockOptions::new().with_age_limit(Some(Duration::from_millis(20)));
    let clock = Clock::with_options(options);
    let held = clock.hold_named("seen by a worker");
    let collectors = Collectors::start(&clock, 2).unwrap();
    wait_for("the warning", || !events::said("seen by a worker").is_empty());
    drop((collectors, held));
}

#[test]
fn a_worker_that_panics_goes_on() {
    events::record();
    let broken = Arc::new(AtomicBool::new(true));
    let panics = Arc::clone(&broken);
    let options = ClockOptions::new().with_age_limit(Some(Duration::from_millis(8)));
    let clock = Clock::with_options(options.with_time(move || {
        let worker = thread::current().name().is_some_and(|name| name.starts_with("whimbrel-gc"));
        assert!(!(worker && panics.load(Ordering::Relaxed)), "a time that panics");
        Duration::ZERO
    }));
    let store = Store::new(&clock);
    let collectors = Collectors::start(&clock, 1).unwrap();
    wait_for("a panic", || events::said("a time that panics").len() > 1);
    assert!(events::said("a time that panics")[0].starts_with("ERROR"));
    put_all(&store, b"first");
    let held = store.snapshot();
    put_all(&store, b"second");
    store.collect();
    drop(held);
    wait_for("the worker that panicked", || store.stats().dead == 0);
    broken.store(false, Ordering::Relaxed);
    drop(collectors);
}
