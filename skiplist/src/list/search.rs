//! Searches (step 1): right and down, never writing.
//!
//! The descent goes by the greatest entry *strictly* below the key, so that it arrives to the left
//! of a block that begins exactly there: the same search serves lookups and looks for predecessors.

use super::List;
use super::entry::Entry;
use super::hint::{Needle, fingerprint};
use super::raw::{BlockRef, Repl};
use super::record::{Child, RecRef};
use super::words::{Word, Words};
use crate::mutant::{Mutant, planted};

/// Where a search on one level ends.
#[derive(Clone, Copy)]
pub(super) enum Place<'k> {
    /// At the block that covers the key: low <= key < high.
    At(Needle<'k>),
    /// At the block of what lies below the key: low < key <= high.
    Before(Needle<'k>),
    /// At the last block.
    End,
}

impl<'k> Place<'k> {
    pub(super) fn at(key: &'k [u8]) -> Self {
        Self::At(Needle::new(key))
    }

    pub(super) fn before(key: &'k [u8]) -> Self {
        Self::Before(Needle::new(key))
    }

    /// Whether the place lies to the right of a block that ends at `high`.
    pub(super) fn is_beyond(self, high: &[u8]) -> bool {
        match self {
            Self::At(needle) => high <= needle.key,
            Self::Before(needle) => high < needle.key,
            Self::End => true,
        }
    }

    /// The key below which the descent looks for entries; none means that all are.
    pub(super) fn bound(self) -> Option<Needle<'k>> {
        match self {
            Self::At(needle) | Self::Before(needle) => Some(needle),
            Self::End => None,
        }
    }
}

impl List {
    /// The block of a level where the search for `place` ends. It was on the chain at a moment of
    /// this call.
    #[inline]
    pub(super) fn seek<'g>(&'g self, level: usize, place: Place<'_>) -> BlockRef<'g> {
        let start = self.start(level, place.bound());
        Self::walk_right(start, place)
    }

    /// A block of a level to the left of `bound`, on the chain at a moment of this call: the low end
    /// of its range lies strictly below.
    pub(super) fn start<'g>(&'g self, level: usize, bound: Option<Needle<'_>>) -> BlockRef<'g> {
        let place = bound.map_or(Place::End, Place::Before);
        let mut at = self.height().saturating_sub(1).max(level);
        let mut block = self.leftmost(at);
        while at > level {
            block = Self::walk_right(block, place);
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
            let low = Needle::new(block.anchor().key());
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
    #[inline]
    pub(super) fn walk_right<'g>(block: BlockRef<'g>, place: Place<'_>) -> BlockRef<'g> {
        // Most often it is the block itself, and the heads of the keys say so.
        if block.is_undecided() && block.clearly_reaches(place) {
            return block;
        }
        Self::walk_far(block, place)
    }

    #[inline(never)]
    fn walk_far<'g>(mut block: BlockRef<'g>, place: Place<'_>) -> BlockRef<'g> {
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
    #[inline]
    fn child_below<'g>(block: BlockRef<'g>, bound: Option<Needle<'_>>) -> Option<BlockRef<'g>> {
        let Some(needle) = bound else { return Self::live_child_below(block, None) };
        Self::child_of(block, needle, candidate_below(block, needle)?)
    }

    /// As [`List::child_below`], where the entry to begin with is known.
    #[inline]
    fn child_of<'g>(
        block: BlockRef<'g>,
        bound: Needle<'_>,
        candidate: RecRef<'g>,
    ) -> Option<BlockRef<'g>> {
        match candidate.child() {
            Child::Block(child) => Some(child),
            Child::Sealed => Self::live_child_below(block, Some(bound.key)),
            Child::Absorbed(_) => Self::live_child_below(block, Some(candidate.key())),
        }
    }

    /// As [`List::child_below`], by looking at every entry: for blocks where the one that is asked for
    /// died.
    #[cold]
    fn live_child_below<'g>(block: BlockRef<'g>, bound: Option<&[u8]>) -> Option<BlockRef<'g>> {
        let mut entry = greatest_live_below(block, bound)?;
        loop {
            if let Child::Block(child) = entry.child() {
                return Some(child);
            }
            entry = greatest_live_below(block, Some(entry.key()))?;
        }
    }

    /// Looks up several keys at once: their searches go down level by level side by side, so that
    /// their cache misses overlap. `at` receives for each key the block that covers it.
    pub(super) fn seek_many<'g>(&'g self, needles: &[Needle<'_>], at: &mut [BlockRef<'g>]) {
        const MOST: usize = super::list::GROUP;
        let mut level = self.height().saturating_sub(1);
        at.fill(self.leftmost(level));
        let mut entries: [Option<RecRef<'g>>; MOST] = [None; MOST];
        while level > 0 {
            for ((block, needle), entry) in at.iter_mut().zip(needles).zip(&mut entries) {
                *block = Self::walk_right(*block, Place::Before(*needle));
                *entry = candidate_below(*block, *needle);
                if let Some(entry) = entry {
                    entry.prefetch();
                }
            }
            for ((block, needle), entry) in at.iter_mut().zip(needles).zip(&entries) {
                let child = entry.and_then(|entry| Self::child_of(*block, *needle, entry));
                *block = match child {
                    Some(child) => child,
                    None => self.start_further_left(*block, level),
                };
            }
            level -= 1;
        }
        for (block, needle) in at.iter_mut().zip(needles) {
            *block = Self::walk_right(*block, Place::At(*needle));
        }
    }
}

/// The greatest entry of a block above level 0 strictly below the bound, dead or not, read as little as
/// can be; its child is being loaded. The bound is in the block's range, or its high end.
#[inline]
fn candidate_below<'g>(block: BlockRef<'g>, bound: Needle<'_>) -> Option<RecRef<'g>> {
    let hint = bound.order_hint(block.shared());
    let words = block.words();
    let mut best = rank(block, bound.key, hint).checked_sub(1);
    let mut best_hint = best.and_then(|at| words.entry(at)).map(|entry| entry.hint());
    // Those that came after the words in order.
    for at in block.sorted()..words.len() {
        let Some(entry) = words.entry(at) else { break };
        if entry.hint() > hint {
            continue;
        }
        let is_better = match best_hint {
            _ if entry.hint() == hint => is_better(words, best, entry, Some(bound.key)),
            Some(best_hint) if best_hint == entry.hint() => is_better(words, best, entry, None),
            Some(best_hint) => best_hint < entry.hint(),
            None => true,
        };
        if is_better {
            (best, best_hint) = (Some(at), Some(entry.hint()));
        }
    }
    // The child's address stands beside the word: its lines are loaded beside the anchor's.
    let at = best?;
    words.prefetch_child(at, block.level());
    words.entry(at).map(|entry| entry.record())
}

/// Whether an entry is below the bound and not below the best so far, by their keys. The later of equal
/// ones is the live one.
#[cold]
fn is_better(
    words: Words<'_>,
    best: Option<usize>,
    entry: Entry<'_>,
    bound: Option<&[u8]>,
) -> bool {
    let key = entry.record().key();
    bound.is_none_or(|bound| key < bound)
        && best.and_then(|at| words.entry(at)).is_none_or(|best| best.record().key() <= key)
}

/// Number of the words in order, in a block above level 0, whose keys are below the key.
#[inline]
fn rank(block: BlockRef<'_>, key: &[u8], hint: u16) -> usize {
    match block.rank(hint) {
        (rank, false) => rank,
        (rank, true) => rank_among_equals(block, key, rank, block.rank_behind(hint)),
    }
}

/// As [`rank`], among words that the hint does not tell apart: the keys are compared.
#[cold]
fn rank_among_equals(block: BlockRef<'_>, key: &[u8], mut low: usize, mut high: usize) -> usize {
    let words = block.words();
    while low < high {
        let middle = low.midpoint(high);
        if words.entry(middle).is_some_and(|entry| entry.record().key() < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The greatest unsealed entry strictly below the bound, by looking at every key.
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

/// The unsealed record of a key in the block that covers it, or the place of the first word that was
/// not claimed: the key is in no word before it.
#[inline]
pub(super) fn find_in<'g>(
    block: BlockRef<'g>,
    needle: Needle<'_>,
    skip_sealed: bool,
) -> Result<RecRef<'g>, usize> {
    if block.level() > 0 {
        return find_anchor(block, needle, skip_sealed);
    }
    find_among(block, needle, block.matches(fingerprint(needle.key)), skip_sealed)
}

/// As [`find_in`] at level 0, among the words that the fingerprints leave.
#[inline]
pub(super) fn find_among<'g>(
    block: BlockRef<'g>,
    needle: Needle<'_>,
    matches: super::scan::Matches,
    skip_sealed: bool,
) -> Result<RecRef<'g>, usize> {
    let hint = needle.order_hint(block.shared());
    let found = |entry: Entry<'g>| {
        if entry.hint() != hint || entry.record().key() != needle.key {
            return None;
        }
        entry.record().live().or_else(|| (!skip_sealed).then(|| entry.record()))
    };
    let (mut hits, mut end) = (matches.hits, block.capacity());
    while hits != 0 {
        let at = hits.trailing_zeros() as usize;
        hits &= hits - 1;
        match block.word(at) {
            Word::Record(entry) => {
                if let Some(record) = found(entry) {
                    return Ok(record);
                }
            }
            Word::Empty | Word::Closed if planted(Mutant::EmptyHitPassed) => {}
            // The fingerprint was seen before the word: it is being claimed beside us.
            Word::Empty | Word::Closed => {
                end = at;
                break;
            }
        }
    }
    // Words whose fingerprint was not known then: the first is most often the first empty one.
    let mut unknown = matches.unknown;
    while unknown != 0 {
        let at = unknown.trailing_zeros() as usize;
        unknown &= unknown - 1;
        if at >= end {
            break;
        }
        match block.word(at) {
            Word::Record(entry) => {
                if let Some(record) = found(entry) {
                    return Ok(record);
                }
            }
            Word::Empty | Word::Closed => return Err(at),
        }
    }
    Err(end)
}

/// As [`find_in`] above level 0.
fn find_anchor<'g>(
    block: BlockRef<'g>,
    needle: Needle<'_>,
    skip_sealed: bool,
) -> Result<RecRef<'g>, usize> {
    let hint = needle.order_hint(block.shared());
    let is_it = |entry: Entry<'g>| {
        entry.compare(needle.key, hint).is_eq() && !(skip_sealed && entry.record().is_sealed())
    };
    let below = rank(block, needle.key, hint);
    if below < block.sorted()
        && let Some(entry) = block.entry(below).filter(|entry| is_it(*entry))
    {
        return Ok(entry.record());
    }
    for at in block.sorted()..block.capacity() {
        let Some(entry) = block.entry(at) else { return Err(at) };
        if is_it(entry) {
            return Ok(entry.record());
        }
    }
    Err(block.capacity())
}

/// The records of a block, in the order in which they came.
pub(super) fn records<'g>(block: BlockRef<'g>) -> impl Iterator<Item = RecRef<'g>> {
    let words = block.words();
    (0..words.len()).map_while(move |at| words.entry(at)).map(|entry| entry.record())
}
