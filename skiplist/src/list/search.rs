//! Searches (step 1): right and down, never writing.
//!
//! The descent goes by the greatest entry *strictly* below the key, so that it arrives to the left
//! of a block that begins exactly there: the same search serves lookups and looks for predecessors.

use std::hint::select_unpredictable;

use super::List;
use super::entry::Entry;
use super::hint::{Needle, fingerprint, same_bytes};
use super::inner::{Pair, entry_of};
use super::raw::{BlockRef, Repl};
use super::record::{Child, RecRef};
use super::words::{CLOSED, EMPTY_WORD, Word};
use crate::mutant::{Mutant, planted};

/// Words out of order in a block above level 0 at which it is rebuilt. Such a block gets one in some 25
/// insertions below it, and every search reads them.
pub(super) const MOST_UNSORTED: usize = 4;

/// Bytes of a block above level 0 that begin to be loaded before it is searched: header and hints.
const INNER: u64 = 192;

/// Bytes of a block of level 0: all that a lookup may read.
const LEAF: u64 = 512;

/// The same in a group of lookups: header and fingerprints. The word follows when it is known.
const LEAF_OF_MANY: u64 = 128;

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
        let Some(needle) = place.bound() else {
            return Self::walk_far(self.start_at_end(level), place);
        };
        Self::walk_right(self.start(level, needle), needle, |_| place)
    }

    /// The block of level 0 that covers a key, as [`List::seek`].
    #[inline]
    pub(super) fn seek_leaf<'g>(&'g self, needle: Needle<'_>) -> BlockRef<'g> {
        Self::walk_right(self.start(0, needle), needle, Place::At)
    }

    /// A block of a level to the left of `bound`, on the chain at a moment of this call: the low end
    /// of its range lies strictly below.
    pub(super) fn start<'g>(&'g self, level: usize, bound: Needle<'_>) -> BlockRef<'g> {
        let mut at = self.height().saturating_sub(1).max(level);
        let mut block = self.leftmost(at);
        while at > level {
            block = Self::walk_right(block, bound, Place::Before);
            let ahead = |pair: &Pair| match at {
                1 => pair.prefetch_child(LEAF),
                _ => pair.prefetch_child(INNER),
            };
            let candidate = candidate_below(block, bound, ahead);
            block = self.child_of(block, bound, candidate);
            at -= 1;
        }
        block
    }

    /// As [`List::start`], where everything lies below.
    #[cold]
    fn start_at_end<'g>(&'g self, level: usize) -> BlockRef<'g> {
        let mut at = self.height().saturating_sub(1).max(level);
        let mut block = self.leftmost(at);
        while at > level {
            block = Self::walk_far(block, Place::End);
            block = match Self::live_child_below(block, None) {
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
            if let Some(child) = Self::live_child_below(block, Some(low.key)) {
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

    /// From a block that was undecided in this session to where the search for `place(needle)` ends.
    #[inline]
    fn walk_right<'g, 'k>(
        block: BlockRef<'g>,
        needle: Needle<'k>,
        place: impl FnOnce(Needle<'k>) -> Place<'k>,
    ) -> BlockRef<'g> {
        // Most often it is the block itself, and the heads of the keys say so.
        if block.is_undecided() && block.clearly_reaches(needle) {
            return block;
        }
        Self::walk_far(block, place(needle))
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

    /// The block that the greatest live entry of a block strictly below the bound leads to, where the
    /// greatest one is known.
    #[inline]
    fn child_of<'g>(
        &'g self,
        block: BlockRef<'g>,
        bound: Needle<'_>,
        candidate: Option<RecRef<'g>>,
    ) -> BlockRef<'g> {
        let Some(candidate) = candidate else {
            return self.start_further_left(block, block.level());
        };
        match candidate.child() {
            Child::Block(child) => child,
            Child::Sealed | Child::Absorbed(_) => self.live_child_of(block, bound),
        }
    }

    /// As [`List::child_of`], where that one died.
    #[cold]
    fn live_child_of<'g>(&'g self, block: BlockRef<'g>, bound: Needle<'_>) -> BlockRef<'g> {
        match Self::live_child_below(block, Some(bound.key)) {
            Some(child) => child,
            None => self.start_further_left(block, block.level()),
        }
    }

    /// The block that the greatest live entry strictly below the bound leads to, by looking at every
    /// entry.
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
            let ahead = |pair: &Pair| match level {
                1 => pair.prefetch_child(LEAF_OF_MANY),
                _ => pair.prefetch_child(INNER),
            };
            for ((block, needle), entry) in at.iter_mut().zip(needles).zip(&mut entries) {
                *block = Self::walk_right(*block, *needle, Place::Before);
                *entry = candidate_below(*block, *needle, ahead);
                if let Some(entry) = entry {
                    entry.prefetch();
                }
            }
            for ((block, needle), entry) in at.iter_mut().zip(needles).zip(&entries) {
                *block = self.child_of(*block, *needle, *entry);
            }
            level -= 1;
        }
        for (block, needle) in at.iter_mut().zip(needles) {
            *block = Self::walk_right(*block, *needle, Place::At);
        }
    }
}

/// The greatest entry of a block above level 0 strictly below the bound, dead or not, read as little as
/// can be; `ahead` begins to load its child. The bound is in the block's range, or its high end.
#[inline]
fn candidate_below<'g>(
    block: BlockRef<'g>,
    bound: Needle<'_>,
    ahead: impl Fn(&Pair),
) -> Option<RecRef<'g>> {
    let hint = block.order_hint(bound);
    if let Some(best) = by_hints(block, hint, &ahead) {
        return best.map(Entry::record);
    }
    let pair = by_keys(block, bound, hint)?;
    ahead(pair);
    pair.entry().map(Entry::record)
}

/// The greatest entry of a block above level 0 with a hint below this one, if there is one. None where
/// the hints do not tell.
#[inline]
fn by_hints<'g>(
    block: BlockRef<'g>,
    hint: u16,
    ahead: impl Fn(&Pair),
) -> Option<Option<Entry<'g>>> {
    let (rank, is_open) = block.rank(hint);
    if is_open {
        return None;
    }
    let pairs = block.pairs();
    let first = match rank.checked_sub(1) {
        Some(at) => {
            // The child's address stands beside the word: its lines are loaded beside the anchor's. A
            // word that came later is seldom the one.
            ahead(&pairs[at]);
            pairs[at].raw()
        }
        None => EMPTY_WORD,
    };
    // The two greatest words, those that came later among them. A word begins with its hint, and what is
    // no entry is below all. Without branches: how many came later is as good as random.
    let (mut best, mut second) = (EMPTY_WORD, EMPTY_WORD);
    let mut add = |word: u64| (best, second) = (best.max(word), second.max(best.min(word)));
    let last = Entry::last_word(hint);
    for pair in pairs[block.sorted()..].first_chunk::<MOST_UNSORTED>()? {
        let word = pair.raw();
        add(select_unpredictable(word <= last, word, EMPTY_WORD));
    }
    add(first);
    let is_open = Entry::hint_of(best) == hint || Entry::hint_of(best ^ second) == 0;
    // SAFETY: it is a word of this block.
    (!is_open || best <= CLOSED).then(|| unsafe { entry_of(best) })
}

/// The greatest entry of a block above level 0 below the bound, by the keys where hints are equal. The
/// later of equal keys is the live one.
#[cold]
fn by_keys<'g>(block: BlockRef<'g>, bound: Needle<'_>, hint: u16) -> Option<&'g Pair> {
    let pairs = block.pairs();
    let mut best = rank(block, bound.key, hint).checked_sub(1).map(|at| &pairs[at]);
    for pair in &pairs[block.sorted()..] {
        let Some(entry) = pair.entry() else { break };
        let is_better = |best: Entry<'_>| best.compare(entry.record().key(), entry.hint()).is_le();
        if entry.compare(bound.key, hint).is_lt()
            && best.and_then(Pair::entry).is_none_or(is_better)
        {
            best = Some(pair);
        }
    }
    best
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
        if entry.hint() != hint || !same_bytes(entry.record().key(), needle.key) {
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
    let hint = block.order_hint(needle);
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
