//! The words of records, apart from their blocks: hint and address in one, and their order.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::raw::{BlockRef, MOST_WORDS};
use super::record::RecRef;
use super::words::Words;

/// Bits of a word that hold the address of a record; the order hint lies above.
const ADDRESS_BITS: u32 = 48;

/// The address in a word.
pub(super) const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

/// Records that begin to be loaded before a block is ordered.
const EARLY: usize = 6;

/// The word of a record: its address, and the order hint of its key in the block where it was found.
///
/// Invariant: the word is [`Entry::word_of`] a record, which is protected for `'g`.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Entry<'g> {
    word: u64,
    protected: PhantomData<RecRef<'g>>,
}

impl<'g> Entry<'g> {
    /// In a place that is not filled yet. Leads nowhere.
    pub(super) const NONE: Self = Self { word: u64::MAX, protected: PhantomData };

    /// # Safety
    ///
    /// `word` is [`Entry::word_of`] a record that is not reclaimed during `'g`.
    #[inline]
    pub(super) unsafe fn from_word(word: u64) -> Self {
        Self { word, protected: PhantomData }
    }

    /// The word that leads to a record.
    #[inline]
    pub(super) fn word_of(record: RecRef<'_>, hint: u16) -> u64 {
        let address = record.as_ptr().as_ptr().expose_provenance() as u64;
        assert!(address & !ADDRESS == 0, "records lie in the lower 48 bits of the address space");
        address | (u64::from(hint) << ADDRESS_BITS)
    }

    #[inline]
    pub(super) fn hint(self) -> u16 {
        Self::hint_of(self.word)
    }

    /// The hint in a word.
    #[inline]
    pub(super) fn hint_of(word: u64) -> u16 {
        (word >> ADDRESS_BITS) as u16
    }

    /// The greatest word with a hint.
    #[inline]
    pub(super) fn last_word(hint: u16) -> u64 {
        (u64::from(hint) << ADDRESS_BITS) | ADDRESS
    }

    #[inline]
    pub(super) fn record(self) -> RecRef<'g> {
        let ptr = std::ptr::with_exposed_provenance_mut((self.word & ADDRESS) as usize);
        // SAFETY: the invariant of the type: no record lies at address 0.
        let ptr = unsafe { NonNull::new_unchecked(ptr) };
        // SAFETY: the invariant of the type.
        unsafe { RecRef::protect(ptr) }
    }

    /// The same place in the order, for another record of the same key.
    pub(super) fn of(self, record: RecRef<'g>) -> Self {
        Self { word: Self::word_of(record, self.hint()), protected: PhantomData }
    }

    /// Bytes between the beginnings of both records.
    #[inline]
    pub(super) fn distance(self, other: Self) -> u64 {
        (self.word & ADDRESS).abs_diff(other.word & ADDRESS)
    }

    /// Begins to load the record.
    #[inline]
    pub(super) fn prefetch(self) {
        self.record().prefetch();
    }

    /// Whether its key is not below that of another one with the same hint.
    #[cold]
    fn is_behind(self, other: Self) -> bool {
        self.record().key() >= other.record().key()
    }

    /// Compares the record's key with another one; by their order hints where these differ.
    #[inline]
    pub(super) fn compare(self, key: &[u8], hint: u16) -> Ordering {
        self.hint().cmp(&hint).then_with(|| self.record().key().cmp(key))
    }
}

/// Entries that were copied from a block.
struct Copies<'g> {
    /// The first `len` are written.
    entries: [MaybeUninit<Entry<'g>>; MOST_WORDS],
    len: usize,
}

impl<'g> Copies<'g> {
    fn new() -> Self {
        Self { entries: [const { MaybeUninit::uninit() }; MOST_WORDS], len: 0 }
    }

    /// Adds an entry if it is to be kept; writes it in any case.
    #[inline]
    fn push_if(&mut self, entry: Entry<'g>, kept: bool) {
        self.entries[self.len].write(entry);
        self.len += usize::from(kept);
    }

    fn extend(&mut self, entries: &[Entry<'g>]) {
        self.entries[self.len..][..entries.len()].write_copy_of_slice(entries);
        self.len += entries.len();
    }

    #[inline]
    fn all(&self) -> &[Entry<'g>] {
        // SAFETY: the invariant of `len`.
        unsafe { self.entries[..self.len].assume_init_ref() }
    }

    #[inline]
    fn all_mut(&mut self) -> &mut [Entry<'g>] {
        // SAFETY: the invariant of `len`.
        unsafe { self.entries[..self.len].assume_init_mut() }
    }

    /// Adds those of the words `from..to` of a block for which `keep` holds.
    #[inline]
    fn take(
        &mut self,
        words: Words<'g>,
        from: usize,
        to: usize,
        mut keep: impl FnMut(Entry<'g>) -> bool,
    ) {
        for at in from..to.min(MOST_WORDS) {
            let Some(entry) = words.entry(at) else { break };
            self.push_if(entry, keep(entry));
        }
    }

    /// Brings the entries into the order of their keys; those of one key into any order: see `read` in
    /// `walk.rs`.
    fn sort(&mut self) {
        let all = self.all_mut();
        if cfg!(any(whimbrel_loom, whimbrel_shuttle)) {
            // Addresses differ from one execution to the next, and must not decide in which order cells
            // are read (docs/ordering.md). The records of a key stay as they came.
            all.sort_by_key(|entry| entry.hint());
        } else {
            all.sort_unstable_by_key(|entry| entry.word);
        }
        if all.windows(2).any(|pair| pair[0].hint() == pair[1].hint()) {
            Self::sort_by_keys(all);
        }
    }

    #[cold]
    fn sort_by_keys(entries: &mut [Entry<'g>]) {
        entries.sort_by(|a, b| a.compare(b.record().key(), b.hint()));
    }

    /// Puts other entries between these. Both are in order.
    fn merge(&mut self, others: &[Entry<'g>]) {
        let (mut own, mut other) = (self.len, others.len());
        // Makes room; what stands there is written over from the end on.
        self.extend(others);
        let all = self.all_mut();
        while own > 0 && other > 0 {
            // SAFETY: `own` is above 0, and not above the length of before.
            let mine = unsafe { *all.get_unchecked(own - 1) };
            // SAFETY: `other` is above 0, and not above the length.
            let theirs = unsafe { *others.get_unchecked(other - 1) };
            let is_mine_last = if mine.hint() == theirs.hint() {
                mine.is_behind(theirs)
            } else {
                mine.word > theirs.word
            };
            // SAFETY: both sum up to the length at most, and to 2 at least.
            let place = unsafe { all.get_unchecked_mut(own + other - 1) };
            *place = if is_mine_last { mine } else { theirs };
            own -= usize::from(is_mine_last);
            other -= usize::from(!is_mine_last);
        }
        all[own..own + other].copy_from_slice(&others[..other]);
    }
}

/// The entries of one block in the order of their keys.
///
/// A block has its first words in order and those that came later behind them. Only those are ordered,
/// and put between the others: by their hints where these differ; keys are read where they do not. A
/// block to which nothing came is read in place.
pub(super) struct Ordered<'g> {
    merged: Copies<'g>,
    /// The words of the block, if nothing had to be put between them.
    in_place: &'g [Entry<'g>],
}

impl<'g> Ordered<'g> {
    #[inline]
    pub(super) fn new() -> Self {
        Self { merged: Copies::new(), in_place: &[] }
    }

    /// No entries.
    pub(super) fn clear(&mut self) {
        (self.merged.len, self.in_place) = (0, &[]);
    }

    /// Replaces the entries by those of a block whose hints are not below `from` and for which `keep`
    /// holds. Of the words each that can still change is read once, in here. Level 0.
    ///
    /// `keep` is asked about words that came later only, unless the block is of a model.
    #[inline]
    pub(super) fn enter(
        &mut self,
        block: BlockRef<'g>,
        from: u16,
        mut keep: impl FnMut(Entry<'g>) -> bool,
    ) {
        self.clear();
        let mut keep = |entry: Entry<'g>| entry.hint() >= from && keep(entry);
        let Some(firsts) = block.in_order() else {
            return self.fill(block, keep);
        };
        self.merged.take(block.words(), block.sorted(), block.capacity(), &mut keep);
        let below = if from == 0 { 0 } else { firsts.partition_point(|one| one.hint() < from) };
        let firsts = &firsts[below..];
        if self.merged.len == 0 {
            self.in_place = firsts;
            return;
        }
        // Begun before the rest is ordered: most of them are among the first in the end.
        firsts.iter().take(EARLY).for_each(|entry| entry.prefetch());
        self.merged.sort();
        self.merged.merge(firsts);
    }

    /// As [`Ordered::enter`], of a block of a model: its words are read once, in order.
    fn fill(&mut self, block: BlockRef<'g>, mut keep: impl FnMut(Entry<'g>) -> bool) {
        let (words, sorted, mut firsts) = (block.words(), block.sorted(), Copies::new());
        firsts.take(words, 0, sorted, &mut keep);
        self.merged.take(words, sorted, words.len(), &mut keep);
        self.merged.sort();
        self.merged.merge(firsts.all());
    }

    /// All entries.
    #[inline]
    pub(super) fn all(&self) -> &[Entry<'g>] {
        if self.merged.len == 0 { self.in_place } else { self.merged.all() }
    }
}
