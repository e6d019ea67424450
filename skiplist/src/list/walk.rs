//! Walks over level 0, both ways (step 9): a block's records are ordered when the walk enters it, and
//! records are loaded a few ahead of the one that is handed out.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use super::entry::{Entry, Ordered};
use super::hint::Needle;
use super::raw::BlockRef;
use super::record::RecRef;
use super::search::Place;
use super::{List, Record};
use crate::Guard;
use crate::mutant::{Mutant, planted};

/// So many records ahead of the one that is handed out are being loaded. A record is a cache miss of
/// some 100 ns, and what is done with one takes a tenth of that or less.
const AHEAD: usize = 10;

/// So many records are handed out between two looks ahead.
const STEP: usize = 5;

/// Reads a block that was on the chain in this session, from an order hint on.
///
/// All words are read before any cell: a record whose successor of equal key is here was sealed when
/// that one was inserted (B8), and whoever hands it out sees that.
fn read<'g>(page: &mut Ordered<'g>, block: BlockRef<'g>, from: u16) {
    block.prefetch();
    page.fill(block, |entry| {
        let dead_early = planted(Mutant::ScanReadsCellsEarly) && entry.record().is_sealed();
        entry.hint() >= from && !dead_early
    });
}

/// The record to hand out for one that was read, unless it is to be passed over.
fn live(record: RecRef<'_>) -> Option<RecRef<'_>> {
    if planted(Mutant::ScanReadsCellsEarly) { Some(record) } else { record.live() }
}

/// Number of entries below a key, or not above it.
fn count_to(entries: &[Entry<'_>], needle: Needle<'_>, hint: u16, or_equal: bool) -> usize {
    entries.partition_point(|entry| match entry.compare(needle.key, hint) {
        Ordering::Less => true,
        Ordering::Equal => or_equal,
        Ordering::Greater => false,
    })
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
        let (mut page, mut next_page) = (&mut Ordered::new(), &mut Ordered::new());
        let (mut block, mut at) = match from {
            Bound::Unbounded => {
                let start = self.leftmost(0);
                read(page, start, 0);
                (start, 0)
            }
            Bound::Included(key) | Bound::Excluded(key) => {
                let needle = Needle::new(key);
                let start = self.seek(0, Place::At(needle));
                let hint = needle.order_hint(start.shared());
                read(page, start, hint);
                // Those of equal hints come first, and are few or all that there are.
                let equal = page.count_of_hint(hint);
                let first = page.first(equal);
                (start, count_to(first, needle, hint, matches!(from, Bound::Excluded(_))))
            }
        };
        page.first(at + AHEAD).iter().skip(at).for_each(|entry| entry.prefetch());
        loop {
            let (len, mut next) = (page.len(), None);
            if len - at <= 2 * (AHEAD + STEP) {
                block.prefetch_next();
            }
            while at < len {
                let to = (at + STEP).min(len);
                let ahead = page.first(to + AHEAD);
                ahead.iter().skip(at + AHEAD).for_each(|entry| entry.prefetch());
                if to + AHEAD > len {
                    if next.is_none() {
                        next = Self::successor(block).inspect(|next| read(next_page, *next, 0));
                    }
                    let ahead = next_page.first(to + AHEAD - len);
                    ahead.iter().rev().take(STEP).for_each(|entry| entry.prefetch());
                } else if len - to <= AHEAD + STEP {
                    block.prefetch_next();
                }
                for entry in &page.first(to)[at..] {
                    if live(entry.record()).is_some_and(|record| f(Record(record)).is_break()) {
                        return;
                    }
                }
                at = to;
            }
            if next.is_none() {
                next = Self::successor(block).inspect(|next| read(next_page, *next, 0));
                next_page.first(AHEAD).iter().for_each(|entry| entry.prefetch());
            }
            let Some(next) = next else { return };
            std::mem::swap(&mut page, &mut next_page);
            (block, at) = (next, 0);
        }
    }

    /// Calls `f` for every record from the upper bound `from` downwards that is not sealed, in
    /// strictly descending order, until it breaks or the list ends. As [`List::walk`] otherwise; each
    /// block costs a search.
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
        let page = &mut Ordered::new();
        let place = match from {
            Bound::Unbounded => Place::End,
            Bound::Included(key) => Place::at(key),
            Bound::Excluded(key) => Place::before(key),
        };
        let mut block = self.seek(0, place);
        read(page, block, 0);
        let mut all = page.all();
        if let Some(needle) = place.bound() {
            let hint = needle.order_hint(block.shared());
            all = &all[..count_to(all, needle, hint, matches!(from, Bound::Included(_)))];
        }
        loop {
            all.iter().rev().take(AHEAD).for_each(|entry| entry.prefetch());
            for (at, entry) in all.iter().enumerate().rev() {
                if let Some(ahead) = at.checked_sub(AHEAD) {
                    all[ahead].prefetch();
                }
                let record = entry.record();
                if live(record).is_some_and(|record| f(Record(record)).is_break()) {
                    return;
                }
            }
            if block.is_leftmost() {
                return;
            }
            let low = Needle::new(block.anchor().key());
            block = self.seek(0, Place::Before(low));
            read(page, block, 0);
            all = page.all();
            if !planted(Mutant::ScanBackNotCut) {
                all = &all[..count_to(all, low, low.order_hint(block.shared()), false)];
            }
        }
    }
}
