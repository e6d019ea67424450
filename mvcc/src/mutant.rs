//! Defects that modelled builds can contain, so that each model is seen to fail.
//!
//! In ordinary builds [`planted`] is a constant `false` and nothing of this is left. Builds with
//! delays take the name of the defect from `WHIMBREL_MUTANT`, as the list does.

use crate::sync::atomic::Ordering;

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A defect that the models must find; docs/ordering.md names the model that finds each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[cfg_attr(
            not(whimbrel_loom),
            expect(
                unreachable_pub,
                reason = "models of another crate choose one; others see nothing of it"
            )
        )]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        #[cfg(any(whimbrel_loom, whimbrel_delay))]
        impl Mutant {
            /// The defect of this name.
            #[must_use]
            #[cfg_attr(
                not(whimbrel_loom),
                expect(unreachable_pub, reason = "as for the type")
            )]
            pub fn by_name(name: &str) -> Option<Self> {
                [$(Self::$name),+].into_iter().find(|mutant| format!("{mutant:?}") == name)
            }
        }
    };
}

mutants! {
    /// The owner of a write reads the clock without the fence before it.
    NoOwnerFence,
    /// A helper reads the clock without the fence before it.
    NoHelperFence,
    /// A snapshot does not fence after moving the clock (F2).
    NoSnapshotFence,
    /// A registration does not fence before reading the clock (F1).
    NoRegistrationFence,
    /// The collector does not fence between the clock and the scan.
    NoCollectorFence,
    /// The collector scans first and reads the clock afterwards.
    ClockReadAfterScan,
    /// The collector ignores registrations without a number.
    UndecidedIgnored,
    /// A snapshot registers after it moved the clock.
    RegisteredLate,
    /// A snapshot leaves the clock where it was.
    ClockNotMoved,
    /// A snapshot whose clock move failed takes the number that the failure showed.
    FailedMoveTakesSeen,
    /// A write takes its number before it is installed.
    SettledBeforeInstall,
    /// Settling ignores the floor and overwrites it.
    SettleIgnoresFloor,
    /// Settling publishes nothing.
    SettleRelaxed,
    /// An inline version is settled by a plain store.
    InlineSettledByStore,
    /// Settling an inline version ignores the floor and overwrites it.
    InlineSettleIgnoresFloor,
    /// Settling an inline version publishes nothing.
    InlineSettleRelaxed,
    /// The floor of an inline version is raised whatever the cell holds by then.
    InlineRaisedByMaximum,
    /// A raise of the floor of an inline version neither acquires nor releases.
    InlineRaiseRelaxed,
    /// A snapshot reader raises the floor to its own number only.
    FloorIsSnapshot,
    /// A snapshot reader passes a pending version without raising its floor.
    PendingPassed,
    /// A latest reader returns the pending version as if it had a number.
    PendingReturned,
    /// A latest reader raises the floor above the clock.
    LatestFloorAboveClock,
    /// A latest reader raises the floor below the clock.
    LatestFloorBelowClock,
    /// A writer installs over a pending version of another write.
    PendingNotHelped,
    /// A failing `insert_unique` leaves the version that it saw pending.
    ExistsNotHelped,
    /// An update writes over what is newest by then, whatever it has decided about.
    UpdateNotCompared,
    /// A batch is settled after its first operation.
    BatchSettledEarly,
    /// Helpers do not look again whether the batch is pending.
    BatchNotLookedAt,
    /// A batch skips the removal of a key that is absent.
    BatchSkipsAbsent,
    /// A record is moved though its newest version has older ones.
    MovedWithOlder,
    /// A record is moved though the number of its newest version is not decided.
    MovedPending,
    /// The collector seals by a plain store.
    SealByStore,
    /// A tombstone is sealed though an open snapshot does not see it.
    SealUnseen,
    /// A changed key is handed to the capture before the write is installed.
    CaptureEarly,
    /// A changed key is handed to the capture only by the owner of a batch.
    CaptureOwnerOnly,
    /// The load of a stamp word does not acquire.
    StampLoadRelaxed,
    /// A raise of a floor neither acquires nor releases.
    RaiseRelaxed,
    /// A stamp that is made direct does not release.
    MakeDirectRelaxed,
    /// An installation does not release.
    InstallRelaxed,
    /// An installation does not acquire.
    InstallNotAcquired,
    /// A seal neither acquires nor releases.
    SealRelaxed,
    /// The load of `older` does not acquire.
    OlderLoadRelaxed,
    /// The unlinking of a version does not release.
    UnlinkRelaxed,
    /// The claim of a slot neither acquires nor releases.
    SlotClaimRelaxed,
    /// A slot gets its number without a release.
    SlotDecideRelaxed,
    /// The closing of a slot does not release, nor does the count of closed ones.
    SlotCloseRelaxed,
    /// A scan of the slots does not acquire, nor does a look at the count of closed ones.
    SlotLookRelaxed,
    /// A new chunk of slots is linked without a release.
    ChunkGrowRelaxed,
    /// The load of the next chunk does not acquire.
    ChunkLoadRelaxed,
    /// An entry of the dead list is pushed without a release.
    InboxPushRelaxed,
    /// The entries of the dead list are taken without an acquire.
    InboxTakeRelaxed,
    /// A capture is turned on without a release.
    CaptureSetRelaxed,
    /// The load of the running capture does not acquire.
    CaptureLoadRelaxed,
    /// A captured key is pushed without a release, or its interval soiled.
    CapturePushRelaxed,
    /// Captured keys and intervals are drained without an acquire.
    CaptureDrainRelaxed,
    /// No fence between turning a capture on and the naming of the sessions.
    NoCaptureFence,
    /// A latest reader loads the version below after it has looked at the stamp.
    OlderAfterStamp,
    /// The collector judges by a view that is older than what it judges.
    ViewTooOld,
    /// A tombstone is sealed although it hides older versions.
    SealOverOlder,
    /// A value is removed in place although an open snapshot may not see it.
    RemovedUnseen,
    /// A removal in place ends the key although an open snapshot may see the value.
    EndedUnderSnapshot,
    /// A removal in place ends the key by a plain store.
    EndedByStore,
    /// The end of a key by a removal in place neither acquires nor releases.
    EndRelaxed,
    /// Who settles a value settles its removal by the same number.
    SettledAcrossRemoval,
    /// The collector takes a removal in place without the value that goes with it.
    RemovalWithoutValue,
    /// The load of the oldest open number does not acquire.
    OldestLoadRelaxed,
    /// A raise of the oldest open number does not release.
    OldestRaiseRelaxed,
    /// The owner of a batch leaves its versions indirect.
    NotMadeDirect,
    /// The dead list's entries filed under a closed snapshot stay there until the next one closes.
    FiledForgotten,
    /// Who leaves work behind looks at the list of sleepers without a fence.
    RingNoFence,
    /// A worker sleeps without another look for work.
    SleepWithoutLook,
    /// A snapshot is given up before the collectors know its observer.
    ObserverNotAwaited,
    /// An observation is over while a collector may be with the observer.
    FinishNotAwaited,
    /// The observer is told after the version was unlinked.
    ObserverToldLate,
    /// The observer is told of every version that was superseded after the observed number.
    ObservedByDeathOnly,
    /// An observed version is unlinked although it hides older ones.
    ObservedOverOlder,
    /// Versions that are swept with another one are not told of.
    SweptUnobserved,
    /// A key is removed in place although its store is observed.
    RemovedUnobserved,
    /// A key that was removed in place ends without a word to the observer.
    EndedUnobserved,
    /// The observer is told of a version although a newer one hides it from the observed number.
    HiddenTold,
    /// A collector passes a version without a number and leaves its floor, which the observed number may be above.
    HidingNotRaised,
    /// An ingest gets its number when its first entry is in place.
    IngestSettledEarly,
    /// An ingest wins over what was written since it began.
    IngestIgnoresBegin,
    /// An ingest that loses to what is there does not take a tombstone for that.
    BehindTakesRemoved,
    /// A write on a running ingest is settled as if the ingest were not there.
    OnIngestSettledPlainly,
    /// A write that came too late to be before an ingest is taken for done.
    VoidTakenForDone,
    /// A latest reader returns an ingest's value without looking at the cell again.
    IngestNotLookedAtAgain,
    /// A latest reader returns an ingest's value below a pending version whose floor may be lower.
    BelowIngestNotRaised,
    /// The owner of an ingest leaves its versions indirect.
    IngestNotMadeDirect,
    /// The owner of an ingest does not file the versions that others have installed on.
    BuriedNotFiled,
    /// The keys of an ingest are not handed to the capture.
    IngestNotCaptured,
    /// The number of a write on a running ingest publishes nothing.
    SettleBeforeRelaxed,
    /// Who installs on a version of an ingest says so without a release.
    BuryRelaxed,
    /// The owner of an ingest makes its versions direct without an order.
    IngestDirectRelaxed,
}

/// Whether this defect was planted.
#[cfg(not(any(whimbrel_loom, whimbrel_delay)))]
#[inline(always)]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
}

/// The ordering, unless the defect was planted that weakens it to Relaxed.
#[cfg(not(any(whimbrel_loom, whimbrel_delay)))]
#[inline(always)]
pub(crate) const fn order(_: Mutant, ordering: Ordering) -> Ordering {
    ordering
}

#[cfg(whimbrel_loom)]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether this defect was chosen. Loom runs all threads of a model on one system thread.
#[cfg(whimbrel_loom)]
pub(crate) fn planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Whether this defect was planted.
#[cfg(all(whimbrel_delay, not(whimbrel_loom)))]
pub(crate) fn planted(mutant: Mutant) -> bool {
    static PLANTED: std::sync::OnceLock<Option<Mutant>> = std::sync::OnceLock::new();
    let planted = PLANTED.get_or_init(|| Mutant::by_name(&std::env::var("WHIMBREL_MUTANT").ok()?));
    *planted == Some(mutant)
}

/// The ordering, unless the defect was planted that weakens it to Relaxed.
#[cfg(any(whimbrel_loom, whimbrel_delay))]
pub(crate) fn order(mutant: Mutant, ordering: Ordering) -> Ordering {
    if planted(mutant) { Ordering::Relaxed } else { ordering }
}

/// Chooses the defect that the code contains from now on.
#[cfg(whimbrel_loom)]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}
