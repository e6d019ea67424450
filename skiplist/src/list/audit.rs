//! Checks of the whole structure, for tests and models.

use super::List;
use super::raw::{BlockRef, Repl};
use super::record::{Child, RecRef};
use super::search::records;

impl List {
    /// Checks the invariants of a list that no other thread uses; returns the number of records that
    /// are not sealed.
    ///
    /// For the tests of this crate and of those who build on it.
    ///
    /// # Complexity
    ///
    /// O(n) time, and memory for one block of each level in turn.
    ///
    /// # Panics
    ///
    /// When one is broken.
    pub fn audit(&mut self) -> usize {
        for level in 0..self.height() {
            let mut blocks = Vec::new();
            let mut next = Some(self.leftmost(level));
            while let Some(block) = next {
                check_block(block, level);
                blocks.push(block);
                next = block.next().0;
                assert_eq!(next.is_some(), block.high().is_some(), "only the last has no end");
                if let Some(next) = next {
                    let high = block.high().expect("there is a successor");
                    assert_eq!(high.key(), next.anchor().key(), "ranges follow each other");
                    assert!(matches!(next.repl(), Repl::Undecided), "all decisions are cleaned up");
                }
            }
            if level + 1 < self.shape().levels {
                self.check_entries(level + 1, &blocks[1..]);
            }
        }
        let blocks = self.chain(0);
        blocks.map(|block| records(block).filter_map(RecRef::live).count()).sum()
    }

    /// Each of `below` has one live entry in the level, and there are no others.
    fn check_entries(&self, level: usize, below: &[BlockRef<'_>]) {
        let mut entries: Vec<RecRef<'_>> = Vec::new();
        if level < self.height() {
            for block in self.chain(level) {
                let from = entries.len();
                entries.extend(records(block).filter(|record| !record.is_sealed()));
                entries[from..].sort_by(|a, b| a.key().cmp(b.key()));
            }
        }
        assert_eq!(entries.len(), below.len(), "every block but the leftmost has its entry");
        for (entry, block) in entries.iter().zip(below) {
            assert!(*entry == block.anchor(), "entries are the anchors of the blocks below");
            let Child::Block(child) = entry.child() else { panic!("a live entry has a block") };
            assert!(child == *block, "entries lead to their blocks");
        }
    }
}

fn check_block(block: BlockRef<'_>, level: usize) {
    assert_eq!(block.level(), level);
    let low = block.anchor();
    let mut live: Vec<_> = records(block).filter_map(RecRef::live).collect();
    let sorted: Vec<_> = records(block).take(block.sorted()).collect();
    assert!(sorted.windows(2).all(|pair| pair[0].key() < pair[1].key()), "the prefix is sorted");
    live.sort_by(|a, b| a.key().cmp(b.key()));
    assert!(live.windows(2).all(|pair| pair[0].key() < pair[1].key()), "B8: one live record a key");
    for record in live {
        assert!(low.is_head() || low.key() <= record.key(), "B1: above the low end");
        let below = block.high().is_none_or(|high| record.key() < high.key());
        assert!(below, "B1: below the high end");
    }
}
