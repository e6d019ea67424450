//! Rule M5: what a node does at start with a record that names it.

use super::Job;
use crate::{Attempt, Mode, NodeId, Slot, SlotRecord};

/// What to do with one record at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// The record names another node: nothing.
    Leave,
    /// Swap the record for this one and serve what journal or backup restored.
    Take(SlotRecord),
    /// A durable grant of this node is out: offer the slot to the target, and serve nothing until
    /// it answered. Run a [`super::source::SourceState::restarted`] with this job.
    Offer(Job),
}

/// Decides about one record.
///
/// `granted` says whether this node holds a durable grant of exactly the record's attempt. Only
/// then is the slot offered: without one the target's verified copy may lack writes that this node
/// acknowledged after it thawed, so this node takes the slot back with what it can restore.
#[must_use]
pub fn decide(
    slot: Slot,
    record: &SlotRecord,
    me: &NodeId,
    incarnation: u64,
    granted: bool,
) -> StartStep {
    if record.owner != *me {
        return StartStep::Leave;
    }
    let take = StartStep::Take(record.restarted(incarnation));
    match &record.mode {
        Mode::Migrating { to, id } if granted => StartStep::Offer(Job {
            attempt: Attempt { id: *id, slot, epoch: record.epoch },
            source: me.clone(),
            target: to.clone(),
            record: record.clone(),
            incarnation,
        }),
        _ => take,
    }
}
