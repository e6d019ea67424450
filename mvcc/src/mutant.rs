//! Defects that modelled builds can contain, so that each model is seen to fail.
//!
//! In ordinary builds [`planted`] is a constant `false` and nothing of this is left.

/// A defect; docs/ordering.md names the model that finds each.
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
}

#[cfg(whimbrel_loom)]
impl Mutant {
    /// Every defect there is.
    pub const ALL: &[Self] = &[
        Self::NoOwnerFence,
        Self::NoHelperFence,
        Self::NoSnapshotFence,
        Self::NoRegistrationFence,
        Self::NoCollectorFence,
        Self::ClockReadAfterScan,
        Self::UndecidedIgnored,
        Self::RegisteredLate,
        Self::ClockNotMoved,
        Self::FailedMoveTakesSeen,
        Self::SettledBeforeInstall,
        Self::SettleIgnoresFloor,
        Self::SettleRelaxed,
        Self::FloorIsSnapshot,
        Self::PendingPassed,
        Self::PendingReturned,
        Self::LatestFloorAboveClock,
        Self::LatestFloorBelowClock,
        Self::PendingNotHelped,
        Self::ExistsNotHelped,
        Self::BatchSettledEarly,
        Self::BatchNotLookedAt,
        Self::BatchSkipsAbsent,
        Self::MovedWithOlder,
        Self::MovedPending,
        Self::SealByStore,
        Self::SealUnseen,
        Self::CaptureEarly,
        Self::CaptureOwnerOnly,
    ];
}

#[cfg(not(whimbrel_loom))]
#[inline(always)]
pub(crate) const fn planted(_: Mutant) -> bool {
    false
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

/// Chooses the defect that the code contains from now on.
#[cfg(whimbrel_loom)]
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}
