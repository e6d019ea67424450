//! The protocol of mode (a), snapshot shipping, as pure state machines.
//!
//! [`source::step`] and [`target::step`] take a state and an event and return the next state and
//! what is to be done. They read no clock and do no I/O: the runtime does what they ask over
//! sockets and files, and the exploration in `tests/explore.rs` does it on a model of two nodes, a
//! map and a network that loses, repeats and reorders. Both drive this code.
//!
//! Cancelling, a lost connection and a time-out are *levels*: a machine that is waiting for an
//! answer of the map ignores them, and the runtime offers them again.

pub mod source;
pub mod startup;
pub mod target;

use crate::{Attempt, CasOutcome, Error, NodeId, SlotRecord};

/// What both sides of one migration know from its first message on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Job {
    /// Migration, slot and epoch.
    pub attempt: Attempt,
    /// The giving node.
    pub source: NodeId,
    /// The receiving node.
    pub target: NodeId,
    /// The record while the migration is under way: owner source, migrating to the target.
    pub record: SlotRecord,
    /// Incarnation of the node that runs the machine, for the record that it may win.
    pub incarnation: u64,
}

impl Job {
    /// The record that the target wins at the hand-over.
    ///
    /// # Panics
    ///
    /// Panics if the job's record is not a migrating one, which no constructor of a machine takes.
    #[must_use]
    pub fn handed_over(&self) -> SlotRecord {
        self.record.handed_over(self.incarnation).expect("the record of a job is migrating")
    }

    /// Whether `record` is the one of this migration, still under way.
    #[must_use]
    pub fn is_under_way(&self, record: Option<&SlotRecord>) -> bool {
        record == Some(&self.record)
    }
}

/// The map's answer to a compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CasAnswer {
    /// It took place.
    Won,
    /// It did not; this is what was there.
    Lost(Option<SlotRecord>),
    /// Nobody knows (rule M6): the machine asks for a read.
    Unknown,
}

impl CasAnswer {
    /// What a machine is told about the result of [`crate::SlotMap::cas`].
    #[must_use]
    pub fn from_result(result: &Result<CasOutcome, Error>) -> Self {
        match result {
            Ok(CasOutcome::Won) => Self::Won,
            Ok(CasOutcome::Lost(record)) => Self::Lost(record.clone()),
            Err(_) => Self::Unknown,
        }
    }
}
