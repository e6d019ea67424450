//! Goal: shards and GC deltas of a non-intrusive export have together what the snapshot saw, each key once.
//! Method: the shipped gathering, observation and store; the walk of a range against the collector, with no
//! memory for what waits, so that everything that may go into a GC delta does. The same models with a walk that
//! does not announce its portions, and with an observer that does not wait until what it was told is
//! gone, must fail.
#![cfg(whimbrel_loom)]

use std::sync::Arc;

use loom::thread;
use whimbrel_backup::gather::{Entries, Gathering, Piece};
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_mvcc::{
    Batch, Clock, KeyRange, Observation, Store, StoreOptions, UnlinkAnswer, UnlinkObserver,
};

const A: &[u8] = b"a0";
const B: &[u8] = b"b0";

const TWO: Bound = Bound::Preemptions(4);
/// Writes beside it, or three threads.
const MORE: Bound = Bound::Preemptions(2);

/// What is left out in the models that must fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Nothing,
    /// Nothing either, but that the disk is too slow.
    RoomInGcDeltas,
    TheBeginningOfPortions,
    TheWaitForTheUnlinking,
}

struct Observer {
    gathering: Gathering,
    /// What would be written into GC deltas. Not part of what is explored.
    pieces: std::sync::Mutex<Vec<Piece>>,
    leaves: Leaves,
}

impl UnlinkObserver for Observer {
    fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer {
        let write = |piece: Piece| {
            if self.leaves == Leaves::RoomInGcDeltas {
                return Err((piece, UnlinkAnswer::Later));
            }
            self.pieces.lock().expect("not poisoned").push(piece);
            Ok(())
        };
        if self.leaves == Leaves::TheWaitForTheUnlinking {
            let at_once = Entries::from([(key.to_vec(), value.to_vec())]);
            write(vec![(0, at_once)]).expect("there is room");
            return UnlinkAnswer::Taken;
        }
        self.gathering.told(key, value, write)
    }
}

/// What the shard of a range gets.
fn walk(observation: &Observation, observer: &Observer, at: usize, range: &KeyRange) -> Entries {
    let (mut walk, mut shard) = (observation.walk(range.clone()), Entries::new());
    loop {
        let missed = if observer.leaves == Leaves::TheBeginningOfPortions {
            let more = walk.advance();
            let missed = observer.gathering.end_portion(at, walk.reached());
            more.then_some(missed)
        } else {
            observer.gathering.advance(at, &mut walk)
        };
        let Some(missed) = missed else { return shard };
        shard.extend(missed);
        shard.extend(walk.entries().map(|(key, value)| (key.to_vec(), value.to_vec())));
    }
}

/// A store whose two keys have value 1 in a snapshot that was given up.
struct World {
    store: Store,
    observation: Observation,
    observer: Arc<Observer>,
    ranges: Vec<KeyRange>,
}

impl World {
    fn new(ranges: Vec<KeyRange>, leaves: Leaves) -> Self {
        let options = StoreOptions::new().with_manual_collection();
        let store = Store::with_options(&Clock::new(), options);
        put(&store, 1);
        let (gathering, pieces) = (Gathering::new(&ranges, 0), std::sync::Mutex::default());
        let observer = Arc::new(Observer { gathering, pieces, leaves });
        let observation = store.snapshot().observe_unlinks(observer.clone()).expect("the only one");
        Self { store, observation, observer, ranges }
    }

    fn walk(&self, at: usize) -> Entries {
        walk(&self.observation, &self.observer, at, &self.ranges[at])
    }

    /// Ends the observation, and checks that the shards and the pieces are the snapshot.
    fn check(self, shards: Vec<Entries>) {
        let Self { observation, observer, .. } = self;
        observation.finish().expect("the observer goes on");
        assert!(observer.gathering.is_empty(), "something is in no file");
        let pieces = std::mem::take(&mut *observer.pieces.lock().expect("not poisoned"));
        let mut all = Entries::new();
        let pieces = pieces.into_iter().flatten().map(|(_, entries)| entries);
        for (key, value) in shards.into_iter().chain(pieces).flatten() {
            assert!(all.insert(key, value).is_none(), "a key is in two files");
        }
        let expected = [A, B].map(|key| (key.to_vec(), vec![1]));
        assert_eq!(all, Entries::from(expected), "not what the snapshot saw");
    }
}

fn put(store: &Store, value: u8) {
    for key in [A, B] {
        store.put(key, &[value]).expect("short");
    }
}

fn everything() -> Vec<KeyRange> {
    vec![KeyRange::all()]
}

fn one_each() -> Vec<KeyRange> {
    vec![KeyRange::from(..B), KeyRange::from(B..)]
}

/// The collector takes both old versions while the store is walked.
fn walk_against_collection(ranges: Vec<KeyRange>, leaves: Leaves) {
    let world = World::new(ranges, leaves);
    put(&world.store, 2);
    let store = world.store.clone();
    let collector = thread::spawn(move || store.collect());
    let shards = (0..world.ranges.len()).map(|at| world.walk(at)).collect();
    world.check(shards);
    collector.join().expect("no panic");
}

#[test]
fn walk_of_one_range_against_collection() {
    explore(TWO, || walk_against_collection(everything(), Leaves::Nothing));
}

#[test]
fn walk_of_two_ranges_against_collection() {
    explore(TWO, || walk_against_collection(one_each(), Leaves::Nothing));
}

#[test]
fn walk_against_collection_without_room_in_gc_deltas() {
    explore(TWO, || walk_against_collection(everything(), Leaves::RoomInGcDeltas));
}

#[test]
fn two_walks_against_collection() {
    explore(MORE, || {
        let world = Arc::new(World::new(one_each(), Leaves::Nothing));
        put(&world.store, 2);
        let other = world.clone();
        let second = thread::spawn(move || other.walk(1));
        world.store.collect();
        let shards = vec![world.walk(0), second.join().expect("no panic")];
        let world = Arc::try_unwrap(world).map_err(|_| "one thread is left");
        world.expect("one thread is left").check(shards);
    });
}

#[test]
fn walk_against_batch_and_collection() {
    explore(MORE, || {
        let world = World::new(everything(), Leaves::Nothing);
        let store = world.store.clone();
        let writer = thread::spawn(move || {
            let mut batch = Batch::new();
            batch.remove(&store, A).put(&store, B, [2]);
            batch.commit().expect("without a precondition");
            store.collect();
        });
        let shards = vec![world.walk(0)];
        world.check(shards);
        writer.join().expect("no panic");
    });
}

#[test]
#[should_panic(expected = "a key is in two files")]
fn a_portion_that_is_not_announced_is_caught() {
    explore(TWO, || walk_against_collection(everything(), Leaves::TheBeginningOfPortions));
}

#[test]
#[should_panic(expected = "a key is in two files")]
fn an_observer_that_does_not_wait_for_the_unlinking_is_caught() {
    explore(TWO, || walk_against_collection(everything(), Leaves::TheWaitForTheUnlinking));
}
