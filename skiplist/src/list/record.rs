//! Memory of a record: the entry of a block at level 0, and the anchor of a block above.
//!
//! One allocation: header (cell first), key, inline part (8-aligned). A [`RecRef`] is a pointer to
//! one together with the time for which it is protected.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::raw::{BlockRef, Repl};
use crate::SEALED;
use crate::memory;
use crate::mutant::{Mutant, order, planted};
use crate::sync::atomic::{AtomicU8, AtomicU64, Ordering, fence};

/// Alignment of a record and of its inline part.
const ALIGN: usize = 8;

/// Bit of a cell at level 0: the record moved; the rest is the address of the one that took its place.
/// Set once, for ever. Addresses have 48 bits, so nobody else has a use for it.
pub(super) const MOVED: u64 = 1 << 63;

/// State bit: `unlink_sealed` has counted the record as dead.
const COUNTED_DEAD: u8 = 1;

/// The fixed part of a record.
#[repr(C)]
pub(super) struct RecHeader {
    /// At level 0 owned by the layer above until it is [`SEALED`] or [`MOVED`]; above level 0 the
    /// address of a block, or [`SEALED`].
    cell: AtomicU64,
    inline_len: u32,
    key_len: u16,
    /// [`COUNTED_DEAD`].
    state: AtomicU8,
    /// Whether it is a head: an anchor below all keys.
    head: bool,
    #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
    canary: crate::model::Canary,
}

const _: () = assert!(cfg!(any(whimbrel_loom, whimbrel_shuttle)) || size_of::<RecHeader>() == 16);
const _: () = assert!(align_of::<RecHeader>() <= ALIGN);

/// Sizes of a record.
#[derive(Clone, Copy)]
struct Shape {
    key_len: usize,
    inline_len: usize,
}

impl Shape {
    #[inline]
    const fn inline_offset(self) -> usize {
        // Shorter than `next_multiple_of`, and every read of a value comes past here.
        (size_of::<RecHeader>() + self.key_len + (ALIGN - 1)) & !(ALIGN - 1)
    }

    #[inline]
    const fn size(self) -> usize {
        self.inline_offset() + self.inline_len
    }

    #[inline]
    fn layout(self) -> Layout {
        Layout::from_size_align(self.size(), ALIGN)
            .expect("a key and a 32-bit inline part fit in the address space")
    }
}

/// What the cell of an anchor leads to, read through decided blocks.
#[derive(Clone, Copy)]
pub(super) enum Child<'g> {
    /// The anchor is dead.
    Sealed,
    /// A block that gives its content to its predecessor.
    Absorbed(BlockRef<'g>),
    /// A block that was on the chain when this was read.
    Block(BlockRef<'g>),
}

/// A record that is protected for `'g`.
///
/// Invariant: the pointer covers the whole allocation of a complete record, which is not reclaimed
/// during `'g`. Whoever makes one vouches for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RecRef<'g> {
    ptr: NonNull<RecHeader>,
    protected: PhantomData<&'g RecHeader>,
}

impl<'g> RecRef<'g> {
    /// Bytes before the key.
    pub(super) const KEY_OFFSET: u64 = size_of::<RecHeader>() as u64;

    /// # Safety
    ///
    /// `ptr` leads to a complete record, as [`OwnedRec::new`] made it, that is not reclaimed during
    /// `'g`.
    #[inline]
    pub(super) unsafe fn protect(ptr: NonNull<RecHeader>) -> Self {
        Self { ptr, protected: PhantomData }
    }

    #[inline]
    pub(super) fn as_ptr(self) -> NonNull<RecHeader> {
        self.ptr
    }

    #[inline]
    fn header(self) -> &'g RecHeader {
        // SAFETY: the invariant of the type; the header is shared and only its atomics change.
        let header = unsafe { self.ptr.as_ref() };
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        header.canary.touch();
        header
    }

    /// Begins to load the record: its first line, and the second where a record of 40 bytes would
    /// reach it. A prefetch too many costs a scan as much as one too few, a branch as much as several.
    #[inline]
    pub(super) fn prefetch(self) {
        let address = self.ptr.as_ptr().expose_provenance() as u64;
        super::scan::prefetch(address, 1);
        super::scan::prefetch(address + 39, 1);
    }

    #[inline]
    fn shape(self) -> Shape {
        let header = self.header();
        Shape { key_len: usize::from(header.key_len), inline_len: header.inline_len as usize }
    }

    #[inline]
    pub(super) fn is_head(self) -> bool {
        self.header().head
    }

    #[inline]
    pub(super) fn key(self) -> &'g [u8] {
        let len = usize::from(self.header().key_len);
        // SAFETY: the key follows the header.
        let start = unsafe { self.ptr.cast::<u8>().add(size_of::<RecHeader>()) };
        // SAFETY: `OwnedRec::new` wrote `key_len` bytes there, which never change.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len) }
    }

    #[inline]
    pub(super) fn inline(self) -> NonNull<u8> {
        // SAFETY: the inline part lies at this offset of the allocation (one past when empty).
        unsafe { self.ptr.cast::<u8>().add(self.shape().inline_offset()) }
    }

    #[inline]
    pub(super) fn inline_len(self) -> usize {
        self.header().inline_len as usize
    }

    #[inline]
    pub(super) fn cell(self) -> &'g AtomicU64 {
        &self.header().cell
    }

    /// Bytes that were asked for.
    #[inline]
    pub(super) fn size(self) -> usize {
        self.shape().size()
    }

    /// Bytes that are asked for a record of these lengths.
    #[inline]
    pub(super) fn size_for(key_len: usize, inline_len: usize) -> usize {
        Shape { key_len, inline_len }.size()
    }

    /// Bytes that the allocation takes.
    #[inline]
    pub(super) fn bytes(self) -> usize {
        memory::held(self.shape().layout())
    }

    /// Whether the record is to be passed over.
    #[inline]
    pub(super) fn is_sealed(self) -> bool {
        // ORDERING: Relaxed; nothing is read because of a seal: at level 0 what its owner did before
        // is ordered by the owner, and who passes over a dead anchor takes one further left.
        self.cell().load(Ordering::Relaxed) == SEALED
    }

    /// Whether the record, of level 0, is neither sealed nor moved.
    #[inline]
    pub(super) fn is_in_place(self) -> bool {
        // ORDERING: Relaxed; as in `is_sealed`. Who is told that it moved looks again, with Acquire.
        let cell = self.cell().load(Ordering::Relaxed);
        cell != SEALED && cell & MOVED == 0
    }

    /// The record that has the key, of level 0: this one, or the last of those that it moved to. None
    /// when it is sealed.
    #[inline]
    pub(super) fn live(self) -> Option<Self> {
        // ORDERING: Relaxed; behind a seal stands a fence, and a moved record is looked at again, with
        // Acquire. Row K5.
        match self.cell().load(Ordering::Relaxed) {
            SEALED => {
                self.acquire_seal();
                None
            }
            cell if cell & MOVED == 0 || planted(Mutant::MovedNotFollowed) => Some(self),
            _ => self.live_successor(),
        }
    }

    /// For who says that a key is absent because of a seal.
    #[inline]
    fn acquire_seal(self) {
        if !planted(Mutant::RelaxedAbsence) {
            // ORDERING: Acquire fence; pairs with the Release of who sealed the cell: whoever learns that the
            // key is gone sees what that thread had seen. Row K5.
            fence(Ordering::Acquire);
        }
    }

    #[cold]
    fn live_successor(self) -> Option<Self> {
        let (record, cell) = self.follow(|_| {});
        (cell != SEALED).then_some(record)
    }

    /// The last of the records that this one moved to, and its cell. Gives those before it to `passed`.
    #[inline]
    pub(super) fn follow(self, mut passed: impl FnMut(Self)) -> (Self, u64) {
        let mut at = self;
        loop {
            // ORDERING: Acquire; pairs with the Release in `move_to`: the other record is complete.
            let cell = at.cell().load(order(Mutant::RelaxedMoveLoad, Ordering::Acquire));
            if cell & MOVED == 0 {
                return (at, cell);
            }
            passed(at);
            at = Self::moved_to(cell);
        }
    }

    /// The record that the cell of a moved one leads to.
    fn moved_to(cell: u64) -> Self {
        let ptr = std::ptr::with_exposed_provenance_mut((cell & !MOVED) as usize);
        let ptr = NonNull::new(ptr).expect("no record lies at address 0");
        // SAFETY: B10: the record is retired by a later decision than the one that drops the moved
        // record, and this session could reach the moved one, so it began before that.
        unsafe { Self::protect(ptr) }
    }

    /// Makes the record lead to another one of its key from now on, unless its cell has changed.
    #[must_use]
    pub(super) fn move_to(self, expected: u64, to: RecRef<'_>) -> bool {
        let address = to.as_ptr().as_ptr().expose_provenance() as u64;
        debug_assert!(address & MOVED == 0, "addresses have 48 bits");
        // ORDERING: AcqRel; Release pairs with the Acquire in `follow`: the other record is complete.
        // Acquire: who drops the old record later is ordered after who wrote its cell.
        let both = order(Mutant::RelaxedMove, Ordering::AcqRel);
        let cell = self.cell();
        cell.compare_exchange(expected, address | MOVED, both, Ordering::Relaxed).is_ok()
    }

    /// Whether the record may be dropped.
    #[inline]
    pub(super) fn is_droppable(self) -> bool {
        // ORDERING: Acquire; pairs with the Release in `seal_anchor`: who retires the anchor has seen
        // its block leave the chain, so a later session of the same thread does not come past it.
        self.cell().load(order(Mutant::RelaxedSealLoad, Ordering::Acquire)) == SEALED
    }

    /// Notes that the record is dead; true for the one caller that was first.
    pub(super) fn count_dead(self) -> bool {
        // ORDERING: Relaxed; a statistic. Not outside of the models: it says which of two threads tends
        // the block, and loom must know that their order matters.
        self.header().state.fetch_or(COUNTED_DEAD, Ordering::Relaxed) & COUNTED_DEAD == 0
    }

    /// Where the cell of an anchor leads.
    #[inline]
    pub(super) fn child(self) -> Child<'g> {
        // ORDERING: Acquire; pairs with the Release in `advance_cell` and with the publication of
        // the anchor: the block is complete.
        let raw = self.cell().load(order(Mutant::RelaxedCellLoad, Ordering::Acquire));
        if raw == SEALED {
            return Child::Sealed;
        }
        // SAFETY: B6: a block is retired after its anchor led past it, so this one is protected by
        // the session in which the cell was read.
        let mut block = unsafe { BlockRef::from_word(raw) };
        loop {
            match block.repl() {
                Repl::Block(heir) => block = heir,
                Repl::Undecided => return Child::Block(block),
                Repl::Absorb if planted(Mutant::AbsorbFollowedFromAnchor) => {
                    return Child::Block(block);
                }
                Repl::Absorb => return Child::Absorbed(block),
            }
        }
    }

    /// Sets the cell of an anchor that is not shared.
    #[inline]
    pub(super) fn prepare_child(self, block: BlockRef<'_>) {
        // ORDERING: Relaxed; the decision publishes the anchor together with its block.
        self.cell().store(block.to_word(), Ordering::Relaxed);
    }

    /// Moves the cell of an anchor past decided blocks (step 4b).
    pub(super) fn advance_cell(self) {
        if planted(Mutant::AnchorNotAdvanced) {
            return;
        }
        loop {
            // ORDERING: Acquire; as in `child`.
            let raw = self.cell().load(order(Mutant::RelaxedCellLoad, Ordering::Acquire));
            if raw == SEALED {
                return;
            }
            // SAFETY: as in `child`.
            let block = unsafe { BlockRef::from_word(raw) };
            let Repl::Block(heir) = block.repl() else { return };
            // ORDERING: Release; pairs with the Acquire in `child`: the heir is complete.
            let release = order(Mutant::RelaxedAdvance, Ordering::Release);
            let _ = self.cell().compare_exchange(raw, heir.to_word(), release, Ordering::Relaxed);
            if planted(Mutant::AdvancedOnce) {
                return;
            }
        }
    }

    /// Ends the life of an anchor (step 4c), after its block left the chain (B5).
    pub(super) fn seal_anchor(self) {
        // ORDERING: Release; pairs with the Acquire in `is_droppable` and `child`: who sees the seal
        // finds the chain without the block. A swap and no store, for loom's sake: of two writes that
        // are not ordered by a third it lets a later load see either, though the exchange of
        // `advance_cell` that succeeded before a store comes before it for everybody.
        self.cell().swap(SEALED, order(Mutant::RelaxedSeal, Ordering::Release));
    }

    /// Frees the record.
    ///
    /// # Safety
    ///
    /// Nobody else can reach it, now or later.
    pub(super) unsafe fn free(self) {
        let layout = self.shape().layout();
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        {
            self.header().canary.die();
            super::model::count_free(layout.size());
            // SAFETY: allocated with this layout in `OwnedRec::new`; the caller gives it up.
            unsafe { crate::model::bury(self.ptr.as_ptr().cast(), layout) };
        }
        #[cfg(not(any(whimbrel_loom, whimbrel_shuttle)))]
        // SAFETY: allocated with this layout in `OwnedRec::new`; the caller gives it up.
        unsafe {
            memory::free(self.ptr.cast(), layout);
        }
    }
}

/// For [`crate::Guard::retire`].
///
/// # Safety
///
/// `ptr` leads to a record that nobody else can reach.
pub(super) unsafe fn reclaim_record(ptr: *mut u8) {
    let ptr = NonNull::new(ptr.cast()).expect("records are not at address 0");
    // SAFETY: the caller vouches for it.
    let record = unsafe { RecRef::protect(ptr) };
    // SAFETY: as above.
    unsafe { record.free() };
}

/// Records that are reclaimed together.
pub(super) struct Dropped(Vec<NonNull<RecHeader>>);

impl Dropped {
    /// For [`crate::Guard::retire_several`], with [`Dropped::reclaim`].
    pub(super) fn into_raw(records: Vec<RecRef<'_>>) -> *mut u8 {
        let records = records.into_iter().map(RecRef::as_ptr).collect();
        Box::into_raw(Box::new(Self(records))).cast()
    }

    /// # Safety
    ///
    /// `ptr` is from [`Dropped::into_raw`], and nobody else can reach the records.
    pub(super) unsafe fn reclaim(ptr: *mut u8) {
        // SAFETY: the caller vouches for it.
        let Self(records) = *unsafe { Box::from_raw(ptr.cast::<Self>()) };
        records.iter().for_each(|record| memory::prefetch(record.cast()));
        for record in records {
            // SAFETY: as in `reclaim_record`.
            unsafe { reclaim_record(record.as_ptr().cast()) };
        }
    }
}

/// A record that nobody else can see yet. Freed on drop.
pub(super) struct OwnedRec(NonNull<RecHeader>);

impl OwnedRec {
    /// A record with an empty cell and a zeroed inline part.
    ///
    /// # Panics
    ///
    /// When `inline_len` does not fit in 32 bits.
    #[inline]
    pub(super) fn new(key: &[u8], inline_len: usize, head: bool) -> Self {
        let (fresh, inline) = Self::begin(key, inline_len, crate::EMPTY, head);
        // SAFETY: the inline part is `inline_len` bytes long.
        unsafe { memory::zero(inline, inline_len) };
        fresh
    }

    /// A record with this in its cell and in its inline part.
    ///
    /// # Panics
    ///
    /// When the length of the inline part does not fit in 32 bits.
    #[inline]
    pub(super) fn filled(key: &[u8], inline: &[u8], cell: u64) -> Self {
        let (fresh, to) = Self::begin(key, inline.len(), cell, false);
        // SAFETY: the inline part is as long, and `inline` cannot overlap fresh memory.
        unsafe { memory::copy(inline, to) };
        fresh
    }

    /// A record whose inline part is still to be written, and where that lies.
    #[inline]
    fn begin(key: &[u8], inline_len: usize, cell: u64, head: bool) -> (Self, NonNull<u8>) {
        let key_len = u16::try_from(key.len()).expect("callers check the length of keys");
        let inline_bytes = u32::try_from(inline_len).expect("an inline part is below 4 GiB");
        let shape = Shape { key_len: key.len(), inline_len };
        let layout = shape.layout();
        // SAFETY: the header makes the size greater than zero.
        let ptr = unsafe { memory::allocate(layout) };
        let header = RecHeader {
            cell: AtomicU64::new(cell),
            inline_len: inline_bytes,
            key_len,
            state: AtomicU8::new(0),
            head,
            #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
            canary: crate::model::Canary::new(),
        };
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        super::model::count_alloc(layout.size());
        // SAFETY: fresh memory, aligned and large enough for the header.
        unsafe { ptr.cast::<RecHeader>().write(header) };
        // SAFETY: the key lies behind the header, inside of the allocation.
        let to = unsafe { ptr.add(size_of::<RecHeader>()) };
        // SAFETY: `key` cannot overlap fresh memory.
        unsafe { memory::copy(key, to) };
        // SAFETY: inside of the allocation, one past its end when the inline part is empty.
        let inline = unsafe { ptr.add(shape.inline_offset()) };
        (Self(ptr.cast()), inline)
    }

    #[inline]
    pub(super) fn record(&self) -> RecRef<'_> {
        // SAFETY: complete, and owned by `self`.
        unsafe { RecRef::protect(self.0) }
    }

    /// Sets the cell of a record that is not shared.
    #[inline]
    pub(super) fn set_cell(&mut self, value: u64) {
        // ORDERING: Relaxed; the claim of a word publishes the record.
        self.record().cell().store(value, Ordering::Relaxed);
    }

    /// Gives up ownership.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<RecHeader> {
        std::mem::ManuallyDrop::new(self).0
    }
}

impl Drop for OwnedRec {
    fn drop(&mut self) {
        // SAFETY: owned: nobody else can reach it.
        unsafe { self.record().free() };
    }
}
