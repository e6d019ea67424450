//! The giving side.
//!
//! ```text
//! Claiming -> Opening -> Capturing -> Copying -> Draining <-> RoundSent
//!                                                   |
//!   Moved <- Granted <- Granting <- Closing <- Comparing <- Freezing
//! ```
//! Everything before `Granting` may end in `Aborting`: thaw, swap the record back in the same
//! epoch. From `Granting` on the only way back is `TakingBack`: win the swap to the next epoch
//! (M4), then serve. `Settling` is rule M6. A source that restarts with a durable grant begins in
//! `Offering`.

use super::{CasAnswer, Job};
use crate::SlotRecord;

/// Where the source is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourcePhase {
    /// The record is being swapped from stable to migrating.
    Claiming,
    /// The target was asked.
    Opening,
    /// Capture is on, operations in flight are leaving, the snapshot is being taken.
    Capturing,
    /// The target pulls the ranges.
    Copying,
    /// The captured keys are being drained for this round.
    Draining {
        /// The round they will travel in.
        round: u32,
    },
    /// A round is at the target.
    RoundSent {
        /// Which.
        round: u32,
    },
    /// Writes are frozen; those in flight are leaving.
    Freezing {
        /// The number of the last round.
        round: u32,
    },
    /// The last round and the digest are at the target.
    Comparing,
    /// The gate is closed; reads in flight are leaving.
    Closing,
    /// The grant is being made durable.
    Granting,
    /// The grant is out.
    Granted,
    /// Restarted with a durable grant: the target was offered the slot.
    Offering,
    /// The record is being swapped back to stable in the same epoch.
    Aborting(Cause),
    /// The record is being swapped to the next epoch of this node.
    TakingBack(Cause),
    /// A swap's answer is unknown: the record is being read.
    Settling(Unsettled),
    /// The end.
    Done(SourceOutcome),
}

/// Which swap is to be settled by a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Unsettled {
    /// Stable to migrating.
    Claim,
    /// Migrating to stable, same epoch.
    Abort(Cause),
    /// Migrating to stable, next epoch.
    TakeBack(Cause),
}

/// Why a migration ended without a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// Somebody asked for it.
    Cancelled,
    /// The target would not, or could no longer.
    Refused,
    /// The target was silent for too long.
    Silent,
    /// The connection was lost.
    Disconnected,
    /// The target's copy was not the source's.
    DigestMismatch,
    /// Something at the source failed: capture, snapshot, store.
    Local,
    /// The grant could not be made durable.
    GrantNotDurable,
    /// The target holds no verified copy any more.
    NoCopy,
    /// An operator said that the source takes the slot although the target cannot be asked.
    Forced,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceOutcome {
    /// The record was not as expected; nothing was changed.
    NotStarted(Option<SlotRecord>),
    /// The target owns the slot.
    Moved,
    /// The source serves on in the same epoch.
    Aborted(Cause),
    /// The source serves on in the next epoch.
    TookBack(Cause),
    /// Somebody else changed the record: the source serves the slot no more.
    Displaced,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceEvent {
    /// Begin.
    Start,
    /// The map's answer to the last [`SourceAction::Cas`].
    Cas(CasAnswer),
    /// The record, read after the last [`SourceAction::ReadMap`].
    Read(Option<SlotRecord>),
    /// The target takes part.
    Accepted,
    /// The target will not, or can no longer.
    Refused,
    /// Capture is on and the snapshot is held.
    CaptureReady,
    /// The target has built every range.
    Built,
    /// The captured keys were drained; `last` if what remains fits the blackout budget.
    Drained {
        /// Whether to freeze now.
        last: bool,
    },
    /// The target has applied a round.
    RoundAcked(u32),
    /// No write is in flight any more.
    WritesFrozen,
    /// The target's copy has the source's digest.
    Verified,
    /// It has not.
    Mismatch,
    /// No operation is in flight any more.
    GateClosed,
    /// The grant is durable.
    GrantDurable,
    /// The grant may or may not be durable.
    GrantFailed,
    /// The target says that it owns the next epoch.
    Taken,
    /// The target holds no verified copy of this attempt and never will.
    NoCopy,
    /// Too long without an answer.
    Timeout,
    /// The connection is gone.
    Disconnected,
    /// Somebody asked to stop.
    Cancel,
    /// Something here failed.
    Failed,
    /// An operator orders this node to take the slot; only `Offering` listens.
    Force,
}

/// What to say to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceMessage {
    /// Asks it to take part; carries the record.
    Open,
    /// The ranges are ready.
    Ranges,
    /// The attempt is over.
    Abort,
    /// The promise of M4.
    Grant,
    /// A restarted source offers the slot.
    Offer,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SourceAction {
    /// Swap the record; answer with [`SourceEvent::Cas`].
    Cas {
        /// What must be there.
        expected: SlotRecord,
        /// What is there afterwards.
        new: SlotRecord,
    },
    /// Read the record until there is an answer; [`SourceEvent::Read`].
    ReadMap,
    /// Say something to the target. A lost message shows as a time-out.
    Send(SourceMessage),
    /// Turn capture on, let operations in flight leave, take the snapshot;
    /// [`SourceEvent::CaptureReady`] or [`SourceEvent::Failed`].
    StartCapture,
    /// Turn capture off and drop snapshot and drained keys.
    StopCapture,
    /// Drain the captured keys; [`SourceEvent::Drained`].
    Drain,
    /// Send the drained keys' newest values as this round.
    SendRound(u32),
    /// Close the gate for writes and let those in flight leave; [`SourceEvent::WritesFrozen`].
    FreezeWrites,
    /// Drain again and send what is left as the last round, with the digest.
    SendFinal(u32),
    /// Close the gate for all and let those in flight leave; [`SourceEvent::GateClosed`].
    CloseGate,
    /// Make the grant durable; [`SourceEvent::GrantDurable`] or [`SourceEvent::GrantFailed`].
    WriteGrant,
    /// Forget the durable grant: the record has passed its epoch.
    EraseGrant,
    /// Open the gate for all in this epoch.
    Serve {
        /// The epoch of the record.
        epoch: u64,
    },
    /// The slot is not this node's any more: answer MOVED, keep the list a while, then drop it.
    Retire,
    /// The machine has ended.
    Finish(SourceOutcome),
}

/// The source's state: what it knows, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceState {
    /// What both sides know.
    pub job: Job,
    /// Where it is.
    pub phase: SourcePhase,
}

type Step = (SourceState, Vec<SourceAction>);

impl SourceState {
    /// A migration that is about to begin; feed it [`SourceEvent::Start`].
    #[must_use]
    pub fn new(job: Job) -> Self {
        Self { job, phase: SourcePhase::Claiming }
    }

    /// A source that restarted with a durable grant; feed it [`SourceEvent::Start`].
    #[must_use]
    pub fn restarted(job: Job) -> Self {
        Self { job, phase: SourcePhase::Offering }
    }

    fn to(mut self, phase: SourcePhase, actions: Vec<SourceAction>) -> Step {
        self.phase = phase;
        (self, actions)
    }

    fn stay(self) -> Step {
        (self, Vec::new())
    }

    fn stable(&self) -> SlotRecord {
        self.job.record.aborted()
    }

    fn next_epoch(&self) -> SlotRecord {
        self.job.record.restarted(self.job.incarnation)
    }

    fn finish(self, outcome: SourceOutcome, mut actions: Vec<SourceAction>) -> Step {
        actions.push(SourceAction::Finish(outcome.clone()));
        self.to(SourcePhase::Done(outcome), actions)
    }

    /// Abort before any grant: thaw first, then swap the record back.
    fn abort(self, cause: Cause) -> Step {
        let cas = SourceAction::Cas { expected: self.job.record.clone(), new: self.stable() };
        let epoch = self.job.attempt.epoch;
        let actions = vec![
            SourceAction::Serve { epoch },
            SourceAction::StopCapture,
            SourceAction::Send(SourceMessage::Abort),
            cas,
        ];
        self.to(SourcePhase::Aborting(cause), actions)
    }

    /// Abort after a grant may have been given: the swap to the next epoch comes first (M4).
    fn take_back(self, cause: Cause) -> Step {
        let new = self.next_epoch();
        let cas = SourceAction::Cas { expected: self.job.record.clone(), new };
        self.to(SourcePhase::TakingBack(cause), vec![cas])
    }

    fn took_back(self, cause: Cause) -> Step {
        let epoch = self.next_epoch().epoch;
        let actions = vec![
            SourceAction::Serve { epoch },
            SourceAction::StopCapture,
            SourceAction::Send(SourceMessage::Abort),
            SourceAction::EraseGrant,
        ];
        self.finish(SourceOutcome::TookBack(cause), actions)
    }

    fn moved(self) -> Step {
        let actions =
            vec![SourceAction::Retire, SourceAction::StopCapture, SourceAction::EraseGrant];
        self.finish(SourceOutcome::Moved, actions)
    }

    /// The record is neither what this node left there nor what it wanted.
    fn displaced(self, record: Option<&SlotRecord>) -> Step {
        let to_target =
            record.is_some_and(|r| r.owner == self.job.target && r.epoch > self.job.attempt.epoch);
        if to_target {
            return self.moved();
        }
        let actions = vec![SourceAction::Retire, SourceAction::StopCapture];
        self.finish(SourceOutcome::Displaced, actions)
    }
}

/// One step of the source.
///
/// Events that a phase does not wait for leave it as it is: late frames, levels offered too early.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::protocol::source::{SourceAction, SourceEvent, SourceState, step};
/// use whimbrel_migrate::protocol::{CasAnswer, Job};
/// use whimbrel_migrate::{Attempt, MigrationId, NodeId, Slot, SlotRecord};
///
/// let (s, t) = (NodeId::new("s:1").expect("valid"), NodeId::new("t:1").expect("valid"));
/// let (slot, id) = (Slot::new(5).expect("exists"), MigrationId::from_u64(1));
/// let record = SlotRecord::first(s.clone(), 7).migrating(t.clone(), id).expect("stable");
/// let attempt = Attempt { id, slot, epoch: record.epoch };
/// let job = Job { attempt, source: s, target: t, record, incarnation: 7 };
/// let (state, actions) = step(SourceState::new(job), SourceEvent::Start);
/// assert!(matches!(actions[..], [SourceAction::Cas { .. }]));
/// let (_, actions) = step(state, SourceEvent::Cas(CasAnswer::Won));
/// assert!(matches!(actions[..], [SourceAction::Send(_)]));
/// ```
#[must_use]
pub fn step(state: SourceState, event: SourceEvent) -> Step {
    use SourcePhase as P;
    match state.phase.clone() {
        P::Claiming => claiming(state, event),
        P::Opening
        | P::Capturing
        | P::Copying
        | P::Draining { .. }
        | P::RoundSent { .. }
        | P::Freezing { .. }
        | P::Comparing
        | P::Closing => before_grant(state, event),
        P::Granting | P::Granted => after_grant(state, &event),
        P::Offering => offering(state, event),
        P::Aborting(cause) => aborting(state, event, cause),
        P::TakingBack(cause) => taking_back(state, event, cause),
        P::Settling(what) => settling(state, event, what),
        P::Done(_) => state.stay(),
    }
}

fn claiming(state: SourceState, event: SourceEvent) -> Step {
    match event {
        SourceEvent::Start => {
            let (expected, new) = (state.stable(), state.job.record.clone());
            state.to(SourcePhase::Claiming, vec![SourceAction::Cas { expected, new }])
        }
        SourceEvent::Cas(CasAnswer::Won) => open(state),
        SourceEvent::Cas(CasAnswer::Lost(record)) => {
            state.finish(SourceOutcome::NotStarted(record), Vec::new())
        }
        SourceEvent::Cas(CasAnswer::Unknown) => {
            state.to(SourcePhase::Settling(Unsettled::Claim), vec![SourceAction::ReadMap])
        }
        _ => state.stay(),
    }
}

fn open(state: SourceState) -> Step {
    state.to(SourcePhase::Opening, vec![SourceAction::Send(SourceMessage::Open)])
}

/// Steps 2 to 6: what goes forward, and what aborts from anywhere.
fn before_grant(state: SourceState, event: SourceEvent) -> Step {
    use SourceAction as A;
    use SourceEvent as E;
    use SourcePhase as P;
    let cause = match (&state.phase, event) {
        (P::Opening, E::Accepted) => return state.to(P::Capturing, vec![A::StartCapture]),
        (P::Capturing, E::CaptureReady) => {
            return state.to(P::Copying, vec![A::Send(SourceMessage::Ranges)]);
        }
        (P::Copying, E::Built) => return state.to(P::Draining { round: 1 }, vec![A::Drain]),
        (&P::Draining { round }, E::Drained { last: false }) => {
            return state.to(P::RoundSent { round }, vec![A::SendRound(round)]);
        }
        (&P::Draining { round }, E::Drained { last: true }) => {
            return state.to(P::Freezing { round }, vec![A::FreezeWrites]);
        }
        (&P::RoundSent { round }, E::RoundAcked(acked)) if acked == round => {
            return state.to(P::Draining { round: round.saturating_add(1) }, vec![A::Drain]);
        }
        (&P::Freezing { round }, E::WritesFrozen) => {
            return state.to(P::Comparing, vec![A::SendFinal(round)]);
        }
        (P::Comparing, E::Verified) => return state.to(P::Closing, vec![A::CloseGate]),
        (P::Closing, E::GateClosed) => return state.to(P::Granting, vec![A::WriteGrant]),
        (_, E::Mismatch) => Cause::DigestMismatch,
        (_, E::Refused | E::NoCopy) => Cause::Refused,
        (_, E::Timeout) => Cause::Silent,
        (_, E::Disconnected) => Cause::Disconnected,
        (_, E::Cancel) => Cause::Cancelled,
        (_, E::Failed) => Cause::Local,
        _ => return state.stay(),
    };
    state.abort(cause)
}

/// Step 7: the promise is being made or is out.
fn after_grant(state: SourceState, event: &SourceEvent) -> Step {
    use SourceEvent as E;
    let granted = state.phase == SourcePhase::Granted;
    match event {
        E::GrantDurable if !granted => {
            state.to(SourcePhase::Granted, vec![SourceAction::Send(SourceMessage::Grant)])
        }
        // Whether a restart would find the grant is unknown, so it counts as given.
        E::GrantFailed if !granted => state.take_back(Cause::GrantNotDurable),
        E::Taken if granted => state.moved(),
        E::NoCopy | E::Refused | E::Mismatch if granted => state.take_back(Cause::NoCopy),
        E::Timeout if granted => state.take_back(Cause::Silent),
        E::Disconnected if granted => state.take_back(Cause::Disconnected),
        E::Cancel if granted => state.take_back(Cause::Cancelled),
        _ => state.stay(),
    }
}

fn offering(state: SourceState, event: SourceEvent) -> Step {
    match event {
        SourceEvent::Start => {
            state.to(SourcePhase::Offering, vec![SourceAction::Send(SourceMessage::Offer)])
        }
        SourceEvent::Taken => state.moved(),
        SourceEvent::NoCopy => state.take_back(Cause::NoCopy),
        SourceEvent::Force => state.take_back(Cause::Forced),
        SourceEvent::Timeout | SourceEvent::Disconnected => {
            state.to(SourcePhase::Offering, vec![SourceAction::ReadMap])
        }
        SourceEvent::Read(record) if state.job.is_under_way(record.as_ref()) => {
            state.to(SourcePhase::Offering, vec![SourceAction::Send(SourceMessage::Offer)])
        }
        SourceEvent::Read(record) => state.displaced(record.as_ref()),
        _ => state.stay(),
    }
}

fn aborting(state: SourceState, event: SourceEvent, cause: Cause) -> Step {
    match event {
        SourceEvent::Cas(CasAnswer::Won) => state.finish(SourceOutcome::Aborted(cause), Vec::new()),
        SourceEvent::Cas(CasAnswer::Lost(record)) => state.displaced(record.as_ref()),
        SourceEvent::Cas(CasAnswer::Unknown) => {
            let what = Unsettled::Abort(cause);
            state.to(SourcePhase::Settling(what), vec![SourceAction::ReadMap])
        }
        _ => state.stay(),
    }
}

fn taking_back(state: SourceState, event: SourceEvent, cause: Cause) -> Step {
    match event {
        SourceEvent::Cas(CasAnswer::Won) => state.took_back(cause),
        SourceEvent::Cas(CasAnswer::Lost(record)) => state.displaced(record.as_ref()),
        SourceEvent::Cas(CasAnswer::Unknown) => {
            let what = Unsettled::TakeBack(cause);
            state.to(SourcePhase::Settling(what), vec![SourceAction::ReadMap])
        }
        _ => state.stay(),
    }
}

/// Rule M6: the record says whether the swap took place; if not, it is tried again.
fn settling(state: SourceState, event: SourceEvent, what: Unsettled) -> Step {
    let SourceEvent::Read(record) = event else { return state.stay() };
    let record = record.as_ref();
    let under_way = state.job.is_under_way(record);
    match what {
        Unsettled::Claim if under_way => open(state),
        Unsettled::Claim => state.finish(SourceOutcome::NotStarted(record.cloned()), Vec::new()),
        Unsettled::Abort(cause) if record == Some(&state.stable()) => {
            state.finish(SourceOutcome::Aborted(cause), Vec::new())
        }
        Unsettled::Abort(cause) if under_way => {
            let cas = SourceAction::Cas { expected: state.job.record.clone(), new: state.stable() };
            state.to(SourcePhase::Aborting(cause), vec![cas])
        }
        Unsettled::TakeBack(cause) if record == Some(&state.next_epoch()) => state.took_back(cause),
        Unsettled::TakeBack(cause) if under_way => state.take_back(cause),
        Unsettled::Abort(_) | Unsettled::TakeBack(_) => state.displaced(record),
    }
}
