//! Mistakes planted around the shipped machines: each bends what the machine hears, says or does.

use whimbrel_migrate::protocol::CasAnswer;
use whimbrel_migrate::protocol::source::{
    self, SourceAction, SourceEvent, SourceOutcome, SourcePhase, SourceState,
};
use whimbrel_migrate::protocol::target::{
    self, TargetAction, TargetEvent, TargetPhase, TargetState,
};

use crate::model::Limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The source thaws when its patience ends although a grant is out.
    ThawByTimer,
    /// The target takes the slot as soon as its copy is verified.
    TakeWithoutGrant,
    /// The last round leaves while a write is still in flight; nobody compares digests.
    FreezeWithoutWaiting,
    /// Reads go on at the source after the grant.
    ReadsAfterGrant,
    /// The source takes an unknown answer for a won swap.
    UnknownIsWonAtSource,
    /// The target takes an unknown answer for a won swap.
    UnknownIsWonAtTarget,
    /// The target takes an unknown answer for a lost swap.
    UnknownIsLostAtTarget,
    /// A captured write is dropped and nobody compares digests.
    LostCaptureNoDigest,
    /// The snapshot is taken while operations from before the capture are in flight.
    CaptureWithoutWaiting,
    /// A grant that may be durable is treated as never given.
    FailedGrantForgotten,
    /// A restarted source offers the slot although it holds no durable grant.
    OfferWithoutGrant,
    /// Frames of other attempts are accepted.
    ForeignAttempt,
    /// The target acknowledges a round before it applied it, and nobody compares digests.
    AckBeforeApply,
}

impl Flaw {
    pub(crate) const ALL: [Self; 13] = [
        Self::ThawByTimer,
        Self::TakeWithoutGrant,
        Self::FreezeWithoutWaiting,
        Self::ReadsAfterGrant,
        Self::UnknownIsWonAtSource,
        Self::UnknownIsWonAtTarget,
        Self::UnknownIsLostAtTarget,
        Self::LostCaptureNoDigest,
        Self::CaptureWithoutWaiting,
        Self::FailedGrantForgotten,
        Self::OfferWithoutGrant,
        Self::ForeignAttempt,
        Self::AckBeforeApply,
    ];

    pub(crate) fn limits(self) -> Limits {
        let (attempts, crashes, rounds) = match self {
            Self::ForeignAttempt => (2, 0, 1),
            Self::FailedGrantForgotten | Self::OfferWithoutGrant | Self::UnknownIsLostAtTarget => {
                (1, 1, 1)
            }
            Self::AckBeforeApply => (1, 0, 2),
            _ => (1, 0, 1),
        };
        Limits { writes: 1, crashes, attempts, rounds, journal: true }
    }

    pub(crate) fn ignores_digest(self) -> bool {
        matches!(
            self,
            Self::FreezeWithoutWaiting
                | Self::LostCaptureNoDigest
                | Self::CaptureWithoutWaiting
                | Self::AckBeforeApply
        )
    }
}

/// The source's step, bent by the flaw.
pub(crate) fn source_step(
    flaw: Option<Flaw>,
    state: SourceState,
    event: SourceEvent,
) -> (SourceState, Vec<SourceAction>) {
    let epoch = state.job.attempt.epoch;
    match (flaw, &state.phase, &event) {
        (Some(Flaw::ThawByTimer), SourcePhase::Granted, SourceEvent::Timeout) => {
            let outcome = SourceOutcome::TookBack(source::Cause::Silent);
            let state = SourceState { phase: SourcePhase::Done(outcome), ..state };
            (state, vec![SourceAction::Serve { epoch }])
        }
        (Some(Flaw::UnknownIsWonAtSource), _, SourceEvent::Cas(CasAnswer::Unknown)) => {
            source::step(state, SourceEvent::Cas(CasAnswer::Won))
        }
        (Some(Flaw::FailedGrantForgotten), SourcePhase::Granting, SourceEvent::GrantFailed) => {
            // As if the gate had only just been closed: abort in the same epoch.
            let state = SourceState { phase: SourcePhase::Closing, ..state };
            source::step(state, SourceEvent::Failed)
        }
        (Some(Flaw::ReadsAfterGrant), SourcePhase::Comparing, SourceEvent::Verified) => {
            let (state, mut actions) = source::step(state, event);
            actions.retain(|a| *a != SourceAction::CloseGate);
            let (state, more) = source::step(state, SourceEvent::GateClosed);
            actions.extend(more);
            (state, actions)
        }
        _ => source::step(state, event),
    }
}

/// The target's step, bent by the flaw.
pub(crate) fn target_step(
    flaw: Option<Flaw>,
    state: TargetState,
    event: TargetEvent,
) -> (TargetState, Vec<TargetAction>) {
    match (flaw, &state.phase, &event) {
        (Some(Flaw::UnknownIsWonAtTarget), _, TargetEvent::Cas(CasAnswer::Unknown)) => {
            target::step(state, TargetEvent::Cas(CasAnswer::Won))
        }
        (Some(Flaw::UnknownIsLostAtTarget), _, TargetEvent::Cas(CasAnswer::Unknown)) => {
            target::step(state, TargetEvent::Cas(CasAnswer::Lost(None)))
        }
        (
            Some(Flaw::TakeWithoutGrant),
            TargetPhase::Comparing,
            TargetEvent::Compared { equal: true },
        ) => {
            let (state, mut actions) = target::step(state, event);
            let (state, more) = target::step(state, TargetEvent::Grant);
            actions.extend(more);
            (state, actions)
        }
        _ => target::step(state, event),
    }
}
