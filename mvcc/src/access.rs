//! One access: a store, its clock, and the guard under which records and versions are read.
//!
//! The steps that every operation is made of: reading a chain at the newest or at a snapshot, and
//! bringing a head into a state that may be written over.

use whimbrel_skiplist::{EMPTY, Guard, Record, SEALED, Seen};

use crate::batch;
use crate::clock::ClockInner;
use crate::mutant::{Mutant, order, planted};
use crate::stamp::{By, Stamp};
use crate::store::StoreInner;
use crate::sync::atomic::Ordering;
use crate::version::{Fresh, Number, VersionRef, inline_value_up_to};

/// A store inside a barrier session.
#[derive(Clone, Copy)]
pub(crate) struct Access<'g> {
    pub(crate) clock: &'g ClockInner,
    pub(crate) store: &'g StoreInner,
    pub(crate) guard: &'g Guard<'g>,
}

/// A version that this thread installed, and what it superseded.
#[derive(Clone, Copy)]
pub(crate) struct Change<'g> {
    pub(crate) record: Record<'g>,
    pub(crate) new: VersionRef<'g>,
    pub(crate) old: Option<VersionRef<'g>>,
}

/// The newest version of a key, settled.
pub(crate) enum Head<'g> {
    /// The record has no version yet.
    Empty,
    /// The record is dead for ever.
    Sealed,
    /// Settled, and its number is in its own stamp word.
    Settled(VersionRef<'g>),
}

impl<'g> Access<'g> {
    pub(crate) fn new(clock: &'g ClockInner, store: &'g StoreInner, guard: &'g Guard<'g>) -> Self {
        Self { clock, store, guard }
    }

    /// The same session, in another store of the clock.
    pub(crate) fn within(self, store: &'g StoreInner) -> Self {
        Self { store, ..self }
    }

    pub(crate) fn find(self, key: &[u8]) -> Option<Record<'g>> {
        self.store.list.find(key, self.guard)
    }

    /// Looks several keys up side by side, and gives the record of each to `f`.
    pub(crate) fn find_many(self, keys: &[&[u8]], f: impl FnMut(usize, Option<Record<'g>>)) {
        self.store.list.find_many(keys, self.guard, f);
    }

    /// What the cell of the key holds: the record's, or of the one it moved to.
    pub(crate) fn cell_word(record: Record<'g>) -> u64 {
        // ORDERING: Acquire, in there; pairs with the installing exchange: the version is seen whole.
        // Row V7.
        record.follow().1
    }

    /// The newest version, whatever its state.
    pub(crate) fn head(record: Record<'g>) -> Option<VersionRef<'g>> {
        // SAFETY: loaded with Acquire from a cell, under the guard that `'g` stands for.
        unsafe { VersionRef::from_word(Self::cell_word(record)) }
    }

    /// Snapshot read: the version that snapshot `s` sees, a tombstone included.
    pub(crate) fn version_at(self, record: Record<'g>, s: u64) -> Option<VersionRef<'g>> {
        Self::version_from(Self::head(record), s)
    }

    /// The version that snapshot `s` sees, from the newest one on.
    fn version_from(mut next: Option<VersionRef<'g>>, s: u64) -> Option<VersionRef<'g>> {
        let floor = if planted(Mutant::FloorIsSnapshot) { s } else { s + 1 };
        while let Some(version) = next {
            let number = match version.number() {
                Number::Final(number) => Some(number),
                Number::Pending(_) if planted(Mutant::PendingPassed) => None,
                Number::Pending(word) => word.raise(floor),
            };
            if number.is_some_and(|number| number <= s) {
                return Some(version);
            }
            next = version.older();
        }
        None
    }

    /// What snapshot `s` sees of the key of this record.
    pub(crate) fn value_at(self, record: Record<'g>, s: u64) -> Option<&'g [u8]> {
        self.version_at(record, s)?.value()
    }

    /// As [`Access::value_at`], of a record that a walk under the guard came to.
    #[inline]
    pub(crate) fn value_seen(seen: Seen<'g>, s: u64) -> Option<&'g [u8]> {
        // Most often nothing was written since the record was made.
        inline_value_up_to(seen, s).or_else(|| Self::value_from(seen, s))
    }

    #[inline(never)]
    fn value_from(seen: Seen<'g>, s: u64) -> Option<&'g [u8]> {
        let (_, cell) = seen.live()?;
        // SAFETY: the walk loaded it with Acquire, under the guard that `'g` stands for.
        let head = unsafe { VersionRef::from_word(cell) };
        Self::version_from(head, s)?.value()
    }

    /// Latest read: the newest value, settled or made to be so by raising its floor to the clock.
    pub(crate) fn latest(self, record: Record<'g>) -> Option<&'g [u8]> {
        let head = Self::head(record)?;
        // Before the deciding look: were it read after it, the head could have been settled and the
        // version below superseded and unlinked in between.
        let older = head.older();
        let Number::Pending(word) = head.number() else { return head.value() };
        if planted(Mutant::PendingReturned) {
            return head.value();
        }
        let mut floor = self.clock.now();
        if planted(Mutant::LatestFloorAboveClock) {
            floor += 1;
        } else if planted(Mutant::LatestFloorBelowClock) {
            floor -= 1;
        }
        match word.raise(floor) {
            Some(_) => head.value(),
            None if planted(Mutant::OlderAfterStamp) => {
                // Loom tries no other thread between the two loads otherwise.
                self.clock.step();
                head.older()?.value()
            }
            None => older?.value(),
        }
    }

    /// Before a write: the newest version, settled by this thread if need be, ready to be superseded.
    pub(crate) fn settled_head(self, record: Record<'g>) -> Head<'g> {
        match Self::cell_word(record) {
            EMPTY => Head::Empty,
            SEALED => Head::Sealed,
            word => {
                // SAFETY: loaded with Acquire from a cell under the guard.
                let version =
                    unsafe { VersionRef::from_word(word) }.expect("neither empty nor sealed");
                if !planted(Mutant::PendingNotHelped) {
                    self.settle(record, version);
                }
                Head::Settled(version)
            }
        }
    }

    /// Settles the newest version of a record, helping the whole batch that it is of, and writes the
    /// number into the version's own word (invariant S3).
    pub(crate) fn settle(self, record: Record<'g>, version: VersionRef<'g>) -> u64 {
        match version.stamp().load() {
            Stamp::Final(number) => number,
            Stamp::Pending => version.stamp().settle(self.clock, By::Helper),
            Stamp::Indirect(word) => {
                let number = batch::help(self, word, record.key());
                version.stamp().make_direct(number);
                number
            }
        }
    }

    /// Installs a version on top of `old` (none: into an empty cell) unless the cell has changed, or the
    /// record has moved.
    pub(crate) fn install(
        self,
        record: Record<'g>,
        old: Option<VersionRef<'g>>,
        mut fresh: Fresh,
    ) -> Result<Change<'g>, Fresh> {
        let below = old.map_or(EMPTY, VersionRef::word);
        fresh.set_older(below);
        let word = fresh.word();
        // ORDERING: AcqRel; Release publishes the version (pairs with `cell_word`); Acquire so that
        // who supersedes a version is ordered after who installed it. Row V7.
        let acq_rel = if planted(Mutant::InstallNotAcquired) {
            Ordering::Release
        } else {
            order(Mutant::InstallRelaxed, Ordering::AcqRel)
        };
        let placed = record.cell().compare_exchange(below, word, acq_rel, Ordering::Relaxed);
        if placed.is_err() {
            return Err(fresh);
        }
        fresh.published();
        // SAFETY: installed by this thread under the guard; whoever unlinks it retires it later.
        let new = unsafe { VersionRef::from_word(word) }.expect("a version has an address");
        let change = Change { record, new, old };
        self.store.count_installed(record.key(), &change);
        Ok(change)
    }

    /// Drops a record that nothing was installed in, unless somebody does so after all.
    pub(crate) fn drop_if_empty(self, record: Record<'g>) {
        // ORDERING: AcqRel; as in `install`. Row V7.
        let sealed =
            record.cell().compare_exchange(EMPTY, SEALED, Ordering::AcqRel, Ordering::Relaxed);
        if sealed.is_ok() {
            self.store.list.unlink_sealed(record, self.guard);
        }
    }

    /// What the installer does once its version is settled: tells the capture, and puts what is dead
    /// now, or will be, on the dead list.
    #[inline]
    pub(crate) fn settled(self, change: Change<'g>, number: u64) {
        if !planted(Mutant::CaptureEarly) {
            self.captured(change.record.key());
        }
        if let Some(old) = change.old
            && !old.is_tombstone()
        {
            self.store.collection.superseded(change.record, old, number);
        }
        if change.new.is_tombstone() {
            self.store.collection.tombstone(change.record, change.new, number);
        }
    }
}
