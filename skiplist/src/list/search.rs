//! Searches (step 1): right and down, never writing.
//!
//! The descent goes by the greatest entry *strictly* below the key, so that it arrives to the left
//! of a block that begins exactly there: the same search serves lookups and looks for predecessors.

use super::List;
use super::hint::{GREATEST, fingerprint, rank_hint};
use super::raw::{BlockRef, Repl};
use super::record::{Child, RecRef};
use super::words::{Word, hint_of_word};
use crate::mutant::{Mutant, planted};

/// Where a search on one level ends.
#[derive(Clone, Copy)]
pub(super) enum Place<'k> {
    /// At the block that covers the key: low <= key < high.
    At(&'k [u8]),
    /// At the block of what lies below the key: low < key <= high.
    Before(&'k [u8]),
    /// At the last block.
    End,
}

impl<'k> Place<'k> {
    /// Whether the place lies to the right of a block that ends at `high`.
    pub(super) fn is_beyond(self, high: &[u8]) -> bool {
        match self {
            Self::At(key) => high <= key,
            Self::Before(key) => high < key,
            Self::End => true,
        }
    }

    /// The key below which the descent looks for entries; none means that all are.
    pub(super) fn bound(self) -> Option<&'k [u8]> {
        match self {
            Self::At(key) | Self::Before(key) => Some(key),
            Self::End => None,
        }
    }

    /// The place on the levels above: a block that has entries below the bound.
    fn above(self) -> Self {
        match self {
            Self::At(key) => Self::Before(key),
            other => other,
        }
    }
}

impl List {
    /// The block of a level where the search for `place` ends. It was on the chain at a moment of
    /// this call.
    pub(super) fn seek<'g>(&'g self, level: usize, place: Place<'_>) -> BlockRef<'g> {
        let start = self.start(level, place.bound());
        Self::walk_right(start, place)
    }

    /// A block of a level to the left of `bound`, on the chain at a moment of this call: the low end
    /// of its range lies strictly below.
    pub(super) fn start<'g>(&'g self, level: usize, bound: Option<&[u8]>) -> BlockRef<'g> {
        let place = bound.map_or(Place::End, Place::Before);
        let mut at = self.height().saturating_sub(1).max(level);
        let mut block = self.leftmost(at);
        while at > level {
            block = Self::walk_right(block, place.above());
            block = match Self::child_below(block, bound) {
                Some(child) => child,
                None => self.start_further_left(block, at),
            };
            at -= 1;
        }
        block
    }

    /// For a block without a live entry below the bound: the child of the last live entry of a
    /// block further left.
    #[cold]
    fn start_further_left<'g>(&'g self, mut block: BlockRef<'g>, level: usize) -> BlockRef<'g> {
        while !block.is_leftmost() {
            let low = block.anchor().key();
            block = self.seek(level, Place::Before(low));
            if let Some(child) = Self::child_below(block, Some(low)) {
                return child;
            }
        }
        self.leftmost(level - 1)
    }

    /// The leftmost block of a level.
    pub(super) fn leftmost<'g>(&'g self, level: usize) -> BlockRef<'g> {
        match self.head(level).child() {
            Child::Block(block) => block,
            Child::Sealed | Child::Absorbed(_) => {
                unreachable!("heads are not sealed, leftmost blocks not absorbed")
            }
        }
    }

    /// From a block on the chain to where the search for `place` ends.
    pub(super) fn walk_right<'g>(mut block: BlockRef<'g>, place: Place<'_>) -> BlockRef<'g> {
        loop {
            match block.repl() {
                Repl::Block(_) if planted(Mutant::FrozenNextFollowed) && block.next().1 => {}
                Repl::Block(_) if planted(Mutant::DecidedBlockRead) => {}
                Repl::Block(heir) => {
                    block = heir;
                    continue;
                }
                Repl::Undecided | Repl::Absorb => {}
            }
            if !block.ends_before(place) {
                return block;
            }
            block = block.next().0.expect("a block with an end has a successor");
        }
    }

    /// The block that the greatest live entry strictly below the bound leads to.
    fn child_below<'g>(block: BlockRef<'g>, bound: Option<&[u8]>) -> Option<BlockRef<'g>> {
        Self::child_of(block, bound, candidate_below(block, bound))
    }

    /// As [`List::child_below`], where the entry to begin with is known.
    fn child_of<'g>(
        block: BlockRef<'g>,
        bound: Option<&[u8]>,
        candidate: Option<RecRef<'g>>,
    ) -> Option<BlockRef<'g>> {
        let mut entry = match candidate {
            Some(entry) if !entry.is_sealed() => entry,
            _ => greatest_live_below(block, bound)?,
        };
        loop {
            if let Child::Block(child) = entry.child() {
                return Some(child);
            }
            entry = greatest_live_below(block, Some(entry.key()))?;
        }
    }

    /// Looks up several keys at once: their searches go down level by level side by side, so that
    /// their cache misses overlap. `at` receives for each key the block that covers it.
    pub(super) fn seek_many<'g>(&'g self, keys: &[&[u8]], at: &mut Vec<BlockRef<'g>>) {
        let mut level = self.height().saturating_sub(1);
        at.clear();
        at.resize(keys.len(), self.leftmost(level));
        let mut entries = Vec::with_capacity(keys.len());
        while level > 0 {
            entries.clear();
            for (block, key) in at.iter_mut().zip(keys) {
                *block = Self::walk_right(*block, Place::Before(key));
                let entry = candidate_below(*block, Some(key));
                if let Some(entry) = entry {
                    entry.prefetch();
                }
                entries.push(entry);
            }
            for ((block, key), entry) in at.iter_mut().zip(keys).zip(&entries) {
                *block = match Self::child_of(*block, Some(key), *entry) {
                    Some(child) => child,
                    None => self.start_further_left(*block, level),
                };
            }
            level -= 1;
        }
        for (block, key) in at.iter_mut().zip(keys) {
            *block = Self::walk_right(*block, Place::At(key));
        }
    }
}

/// The greatest entry of a block above level 0 strictly below the bound, dead or not, read as little as
/// can be; its child is being loaded. The bound is in the block's range, or its high end.
#[inline]
fn candidate_below<'g>(block: BlockRef<'g>, bound: Option<&[u8]>) -> Option<RecRef<'g>> {
    let rank = bound.map_or(block.sorted(), |bound| rank(block, bound, false));
    // Of the words in order the last one below the bound; of those behind them only what lies between
    // that one and the next is greater, and has its rank. The later of equal ones is the live one.
    let mut best = None;
    let mut hits = block.unsorted_matches(rank);
    while hits != 0 {
        let at = hits.ilog2() as usize;
        hits &= !(1 << at);
        let Some(record) = record_at(block, at) else { continue };
        if !is_below(block, at, record, bound) {
            continue;
        }
        if best.is_none_or(|(_, best)| is_less(block, best, at)) {
            best = Some((record, at));
        }
        if hint_of_word(&block.words()[at]) >= u64::from(GREATEST) {
            break;
        }
    }
    if best.is_none() {
        best = rank.checked_sub(1).and_then(|at| Some((record_at(block, at)?, at)));
    }
    // The child's address stands beside the word: its lines are loaded beside the anchor's.
    if let Some((_, at)) = best {
        block.prefetch_child(at);
    }
    best.map(|(record, _)| record)
}

/// Whether an entry lies strictly below the bound; by their order hints where these differ.
#[inline]
fn is_below(block: BlockRef<'_>, at: usize, record: RecRef<'_>, bound: Option<&[u8]>) -> bool {
    let Some(bound) = bound else { return true };
    let hint = block.order_hint_of(bound);
    match block.side_hint(at) {
        Some(this) if this != hint => this < hint,
        _ => record.key() < bound,
    }
}

/// Whether one entry lies strictly below another one.
fn is_less(block: BlockRef<'_>, one: usize, other: usize) -> bool {
    if let (Some(one), Some(other)) = (block.side_hint(one), block.side_hint(other))
        && one != other
    {
        return one < other;
    }
    record_at(block, one).map(RecRef::key) < record_at(block, other).map(RecRef::key)
}

/// The greatest unsealed entry strictly below the bound, by looking at every key: for blocks where the
/// entry that is asked for died.
#[cold]
fn greatest_live_below<'g>(block: BlockRef<'g>, bound: Option<&[u8]>) -> Option<RecRef<'g>> {
    let mut best: Option<RecRef<'g>> = None;
    for record in records(block) {
        let key = record.key();
        let below = bound.is_none_or(|bound| key < bound);
        if below && best.is_none_or(|best| best.key() <= key) && !record.is_sealed() {
            best = Some(record);
        }
    }
    best
}

fn record_at<'g>(block: BlockRef<'g>, at: usize) -> Option<RecRef<'g>> {
    if let Word::Record(record) = block.word(at) { Some(record) } else { None }
}

/// Number of the words in order, in a block above level 0, whose keys are below the key, or equal to
/// it where that is asked for.
#[inline]
fn rank(block: BlockRef<'_>, key: &[u8], or_equal: bool) -> usize {
    let words = &block.words()[..block.sorted()];
    let hint = block.order_hint_of(key);
    let mut low = words.partition_point(|word| hint_of_word(word) < hint);
    let mut high = low;
    while high < words.len() && hint_of_word(&words[high]) == hint {
        high += 1;
    }
    // Of those that the hint does not tell apart, the keys are compared.
    while low < high {
        let middle = low.midpoint(high);
        let less = record_at(block, middle)
            .is_some_and(|record| if or_equal { record.key() <= key } else { record.key() < key });
        if less { low = middle + 1 } else { high = middle }
    }
    low
}

/// Where a key may be in a block.
pub(super) struct Probe {
    /// The hint of the key's word, when it is added to the block.
    pub(super) hint: u16,
    /// Words that may hold the key.
    pub(super) hits: u64,
    /// Number of words before the first empty one.
    pub(super) used: usize,
}

/// Looks where a key may be in a block that covers it.
#[inline]
pub(super) fn probe(block: BlockRef<'_>, key: &[u8]) -> Probe {
    if block.level() == 0 {
        let hint = fingerprint(key);
        let matches = block.matches(hint);
        return Probe { hint, hits: matches.hits, used: matches.used(block.capacity()) };
    }
    let rank = rank(block, key, true);
    let hint = rank_hint(rank);
    let equal = if rank > 0 { 1 << (rank - 1) } else { 0 };
    // One pass: no word before the first empty one has escaped the look for hits.
    let matches = block.matches(hint);
    let hits = (matches.hits & (u64::MAX << block.sorted())) | equal;
    // After that pass: it holds for all words before the first empty one.
    let flag = if rank == block.sorted() && is_greatest(block, key) { GREATEST } else { 0 };
    Probe { hint: hint | flag, hits, used: matches.used(block.capacity()) }
}

/// Whether no record of a block, above level 0, is above a key that is above all words in order: the
/// last flagged word says so.
fn is_greatest(block: BlockRef<'_>, key: &[u8]) -> bool {
    let unsorted = (block.sorted()..block.capacity()).rev();
    unsorted
        .filter(|at| hint_of_word(&block.words()[*at]) >= u64::from(GREATEST))
        .find_map(|at| record_at(block, at))
        .is_none_or(|greatest| greatest.key() <= key)
}

/// The unsealed record of the key in a block.
#[inline]
pub(super) fn find_in<'g>(block: BlockRef<'g>, key: &[u8]) -> Option<RecRef<'g>> {
    find_among(block, key, probe(block, key).hits, !planted(Mutant::SealedFound))
}

/// The unsealed record of the key among these words of a block.
#[inline]
pub(super) fn find_among<'g>(
    block: BlockRef<'g>,
    key: &[u8],
    mut hits: u64,
    skip_sealed: bool,
) -> Option<RecRef<'g>> {
    while hits != 0 {
        let at = hits.trailing_zeros() as usize;
        hits &= hits - 1;
        if let Word::Record(record) = block.word(at)
            && record.key() == key
            && !(skip_sealed && record.is_sealed())
        {
            return Some(record);
        }
    }
    None
}

/// The records of a block, in the order in which they came.
pub(super) fn records<'g>(block: BlockRef<'g>) -> impl Iterator<Item = RecRef<'g>> {
    (0..block.capacity()).map_while(move |at| match block.word(at) {
        Word::Record(record) => Some(record),
        Word::Empty | Word::Closed => None,
    })
}

/// Records with the eight bytes of their keys that tell them apart first.
pub(super) type Heads<'g> = Vec<(u64, RecRef<'g>)>;

/// Orders the records of one block by key; the first `sorted` are in order already.
///
/// Those behind are few: each is put in its place, found by halving on the heads.
pub(super) fn put_in_order(heads: &mut [(u64, RecRef<'_>)], sorted: usize) {
    for at in sorted..heads.len() {
        let (head, record) = heads[at];
        // Without a branch on keys, which the machine could not foresee.
        let mut place = heads[..at].partition_point(|other| other.0 <= head);
        while place > 0 && heads[place - 1].0 == head && heads[place - 1].1.key() > record.key() {
            place -= 1;
        }
        heads.copy_within(place..at, place + 1);
        heads[place] = (head, record);
    }
}
