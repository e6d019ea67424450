//! Goal: snapshots are stable, downward-closed cuts, and reads never go back, whatever single writes run
//! beside them.
//! Method: two or three threads on a shipped `Store`; after each execution the running digest is
//! recomputed, and all garbage must be found and reclaimed. docs/ordering.md has the mutants that each
//! kills.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, C, D, World, at, explore_acts, explore_loaded};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{CasOutcome, Inserted};

const TWO: Bound = Bound::Preemptions(3);
/// Two threads of one operation each.
const SMALL: Bound = Bound::Preemptions(5);
const THREE: Bound = Bound::Preemptions(2);

fn nothing(_: &World) {}

fn put_old(world: &World) {
    world.put(A, 1);
}

fn put_two(world: &World) -> Vec<u8> {
    world.put(A, 2);
    vec![]
}

/// The number of the snapshot's value of `A`, looked at twice.
fn snapshot_read_twice(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let first = at(&snapshot, A);
    assert_eq!(at(&snapshot, A), first, "the snapshot changed");
    vec![first]
}

#[test]
fn put_over_a_value_against_snapshot_and_read() {
    explore_acts(SMALL, put_old, &[put_two, snapshot_read_twice], |world, saw| {
        assert!(saw[1][0] == 1 || saw[1][0] == 2);
        assert_eq!(world.get(A), 2);
    });
}

#[test]
fn put_of_an_absent_key_against_snapshot_and_read() {
    explore_acts(SMALL, nothing, &[put_two, snapshot_read_twice], |world, saw| {
        assert!(saw[1][0] == 0 || saw[1][0] == 2);
        assert_eq!(world.get(A), 2);
    });
}

#[test]
fn own_put_is_in_the_next_snapshot_beside_a_latest_read() {
    let put_then_snapshot: Act = |world| {
        world.put(A, 2);
        assert_eq!(at(&world.store.snapshot(), A), 2, "a returned write is missing");
        vec![]
    };
    let read: Act = |world| vec![world.get(A)];
    explore_acts(SMALL, put_old, &[put_then_snapshot, read], |_, saw| {
        assert!(saw[1][0] == 1 || saw[1][0] == 2);
    });
}

#[test]
fn latest_read_against_put_goes_not_back() {
    let look: Act = |world| {
        let snapshot = world.store.snapshot();
        let newest = world.get(A);
        let seen = at(&snapshot, A);
        assert!(newest >= seen, "newest {newest} after a snapshot that sees {seen}");
        let later = at(&world.store.snapshot(), A);
        assert!(later >= newest, "a snapshot sees {later} after {newest} was read");
        vec![]
    };
    explore_acts(TWO, put_old, &[put_two, look], |_, _| {});
}

#[test]
fn latest_read_against_put_and_snapshot() {
    let read_twice: Act = |world| {
        let first = world.get(A);
        let second = world.get(A);
        assert!(second >= first, "newest {second} after newest {first}");
        vec![first, second]
    };
    explore_acts(THREE, put_old, &[put_two, read_twice, snapshot_read_twice], |world, _| {
        assert_eq!(world.get(A), 2);
    });
}

#[test]
fn two_puts_of_one_thread_against_snapshot() {
    let put_both: Act = |world| {
        world.put(A, 2);
        world.put(B, 2);
        vec![]
    };
    let look: Act = |world| {
        let snapshot = world.store.snapshot();
        let (b, a) = (at(&snapshot, B), at(&snapshot, A));
        assert!(a >= b, "the second write without the first");
        assert_eq!((at(&snapshot, B), at(&snapshot, A)), (b, a), "the snapshot changed");
        vec![]
    };
    explore_acts(TWO, nothing, &[put_both, look], |_, _| {});
}

#[test]
fn two_puts_of_one_key_against_snapshot() {
    let put_three: Act = |world| {
        world.put(A, 3);
        let seen = at(&world.store.snapshot(), A);
        assert!(seen == 2 || seen == 3, "a returned write is missing: {seen}");
        vec![]
    };
    explore_acts(THREE, put_old, &[put_two, put_three, snapshot_read_twice], |world, _| {
        assert!(world.get(A) > 1);
    });
}

#[test]
fn two_puts_of_one_key_against_latest_read() {
    let put_three: Act = |world| {
        world.put(A, 3);
        vec![]
    };
    let read: Act = |world| {
        let newest = world.get(A);
        let seen = at(&world.store.snapshot(), A);
        assert!(newest == 1 || seen != 1, "a snapshot lacks {newest}, which was read before");
        vec![]
    };
    explore_acts(THREE, put_old, &[put_two, put_three, read], |_, _| {});
}

#[test]
fn two_snapshots_against_put() {
    let look: Act = snapshot_read_twice;
    explore_acts(THREE, put_old, &[put_two, look, look], |_, saw| {
        assert!(saw[1][0] > 0 && saw[2][0] > 0);
    });
}

#[test]
fn put_against_insert_unique() {
    let insert: Act = |world| {
        let did = world.store.insert_unique(A, &[3]).expect("short");
        let seen = at(&world.store.snapshot(), A);
        match did {
            Inserted::Exists => assert_eq!(seen, 2, "it exists, but not in the next snapshot"),
            Inserted::Inserted => assert!(seen == 2 || seen == 3),
        }
        vec![]
    };
    explore_acts(TWO, nothing, &[put_two, insert], |world, _| assert_eq!(world.get(A), 2));
}

#[test]
fn remove_against_put() {
    let remove: Act = |world| vec![world.remove(A)];
    explore_acts(SMALL, put_old, &[put_two, remove], |world, saw| match saw[1][0] {
        1 => assert_eq!(world.get(A), 2, "removed before the put"),
        2 => assert_eq!(world.get(A), 0, "removed after the put"),
        other => panic!("removed {other}"),
    });
}

#[test]
fn remove_against_remove() {
    let remove: Act = |world| vec![world.remove(A)];
    explore_acts(SMALL, put_old, &[remove, remove], |world, saw| {
        assert_eq!(saw[0][0] + saw[1][0], 1, "exactly one removes it");
        assert_eq!(world.get(A), 0);
    });
}

#[test]
fn compare_and_set_against_compare_and_set() {
    let count: Act = |world| {
        loop {
            let have = world.get(A);
            let done = world.store.compare_and_set(A, Some(&[have]), Some(&[have + 1]));
            if done.expect("short") == CasOutcome::Done {
                return vec![];
            }
        }
    };
    explore_acts(TWO, put_old, &[count, count], |world, _| assert_eq!(world.get(A), 3));
}

#[test]
fn put_and_read_by_another_thread_against_snapshot() {
    // The reader settles or passes the put; a snapshot of a third thread must agree with it.
    let read_then_put: Act = |world| {
        let seen = world.store.insert_unique(A, &[3]).expect("short");
        world.put(B, if seen == Inserted::Exists { 2 } else { 1 });
        vec![]
    };
    let look: Act = |world| {
        let snapshot = world.store.snapshot();
        let (b, a) = (at(&snapshot, B), at(&snapshot, A));
        assert!(b == 0 || a != 0, "what the writer of the second key saw is missing");
        assert_eq!(at(&snapshot, A), a, "the snapshot changed");
        vec![]
    };
    explore_acts(THREE, nothing, &[put_two, read_then_put, look], |_, _| {});
}

#[test]
fn put_over_a_value_and_read_by_another_thread_against_snapshot() {
    // As before, of a version that does not lie in its record.
    let read_then_put: Act = |world| {
        let differs = world.store.compare_and_set(A, None, None).expect("short");
        let CasOutcome::Differs(Some(seen)) = differs else { panic!("{differs:?}") };
        world.put(B, seen[0]);
        vec![]
    };
    let look: Act = |world| {
        let snapshot = world.store.snapshot();
        let (b, a) = (at(&snapshot, B), at(&snapshot, A));
        assert!(a >= b, "what the writer of the second key saw is missing");
        assert_eq!(at(&snapshot, A), a, "the snapshot changed");
        vec![]
    };
    explore_acts(THREE, put_old, &[put_two, read_then_put, look], |_, _| {});
}

/// What a snapshot sees of the keys `A` to `D`, by a scan; the scan of the same snapshot backwards agrees.
fn scan(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let seen: Vec<_> = snapshot.range(..).entries().collect();
    let mut back: Vec<_> = snapshot.range(..).rev().entries().collect();
    back.reverse();
    assert_eq!(back, seen, "the snapshot changed");
    [A, B, C, D].map(|key| seen.iter().find(|(k, _)| k == key).map_or(0, |(_, v)| v[0])).to_vec()
}

#[test]
fn put_that_splits_a_block_against_snapshot_scan() {
    // Three keys fill a block of the modelled build.
    let fill: fn(&World) = |world| [A, B, C].iter().for_each(|key| world.put(key, 1));
    let split: Act = |world| {
        world.put(D, 2);
        vec![]
    };
    explore_acts(THREE, fill, &[split, scan], |world, saw| {
        assert!(saw[1] == [1, 1, 1, 0] || saw[1] == [1, 1, 1, 2], "{saw:?}");
        assert_eq!(scan(world), [1, 1, 1, 2]);
    });
}

#[test]
fn put_on_a_loaded_store_against_snapshot_scan() {
    let put: Act = |world| {
        world.put(C, 2);
        vec![]
    };
    explore_loaded(THREE, &[put, scan], |world, saw| {
        assert!(saw[1] == [1, 1, 1, 1] || saw[1] == [1, 1, 2, 1], "{saw:?}");
        assert_eq!(scan(world), [1, 1, 2, 1]);
    });
}

#[test]
fn remove_and_put_on_a_loaded_store_against_latest_read() {
    let rewrite: Act = |world| {
        assert_eq!(world.remove(D), 1);
        world.put(D, 2);
        vec![]
    };
    let read: Act = |world| vec![world.get(D), world.get(D)];
    explore_loaded(THREE, &[rewrite, read], |world, saw| {
        let order = |value: u8| match value {
            1 => 0,
            0 => 1,
            _ => 2,
        };
        assert!(order(saw[1][0]) <= order(saw[1][1]), "{saw:?}");
        assert_eq!(scan(world), [1, 1, 1, 2]);
    });
}
