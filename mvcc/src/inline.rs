//! The stamp of a version that lies in its record, in the very word that leads to it.
//!
//! While the first version of a record lies inline and is the newest of its key, the record's cell holds
//! no address but the version's stamp, and the inline part nothing but the value. Once the version is
//! superseded the same word, final by then, stands in the `older` word of the version above it. So a
//! word that was read says everything about the version that it can say.
//!
//! A second kind of such a word is the stamp of a *removal in place*: the version that says "removed" and has
//! no memory but this word, above the version in the record (`removal.rs`). The word took the place of that
//! one's stamp, whose number is lost; it was one that every snapshot open then or later sees.
//!
//! ```text
//! bit 63   0: the list's, for records that moved
//! bit 62   1: FINAL
//! 61 .. 3  the number, or the floor of one that is not decided
//!  2 .. 0  010 a value, 100 a removal: the tag; addresses, EMPTY and SEALED have others
//! ```
//!
//! Such a version is never of a batch: a batch installs into records that it made without a version
//! (`batch.rs`), and removes by versions that lead to it. So there is no third state, as `stamp.rs` has it.
//!
//! Invariants, besides S1 to S3 of `stamp.rs`.
//!
//! - S4. A pending word stands in cells only, and a cell gets it when its record is made, or, of a removal,
//!   in the place of the final word of the value. Whoever takes it out leaves a final one of the same kind, or
//!   a pending one with a higher floor; who removed may also seal the cell (`removal.rs`). So a cell goes
//!   from floor to floor to one final word, perhaps once more so, to something else, and never back: each step
//!   is an exchange of the very word that was read, and where the exchange fails the cell is looked at
//!   again. A step that wrote unconditionally would overwrite a newer version, a seal, or the way to a
//!   moved record; and a number that was read from the clock before the removal was there is none for it.

use crate::clock::ClockInner;
use crate::mutant::{Mutant, order, planted};
use crate::stamp::By;
use crate::sync::atomic::{AtomicU64, Ordering};

const VALUE: u64 = 0b010;
const REMOVAL: u64 = 0b100;
const TAGS: u64 = VALUE | REMOVAL;
const TAG_BITS: u64 = 0b111;
const FINAL: u64 = 1 << 62;
const SHIFT: u32 = 3;

/// Numbers are below this.
const NUMBERS: u64 = FINAL >> SHIFT;

/// Whether a cell's word is of an inline value that snapshot `s` sees.
#[inline]
pub(crate) fn is_seen(word: u64, s: u64) -> bool {
    debug_assert!(s < NUMBERS, "snapshot numbers have 59 bits");
    // Zero in the place of tag and `FINAL` leaves the number; anything else comes out larger than any.
    word.wrapping_sub(FINAL | VALUE).rotate_right(SHIFT) <= s
}

/// Whether a cell's word is of an inline value that is settled.
#[inline]
pub(crate) fn is_settled(word: u64) -> bool {
    word & (FINAL | TAG_BITS) == FINAL | VALUE
}

/// The stamp of an inline version, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InlineStamp(u64);

impl InlineStamp {
    /// Of a value that nobody has met yet.
    pub(crate) const PENDING: Self = Self(VALUE);

    /// Of a removal that nobody has met yet.
    pub(crate) const REMOVAL: Self = Self(REMOVAL);

    pub(crate) fn decided(number: u64) -> Self {
        debug_assert!(number < NUMBERS, "snapshot numbers have 59 bits");
        Self(FINAL | number << SHIFT | VALUE)
    }

    /// What a word says of an inline version; none: it leads to something else, or to nothing.
    #[inline]
    pub(crate) fn of(word: u64) -> Option<Self> {
        (word & TAGS != 0).then_some(Self(word))
    }

    /// Whether it is of a removal in place, and not of a value.
    #[inline]
    pub(crate) fn is_removal(self) -> bool {
        self.0 & REMOVAL != 0
    }

    /// As a word of a cell or a chain.
    pub(crate) fn word(self) -> u64 {
        self.0
    }

    /// The number, if it is decided.
    pub(crate) fn number(self) -> Option<u64> {
        (self.0 & FINAL != 0).then_some((self.0 & !FINAL) >> SHIFT)
    }

    /// Whether both are of values, or of removals. (A number read for a value is too old for its removal.)
    fn is_of_kind(self, other: Self) -> bool {
        self.is_removal() == other.is_removal() || planted(Mutant::SettledAcrossRemoval)
    }

    /// A pending stamp with at least this floor.
    fn at_least(self, floor: u64) -> Self {
        debug_assert!(self.number().is_none() && floor < NUMBERS, "pending, and a floor");
        Self(self.0.max(floor << SHIFT | self.0 & TAGS))
    }

    /// Makes sure that the number of a pending version will be at least `floor`. False: the cell holds
    /// something else by now and has to be looked at again.
    pub(crate) fn raise(self, cell: &AtomicU64, floor: u64) -> bool {
        let raised = self.at_least(floor);
        if planted(Mutant::InlineRaisedByMaximum) {
            let found = cell.fetch_max(raised.0, Ordering::AcqRel);
            return Self::of(found).is_some_and(|stamp| stamp.number().is_none());
        }
        // ORDERING: AcqRel, even where the floor is high enough already; Acquire as in `Record::follow`,
        // Release so that the settling thread, which reads this floor, is ordered after this reader.
        // Relaxed on failure: the cell is read again. Row V5.
        let acq_rel = order(Mutant::InlineRaiseRelaxed, Ordering::AcqRel);
        cell.compare_exchange(self.0, raised.0, acq_rel, Ordering::Relaxed).is_ok()
    }

    /// Decides the number of a pending version, unless that was done; returns the final stamp. None:
    /// that was done, and the version is not in the cell any more, or is removed in place.
    ///
    /// Tries again only when a reader has raised the floor meanwhile.
    pub(crate) fn settle(self, cell: &AtomicU64, clock: &ClockInner, by: By) -> Option<Self> {
        let number = clock.number_for(by);
        if planted(Mutant::InlineSettledByStore) {
            cell.store(Self::decided(number).0, Ordering::Release);
            return Some(Self::decided(number));
        }
        // ORDERING: AcqRel, Acquire on failure; Release pairs with the Acquire of the cell's loads,
        // Acquire with the settling that came first. Row V4.
        let success = order(Mutant::InlineSettleRelaxed, Ordering::AcqRel);
        let failure = order(Mutant::InlineSettleRelaxed, Ordering::Acquire);
        let mut found = self;
        while found.number().is_none() {
            let ignored = planted(Mutant::InlineSettleIgnoresFloor);
            let least = if ignored { Self(found.0 & TAGS) } else { found };
            let decided = Self(least.at_least(number).0 | FINAL);
            match cell.compare_exchange(found.0, decided.0, success, failure) {
                Ok(_) => return Some(decided),
                Err(word) => found = Self::of(word).filter(|now| now.is_of_kind(self))?,
            }
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_seen_from_its_number_on() {
        for number in [0, 1, 2, 41, NUMBERS - 1] {
            let word = InlineStamp::decided(number).word();
            assert!(is_settled(word) && is_seen(word, number));
            assert!(number == 0 || !is_seen(word, number - 1));
            assert!(is_seen(word, NUMBERS - 1));
            assert_eq!(InlineStamp::of(word).and_then(InlineStamp::number), Some(number));
        }
    }

    #[test]
    fn no_other_word_is_seen() {
        let address = std::ptr::from_ref(&0_u64).addr() as u64;
        let floor = InlineStamp::PENDING.at_least(NUMBERS - 1).word();
        let others = [0, 1, 8, address, address | 1 << 63, InlineStamp::PENDING.word(), floor];
        let removals = [0, 1, NUMBERS - 1].map(|number| InlineStamp::REMOVAL.at_least(number));
        let removals = removals.into_iter().flat_map(|removal| [removal.0, removal.0 | FINAL]);
        for word in others.into_iter().chain(removals) {
            assert!(!is_settled(word) && !is_seen(word, NUMBERS - 1), "{word:#x}");
        }
        let other_kinds = others.into_iter().filter(|word| InlineStamp::of(*word).is_none());
        assert_eq!(other_kinds.count(), 5, "0, 1, 8 and the addresses");
    }

    #[test]
    fn floors_only_rise_and_the_number_is_above_them() {
        let low = InlineStamp::PENDING.at_least(3);
        assert_eq!(low.at_least(2), low);
        assert_eq!(low.at_least(7), InlineStamp::PENDING.at_least(7));
        assert_eq!(low.number(), None);
        assert_eq!(InlineStamp(low.0 | FINAL).number(), Some(3));
        let removal = InlineStamp::REMOVAL.at_least(3);
        assert!(removal.is_removal() && !low.is_removal());
        assert_eq!((removal.number(), InlineStamp(removal.0 | FINAL).number()), (None, Some(3)));
    }
}
