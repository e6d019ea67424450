//! Goal: the protocol of the block list holds in every interleaving of small models, and the models
//! would find the defects that they are there for.
//! Method: loom explores each model (threads of one or a few operations on a preloaded list with
//! blocks of 2 or 3 words); every dereference reads a canary, what is retired is reclaimed at the
//! earliest moment that a barrier may choose, and at the end the structure, the content and the
//! number of allocations are checked. `every_mutant_is_killed` runs the models again, each in a
//! process of its own, with one defect planted.
#![cfg(whimbrel_loom)]

mod list_harness;

use list_harness::{Model, Op, Op::*, explore};
use whimbrel_skiplist::Shape;
use whimbrel_skiplist::model::{Mutant, Step};

const fn flat(words: usize) -> Shape {
    Shape { words: [words, words], fill: [words - 1, words - 1], levels: 1 }
}

const fn tall(words: usize, levels: usize) -> Shape {
    Shape { words: [words, words], fill: [words - 1, words - 1], levels }
}

macro_rules! models {
    ($($name:ident $(at $bound:literal)?: $shape:expr, [$($setup:expr),*], $([$($op:expr),*]),+;)*) => {
        $(#[test]
        fn $name() {
            explore(&Model {
                name: stringify!($name),
                bound: [$($bound,)? 2][0],
                shape: $shape,
                bulk: &[],
                real_barrier: false,
                setup: &[$($setup),*],
                threads: &[$(&[$($op),*] as &[Op]),+],
            });
        })*
    };
}

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
    neighbouring_rebuilds_later: flat(2), [Put(1), Put(2), Put(3)], [Rebuild(0, 2)], [Rebuild(0, 3)];
    rebuild_twice_and_right: flat(2), [Put(1), Put(2), Put(3)],
        [Rebuild(0, 2), Rebuild(0, 2)], [Rebuild(0, 3)];
    three_rebuilds at 1: flat(2), [Put(1), Put(2), Put(3)],
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

    // Merges.
    merge_against_insert: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Put(4)];
    merge_against_insert_left: flat(3), [Put(1), Put(2), Put(3), Put(4)], [Merge(0, 3)], [Put(0)];
    merge_against_rebuild_left: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Rebuild(0, 1)];
    merge_against_rebuild_right: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Rebuild(0, 3)];
    merge_against_merge: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Merge(0, 3)];
    merge_against_get: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 3)], [Get(3), Get(2)];
    merge_against_scan: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Scan];
    merge_against_scan_back: flat(2), [Put(1), Put(2), Put(3)], [Merge(0, 2)], [Back];

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

    // Growth in height.
    growth_against_growth: tall(2, 3), [Put(1)], [Put(2)], [Put(3)];
    growth_against_get: tall(2, 3), [Put(1), Put(2)], [Put(3)], [Get(2)];

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
    stopped_after_mark_neighbours: flat(2), [Put(1), Put(2), Put(3)],
        [Stop(Step::Marked, &Merge(0, 2))], [Rebuild(0, 3), Put(4)];
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
}

/// Runs a model on the real barrier, or on a list that was built in bulk.
fn explore_on(name: &'static str, shape: Shape, bulk: &'static [u8], threads: Threads) {
    let (real_barrier, setup): (bool, &[Op]) =
        if bulk.is_empty() { (true, &[Put(1), Put(2), Put(3)]) } else { (false, &[]) };
    explore(&Model { name, bound: 2, shape, bulk, real_barrier, setup, threads });
}

type Threads = &'static [&'static [Op]];

#[test]
fn real_barrier_rebuild_against_get() {
    let threads: Threads = &[&[Rebuild(0, 2)], &[Get(3)]];
    explore_on("real_barrier_rebuild_against_get", flat(2), &[], threads);
}

#[test]
fn real_barrier_merge_against_get() {
    let threads: Threads = &[&[Merge(0, 3)], &[Get(3)]];
    explore_on("real_barrier_merge_against_get", flat(2), &[], threads);
}

#[test]
fn real_barrier_split_against_scan() {
    let threads: Threads = &[&[Put(4)], &[Scan]];
    explore_on("real_barrier_split_against_scan", flat(2), &[], threads);
}

#[test]
fn bulk_list_split_against_get() {
    let threads: Threads = &[&[Put(5)], &[Get(4), Get(7)]];
    explore_on("bulk_list_split_against_get", tall(3, 4), &[1, 4, 6, 7], threads);
}

#[test]
fn bulk_list_merge_against_insert() {
    let threads: Threads = &[&[Merge(0, 6)], &[Put(5)]];
    explore_on("bulk_list_merge_against_insert", tall(3, 4), &[1, 4, 6, 7], threads);
}

/// Each defect, and models that find it; the first one that does ends the search.
const KILLERS: &[(Mutant, &[&str])] = &[
    (Mutant::RelaxedWordLoad, &["claim_same_key", "get_beside_put"]),
    (Mutant::RelaxedWordClaim, &["claim_same_key", "get_beside_put"]),
    (Mutant::RelaxedWordFailure, &["claim_same_key"]),
    (Mutant::RelaxedNextLoad, &["get_across_two_splits"]),
    (Mutant::RelaxedUnlink, &["get_across_two_splits"]),
    (Mutant::RelaxedReplLoad, &["get_across_split"]),
    (Mutant::RelaxedDecision, &["get_across_split"]),
    (Mutant::RelaxedAbsorb, &["mark_after_put_against_rebuild"]),
    (Mutant::RelaxedCellLoad, &["rebuild_child_and_get"]),
    (Mutant::RelaxedAdvance, &["rebuild_child_and_get"]),
    (Mutant::RelaxedSeal, &["seal_of_anchor_against_get"]),
    (Mutant::RelaxedSealLoad, &["seal_of_anchor_against_get"]),
    (Mutant::NextNotFrozen, &["neighbouring_rebuilds", "neighbouring_splits"]),
    (Mutant::WordsNotClosed, &["insert_against_rebuild"]),
    (Mutant::ClosedByStore, &["insert_against_rebuild"]),
    (Mutant::LiveSetBeforeFreeze, &["insert_against_rebuild"]),
    (Mutant::NotTheFirstEmptyWord, &["claim_same_key"]),
    (Mutant::FailedClaimNotJudged, &["claim_same_key"]),
    (Mutant::EmptyHitPassed, &["claim_same_key"]),
    (Mutant::SealIgnored, &["put_over_sealed_twice", "merge_and_get_again"]),
    (Mutant::SealedFound, &["sealed_against_put"]),
    (Mutant::DecisionByStore, &["same_key_across_split"]),
    (Mutant::UnsealedDropped, &["get_across_split"]),
    (Mutant::AbsorbedContentIgnored, &["merge_against_get"]),
    (Mutant::AbsorbBeforeFreeze, &["put_beside_rebuild_after_mark"]),
    (Mutant::AbsorbFollowedFromAnchor, &["stopped_after_mark", "stopped_absorber"]),
    (Mutant::FrozenNextFollowed, &["neighbouring_splits"]),
    (Mutant::DecidedBlockRead, &["neighbouring_splits"]),
    (Mutant::UnlinkOnFrozen, &["neighbouring_rebuilds"]),
    (Mutant::NoHelpForFrozen, &["neighbouring_rebuilds"]),
    (Mutant::RetiredBeforeUnlink, &["get_across_split"]),
    (Mutant::RetiredBeforeAdvance, &["get_across_split"]),
    (Mutant::AnchorNotAdvanced, &["rebuild_child_and_get"]),
    (Mutant::AnchorSealedEarly, &["seal_of_anchor_against_get"]),
    (Mutant::AnchorNotSealed, &["merge_and_get_again"]),
    (Mutant::AbsorberRetiresAnchor, &["merge_and_get_again"]),
    (Mutant::AnnouncedUnchecked, &["late_announcement"]),
    (Mutant::ConflictSealedWithoutHelp, &["late_announcement"]),
    (Mutant::ConflictTakenForSuccess, &["late_announcement"]),
    (Mutant::HelpersAnnounce, &["splits_of_one_key", "announce_against_child_rebuild"]),
    (Mutant::MovedNotFollowed, &["moved_sealed_against_put"]),
    (Mutant::RelaxedMove, &["move_against_get"]),
    (Mutant::RelaxedMoveLoad, &["move_against_get"]),
    (Mutant::MovedNotDropped, &["move_against_rebuild"]),
    (Mutant::MovedRetiredEarly, &["move_against_get"]),
    (Mutant::ScanIgnoresRepl, &["scan_past_a_stopped_decision"]),
];

#[test]
fn every_mutant_is_killed() {
    let mut survivors = Vec::new();
    let mut killed = 0;
    for (mutant, models) in KILLERS {
        match models.iter().find(|model| finds(model, *mutant)) {
            Some(model) => {
                killed += 1;
                println!("{mutant:?}: {model}");
            }
            None => survivors.push(mutant),
        }
    }
    println!("{} mutants, {killed} killed, 0 justified", KILLERS.len());
    println!("every_mutant_is_killed executions={killed} bound=2 ");
    assert!(survivors.is_empty(), "not found: {survivors:?}");
}

/// Whether the model fails when the defect is planted.
fn finds(model: &str, mutant: Mutant) -> bool {
    let binary = std::env::current_exe().expect("the test has a path");
    let output = std::process::Command::new(binary)
        .args(["--exact", model, "--nocapture"])
        .env("WHIMBREL_MUTANT", format!("{mutant:?}"))
        .output()
        .expect("the test runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("running 1 test"), "there is no model {model}");
    !output.status.success()
}
