//! How large the blocks of a list are.

/// The most levels: 20 entries a block at the least make more records than memory can hold.
pub(super) const MOST_LEVELS: usize = 12;

/// Words of the only block of a list that holds little, and the most records that a rebuild leaves it so:
/// 192 bytes instead of 512, because a process may have thousands of lists that are all but empty.
const FEW_WORDS: usize = 11;
const FEW_RECORDS: usize = 8;

/// Sizes of the blocks of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Words of a block at level 0, and of one above.
    pub words: [usize; 2],
    /// Records that a rebuild puts into a block at most; below the number of words, because a full
    /// block that is rebuilt full would be rebuilt for ever.
    pub fill: [usize; 2],
    /// Levels there may be at most.
    pub levels: usize,
}

impl Shape {
    /// Blocks of 512 bytes at level 0 and 1024 bytes above. Models have small ones.
    pub(super) const STANDARD: Self = if cfg!(whimbrel_loom) {
        Self { words: [3, 3], fill: [2, 2], levels: 4 }
    } else {
        Self { words: [51, 53], fill: [39, 40], levels: MOST_LEVELS }
    };

    pub(super) fn packed(self) -> Packed {
        let small = |n: usize| u8::try_from(n).expect("checked in `List::with_shape`");
        let (words, fill) = (self.words.map(small), self.fill.map(small));
        Packed { words, fill, levels: small(self.levels) }
    }

    /// Words and fill of a level.
    pub(super) fn of_level(self, level: usize) -> (usize, usize) {
        let kind = level.min(1);
        (self.words[kind], self.fill[kind])
    }

    /// Words of a block that is the only one of its level, with so many records in it. Where it is small its
    /// successor may be larger, so it may be full.
    pub(super) fn words_of_the_only_block(self, level: usize, records: usize) -> usize {
        let (words, _) = self.of_level(level);
        if level == 0 && records <= FEW_RECORDS { words.min(FEW_WORDS) } else { words }
    }
}

/// A shape as a list keeps it: small.
#[derive(Clone, Copy)]
pub(super) struct Packed {
    words: [u8; 2],
    fill: [u8; 2],
    levels: u8,
}

impl Packed {
    pub(super) fn unpacked(self) -> Shape {
        Shape {
            words: self.words.map(usize::from),
            fill: self.fill.map(usize::from),
            levels: usize::from(self.levels),
        }
    }
}
