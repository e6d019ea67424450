//! Goal: a snapshot that is given up for an observer is whole: what a walk at its number misses, the observer
//! was told before; neither has anything else; after the end the observer is told nothing more.
//! Method: as in `mvcc.rs`. The observer's atomics are Relaxed, so that "was told before" holds by the order
//! of the hand-shake alone.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, check_walked, explore_acts, walk};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, CompactReport, IngestMode};

const TWO: Bound = Bound::Preemptions(4);
/// A batch, or a snapshot that is taken meanwhile.
const MORE: Bound = Bound::Preemptions(3);
/// An ingest.
const INGEST: Bound = Bound::Preemptions(2);

fn collect(world: &World) -> Vec<u8> {
    world.store.collect();
    vec![]
}

fn collect_twice(world: &World) -> Vec<u8> {
    collect(world);
    collect(world)
}

fn put_and_collect(world: &World) -> Vec<u8> {
    world.put(A, 2);
    collect(world)
}

/// The observed snapshot sees value 1 of `A`, inline.
fn observed(world: &World) {
    world.put(A, 1);
    world.observe();
}

/// As [`observed`], in an allocation of its own.
fn observed_own(world: &World) {
    world.put(A, 9);
    world.put(A, 1);
    collect(world);
    world.observe();
}

/// Walks, and checks at once.
fn walk_one(world: &World) -> Vec<u8> {
    let observation = world.take_observation().expect("observed");
    check_walked(walk(&observation), &world.told(), [1, 0]);
    observation.finish().expect("the observer goes on");
    vec![]
}

/// What was told is told for good, and is right.
fn told_nothing_else(world: &World, expected: u8) {
    let [a, b] = world.told().values();
    assert!((a == 0 || a == expected) && b == 0, "told {a} and {b}");
}

#[test]
fn walk_against_put_and_collection() {
    for before in [observed as fn(&World), observed_own] {
        explore_acts(TWO, before, &[put_and_collect, walk_one], |world, _| {
            told_nothing_else(world, 1);
        });
    }
}

#[test]
fn walk_against_put_against_collection() {
    let put: Act = |world| {
        world.put(A, 2);
        vec![]
    };
    explore_acts(Bound::Preemptions(2), observed, &[put, collect, walk_one], |world, _| {
        told_nothing_else(world, 1);
    });
}

#[test]
fn walk_against_sweep_of_a_chain() {
    // The collector comes to the version above first, and sweeps the chain; then to both again.
    let before: fn(&World) = |world| {
        observed_own(world);
        world.put(A, 2);
        world.put(A, 3);
    };
    explore_acts(TWO, before, &[collect_twice, walk_one], |world, _| told_nothing_else(world, 1));
}

#[test]
fn walk_against_sweep_of_a_chain_of_three_numbers() {
    let before: fn(&World) = |world| {
        observed_own(world);
        world.put(A, 2);
        drop(world.store.snapshot());
        world.put(A, 3);
    };
    explore_acts(TWO, before, &[collect_twice, walk_one], |world, _| told_nothing_else(world, 1));
}

#[test]
fn walk_against_drop_of_the_key() {
    let remove_and_collect: Act = |world| {
        world.remove(A);
        collect(world);
        collect(world)
    };
    explore_acts(TWO, observed, &[remove_and_collect, walk_one], |world, _| {
        told_nothing_else(world, 1);
    });
}

/// The observed snapshot sees value 1 of `A`, inline, and so does everybody who comes: a removal in place is
/// possible as far as snapshots go.
#[test]
fn walk_against_removal() {
    let before: fn(&World) = |world| {
        observed(world);
        drop(world.store.snapshot());
        collect(world);
    };
    let remove: Act = |world| vec![world.remove(A)];
    explore_acts(TWO, before, &[remove, walk_one], |world, _| told_nothing_else(world, 1));
}

/// Removed in place while the snapshot was open, so that the collector ends the key.
#[test]
fn walk_against_end_of_a_removal_in_place() {
    let before: fn(&World) = |world| {
        world.put(A, 1);
        drop(world.store.snapshot());
        collect(world);
        let snapshot = world.store.snapshot();
        world.remove(A);
        world.observe_snapshot(snapshot);
    };
    let collect_twice: Act = |world| {
        collect(world);
        collect(world)
    };
    let put_and_collect: Act = |world| {
        world.put(A, 2);
        collect(world)
    };
    for act in [collect_twice, put_and_collect] {
        explore_acts(TWO, before, &[act, walk_one], |world, _| told_nothing_else(world, 1));
    }
}

#[test]
fn walk_against_drop_of_the_key_and_put() {
    let remove_and_put: Act = |world| {
        world.remove(A);
        collect(world);
        collect(world);
        world.put(A, 2);
        vec![]
    };
    explore_acts(MORE, observed, &[remove_and_put, walk_one], |world, _| {
        told_nothing_else(world, 1);
    });
}

#[test]
fn walk_against_batch_and_collection() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.remove(&world.store, A).put(&world.store, B, [2]);
        batch.commit().expect("without a precondition");
        collect(world)
    };
    explore_acts(MORE, observed, &[batch, walk_one], |world, _| told_nothing_else(world, 1));
}

#[test]
fn walk_of_a_batch_against_put_and_collection() {
    let before: fn(&World) = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [1]);
        batch.commit().expect("without a precondition");
        world.observe();
    };
    explore_acts(TWO, before, &[put_and_collect, walk_one], |world, _| told_nothing_else(world, 1));
}

#[test]
fn walk_against_compaction_and_collection() {
    let compact_and_put: Act = |world| {
        world.store.compact_some(std::ops::Bound::Unbounded, &mut CompactReport::default());
        put_and_collect(world)
    };
    explore_acts(MORE, observed_own, &[compact_and_put, walk_one], |world, _| {
        told_nothing_else(world, 1);
    });
}

#[test]
fn walk_of_a_version_that_hides_what_an_older_snapshot_sees() {
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.hold();
        world.put(A, 2);
        world.observe();
        world.put(A, 3);
    };
    let walk_two: Act = |world| {
        let observation = world.take_observation().expect("observed");
        check_walked(walk(&observation), &world.told(), [2, 0]);
        vec![]
    };
    explore_acts(TWO, before, &[collect, walk_two], |world, _| told_nothing_else(world, 2));
}

#[test]
fn walk_against_closing_of_the_older_snapshot() {
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.hold();
        world.put(A, 2);
        world.observe();
        world.put(A, 3);
        collect(world);
    };
    let close_and_collect: Act = |world| {
        world.release();
        collect(world);
        collect(world)
    };
    let walk_two: Act = |world| {
        let observation = world.take_observation().expect("observed");
        check_walked(walk(&observation), &world.told(), [2, 0]);
        observation.finish().expect("the observer goes on");
        vec![]
    };
    explore_acts(TWO, before, &[close_and_collect, walk_two], |world, _| {
        told_nothing_else(world, 2);
    });
}

/// Takes a snapshot and gives it up while others write and collect.
fn observe_and_walk(world: &World) -> Vec<u8> {
    let snapshot = world.store.snapshot();
    let seen = at(&snapshot, A);
    world.observe_snapshot(snapshot);
    let observation = world.take_observation().expect("observed");
    check_walked(walk(&observation), &world.told(), [seen, 0]);
    vec![seen]
}

#[test]
fn observe_against_put_and_collection() {
    let before: fn(&World) = |world| world.put(A, 1);
    explore_acts(MORE, before, &[put_and_collect, observe_and_walk], |world, saw| {
        told_nothing_else(world, saw[1][0]);
    });
}

#[test]
fn observe_against_collection() {
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.hold();
        world.put(A, 2);
    };
    let release_and_collect: Act = |world| {
        world.release();
        collect(world)
    };
    explore_acts(MORE, before, &[release_and_collect, observe_and_walk], |world, saw| {
        assert_eq!(saw[1], [2]);
        told_nothing_else(world, 2);
    });
}

#[test]
fn finish_against_collection() {
    let before: fn(&World) = |world| {
        observed(world);
        world.put(A, 2);
    };
    let finish: Act = |world| {
        world.finish();
        world.told().values().to_vec()
    };
    explore_acts(TWO, before, &[collect, finish], |world, saw| {
        assert_eq!(world.told().values(), *saw[1], "told after the end");
    });
}

#[test]
fn dropped_observation_against_collection() {
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.hold();
        world.put(A, 2);
        world.observe();
        world.put(A, 3);
    };
    let give_up: Act = |world| {
        drop(world.take_observation());
        vec![]
    };
    explore_acts(TWO, before, &[collect, give_up], |world, _| {
        // The next one may begin, and what was kept for the first one goes (checked by the world).
        collect(world);
        world.observe();
    });
}

/// `A` has value 1, and a running ingest its version of value 2 on top of that.
fn ingesting(world: &World) {
    world.put(A, 1);
    world.start_ingest(IngestMode::Over, &[(A, 2)]);
}

fn commit_and_collect(world: &World) -> Vec<u8> {
    world.commit_ingest();
    collect(world)
}

/// Walks, and checks at once, where the observed snapshot sees value 3 of `A`.
fn walk_three(world: &World) -> Vec<u8> {
    let observation = world.take_observation().expect("observed");
    check_walked(walk(&observation), &world.told(), [3, 0]);
    observation.finish().expect("the observer goes on");
    vec![]
}

#[test]
fn walk_against_commit_of_an_ingest_and_collection() {
    let before: fn(&World) = |world| {
        ingesting(world);
        world.observe();
    };
    explore_acts(INGEST, before, &[commit_and_collect, walk_one], |world, _| {
        told_nothing_else(world, 1);
    });
}

#[test]
fn observe_against_commit_of_an_ingest_and_collection() {
    explore_acts(INGEST, ingesting, &[commit_and_collect, observe_and_walk], |world, saw| {
        told_nothing_else(world, saw[1][0]);
    });
}

/// What was written on the ingest has the lower number, and hides what the ingest has replaced.
#[test]
fn walk_of_a_write_on_an_ingest_against_collection() {
    let before: fn(&World) = |world| {
        ingesting(world);
        world.put(A, 3);
        world.observe();
        world.commit_ingest();
    };
    let put_and_collect: Act = |world| {
        world.put(A, 4);
        collect_twice(world)
    };
    explore_acts(INGEST, before, &[put_and_collect, walk_three], |world, _| {
        told_nothing_else(world, 3);
    });
}

#[test]
fn walk_against_cancellation_of_an_ingest_and_collection() {
    let before: fn(&World) = |world| {
        ingesting(world);
        world.put(A, 3);
        world.observe();
        world.put(A, 4);
    };
    let cancel_and_collect: Act = |world| {
        world.cancel_ingest();
        collect_twice(world)
    };
    explore_acts(INGEST, before, &[cancel_and_collect, walk_three], |world, _| {
        told_nothing_else(world, 3);
    });
}

/// The snapshot is given up beside a write on the ingest; then that has its number, and what it replaced is
/// collected. Walk and observer say the same, whichever it is.
fn observe_commit_and_walk(world: &World) -> Vec<u8> {
    world.observe();
    commit_and_collect(world);
    let observation = world.take_observation().expect("observed");
    let ([walked, _], [told, _]) = (walk(&observation), world.told().values());
    assert!(walked == 0 || told == 0 || walked == told, "walked {walked}, told {told}");
    let seen = walked.max(told);
    assert!(seen == 1 || seen == 3, "walked {walked}, told {told}");
    observation.finish().expect("the observer goes on");
    vec![seen]
}

#[test]
fn observe_against_put_on_an_ingest() {
    let put: Act = |world| {
        world.put(A, 3);
        vec![]
    };
    explore_acts(INGEST, ingesting, &[put, observe_commit_and_walk], |world, saw| {
        assert_eq!(world.get(A), 3);
        told_nothing_else(world, saw[1][0]);
    });
}

#[test]
fn observe_against_batch_on_an_ingest() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [3]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    explore_acts(INGEST, ingesting, &[batch, observe_commit_and_walk], |world, saw| {
        assert_eq!(world.get(A), 3);
        told_nothing_else(world, saw[1][0]);
    });
}
