//! Configurations: what may be true while operations are pending.

use crate::op::{History, Kind, Op, Step, Value, keys_of};

/// One explanation of what has returned so far.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    /// Places of the pending operations that have taken effect.
    done: u64,
    /// The least rank that an operation may have now.
    pub(crate) rank: u64,
    /// What each key holds.
    pub(crate) holds: Box<[Value]>,
    /// The ingests that have begun and not been committed, in order, and the keys of each, as bits, that nobody
    /// has written since.
    ingests: Vec<(u64, u128)>,
}

/// A pending operation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending<'h> {
    pub(crate) op: &'h Op,
    pub(crate) steps: &'h [Step],
    pub(crate) rank: Option<u64>,
    /// Its keys as bits; the highest bit stands for the order of numbers. A snapshot touches all: whatever
    /// is written may be what ends the time of its number. So does an ingest that begins at a known number.
    pub(crate) touches: u128,
    changes: bool,
}

impl<'h> Pending<'h> {
    pub(crate) fn new(history: &'h History, op: &'h Op) -> Self {
        let (steps, rank) = (history.steps_of(op), op.rank());
        let numbered = u128::from(rank.is_some()) << (u128::BITS - 1);
        let touches = match op.kind {
            Kind::Snapshot => u128::MAX,
            Kind::Begin if rank.is_some() => u128::MAX,
            _ => numbered | keys_of(steps),
        };
        let changes = matches!(op.kind, Kind::Begin | Kind::Ingest | Kind::Touch)
            || steps.iter().any(|step| step.write.is_some());
        Self { op, steps, rank, touches, changes }
    }

    /// Whether it may change what others find, or has a number.
    pub(crate) fn matters(&self) -> bool {
        self.changes || self.rank.is_some()
    }

    /// Whether it may not have happened at all.
    pub(crate) fn is_optional(&self) -> bool {
        self.op.kind == Kind::Touch
    }
}

impl Config {
    pub(crate) fn new(initial: &[Value]) -> Self {
        Self { done: 0, rank: 0, holds: initial.into(), ingests: Vec::new() }
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

    /// The steps that count here: of an ingest those of keys that were not written since it began.
    fn steps<'a>(&self, pending: &Pending<'a>) -> impl Iterator<Item = &'a Step> + use<'a> {
        let begun = self.ingests.iter().find(|(ingest, _)| Some(*ingest) == pending.op.ingest);
        let counts = match pending.op.kind {
            Kind::Ingest => begun.map_or(0, |(_, unwritten)| *unwritten),
            _ => u128::MAX,
        };
        pending.steps.iter().filter(move |step| counts & (1 << step.key) != 0)
    }

    /// What stands against this operation here.
    pub(crate) fn misfits<'a>(
        &'a self,
        pending: &Pending<'a>,
    ) -> impl Iterator<Item = &'a Step> + use<'a> {
        let misfit = |step: &&Step| !step.expect.fits(self.holds[usize::from(step.key)]);
        self.steps(pending).filter(misfit)
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
        !pending.changes
            && pending.rank.is_none_or(|rank| rank == self.rank)
            && self.misfits(pending).next().is_none()
    }

    /// The configuration after the operation; none if it does not fit, or does nothing and need not happen.
    pub(crate) fn after(&self, place: usize, pending: &Pending<'_>) -> Option<Self> {
        if !self.fits(pending) {
            return None;
        }
        let mut after = self.clone();
        let (kind, mut written) = (pending.op.kind, 0);
        for step in self.steps(pending) {
            let holds = &mut after.holds[usize::from(step.key)];
            if let Some(value) = step.write {
                // An ingest passes by what is there already.
                written |= u128::from(kind != Kind::Ingest || *holds != value) << step.key;
                *holds = value;
            }
        }
        if kind == Kind::Touch {
            written = keys_of(pending.steps);
        }
        after.ingests.retain(|(ingest, _)| Some(*ingest) != pending.op.ingest);
        after.ingests.iter_mut().for_each(|(_, unwritten)| *unwritten &= !written);
        if kind == Kind::Touch && after.ingests == self.ingests {
            return None;
        }
        if let (Kind::Begin, Some(ingest)) = (kind, pending.op.ingest) {
            let at = after.ingests.partition_point(|(other, _)| *other < ingest);
            after.ingests.insert(at, (ingest, keys_of(pending.steps)));
        }
        // What is written after a snapshot has a greater number, so the same number does not come again.
        let ended = self.rank + u64::from(written != 0 && self.rank % 2 == 1);
        after.rank = pending.rank.unwrap_or(ended);
        after.set_done(place);
        Some(after)
    }
}
