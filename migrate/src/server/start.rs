//! The start of a node: rule M5, and the first owner of slots that have none.

use super::{Inner, SlotServer};
use crate::protocol::Job;
use crate::protocol::startup::{StartStep, decide};
use crate::runtime::outgoing::offer;
use crate::{Attempt, CasOp, Error, Slot, SlotRecord};

/// What a node did with the records that named it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartReport {
    /// Slots that it serves, each in its next epoch.
    pub serving: usize,
    /// Slots that it has granted to another node and now offers to it; they are not served until
    /// that node has answered.
    pub offered: Vec<Slot>,
}

impl SlotServer {
    /// Rule M5: registers this node, moves its records to the next epoch with a fresh incarnation,
    /// serves them, and offers what it had granted away. Call it once, before serving clients.
    ///
    /// Slots whose content was [preloaded](SlotServer::preload) are served with it, others empty.
    ///
    /// # Errors
    ///
    /// If the map or a grant cannot be read or written; then nothing is served.
    pub async fn start(&self) -> Result<StartReport, Error> {
        let (won, jobs) = self.0.blocking(Inner::take_own_records).await?;
        let mut report = StartReport::default();
        for (slot, record) in won {
            self.0.serve(slot, record.epoch);
            report.serving += 1;
        }
        for job in jobs {
            report.offered.push(job.attempt.slot);
            offer(&self.0, job)?;
        }
        Ok(report)
    }

    /// Makes this node the owner of every slot that has no owner, and serves them. Answers how
    /// many.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    pub async fn claim_unassigned(&self) -> Result<usize, Error> {
        let won = self.0.blocking(Inner::claim_free).await?;
        let count = won.len();
        for (slot, record) in won {
            self.0.serve(slot, record.epoch);
        }
        Ok(count)
    }
}

type Won = Vec<(Slot, SlotRecord)>;

impl Inner {
    fn take_own_records(&self) -> Result<(Won, Vec<Job>), Error> {
        self.map.put_node(&self.me)?;
        let (mut ops, mut jobs) = (Vec::new(), Vec::new());
        for (slot, record) in self.map.all()? {
            if record.owner != self.me.id {
                continue;
            }
            let granted = self.holds_grant(slot, &record)?;
            match decide(slot, &record, &self.me.id, self.incarnation, granted) {
                StartStep::Leave => {}
                StartStep::Take(new) => ops.push(CasOp { slot, expected: Some(record), new }),
                StartStep::Offer(job) => jobs.push(job),
            }
        }
        Ok((self.swap_all(&ops)?, jobs))
    }

    fn holds_grant(&self, slot: Slot, record: &SlotRecord) -> Result<bool, Error> {
        let crate::Mode::Migrating { id, .. } = record.mode else { return Ok(false) };
        let attempt = Attempt { id, slot, epoch: record.epoch };
        Ok(self.grants.read(slot)? == Some(attempt))
    }

    fn claim_free(&self) -> Result<Won, Error> {
        self.map.refresh()?;
        let new = SlotRecord::first(self.me.id.clone(), self.incarnation);
        let free = Slot::all().filter(|&slot| self.map.peek(slot).is_none());
        let ops: Vec<CasOp> =
            free.map(|slot| CasOp { slot, expected: None, new: new.clone() }).collect();
        self.swap_all(&ops)
    }

    /// The swaps that were won. A lost one is somebody else's slot now.
    fn swap_all(&self, ops: &[CasOp]) -> Result<Won, Error> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.map.cas_many(ops)?;
        let won = ops.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_won());
        Ok(won.map(|(op, _)| (op.slot, op.new.clone())).collect())
    }

    fn serve(&self, slot: Slot, epoch: u64) {
        let cell = self.slots.get_or_make(slot);
        if cell.store().is_none() {
            cell.replace_store(Some(self.empty_store()));
        }
        cell.gate.open(epoch);
        cell.moved.notify_waiters();
    }
}
