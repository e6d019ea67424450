//! Walks over level 0, both ways (step 9): a block's records are in order when the walk enters it, and
//! records are loaded a few ahead of the one that is handed out.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};

use super::entry::{Entry, Ordered};
use super::hint::Needle;
use super::raw::BlockRef;
use super::search::Place;
use super::{List, Record, Seen};
use crate::Guard;
use crate::mutant::{Mutant, planted};

/// So many records ahead of the one that is handed out are being loaded. A record is a cache miss of
/// some 100 ns, and what is done with one takes a tenth of that or less.
const AHEAD: usize = 16;

/// As [`AHEAD`], where records lie one behind the other, as a bulk load leaves them: what is done with one
/// takes a fifth of the time there, because pages are shared and the hardware loads ahead too.
const AHEAD_IN_A_ROW: usize = 32;

/// Records that lie one behind the other take no more than this of memory each, in bytes.
const IN_A_ROW: u64 = 128;

/// As [`AHEAD`], in the block in which the walk began: many walks end there.
const AHEAD_AT_FIRST: usize = 10;

/// As [`AHEAD_AT_FIRST`], beyond that block.
const BEYOND_AT_FIRST: usize = 5;

/// Reads a block that was on the chain in this session, from an order hint on.
///
/// All words are read before any cell: a record whose successor of equal key is here was sealed when
/// that one was inserted (B8), and whoever hands it out sees that: the inserter saw the seal before it
/// claimed the word (Release), the word was read here (Acquire), and no later look at the cell sees less.
/// So records of one key may be handed out in any order. The words in order have no part in this: they
/// never change, so it is as if they had been read here.
fn read<'g>(page: &mut Ordered<'g>, block: BlockRef<'g>, from: u16) {
    page.enter(block, from, |entry| {
        !(planted(Mutant::ScanReadsCellsEarly) && entry.record().is_sealed())
    });
}

/// Begins to load records.
#[inline]
fn load<'e, 'g: 'e>(entries: impl Iterator<Item = &'e Entry<'g>>) {
    entries.for_each(|entry| entry.prefetch());
}

/// So many records ahead are loaded in a block that the walk did not begin in.
#[inline]
fn reach_in(entries: &[Entry<'_>]) -> usize {
    match entries {
        [first, .., last] if first.distance(*last) <= IN_A_ROW * entries.len() as u64 => {
            AHEAD_IN_A_ROW
        }
        _ => AHEAD,
    }
}

/// Number of entries below a key, or not above it.
fn count_to(entries: &[Entry<'_>], needle: Needle<'_>, hint: u16, or_equal: bool) -> usize {
    entries.partition_point(|entry| match entry.compare(needle.key, hint) {
        Ordering::Less => true,
        Ordering::Equal => or_equal,
        Ordering::Greater => false,
    })
}

/// The key of a bound, and whether the walk comes past the key itself.
fn key_of<'k>(bound: Bound<&'k [u8]>) -> Option<(Needle<'k>, bool)> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) => Some((Needle::new(key), true)),
        Bound::Excluded(key) => Some((Needle::new(key), false)),
    }
}

/// Whether nothing can lie between the bounds because they are not in order, or one key.
fn are_crossed(lo: Bound<&[u8]>, hi: Bound<&[u8]>) -> bool {
    match (lo, hi) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(lo), Bound::Included(hi)) => lo > hi,
        (Bound::Included(lo) | Bound::Excluded(lo), Bound::Included(hi) | Bound::Excluded(hi)) => {
            lo >= hi
        }
    }
}

/// The entries of a block that lie up to an upper end, and whether the walk ends with this block. The
/// end is not below the block's range.
fn up_to<'e, 'g>(
    block: BlockRef<'g>,
    entries: &'e [Entry<'g>],
    end: Option<(Needle<'_>, bool)>,
) -> (&'e [Entry<'g>], bool) {
    match end {
        Some((needle, or_equal)) if !block.ends_before(Place::At(needle)) => {
            let hint = needle.order_hint(block.shared());
            (&entries[..count_to(entries, needle, hint, or_equal)], true)
        }
        _ => (entries, false),
    }
}

/// As [`up_to`], down to a lower end, which is not above the block's range.
fn down_to<'e, 'g>(
    block: BlockRef<'g>,
    entries: &'e [Entry<'g>],
    end: Option<(Needle<'_>, bool)>,
) -> (&'e [Entry<'g>], bool) {
    match end {
        Some((needle, or_equal)) if block.is_leftmost() || block.anchor().key() <= needle.key => {
            let hint = needle.order_hint(block.shared());
            (&entries[count_to(entries, needle, hint, !or_equal)..], true)
        }
        _ => (entries, block.is_leftmost()),
    }
}

/// The first entries, so many and those that have the key of the last of them: a walk that went on behind
/// the key would miss the live one of them.
fn first_of<'e, 'g>(entries: &'e [Entry<'g>], most: usize) -> &'e [Entry<'g>] {
    let mut len = entries.len().min(most);
    while 0 < len && len < entries.len() && are_of_one_key(entries[len - 1], entries[len]) {
        len += 1;
    }
    &entries[..len]
}

/// As [`first_of`], from the other end.
fn last_of<'e, 'g>(entries: &'e [Entry<'g>], most: usize) -> &'e [Entry<'g>] {
    let mut from = entries.len().saturating_sub(most);
    while 0 < from && from < entries.len() && are_of_one_key(entries[from - 1], entries[from]) {
        from -= 1;
    }
    &entries[from..]
}

fn are_of_one_key(one: Entry<'_>, other: Entry<'_>) -> bool {
    one.hint() == other.hint() && one.record().key() == other.record().key()
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
        self.walk_some(from, Bound::Unbounded, usize::MAX, g, |seen| match seen.live() {
            Some((record, _)) => f(record),
            None => ControlFlow::Continue(()),
        });
    }

    /// As [`List::walk`], up to the upper bound `to`, past `most` records, at least one, and those few more
    /// that have the key of the last. Returns that one if the walk ended there, so that there may be more.
    ///
    /// `f` gets every record, sealed and moved ones too: [`Seen::live`] tells.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn walk_some<'g>(
        &'g self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        most: usize,
        g: &'g Guard<'_>,
        mut f: impl FnMut(Seen<'g>) -> ControlFlow<()>,
    ) -> Option<Record<'g>> {
        self.check(g);
        if are_crossed(from, to) {
            return None;
        }
        let end = key_of(to);
        let (mut page, mut next_page) = (&mut Ordered::new(), &mut Ordered::new());
        let (mut block, mut skip) = self.enter(page, from);
        let mut left = most.max(1);
        let (mut reach, mut beyond_reach) = (AHEAD_AT_FIRST, BEYOND_AT_FIRST);
        loop {
            let (entries, is_end) = up_to(block, &page.all()[skip..], end);
            let entries = first_of(entries, left);
            left = left.saturating_sub(entries.len());
            let (len, is_last) = (entries.len(), is_end || left == 0);
            // The next block begins to be loaded at `far`, and is read at `beyond`.
            let near = len.saturating_sub(reach);
            let far = near.saturating_sub(reach);
            let beyond = len.saturating_sub(beyond_reach).max(near);
            let mut next = None;
            for part in 0..4 {
                let (now, ahead) = match part {
                    0 => (&entries[..far], &entries[near - far..]),
                    1 => {
                        if !is_last {
                            block.prefetch_next();
                        }
                        (&entries[far..near], &entries[len - (near - far)..])
                    }
                    2 => (&entries[near..beyond], &entries[near..beyond]),
                    _ => {
                        next = if is_last { None } else { Self::successor(block) };
                        match next {
                            Some(next) => read(next_page, next, 0),
                            None => next_page.clear(),
                        }
                        let (now, ahead) = (&entries[beyond..], next_page.all());
                        load(ahead.iter().take(reach_in(ahead)).skip(now.len()));
                        (now, if ahead.len() < now.len() { now } else { ahead })
                    }
                };
                for (entry, other) in now.iter().zip(&ahead[..now.len()]) {
                    other.prefetch();
                    if f(Seen::look_at(entry.record())).is_break() {
                        return None;
                    }
                }
            }
            if left == 0 {
                return entries.last().map(|entry| Record(entry.record()));
            }
            let next = next?;
            std::mem::swap(&mut page, &mut next_page);
            (block, skip) = (next, 0);
            reach = reach_in(page.all());
            beyond_reach = reach;
        }
    }

    /// Reads the block where a walk upwards begins, and begins to load its first records. Returns the
    /// number of its entries below the walk.
    fn enter<'g>(&'g self, page: &mut Ordered<'g>, from: Bound<&[u8]>) -> (BlockRef<'g>, usize) {
        let Some((needle, is_included)) = key_of(from) else {
            let block = self.leftmost(0);
            read(page, block, 0);
            load(page.all().iter().take(AHEAD_AT_FIRST));
            return (block, 0);
        };
        let block = self.seek(0, Place::At(needle));
        block.prefetch();
        let hint = needle.order_hint(block.shared());
        read(page, block, hint);
        let entries = page.all();
        load(entries.iter().take(AHEAD_AT_FIRST));
        // Those of equal hints come first, and are few or all that there are.
        let equal = entries.iter().take_while(|entry| entry.hint() == hint).count();
        let below = count_to(&entries[..equal], needle, hint, !is_included);
        load(entries.iter().take(below + AHEAD_AT_FIRST).skip(AHEAD_AT_FIRST));
        (block, below)
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
        self.walk_back_some(from, Bound::Unbounded, usize::MAX, g, |seen| match seen.live() {
            Some((record, _)) => f(record),
            None => ControlFlow::Continue(()),
        });
    }

    /// As [`List::walk_back`], down to the lower bound `to`, past `most` records: as
    /// [`List::walk_some`].
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn walk_back_some<'g>(
        &'g self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        most: usize,
        g: &'g Guard<'_>,
        mut f: impl FnMut(Seen<'g>) -> ControlFlow<()>,
    ) -> Option<Record<'g>> {
        self.check(g);
        if are_crossed(to, from) {
            return None;
        }
        let end = key_of(to);
        let (mut page, mut next_page) = (&mut Ordered::new(), &mut Ordered::new());
        let place = match from {
            Bound::Unbounded => Place::End,
            Bound::Included(key) => Place::at(key),
            Bound::Excluded(key) => Place::before(key),
        };
        let (mut block, mut len) = self.enter_back(page, place, matches!(from, Bound::Included(_)));
        load(page.all()[..len].iter().rev().take(AHEAD_AT_FIRST));
        let mut left = most.max(1);
        let (mut reach, mut beyond_reach) = (AHEAD_AT_FIRST, BEYOND_AT_FIRST);
        loop {
            let (entries, is_end) = down_to(block, &page.all()[..len], end);
            let entries = last_of(entries, left);
            left = left.saturating_sub(entries.len());
            let is_last = is_end || left == 0;
            // The next block is read at `beyond`.
            let near = entries.len().min(reach);
            let beyond = near.min(beyond_reach);
            let (mut next, mut next_len) = (None, 0);
            for part in 0..3 {
                let (now, ahead) = match part {
                    0 => (&entries[near..], &entries[..entries.len() - near]),
                    1 => (&entries[beyond..near], &entries[beyond..near]),
                    _ => {
                        if !is_last {
                            let low = Place::before(block.anchor().key());
                            let (block, len) = self.enter_back(next_page, low, false);
                            (next, next_len) = (Some(block), len);
                        }
                        let (now, ahead) = (&entries[..beyond], &next_page.all()[..next_len]);
                        load(ahead.iter().rev().take(reach_in(ahead)).skip(now.len()));
                        (now, if ahead.len() < now.len() { now } else { ahead })
                    }
                };
                let ahead = &ahead[ahead.len() - now.len()..];
                for (entry, other) in now.iter().zip(ahead).rev() {
                    other.prefetch();
                    if f(Seen::look_at(entry.record())).is_break() {
                        return None;
                    }
                }
            }
            if left == 0 {
                return entries.first().map(|entry| Record(entry.record()));
            }
            let next = next?;
            std::mem::swap(&mut page, &mut next_page);
            (block, len) = (next, next_len);
            reach = reach_in(&page.all()[..len]);
            beyond_reach = reach;
        }
    }

    /// Reads the block where a search ends; returns the number of its entries below the place.
    fn enter_back<'g>(
        &'g self,
        page: &mut Ordered<'g>,
        place: Place<'_>,
        or_equal: bool,
    ) -> (BlockRef<'g>, usize) {
        let block = self.seek(0, place);
        block.prefetch();
        read(page, block, 0);
        let entries = page.all();
        let len = match place.bound() {
            Some(needle) if !planted(Mutant::ScanBackNotCut) => {
                count_to(entries, needle, needle.order_hint(block.shared()), or_equal)
            }
            _ => entries.len(),
        };
        (block, len)
    }
}
