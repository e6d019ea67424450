//! Walks over level 0, both ways (step 9): a block's records are ordered when the walk enters it.

use std::ops::{Bound, ControlFlow};

use super::raw::BlockRef;
use super::record::RecRef;
use super::search::{Place, records};
use super::{List, Record};
use crate::Guard;

/// The live records of one block, in ascending order.
struct Page<'g>(Vec<RecRef<'g>>);

impl<'g> Page<'g> {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads a block that was on the chain in this session.
    fn fill(&mut self, block: BlockRef<'g>) {
        self.0.clear();
        // All words before any cell: a record whose successor of equal key is here was sealed when
        // that one was inserted (B8), and that is seen now.
        self.0.extend(records(block));
        self.0.retain(|record| !record.is_sealed());
        let sorted = block.sorted().min(self.0.len());
        // Stable and quick where a prefix is in order.
        let _ = sorted;
        self.0.sort_by(|a, b| a.key().cmp(b.key()));
    }
}

impl List {
    /// Calls `f` for every record from the lower bound `from` upwards that is not sealed, in
    /// strictly ascending order, until it breaks or the list ends.
    ///
    /// A record that is there from the beginning of the walk to its end is seen; of those that come
    /// or go meanwhile some may be.
    ///
    /// # Complexity
    ///
    /// O(log n) to begin, O(1) a step.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn walk<'g>(
        &'g self,
        from: Bound<&[u8]>,
        g: &'g Guard<'_>,
        mut f: impl FnMut(Record<'g>) -> ControlFlow<()>,
    ) {
        self.check(g);
        let start = match from {
            Bound::Unbounded => self.leftmost(0),
            Bound::Included(key) | Bound::Excluded(key) => self.seek(0, Place::At(key)),
        };
        let mut page = Page::new();
        page.fill(start);
        let skipped = page.0.partition_point(|record| match from {
            Bound::Unbounded => false,
            Bound::Included(key) => record.key() < key,
            Bound::Excluded(key) => record.key() <= key,
        });
        page.0.drain(..skipped);
        let mut block = Some(start);
        while let Some(here) = block {
            for record in &page.0 {
                if f(Record(*record)).is_break() {
                    return;
                }
            }
            block = Self::successor(here);
            if let Some(next) = block {
                page.fill(next);
            }
        }
    }

    /// Calls `f` for every record from the upper bound `from` downwards that is not sealed, in
    /// strictly descending order, until it breaks or the list ends. As complete as [`List::walk`].
    ///
    /// # Complexity
    ///
    /// O(log n) a block: the list has no links backwards.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn walk_back<'g>(
        &'g self,
        from: Bound<&[u8]>,
        g: &'g Guard<'_>,
        mut f: impl FnMut(Record<'g>) -> ControlFlow<()>,
    ) {
        self.check(g);
        let mut page = Page::new();
        let mut block = match from {
            Bound::Unbounded => self.seek(0, Place::End),
            Bound::Included(key) => self.seek(0, Place::At(key)),
            Bound::Excluded(key) => self.seek(0, Place::Before(key)),
        };
        page.fill(block);
        page.0.truncate(page.0.partition_point(|record| match from {
            Bound::Unbounded => true,
            Bound::Included(key) => record.key() <= key,
            Bound::Excluded(key) => record.key() < key,
        }));
        loop {
            for record in page.0.iter().rev() {
                if f(Record(*record)).is_break() {
                    return;
                }
            }
            if block.is_leftmost() {
                return;
            }
            let low = block.anchor().key();
            block = self.seek(0, Place::Before(low));
            page.fill(block);
            page.0.truncate(page.0.partition_point(|record| record.key() < low));
        }
    }
}
