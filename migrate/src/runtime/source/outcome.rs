//! The end of a migration in words and figures.

use std::sync::Arc;

use super::SourceRun;
use crate::protocol::source::{Cause, SourceOutcome, SourcePhase};
use crate::runtime::outgoing::Ended;
use crate::{Error, MigrationReport};

impl SourceRun {
    pub(super) fn ended(&mut self, outcome: &SourceOutcome) -> Ended {
        let (slot, target) = (self.out.slot(), self.out.target().clone());
        let cause = match outcome {
            SourceOutcome::Moved => return Ok(self.report()),
            SourceOutcome::NotStarted(record) => {
                let owner = record.as_ref().map(|r| r.owner.clone());
                return Err(Arc::new(Error::NotOwner { slot, owner }));
            }
            SourceOutcome::Displaced => {
                return Err(Arc::new(Error::NotOwner { slot, owner: None }));
            }
            SourceOutcome::Aborted(cause) | SourceOutcome::TookBack(cause) => *cause,
        };
        let phase = match outcome {
            SourceOutcome::TookBack(_) => "waiting for the target to take the granted slot",
            _ => "copying or comparing",
        };
        let error = match (cause, self.trouble.take()) {
            (Cause::Cancelled, _) => Error::Cancelled { slot },
            (Cause::DigestMismatch | Cause::Refused, Some(error)) => error,
            (_, Some(error)) => Error::Failed { slot, target, phase, cause: error.to_string() },
            (cause, None) => Error::Failed { slot, target, phase, cause: format!("{cause:?}") },
        };
        Err(Arc::new(error))
    }

    fn report(&self) -> MigrationReport {
        MigrationReport {
            slot: self.out.slot(),
            id: self.out.attempt().id,
            target: self.out.target().clone(),
            keys: self.keys,
            delta_keys: self.delta_keys,
            bytes: self.out.copied_bytes() + self.control_bytes,
            rounds: self.rounds,
            elapsed: self.out.started.elapsed(),
            write_blackout: self.blackout.0,
            read_blackout: self.blackout.1,
            throttled: self.throttled,
        }
    }
}

pub(super) fn phase_name(phase: &SourcePhase) -> &'static str {
    match phase {
        SourcePhase::Claiming => "claiming",
        SourcePhase::Opening => "asking the target",
        SourcePhase::Capturing => "taking the snapshot",
        SourcePhase::Copying => "copying",
        SourcePhase::Draining { .. } | SourcePhase::RoundSent { .. } => "catching up",
        SourcePhase::Freezing { .. } => "freezing writes",
        SourcePhase::Comparing => "comparing",
        SourcePhase::Closing => "closing the gate",
        SourcePhase::Granting | SourcePhase::Granted => "handing over",
        SourcePhase::Offering => "offering a granted slot",
        SourcePhase::Aborting(_) => "aborting",
        SourcePhase::TakingBack(_) => "taking back",
        SourcePhase::Settling(_) => "reading the record",
        SourcePhase::Done(_) => "ended",
    }
}
