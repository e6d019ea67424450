//! The words of a block and the hints beside them: claims, and where a key may be.
//!
//! ```text
//! level 0   header | fingerprints, a byte each                 | words
//! above     header | order hints of the sorted words | window  | (word, child) pairs
//! ```
//!
//! `inner.rs` has what blocks above level 0 have besides.
//!
//! A word is claimed first and its fingerprint noted afterwards, so a fingerprint that is zero says
//! nothing: who meets one looks at the word. A fingerprint that is there is right for ever, and so is
//! the order hint in a word. A child's address beside a word is only ever prefetched, and may be old.

use std::marker::PhantomData;
use std::ptr::NonNull;

use super::entry::{ADDRESS, Entry};
use super::hint::{Needle, fingerprint, order_hint};
use super::inner;
use super::raw::{BlockRef, Header, MOST_WORDS};
use super::rebuild::KeptEntry;
use super::record::RecRef;
use super::scan::{LANES, Matches, matches, prefetch};
use crate::mutant::{Mutant, order};
use crate::sync::atomic::{AtomicU64, Ordering};

/// A word that nobody has claimed.
pub(super) const EMPTY_WORD: u64 = 0;

/// A word that nobody may claim any more.
pub(super) const CLOSED: u64 = 1;

/// What a word holds.
#[derive(Clone, Copy)]
pub(super) enum Word<'g> {
    Empty,
    Closed,
    Record(Entry<'g>),
}

/// Words that hold the fingerprints of a block of level 0.
const LINES: usize = 7;

/// The most words that a block of level 0 may have.
pub(super) const MOST_LEAF_WORDS: usize = LINES * LANES;

/// Bytes of the hints of a block: there is room for as many as it may have words, or words in order.
pub(super) const fn hints_bytes(level: usize) -> usize {
    if level == 0 { LINES * size_of::<AtomicU64>() } else { inner::HINTS_BYTES }
}

/// Atomics from one word to the next: above level 0 a child's address stands between.
const fn stride(level: usize) -> usize {
    if level == 0 { 1 } else { 2 }
}

/// Bytes of a block with `capacity` words.
pub(super) const fn block_bytes(capacity: usize, level: usize) -> usize {
    size_of::<Header>() + hints_bytes(level) + capacity * stride(level) * size_of::<AtomicU64>()
}

impl<'g> BlockRef<'g> {
    /// Address of the hints.
    #[inline]
    pub(super) fn hints_start(self) -> NonNull<u8> {
        // SAFETY: the hints follow the header, inside of the allocation.
        unsafe { self.as_ptr().cast::<u8>().add(size_of::<Header>()) }
    }

    /// The words.
    #[inline]
    pub(super) fn words(self) -> Words<'g> {
        let (len, level) = (self.capacity(), self.level());
        // SAFETY: inside of the allocation, see `block_bytes`.
        let first = unsafe { self.hints_start().add(hints_bytes(level)) }.cast();
        Words { first, len, stride: stride(level), protected: PhantomData }
    }

    /// Writes empty words and no hints into a block that is being made.
    ///
    /// # Safety
    ///
    /// The header is written, the rest of the allocation is not, and nobody else has it.
    pub(super) unsafe fn prepare_empty(self) {
        let level = self.level();
        if cfg!(whimbrel_loom) {
            // Loom's atomics are not plain words.
            for at in 0..self.capacity() {
                for column in 0..stride(level) {
                    // SAFETY: inside of the allocation, see `Words::start`.
                    unsafe { self.words().start(at, column).write(AtomicU64::new(EMPTY_WORD)) };
                }
            }
            let lines = if level == 0 { self.lines() } else { 0 };
            for at in 0..lines {
                // SAFETY: inside of the hints.
                let line = unsafe { self.hints_start().cast::<AtomicU64>().add(at) };
                // SAFETY: as above.
                unsafe { line.write(AtomicU64::new(0)) };
            }
        } else {
            let bytes = block_bytes(self.capacity(), level) - size_of::<Header>();
            // SAFETY: the rest of the allocation; zero bytes are empty words and unknown fingerprints.
            unsafe { self.hints_start().write_bytes(0, bytes) };
        }
        if level > 0 {
            self.prepare_no_hints();
        }
    }

    /// Number of lines of fingerprints. Models have no more than they need.
    fn lines(self) -> usize {
        if cfg!(whimbrel_loom) { self.capacity().div_ceil(LANES) } else { LINES }
    }

    #[inline]
    pub(super) fn slot(self, at: usize) -> &'g AtomicU64 {
        self.words().slot(at)
    }

    /// The fingerprints, eight in a word. Level 0.
    #[inline]
    fn fingerprints(self) -> &'g [AtomicU64] {
        debug_assert!(self.level() == 0);
        // SAFETY: `prepare_empty` wrote them, and they are only shared.
        unsafe { std::slice::from_raw_parts(self.hints_start().cast().as_ptr(), self.lines()) }
    }

    /// The order hint of a key of the range.
    fn hint_of(self, key: &[u8]) -> u16 {
        match self.level() {
            0 => order_hint(key, self.shared()),
            _ => self.order_hint(Needle::new(key)),
        }
    }

    /// The order hint of a key of the range that is looked for.
    #[inline]
    pub(super) fn hint_of_needle(self, needle: Needle<'_>) -> u16 {
        if self.level() == 0 { needle.order_hint(self.shared()) } else { self.order_hint(needle) }
    }

    /// Reads a word.
    #[inline]
    pub(super) fn word(self, at: usize) -> Word<'g> {
        self.words().word(at)
    }

    /// The record of a word that holds one.
    #[inline]
    pub(super) fn entry(self, at: usize) -> Option<Entry<'g>> {
        self.words().entry(at)
    }

    /// The words in order, read in place; they never change. Not in models, whose atomics are not plain
    /// words. Level 0.
    #[inline]
    pub(super) fn in_order(self) -> Option<&'g [Entry<'g>]> {
        debug_assert!(self.level() == 0);
        if cfg!(whimbrel_loom) {
            return None;
        }
        let first = self.words().first.cast::<Entry<'g>>();
        // SAFETY: so many first words lead to records that are retired in this session or later, as in
        // `judge`. They were written before the block was published and nobody writes them again: only
        // empty words are claimed and closed.
        Some(unsafe { std::slice::from_raw_parts(first.as_ptr(), self.sorted()) })
    }

    /// Claims the word for a record that is not shared yet, or for an anchor. Both are known of its key.
    ///
    /// # Errors
    ///
    /// What the word held, when it was not empty.
    #[inline]
    pub(super) fn claim(
        self,
        at: usize,
        record: RecRef<'_>,
        hint: u16,
        fingerprint: u8,
    ) -> Result<(), Word<'g>> {
        let word = Entry::word_of(record, hint);
        // ORDERING: Release; pairs with the Acquire in `word`: publishes the record. Acquire on
        // failure: the winner's record is looked at next.
        let release = order(Mutant::RelaxedWordClaim, Ordering::Release);
        let acquire = order(Mutant::RelaxedWordFailure, Ordering::Acquire);
        self.slot(at).compare_exchange(EMPTY_WORD, word, release, acquire).map_err(Words::judge)?;
        self.note(at, record, fingerprint);
        Ok(())
    }

    /// Notes the fingerprint of a claimed word, or the address of its child.
    #[inline]
    fn note(self, at: usize, record: RecRef<'_>, fingerprint: u8) {
        if self.level() > 0 {
            self.note_child(at, record);
            return;
        }
        let lane = u64::from(fingerprint) << (at % LANES * 8);
        // ORDERING: Relaxed; a fingerprint says nothing of what the word leads to, and readers load the
        // word, with Acquire.
        self.fingerprints()[at / LANES].fetch_or(lane, Ordering::Relaxed);
    }

    #[inline]
    fn note_child(self, at: usize, record: RecRef<'_>) {
        if !cfg!(whimbrel_loom) {
            // ORDERING: Relaxed, both; never followed.
            let child = record.cell().load(Ordering::Relaxed);
            self.words().child(at).store(child, Ordering::Relaxed);
        }
    }

    /// Writes the words of a block that is being made: these records, ascending.
    pub(super) fn prepare_words(self, records: &[RecRef<'_>]) {
        if self.level() > 0 {
            records.iter().enumerate().for_each(|(at, record)| self.prepare_word(at, *record));
            return;
        }
        let (words, shared) = (self.words(), self.shared());
        for (at, record) in records.iter().enumerate() {
            let word = Entry::word_of(*record, order_hint(record.key(), shared));
            // ORDERING: Relaxed; whoever publishes the block does it later.
            words.slot(at).store(word, Ordering::Relaxed);
        }
        for (line, group) in self.fingerprints().iter().zip(records.chunks(LANES)) {
            let print = |record: &RecRef<'_>| u64::from(fingerprint(record.key()));
            let lanes = group.iter().rev().fold(0, |lanes, record| lanes << 8 | print(record));
            // ORDERING: Relaxed; as above.
            line.store(lanes, Ordering::Relaxed);
        }
    }

    /// Reads what the fingerprints say, a byte for each word. Level 0.
    pub(super) fn read_fingerprints(self, bytes: &mut [u8]) {
        for (line, bytes) in self.fingerprints().iter().zip(bytes.chunks_exact_mut(LANES)) {
            // ORDERING: Relaxed; as in `note`: one that is there is right, whatever it is seen with.
            bytes.copy_from_slice(&line.load(Ordering::Relaxed).to_le_bytes());
        }
    }

    /// Writes the first words of a block of level 0 that no other thread can reach: records in ascending
    /// order. Their hints are of a block whose keys share so many bits, if they are of one.
    pub(super) fn prepare_kept<'k>(
        self,
        entries: impl ExactSizeIterator<Item = KeptEntry<'k>>,
        shared: Option<u32>,
    ) {
        let same_hints = shared == Some(self.shared());
        let words = self.words();
        let mut fingerprints = [0; MOST_WORDS];
        for ((at, kept), to) in entries.enumerate().zip(&mut fingerprints) {
            let record = kept.entry.record();
            let hint = match same_hints {
                true => kept.entry.hint(),
                false => order_hint(record.key(), self.shared()),
            };
            // ORDERING: Relaxed; whoever publishes the block does it later.
            words.slot(at).store(Entry::word_of(record, hint), Ordering::Relaxed);
            *to = match kept.fingerprint {
                0 => fingerprint(record.key()),
                known => known,
            };
        }
        for (line, bytes) in self.fingerprints().iter().zip(fingerprints.as_chunks().0) {
            // ORDERING: Relaxed; as above.
            line.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Adds a record behind all others of a block above level 0 that no other thread can reach.
    pub(super) fn prepare_word(self, at: usize, record: RecRef<'_>) {
        debug_assert!(self.level() > 0, "no fingerprint is noted");
        self.prepare_hint(at, record);
        self.note_child(at, record);
    }

    /// Writes a word of a block that no other thread can reach, with its order hint. Above level 0 the
    /// hints of the words in order stand apart as well.
    pub(super) fn prepare_hint(self, at: usize, record: RecRef<'_>) {
        let hint = self.hint_of(record.key());
        // ORDERING: Relaxed; whoever publishes the block does it later.
        self.slot(at).store(Entry::word_of(record, hint), Ordering::Relaxed);
        if self.level() > 0 && at < self.sorted() {
            self.prepare_order_hint(at, hint);
        }
    }

    /// The fingerprints and what follows them: as much as vector instructions compare. Level 0.
    #[inline]
    fn searched(self) -> &'g [AtomicU64] {
        if cfg!(whimbrel_loom) {
            return self.fingerprints();
        }
        let first = self.hints_start().cast().as_ptr();
        // SAFETY: one atomic more than there are lines is the first word, and every block has one.
        unsafe { std::slice::from_raw_parts(first, LINES + 1) }
    }

    /// Where the fingerprints match. Level 0.
    #[inline]
    pub(super) fn matches(self, fingerprint: u8) -> Matches {
        let found = matches(self.searched(), fingerprint);
        let all = u64::MAX >> (64 - self.capacity());
        Matches { hits: found.hits & all, unknown: found.unknown & all }
    }

    /// Begins to load a word.
    #[inline]
    pub(super) fn prefetch_word(self, at: usize) {
        if at < self.capacity() {
            prefetch(self.words().start(at, 0).as_ptr().expose_provenance() as u64, 1);
        }
    }

    /// Begins to load of every record what a rebuild reads: the cell, and as much of the key as a hint
    /// takes behind what all of them share.
    pub(super) fn prefetch_records(self) {
        if cfg!(whimbrel_loom) {
            return;
        }
        let words = self.words();
        let hint = RecRef::KEY_OFFSET + u64::from(self.shared() / 8) + 7;
        for at in 0..words.len() {
            // ORDERING: Relaxed; never followed.
            let record = words.slot(at).load(Ordering::Relaxed) & ADDRESS;
            prefetch(record, 1);
            prefetch(record + hint, 1);
        }
    }

    /// Begins to load the record that a word leads to.
    #[inline]
    pub(super) fn prefetch_record(self, at: usize) {
        if at < self.capacity() {
            // ORDERING: Relaxed; never followed.
            prefetch(self.slot(at).load(Ordering::Relaxed) & ADDRESS, 64);
        }
    }
}

/// The words of a block, and the children's addresses between them.
#[derive(Clone, Copy)]
pub(super) struct Words<'g> {
    first: NonNull<AtomicU64>,
    len: usize,
    stride: usize,
    protected: PhantomData<&'g AtomicU64>,
}

impl<'g> Words<'g> {
    /// Address of a word, or of the child's address behind it.
    #[inline]
    fn start(self, at: usize, column: usize) -> NonNull<AtomicU64> {
        assert!(at < self.len, "a block has no word beyond its capacity");
        debug_assert!(column < self.stride);
        // SAFETY: inside of the allocation: see `block_bytes`.
        unsafe { self.first.add(at * self.stride + column) }
    }

    #[inline]
    fn slot(self, at: usize) -> &'g AtomicU64 {
        // SAFETY: `prepare_empty` wrote the word, and it is only shared.
        unsafe { self.start(at, 0).as_ref() }
    }

    /// The child's address beside a word. Above level 0.
    #[inline]
    fn child(self, at: usize) -> &'g AtomicU64 {
        // SAFETY: `prepare_empty` wrote it, and it is only shared.
        unsafe { self.start(at, 1).as_ref() }
    }

    /// Number of words.
    #[inline]
    pub(super) fn len(self) -> usize {
        self.len
    }

    /// Reads a word.
    #[inline]
    fn word(self, at: usize) -> Word<'g> {
        // ORDERING: Acquire; pairs with the Release in `claim`: the record is complete.
        let raw = self.slot(at).load(order(Mutant::RelaxedWordLoad, Ordering::Acquire));
        Self::judge(raw)
    }

    /// The record of a word that holds one.
    #[inline]
    pub(super) fn entry(self, at: usize) -> Option<Entry<'g>> {
        if let Word::Record(entry) = self.word(at) { Some(entry) } else { None }
    }

    #[inline]
    pub(super) fn judge(raw: u64) -> Word<'g> {
        match raw {
            EMPTY_WORD => Word::Empty,
            CLOSED => Word::Closed,
            // SAFETY: a record is retired after its word left the chain: in this session or later.
            _ => Word::Record(unsafe { Entry::from_word(raw) }),
        }
    }
}
