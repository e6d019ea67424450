//! Walks over level 0, both ways (step 9): a block's records are ordered when the walk enters it, and
//! records are loaded a few ahead of the one that is handed out.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use super::entry::{Entry, Ordered};
use super::hint::Needle;
use super::raw::BlockRef;
use super::search::{Place, entries};
use super::{List, Record};
use crate::Guard;

/// So many records ahead of the one that is handed out are being loaded. A record is a cache miss of
/// some 100 ns, and what is done with one takes a tenth of that or less.
const AHEAD: usize = 12;

/// Reads a block that was on the chain in this session, from an order hint on.
///
/// All words are read before any cell: a record whose successor of equal key is here was sealed when
/// that one was inserted (B8), and whoever hands it out sees that.
fn read<'g>(page: &mut Ordered<'g>, block: BlockRef<'g>, from: u16) {
    page.fill(entries(block), block.sorted(), |entry| entry.hint() >= from);
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
            let mut next = None;
            while at < page.len() {
                let left = page.len() - at;
                if left == 2 * AHEAD {
                    block.prefetch_next();
                }
                if left > AHEAD {
                    page.first(at + AHEAD + 1)[at + AHEAD].prefetch();
                } else {
                    if next.is_none() {
                        next = Self::successor(block).inspect(|next| read(next_page, *next, 0));
                    }
                    let ahead = next_page.first(AHEAD - left + 1).get(AHEAD - left);
                    ahead.into_iter().for_each(|entry| entry.prefetch());
                }
                let record = page.first(at + 1)[at].record();
                at += 1;
                if record.live().is_some_and(|record| f(Record(record)).is_break()) {
                    return;
                }
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
                if record.live().is_some_and(|record| f(Record(record)).is_break()) {
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
            all = &all[..count_to(all, low, low.order_hint(block.shared()), false)];
        }
    }
}
