//! What a rebuild takes over from frozen blocks, and how it is laid out in new ones.
//!
//! A block knows most of what the next one needs: the order of its first words, the fingerprints, and
//! the order hints, which stay right where the new range shares as many bits as the old one. Of a record
//! the cell is read, and its key where a hint has to be made anew or tells too little.

use std::ops::Range;

use super::entry::Entry;
use super::hint::shared_bytes;
use super::raw::{BlockRef, MOST_WORDS, Plan};
use super::record::RecRef;
use crate::SEALED;
use crate::mutant::{Mutant, planted};

/// Records of a block and of a successor that it absorbs.
const MOST_KEPT: usize = 2 * MOST_WORDS;

/// Bits of a rank that hold the place of an entry; its order hint lies above.
const PLACE_BITS: u32 = 8;

const _: () = assert!(MOST_KEPT <= 1 << PLACE_BITS);

/// Behind all ranks.
const LAST: u32 = u32::MAX;

/// The live records of frozen blocks in ascending order, and the dead ones.
pub(super) struct Kept<'g> {
    /// In the order in which they were read.
    entries: [Entry<'g>; MOST_KEPT],
    /// Their fingerprints, beside them. Level 0.
    fingerprints: [u8; MOST_KEPT],
    /// Entries there are, dead ones included.
    read: usize,
    /// Hint and place of each live one, in ascending order of the keys.
    ranks: [u32; MOST_KEPT],
    len: usize,
    /// Bits that all keys of the block share, behind which hints begin. None for two blocks, and above level
    /// 0, where hints may be of other bits.
    shared: Option<u32>,
    /// Dead records, and those that moved.
    pub(super) dropped: Vec<RecRef<'g>>,
}

/// A record that is kept, and what its old block says of it.
#[derive(Clone, Copy)]
pub(super) struct KeptEntry<'g> {
    /// With the hint that it had in its old block.
    pub(super) entry: Entry<'g>,
    /// 0 where it was not known.
    pub(super) fingerprint: u8,
}

impl<'g> Kept<'g> {
    /// Nothing.
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            entries: [Entry::NONE; MOST_KEPT],
            fingerprints: [0; MOST_KEPT],
            read: 0,
            ranks: [0; MOST_KEPT],
            len: 0,
            shared: None,
            dropped: Vec::new(),
        }
    }

    /// Adds the records of a frozen block behind those that are there: of one that is replaced, then
    /// perhaps of the successor that it absorbs. Each word is read once, in order.
    pub(super) fn take(&mut self, block: BlockRef<'g>) {
        block.prefetch_records();
        if block.level() == 0 {
            block.read_fingerprints(&mut self.fingerprints[self.read..self.read + MOST_WORDS]);
        }
        let is_all = self.read == 0 && block.level() == 0;
        self.shared = is_all.then(|| block.shared());
        let (from, words) = (self.read, block.words());
        // All words before any cell: who reads a word with Acquire sees the seals before its claim (B8).
        for entry in (0..words.len()).map_while(|at| words.entry(at)) {
            self.entries[self.read % MOST_KEPT] = entry;
            self.read += 1;
        }
        let sorted = (from + block.sorted()).min(self.read);
        let mut first = [LAST; MOST_KEPT];
        let firsts = self.select(block.level(), from..sorted, &mut first);
        let mut later = [LAST; MOST_KEPT];
        let laters = self.select(block.level(), sorted..self.read, &mut later);
        later[..laters].sort_unstable();
        self.order_equals(&mut later[..laters]);
        self.merge([&first, &later], firsts + laters);
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A part of the records, in ascending order.
    pub(super) fn part(
        &self,
        part: Range<usize>,
    ) -> impl ExactSizeIterator<Item = KeptEntry<'g>> + '_ {
        self.ranks[part].iter().map(|rank| {
            let at = place(*rank);
            KeptEntry { entry: self.entries[at], fingerprint: self.fingerprints[at] }
        })
    }

    /// The key of the record at a place in the ascending order.
    pub(super) fn key(&self, at: usize) -> &'g [u8] {
        self.key_of(self.ranks[at])
    }

    fn key_of(&self, rank: u32) -> &'g [u8] {
        self.entries[place(rank)].record().key()
    }

    /// Where to cut records in two, of which so many go into a block at most.
    pub(super) fn cut_in_two(&self, block: BlockRef<'_>, fill: usize) -> usize {
        let len = self.len;
        if cfg!(whimbrel_loom) {
            return len / 2;
        }
        if len <= block.capacity() && came_in_order(block) {
            // What comes next goes to the right as well: the left part stays nearly full.
            return len - (len / 8).max(1);
        }
        // Near the middle, where neighbours share least: blocks then end where the keys' groups end,
        // and what all keys of a block share says more. Anchors are short as well.
        let reach = if block.level() == 0 { len / 8 } else { len / 4 };
        let from = (len / 2 - reach).max(len.saturating_sub(fill)).max(1);
        let to = (len / 2 + reach).min(fill).min(len - 1);
        (from..=to)
            .min_by_key(|at| self.shared_at(*at) * MOST_KEPT + at.abs_diff(len / 2))
            .unwrap_or(len / 2)
    }

    /// About how many bytes a record's key shares with the one before.
    #[inline]
    fn shared_at(&self, at: usize) -> usize {
        let (left, right) = (self.ranks[at - 1], self.ranks[at]);
        let differ = (left ^ right) >> PLACE_BITS;
        match self.shared {
            Some(shared) if differ != 0 => {
                (shared + differ.leading_zeros() - u16::BITS) as usize / 8
            }
            _ => shared_bytes(self.key_of(left), self.key_of(right)),
        }
    }

    /// Ranks the live ones of some entries, in their order; the others are dropped. Returns their
    /// number.
    #[inline]
    fn select(&mut self, level: usize, of: Range<usize>, ranks: &mut [u32; MOST_KEPT]) -> usize {
        let mut live = 0;
        for place in of {
            let entry = self.entries[place % MOST_KEPT];
            let record = entry.record();
            let is_live = if level == 0 { record.is_in_place() } else { !record.is_droppable() };
            if (is_live && !planted(Mutant::UnsealedDropped)) || self.follow(level, place) {
                ranks[live % MOST_KEPT] = rank(entry.hint(), place);
                live += 1;
            }
        }
        live
    }

    /// Drops a record that is dead, or moved; the one that it moved to is in its place. False when there
    /// is none that lives.
    #[cold]
    fn follow(&mut self, level: usize, place: usize) -> bool {
        if self.dropped.capacity() == 0 {
            // Where one died others did.
            self.dropped.reserve(MOST_WORDS / 4);
        }
        let entry = self.entries[place];
        let mut live = None;
        if level == 0 {
            let (record, cell) = entry.record().follow(|moved| {
                if !planted(Mutant::MovedNotDropped) {
                    self.dropped.push(moved);
                }
            });
            self.entries[place] = entry.of(record);
            live = (cell != SEALED && !planted(Mutant::UnsealedDropped)).then_some(record);
        }
        if live.is_none() {
            self.dropped.push(self.entries[place].record());
        }
        live.is_some()
    }

    /// Orders entries with equal hints, in ascending ranks, by their keys.
    fn order_equals(&self, ranks: &mut [u32]) {
        let is_equal = |pair: &[u32]| hint(pair[0]) == hint(pair[1]);
        if ranks.windows(2).any(is_equal) {
            self.order_by_keys(ranks);
        }
    }

    #[cold]
    fn order_by_keys(&self, ranks: &mut [u32]) {
        for equal in ranks.chunk_by_mut(|one, other| hint(*one) == hint(*other)) {
            equal.sort_by(|one, other| self.key_of(*one).cmp(self.key_of(*other)));
        }
    }

    #[cold]
    fn is_below(&self, one: u32, other: u32) -> bool {
        self.key_of(one) < self.key_of(other)
    }

    /// Puts the entries of a block, of which two parts are in order, behind those that are there. Both
    /// parts end with [`LAST`].
    fn merge(&mut self, parts: [&[u32; MOST_KEPT]; 2], count: usize) {
        let [first, later] = parts;
        let (mut from_first, mut from_later) = (0, 0);
        let end = self.len + count;
        for to in self.len..end {
            let (one, other) = (first[from_first % MOST_KEPT], later[from_later % MOST_KEPT]);
            let is_first =
                if hint(one) == hint(other) { self.is_below(one, other) } else { one < other };
            self.ranks[to % MOST_KEPT] = if is_first { one } else { other };
            from_first += usize::from(is_first);
            from_later += usize::from(!is_first);
        }
        self.len = end;
    }
}

impl<'g> BlockRef<'g> {
    /// Makes a block of some of the records. As [`BlockRef::new`].
    pub(super) fn of_kept(plan: Plan<'g>, kept: &Kept<'g>, part: Range<usize>) -> Self {
        if plan.level > 0 {
            // Hints may be of other bits in the new block, and there are no fingerprints.
            let records: Vec<_> = kept.part(part).map(|kept| kept.entry.record()).collect();
            return Self::new(plan, &records);
        }
        let block = Self::empty(plan, part.len());
        block.prepare_kept(kept.part(part), kept.shared);
        block
    }
}

fn rank(hint: u16, place: usize) -> u32 {
    debug_assert!(place < MOST_KEPT);
    let place = u8::try_from(place % MOST_KEPT).expect("places are few");
    u32::from(hint) << PLACE_BITS | u32::from(place)
}

fn hint(rank: u32) -> u32 {
    rank >> PLACE_BITS
}

fn place(rank: u32) -> usize {
    rank as usize % MOST_KEPT
}

/// Whether the records of a frozen block came in ascending order, a good part of them since it was
/// made.
fn came_in_order(block: BlockRef<'_>) -> bool {
    if cfg!(whimbrel_loom) || block.sorted() > block.capacity() * 7 / 8 {
        return false;
    }
    let words = block.words();
    let entry = |at: usize| if at < words.len() { words.entry(at) } else { None };
    let mut at = block.sorted().max(1);
    while let (Some(before), Some(behind)) = (entry(at - 1), entry(at)) {
        if !behind.compare(before.record().key(), before.hint()).is_gt() {
            return false;
        }
        at += 1;
    }
    true
}
