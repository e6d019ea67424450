//! Searches (step 1): right and down, never writing.
//!
//! The descent goes by the greatest entry *strictly* below the key, so that it arrives to the left
//! of a block that begins exactly there: the same search serves lookups and looks for predecessors.

use super::List;
use super::mutant::{Mutant, planted};
use super::raw::{BlockRef, Repl, Word};
use super::record::{Child, RecRef};

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
    fn bound(self) -> Option<&'k [u8]> {
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
        let mut bound = bound;
        loop {
            let entry = greatest_below(block, bound)?;
            if let Child::Block(child) = entry.child() {
                return Some(child);
            }
            bound = Some(entry.key());
        }
    }
}

/// The greatest unsealed record of the block strictly below the bound.
fn greatest_below<'g>(block: BlockRef<'g>, bound: Option<&[u8]>) -> Option<RecRef<'g>> {
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

/// The unsealed record of the key in a block.
pub(super) fn find_in<'g>(block: BlockRef<'g>, key: &[u8]) -> Option<RecRef<'g>> {
    records(block)
        .find(|record| record.key() == key && (planted(Mutant::SealedFound) || !record.is_sealed()))
}

/// The records of a block, in the order in which they came.
pub(super) fn records<'g>(block: BlockRef<'g>) -> impl Iterator<Item = RecRef<'g>> {
    (0..block.capacity()).map_while(move |at| match block.word(at) {
        Word::Record(record) => Some(record),
        Word::Empty | Word::Closed => None,
    })
}
