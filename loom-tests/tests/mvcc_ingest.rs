//! Goal: an ingest is seen whole or not at all, by snapshots and by reads of the latest values; what is written
//! while it runs wins over it, and whoever decides by what was there before it is before it; cancelled it
//! leaves nothing; and all garbage is found, whoever comes first.
//! Method: as in `mvcc.rs`. Most models begin when all entries are in place and nobody sees them: the rest is
//! how writers and readers meet the decision.
#![cfg(whimbrel_loom)]

mod mvcc_common;

use mvcc_common::{A, Act, B, World, at, explore_acts, explore_order};
use whimbrel_loom_tests::Bound;
use whimbrel_mvcc::{Batch, Error, IngestMode, Inserted, VersionToken};

const TWO: Bound = Bound::Preemptions(2);
/// An ingest from its beginning, or with a batch.
const WHOLE: Bound = Bound::Preemptions(2);
const THREE: Bound = Bound::Preemptions(2);
/// A cancellation against writers that make the record anew, or against three threads.
const ANEW: Bound = Bound::Preemptions(1);

const BOTH: [(&[u8], u8); 2] = [(A, 2), (B, 2)];

fn put_old(world: &World) {
    world.put(A, 1);
    world.put(B, 1);
}

fn nothing(_: &World) {}

/// Both keys are there, and to be written over.
fn over(world: &World) {
    put_old(world);
    world.start_ingest(IngestMode::Over, &BOTH);
}

/// Both keys are absent.
fn fresh(world: &World) {
    world.start_ingest(IngestMode::Behind, &BOTH);
}

fn commit(world: &World) -> Vec<u8> {
    world.commit_ingest();
    vec![]
}

/// Commits, and looks at the first key in a snapshot.
fn commit_and_look(world: &World) -> Vec<u8> {
    world.commit_ingest();
    vec![look(world).0]
}

fn cancel(world: &World) -> Vec<u8> {
    world.cancel_ingest();
    vec![]
}

fn collect(world: &World) -> Vec<u8> {
    world.store.collect();
    vec![]
}

/// Both keys in one snapshot, the second key first, looked at twice.
fn look(world: &World) -> (u8, u8) {
    let snapshot = world.store.snapshot();
    let (b, a) = (at(&snapshot, B), at(&snapshot, A));
    assert_eq!((at(&snapshot, A), at(&snapshot, B)), (a, b), "the snapshot changed");
    (a, b)
}

fn look_whole(world: &World) -> Vec<u8> {
    let (a, b) = look(world);
    assert_eq!(a, b, "torn");
    vec![a]
}

#[test]
fn whole_ingest_against_snapshot_reader() {
    let ingest: Act = |world| {
        let ingest = world.begin_ingest(IngestMode::Over);
        World::fill_ingest(&world.store, &ingest, &BOTH);
        ingest.commit().expect("without a condition");
        vec![]
    };
    explore_acts(WHOLE, put_old, &[ingest, look_whole], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (2, 2));
    });
}

#[test]
fn commit_against_snapshot_reader() {
    explore_acts(TWO, over, &[commit, look_whole], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (2, 2));
    });
}

#[test]
fn commit_against_latest_reads() {
    let read: Act = |world| {
        let (b, a) = (world.get(B), world.get(A));
        assert!(a >= b, "the ingest was seen on one key, and not on the other afterwards");
        let (later, _) = look(world);
        assert!(later >= a, "a snapshot lacks an ingest that was read");
        vec![]
    };
    explore_acts(TWO, over, &[commit, read], |_, _| {});
}

#[test]
fn commit_read_after_its_job_is_gone() {
    let commit_and_flush: Act = |world| {
        world.commit_ingest();
        world.clock.barrier().flush();
        vec![]
    };
    let read: Act = |world| {
        let (b, a) = (world.get(B), world.get(A));
        assert!(a >= b, "the ingest was seen on one key, and not on the other afterwards");
        vec![]
    };
    explore_acts(TWO, over, &[commit_and_flush, read], |world, _| {
        world.clock.barrier().flush();
        assert_eq!((world.get(A), world.get(B)), (2, 2));
    });
}

#[test]
fn commit_against_put() {
    // The put comes after the ingest began, so it wins; where it comes before the commit its key never has
    // the ingest's value.
    let put: Act = |world| {
        world.put(A, 3);
        let (a, b) = look(world);
        assert_eq!(a, 3, "a returned put is missing");
        vec![b]
    };
    explore_acts(TWO, over, &[commit_and_look, put], |world, saw| {
        assert_eq!((world.get(A), world.get(B)), (3, 2));
        if saw[1][0] == 1 {
            assert_eq!(
                saw[0][0], 3,
                "the put came before the ingest, so nobody sees that one's value"
            );
        }
    });
}

#[test]
fn put_before_its_entry_against_snapshot_reader() {
    // An entry that comes to a key which was written since the ingest began.
    let ingest: Act = |world| {
        let ingest = world.begin_ingest(IngestMode::Over);
        world.put(A, 3);
        World::fill_ingest(&world.store, &ingest, &BOTH);
        let report = ingest.commit().expect("without a condition");
        assert_eq!((report.written, report.lost), (1, 1));
        vec![]
    };
    let read: Act = |world| {
        let (a, b) = look(world);
        assert!(a == 3 || b == 1, "the put came first");
        vec![]
    };
    explore_acts(WHOLE, put_old, &[ingest, read], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (3, 2));
    });
}

#[test]
fn ingest_behind_against_remove() {
    // The first key is there and removed after the ingest began; the ingest must not bring it back.
    let before: fn(&World) = |world| {
        world.put(A, 1);
        world.start_ingest(IngestMode::Behind, &[]);
    };
    let ingest: Act = |world| {
        world.fill_and_commit_ingest(&BOTH);
        vec![]
    };
    let remove: Act = |world| vec![world.remove(A)];
    explore_acts(WHOLE, before, &[ingest, remove], |world, saw| {
        assert_eq!(saw[1][0], 1, "it was there");
        assert_eq!((world.get(A), world.get(B)), (0, 2));
    });
}

#[test]
fn commit_against_insert_unique() {
    let insert: Act = |world| {
        let inserted = world.store.insert_unique(A, &[3]).expect("short") == Inserted::Inserted;
        let (a, b) = look(world);
        if inserted {
            assert_eq!(a, 3, "a returned insert is missing");
        } else {
            assert_eq!((a, b), (2, 2), "what was seen is missing");
        }
        vec![u8::from(inserted)]
    };
    explore_acts(TWO, fresh, &[commit_and_look, insert], |world, saw| {
        let inserted = saw[1][0] == 1;
        assert_eq!((world.get(A), world.get(B)), (if inserted { 3 } else { 2 }, 2));
        // Before the ingest, whose value is never seen then; or not at all.
        assert_eq!(
            saw[0][0],
            if inserted { 3 } else { 2 },
            "it was decided by what the ingest had replaced"
        );
    });
}

#[test]
fn commit_against_remove() {
    let remove: Act = |world| {
        let removed = world.remove(A);
        let (a, b) = look(world);
        assert_eq!(a, 0, "a returned removal is missing");
        assert!(removed == 1 || b == 2, "what was seen is missing");
        vec![removed]
    };
    explore_acts(TWO, over, &[commit_and_look, remove], |world, saw| {
        assert_eq!((world.get(A), world.get(B)), (0, 2));
        if saw[0][0] == 2 {
            assert_eq!(saw[1][0], 2, "it removed what the ingest had replaced");
        }
    });
}

#[test]
fn commit_against_remove_and_latest_read() {
    let remove: Act = |world| vec![world.remove(A)];
    let read: Act = |world| vec![world.get(A)];
    explore_acts(THREE, over, &[commit, remove, read], |world, saw| {
        assert_eq!((world.get(A), world.get(B)), (0, 2));
        if saw[2][0] == 2 {
            assert_eq!(saw[1][0], 2, "it removed what the ingest had replaced");
        }
    });
}

#[test]
fn commit_against_put_and_latest_read() {
    // Whoever puts and then finds the other key as it was is before the ingest; nobody may see that one's
    // value of the key then.
    let put: Act = |world| {
        world.put(A, 3);
        vec![world.get(B)]
    };
    let read: Act = |world| vec![world.get(A)];
    explore_acts(THREE, fresh, &[commit, put, read], |world, saw| {
        assert_eq!((world.get(A), world.get(B)), (3, 2));
        assert!(saw[1][0] == 2 || saw[2][0] != 2, "a value that there never was");
    });
}

#[test]
fn commit_against_batch() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [3]).put(&world.store, B, [3]);
        batch.commit().expect("without a precondition");
        vec![look_whole(world)[0]]
    };
    explore_acts(WHOLE, over, &[commit_and_look, batch], |world, saw| {
        assert_eq!((world.get(A), world.get(B)), (3, 3));
        assert_eq!(saw[1][0], 3, "a returned batch is missing");
        assert!(saw[0][0] != 1, "a returned ingest is missing");
    });
}

#[test]
fn commit_against_batch_and_latest_read() {
    // The snapshot moves the clock: the ingest's number is above what the reader and the batch have read of it.
    let hold_and_commit: Act = |world| {
        let held = world.store.snapshot();
        world.commit_ingest();
        vec![at(&held, A)]
    };
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.put(&world.store, A, [3]);
        batch.commit().expect("without a precondition");
        vec![]
    };
    let read: Act = |world| vec![world.get(A)];
    let after: fn(&World, &[Vec<u8>]) = |world, saw| {
        assert_eq!((world.get(A), world.get(B)), (3, 2));
        assert!(
            saw[2][0] != 2 || saw[0][0] != 3,
            "the batch is older than what was read before it"
        );
    };
    let acts = [hold_and_commit, batch, read];
    explore_order(Bound::Preemptions(3), over, &acts, after, vec![2, 0, 1]);
}

#[test]
fn commit_against_batch_with_precondition() {
    let batch: Act = |world| {
        let mut batch = Batch::new();
        batch.expect(&world.store, A, VersionToken::of_value(&[1]));
        batch.put(&world.store, A, [3]).put(&world.store, B, [3]);
        match batch.commit() {
            Ok(_) => vec![1],
            Err(Error::PreconditionFailed { .. }) => vec![0],
            Err(err) => panic!("{err}"),
        }
    };
    explore_acts(WHOLE, over, &[commit_and_look, batch], |world, saw| {
        let begun = saw[1][0] == 1;
        let value = if begun { 3 } else { 2 };
        assert_eq!((world.get(A), world.get(B)), (value, value));
        assert!(!begun || saw[0][0] != 2, "it began by what the ingest had replaced");
    });
}

#[test]
fn cancel_against_put_and_read() {
    let put_and_read: Act = |world| {
        let before = world.get(B);
        world.put(A, 3);
        vec![before, world.get(A), world.get(B)]
    };
    explore_acts(TWO, over, &[cancel, put_and_read], |world, saw| {
        assert_eq!(saw[1], [1, 3, 1], "something of a cancelled ingest was seen");
        assert_eq!((world.get(A), world.get(B)), (3, 1));
    });
}

#[test]
fn cancel_against_insert_unique() {
    let insert: Act = |world| {
        let inserted = world.store.insert_unique(A, &[3]).expect("short");
        vec![u8::from(inserted == Inserted::Inserted), world.get(B)]
    };
    explore_acts(ANEW, fresh, &[cancel, insert], |world, saw| {
        assert_eq!(saw[1], [1, 0], "something of a cancelled ingest was seen");
        assert_eq!((world.get(A), world.get(B)), (3, 0));
    });
}

#[test]
fn cancel_against_two_puts_and_latest_read() {
    // What lies below the ingest's version is superseded and collected while a reader is there.
    let put: Act = |world| {
        world.put(A, 3);
        world.put(A, 4);
        collect(world)
    };
    let read: Act = |world| vec![world.get(A), world.get(A)];
    explore_acts(ANEW, over, &[cancel, put, read], |world, saw| {
        let (first, second) = (saw[2][0], saw[2][1]);
        assert!([1, 3, 4].contains(&first) && first <= second, "{saw:?}");
        assert_eq!((world.get(A), world.get(B)), (4, 1));
    });
}

#[test]
fn commit_against_put_and_collection() {
    let put: Act = |world| {
        world.put(A, 3);
        collect(world)
    };
    explore_acts(THREE, over, &[commit, put, look_whole_or_put], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (3, 2));
    });
}

/// Both keys in one snapshot: of before the ingest or of after it, but for the put of 3.
fn look_whole_or_put(world: &World) -> Vec<u8> {
    let (a, b) = look(world);
    assert!(a == b || a == 3, "torn: {a} {b}");
    vec![]
}

#[test]
fn ingest_of_removals_against_collection() {
    let before: fn(&World) = |world| {
        put_old(world);
        world.start_ingest(IngestMode::Over, &[(A, 0), (B, 0)]);
    };
    let commit_and_collect: Act = |world| {
        world.commit_ingest();
        collect(world);
        collect(world)
    };
    let put: Act = |world| {
        let before = world.get(A);
        world.put(A, 3);
        vec![before]
    };
    explore_acts(TWO, before, &[commit_and_collect, put], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (3, 0));
    });
}

#[test]
fn captured_ingest_against_writer() {
    let before: fn(&World) = |world| {
        over(world);
        world.start_capture();
    };
    let commit: Act = |world| {
        world.commit_ingest();
        let keys = world.drain();
        assert!(keys.contains(&B.to_vec()), "a key of the ingest was not captured");
        vec![]
    };
    let put: Act = |world| {
        world.put(A, 3);
        vec![]
    };
    explore_acts(WHOLE, before, &[commit, put], |world, _| {
        assert_eq!((world.get(A), world.get(B)), (3, 2));
    });
}

#[test]
fn whole_ingest_against_put() {
    let ingest: Act = |world| {
        let ingest = world.begin_ingest(IngestMode::Over);
        World::fill_ingest(&world.store, &ingest, &[(A, 2)]);
        ingest.commit().expect("without a condition");
        vec![]
    };
    let put: Act = |world| {
        world.put(A, 3);
        vec![look(world).0]
    };
    explore_acts(WHOLE, nothing, &[ingest, put], |world, saw| {
        let end = world.get(A);
        assert!(end == 2 || end == 3, "{end}");
        assert!(saw[1][0] == 3 || saw[1][0] == 2, "a returned put is missing");
    });
}
