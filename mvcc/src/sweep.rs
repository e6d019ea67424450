//! What a collector does to a chain, and to whom it speaks of it first.

use std::num::NonZeroU64;
use std::sync::Arc;

use whimbrel_skiplist::Record;

use crate::access::Access;
use crate::collect::{CollectReport, Collection, Collector};
use crate::dead::Dead;
use crate::mutant::{Mutant, planted};
use crate::unlinks::Observed;
use crate::version::{Number, OwnRef, Raised, VersionRef};

/// What stays until an observation ends is filed under this, which is no snapshot's number.
const UNDER_OBSERVATION: u64 = u64::MAX;

/// What became of the version that a sweep was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    Unlinked,
    /// It stays: it is observed, and there are older ones below it (invariant U2 of `unlinks.rs`).
    Hides,
    /// It stays: its observer has no room.
    NoRoom,
}

impl Collector {
    /// Takes the entry's version out of its chain, and with it every other that nobody sees, that is
    /// not inline (invariant E2) and not observed. Says what became of the entry's own.
    pub(crate) fn sweep(
        &self,
        access: Access<'_>,
        entry: &Dead,
        report: &mut CollectReport,
    ) -> Swept {
        let record = entry.record(&access.store.list, access.guard);
        let mut newer = Access::head(record).expect("not sealed (invariant E2)");
        let (mut last, mut hidden) = (None, false);
        let mut unlink = |above: OwnRef<'_>, version: VersionRef<'_>| {
            above.unlink_below(version);
            access.store.count_unlinked(version);
            report.unlinked += 1;
        };
        while let (VersionRef::Own(above), Some(version)) = (newer, newer.older(record)) {
            let wanted = version.word() == entry.version_word();
            // As a reader comes down the chain: it takes the first whose number it has.
            hidden = hidden || self.hides(newer);
            let dead = entry.dead.map_or(0, NonZeroU64::get);
            if wanted && !hidden && !entry.is_told && self.observes(entry.since(), dead) {
                // What is below goes first.
                last = Some((above, version));
                newer = version;
            } else if wanted || (!version.is_inline() && self.is_garbage(version, newer)) {
                unlink(above, version);
            } else {
                newer = version;
            }
        }
        let Some((above, version)) = last else { return Swept::Unlinked };
        if version.older_word() != 0 && !planted(Mutant::ObservedOverOlder) {
            return Swept::Hides;
        }
        if planted(Mutant::ObserverToldLate) {
            unlink(above, version);
            self.tell(record, version, entry.born);
            return Swept::Unlinked;
        }
        if !self.tell(record, version, entry.born) {
            return Swept::NoRoom;
        }
        unlink(above, version);
        Swept::Unlinked
    }

    /// Whether somebody is to be told of a version with this life before it is unlinked.
    fn observes(&self, born: u64, dead: u64) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.sees(born, dead))
    }

    /// Whether a reader of the observed number goes no further than to this version, which has others below
    /// it. As that reader it raises the floor of one that has no number (invariant U4 of `unlinks.rs`).
    fn hides(&self, version: VersionRef<'_>) -> bool {
        let Some(observed) = &self.observed else { return false };
        match version.number() {
            _ if planted(Mutant::HiddenTold) => false,
            Number::Final(number) | Number::Ingested(number) => observed.has(number),
            Number::Pending(_) if planted(Mutant::HidingNotRaised) => false,
            Number::Pending(undecided) => match undecided.raise(observed.floor()) {
                Raised::Final(number) => observed.has(number),
                Raised::Pending | Raised::Changed => false,
            },
        }
    }

    /// Tells of what the observed number sees in a version with this number: itself, or, in a removal in
    /// place that is newer, the value that goes with it. False: the version has to stay.
    fn tell(&self, record: Record<'_>, version: VersionRef<'_>, born: u64) -> bool {
        let Some(observed) = &self.observed else { return true };
        let with_value = version.is_removal() && !observed.has(born);
        let seen = if with_value { version.older(record) } else { Some(version) };
        seen.and_then(VersionRef::value).is_none_or(|value| observed.tell(record.key(), value))
    }

    /// Before a key ends: tells of the value that its removal in place takes along. False: it has to stay.
    pub(crate) fn tell_removed(&self, access: Access<'_>, entry: &mut Dead) -> bool {
        let version = entry.version(access.guard);
        if version.is_removal() && !entry.is_told && self.observes(0, entry.born) {
            let record = entry.record(&access.store.list, access.guard);
            entry.is_told =
                planted(Mutant::EndedUnobserved) || self.tell(record, version, entry.born);
            return entry.is_told;
        }
        true
    }

    /// Keeps an entry whose version is observed and hides something: until that is gone, or, where an
    /// open snapshot sees what it hides, until the observation ends.
    pub(crate) fn keep_observed(&mut self, access: Access<'_>, entry: Dead) {
        let record = entry.record(&access.store.list, access.guard);
        let below = entry.version(access.guard).older(record);
        let born = below.and_then(VersionRef::settled_number).unwrap_or(0);
        if self.view.newest_seeing(born, entry.born).is_some() {
            self.queue.file(UNDER_OBSERVATION, entry);
        } else {
            self.queue.put_off(entry);
        }
    }

    /// Whether it is garbage: for a version and the one directly above it.
    fn is_garbage(&self, version: VersionRef<'_>, newer: VersionRef<'_>) -> bool {
        let (Some(born), Some(dead)) = (version.settled_number(), newer.settled_number()) else {
            return false;
        };
        (dead <= self.view.clock || planted(Mutant::ViewTooOld))
            && !self.view.may_come_below(dead)
            && self.view.newest_seeing(born, dead).is_none()
            && (!self.observes(born, dead) || planted(Mutant::SweptUnobserved))
    }

    /// From now on this observation is told of what it sees before that is unlinked. False: there is
    /// another one.
    pub(crate) fn observe(&mut self, collection: &Collection, observed: Arc<Observed>) -> bool {
        self.end_given_up(collection);
        let free = self.observed.is_none();
        if free {
            self.observed = Some(observed);
            collection.set_observed(true);
        }
        free
    }

    pub(crate) fn end_given_up(&mut self, collection: &Collection) {
        if self.observed.as_ref().is_some_and(|observed| observed.has_ended()) {
            self.end_observation(collection);
        }
    }

    /// Nobody is told any more, and what was kept for it is to be judged again.
    pub(crate) fn end_observation(&mut self, collection: &Collection) {
        self.observed = None;
        collection.set_observed(false);
        self.release();
        self.show(collection);
    }

    /// What is filed under what is over is to be judged again.
    pub(crate) fn release(&mut self) {
        let Self { queue, view, observed, .. } = self;
        queue.release(|number| match number {
            UNDER_OBSERVATION => observed.is_some(),
            number => view.is_open(number),
        });
    }
}
