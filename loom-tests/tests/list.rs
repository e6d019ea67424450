//! Goal: the protocol of the block list holds in every interleaving of small models, and the models
//! would find the defects that they are there for.
//! Method: loom explores each model (threads of one or a few operations on a preloaded list with
//! blocks of 2 or 3 words); every dereference reads a canary, what is retired is reclaimed at the
//! earliest moment that a barrier may choose, and at the end the structure, the content and the
//! number of allocations are checked. `ci/mutants.sh` runs them again with one defect planted.
#![cfg(whimbrel_loom)]

mod list_harness;

use list_harness::{Model, Op, Op::*, explore};
use whimbrel_loom_tests::Bound;
use whimbrel_skiplist::model::{Step, allocated};
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::sync::atomic::{AtomicPtr, Ordering};
use whimbrel_skiplist::{Barrier, List, SegmentBuilder, Shape};

const fn flat(words: usize) -> Shape {
    Shape { words: [words, words], fill: [words - 1, words - 1], levels: 1 }
}

const fn tall(words: usize, levels: usize) -> Shape {
    Shape { words: [words, words], fill: [words - 1, words - 1], levels }
}

/// `name (at bound)? (bulk [keys])? (on barrier)?: shape, [setup], [operations of a thread], ..;`
///
/// The bound is 2 preemptions unless given. `bulk` builds the list from these keys in bulk, `on
/// barrier` uses the shipped barrier in place of precise sessions.
macro_rules! models {
    ($($name:ident $(at $bound:literal)? $(bulk [$($key:literal),*])? $(on $barrier:ident)?:
       $shape:expr, [$($setup:expr),*], $([$($op:expr),*]),+;)*) => {
        $(#[test]
        fn $name() {
            explore(&Model {
                bound: [$($bound,)? 2][0],
                shape: $shape,
                bulk: &[$($($key),*)?],
                real_barrier: [$(stringify!($barrier),)? ""][0] == "barrier",
                setup: &[$($setup),*],
                threads: &[$(&[$($op),*] as &[Op]),+],
            });
        })*
    };
}

// Blocks of two words are rebuilt with one record each: after puts of 1 to n the blocks are {1}, {2}, ..,
// {n - 1, n}.
models! {
    // Claims of words.
    claim_two_keys: flat(3), [], [Put(1)], [Put(2)];
    claim_same_key: flat(3), [], [Put(1)], [Put(1)];
    claim_three_keys: flat(3), [], [Put(1)], [Put(2)], [Put(3)];
    claim_same_key_of_three: flat(3), [], [Put(1), Put(2)], [Put(2), Put(1)];
    get_beside_put: flat(3), [Put(1)], [Put(2)], [Get(2), Get(1)];

    // The same key across a replacement.
    same_key_across_split: flat(2), [Put(1), Put(5)], [Put(3)], [Put(3)];
    same_key_across_split_wider: flat(3), [Put(1), Put(3), Put(5)], [Put(4)], [Put(4)];
    insert_against_rebuild: flat(3), [Put(1)], [Put(3)], [Rebuild(0, 1)];
    insert_against_rebuild_of_sealed: flat(3), [Put(1), Seal(1)], [Put(3)], [Rebuild(0, 1)];

    // A sealed cell against a put and a rebuild.
    sealed_against_put: flat(3), [Put(1)], [Seal(1)], [Put(1)];
    sealed_put_rebuild: flat(3), [Put(1)], [Seal(1), Put(1)], [Rebuild(0, 1)];
    put_over_sealed_twice: flat(3), [Put(1), Seal(1)], [Put(1)], [Put(1)];
    put_over_sealed_across_rebuild: flat(2), [Put(1), Seal(1), Put(3)], [Put(1)], [Put(1)];
    remove_against_get: flat(3), [Put(1), Put(2)], [Remove(1)], [Get(1), Get(2)];
    seal_put_against_get: flat(3), [Put(1)], [Seal(1), Put(1)], [Get(1)];
    seal_rebuild_put_against_two_puts: flat(2), [Put(1), Put(2)], [Seal(1), Put(1)], [Put(1)];

    // Two neighbouring replacements.
    neighbouring_splits: flat(2), [Put(1), Put(5), Put(2), Put(6)], [Put(3)], [Put(7)];
    neighbouring_rebuilds: flat(2), [Put(1), Put(2), Put(3)], [Rebuild(0, 1)], [Rebuild(0, 3)];
    neighbouring_rebuilds_later: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Rebuild(0, 2)], [Rebuild(0, 3)];
    rebuild_twice_and_right: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Rebuild(0, 2), Rebuild(0, 2)], [Rebuild(0, 3)];
    three_rebuilds at 1: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Rebuild(0, 1)], [Rebuild(0, 2)], [Rebuild(0, 3)];

    // Readers and scans against replacements.
    get_across_split: flat(2), [Put(1), Put(5)], [Put(3)], [Get(5)];
    get_across_two_splits: flat(2), [Put(1), Put(2), Put(5)],
        [Rebuild(0, 2), Rebuild(0, 5)], [Get(5), Get(5)];
    scan_across_split: flat(2), [Put(1), Put(5)], [Put(3)], [Scan];
    scan_across_rebuilds: flat(2), [Put(1), Put(3), Put(5)],
        [Rebuild(0, 3), Rebuild(0, 5)], [Scan];
    scan_back_across_rebuilds: flat(2), [Put(1), Put(3), Put(5)],
        [Rebuild(0, 3), Rebuild(0, 1)], [Back];
    scan_beside_seal_and_put: flat(3), [Put(1), Put(2)], [Seal(1), Put(1)], [Scan];
    // Who puts has only seen the seal of another thread.
    scan_against_seal_against_put: flat(3), [Put(1), Put(2)], [Seal(1)], [Put(1)], [Scan];
    scan_against_seal_and_put_against_rebuild: flat(3), [Put(1), Put(2)],
        [Seal(1), Put(1)], [Rebuild(0, 1)], [Scan];

    // Whole blocks at once, where the range has no record.
    splice_against_put_between: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Put(4)];
    splice_against_put_beside: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Put(2)];
    splice_against_put_of_its_key: flat(3), [Put(1)], [Splice(&[3, 5])], [Put(5), Get(5)];
    splice_against_get: flat(3), [Put(1), Put(8)], [Splice(&[3, 5, 6])], [Get(5), Get(8), Get(3)];
    splice_against_scan: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Scan];
    splice_against_scan_back: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Back];
    splice_against_splice: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Splice(&[4, 6])];
    splice_beside_splice: flat(3), [Put(4)], [Splice(&[1, 2])], [Splice(&[6, 7])];
    splice_against_rebuild: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Rebuild(0, 1)];
    splice_against_seal_and_put: flat(3), [Put(1), Put(4)], [Splice(&[3, 5])], [Remove(4), Put(4)];
    splice_against_merge: flat(2), [Put(1), Put(2), Put(8)], [Splice(&[4, 5])], [Merge(0, 2)];
    splice_against_merge_of_the_next: flat(2), [Put(1), Put(2), Put(8)],
        [Splice(&[4, 5])], [Merge(0, 8)];
    splice_below_the_first: flat(3), [Put(5)], [Splice(&[1, 2, 3])], [Put(4)];
    splice_against_get_in_two_levels: tall(2, 2), [Put(1), Put(9)],
        [Splice(&[3, 5])], [Get(5), Get(9)];
    splice_against_put_in_two_levels at 1: tall(2, 2), [Put(1), Put(9)],
        [Splice(&[3, 5])], [Put(4), Get(4)];
    splice_on_barrier at 1 on barrier: flat(3), [Put(1), Put(8)], [Splice(&[3, 5])], [Put(4)];

    // Merges.
    merge_against_insert: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Put(4)];
    merge_against_insert_left: flat(3), [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 3)], [Put(0)];
    merge_against_rebuild_left: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Rebuild(0, 1)];
    merge_against_rebuild_right: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Merge(0, 2)], [Rebuild(0, 3)];
    merge_against_merge: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Merge(0, 3)];
    merge_against_merge_of_neighbour: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Merge(0, 2)], [Merge(0, 3)];
    merge_against_get: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 3)], [Get(3), Get(2)];
    merge_against_scan: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Scan];
    merge_against_scan_back: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Back];
    merge_of_last_against_scan: flat(3), [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 2)], [Scan];
    merge_of_last_against_scan_back: flat(3), [Put(1), Put(2), Put(3), Put(4)],
        [Merge(0, 2)], [Back];
    // Three threads: where the writers meet in one block two preemptions, in two blocks one.
    scan_against_merge_and_rebuild: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Rebuild(0, 3)], [Scan];
    scan_against_merge_and_rebuild_of_neighbours at 1: flat(2),
        [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 2)], [Rebuild(0, 3)], [Scan];
    scan_against_two_merges: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Merge(0, 3)], [Scan];
    scan_against_two_merges_of_neighbours at 1: flat(2),
        [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 2)], [Merge(0, 3)], [Scan];
    scan_back_against_merge_and_rebuild: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Rebuild(0, 3)], [Back];
    scan_back_against_merge_and_rebuild_of_neighbours at 1: flat(2),
        [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 2)], [Rebuild(0, 3)], [Back];
    scan_back_against_two_merges: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Merge(0, 3)], [Back];
    scan_back_against_two_merges_of_neighbours at 1: flat(2),
        [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 2)], [Merge(0, 3)], [Back];
    // What a put adds to read costs one preemption.
    scan_against_merge_and_insert at 1: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Put(0)], [Scan];
    scan_back_against_merge_and_insert at 1: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Put(0)], [Back];

    merge_against_rebuild_of_the_block: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Rebuild(0, 2)], [Merge(0, 2)];
    remove_against_rebuild_of_the_block: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Remove(2)], [Rebuild(0, 2)];
    remove_against_merge_to_the_right: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Remove(2)], [Merge(0, 3)];

    // Two levels: announcements.
    split_with_get: tall(2, 2), [Put(1), Put(2)], [Put(3)], [Get(2), Get(3)];
    splits_announce_both: tall(3, 2), [Put(1), Put(2), Put(3)], [Put(4)], [Put(5)];
    splits_of_one_key: tall(2, 2), [Put(1), Put(2)], [Put(3)], [Put(3)];
    announce_against_merge: tall(2, 2), [Put(1), Put(2)], [Put(3)], [Merge(0, 3)];
    announce_against_parent_rebuild: tall(3, 2), [Put(1), Put(2), Put(3)],
        [Put(4), Put(5)], [Rebuild(1, 9)];
    announce_against_parent_split: tall(2, 3), [Put(1), Put(2), Put(3)], [Put(4)], [Rebuild(1, 9)];
    announce_against_child_rebuild: tall(2, 2), [Put(1), Put(2)], [Put(3)], [Rebuild(0, 3)];
    late_announcement: tall(2, 2), [Put(1), Put(2)],
        [Put(3)], [Merge(0, 3), Put(4)];
    merge_then_split_again: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Merge(0, 3), Put(3)], [Get(3), Get(2)];
    merge_and_get_again: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Merge(0, 3)], [Get(3), Get(3)];
    rebuild_child_and_get: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Rebuild(0, 3), Rebuild(0, 3)], [Get(3), Get(3)];
    rebuild_of_child_by_two_and_get: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Rebuild(0, 2), Get(2)], [Rebuild(0, 2)];
    three_generations: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Rebuild(0, 2), Merge(0, 3)], [Get(3), Get(2)];
    seal_of_anchor_against_get: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Merge(0, 3)], [Rebuild(1, 9), Get(3)];
    merge_of_parent: tall(2, 3), [Put(1), Put(2), Put(3), Put(4), Put(5)],
        [Merge(1, 9)], [Get(5), Get(3)];
    merge_of_parent_against_announce: tall(2, 3), [Put(1), Put(2), Put(3), Put(4)],
        [Merge(1, 9)], [Put(5)];
    parent_entry_dies: tall(2, 2), [Put(1), Put(2), Put(3), Merge(0, 2)],
        [Rebuild(1, 9)], [Get(3), Get(1)];

    // Three threads and two levels: two preemptions take minutes.
    announce_against_both_rebuilds at 1: tall(2, 2), [Put(1), Put(2)],
        [Put(3)], [Rebuild(0, 3)], [Rebuild(1, 9)];

    // Growth in height. In the second pair level 1 is missing above two blocks, because who should
    // have announced the second one has stopped.
    growth_against_growth: tall(2, 3), [Put(1)], [Put(2)], [Put(3)];
    growth_against_get: tall(2, 3), [Put(1), Put(2)], [Put(3)], [Get(2)];
    growth_at_two_blocks: tall(2, 3),
        [Put(1), Put(5), Stop(Step::Retired, &Rebuild(0, 1)), Put(3), Put(6)], [Put(2)], [Put(7)];
    growth_at_two_blocks_against_get: tall(2, 3),
        [Put(1), Put(5), Stop(Step::Retired, &Rebuild(0, 1)), Put(3), Put(6)],
        [Put(2)], [Put(7)], [Get(6)];
    growth_of_both_threads: tall(2, 3), [Put(1), Put(2)], [Put(3)], [Put(4)];
    growth_of_both_threads_against_get: tall(2, 3), [Put(1), Put(2)], [Put(3)], [Put(4)], [Get(2)];
    growth_to_three_levels: tall(2, 3), [Put(1), Put(2), Put(3), Put(4)],
        [Put(5)], [Get(1), Get(4)];
    // One preemption: the second put splits and announces on two levels as well.
    growth_to_three_levels_against_put at 1: tall(2, 3), [Put(1), Put(2), Put(3), Put(4)],
        [Put(5)], [Put(6)];
    growth_against_scan: tall(2, 3), [Put(1), Put(2)], [Put(3)], [Scan];
    growth_against_scan_back: tall(2, 3), [Put(1), Put(2)], [Put(3)], [Back];

    // Removal through the policy.
    remove_against_insert: tall(2, 2), [Put(1), Put(2)], [Remove(2)], [Put(3)];
    remove_against_remove: tall(2, 2), [Put(1), Put(2)], [Remove(2)], [Remove(1)];

    // Records that move.
    move_against_get: flat(3), [Put(1)], [Move(1)], [Get(1)];
    move_against_put: flat(3), [Put(1), Put(2)], [Move(1)], [Put(1), Put(3)];
    move_against_seal: flat(3), [Put(1)], [Move(1)], [Seal(1), Get(1)];
    move_against_seal_and_put: flat(3), [Put(1)], [Move(1), Get(1)], [Seal(1), Put(1), Get(1)];
    move_against_move: flat(3), [Put(1)], [Move(1)], [Move(1), Get(1)];
    move_twice_against_get: flat(3), [Put(1)], [Move(1), Move(1)], [Get(1), Get(1)];
    move_against_rebuild: flat(3), [Put(1), Put(2)], [Move(1)], [Rebuild(0, 1), Get(1)];
    move_rebuild_against_get: flat(3), [Put(1), Put(2)], [Move(1), Rebuild(0, 1)], [Get(1), Get(1)];
    move_rebuild_seal_rebuild_against_get: flat(3), [Put(1), Put(2)],
        [Move(1), Rebuild(0, 1), Remove(1), Rebuild(0, 1)], [Get(1)];
    moved_twice_rebuild_against_rebuild: flat(3), [Put(1), Put(2), Move(1)],
        [Move(1), Rebuild(0, 1)], [Rebuild(0, 1), Get(1)];
    moved_sealed_against_put: flat(3), [Put(1), Move(1)], [Seal(1), Get(1)], [Put(1)];
    move_against_scan: flat(3), [Put(1), Put(2)], [Move(1), Rebuild(0, 1)], [Scan];
    move_against_scan_back: flat(3), [Put(1), Put(2)], [Move(1), Rebuild(0, 1)], [Back];
    move_seal_put_against_scan: flat(3), [Put(1), Put(2)], [Move(1), Seal(1), Put(1)], [Scan];
    move_against_seal_against_put_and_scan: flat(3), [Put(1), Put(2), Move(1)],
        [Seal(1)], [Put(1)], [Scan];
    move_against_seal_and_put_against_scan: flat(3), [Put(1), Put(2)],
        [Move(1)], [Seal(1), Put(1)], [Scan];
    move_against_split: tall(2, 2), [Put(1), Put(2)], [Move(2)], [Put(3), Get(2)];
    move_against_merge: flat(2), [Put(1), Put(2), Put(3)], [Move(3)], [Merge(0, 3), Get(3)];
    three_moves at 1: flat(3), [Put(1)], [Move(1)], [Move(1)], [Rebuild(0, 1)];
    compact_against_put: tall(2, 2), [Put(1), Put(2), Put(3), Seal(2), Move(1)],
        [Compact], [Put(4), Get(1)];
    compact_against_get: tall(2, 2), [Put(1), Put(2), Put(3), Seal(2), Move(3)],
        [Compact], [Get(3), Get(1)];
    compact_against_compact: flat(2), [Put(1), Put(2), Put(3), Seal(2)], [Compact], [Compact];
    compact_against_remove: tall(2, 2), [Put(1), Put(2), Put(3), Move(2)], [Compact], [Remove(2)];

    // Threads that stop for ever.
    stopped_after_freeze: tall(2, 2), [Put(1), Put(2)], [Stop(Step::Frozen, &Put(3))], [Put(4)];
    stopped_after_decision: tall(2, 2), [Put(1), Put(2)],
        [Stop(Step::Decided, &Put(3))], [Put(4), Get(2)];
    stopped_after_unlink: tall(2, 2), [Put(1), Put(2)],
        [Stop(Step::Unlinked, &Put(3))], [Put(4), Get(2)];
    stopped_before_announcing: tall(2, 2), [Put(1), Put(2)],
        [Stop(Step::Retired, &Put(3))], [Put(4), Get(2)];
    stopped_after_mark: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Stop(Step::Marked, &Merge(0, 3))], [Get(3), Put(4)];
    stopped_after_mark_neighbours: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Stop(Step::Marked, &Merge(0, 2))], [Rebuild(0, 3), Put(5)];
    mark_after_put_against_rebuild: flat(3), [Put(1), Put(2), Put(3), Put(4), Rebuild(0, 4)],
        [Put(5), Stop(Step::Marked, &Merge(0, 4))], [Rebuild(0, 2)];
    scan_past_a_stopped_decision: flat(3),
        [Put(1), Put(3), Put(5), Put(7), Stop(Step::Decided, &Rebuild(0, 5))],
        [Put(6), Scan], [Get(1)];
    put_beside_rebuild_after_mark: flat(3),
        [Put(1), Put(2), Put(3), Put(4), Rebuild(0, 4), Stop(Step::Marked, &Merge(0, 4))],
        [Put(5)], [Rebuild(0, 2)];
    stopped_absorber: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Stop(Step::Decided, &Merge(0, 3))], [Put(3), Put(4), Get(3)];
    stopped_after_freeze_of_a_neighbour: flat(2), [Put(1), Put(2), Put(3), Put(4)],
        [Stop(Step::Frozen, &Rebuild(0, 2))], [Rebuild(0, 3), Put(5)];
    stopped_merge_after_unlink: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Stop(Step::Unlinked, &Merge(0, 3))], [Put(4), Get(3)];
    stopped_merge_before_announcing: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Stop(Step::Retired, &Merge(0, 3))], [Put(4), Get(3)];
    stopped_parent_after_freeze: tall(2, 3), [Put(1), Put(2), Put(3), Put(4)],
        [Stop(Step::Frozen, &Rebuild(1, 9))], [Put(5), Get(4)];
    stopped_parent_after_decision: tall(2, 3), [Put(1), Put(2), Put(3), Put(4)],
        [Stop(Step::Decided, &Rebuild(1, 9))], [Put(5), Get(4)];
    stopped_parent_after_mark: tall(2, 3), [Put(1), Put(2), Put(3), Put(4), Put(5)],
        [Stop(Step::Marked, &Merge(1, 9))], [Put(6), Get(4)];
    merge_past_a_stopped_decision: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Decided, &Rebuild(0, 2))],
        [Merge(0, 2)], [Get(2)];
    two_stopped_threads: tall(2, 2), [Put(1), Put(2), Put(3)],
        [Stop(Step::Frozen, &Rebuild(0, 1))], [Stop(Step::Decided, &Rebuild(0, 3))], [Put(4)];
    scan_past_a_stopped_freeze: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Frozen, &Rebuild(0, 2))],
        [Rebuild(0, 3)], [Scan];
    scan_back_past_a_stopped_freeze: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Frozen, &Rebuild(0, 2))],
        [Rebuild(0, 3)], [Back];
    scan_past_a_stopped_mark: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Marked, &Merge(0, 2))], [Rebuild(0, 3)], [Scan];
    scan_back_past_a_stopped_mark: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Marked, &Merge(0, 2))], [Rebuild(0, 3)], [Back];
    scan_past_a_stopped_absorber: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Decided, &Merge(0, 2))],
        [Rebuild(0, 3)], [Scan];
    scan_back_past_a_stopped_absorber: flat(2),
        [Put(1), Put(2), Put(3), Put(4), Stop(Step::Decided, &Merge(0, 2))],
        [Rebuild(0, 3)], [Back];

    // The shipped barrier.
    real_barrier_rebuild_against_get on barrier: flat(2), [Put(1), Put(2), Put(3)],
        [Rebuild(0, 2)], [Get(3)];
    real_barrier_merge_against_get on barrier: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 3)], [Get(3)];
    real_barrier_split_against_scan on barrier: flat(2), [Put(1), Put(2), Put(3)], [Put(4)], [Scan];
    real_barrier_merge_against_scan_back on barrier: flat(2), [Put(1), Put(2), Put(3)],
        [Merge(0, 2)], [Back];

    // Lists that were built in bulk: three levels, with empty leftmost blocks.
    bulk_list_split_against_get bulk [1, 4, 6, 7]: tall(3, 4), [], [Put(5)], [Get(4), Get(7)];
    bulk_list_merge_against_insert bulk [1, 4, 6, 7]: tall(3, 4), [], [Merge(0, 6)], [Put(5)];
    bulk_list_split_against_scan bulk [1, 4, 6, 7]: tall(3, 4), [], [Put(5)], [Scan];
    bulk_list_merge_against_scan_back bulk [1, 4, 6, 7]: tall(3, 4), [], [Merge(0, 6)], [Back];
    bulk_list_insert_before_all_against_get bulk [1, 4, 6, 7]: tall(3, 4), [], [Put(0)], [Get(1)];
    bulk_list_rebuild_of_parent_against_split bulk [1, 4, 6, 7]: tall(3, 4), [],
        [Rebuild(1, 5)], [Put(5)];
    bulk_list_against_two_writers bulk [1, 4, 6, 7]: tall(3, 4), [], [Put(5)], [Put(8)], [Get(6)];
}

/// A list that is built in bulk by one thread and handed over through a pointer: who sees the pointer
/// sees every record and block, though they were written without any ordering.
#[test]
fn bulk_list_handed_over() {
    whimbrel_loom_tests::explore(Bound::None, || {
        let place = Arc::new(AtomicPtr::new(std::ptr::null_mut::<List>()));
        let builder = {
            let place = place.clone();
            loom::thread::spawn(move || {
                let mut builder = SegmentBuilder::with_shape(tall(2, 3));
                for key in [1, 4, 6] {
                    builder.push(&[key], 0, |_| 2).expect("ascending keys");
                }
                let segments = vec![builder.finish()];
                let list = List::from_segments(Arc::new(Barrier::new()), segments);
                let list = Box::into_raw(Box::new(list.expect("one segment")));
                place.store(list, Ordering::Release);
            })
        };
        let seen = place.load(Ordering::Acquire);
        if !seen.is_null() {
            // SAFETY: freed below, after both threads.
            let list = unsafe { &*seen };
            let guard = list.barrier().pin();
            assert!(list.find(&[4], &guard).is_some() && list.find(&[6], &guard).is_some());
            assert_eq!(list.find(&[5], &guard), None);
            assert_eq!(list.last(&guard).map(|record| record.key()), Some(&[6][..]));
        }
        builder.join().expect("no panic");
        // SAFETY: from the box above; nobody else is left.
        let mut list = unsafe { Box::from_raw(place.load(Ordering::Relaxed)) };
        assert_eq!(list.audit(), 3);
        drop(list);
        assert_eq!(allocated(), 0, "blocks or records were leaked");
    });
}
