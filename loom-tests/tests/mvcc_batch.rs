//! Goal: a batch is seen whole or not at all, goes in exactly once however many carry it out, and leaves
//! no trace when its precondition fails.
//! Method: as in `mvcc.rs`, with batches over two keys.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, Error, VersionToken};

/// Two batches of two keys on two threads, or a batch and what writes in its way.
const TWO: Bound = Bound::Preemptions(2);
/// Against readers.
const READ: Bound = Bound::Preemptions(3);
/// Three threads.
const THREE: Bound = Bound::Preemptions(1);

fn put_old(world: &World) {
    world.put(A, 1);
    world.put(B, 1);
}

fn nothing(_: &World) {}

fn batch_both(world: &World, value: u8) {
    let mut batch = Batch::new();
    batch.put(&world.store, A, [value]).put(&world.store, B, [value]);
    batch.commit().expect("without a precondition");
}

fn batch_two(world: &World) -> Vec<u8> {
    batch_both(world, 2);
    vec![]
}

/// Both keys in one snapshot, the second key first, looked at twice.
fn look(world: &World) -> (u8, u8) {
    let snapshot = world.store.snapshot();
    let (b, a) = (at(&snapshot, B), at(&snapshot, A));
    assert_eq!((at(&snapshot, A), at(&snapshot, B)), (a, b), "the snapshot changed");
    (a, b)
}

#[test]
fn batch_against_snapshot_reader() {
    let look: Act = |world| {
        let (a, b) = look(world);
        assert_eq!(a, b, "torn");
        vec![]
    };
    explore_acts(READ, put_old, &[batch_two, look], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (2, 2));
    });
}

#[test]
fn batch_against_latest_reads() {
    let read: Act = |world| {
        let (b, a) = (world.get(B), world.get(A));
        assert!(a >= b, "the batch was seen on one key, and not on the other afterwards");
        let (later, _) = look(world);
        assert!(later >= a, "a snapshot lacks a batch that was read");
        vec![]
    };
    explore_acts(READ, put_old, &[batch_two, read], |_, _| {});
}

#[test]
fn batch_against_put_of_its_last_key() {
    let put: Act = |world| {
        world.put(B, 3);
        let (a, b) = look(world);
        assert!(b == 3 || (a, b) == (2, 2), "torn: {a} {b}");
        vec![a, b]
    };
    explore_acts(TWO, put_old, &[batch_two, put], |world, saw| {
        let end = (world.get(A), world.get(B));
        assert!(end == (2, 2) || end == (2, 3), "{end:?}");
        if saw[1] == [1, 3] {
            assert_eq!(end, (2, 2), "the put came before the batch, so the batch wins");
        }
    });
}

#[test]
fn batch_against_put_of_its_first_key() {
    let put: Act = |world| {
        world.put(A, 3);
        let (a, b) = look(world);
        assert!(a == 3 || (a, b) == (2, 2), "torn: {a} {b}");
        vec![a, b]
    };
    explore_acts(TWO, put_old, &[batch_two, put], |world, saw| {
        let end = (world.get(A), world.get(B));
        assert!(end == (2, 2) || end == (3, 2), "{end:?}");
        if saw[1] == [3, 1] {
            assert_eq!(end, (2, 2), "the put came before the batch, so the batch wins");
        }
    });
}

#[test]
fn batch_against_two_puts() {
    // One put helps the batch from its first key on, the other writes over its last key: a helper that
    // comes late must not install the batch's operation again.
    let put_first: Act = |world| {
        world.put(A, 3);
        vec![]
    };
    let put_last: Act = |world| {
        let seen = world.get(B);
        world.put(B, 4);
        vec![seen]
    };
    explore_acts(
        Bound::Preemptions(2),
        put_old,
        &[batch_two, put_first, put_last],
        |world, saw| {
            let b = world.get(B);
            assert!(
                b == 4 || (b == 2 && saw[2][0] == 1),
                "a put was lost to a batch that it had seen"
            );
        },
    );
}

#[test]
fn two_overlapping_batches() {
    let other: Act = |world| {
        batch_both(world, 3);
        let (a, b) = look(world);
        assert_eq!(a, b, "torn");
        assert!(a > 1, "a returned batch is missing");
        vec![]
    };
    explore_acts(TWO, put_old, &[batch_two, other], |world, _| {
        assert_eq!(world.get(A), world.get(B), "torn");
    });
}

#[test]
fn two_overlapping_batches_against_snapshot() {
    let three: Act = |world| {
        batch_both(world, 3);
        vec![]
    };
    let look: Act = |world| {
        let (a, b) = look(world);
        assert_eq!(a, b, "torn");
        vec![]
    };
    explore_acts(THREE, nothing, &[batch_two, three, look], |world, _| {
        assert_eq!(world.get(A), world.get(B), "torn");
    });
}

#[test]
fn batch_that_removes_an_absent_key_against_put() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [2]).remove(&world.store, B);
        batch.commit().expect("without a precondition");
        vec![]
    };
    let put: Act = |world| {
        world.put(B, 3);
        let (a, b) = look(world);
        vec![a, b]
    };
    explore_acts(TWO, nothing, &[batch, put], |world, saw| {
        assert_eq!(world.get(A), 2);
        match saw[1][..] {
            [0, 3] => assert_eq!(world.get(B), 0, "the put came before the batch, which removes"),
            [2, 3] => {}
            [2, 0] => assert_eq!(world.get(B), 0),
            _ => panic!("torn: {saw:?}"),
        }
    });
}

#[test]
fn batch_with_failing_precondition_against_put() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.expect_absent(&world.store, A);
        batch.put(&world.store, A, [2]).put(&world.store, B, [2]);
        match batch.commit() {
            Ok(_) => vec![1],
            Err(Error::PreconditionFailed { .. }) => vec![0],
            Err(err) => panic!("{err}"),
        }
    };
    let put: Act = |world| {
        world.put(A, 3);
        let (a, b) = look(world);
        assert!(a == 3, "a returned put is missing");
        vec![b]
    };
    explore_acts(TWO, nothing, &[batch, put], |world, saw| {
        let begun = saw[0][0] == 1;
        assert_eq!((world.get(A), world.get(B)), (3, if begun { 2 } else { 0 }));
        assert_eq!(saw[1][0], world.get(B), "the batch was before the put, or never");
    });
}

#[test]
fn two_batches_with_one_precondition() {
    fn batch(world: &World, value: u8) -> Vec<u8> {
        let mut batch = Batch::new();
        batch.expect(&world.store, A, VersionToken::of_value(&[1]));
        batch.put(&world.store, A, [value]).put(&world.store, B, [value]);
        vec![u8::from(batch.commit().is_ok())]
    }
    explore_acts(TWO, put_old, &[|w| batch(w, 2), |w| batch(w, 3)], |world, saw| {
        assert_eq!(saw[0][0] + saw[1][0], 1, "exactly one begins");
        let value = if saw[0][0] == 1 { 2 } else { 3 };
        assert_eq!((world.get(A), world.get(B)), (value, value));
    });
}

#[test]
fn batch_read_after_its_descriptor_is_gone() {
    // The owner leaves nothing behind that leads to the descriptor, which the barrier reclaims.
    let batch: Act = |world| {
        batch_both(world, 2);
        world.clock.barrier().flush();
        vec![]
    };
    let read: Act = |world| {
        let (b, a) = (world.get(B), world.get(A));
        assert!(a >= b, "the batch was seen on one key, and not on the other afterwards");
        vec![]
    };
    explore_acts(READ, put_old, &[batch, read], |world, _| {
        world.clock.barrier().flush();
        assert_eq!((world.get(A), world.get(B)), (2, 2));
    });
}

#[test]
fn batch_against_one_call_for_both_keys() {
    // Both keys in one session: no fence stands between the look at one and the look at the other, so
    // the number of the first must bring along what its settling thread had seen of the second.
    let read: Act = |world| {
        let mut seen = Vec::new();
        world.store.get_many_with(&[A, B], |_, value| seen.push(value.map_or(0, |v| v[0])));
        assert!(
            seen[1] >= seen[0],
            "the batch was seen on one key, and not on the other afterwards"
        );
        seen
    };
    explore_acts(READ, put_old, &[batch_two, read], |_, _| {});
}
