//! A record together with the place where a search found it, so that who ends the record need not search again.

use super::hint::Needle;
use super::list::GROUP;
use super::raw::BlockRef;
use super::search::find_in;
use super::work::Work;
use super::{List, Record};
use crate::mutant::{Mutant, planted};
use crate::{Guard, SEALED};

/// A record, and the block that it was found in. From [`List::find_place`].
#[derive(Clone, Copy)]
pub struct Found<'g> {
    list: &'g List,
    /// Was undecided in the session of the guard.
    block: BlockRef<'g>,
    record: Record<'g>,
}

impl<'g> Found<'g> {
    /// The record.
    #[must_use]
    #[inline]
    pub fn record(&self) -> Record<'g> {
        self.record
    }

    /// As [`List::unlink_sealed`] of the record, most often without a search.
    ///
    /// # Complexity
    ///
    /// O(1), and O(log n) when the block was replaced meanwhile; one call in about 15 rebuilds a block.
    ///
    /// # Panics
    ///
    /// When the cell is not sealed, or the guard is of another barrier.
    pub fn unlink_sealed(self, g: &'g Guard<'_>) {
        self.list.check(g);
        self.list.drop_sealed(self.record, g, |work, key| work.tend_from(self.block, key));
    }
}

impl List {
    /// As [`List::find`], for who may end the record.
    ///
    /// # Complexity
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    ///
    /// # Examples
    ///
    /// ```
    /// use whimbrel_skiplist::sync::{Arc, atomic::Ordering};
    /// use whimbrel_skiplist::{Barrier, List, SEALED};
    ///
    /// let list = List::new(Arc::new(Barrier::new()));
    /// let guard = list.barrier().pin();
    /// list.find_or_insert(b"knot", 0, |_| 8, &guard)?;
    /// let knot = list.find_place(b"knot", &guard).expect("it was inserted");
    /// knot.record().cell().store(SEALED, Ordering::Release);
    /// knot.unlink_sealed(&guard);
    /// assert_eq!(list.len_estimate(), 0);
    /// # Ok::<(), whimbrel_skiplist::KeyTooLong>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn find_place<'g>(&'g self, key: &[u8], g: &'g Guard<'_>) -> Option<Found<'g>> {
        self.check(g);
        let needle = Needle::new(key);
        let block = self.seek_leaf(needle);
        let record = find_in(block, needle, !planted(Mutant::SealedFound)).ok()?;
        Some(Found { list: self, block, record: Record(record) })
    }

    /// As [`List::unlink_sealed`] for each of the records. The searches run side by side, as those of
    /// [`List::find_many`].
    ///
    /// # Complexity
    ///
    /// O(log n) a record.
    ///
    /// # Panics
    ///
    /// When a cell is not sealed, or the guard is of another barrier.
    pub fn unlink_many<'g>(&'g self, records: &[Record<'g>], g: &'g Guard<'_>) {
        self.check(g);
        if records.is_empty() {
            return;
        }
        let mut blocks = [self.leftmost(0); GROUP];
        let mut needles = [Needle::new(&[]); GROUP];
        for records in records.chunks(GROUP) {
            let (blocks, needles) = (&mut blocks[..records.len()], &mut needles[..records.len()]);
            for (needle, record) in needles.iter_mut().zip(records) {
                *needle = Needle::new(record.key());
            }
            self.seek_many(needles, blocks);
            for (record, block) in records.iter().zip(blocks) {
                self.drop_sealed(*record, g, |work, key| work.tend_from(*block, key));
            }
        }
    }

    /// Accounts for a record whose cell is sealed, and tends its block.
    pub(super) fn drop_sealed<'g>(
        &'g self,
        r: Record<'g>,
        g: &'g Guard<'_>,
        tend: impl FnOnce(&mut Work<'g>, &[u8]),
    ) {
        let (r, cell) = r.follow();
        assert!(cell == SEALED, "only a record with a sealed cell may be dropped");
        if self.note_dead(r.0) {
            let mut work = Work::new(self, g);
            tend(&mut work, r.key());
            work.clean_up();
        }
    }
}

impl std::fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found").field("record", &self.record).finish_non_exhaustive()
    }
}
