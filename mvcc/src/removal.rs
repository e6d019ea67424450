//! Removal in place: of a key whose only version is the value in its record.
//!
//! In general a removal installs a tombstone, and the collector has two versions to judge and a key to end.
//! Most keys that are removed were never written over, and few removals are such that a snapshot sees what is
//! removed. So here the removal is a word in the record's cell, and where no snapshot can tell, the key ends
//! at once: two exchanges, no memory, nothing for the collector.
//!
//! 1. The cell goes from the final stamp of the value to the pending stamp of a removal (`inline.rs`). The
//!    number of the value is lost: it has to be one that every snapshot open now or later sees
//!    ([`ClockInner::oldest`]).
//! 2. The clock is read, as for any version that was installed. When every snapshot open now or later has at
//!    least that number, the cell goes from the pending stamp, floor 0, to SEALED.
//! 3. Otherwise, or when the exchange failed because somebody has met the removal, it is settled, and gets
//!    an entry in the dead list that stands for both, the removal and the value (invariant E4 of `dead.rs`).
//!
//! Why step 2 is right. Let c be the number that was read, and take a snapshot s that is open, or was when
//! step 1 was done. If it is below c it is not open any more, and everything that it read happened
//! before ([`ClockInner::oldest`] acquires its closing). If it is c or above, the clock moved past s after it
//! was read, or has not; a reader of s comes to the cell
//! - before step 1: then it reads the value, and its clock's move is before our read of the clock, as for any
//!   version (rows V2 and V3): c is above s, a contradiction;
//! - between the steps: it raises the floor, and the exchange of step 2 fails;
//! - after step 2: the key is absent, as it has to be at s, c being at most s.
//!
//! So no snapshot sees the key once there and once not. A reader of the newest value raises the floor as well,
//! or finds the record sealed; who seals releases, who finds a record sealed acquires (row K5 of the list). A
//! writer that meets the pending removal settles it, and step 2 fails.
//!
//! An observed number (`unlinks.rs`) is that of a snapshot which has closed, and its observer has to be told of the
//! value. So nothing is removed in place while a store is observed: whoever finds `oldest` above the observed number
//! has acquired the closing, and with it that there is an observer. What was begun before, step 3 leaves to the
//! collector, which tells of the value before it ends the key; its number was lost, but every number that is
//! observed later sees it.
//!
//! [`ClockInner::oldest`]: crate::clock::ClockInner::oldest

use whimbrel_skiplist::{Found, Record, SEALED};

use crate::access::Access;
use crate::inline::InlineStamp;
use crate::mutant::{Mutant, order, planted};
use crate::stamp::By;
use crate::sync::atomic::Ordering;
use crate::version::VersionRef;

impl<'g> Access<'g> {
    /// Whether the newest version of a key, a value and settled, may be removed in place.
    #[inline]
    pub(crate) fn may_remove_in_place(self, newest: VersionRef<'g>) -> bool {
        newest.is_inline()
            && (planted(Mutant::RemovedUnseen)
                || newest.settled_number().is_some_and(|born| born <= self.clock.oldest()))
            && !self.is_observed()
    }

    /// Whether somebody has to be told of what is removed; [`ClockInner::oldest`] was asked for before.
    ///
    /// [`ClockInner::oldest`]: crate::clock::ClockInner::oldest
    fn is_observed(self) -> bool {
        self.store.collection.is_observed() && !planted(Mutant::RemovedUnobserved)
    }

    /// Removes a value in place, for which that was asked. False: the cell has changed, or the record has
    /// moved. `found` is where a search found the record, or the one that it was before.
    pub(crate) fn remove_in_place(
        self,
        record: Record<'g>,
        value: VersionRef<'g>,
        found: Option<Found<'g>>,
    ) -> bool {
        // ORDERING: AcqRel; as in `install`. Row V7.
        let acq_rel = order(Mutant::InstallRelaxed, Ordering::AcqRel);
        let (cell, removal) = (record.cell(), InlineStamp::REMOVAL);
        if cell.compare_exchange(value.word(), removal.word(), acq_rel, Ordering::Relaxed).is_err()
        {
            return false;
        }
        self.store.count_removed(record.key(), value);
        if self.end_in_place(record) {
            self.tell_capture(record.key());
            match found {
                Some(found) => found.unlink_sealed(self.guard),
                None => self.store.list.unlink_sealed(record, self.guard),
            }
        } else {
            self.leave_in_place(record);
        }
        true
    }

    /// Step 2: seals the cell where that may be.
    fn end_in_place(self, record: Record<'g>) -> bool {
        let number = self.clock.number_for(By::Installer);
        if number > self.clock.oldest() && !planted(Mutant::EndedUnderSnapshot) {
            return false;
        }
        if self.is_observed() {
            return false;
        }
        let cell = record.cell();
        if planted(Mutant::EndedByStore) {
            cell.store(SEALED, Ordering::Release);
            return true;
        }
        // ORDERING: AcqRel; Release pairs with the fence of who finds the record sealed (K5), Acquire as
        // in `install`. Row V7.
        let acq_rel = order(Mutant::EndRelaxed, Ordering::AcqRel);
        let pending = InlineStamp::REMOVAL.word();
        cell.compare_exchange(pending, SEALED, acq_rel, Ordering::Relaxed).is_ok()
    }

    /// Step 3: leaves the removal and the value to the collector.
    #[cold]
    fn leave_in_place(self, record: Record<'g>) {
        let settled = InlineStamp::REMOVAL.settle(record.cell(), self.clock, By::Installer);
        let stamp = settled.unwrap_or_else(|| Self::removal_below(record));
        let number = stamp.number().expect("settled by this thread or by who wrote over it");
        self.tell_capture(record.key());
        self.store.count_left();
        self.store.collection.tombstone(record, VersionRef::Inline(record, stamp), number);
    }

    /// The stamp of a removal in place that others have settled and written over. It has no entry yet, so it
    /// is in its chain (invariant E4), and the record has not moved (invariant E3).
    fn removal_below(record: Record<'g>) -> InlineStamp {
        let mut next = Self::head(record);
        while let Some(version) = next {
            if let VersionRef::Inline(_, stamp) = version
                && stamp.is_removal()
            {
                return stamp;
            }
            next = version.older(record);
        }
        unreachable!("a removal in place stays until its entry is disposed of")
    }
}
