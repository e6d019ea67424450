//! Memory of a block: the header, and what becomes of a block. `words.rs` has the rest.
//!
//! A block is written by one thread until the decision publishes it; from then on only words, `next`
//! and `repl` change, and each of them along a fixed path:
//! a word goes from empty to a record or to CLOSED; `next` goes along decided blocks until it is
//! frozen; `repl` goes from null to ABSORB or to a block.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::entry::Entry;
use super::hint::{Needle, head, head_offset, same_bytes, shared_bits};
use super::record::{RecHeader, RecRef};
use super::scan::prefetch;
use super::search::Place;
use super::words::{CLOSED, EMPTY_WORD, Word, block_bytes};
use crate::memory;
use crate::mutant::{Mutant, order, planted};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Tag bit of `next`: it does not change any more.
const FROZEN: u64 = 1;

/// Value of `repl`: the live predecessor takes the content.
const ABSORB: u64 = 1;

/// Alignment of a block: lines are never shared with a neighbour.
const ALIGN: usize = 64;

/// The most words that a block may have.
pub(super) const MOST_WORDS: usize = 64;

/// The most words in order that a block above level 0 may have.
pub(super) const MOST_SORTED: usize = 48;

/// The fixed part of a block.
#[repr(C)]
pub(super) struct Header {
    /// Record whose key is the low end of the block's range and whose cell leads here. Fixed.
    anchor: NonNull<RecHeader>,
    /// Anchor of the successor when this block was made: its key is the exclusive high end. Null
    /// where there is no end. Fixed.
    high: *mut RecHeader,
    /// Eight bytes of that key, from [`head_offset`] on. Fixed.
    high_head: u64,
    /// Address of the successor, and [`FROZEN`].
    next: AtomicU64,
    /// 0, [`ABSORB`], or the address of the first of the blocks that take this one's place.
    repl: AtomicU64,
    /// Number of words. Fixed.
    capacity: u8,
    /// So many first words are records in ascending order. Fixed.
    sorted: u8,
    level: u8,
    /// About how many of the records are dead. A hint, outside of the models.
    dead: std::sync::atomic::AtomicU8,
    /// Bits that both ends of the range share, so all keys of the range do. Fixed.
    shared: u32,
    #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
    canary: crate::model::Canary,
}

const _: () = assert!(cfg!(any(whimbrel_loom, whimbrel_shuttle)) || size_of::<Header>() == 48);
const _: () = assert!(align_of::<Header>() <= ALIGN);
const _: () = assert!(size_of::<Header>().is_multiple_of(align_of::<AtomicU64>()));

/// What `repl` says.
#[derive(Clone, Copy)]
pub(super) enum Repl<'g> {
    /// The block is the one to use, frozen or not.
    Undecided,
    /// The block is frozen; its live predecessor takes its content.
    Absorb,
    /// The first of the blocks that took its place.
    Block(BlockRef<'g>),
}

/// Range, level and size of a block to be made.
#[derive(Clone, Copy)]
pub(super) struct Plan<'g> {
    pub(super) anchor: RecRef<'g>,
    pub(super) high: Option<RecRef<'g>>,
    pub(super) next: Option<BlockRef<'g>>,
    pub(super) level: usize,
    pub(super) capacity: usize,
}

/// Layout of a block with `capacity` words.
fn layout(capacity: usize, level: usize) -> Layout {
    Layout::from_size_align(block_bytes(capacity, level), ALIGN).expect("a block is small")
}

/// A block that is protected for `'g`.
///
/// Invariant: the pointer covers the whole allocation of a complete block, which is not reclaimed
/// during `'g`. Whoever makes one vouches for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockRef<'g> {
    ptr: NonNull<Header>,
    protected: PhantomData<&'g Header>,
}

impl<'g> BlockRef<'g> {
    /// # Safety
    ///
    /// `raw` is [`BlockRef::to_word`] of a complete block that is not reclaimed during `'g`.
    #[inline]
    pub(super) unsafe fn from_word(raw: u64) -> Self {
        // SAFETY: the caller vouches for it.
        unsafe { Self::from_raw_word(raw) }.expect("no block lies at address 0")
    }

    /// # Safety
    ///
    /// As [`BlockRef::from_word`], or `raw` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "addresses have 64 bits")]
    #[inline]
    unsafe fn from_raw_word(raw: u64) -> Option<Self> {
        let ptr = std::ptr::with_exposed_provenance_mut(raw as usize);
        NonNull::new(ptr).map(|ptr| Self { ptr, protected: PhantomData })
    }

    /// The address, as cells, `next` and `repl` hold it.
    #[inline]
    pub(super) fn to_word(self) -> u64 {
        self.ptr.as_ptr().expose_provenance() as u64
    }

    /// Makes a block with these records, ascending, as its first words.
    ///
    /// The block belongs to nobody yet: it is published, or given back by [`BlockRef::free`].
    pub(super) fn new(plan: Plan<'g>, records: &[RecRef<'g>]) -> Self {
        let block = Self::empty(plan, records.len());
        if plan.level > 0 {
            block.choose_window(records.iter().copied());
        }
        block.prepare_words(records);
        block
    }

    /// Makes a block without records, of which so many will be its first words.
    pub(super) fn empty(plan: Plan<'g>, sorted: usize) -> Self {
        assert!(sorted <= plan.capacity && plan.capacity <= MOST_WORDS);
        assert!(plan.level == 0 || sorted <= MOST_SORTED);
        let layout = layout(plan.capacity, plan.level);
        // SAFETY: the header makes the size greater than zero.
        let raw = unsafe { memory::allocate(layout) };
        let ptr: NonNull<Header> = raw.cast();
        let small = |n: usize| u8::try_from(n).expect("levels and words are few");
        let (shared, high_head) = Self::ends(plan.anchor, plan.high);
        let header = Header {
            anchor: plan.anchor.as_ptr(),
            high: plan.high.map_or(std::ptr::null_mut(), |high| high.as_ptr().as_ptr()),
            high_head,
            next: AtomicU64::new(plan.next.map_or(0, BlockRef::to_word)),
            repl: AtomicU64::new(0),
            capacity: small(plan.capacity),
            sorted: small(sorted),
            level: small(plan.level),
            dead: std::sync::atomic::AtomicU8::new(0),
            shared,
            #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
            canary: crate::model::Canary::new(),
        };
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        super::model::count_alloc(layout.size());
        // SAFETY: fresh memory, aligned and large enough for the header.
        unsafe { ptr.write(header) };
        let block = Self { ptr, protected: PhantomData };
        // SAFETY: fresh memory behind the header.
        unsafe { block.prepare_empty() };
        block
    }

    /// Bits that both ends of a range share, and what tells the high end apart.
    fn ends(low: RecRef<'_>, high: Option<RecRef<'_>>) -> (u32, u64) {
        let Some(high) = high else { return (0, u64::MAX) };
        let shared = if low.is_head() { 0 } else { shared_bits(low.key(), high.key()) };
        (shared, head(high.key(), head_offset(shared)))
    }

    #[inline]
    fn header(self) -> &'g Header {
        // SAFETY: the invariant of the type; the header is shared and only its atomics change.
        let header = unsafe { self.ptr.as_ref() };
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        header.canary.touch();
        header
    }

    #[inline]
    pub(super) fn capacity(self) -> usize {
        usize::from(self.header().capacity)
    }

    #[inline]
    pub(super) fn sorted(self) -> usize {
        usize::from(self.header().sorted)
    }

    /// Bits that all keys of the range share.
    #[inline]
    pub(super) fn shared(self) -> u32 {
        self.header().shared
    }

    #[inline]
    pub(super) fn as_ptr(self) -> NonNull<Header> {
        self.ptr
    }

    #[inline]
    pub(super) fn level(self) -> usize {
        usize::from(self.header().level)
    }

    /// The anchor. To be read of blocks that were undecided in this session only.
    #[inline]
    pub(super) fn anchor(self) -> RecRef<'g> {
        // SAFETY: B5: an anchor is sealed after its block is off the chain, and retired after that;
        // this block was undecided, so on the chain, in this session.
        unsafe { RecRef::protect(self.header().anchor) }
    }

    /// The exclusive end of the range. To be read of blocks that were undecided in this session only.
    #[inline]
    pub(super) fn high(self) -> Option<RecRef<'g>> {
        // SAFETY: the successor's anchor is retired after the successor was absorbed by a decision
        // about the last block that ends there; this one was undecided in this session, so that
        // decision, and the retirement, fall into this session or later.
        NonNull::new(self.header().high).map(|high| unsafe { RecRef::protect(high) })
    }

    /// Sets `high` and `next` of a block that no other thread can reach.
    ///
    /// # Safety
    ///
    /// The caller has exclusive access to the block.
    pub(super) unsafe fn prepare_end(self, high: Option<RecRef<'g>>, next: Option<BlockRef<'g>>) {
        let high = high.map_or(std::ptr::null_mut(), |high| high.as_ptr().as_ptr());
        // SAFETY: in bounds of the header.
        let field = unsafe { &raw mut (*self.ptr.as_ptr()).high };
        // SAFETY: the caller has exclusive access.
        unsafe { field.write(high) };
        let (shared, high_head) = Self::ends(self.anchor(), self.high());
        // SAFETY: in bounds of the header.
        let field = unsafe { &raw mut (*self.ptr.as_ptr()).shared };
        // SAFETY: the caller has exclusive access.
        unsafe { field.write(shared) };
        // SAFETY: in bounds of the header.
        let field = unsafe { &raw mut (*self.ptr.as_ptr()).high_head };
        // SAFETY: the caller has exclusive access.
        unsafe { field.write(high_head) };
        // Order hints begin behind what the ends share.
        let sorted = || (0..self.sorted()).filter_map(|at| self.entry(at));
        if self.level() > 0 {
            self.choose_window(sorted().map(Entry::record));
        }
        for (at, entry) in sorted().enumerate() {
            self.prepare_hint(at, entry.record());
        }
        // ORDERING: Relaxed; whoever publishes the block does it later.
        self.header().next.store(next.map_or(0, BlockRef::to_word), Ordering::Relaxed);
    }

    /// Sets `next` of a block that no other thread can reach and whose range ends where that one begins.
    pub(super) fn prepare_next(self, next: BlockRef<'_>) {
        // ORDERING: Relaxed; whoever publishes the block does it later.
        self.header().next.store(next.to_word(), Ordering::Relaxed);
    }

    /// Whether nothing took the place of the block.
    #[inline]
    pub(super) fn is_undecided(self) -> bool {
        matches!(self.repl(), Repl::Undecided)
    }

    /// Whether a key is in the range, as far as its head tells: a quick look. The block was undecided
    /// in this session, and the key is not to the left of it.
    #[inline]
    pub(super) fn clearly_reaches(self, needle: Needle<'_>) -> bool {
        let header = self.header();
        match head_offset(header.shared) {
            _ if cfg!(whimbrel_loom) => false,
            0 => needle.head(0) < header.high_head,
            offset => self.reaches_from(&needle, offset),
        }
    }

    /// As [`BlockRef::clearly_reaches`], where the heads of keys begin at a later byte.
    #[inline(never)]
    fn reaches_from(self, needle: &Needle<'_>, offset: usize) -> bool {
        needle.head(offset) < self.header().high_head && self.begins_as_all(*needle, offset)
    }

    /// Whether a search for `place` goes on to the right of this block. The place is not to the left
    /// of it.
    #[inline]
    pub(super) fn ends_before(self, place: Place<'_>) -> bool {
        let header = self.header();
        if header.high.is_null() {
            return false;
        }
        if let Some(needle) = place.bound() {
            let offset = head_offset(header.shared);
            // What is at or above the low end and does not begin as both ends do is above the high end.
            if offset > 0 && !self.begins_as_all(needle, offset) {
                return true;
            }
            let head = needle.head(offset);
            // Models read the whole key, so that they touch its canary.
            if head != header.high_head && !cfg!(whimbrel_loom) {
                return head > header.high_head;
            }
        }
        self.high().is_some_and(|high| place.is_beyond(high.key()))
    }

    /// Whether a key begins with so many bytes as all keys of the range do.
    #[inline]
    fn begins_as_all(self, needle: Needle<'_>, bytes: usize) -> bool {
        let low = self.anchor().key();
        needle.key.len() >= bytes && same_bytes(&needle.key[..bytes], &low[..bytes])
    }

    /// Whether the range has no low end: the leftmost block of its level.
    #[inline]
    pub(super) fn is_leftmost(self) -> bool {
        self.anchor().is_head()
    }

    /// Closes the first empty word and freezes `next` (step 3): the block's content is final.
    pub(super) fn freeze(self) {
        // Words are claimed in turn: where the last one is not empty, none is.
        let is_full = !matches!(self.word(self.capacity() - 1), Word::Empty);
        let from = if is_full { self.capacity() } else { self.sorted() };
        for at in from..self.capacity() {
            if planted(Mutant::WordsNotClosed) {
                break;
            }
            if !matches!(self.word(at), Word::Empty) {
                continue;
            }
            if planted(Mutant::ClosedByStore) {
                self.slot(at).store(CLOSED, Ordering::Relaxed);
                break;
            }
            // ORDERING: Relaxed; nothing is published, and who needs the records reads the words
            // again, with Acquire.
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match self.slot(at).compare_exchange(EMPTY_WORD, CLOSED, success, failure) {
                Ok(_) | Err(CLOSED) => break,
                Err(_) => {}
            }
        }
        if !planted(Mutant::NextNotFrozen) {
            // ORDERING: Relaxed; `next` is read again, with Acquire, by who needs it.
            self.header().next.fetch_or(FROZEN, Ordering::Relaxed);
        }
    }

    /// The successor, and whether `next` is frozen.
    #[inline]
    pub(super) fn next(self) -> (Option<BlockRef<'g>>, bool) {
        // ORDERING: Acquire; pairs with the Release in `bypass` and with the decision that
        // published this block: the successor is complete.
        let raw = self.header().next.load(order(Mutant::RelaxedNextLoad, Ordering::Acquire));
        // SAFETY: B9: callers come here over the chain, with `repl` null in this session, so the
        // successor was on the chain in this session.
        let next = unsafe { Self::from_raw_word(raw & !FROZEN) };
        (next, raw & FROZEN != 0)
    }

    /// Begins to load the whole block.
    #[inline]
    pub(super) fn prefetch(self) {
        if !cfg!(whimbrel_loom) {
            prefetch(self.to_word(), 512);
        }
    }

    /// Begins to load the successor.
    pub(super) fn prefetch_next(self) {
        if !cfg!(whimbrel_loom) {
            // ORDERING: Relaxed; never followed.
            let next = self.header().next.load(Ordering::Relaxed) & !FROZEN;
            prefetch(next, 512);
        }
    }

    /// Moves `next` from a decided successor to what took its place (step 4a).
    pub(super) fn bypass(self, from: BlockRef<'_>, to: BlockRef<'_>) {
        let next = &self.header().next;
        // ORDERING: Release; pairs with the Acquire in `next`: the heir is complete.
        let release = order(Mutant::RelaxedUnlink, Ordering::Release);
        if planted(Mutant::UnlinkOnFrozen) {
            let (frozen, heir) = (from.to_word() | FROZEN, to.to_word() | FROZEN);
            let _ = next.compare_exchange(frozen, heir, release, Ordering::Relaxed);
        }
        // A failure means that another thread moved it or froze it: the caller looks again.
        let _ = next.compare_exchange(from.to_word(), to.to_word(), release, Ordering::Relaxed);
    }

    /// What became of the block.
    #[inline]
    pub(super) fn repl(self) -> Repl<'g> {
        // ORDERING: Acquire; pairs with the Release in `decide` and `mark_absorb`: the heirs are
        // complete, the block is frozen.
        match self.header().repl.load(order(Mutant::RelaxedReplLoad, Ordering::Acquire)) {
            0 => Repl::Undecided,
            ABSORB => Repl::Absorb,
            // SAFETY: B6: the heir is retired after this block led past it, so in this session or
            // later: this block is protected, and its `repl` was read now.
            raw => Repl::Block(unsafe { Self::from_word(raw) }),
        }
    }

    /// The decision (step 3): these blocks take the place of this one. False when it was decided, or
    /// marked ABSORB, before.
    #[must_use]
    pub(super) fn decide(self, first: BlockRef<'_>) -> bool {
        // ORDERING: Release; pairs with the Acquire in `repl`: publishes the new blocks and anchors.
        let release = order(Mutant::RelaxedDecision, Ordering::Release);
        let repl = &self.header().repl;
        if planted(Mutant::DecisionByStore) {
            repl.store(first.to_word(), release);
            return true;
        }
        repl.compare_exchange(0, first.to_word(), release, Ordering::Relaxed).is_ok()
    }

    /// Marks a frozen block ABSORB (step 5).
    pub(super) fn mark_absorb(self) {
        // ORDERING: Release; pairs with the Acquire in `repl`: who sees the mark sees the block
        // frozen. A failure means that it was decided or marked: the caller looks again.
        let release = order(Mutant::RelaxedAbsorb, Ordering::Release);
        let _ = self.header().repl.compare_exchange(0, ABSORB, release, Ordering::Relaxed);
    }

    /// Counts a record of the block as dead; returns about how many there are.
    pub(super) fn note_dead(self) -> usize {
        use std::sync::atomic::Ordering::Relaxed;
        // ORDERING: Relaxed; a hint. Saturating: a wrong small number only delays a compaction.
        let before = self.header().dead.load(Relaxed);
        let now = before.saturating_add(1);
        // ORDERING: Relaxed; as above. A lost count is made up for by the next one.
        self.header().dead.store(now, Relaxed);
        usize::from(now)
    }

    /// Corrects the number of dead records.
    pub(super) fn set_dead(self, dead: usize) {
        // ORDERING: Relaxed; a hint.
        let dead = u8::try_from(dead).unwrap_or(u8::MAX);
        self.header().dead.store(dead, std::sync::atomic::Ordering::Relaxed);
    }

    /// Bytes that the allocation takes.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        memory::held(layout(self.capacity(), self.level()))
    }

    /// Frees the block, not its records.
    ///
    /// # Safety
    ///
    /// Nobody else can reach it, now or later.
    pub(super) unsafe fn free(self) {
        let layout = layout(self.capacity(), self.level());
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        {
            self.header().canary.die();
            super::model::count_free(layout.size());
            // SAFETY: allocated with this layout in `new`; the caller gives it up.
            unsafe { crate::model::bury(self.ptr.as_ptr().cast(), layout) };
        }
        #[cfg(not(any(whimbrel_loom, whimbrel_shuttle)))]
        // SAFETY: allocated with this layout in `new`; the caller gives it up.
        unsafe {
            memory::free(self.ptr.cast(), layout);
        }
    }
}

/// For [`crate::Guard::retire`].
///
/// # Safety
///
/// `ptr` leads to a block that nobody else can reach.
pub(super) unsafe fn reclaim_block(ptr: *mut u8) {
    let ptr = NonNull::new(ptr.cast()).expect("blocks are not at address 0");
    let block = BlockRef { ptr, protected: PhantomData };
    // SAFETY: the caller vouches for it.
    unsafe { block.free() };
}

/// For [`crate::Guard::retire`].
pub(super) fn as_retired(block: BlockRef<'_>) -> *mut u8 {
    block.ptr.as_ptr().cast()
}
