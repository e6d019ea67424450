//! Goal: `Store::update` loses no write that comes between its look and its own, and what it was given to
//! decide about is in every snapshot taken afterwards.
//! Method: two threads on a shipped `Store`, one of which updates: against each other kind of write of the
//! same key, for a key that is there and for one that is absent.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, Update, Updated};

const TWO: Bound = Bound::Preemptions(3);
const SMALL: Bound = Bound::Preemptions(4);
/// Against what takes many steps.
const LONG: Bound = Bound::Preemptions(2);

fn nothing(_: &World) {}

fn put_old(world: &World) {
    world.put(A, 1);
}

/// Adds ten to the value, or to nothing; returns what it was given last.
fn add_ten(world: &World) -> Vec<u8> {
    let mut given = 0;
    let done = world.store.update(A, |value| {
        given = value.map_or(0, |value| value[0]);
        Update::Put([given + 10])
    });
    assert_eq!(done, Ok(Updated::Put));
    vec![given]
}

fn put_two(world: &World) -> Vec<u8> {
    world.put(A, 2);
    vec![]
}

fn remove(world: &World) -> Vec<u8> {
    vec![world.remove(A)]
}

#[test]
fn update_against_update() {
    explore_acts(SMALL, put_old, &[add_ten, add_ten], |world, saw| {
        assert_eq!(world.get(A), 21, "an update is lost");
        assert!([(1, 11), (11, 1)].contains(&(saw[0][0], saw[1][0])), "{saw:?}");
    });
}

#[test]
fn update_of_an_absent_key_against_update() {
    explore_acts(TWO, nothing, &[add_ten, add_ten], |world, saw| {
        assert_eq!(world.get(A), 20, "an update is lost");
        assert!([(0, 10), (10, 0)].contains(&(saw[0][0], saw[1][0])), "{saw:?}");
    });
}

#[test]
fn update_against_put() {
    explore_acts(SMALL, put_old, &[add_ten, put_two], |world, saw| match saw[0][0] {
        1 => assert_eq!(world.get(A), 2, "updated before the put"),
        2 => assert_eq!(world.get(A), 12, "updated after the put"),
        other => panic!("it was given {other}"),
    });
}

#[test]
fn update_of_an_absent_key_against_put() {
    explore_acts(TWO, nothing, &[add_ten, put_two], |world, saw| match saw[0][0] {
        0 => assert_eq!(world.get(A), 2, "updated before the put"),
        2 => assert_eq!(world.get(A), 12, "updated after the put"),
        other => panic!("it was given {other}"),
    });
}

#[test]
fn update_against_remove() {
    explore_acts(TWO, put_old, &[add_ten, remove], |world, saw| match (saw[0][0], saw[1][0]) {
        (1, 11) => assert_eq!(world.get(A), 0, "updated before the removal"),
        (0, 1) => assert_eq!(world.get(A), 10, "updated after the removal"),
        other => panic!("given and removed: {other:?}"),
    });
}

#[test]
fn update_that_removes_against_update() {
    let take: Act = |world| {
        let mut taken = 0;
        let done = world.store.update(A, |value| {
            taken = value.map_or(0, |value| value[0]);
            Update::<[u8; 1]>::Remove
        });
        assert_eq!(done, Ok(Updated::Removed), "the key is there at all times until then");
        vec![taken]
    };
    explore_acts(TWO, put_old, &[add_ten, take], |world, saw| match (saw[0][0], saw[1][0]) {
        (1, 11) => assert_eq!(world.get(A), 0, "updated before it was taken"),
        (0, 1) => assert_eq!(world.get(A), 10, "updated after it was taken"),
        other => panic!("given and taken: {other:?}"),
    });
}

#[test]
fn update_against_snapshot() {
    let look: Act = |world| {
        let snapshot = world.store.snapshot();
        let first = at(&snapshot, A);
        assert_eq!(at(&snapshot, A), first, "the snapshot changed");
        vec![first]
    };
    explore_acts(SMALL, put_old, &[add_ten, look], |world, saw| {
        assert!(saw[1][0] == 1 || saw[1][0] == 11, "{saw:?}");
        assert_eq!(world.get(A), 11);
    });
}

#[test]
fn update_that_keeps_what_it_sees_against_put() {
    let keep: Act = |world| {
        let mut given = 0;
        let done = world.store.update(A, |value| {
            given = value.map_or(0, |value| value[0]);
            Update::<[u8; 1]>::Keep
        });
        assert_eq!(done, Ok(Updated::Kept));
        let seen = at(&world.store.snapshot(), A);
        assert!(seen >= given, "a snapshot sees {seen} after {given} was given");
        vec![]
    };
    explore_acts(SMALL, put_old, &[keep, put_two], |_, _| {});
}

#[test]
fn update_against_batch() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [2_u8]).put(&world.store, B, [2_u8]);
        batch.commit().expect("no precondition");
        vec![]
    };
    explore_acts(LONG, put_old, &[add_ten, batch], |world, saw| match saw[0][0] {
        1 => assert_eq!((world.get(A), world.get(B)), (2, 2), "updated before the batch"),
        2 => assert_eq!((world.get(A), world.get(B)), (12, 2), "updated after the batch"),
        other => panic!("it was given {other}"),
    });
}
