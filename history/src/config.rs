//! Configurations: what may be true while operations are pending.

use crate::op::{History, Kind, Op, Step, Value};

/// One explanation of what has returned so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    /// Places of the pending operations that have taken effect.
    done: u64,
    /// The least rank that an operation may have now.
    pub(crate) rank: u64,
    /// What each key holds.
    pub(crate) holds: Box<[Value]>,
}

/// A pending operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending<'h> {
    pub(crate) op: &'h Op,
    pub(crate) steps: &'h [Step],
    pub(crate) rank: Option<u64>,
    /// Its keys as bits; the highest bit stands for the order of numbers. A snapshot touches all: whatever
    /// is written may be what ends the time of its number.
    pub(crate) touches: u128,
    writes: bool,
}

impl<'h> Pending<'h> {
    pub(crate) fn new(history: &'h History, op: &'h Op) -> Self {
        let (steps, rank) = (history.steps_of(op), op.rank());
        let numbered = u128::from(rank.is_some()) << (u128::BITS - 1);
        let touches = match op.kind {
            Kind::Snapshot => u128::MAX,
            _ => steps.iter().fold(numbered, |bits, step| bits | 1 << step.key),
        };
        let writes = steps.iter().any(|step| step.write.is_some());
        Self { op, steps, rank, touches, writes }
    }

    /// Whether it may change what others find: it writes, or it has a number.
    pub(crate) fn matters(&self) -> bool {
        self.writes || self.rank.is_some()
    }
}

impl Config {
    pub(crate) fn new(initial: &[Value]) -> Self {
        Self { done: 0, rank: 0, holds: initial.into() }
    }

    pub(crate) fn is_done(&self, place: usize) -> bool {
        self.done & (1 << place) != 0
    }

    pub(crate) fn set_done(&mut self, place: usize) {
        self.done |= 1 << place;
    }

    /// The operation of this place has returned; the place is free again.
    pub(crate) fn free(&mut self, place: usize) {
        self.done &= !(1 << place);
    }

    /// What stands against this operation here.
    pub(crate) fn misfits<'a>(
        &'a self,
        pending: &Pending<'a>,
    ) -> impl Iterator<Item = &'a Step> + use<'a> {
        let misfit = |step: &&Step| !step.expect.fits(self.holds[usize::from(step.key)]);
        pending.steps.iter().filter(misfit)
    }

    /// Whether an operation of this rank can come next.
    pub(crate) fn allows(&self, rank: Option<u64>) -> bool {
        rank.is_none_or(|rank| rank >= self.rank)
    }

    fn fits(&self, pending: &Pending<'_>) -> bool {
        self.allows(pending.rank) && self.misfits(pending).next().is_none()
    }

    /// Whether the operation fits and would change nothing.
    pub(crate) fn fits_unchanged(&self, pending: &Pending<'_>) -> bool {
        !pending.writes
            && pending.rank.is_none_or(|rank| rank == self.rank)
            && self.misfits(pending).next().is_none()
    }

    /// The configuration after the operation; none if it does not fit.
    pub(crate) fn after(&self, place: usize, pending: &Pending<'_>) -> Option<Self> {
        if !self.fits(pending) {
            return None;
        }
        let mut after = self.clone();
        for step in pending.steps {
            if let Some(value) = step.write {
                after.holds[usize::from(step.key)] = value;
            }
        }
        // What is written after a snapshot has a greater number, so the same number does not come again.
        let ended = self.rank + u64::from(pending.writes && self.rank % 2 == 1);
        after.rank = pending.rank.unwrap_or(ended);
        after.set_done(place);
        Some(after)
    }
}
