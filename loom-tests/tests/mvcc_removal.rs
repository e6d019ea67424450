//! Goal: a removal in place, which takes no version and may end the key at once, is seen by every snapshot all
//! the time or never, loses no write, and leaves nothing behind.
//! Method: as in `mvcc.rs`. The key was written once, so its value lies in its record; the removal stops between
//! its steps, while others read, write, help, collect or take snapshots.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, Inserted};

const TWO: Bound = Bound::Preemptions(3);
/// A batch, a collection, or two snapshots.
const LONG: Bound = Bound::Preemptions(2);
const THREE: Bound = Bound::Preemptions(1);

fn put_old(world: &World) {
    world.put(A, 1);
}

fn nothing(_: &World) {}

fn remove(world: &World) -> Vec<u8> {
    vec![world.remove(A)]
}

fn look_twice(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let first = at(&snapshot, A);
    assert_eq!(at(&snapshot, A), first, "the snapshot changed");
    vec![first]
}

fn collect_twice(world: &World) {
    world.store.collect();
    world.store.collect();
}

#[test]
fn removal_against_snapshot() {
    explore_acts(TWO, put_old, &[remove, look_twice], |world, saw| {
        assert_eq!((saw[0][0], world.get(A)), (1, 0));
    });
}

#[test]
fn removal_against_snapshot_and_newest() {
    // What a snapshot does not see any more, a later read does not either.
    let look: Act = |world| {
        let seen = at(&world.store.snapshot(), A);
        let newest = world.get(A);
        assert!(newest <= seen, "{seen}, then {newest}");
        vec![]
    };
    explore_acts(TWO, put_old, &[remove, look], |world, _| assert_eq!(world.get(A), 0));
}

#[test]
fn removal_against_latest_reads() {
    let read: Act = |world| {
        let (first, second) = (world.get(A), world.get(A));
        assert!(second <= first, "{first}, then {second}");
        let next = at(&world.store.snapshot(), A);
        assert!(next <= second, "{second}, then in a snapshot {next}");
        vec![]
    };
    explore_acts(TWO, put_old, &[remove, read], |_, _| {});
}

#[test]
fn a_removal_is_in_the_next_snapshot() {
    let remove_and_look: Act = |world| {
        world.remove(A);
        assert_eq!(at(&world.store.snapshot(), A), 0, "a returned removal is missing");
        vec![]
    };
    let read: Act = |world| vec![world.get(A)];
    explore_acts(TWO, put_old, &[remove_and_look, read], |_, _| {});
}

#[test]
fn removal_against_insert_unique() {
    let insert: Act = |world| {
        let did = world.store.insert_unique(A, &[2]).expect("short");
        vec![u8::from(did == Inserted::Inserted)]
    };
    explore_acts(TWO, put_old, &[remove, insert], |world, saw| {
        assert_eq!(saw[0], [1]);
        assert_eq!(world.get(A), 2 * saw[1][0], "{saw:?}");
    });
}

#[test]
fn removal_against_put_and_look() {
    let put_and_look: Act = |world| {
        world.put(A, 2);
        vec![look_twice(world)[0], world.get(A)]
    };
    explore_acts(LONG, put_old, &[remove, put_and_look], |world, saw| {
        let end = if saw[0][0] == 1 { 2 } else { 0 };
        assert_eq!(world.get(A), end, "{saw:?}");
        assert!(saw[1].iter().all(|seen| [end, 2].contains(seen)), "{saw:?}");
    });
}

#[test]
fn removal_against_batch() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [2]).put(&world.store, B, [2]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    explore_acts(LONG, put_old, &[remove, batch], |world, saw| {
        let end = if saw[0][0] == 1 { 2 } else { 0 };
        assert_eq!((world.get(A), world.get(B)), (end, 2), "{saw:?}");
    });
}

#[test]
fn removal_after_its_first_put_is_helped() {
    // The first put stops before it settles its version, which others settle, see, and remove.
    let put: Act = |world| {
        world.put(A, 2);
        vec![]
    };
    let meet_and_remove: Act = |world| {
        let _ = world.store.insert_unique(A, &[3]).expect("short");
        let snapshot = world.store.snapshot();
        let seen = at(&snapshot, A);
        assert!(seen > 0, "a returned write is missing");
        world.remove(A);
        assert_eq!(at(&snapshot, A), seen, "the snapshot changed");
        vec![]
    };
    explore_acts(LONG, nothing, &[put, meet_and_remove], |_, _| {});
}

#[test]
fn removal_of_what_an_open_snapshot_does_not_see() {
    let hold_put_remove: Act = |world| {
        let held = world.store.snapshot();
        world.put(A, 1);
        let removed = world.remove(A);
        assert_eq!((removed, at(&held, A)), (1, 0));
        vec![]
    };
    let read: Act = |world| vec![world.get(A)];
    explore_acts(LONG, nothing, &[hold_put_remove, read], |_, _| {});
}

#[test]
fn removal_written_over_and_collected_under_an_open_snapshot() {
    let hold_and_write: Act = |world| {
        let held = world.store.snapshot();
        world.remove(A);
        world.put(A, 2);
        collect_twice(world);
        assert_eq!(at(&held, A), 1, "what an open snapshot sees was taken");
        vec![]
    };
    let read: Act = |world| vec![world.get(A)];
    explore_acts(LONG, put_old, &[hold_and_write, read], |_, _| {});
}

#[test]
fn removal_collected_against_snapshot() {
    // The clock has moved since a collector looked, so the removal has an entry.
    let before: fn(&World) = |world| {
        put_old(world);
        drop(world.store.snapshot());
    };
    let remove_and_collect: Act = |world| {
        world.remove(A);
        world.store.collect();
        vec![]
    };
    explore_acts(LONG, before, &[remove_and_collect, look_twice], |_, _| {});
}

#[test]
fn removal_collected_against_put() {
    let before: fn(&World) = |world| {
        put_old(world);
        drop(world.store.snapshot());
    };
    let remove_and_collect: Act = |world| {
        let removed = world.remove(A);
        world.store.collect();
        vec![removed]
    };
    let put: Act = |world| {
        world.put(A, 2);
        vec![]
    };
    explore_acts(LONG, before, &[remove_and_collect, put], |world, saw| {
        let end = if saw[0][0] == 1 { 2 } else { 0 };
        assert_eq!(world.get(A), end, "{saw:?}");
    });
}

#[test]
fn removal_against_collection_and_the_closing_of_a_snapshot() {
    // A collector of another key learns that the snapshot has closed, which lets the removal end the key.
    let before: fn(&World) = |world| {
        put_old(world);
        world.put(B, 1);
        world.put(B, 2);
    };
    let collect: Act = |world| {
        world.store.collect();
        vec![]
    };
    explore_acts(THREE, before, &[look_twice, collect, remove], |world, saw| {
        assert_eq!((saw[2][0], world.get(A)), (1, 0));
    });
}

#[test]
fn removal_against_one_call_for_both_keys() {
    let before: fn(&World) = |world| {
        put_old(world);
        world.put(B, 1);
    };
    let put_and_remove: Act = |world| {
        world.put(B, 2);
        world.remove(A);
        vec![]
    };
    // One session: between two there are fences.
    let read: Act = |world| {
        let mut seen = vec![];
        world.store.get_many_with(&[A, B], |_, value| seen.push(value.map_or(0, |v| v[0])));
        seen
    };
    explore_acts(TWO, before, &[put_and_remove, read], |_, saw| {
        assert!(saw[1][0] == 1 || saw[1][1] == 2, "the cause is missing: {saw:?}");
    });
}
