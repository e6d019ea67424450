//! Walks over level 0, both ways (step 9): a block's records are ordered when the walk enters it.

use std::ops::{Bound, ControlFlow};

use super::raw::BlockRef;
use super::record::RecRef;
use super::search::{Heads, Place, put_in_order, records};
use super::{List, Record};
use crate::Guard;
use crate::mutant::{Mutant, planted};

/// The live records of one block, in ascending order.
struct Page<'g> {
    records: Heads<'g>,
    /// Records of the block that comes next, to be loaded while these are handed out.
    ahead: Vec<RecRef<'g>>,
}

impl<'g> Page<'g> {
    fn new() -> Self {
        Self { records: Vec::new(), ahead: Vec::new() }
    }

    /// Reads a block that was on the chain in this session.
    fn fill(&mut self, block: BlockRef<'g>) {
        self.records.clear();
        // All words before any cell: a record whose successor of equal key is here was sealed when
        // that one was inserted (B8), and that is seen now.
        self.ahead.clear();
        self.ahead.extend(records(block));
        let early = planted(Mutant::ScanReadsCellsEarly);
        if early {
            self.ahead.clear();
            self.ahead.extend(records(block).filter(|record| !record.is_sealed()));
        }
        let mut sorted = 0;
        for (at, record) in self.ahead.iter().enumerate() {
            if early || !record.is_sealed() {
                sorted += usize::from(!early && at < block.sorted());
                self.records.push((block.head_of(record.key()), *record));
            }
        }
        put_in_order(&mut self.records, sorted);
    }

    /// Notes the records of the block that comes next, and begins to load the block behind it.
    fn look_ahead(&mut self, next: Option<BlockRef<'g>>) {
        self.ahead.clear();
        if let Some(next) = next {
            self.ahead.extend(records(next));
            if let Some(behind) = List::successor(next) {
                behind.prefetch();
            }
        }
    }

    /// Hands the records out. Those of the next block are loaded one by one meanwhile: the machine
    /// drops prefetches that come in a burst.
    fn hand_out(&self, f: &mut impl FnMut(Record<'g>) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut ahead = self.ahead.iter();
        let pace = self.ahead.len() / self.records.len().max(1) + 1;
        for (_, record) in &self.records {
            ahead.by_ref().take(pace).for_each(|record| record.prefetch());
            f(Record(*record))?;
        }
        ahead.for_each(|record| record.prefetch());
        ControlFlow::Continue(())
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
        let skipped = page.records.partition_point(|(_, record)| match from {
            Bound::Unbounded => false,
            Bound::Included(key) => record.key() < key,
            Bound::Excluded(key) => record.key() <= key,
        });
        page.records.drain(..skipped);
        let mut block = start;
        loop {
            let next = Self::successor(block);
            page.look_ahead(next);
            if page.hand_out(&mut f).is_break() {
                return;
            }
            let Some(next) = next else { return };
            block = next;
            page.fill(block);
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
        page.records.truncate(page.records.partition_point(|(_, record)| match from {
            Bound::Unbounded => true,
            Bound::Included(key) => record.key() <= key,
            Bound::Excluded(key) => record.key() < key,
        }));
        loop {
            for (_, record) in page.records.iter().rev() {
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
            let below = |(_, record): &(u64, RecRef<'_>)| record.key() < low;
            if !planted(Mutant::ScanBackNotCut) {
                page.records.truncate(page.records.partition_point(below));
            }
        }
    }
}
