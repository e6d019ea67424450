//! Goal: the stamp of a version inside its record, which is the word of the record's cell, is raised and
//! settled without touching what has taken the version's place there: a newer version, a seal, or the
//! way to a moved record.
//! Method: as in `mvcc.rs`. The first put of a key stops between its installation and its settling, while
//! others settle it, raise its floor, write over it, end the record or move it.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, CompactReport, Inserted};

const TWO: Bound = Bound::Preemptions(3);
const THREE: Bound = Bound::Preemptions(2);
/// Three threads, one with a batch, a collection or a move.
const MORE: Bound = Bound::Preemptions(1);

fn nothing(_: &World) {}

fn put_two(world: &World) -> Vec<u8> {
    world.put(A, 2);
    vec![]
}

fn put_three(world: &World) -> Vec<u8> {
    world.put(A, 3);
    let seen = at(&world.store.snapshot(), A);
    assert!(seen == 2 || seen == 3, "a returned write is missing: {seen}");
    vec![]
}

/// Meets the first version, so it is settled if it is there, then writes and ends the key.
fn meet_and_seal(world: &World) -> Vec<u8> {
    let did = world.store.insert_unique(A, &[3]).expect("short");
    let removed = world.remove(A);
    assert!(did == Inserted::Inserted || removed == 2, "removed {removed}");
    collect_twice(world);
    vec![removed]
}

/// What a tombstone hides goes in a first pass, the key in a second.
fn collect_twice(world: &World) {
    world.store.collect();
    world.store.collect();
}

/// One step: there is no collection before it.
fn compact(world: &World) {
    world.store.compact_some(std::ops::Bound::Unbounded, &mut CompactReport::default());
}

/// The number of the snapshot's value of `A`, looked at twice, and the newest in between.
fn look(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let first = at(&snapshot, A);
    let newest = world.get(A);
    assert_eq!(at(&snapshot, A), first, "the snapshot changed");
    vec![first, newest]
}

/// The key can be written again, and nothing of what it was before comes back.
fn write_again(world: &World) {
    assert_eq!(world.get(A), 0, "removed");
    assert_eq!(world.store.insert_unique(A, &[4]).expect("short"), Inserted::Inserted);
    assert_eq!(world.get(A), 4);
}

#[test]
fn first_put_against_put() {
    explore_acts(TWO, nothing, &[put_two, put_three], |world, _| assert!(world.get(A) > 1));
}

#[test]
fn first_put_against_put_and_look() {
    explore_acts(THREE, nothing, &[put_two, put_three, look], |world, saw| {
        assert!(saw[2].iter().all(|seen| [0, 2, 3].contains(seen)), "{saw:?}");
        assert!(saw[2][0] == 0 || saw[2][1] > 0, "gone back: {saw:?}");
        assert!(world.get(A) > 1);
    });
}

#[test]
fn first_put_against_two_looks() {
    // Each raises the floor for a number of its own.
    explore_acts(THREE, nothing, &[put_two, look, look], |world, _| {
        assert_eq!(world.get(A), 2);
    });
}

#[test]
fn first_put_against_seal() {
    explore_acts(TWO, nothing, &[put_two, meet_and_seal], |world, saw| {
        if saw[1][0] == 2 {
            write_again(world);
        }
    });
}

#[test]
fn first_put_and_its_seal_against_latest_read() {
    // A snapshot that is open would keep the record.
    let put_and_seal: Act = |world| {
        world.put(A, 2);
        world.remove(A);
        collect_twice(world);
        vec![]
    };
    let read: Act = |world| vec![world.get(A)];
    explore_acts(TWO, nothing, &[put_and_seal, read], |world, saw| {
        assert!([0, 2].contains(&saw[1][0]), "{saw:?}");
        write_again(world);
    });
}

#[test]
fn first_put_against_move() {
    let meet_and_move: Act = |world| {
        let did = world.store.insert_unique(A, &[3]).expect("short");
        compact(world);
        let newest = world.get(A);
        assert!(did == Inserted::Inserted || newest == 2, "a write was lost: {newest}");
        vec![]
    };
    explore_acts(TWO, nothing, &[put_two, meet_and_move], |world, _| {
        assert!(world.get(A) > 1);
    });
}

#[test]
fn first_put_and_its_move_against_look() {
    let put_and_move: Act = |world| {
        world.put(A, 2);
        compact(world);
        world.put(A, 3);
        vec![]
    };
    explore_acts(TWO, nothing, &[put_and_move, look], |world, saw| {
        assert!(saw[1][1] >= saw[1][0], "gone back: {saw:?}");
        assert_eq!(world.get(A), 3);
    });
}

#[test]
fn first_put_against_move_and_look() {
    let meet_and_move: Act = |world| {
        let _ = world.store.insert_unique(A, &[3]).expect("short");
        compact(world);
        vec![]
    };
    explore_acts(MORE, nothing, &[put_two, meet_and_move, look], |world, saw| {
        assert!(saw[2][0] == 0 || saw[2][1] > 0, "gone back: {saw:?}");
        assert!(world.get(A) > 1);
    });
}

#[test]
fn first_put_against_batch() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [3]).put(&world.store, B, [3]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    explore_acts(THREE, nothing, &[put_two, batch], |world, _| {
        assert!(world.get(A) > 1);
        assert_eq!(world.get(B), 3);
    });
}

#[test]
fn first_put_against_batch_and_look() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [3]).put(&world.store, B, [3]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    let look: Act = |world| {
        let snapshot = world.store.snapshot();
        let (b, a) = (at(&snapshot, B), at(&snapshot, A));
        assert!(b == 0 || a > 0, "torn: {a} {b}");
        assert_eq!((at(&snapshot, A), at(&snapshot, B)), (a, b), "the snapshot changed");
        vec![]
    };
    explore_acts(MORE, nothing, &[put_two, batch, look], |world, _| {
        assert_eq!(world.get(B), 3);
    });
}
