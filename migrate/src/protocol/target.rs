//! The receiving side.
//!
//! ```text
//! Idle -> Preparing -> Copying -> CatchingUp <-> Applying
//!                                     |
//!         Done(Owner) <- Taking <- Verified <- Comparing
//! ```
//! A target that is not yet verified drops its staging copy at the first trouble. A verified one
//! keeps it: a grant may be on its way, and only the record can say that none will come. It takes
//! the slot only after a grant (or a restarted source's offer, which stands for one), and only by
//! winning the swap.

use super::{CasAnswer, Job};
use crate::SlotRecord;

/// Where the target is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPhase {
    /// Nothing has happened.
    Idle,
    /// Memory and the record are being checked.
    Preparing,
    /// The ranges are being pulled and built.
    Copying,
    /// The copy is complete up to the round before this one.
    CatchingUp {
        /// The round that comes next.
        next: u32,
    },
    /// A round is being applied.
    Applying {
        /// Which.
        round: u32,
    },
    /// The last round is being applied and the digests are compared.
    Comparing,
    /// The copy has the source's digest.
    Verified,
    /// The record is being swapped.
    Taking,
    /// The swap's answer is unknown: the record is being read.
    Settling,
    /// The end.
    Done(TargetOutcome),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetOutcome {
    /// The target owns the slot.
    Owner,
    /// The copy was dropped.
    Dropped,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetEvent {
    /// The source asks this node to take part.
    Open,
    /// There is memory, and the record is the one of this attempt.
    Ready,
    /// There is not, or it is not.
    NotReady,
    /// The source has its ranges ready.
    Ranges,
    /// All ranges are built.
    Built,
    /// A round has arrived.
    Round(u32),
    /// The round was applied.
    Applied,
    /// The last round has arrived, with the digest.
    Final(u32),
    /// The digests were compared.
    Compared {
        /// Whether they are equal, count included.
        equal: bool,
    },
    /// The source's promise of M4.
    Grant,
    /// A restarted source that holds a durable grant.
    Offer,
    /// The attempt is over.
    Abort,
    /// The map's answer to the last [`TargetAction::Cas`].
    Cas(CasAnswer),
    /// The record, read after the last [`TargetAction::ReadMap`].
    Read(Option<SlotRecord>),
    /// Too long without a word.
    Timeout,
    /// The connection is gone.
    Disconnected,
    /// Something here failed: damaged data, no memory.
    Failed,
}

/// What to say to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetMessage {
    /// Takes part.
    Accept,
    /// Will not, or can no longer.
    Refuse,
    /// All ranges are built.
    Built,
    /// A round was applied.
    RoundAck(u32),
    /// The copy has the digest.
    Verified,
    /// It has not.
    Mismatch,
    /// Owns the slot.
    Taken,
    /// Holds no verified copy of this attempt and never will.
    NoCopy,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetAction {
    /// Check memory and record; [`TargetEvent::Ready`] or [`TargetEvent::NotReady`].
    Prepare,
    /// Pull and build all ranges; [`TargetEvent::Built`] or [`TargetEvent::Failed`].
    StartPulls,
    /// Apply the round that arrived; [`TargetEvent::Applied`] or [`TargetEvent::Failed`].
    ApplyRound(u32),
    /// Apply the last round and compare digests; [`TargetEvent::Compared`].
    Compare,
    /// Say something to the source.
    Send(TargetMessage),
    /// Swap the record; answer with [`TargetEvent::Cas`].
    Cas {
        /// What must be there.
        expected: SlotRecord,
        /// What is there afterwards.
        new: SlotRecord,
    },
    /// Read the record until there is an answer; [`TargetEvent::Read`].
    ReadMap,
    /// The copy becomes the slot's content; open the gate in this epoch.
    Install {
        /// The epoch of the record.
        epoch: u64,
    },
    /// Drop the copy.
    DropStaging,
    /// The machine has ended.
    Finish(TargetOutcome),
}

/// The target's state: what it knows, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetState {
    /// What both sides know.
    pub job: Job,
    /// Where it is.
    pub phase: TargetPhase,
}

type Step = (TargetState, Vec<TargetAction>);

impl TargetState {
    /// A target that was just asked; feed it [`TargetEvent::Open`].
    #[must_use]
    pub fn new(job: Job) -> Self {
        Self { job, phase: TargetPhase::Idle }
    }

    fn to(mut self, phase: TargetPhase, actions: Vec<TargetAction>) -> Step {
        self.phase = phase;
        (self, actions)
    }

    fn stay(self) -> Step {
        (self, Vec::new())
    }

    fn drop_copy(self, last_word: Option<TargetMessage>) -> Step {
        let mut actions = vec![TargetAction::DropStaging];
        actions.extend(last_word.map(TargetAction::Send));
        actions.push(TargetAction::Finish(TargetOutcome::Dropped));
        self.to(TargetPhase::Done(TargetOutcome::Dropped), actions)
    }

    fn take(self) -> Step {
        let (expected, new) = (self.job.record.clone(), self.job.handed_over());
        self.to(TargetPhase::Taking, vec![TargetAction::Cas { expected, new }])
    }

    fn own(self) -> Step {
        let actions = vec![
            TargetAction::Install { epoch: self.job.handed_over().epoch },
            TargetAction::Send(TargetMessage::Taken),
            TargetAction::Finish(TargetOutcome::Owner),
        ];
        self.to(TargetPhase::Done(TargetOutcome::Owner), actions)
    }
}

/// One step of the target.
///
/// Events that a phase does not wait for leave it as it is.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::protocol::Job;
/// use whimbrel_migrate::protocol::target::{TargetAction, TargetEvent, TargetState, step};
/// use whimbrel_migrate::{Attempt, MigrationId, NodeId, Slot, SlotRecord};
///
/// let (s, t) = (NodeId::new("s:1").expect("valid"), NodeId::new("t:1").expect("valid"));
/// let (slot, id) = (Slot::new(5).expect("exists"), MigrationId::from_u64(1));
/// let record = SlotRecord::first(s.clone(), 7).migrating(t.clone(), id).expect("stable");
/// let attempt = Attempt { id, slot, epoch: record.epoch };
/// let job = Job { attempt, source: s, target: t, record, incarnation: 8 };
/// // A grant for a copy that was never verified takes nothing.
/// let (state, actions) = step(TargetState::new(job), TargetEvent::Grant);
/// assert!(!actions.iter().any(|a| matches!(a, TargetAction::Cas { .. })));
/// # let _ = state;
/// ```
#[must_use]
pub fn step(state: TargetState, event: TargetEvent) -> Step {
    use TargetPhase as P;
    match state.phase.clone() {
        P::Idle
        | P::Preparing
        | P::Copying
        | P::CatchingUp { .. }
        | P::Applying { .. }
        | P::Comparing => before_verified(state, &event),
        P::Verified => verified(state, event),
        P::Taking => taking(state, event),
        P::Settling => settling(state, event),
        P::Done(outcome) => done(state, &event, outcome),
    }
}

fn before_verified(state: TargetState, event: &TargetEvent) -> Step {
    use TargetAction as A;
    use TargetEvent as E;
    use TargetMessage as M;
    use TargetPhase as P;
    match (&state.phase, event) {
        (P::Idle, E::Open) => state.to(P::Preparing, vec![A::Prepare]),
        (P::Preparing, E::Ready) => state.to(P::Copying, vec![A::Send(M::Accept)]),
        (P::Preparing, E::NotReady) => state.drop_copy(Some(M::Refuse)),
        (P::Copying, E::Ranges) => state.to(P::Copying, vec![A::StartPulls]),
        (P::Copying, E::Built) => state.to(P::CatchingUp { next: 1 }, vec![A::Send(M::Built)]),
        (&P::CatchingUp { next }, &E::Round(round)) if round == next => {
            state.to(P::Applying { round }, vec![A::ApplyRound(round)])
        }
        // Applied before: its answer was lost.
        (&P::CatchingUp { next }, &E::Round(round)) if round < next => {
            let phase = state.phase.clone();
            state.to(phase, vec![A::Send(M::RoundAck(round))])
        }
        (&P::Applying { round }, E::Applied) => {
            let next = round.saturating_add(1);
            state.to(P::CatchingUp { next }, vec![A::Send(M::RoundAck(round))])
        }
        (&P::CatchingUp { next }, &E::Final(round)) if round == next => {
            state.to(P::Comparing, vec![A::Compare])
        }
        (P::Comparing, E::Compared { equal: true }) => {
            state.to(P::Verified, vec![A::Send(M::Verified)])
        }
        (P::Comparing, E::Compared { equal: false }) => state.drop_copy(Some(M::Mismatch)),
        (_, E::Failed) => state.drop_copy(Some(M::Refuse)),
        (_, E::Offer) => state.drop_copy(Some(M::NoCopy)),
        (_, E::Abort | E::Timeout | E::Disconnected) => state.drop_copy(None),
        _ => state.stay(),
    }
}

fn verified(state: TargetState, event: TargetEvent) -> Step {
    match event {
        TargetEvent::Grant | TargetEvent::Offer => state.take(),
        TargetEvent::Abort => state.drop_copy(None),
        // Only the record can say that no grant will come.
        TargetEvent::Timeout | TargetEvent::Disconnected => {
            state.to(TargetPhase::Verified, vec![TargetAction::ReadMap])
        }
        TargetEvent::Read(record) if !state.job.is_under_way(record.as_ref()) => {
            state.drop_copy(None)
        }
        _ => state.stay(),
    }
}

fn taking(state: TargetState, event: TargetEvent) -> Step {
    match event {
        TargetEvent::Cas(CasAnswer::Won) => state.own(),
        TargetEvent::Cas(CasAnswer::Lost(_)) => state.drop_copy(Some(TargetMessage::NoCopy)),
        TargetEvent::Cas(CasAnswer::Unknown) => {
            state.to(TargetPhase::Settling, vec![TargetAction::ReadMap])
        }
        _ => state.stay(),
    }
}

fn settling(state: TargetState, event: TargetEvent) -> Step {
    let TargetEvent::Read(record) = event else { return state.stay() };
    if record.as_ref() == Some(&state.job.handed_over()) {
        state.own()
    } else if state.job.is_under_way(record.as_ref()) {
        state.take()
    } else {
        state.drop_copy(Some(TargetMessage::NoCopy))
    }
}

/// A word that arrives after the end is answered again, because the first answer may be lost.
fn done(state: TargetState, event: &TargetEvent, outcome: TargetOutcome) -> Step {
    let word = match (event, outcome) {
        (TargetEvent::Grant | TargetEvent::Offer, TargetOutcome::Owner) => TargetMessage::Taken,
        (TargetEvent::Grant | TargetEvent::Offer, TargetOutcome::Dropped) => TargetMessage::NoCopy,
        _ => return state.stay(),
    };
    let phase = state.phase.clone();
    state.to(phase, vec![TargetAction::Send(word)])
}
