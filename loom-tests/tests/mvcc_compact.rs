//! Goal: moving entries together loses no write, changes no snapshot, and frees nothing that is read.
//! Method: as in `mvcc.rs`. Records, versions and descriptors have canaries, so one that is used after
//! it was reclaimed is a violation; at the end everything that was retired is reclaimed.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts, explore_order};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, CompactReport};

const TWO: Bound = Bound::Preemptions(2);
/// Three threads, or a batch.
const MORE: Bound = Bound::Preemptions(1);

fn put_old(world: &World) {
    world.put(A, 1);
}

/// The newest value in an allocation of its own, with nothing below.
fn put_old_twice(world: &World) {
    world.put(A, 0);
    world.put(A, 1);
    world.store.collect();
}

fn put_two(world: &World) -> Vec<u8> {
    world.put(A, 2);
    vec![]
}

/// One step: there is no collection before it.
fn compact(world: &World) -> Vec<u8> {
    world.store.compact_some(std::ops::Bound::Unbounded, &mut CompactReport::default());
    vec![]
}

fn look_twice(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let first = at(&snapshot, A);
    assert_eq!(at(&snapshot, A), first, "the snapshot changed");
    vec![first]
}

#[test]
fn compact_against_put() {
    for before in [put_old as fn(&World), put_old_twice] {
        explore_acts(TWO, before, &[compact, put_two], |world, _| {
            assert_eq!(world.get(A), 2, "a write was lost");
        });
    }
}

#[test]
fn compact_against_latest_read() {
    let compact_and_put: Act = |world| {
        compact(world);
        put_two(world)
    };
    let read: Act = |world| {
        let (first, second) = (world.get(A), world.get(A));
        assert!(first > 0 && second >= first, "{first}, then {second}");
        vec![]
    };
    explore_acts(TWO, put_old_twice, &[compact_and_put, read], |_, _| {});
}

#[test]
fn compact_twice_against_snapshot() {
    let twice: Act = |world| {
        compact(world);
        compact(world)
    };
    explore_acts(TWO, put_old_twice, &[twice, look_twice], |_, saw| {
        assert_eq!(saw[1], [1]);
    });
}

#[test]
fn compact_under_an_open_snapshot() {
    let hold_and_put: Act = |world| {
        let held = world.store.snapshot();
        world.put(A, 2);
        compact(world);
        assert_eq!(at(&held, A), 1, "a version that an open snapshot sees was lost");
        vec![]
    };
    explore_acts(TWO, put_old, &[hold_and_put, compact], |world, _| assert_eq!(world.get(A), 2));
}

#[test]
fn compact_against_remove() {
    let remove: Act = |world| {
        let removed = world.remove(A);
        world.store.collect();
        world.store.collect();
        vec![removed, world.get(A)]
    };
    explore_acts(TWO, put_old, &[compact, remove], |_, saw| assert_eq!(saw[1], [1, 0]));
}

#[test]
fn compact_against_collection() {
    let put_and_collect: Act = |world| {
        world.put(A, 2);
        world.store.collect();
        vec![world.get(A)]
    };
    explore_acts(TWO, put_old, &[compact, put_and_collect], |_, saw| assert_eq!(saw[1], [2]));
}

#[test]
fn compact_against_compact() {
    explore_acts(TWO, put_old_twice, &[compact, compact], |world, _| {
        assert_eq!(world.get(A), 1);
    });
}

#[test]
fn compact_against_batch() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [2]).put(&world.store, B, [2]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    explore_acts(MORE, put_old, &[compact, batch], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (2, 2));
    });
}

#[test]
fn compact_against_first_put_and_snapshot() {
    explore_order(
        Bound::Preemptions(3),
        |_| {},
        &[put_two, compact, look_twice],
        |_, saw| assert!(saw[2][0] == 0 || saw[2][0] == 2, "{saw:?}"),
        vec![0, 1, 2],
    );
}
