//! Defects that models plant at run time, to show that they would find them, and the steps after
//! which they stop a thread for ever.
//!
//! In ordinary builds [`planted`] is a constant `false` and nothing of this is left. Builds with
//! delays take the name of the defect from `WHIMBREL_MUTANT`, which may be one of the layer above;
//! `ci/stress.sh` checks that somebody knows it.

use crate::sync::atomic::Ordering;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A defect that the models must find; docs/ordering.md names the model that finds each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(any(whimbrel_loom, whimbrel_shuttle, whimbrel_delay))]
        impl Mutant {
            /// The defect of this name.
            #[must_use]
            pub fn by_name(name: &str) -> Option<Self> {
                [$(Self::$name),+].into_iter().find(|mutant| format!("{mutant:?}") == name)
            }
        }
    };
}

mutants! {
    // The barrier.
    /// `pin` does not look again whether the session is still open.
    EnterUnverified,
    /// `pin` without the fence between counting and looking again.
    EnterNoFence,
    /// An access that was counted too late goes away without looking.
    LateEntererSilent,
    /// A leaver does not look whether its session can end.
    LeaveNoLook,
    /// A leaver without the fence between leaving and looking.
    LeaveNoFence,
    /// The terminator does not look again after it gave up its claim.
    NoSecondLook,
    /// The second look without its fence.
    SecondLookNoFence,
    /// No fence between "the session is closed" and reading the counts.
    CountsNoFence,
    /// Only the caller's session is checked, not the order of sessions: counts are not read.
    CountsIgnored,
    /// Only the first stripe is counted.
    OneStripeCounted,
    /// An item goes into the retirer's own session, which may be over before later ones.
    RetireOwnSession,
    /// `retire` without its fence.
    RetireNoFence,
    /// A session is closed although the ring is full.
    RingOverrun,
    /// The claim is given up before the bags are taken.
    BagsAfterRelease,
    /// `ticket` without its fence.
    TicketNoFence,
    /// Leaving does not publish what the access did.
    DepartRelaxed,
    /// Who sees an empty session does not see what its accesses did.
    CountRelaxed,
    /// The end of a session does not publish that its accesses are over.
    ReleaseClaimRelaxed,
    /// A load of the number of the open session does not acquire.
    CurrentLoadRelaxed,
    /// The closing of a session neither acquires nor releases.
    CloseRelaxed,
    /// A load of the number of the oldest session does not acquire.
    TerminatedLoadRelaxed,
    /// The claim of a session neither acquires nor releases.
    ClaimRelaxed,
    /// Putting an item into a bag does not release.
    BagPushRelaxed,
    /// Taking the items of a bag does not acquire.
    BagTakeRelaxed,

    // The list.
    /// The load of a word does not acquire.
    RelaxedWordLoad,
    /// A claim does not release.
    RelaxedWordClaim,
    /// What a failed claim finds is not acquired.
    RelaxedWordFailure,
    /// A load of `next` does not acquire.
    RelaxedNextLoad,
    /// The unlinking of a block does not release.
    RelaxedUnlink,
    /// A load of `repl` does not acquire.
    RelaxedReplLoad,
    /// The decision does not release.
    RelaxedDecision,
    /// The ABSORB mark does not release.
    RelaxedAbsorb,
    /// A load of an anchor's cell does not acquire.
    RelaxedCellLoad,
    /// The advance of an anchor's cell does not release.
    RelaxedAdvance,
    /// The seal of an anchor does not release.
    RelaxedSeal,
    /// A rebuild does not acquire the seal of a record that it drops.
    RelaxedSealLoad,
    /// Who finds a key sealed does not acquire the seal.
    RelaxedAbsence,
    /// The load of a head does not acquire.
    RelaxedHeadLoad,
    /// The setting of a head does not release.
    RelaxedHeadSet,
    /// The load of the height does not acquire.
    RelaxedHeightLoad,
    /// The raising of the height does not release.
    RelaxedHeightRaise,
    /// `next` is not frozen.
    NextNotFrozen,
    /// Words are not closed.
    WordsNotClosed,
    /// Words are closed by a plain store.
    ClosedByStore,
    /// Cells are read before the block is frozen.
    LiveSetBeforeFreeze,
    /// A word other than the first empty one is claimed.
    NotTheFirstEmptyWord,
    /// A failed claim goes on without judging the word that it found.
    FailedClaimNotJudged,
    /// A word that is not seen yet, though its fingerprint is, is passed over.
    EmptyHitPassed,
    /// An insert does not skip sealed records of its key.
    SealIgnored,
    /// A lookup returns sealed records.
    SealedFound,
    /// The decision is a plain store.
    DecisionByStore,
    /// Unsealed records are dropped.
    UnsealedDropped,
    /// The content of an ABSORB successor is not taken over.
    AbsorbedContentIgnored,
    /// A block is marked ABSORB before it is frozen.
    AbsorbBeforeFreeze,
    /// An anchor that leads to an ABSORB block is followed.
    AbsorbFollowedFromAnchor,
    /// A frozen `next` of a decided block is followed.
    FrozenNextFollowed,
    /// A reader reads a decided block.
    DecidedBlockRead,
    /// A block is unlinked through a frozen predecessor.
    UnlinkOnFrozen,
    /// A frozen predecessor is not decided first.
    NoHelpForFrozen,
    /// A block is retired before it is unlinked.
    RetiredBeforeUnlink,
    /// A block is retired before its anchor is advanced.
    RetiredBeforeAdvance,
    /// An anchor is not advanced.
    AnchorNotAdvanced,
    /// An absorbed block's anchor is sealed when ABSORB is set.
    AnchorSealedEarly,
    /// An absorbed block's anchor stays unsealed.
    AnchorNotSealed,
    /// An absorbed block's anchor is retired by the absorber.
    AbsorberRetiresAnchor,
    /// A new anchor is announced without looking at its cell again.
    AnnouncedUnchecked,
    /// An anchor in the way is sealed without helping the absorption of its block.
    ConflictSealedWithoutHelp,
    /// An anchor in the way is taken for success.
    ConflictTakenForSuccess,
    /// Whoever loses a decision announces its anchors too.
    HelpersAnnounce,
    /// A scan goes on from a block without following what replaced its successor.
    ScanIgnoresRepl,
    /// Lookups, walks and inserts do not follow a record that moved.
    MovedNotFollowed,
    /// Who follows a record that moved does not acquire.
    RelaxedMoveLoad,
    /// The move of a record does not release.
    RelaxedMove,
    /// A rebuild that leaves out a record that moved does not retire it.
    MovedNotDropped,
    /// A record is retired when it moves.
    MovedRetiredEarly,
    /// Who meets a block that another thread has frozen waits for its decision.
    DecisionAwaited,
    /// A scan looks at cells before it has read all words of the block.
    ScanReadsCellsEarly,
    /// A scan backwards hands out what lies above the range that it has reached.
    ScanBackNotCut,
    /// A predecessor is looked for at the key instead of strictly below it.
    PredecessorNotStrict,
    /// A builder links the new blocks to a successor that was decided.
    BuilderIgnoresRepl,
    /// The range of an ABSORB successor is not taken over.
    AbsorbedRangeIgnored,
    /// A block is marked ABSORB and left at that.
    MarkedNotAbsorbed,
    /// A block that is marked ABSORB is taken for the predecessor that must be decided.
    AbsorbedPredecessorDecided,
    /// `next` is moved past one decided block only.
    BypassedOnce,
    /// An anchor is advanced past one decided block only.
    AdvancedOnce,
    /// The loser of a decision does not free its blocks.
    LoserKeepsBlocks,
    /// An anchor that was sealed before it entered the level above is not retired.
    RefusedAnchorKept,
    /// The anchor of an absorbed block of the topmost level is not retired.
    TopAnchorKept,
    /// A new level takes the place of one that another thread has made.
    HeadByStore,
    /// The height is raised before the level has its head.
    HeightBeforeHead,
    /// A splice reads the words of a block before it is frozen.
    SplicedBeforeFreeze,
    /// A splice goes in although a record lies in its range.
    SplicedOverRecords,
}

/// Whether this defect was planted.
#[cfg(not(any(whimbrel_loom, whimbrel_shuttle, whimbrel_delay)))]
#[inline(always)]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

/// The ordering, unless the defect was planted that weakens it to Relaxed.
#[cfg(not(any(whimbrel_loom, whimbrel_shuttle, whimbrel_delay)))]
#[inline(always)]
pub(crate) const fn order(_: Mutant, ordering: Ordering) -> Ordering {
    ordering
}

#[cfg(any(whimbrel_loom, whimbrel_shuttle))]
pub(crate) use crate::model::planted;

/// Whether this defect was planted.
#[cfg(all(whimbrel_delay, not(any(whimbrel_loom, whimbrel_shuttle))))]
pub(crate) fn planted(mutant: Mutant) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| Mutant::by_name(&std::env::var("WHIMBREL_MUTANT").ok()?));
    *planted == Some(mutant)
}

/// The ordering, unless the defect was planted that weakens it to Relaxed.
#[cfg(any(whimbrel_loom, whimbrel_shuttle, whimbrel_delay))]
pub(crate) fn order(mutant: Mutant, ordering: Ordering) -> Ordering {
    if planted(mutant) { Ordering::Relaxed } else { ordering }
}

/// Steps of an operation after which a model may stop it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A block is frozen, nothing is decided.
    Frozen,
    /// A block is marked ABSORB, nobody has absorbed it.
    Marked,
    /// A decision is won, nothing is cleaned up.
    Decided,
    /// A block is off the chain, its anchor still leads to it.
    Unlinked,
    /// The anchors are advanced and sealed, nothing is announced.
    Retired,
}
