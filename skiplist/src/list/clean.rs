//! Clean-up after a decision (step 4) and announcements (step 6), by the winner alone.

use super::hint::Needle;
use super::raw::{BlockRef, Repl};
use super::record::{Child, Dropped, RecRef};
use super::search::Place;
use super::work::{Task, Work};
use crate::SEALED;
use crate::mutant::{Mutant, Step, planted};

impl<'g> Work<'g> {
    /// Does what decisions of this operation left to do, in the session in which they were made.
    #[inline]
    pub(super) fn clean_up(&mut self) {
        while let Some(task) = self.todo.pop() {
            self.finish(task);
        }
    }

    #[inline(never)]
    fn finish(&mut self, task: Task<'g>) {
        let block = task.block;
        let level = block.level();
        if planted(Mutant::RetiredBeforeUnlink) {
            self.retire_block(block);
        }
        self.unlink(block);
        self.step(Step::Unlinked);
        if planted(Mutant::RetiredBeforeAdvance) {
            self.retire_block(block);
        }
        block.anchor().advance_cell();
        if let Some(absorbed) = task.absorbed {
            self.end_absorbed(absorbed);
        }
        if !planted(Mutant::RetiredBeforeUnlink) && !planted(Mutant::RetiredBeforeAdvance) {
            self.retire_block(block);
        }
        self.retire_records(task.dropped);
        self.step(Step::Retired);
        for anchor in task.anchors {
            self.announce(level, anchor);
        }
        if let Some(absorbed) = task.absorbed {
            self.tend_parent(level, absorbed);
        }
    }

    /// Seals the anchor of a block that has been absorbed, and retires the block.
    fn end_absorbed(&mut self, block: BlockRef<'g>) {
        let anchor = block.anchor();
        if !planted(Mutant::AnchorNotSealed) {
            anchor.seal_anchor();
        }
        self.retire_block(block);
        let is_top = block.level() + 1 == self.list.shape().levels;
        if (is_top && !planted(Mutant::TopAnchorKept)) || planted(Mutant::AbsorberRetiresAnchor) {
            // B7: on the top level nobody announces anchors.
            self.retire_record(anchor);
        }
    }

    /// Takes a decided block off the chain (step 4a).
    fn unlink(&mut self, block: BlockRef<'g>) {
        if block.is_leftmost() {
            return;
        }
        let low = block.anchor().key();
        while !self.try_unlink(block.level(), low) {}
    }

    /// One search for the predecessor of a place, and the move of its `next` past decided blocks.
    /// False when it had to help and the search must begin again.
    fn try_unlink(&mut self, level: usize, low: &[u8]) -> bool {
        let mut keeper = None;
        let mut at = if planted(Mutant::PredecessorNotStrict) {
            self.list.seek(level, Place::at(low))
        } else {
            self.list.start(level, Needle::new(low))
        };
        let pred = loop {
            match at.repl() {
                Repl::Block(heir) => {
                    at = heir;
                    continue;
                }
                Repl::Undecided => keeper = Some(at),
                Repl::Absorb => {}
            }
            match at.high().map(|high| high.key().cmp(low)) {
                // The predecessor has taken the place over.
                None | Some(std::cmp::Ordering::Greater) => return true,
                Some(std::cmp::Ordering::Equal) => break at,
                Some(std::cmp::Ordering::Less) => {}
            }
            at = at.next().0.expect("a block with an end has a successor");
        };
        if keeper != Some(pred) && !planted(Mutant::AbsorbedPredecessorDecided) {
            // The predecessor is marked ABSORB; its own predecessor has to take it in first.
            if let Some(keeper) = keeper {
                self.decide(keeper);
            }
            return false;
        }
        loop {
            let (next, frozen) = pred.next();
            let next = next.expect("a block with an end has a successor");
            let Repl::Block(heir) = next.repl() else { return true };
            if frozen && !planted(Mutant::UnlinkOnFrozen) {
                if planted(Mutant::NoHelpForFrozen) {
                    return true;
                }
                self.decide(pred);
                return false;
            }
            pred.bypass(next, heir);
            if planted(Mutant::BypassedOnce) {
                return true;
            }
        }
    }

    /// Tells the level above of a new anchor (step 6).
    fn announce(&mut self, level: usize, anchor: RecRef<'g>) {
        let above = level + 1;
        if above == self.list.shape().levels {
            return;
        }
        loop {
            anchor.advance_cell();
            match anchor.child() {
                Child::Sealed if planted(Mutant::AnnouncedUnchecked) => {}
                Child::Sealed => {
                    // B7: it never entered the level above, and never will.
                    if !planted(Mutant::RefusedAnchorKept) {
                        self.retire_record(anchor);
                    }
                    return;
                }
                Child::Absorbed(_) if planted(Mutant::AnnouncedUnchecked) => {}
                Child::Absorbed(block) => {
                    self.absorb(block);
                    anchor.seal_anchor();
                    continue;
                }
                Child::Block(_) => {}
            }
            match self.insert_anchor(above, anchor) {
                Err(_) if planted(Mutant::ConflictTakenForSuccess) => return,
                Err(other) => self.resolve_conflict(other),
                Ok(()) => return,
            }
        }
    }

    /// Ends another anchor of the same key that is in the way: its block was absorbed before ours
    /// was made, and who absorbed it has not sealed it yet.
    fn resolve_conflict(&mut self, other: RecRef<'g>) {
        if planted(Mutant::ConflictSealedWithoutHelp) {
            other.seal_anchor();
            return;
        }
        if let Child::Absorbed(block) = other.child() {
            self.absorb(block);
            other.seal_anchor();
        }
    }

    /// Notes a dead entry in the level above, which may be due for a rebuild.
    fn tend_parent(&mut self, level: usize, absorbed: BlockRef<'g>) {
        let above = level + 1;
        if above < self.list.height() {
            self.tend(above, absorbed.anchor().key());
        }
    }

    fn retire_block(&self, block: BlockRef<'g>) {
        self.list.note_retired(block.bytes());
        self.retire(super::raw::as_retired(block), 1, block.bytes(), super::raw::reclaim_block);
    }

    pub(super) fn retire_record(&self, record: RecRef<'g>) {
        self.list.note_retired(record.bytes());
        let ptr = record.as_ptr().as_ptr().cast();
        self.retire(ptr, 1, record.bytes(), super::record::reclaim_record);
    }

    /// As [`Work::retire_record`], with one hand-over for all.
    fn retire_records(&self, records: Vec<RecRef<'g>>) {
        if records.len() < 2 {
            records.into_iter().for_each(|record| self.retire_record(record));
            return;
        }
        let (pieces, bytes) = (records.len(), records.iter().map(|record| record.bytes()).sum());
        self.list.note_retired(bytes);
        self.retire(Dropped::into_raw(records), pieces, bytes, Dropped::reclaim);
    }

    fn retire(&self, ptr: *mut u8, pieces: usize, bytes: usize, reclaim: unsafe fn(*mut u8)) {
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        if super::model::retire(ptr, reclaim) {
            return;
        }
        // SAFETY: B5 to B7: only the winner of the decision that took it out comes here, once, after
        // the chain, the anchors and the index have stopped leading to it.
        unsafe { self.g.retire_several(ptr, pieces, bytes, reclaim) };
    }
}

const _: () = assert!(SEALED != 0, "a sealed anchor differs from one without a block");
