//! Versions: layout, allocation, and the handle through which all of them are read.
//!
//! A version is a stamp, the word of the version below, a length, and the bytes of its value, in one
//! allocation. The first version of a record most often lies in the record instead and goes with it: the
//! value in the inline part, whose length the record knows; nothing below; and the stamp in the word that
//! says so, of the record's cell or of the version above (`inline.rs`). Such a word means something
//! together with its record only: the one whose cell leads to the chain. The same holds for a removal in
//! place, the version above that one which is no more than such a word; what lies below it is the value.
//!
//! Invariants (unsafe code below and in `collect.rs` relies on them).
//!
//! - V1. What a cell or an `older` word of a reachable version leads to is a version that was not
//!   retired before the session of whoever loaded the word was entered. So a loaded version may be
//!   read for as long as the guard lives.
//! - V2. Length, flags and value bytes are written before the version is published, and never change.
//!   Only `stamp` and `older` do, both atomic, and the cell that is the stamp of an inline version.
//! - V3. Only the collector, under its lock, unlinks a version, and notes that in the lowest bit of its
//!   `older` word, which otherwise stays as it was. The version is retired, once, when the collector
//!   disposes of its entry of the dead list; so while there is an entry, the version may be read. An
//!   inline version is unlinked when its entry is disposed of and not before, so it needs no such bit.
//!   A newest version that was copied, of a key without older ones (see `compact.rs`), has no entry and
//!   never gets one; who moved its record retires it. So it is with a void version, which no
//!   snapshot sees: who takes it out retires it (`ingest/mod.rs`, J3).

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use whimbrel_skiplist::{EMPTY, Guard, Record, SEALED, memory};

use crate::Error;
use crate::descriptor::Descriptor;
use crate::ingest::Job;
use crate::inline::InlineStamp;
use crate::mutant::{Mutant, order};
pub(crate) use crate::number::{Number, Raised, Undecided};
use crate::stamp::{Stamp, StampWord, VOID};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The longest value in bytes.
pub const MAX_VALUE_LEN: usize = 512 << 20;

/// Longer values never lie inline: a superseded inline version keeps its memory while its record
/// lives, so it must be small.
pub(crate) const INLINE_MAX: usize = 256;

/// Bit of `older`: the version is out of its chain.
const UNLINKED: u64 = 1;

const TOMBSTONE: u32 = 1;

/// The version is of an ingest.
const OF_INGEST: u32 = 2;

/// The version was installed on one of a running ingest.
const ON_INGEST: u32 = 4;

/// Header of a version that has an allocation of its own. The value's bytes follow.
#[repr(C)]
pub(crate) struct Version {
    stamp: StampWord,
    /// Word of the version below, or 0, and [`UNLINKED`]. Once published, the collector writes it.
    older: AtomicU64,
    len: u32,
    flags: u32,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

const _: () = {
    assert!(align_of::<Version>() == 8, "addresses must differ from all other words");
    assert!(size_of::<usize>() == 8, "addresses are kept in 64-bit words");
    assert!(cfg!(whimbrel_loom) || size_of::<Version>() == 24, "three words a version");
};

fn layout(value_len: usize) -> Layout {
    Layout::from_size_align(size_of::<Version>() + value_len, align_of::<Version>())
        .expect("values are shorter than MAX_VALUE_LEN")
}

/// Refuses values that do not fit.
pub(crate) fn check_value(value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE_LEN {
        return Err(Error::ValueTooLong { len: value.len(), max: MAX_VALUE_LEN });
    }
    Ok(())
}

/// Address as a word of a cell.
#[inline]
pub(crate) fn word_of<T>(ptr: *const T) -> u64 {
    ptr.expose_provenance() as u64
}

/// Pointer from a word of a cell.
#[expect(clippy::cast_possible_truncation, reason = "pointers have 64 bits, asserted above")]
#[inline]
pub(crate) fn pointer_of<T>(word: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(word as usize)
}

/// Writes the value of the first version of a record into its inline part.
///
/// # Safety
///
/// Nobody else sees the record, and its inline part has the length of the value.
pub(crate) unsafe fn write_inline(record: Record<'_>, value: &[u8]) {
    debug_assert_eq!(record.inline_len(), value.len());
    let to = record.inline();
    // SAFETY: room for the value; a fresh record cannot overlap the caller's slice.
    unsafe { memory::copy(value, to) };
}

/// The value of a record's inline version.
///
/// # Safety
///
/// The record's cell, or a version that it led to, was read and says that there is one.
#[inline]
pub(crate) unsafe fn inline_value<'g>(record: Record<'g>) -> &'g [u8] {
    let (body, len) = (record.inline(), record.inline_len());
    // SAFETY: `write_inline` filled the inline part before the record was published, and it never
    // changes (V2); the record is protected for `'g`.
    unsafe { std::slice::from_raw_parts(body.as_ptr(), len) }
}

/// A version of its own allocation that nobody else sees yet. Freed when dropped unpublished.
pub(crate) struct Fresh(NonNull<Version>);

impl Fresh {
    /// A version with this value; `None` makes a tombstone.
    pub(crate) fn new(stamp: StampWord, value: Option<&[u8]>) -> Self {
        let bytes = value.unwrap_or(&[]);
        let layout = layout(bytes.len());
        // SAFETY: the layout has at least the header's size.
        let raw = unsafe { memory::allocate(layout) };
        let at = raw.cast::<Version>();
        let header = Version {
            stamp,
            older: AtomicU64::new(0),
            len: u32::try_from(bytes.len()).expect("values are shorter than MAX_VALUE_LEN"),
            flags: if value.is_none() { TOMBSTONE } else { 0 },
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        };
        // SAFETY: fresh memory with the layout of header and value.
        unsafe { at.write(header) };
        // SAFETY: inside of the allocation, or at its end for an empty value.
        let body = unsafe { at.add(1) };
        // SAFETY: room for the value, which cannot overlap fresh memory.
        unsafe {
            body.cast().copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len());
        }
        Self(at)
    }

    /// Sets the version below.
    pub(crate) fn set_older(&mut self, older: u64) {
        // SAFETY: unpublished, so this thread alone has it.
        let version = unsafe { self.0.as_mut() };
        version.older = AtomicU64::new(older);
    }

    /// Notes that it is of an ingest.
    pub(crate) fn of_ingest(self) -> Self {
        self.flagged(OF_INGEST)
    }

    /// Notes that it is to lie on a version of a running ingest.
    pub(crate) fn on_ingest(self) -> Self {
        self.flagged(ON_INGEST)
    }

    fn flagged(mut self, flag: u32) -> Self {
        // SAFETY: unpublished, so this thread alone has it.
        unsafe { self.0.as_mut() }.flags |= flag;
        self
    }

    pub(crate) fn word(&self) -> u64 {
        word_of(self.0.as_ptr())
    }

    /// Bytes that the allocation takes.
    pub(crate) fn held(&self) -> u64 {
        // SAFETY: owned.
        memory::held(layout(unsafe { self.0.as_ref() }.len as usize)) as u64
    }

    /// The version was installed: its memory belongs to the chain now.
    pub(crate) fn published(self) {
        #[expect(clippy::mem_forget, reason = "ownership went to the chain")]
        std::mem::forget(self);
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // SAFETY: unpublished, allocated by `new`.
        unsafe { free(self.0) };
    }
}

// SAFETY: an owned allocation of atomics and bytes.
unsafe impl Send for Fresh {}

/// Gives the memory back.
///
/// # Safety
///
/// Allocated by [`Fresh::new`], and nobody can reach it.
unsafe fn free(version: NonNull<Version>) {
    // SAFETY: the caller says that it is still allocated.
    let len = unsafe { version.as_ref() }.len;
    #[cfg(whimbrel_loom)]
    {
        // SAFETY: as above.
        unsafe { version.as_ref() }.canary.die();
        // SAFETY: allocated with this layout; given up here.
        unsafe { whimbrel_skiplist::model::bury(version.as_ptr().cast(), layout(len as usize)) };
    }
    #[cfg(not(whimbrel_loom))]
    // SAFETY: allocated with this layout.
    unsafe {
        memory::free(version.cast(), layout(len as usize));
    }
}

/// [`free`] in the shape that the barrier calls.
///
/// # Safety
///
/// As for [`free`].
unsafe fn reclaim(version: *mut u8) {
    let version = NonNull::new(version.cast()).expect("a retired version has an address");
    // SAFETY: the barrier calls it once, when no access is left; `retire` vouched for the rest.
    unsafe { free(version) };
}

/// A version that may be read while its guard lives.
#[derive(Clone, Copy)]
pub(crate) enum VersionRef<'g> {
    /// In this record, with its stamp as it was read.
    Inline(Record<'g>, InlineStamp),
    /// In an allocation of its own.
    Own(OwnRef<'g>),
}

/// A version in an allocation of its own, which the pointer covers whole.
#[derive(Clone, Copy)]
pub(crate) struct OwnRef<'g> {
    at: NonNull<Version>,
    guard: PhantomData<&'g Version>,
}

impl<'g> OwnRef<'g> {
    /// The version at the address that a word holds.
    ///
    /// # Safety
    ///
    /// As for [`VersionRef::from_word`]; and the word leads to a version of its own allocation.
    #[inline]
    pub(crate) unsafe fn from_word(word: u64) -> Self {
        let at = NonNull::new(pointer_of(word)).expect("a version has an address");
        let version = Self { at, guard: PhantomData };
        #[cfg(whimbrel_loom)]
        version.header().canary.touch();
        version
    }

    #[inline]
    fn header(self) -> &'g Version {
        // SAFETY: invariant V1, vouched for by the caller of `from_word`.
        unsafe { self.at.as_ref() }
    }

    pub(crate) fn stamp(self) -> &'g StampWord {
        &self.header().stamp
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.header().flags & TOMBSTONE != 0
    }

    /// Whether it is of an ingest, running or not.
    pub(crate) fn is_of_ingest(self) -> bool {
        self.header().flags & OF_INGEST != 0
    }

    /// Whether it was installed on a version of an ingest that was running.
    pub(crate) fn is_on_ingest(self) -> bool {
        self.header().flags & ON_INGEST != 0
    }

    fn number(self) -> Number<'g> {
        let word = match self.stamp().load() {
            Stamp::Final(number) => return Number::Final(number),
            Stamp::Pending => self.stamp(),
            Stamp::Indirect(descriptor) => {
                // SAFETY: loaded from the stamp of a version under the guard (invariant D1).
                let descriptor: &'g Descriptor = unsafe { Descriptor::from_word(descriptor) };
                if let Stamp::Final(number) = descriptor.stamp().load() {
                    return Number::Final(number);
                }
                descriptor.stamp()
            }
            Stamp::Ingested(job) => {
                // SAFETY: loaded from the stamp of a version under the guard (invariant J1).
                let job: &'g Job = unsafe { Job::from_word(job) };
                if let Stamp::Final(number) = job.stamp().load() {
                    return Number::Ingested(number);
                }
                job.stamp()
            }
        };
        Number::Pending(Undecided::Word(word))
    }

    fn load_older(self) -> u64 {
        // ORDERING: Acquire; pairs with the Release in `unlink_below` and with the installing exchange:
        // the version below is seen whole. Row V7.
        self.header().older.load(order(Mutant::OlderLoadRelaxed, Ordering::Acquire))
    }

    /// Takes `below`, the version directly below, out of the chain. For the collector, under its lock.
    pub(crate) fn unlink_below(self, below: VersionRef<'_>) {
        debug_assert_eq!(self.load_older(), below.word(), "only a version in the chain, and below");
        let rest = below.load_older();
        // ORDERING: Release; pairs with the Acquire in `load_older`. The version it leads to was
        // published to this thread; hands that on. Row V7.
        let release = order(Mutant::UnlinkRelaxed, Ordering::Release);
        self.header().older.store(rest, release);
        if let VersionRef::Own(below) = below {
            // ORDERING: Release; only the collector, under its lock, looks at the bit, but readers of
            // the word need the version it leads to, as above. Row V7.
            below.header().older.fetch_or(UNLINKED, release);
        }
    }

    /// The value; none for a tombstone.
    fn value(self) -> Option<&'g [u8]> {
        if self.is_tombstone() {
            return None;
        }
        // SAFETY: the value follows the header, in the same allocation.
        let body = unsafe { self.at.add(1) }.cast::<u8>();
        let len = self.header().len as usize;
        // SAFETY: `len` bytes were written there before it was published and never change (V2); the
        // guard protects them for `'g` (V1).
        Some(unsafe { std::slice::from_raw_parts(body.as_ptr(), len) })
    }
}

impl<'g> VersionRef<'g> {
    /// The version that a word leads to, of the cell of this record or of the chain below it; none for
    /// `EMPTY` and `SEALED`.
    ///
    /// # Safety
    ///
    /// The word was loaded, with Acquire, from the record's cell or from the `older` word of a version
    /// that this led to, inside the session of a guard that lives as long as `'g` (invariant V1).
    #[inline]
    pub(crate) unsafe fn from_word(record: Record<'g>, word: u64) -> Option<Self> {
        if word == EMPTY || word == SEALED {
            return None;
        }
        Some(match InlineStamp::of(word) {
            Some(stamp) => Self::Inline(record, stamp),
            // SAFETY: the caller's promise; all other words are addresses.
            None => Self::Own(unsafe { OwnRef::from_word(word) }),
        })
    }

    pub(crate) fn word(self) -> u64 {
        match self {
            Self::Inline(_, stamp) => stamp.word(),
            Self::Own(version) => word_of(version.at.as_ptr()),
        }
    }

    /// Looks at the stamp, through the batch's descriptor where there is one.
    pub(crate) fn number(self) -> Number<'g> {
        match self {
            Self::Inline(record, stamp) => match stamp.number() {
                Some(number) => Number::Final(number),
                None => Number::Pending(Undecided::Cell(record.cell(), stamp)),
            },
            Self::Own(version) => version.number(),
        }
    }

    /// The number of a version that is settled and direct. None otherwise, and for one that no snapshot sees.
    pub(crate) fn settled_number(self) -> Option<u64> {
        match self {
            Self::Inline(_, stamp) => stamp.number(),
            Self::Own(version) => match version.stamp().load() {
                Stamp::Final(number) if number != VOID => Some(number),
                _ => None,
            },
        }
    }

    /// Word of the version below, or 0. What a removal in place removes has none: the collector takes both
    /// for one.
    pub(crate) fn older_word(self) -> u64 {
        self.load_older() & !UNLINKED
    }

    fn load_older(self) -> u64 {
        match self {
            Self::Inline(..) => 0,
            Self::Own(version) => version.load_older(),
        }
    }

    /// The version below, in the chain of this record.
    pub(crate) fn older(self, record: Record<'g>) -> Option<VersionRef<'g>> {
        if self.is_removal() {
            // Every snapshot that is open sees it, or the removal.
            return Some(Self::Inline(record, InlineStamp::decided(0)));
        }
        // SAFETY: an `older` word of a version that this guard protects.
        unsafe { Self::from_word(record, self.older_word()) }
    }

    /// Whether it was taken out of its chain. For the collector, under its lock.
    pub(crate) fn is_unlinked(self) -> bool {
        self.load_older() & UNLINKED != 0
    }

    /// The value; none for a tombstone.
    #[inline]
    pub(crate) fn value(self) -> Option<&'g [u8]> {
        match self {
            Self::Inline(_, stamp) if stamp.is_removal() => None,
            // SAFETY: an inline version of this record.
            Self::Inline(record, _) => Some(unsafe { inline_value(record) }),
            Self::Own(version) => version.value(),
        }
    }

    #[inline]
    pub(crate) fn is_tombstone(self) -> bool {
        match self {
            Self::Inline(_, stamp) => stamp.is_removal(),
            Self::Own(version) => version.is_tombstone(),
        }
    }

    /// Whether it is a removal in place: of the value in the record, which it comes and goes with.
    #[inline]
    pub(crate) fn is_removal(self) -> bool {
        matches!(self, Self::Inline(_, stamp) if stamp.is_removal())
    }

    /// Whether it is of an ingest, running or not.
    #[inline]
    pub(crate) fn is_of_ingest(self) -> bool {
        matches!(self, Self::Own(version) if version.is_of_ingest())
    }

    /// Whether it was installed on a version of an ingest that was running.
    #[inline]
    pub(crate) fn is_on_ingest(self) -> bool {
        matches!(self, Self::Own(version) if version.is_on_ingest())
    }

    pub(crate) fn is_inline(self) -> bool {
        matches!(self, Self::Inline(..))
    }

    /// Bytes of header and value; an inline version has no header.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Inline(record, _) => record.inline_len(),
            Self::Own(version) => layout(version.header().len as usize).size(),
        }
    }

    /// Bytes that its own allocation takes. An inline version is in its record's.
    #[inline]
    pub(crate) fn held(self) -> u64 {
        match self {
            Self::Inline(..) => 0,
            Self::Own(version) => memory::held(layout(version.header().len as usize)) as u64,
        }
    }

    /// Hands an unlinked version to the barrier. An inline one goes with its record.
    ///
    /// # Safety
    ///
    /// It is out of its chain, and the caller retires it only once (invariant V3).
    pub(crate) unsafe fn retire(self, guard: &Guard<'_>) {
        let Self::Own(version) = self else { return };
        // SAFETY: out of its chain, so a later session cannot reach it; the caller says only once.
        unsafe { guard.retire(version.at.as_ptr().cast(), self.bytes(), reclaim) };
    }

    /// Frees a version at once. An inline one goes with its record.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the chain any more.
    pub(crate) unsafe fn free_now(self) {
        if let Self::Own(version) = self {
            // SAFETY: the caller's promise; not inline, so from `Fresh::new`.
            unsafe { free(version.at) };
        }
    }
}
