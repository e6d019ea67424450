//! Cutting a range into parts of about equal size.

use std::ops::Bound;

use super::List;
use super::raw::BlockRef;
use super::search::Place;
use super::words::Word;
use crate::Guard;

/// Blocks a part below which the cut goes between records instead of between blocks.
const FEW_BLOCKS: usize = 24;

impl List {
    /// At most `n - 1` ascending keys of the range that cut it into about equal parts (within 20 %
    /// where there are 100 `n` records or more). Each key begins the part on its right.
    ///
    /// # Complexity
    ///
    /// Reads the fill of each block of the range; all records where a part has few blocks.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn split(
        &self,
        n: usize,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        g: &Guard<'_>,
    ) -> Vec<Vec<u8>> {
        self.check(g);
        if n < 2 {
            return Vec::new();
        }
        self.split_by_blocks(n, lo, hi).unwrap_or_else(|| self.split_by_records(n, lo, hi, g))
    }

    /// Cuts between blocks; none where there are too few.
    fn split_by_blocks(
        &self,
        n: usize,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
    ) -> Option<Vec<Vec<u8>>> {
        let start = match lo {
            Bound::Unbounded => self.leftmost(0),
            Bound::Included(key) | Bound::Excluded(key) => self.seek(0, Place::at(key)),
        };
        let mut blocks: Vec<(BlockRef<'_>, usize)> = Vec::new();
        let mut total = 0;
        let mut next = Some(start);
        while let Some(block) = next {
            // The first block is cut by `lo` at an unknown place: it counts as half.
            let used = if blocks.is_empty() { used(block) / 2 } else { used(block) };
            total += used;
            blocks.push((block, used));
            let ends = block.high().is_none_or(|high| match hi {
                Bound::Unbounded => false,
                Bound::Included(key) | Bound::Excluded(key) => key <= high.key(),
            });
            next = if ends { None } else { Self::successor(block) };
        }
        if blocks.len() < n.saturating_mul(FEW_BLOCKS) {
            return None;
        }
        let mut keys = Vec::with_capacity(n - 1);
        let mut before = 0;
        for (block, used) in blocks {
            let wanted = keys.len() + 1;
            if wanted < n && before > 0 && before >= cut(total, wanted, n) {
                keys.push(block.anchor().key().to_vec());
            }
            before += used;
        }
        Some(keys)
    }

    fn split_by_records(
        &self,
        n: usize,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        g: &Guard<'_>,
    ) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        self.walk(lo, g, |record| {
            let inside = match hi {
                Bound::Unbounded => true,
                Bound::Included(key) => record.key() <= key,
                Bound::Excluded(key) => record.key() < key,
            };
            if !inside {
                return std::ops::ControlFlow::Break(());
            }
            all.push(record.key());
            std::ops::ControlFlow::Continue(())
        });
        let parts = n.min(all.len());
        (1..parts).map(|part| all[cut(all.len(), part, parts)].to_vec()).collect()
    }
}

/// Number of words that are claimed: they are the first ones.
fn used(block: BlockRef<'_>) -> usize {
    let (mut low, mut high) = (block.sorted(), block.capacity());
    while low < high {
        let middle = low.midpoint(high);
        if matches!(block.word(middle), Word::Record(_)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// `len * part / parts` without overflow.
fn cut(len: usize, part: usize, parts: usize) -> usize {
    let whole = (len as u128) * (part as u128) / (parts as u128);
    usize::try_from(whole).expect("part < parts, so the cut is below len")
}
