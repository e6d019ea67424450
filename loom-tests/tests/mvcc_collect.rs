//! Goal: the collector takes nothing that a snapshot sees, finds everything that none sees, and never
//! loses a write; captured keys cover what a snapshot does not see.
//! Method: as in `mvcc.rs`. Each version and descriptor has a canary, so one that is used after it was
//! reclaimed is a violation.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts, explore_order};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::Batch;

const TWO: Bound = Bound::Preemptions(3);
/// A batch and a write in its way.
const BATCH: Bound = Bound::Preemptions(2);
const THREE: Bound = Bound::Preemptions(2);

fn put_old(world: &World) {
    world.put(A, 1);
}

/// The newest value in an allocation of its own, with nothing below: a key that is removed by a tombstone.
/// (`mvcc_removal.rs` has the others.)
fn put_own(world: &World) {
    world.put(A, 0);
    world.put(A, 1);
    world.store.collect();
}

fn put_two(world: &World) -> Vec<u8> {
    world.put(A, 2);
    vec![]
}

fn look_twice(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let first = at(&snapshot, A);
    assert_eq!(at(&snapshot, A), first, "the snapshot changed");
    vec![first]
}

/// What a tombstone hides goes in a first pass, the key in a second.
fn collect_twice(world: &World) {
    collect(world);
    collect(world);
}

fn collect(world: &World) -> Vec<u8> {
    world.store.collect();
    vec![]
}

#[test]
fn collection_against_snapshot_registration() {
    let put_and_collect: Act = |world| {
        world.put(A, 2);
        collect(world)
    };
    explore_acts(TWO, put_old, &[put_and_collect, look_twice], |_, saw| {
        assert!(saw[1][0] == 1 || saw[1][0] == 2, "{saw:?}");
    });
}

#[test]
fn collection_against_put_and_snapshot() {
    explore_acts(THREE, put_old, &[put_two, collect, look_twice], |_, saw| {
        assert!(saw[2][0] == 1 || saw[2][0] == 2, "{saw:?}");
    });
}

/// A version of `A` waits for the collector, which looks at the registry therefore; what this thread
/// supersedes afterwards may be judged by that same look.
fn collect_put_collect(world: &World) -> Vec<u8> {
    collect(world);
    world.put(A, 3);
    collect(world)
}

fn put_old_twice(world: &World) {
    world.put(A, 1);
    world.put(A, 2);
}

#[test]
fn collection_by_an_older_view_against_snapshot_registration() {
    explore_acts(TWO, put_old_twice, &[collect_put_collect, look_twice], |_, saw| {
        assert!(saw[1][0] == 2 || saw[1][0] == 3, "{saw:?}");
    });
}

#[test]
fn collection_by_an_older_view_against_two_snapshots() {
    // The first snapshot moves the clock, so the second may take its number from before that.
    let first: Act = |world| {
        drop(world.store.snapshot());
        vec![]
    };
    let look: Act = |world| vec![at(&world.store.snapshot(), A)];
    let acts = [first, look, collect_put_collect];
    let after: fn(&World, &[Vec<u8>]) =
        |_, saw| assert!(saw[1][0] == 2 || saw[1][0] == 3, "{saw:?}");
    // One order and one preemption: all the rest takes minutes.
    explore_order(Bound::Preemptions(1), put_old_twice, &acts, after, vec![0, 1, 2]);
}

#[test]
fn collection_of_a_middle_version_against_snapshot_registration() {
    // A snapshot that is open sees the oldest version; the middle one goes while another is taken.
    let hold_and_write: Act = |world| {
        let held = world.store.snapshot();
        world.put(A, 2);
        world.put(A, 3);
        collect(world);
        assert_eq!(at(&held, A), 1, "a version that an open snapshot sees was taken");
        vec![]
    };
    // Two preemptions: two snapshots, two writes and a collection take minutes with three.
    explore_acts(Bound::Preemptions(2), put_old, &[hold_and_write, look_twice], |_, saw| {
        assert!((1..=3).contains(&saw[1][0]), "{saw:?}");
    });
}

#[test]
fn collection_against_latest_read() {
    let put_and_collect: Act = |world| {
        world.put(A, 2);
        world.put(A, 3);
        collect(world)
    };
    let read: Act = |world| {
        let (first, second) = (world.get(A), world.get(A));
        assert!(first > 0 && second >= first, "{first}, then {second}");
        vec![]
    };
    explore_acts(TWO, put_old, &[put_and_collect, read], |_, _| {});
}

#[test]
fn seal_against_put() {
    let remove_and_collect: Act = |world| {
        let removed = world.remove(A);
        collect_twice(world);
        vec![removed]
    };
    explore_acts(TWO, put_own, &[remove_and_collect, put_two], |world, saw| {
        let end = if saw[0][0] == 1 { 2 } else { 0 };
        assert_eq!(world.get(A), end, "removed {}", saw[0][0]);
    });
}

#[test]
fn seal_against_snapshot() {
    let remove_and_collect: Act = |world| {
        world.remove(A);
        collect_twice(world);
        assert_eq!(world.get(A), 0);
        vec![]
    };
    explore_acts(TWO, put_own, &[remove_and_collect, look_twice], |_, _| {});
}

#[test]
fn seal_under_an_open_snapshot_against_put() {
    let hold_and_remove: Act = |world| {
        let held = world.store.snapshot();
        let seen = at(&held, A);
        world.remove(A);
        collect_twice(world);
        assert_eq!(at(&held, A), seen, "a key that an open snapshot sees was dropped");
        vec![]
    };
    explore_acts(TWO, put_own, &[hold_and_remove, put_two], |_, _| {});
}

#[test]
fn collection_against_batch() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.remove(&world.store, A).put(&world.store, B, [2]);
        batch.commit().expect("without a precondition");
        collect(world);
        vec![]
    };
    let put: Act = |world| {
        world.put(A, 3);
        let snapshot = world.store.snapshot();
        let (a, b) = (at(&snapshot, A), at(&snapshot, B));
        assert!(a == 3 || b == 2, "torn: {a} {b}");
        vec![]
    };
    explore_acts(BATCH, put_old, &[batch, put], |_, _| {});
}

#[test]
fn capture_against_writer() {
    // The start: what was under way leaves, then the snapshot; what it does not see is captured.
    let follow: Act = |world| {
        world.start_capture();
        let ticket = world.clock.barrier().ticket();
        while !world.clock.barrier().poll(ticket) {
            loom::thread::yield_now();
        }
        vec![at(&world.store.snapshot(), A)]
    };
    explore_acts(TWO, put_old, &[put_two, follow], |world, saw| {
        let captured = world.drain();
        assert!(saw[1][0] == 2 || captured == [A], "lost: seen {}, {captured:?}", saw[1][0]);
    });
}

#[test]
fn capture_drained_against_writer() {
    // A round: what a snapshot taken after a drain does not see comes with a later drain.
    let round: Act = |world| {
        world.drain();
        vec![at(&world.store.snapshot(), A)]
    };
    let before: fn(&World) = |world| {
        put_old(world);
        world.start_capture();
    };
    explore_acts(TWO, before, &[put_two, round], |world, saw| {
        let captured = world.drain();
        assert!(saw[1][0] == 2 || captured == [A], "lost: seen {}, {captured:?}", saw[1][0]);
    });
}

#[test]
fn capture_against_batch_and_its_helper() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [2]).put(&world.store, B, [2]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    let put: Act = |world| {
        world.put(A, 3);
        vec![]
    };
    explore_acts(BATCH, World::start_capture, &[batch, put], |world, _| {
        assert_eq!(world.drain(), [A, B]);
    });
}

#[test]
fn capture_of_intervals_drained_against_writer() {
    let round: Act = |world| {
        world.drain_all();
        vec![at(&world.store.snapshot(), A)]
    };
    let before: fn(&World) = |world| {
        put_old(world);
        world.start_capture_of_intervals();
    };
    explore_acts(TWO, before, &[put_two, round], |world, saw| {
        let captured = world.drain_all();
        assert!(saw[1][0] == 2 || captured.intervals.len() == 1, "lost: {saw:?}, {captured:?}");
    });
}

#[test]
fn capture_stopped_against_writer() {
    let stop: Act = |world| {
        world.stop_capture();
        world.clock.barrier().flush();
        vec![]
    };
    let before: fn(&World) = |world| {
        put_old(world);
        world.start_capture();
    };
    explore_acts(TWO, before, &[put_two, stop], |world, _| assert_eq!(world.get(A), 2));
}

#[test]
fn collection_against_closing_of_the_snapshots_that_hold_it() {
    // What was filed under a snapshot that closes while the collector looks is found all the same, by
    // the next collection and without another snapshot that closes.
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.hold();
        world.put(A, 2);
        collect(world);
        world.hold();
        world.put(A, 3);
    };
    let close: Act = |world| {
        world.release();
        vec![]
    };
    explore_acts(TWO, before, &[close, collect], |world, _| {
        collect_twice(world);
        let stats = world.store.stats();
        assert_eq!((stats.dead, stats.versions), (0, 1), "garbage stays: {stats:?}");
    });
}

#[test]
fn registrations_that_need_another_chunk_against_collection() {
    // Two slots a chunk in modelled builds, both taken.
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.hold();
        world.hold();
    };
    let put_and_collect: Act = |world| {
        world.put(A, 2);
        collect(world)
    };
    let acts = [look_twice as Act, look_twice, put_and_collect];
    // One preemption: three snapshots and a collection take minutes with two.
    explore_acts(Bound::Preemptions(1), before, &acts, |_, saw| {
        assert!(saw[0][0] > 0 && saw[1][0] > 0, "{saw:?}");
    });
}

#[test]
fn seal_of_a_tombstone_over_a_value_against_snapshot() {
    // The open snapshot sees the value below the tombstone.
    let before: fn(&World) = |world| {
        put_own(world);
        world.hold();
        world.remove(A);
    };
    let release_and_collect: Act = |world| {
        world.release();
        collect(world)
    };
    explore_acts(TWO, before, &[release_and_collect, look_twice], |_, saw| {
        assert_eq!(saw[1][0], 0, "removed before");
    });
}
