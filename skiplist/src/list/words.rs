//! The words of a block: claims, hints, and beside each word of a block above level 0 what helps to
//! search it.

use std::ptr::NonNull;

use super::hint::{fingerprint, head, order_hint, rank_hint};
use super::raw::{BlockRef, Header};
use super::record::RecRef;
use super::scan::{Matches, matches, prefetch};
use crate::mutant::{Mutant, order};
use crate::sync::atomic::{AtomicU64, Ordering};

/// A word that nobody has claimed.
pub(super) const EMPTY_WORD: u64 = 0;

/// A word that nobody may claim any more.
pub(super) const CLOSED: u64 = 1;

/// Bits of a word that hold the address of a record; the hint lies above.
const ADDRESS_BITS: u32 = 48;
const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

/// What a word holds.
#[derive(Clone, Copy)]
pub(super) enum Word<'g> {
    Empty,
    Closed,
    Record(RecRef<'g>),
}

impl<'g> BlockRef<'g> {
    pub(super) fn slot(self, at: usize) -> &'g AtomicU64 {
        assert!(at < self.capacity(), "a block has no word beyond its capacity");
        // SAFETY: `at` is below the number of words.
        let slot = unsafe { word_at(self.as_ptr(), at) };
        // SAFETY: `new` wrote the word, and it is only shared.
        unsafe { slot.as_ref() }
    }

    /// Reads a word.
    pub(super) fn word(self, at: usize) -> Word<'g> {
        // ORDERING: Acquire; pairs with the Release in `claim`: the record is complete.
        let raw = self.slot(at).load(order(Mutant::RelaxedWordLoad, Ordering::Acquire));
        Self::judge(raw)
    }

    fn judge(raw: u64) -> Word<'g> {
        match raw {
            EMPTY_WORD => Word::Empty,
            CLOSED => Word::Closed,
            // SAFETY: a record is retired after its word left the chain: in this session or later.
            _ => Word::Record(unsafe { record_of(raw) }),
        }
    }

    /// Claims the word for a record that is not shared yet, or for an anchor.
    ///
    /// # Errors
    ///
    /// What the word held, when it was not empty.
    pub(super) fn claim(self, at: usize, record: RecRef<'_>, hint: u16) -> Result<(), Word<'g>> {
        // ORDERING: Release; pairs with the Acquire in `word`: publishes the record. Acquire on
        // failure: the winner's record is looked at next.
        let release = order(Mutant::RelaxedWordClaim, Ordering::Release);
        let acquire = order(Mutant::RelaxedWordFailure, Ordering::Acquire);
        self.slot(at)
            .compare_exchange(EMPTY_WORD, word_of(record, hint), release, acquire)
            .map_err(Self::judge)?;
        self.note_child(at, record);
        Ok(())
    }

    /// Adds a record behind all others of a block that no other thread can reach.
    pub(super) fn prepare_word(self, at: usize, record: RecRef<'_>) {
        let hint = match self.level() {
            0 => fingerprint(record.key()),
            _ if at < self.sorted() => order_hint(record.key(), self.shared()),
            // Where no word is in order all others have the same rank.
            _ => rank_hint(0),
        };
        debug_assert!(at < self.sorted() || self.sorted() == 0);
        // ORDERING: Relaxed; whoever publishes the block does it later.
        self.slot(at).store(word_of(record, hint), Ordering::Relaxed);
        self.note_child(at, record);
    }

    /// The order hint of a key of the block's range, or of its high end.
    pub(super) fn order_hint_of(self, key: &[u8]) -> u64 {
        u64::from(order_hint(key, self.shared()))
    }

    /// The words behind those in order that have this rank. Above level 0.
    #[inline]
    pub(super) fn unsorted_matches(self, rank: usize) -> u64 {
        let sorted = self.sorted();
        matches(&self.words()[sorted..], rank_hint(rank)).hits << sorted
    }

    /// Notes where an entry leads and its order hint. Neither decides anything: the address is only
    /// prefetched, and may be old.
    fn note_child(self, at: usize, record: RecRef<'_>) {
        if self.level() > 0 && !cfg!(whimbrel_loom) {
            // ORDERING: Relaxed, both; never followed.
            let child = record.cell().load(Ordering::Relaxed) & ADDRESS;
            let side = child | (self.order_hint_of(record.key()) << ADDRESS_BITS);
            self.side_slot(at).store(side, Ordering::Relaxed);
        }
    }

    fn side_slot(self, at: usize) -> &'g AtomicU64 {
        assert!(at < self.capacity() && self.level() > 0);
        // SAFETY: above level 0 as many side words as words follow the words.
        let slot = unsafe { word_at(self.as_ptr(), self.capacity() + at) };
        // SAFETY: `new` wrote it, and it is only shared.
        unsafe { slot.as_ref() }
    }

    /// The order hint of an entry; none until the thread that added it has noted it.
    pub(super) fn side_hint(self, at: usize) -> Option<u64> {
        // ORDERING: Relaxed; a hint that is there is right for ever.
        let side = if cfg!(whimbrel_loom) { 0 } else { self.side_slot(at).load(Ordering::Relaxed) };
        (side != 0).then_some(side >> ADDRESS_BITS)
    }

    /// Begins to load the block that an entry leads to.
    pub(super) fn prefetch_child(self, at: usize) {
        if !cfg!(whimbrel_loom) {
            // ORDERING: Relaxed; never followed.
            let child = self.side_slot(at).load(Ordering::Relaxed) & ADDRESS;
            prefetch(child, if self.level() == 1 { 512 } else { 576 });
        }
    }

    /// Begins to load the record that a word leads to.
    pub(super) fn prefetch_record(self, at: usize) {
        // ORDERING: Relaxed; never followed.
        prefetch(self.slot(at).load(Ordering::Relaxed) & ADDRESS, 128);
    }

    /// All words.
    pub(super) fn words(self) -> &'g [AtomicU64] {
        // SAFETY: a block has a word at index 0.
        let first = unsafe { word_at(self.as_ptr(), 0) };
        // SAFETY: `new` wrote `capacity` words there, and they are only shared.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), self.capacity()) }
    }

    /// Where the words have the hint.
    #[inline]
    pub(super) fn matches(self, hint: u16) -> Matches {
        matches(self.words(), hint)
    }

    /// Eight bytes of a key of the block's range, behind what all keys of it share.
    pub(super) fn head_of(self, key: &[u8]) -> u64 {
        head(key, (self.shared() / 8) as usize)
    }

    /// Begins to load header and words.
    pub(super) fn prefetch(self) {
        prefetch(self.to_word(), 512);
    }
}

/// The hint in a word; 0 for words without a record.
#[inline]
pub(super) fn hint_of_word(word: &AtomicU64) -> u64 {
    // ORDERING: Relaxed; the record is reached through `BlockRef::word`.
    word.load(Ordering::Relaxed) >> ADDRESS_BITS
}

/// Address of a word of the block.
///
/// # Safety
///
/// `block` covers the allocation of a block with more than `at` words (children included).
pub(super) unsafe fn word_at(block: NonNull<Header>, at: usize) -> NonNull<AtomicU64> {
    let offset = size_of::<Header>() + at * size_of::<AtomicU64>();
    // SAFETY: words follow the header, see `layout`.
    unsafe { block.byte_add(offset) }.cast()
}

/// The word that leads to a record.
fn word_of(record: RecRef<'_>, hint: u16) -> u64 {
    let address = record.as_ptr().as_ptr().expose_provenance() as u64;
    assert!(address & !ADDRESS == 0, "records lie in the lower 48 bits of the address space");
    address | (u64::from(hint) << ADDRESS_BITS)
}

/// # Safety
///
/// `word` leads to a record that is not reclaimed during `'g`.
unsafe fn record_of<'g>(word: u64) -> RecRef<'g> {
    let ptr = std::ptr::with_exposed_provenance_mut((word & ADDRESS) as usize);
    let ptr = NonNull::new(ptr).expect("no record lies at address 0");
    // SAFETY: the caller vouches for it.
    unsafe { RecRef::protect(ptr) }
}
