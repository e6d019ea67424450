//! Moving records, and rebuilding blocks in passing: how a list that was emptied or churned becomes
//! dense again.

use std::ops::{Bound, ControlFlow};

use super::raw::BlockRef;
use super::record::{MOVED, OwnedRec, RecRef};
use super::search::{Place, records};
use super::work::Work;
use super::{List, Record};
use crate::mutant::{Mutant, planted};
use crate::{Guard, SEALED};

/// What [`List::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Blocks that were rebuilt without their dead and moved records.
    pub rebuilt: usize,
    /// Blocks that were merged into their left neighbours.
    pub merged: usize,
}

/// A block that is passed, and what is in it.
#[derive(Clone, Copy)]
struct Passed<'g> {
    block: BlockRef<'g>,
    live: usize,
    has_garbage: bool,
}

impl<'g> Passed<'g> {
    fn new(block: BlockRef<'g>) -> Self {
        records(block).for_each(RecRef::prefetch);
        let mut passed = Self { block, live: 0, has_garbage: false };
        for record in records(block) {
            let at = record.live();
            passed.live += usize::from(at.is_some());
            passed.has_garbage |= at != Some(record);
        }
        passed
    }
}

impl List {
    /// Puts a copy in the place of a record, if the record's cell still holds `expected`.
    ///
    /// `init` gets the copy, which has the key and `inline_len` zeroed bytes and which nobody else can
    /// see; it writes the inline part and returns the first value of the cell. From the move on,
    /// which is one compare-and-swap of the old cell, the copy is the key's record. None: the cell
    /// holds something else, and the copy was freed as plain bytes.
    ///
    /// Accesses that have the old record come to the copy by [`Record::follow`]. The old record stays
    /// in its block until the block is rebuilt, for which [`List::compact`] is the way; what its inline
    /// part holds may be read until then by who found it before. The layer above must
    /// not keep the old record's address beyond this session.
    ///
    /// # Complexity
    ///
    /// O(length of the record).
    ///
    /// # Panics
    ///
    /// When `expected` is [`SEALED`], `inline_len` does not fit in 32 bits, or the guard is of
    /// another barrier.
    pub fn relocate<'g>(
        &'g self,
        r: Record<'g>,
        expected: u64,
        inline_len: usize,
        init: impl FnOnce(Record<'_>) -> u64,
        g: &'g Guard<'_>,
    ) -> Option<Record<'g>> {
        self.check(g);
        assert!(expected != SEALED && expected & MOVED == 0, "only a live record can move");
        let mut fresh = OwnedRec::new(r.key(), inline_len, false);
        let cell = init(Record(fresh.record()));
        fresh.set_cell(cell);
        // SAFETY: owned by `fresh`, or shared from the move on and then protected by the session.
        let copy = unsafe { RecRef::protect(fresh.record().as_ptr()) };
        if !r.0.move_to(expected, copy) {
            return None;
        }
        let _ = fresh.into_raw();
        self.note_moved(copy.bytes());
        if planted(Mutant::MovedRetiredEarly) {
            Work::new(self, g).retire_record(r.0);
        }
        Some(Record(copy))
    }

    /// Rebuilds the blocks of a range that hold dead or moved records, and merges those that fit into
    /// their left neighbours, `most` blocks at most. Adds to `report`.
    ///
    /// Returns the key to go on from, in a session of its own so that this one can end; none when the
    /// range was done. Entries that come and go meanwhile are as with any other rebuild: nothing is
    /// lost, nobody waits.
    ///
    /// # Complexity
    ///
    /// A search and at most two rebuilds a block. Blocks above are rebuilt as well.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn compact<'g>(
        &'g self,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        most: usize,
        report: &mut Compacted,
        g: &'g Guard<'_>,
    ) -> Option<Vec<u8>> {
        self.check(g);
        let mut work = Work::new(self, g);
        let (_, fill) = self.shape().of_level(0);
        let mut block = match lo {
            Bound::Unbounded => self.leftmost(0),
            Bound::Included(key) | Bound::Excluded(key) => self.seek(0, Place::at(key)),
        };
        let mut left: Option<Passed<'g>> = None;
        let mut go_on = None;
        for number in 0.. {
            if number == most {
                go_on = Some(block.anchor().key().to_vec());
                break;
            }
            let (passed, high) = (Passed::new(block), block.high());
            let may_merge = work.may_merge(block);
            match &mut left {
                Some(left) if may_merge && left.live + passed.live <= fill => {
                    work.merge(block);
                    work.clean_up();
                    left.live += passed.live;
                    left.has_garbage = false;
                    report.merged += 1;
                }
                left => {
                    let left = left.replace(passed);
                    work.rebuild(left, report);
                    if !may_merge {
                        work.rebuild_parent(left);
                    }
                }
            }
            let Some(high) = high else {
                work.rebuild_parent(left);
                break;
            };
            if !is_inside(high.key(), hi) {
                break;
            }
            block = self.seek(0, Place::at(high.key()));
        }
        work.rebuild(left, report);
        go_on
    }
}

impl List {
    /// Ends the records of a range: `seal` is asked to seal the cell of each, and says whether it did.
    /// Returns how many it ended; each block is rebuilt or merged once, not once for each record.
    ///
    /// Not one moment: a record that comes while this runs may stay. All in the one session of the
    /// guard, so cut a long range into pieces.
    ///
    /// # Complexity
    ///
    /// O(log n), and O(1) a record of the range.
    ///
    /// # Panics
    ///
    /// When `seal` says that it sealed a cell which is not, or the guard is of another barrier.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ops::Bound;
    /// use whimbrel_skiplist::sync::{Arc, atomic::Ordering};
    /// use whimbrel_skiplist::{Barrier, List, SEALED};
    ///
    /// let list = List::new(Arc::new(Barrier::new()));
    /// let guard = list.barrier().pin();
    /// for key in ["avocet", "dunlin", "knot", "whimbrel"] {
    ///     list.find_or_insert(key.as_bytes(), 0, |_| 8, &guard)?;
    /// }
    /// let (from, to) = (Bound::Included(&b"d"[..]), Bound::Excluded(&b"w"[..]));
    /// let ended = list.remove_range(from, to, &guard, |record| {
    ///     record.cell().swap(SEALED, Ordering::AcqRel) != SEALED
    /// });
    /// assert_eq!((ended, list.len_estimate()), (2, 2));
    /// # Ok::<(), whimbrel_skiplist::KeyTooLong>(())
    /// ```
    pub fn remove_range<'g>(
        &'g self,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        g: &'g Guard<'_>,
        mut seal: impl FnMut(Record<'g>) -> bool,
    ) -> usize {
        let mut ended = 0;
        self.walk(lo, g, |record| {
            if !is_inside(record.key(), hi) {
                return ControlFlow::Break(());
            }
            if seal(record) {
                assert!(record.0.is_sealed(), "only a record with a sealed cell may be dropped");
                ended += usize::from(self.note_dead(record.0));
            }
            ControlFlow::Continue(())
        });
        if ended > 0 {
            let _ = self.compact(lo, hi, usize::MAX, &mut Compacted::default(), g);
        }
        ended
    }
}

impl<'g> Work<'g> {
    fn rebuild(&mut self, passed: Option<Passed<'g>>, report: &mut Compacted) {
        let Some(passed) = passed.filter(|passed| passed.has_garbage) else { return };
        self.decide(passed.block);
        self.clean_up();
        report.rebuilt += 1;
    }

    /// Rebuilds the block that leads to this one, after all that it leads to: as its entries become
    /// fewer, blocks of its level would otherwise stay scattered.
    fn rebuild_parent(&mut self, passed: Option<Passed<'g>>) {
        let Some(passed) = passed.filter(|_| self.list.height() > 1) else { return };
        let parent = if passed.block.is_leftmost() {
            self.list.leftmost(1)
        } else {
            self.list.seek(1, Place::at(passed.block.anchor().key()))
        };
        self.decide(parent);
        self.clean_up();
    }
}

/// Whether a block that begins with this key has to do with a range up to `hi`.
fn is_inside(low: &[u8], hi: Bound<&[u8]>) -> bool {
    match hi {
        Bound::Unbounded => true,
        Bound::Included(hi) => low <= hi,
        Bound::Excluded(hi) => low < hi,
    }
}
