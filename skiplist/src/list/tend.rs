//! When blocks are compacted and merged: policy, no part of the protocol.

use super::raw::BlockRef;
use super::search::{Place, records};
use super::work::Work;

impl<'g> Work<'g> {
    /// Notes that a record of the level with this key died; rebuilds its block when much of it is
    /// garbage, merges it into its left neighbour when little else is left.
    pub(super) fn tend(&mut self, level: usize, key: &[u8]) {
        self.tend_block(self.list.seek(level, Place::at(key)));
    }

    /// As [`Work::tend`] at level 0, for who was at the block that covered the key, in this session.
    pub(super) fn tend_from(&mut self, block: BlockRef<'g>, key: &[u8]) {
        if block.is_undecided() {
            self.tend_block(block);
        } else {
            self.tend(0, key);
        }
    }

    fn tend_block(&mut self, block: BlockRef<'g>) {
        let dead = block.note_dead();
        let quarter = block.capacity() / 4;
        // The count is believed as long as it is low: to look at the records costs a miss for each. There are
        // more than twice as many where the word behind so many is taken.
        if dead < quarter && block.entry(2 * dead).is_some() {
            return;
        }
        block.prefetch_records();
        let (mut used, mut live) = (0, 0);
        let mut moved = 0;
        for record in records(block) {
            used += 1;
            let at = record.live();
            live += usize::from(at.is_some());
            moved += usize::from(at.is_some_and(|at| at != record));
        }
        let dead = used - live + moved;
        block.set_dead(dead);
        if dead < quarter && dead * 2 < used {
            return;
        }
        // Hysteresis: what a merge or a split leaves is well above an eighth.
        if live <= block.capacity() / 8 && self.may_merge(block) {
            self.merge(block);
        } else if dead > 0 {
            self.decide(block);
        }
    }

    /// Whether the block has a left neighbour under the same parent. A merge across the parent's
    /// boundary would leave the parent without an entry at its low end.
    pub(super) fn may_merge(&self, block: BlockRef<'g>) -> bool {
        if block.is_leftmost() {
            return false;
        }
        let above = block.level() + 1;
        if above >= self.list.height() {
            return true;
        }
        let low = block.anchor().key();
        let parent = self.list.seek(above, Place::at(low));
        parent.is_leftmost() || parent.anchor().key() != low
    }
}
