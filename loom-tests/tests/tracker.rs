//! Goal: an incremental backup that a tracker leads looks at every key that has another value than in the backup
//! before it, and the next one does again.
//! Method: the shipped tracker and store; one thread watches, takes snapshots and backs up while another writes; for
//! every backup the keys that it would look at are compared with what its snapshot and the one before say.
#![cfg(whimbrel_loom)]

use loom::thread::{self, JoinHandle};
use whimbrel_backup::Tracker;
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_mvcc::{Clock, Snapshot, Store, StoreOptions};

const KEYS: [&[u8]; 2] = [b"a0", b"b0"];
const NAME: &str = "birds";

const BOUND: Bound = Bound::Preemptions(2);

struct World {
    store: Store,
    tracker: Tracker,
    /// What the last backup shows.
    last: Option<Snapshot>,
}

fn value(snapshot: &Snapshot, key: &[u8]) -> u8 {
    snapshot.get_with(key, |value| value[0]).unwrap_or(0)
}

fn put(store: &Store, at: usize, value: u8) {
    store.put(KEYS[at], &[value]).expect("short");
}

impl World {
    /// Both keys have value 1, and nothing is followed.
    fn new() -> Self {
        let options = StoreOptions::new().with_manual_collection();
        let store = Store::with_options(&Clock::new(), options);
        (0..2).for_each(|at| put(&store, at, 1));
        Self { store, tracker: Tracker::default(), last: None }
    }

    /// The same, followed from a backup on.
    fn followed() -> Self {
        let mut world = Self::new();
        world.watch();
        world.back_up(world.store.snapshot());
        world
    }

    fn watch(&mut self) {
        self.tracker.watch(&[(NAME.to_owned(), self.store.clone())]);
    }

    /// Whether the tracker led it; then it looked at all that has changed.
    fn back_up(&mut self, snapshot: Snapshot) -> bool {
        let looked_at = self.tracker.back_up(NAME, &snapshot);
        let last = self.last.replace(snapshot.clone());
        let (Some(keys), Some(last)) = (looked_at, last) else { return false };
        for key in KEYS {
            let (before, now) = (value(&last, key), value(&snapshot, key));
            let looked_at = keys.iter().any(|it| it == key);
            assert!(before == now || looked_at, "{before} became {now} unseen; {keys:?} were seen");
        }
        true
    }

    /// A thread that writes the first key.
    fn writer(&self) -> JoinHandle<()> {
        let store = self.store.clone();
        thread::spawn(move || put(&store, 0, 2))
    }
}

#[test]
fn round_against_put() {
    explore(BOUND, || {
        let mut world = World::followed();
        let writer = world.writer();
        assert!(world.back_up(world.store.snapshot()), "it was followed");
        writer.join().expect("no panic");
        assert!(world.back_up(world.store.snapshot()), "it was followed");
    });
}

#[test]
fn round_with_a_watch_before_it_against_put() {
    explore(BOUND, || {
        let mut world = World::followed();
        let writer = world.writer();
        world.watch();
        assert!(world.back_up(world.store.snapshot()), "it was followed");
        writer.join().expect("no panic");
        assert!(world.back_up(world.store.snapshot()), "it was followed");
    });
}

#[test]
fn round_whose_snapshot_is_older_than_the_drain_against_put() {
    explore(BOUND, || {
        let mut world = World::followed();
        let writer = world.writer();
        let snapshot = world.store.snapshot();
        world.watch();
        assert!(world.back_up(snapshot), "it was followed");
        writer.join().expect("no panic");
        assert!(world.back_up(world.store.snapshot()), "it was followed");
    });
}

#[test]
fn beginning_against_put() {
    explore(BOUND, || {
        let mut world = World::new();
        let writer = world.writer();
        world.watch();
        world.back_up(world.store.snapshot());
        writer.join().expect("no panic");
        assert!(world.back_up(world.store.snapshot()), "it was followed");
    });
}

#[test]
fn beginning_behind_the_snapshot_against_put() {
    explore(BOUND, || {
        let mut world = World::new();
        let writer = world.writer();
        let snapshot = world.store.snapshot();
        world.watch();
        world.back_up(snapshot);
        writer.join().expect("no panic");
        // That snapshot is no base, as it may lack what the capture has not heard of.
        world.back_up(world.store.snapshot());
        assert!(world.back_up(world.store.snapshot()), "it was followed");
    });
}
