//! The number of a version as it was found, and the raising of its floor where it has none.

use crate::inline::InlineStamp;
use crate::stamp::StampWord;
use crate::sync::atomic::AtomicU64;

/// What a stamp comes to, a batch's included.
pub(crate) enum Number<'g> {
    /// Decided.
    Final(u64),
    /// Decided by the word of an ingest, whose owner has not written it into the version's own yet.
    Ingested(u64),
    /// Not decided; what will say it.
    Pending(Undecided<'g>),
}

/// Where the number of a pending version will stand.
pub(crate) enum Undecided<'g> {
    /// In the cell of its record, which held this.
    Cell(&'g AtomicU64, InlineStamp),
    /// In this word, of the version or its batch.
    Word(&'g StampWord),
}

/// What raising a floor came to.
pub(crate) enum Raised {
    /// The version is pending, and its number will be at least the floor.
    Pending,
    /// The version has this number.
    Final(u64),
    /// The cell has changed, and is to be looked at again.
    Changed,
}

impl Undecided<'_> {
    /// Makes sure that the number will be at least `floor`.
    pub(crate) fn raise(self, floor: u64) -> Raised {
        match self {
            Self::Cell(cell, stamp) if stamp.raise(cell, floor) => Raised::Pending,
            Self::Cell(..) => Raised::Changed,
            Self::Word(word) => word.raise(floor).map_or(Raised::Pending, Raised::Final),
        }
    }
}
