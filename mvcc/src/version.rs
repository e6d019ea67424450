//! Versions: layout, allocation, and the handle through which all of them are read.
//!
//! A version is a stamp, the address of the version below, a length, and the bytes of its value, in one
//! allocation. The first version of a record most often lies in the record's inline part instead and
//! goes with it: stamp and value only, for there is nothing below, and the record knows the length. The
//! word that leads to such a version is the address of its record, tagged [`INLINE`].
//!
//! Invariants (unsafe code below and in `collect.rs` relies on them).
//!
//! - V1. What a cell or an `older` word of a reachable version leads to is a version that was not
//!   retired before the session of whoever loaded the word was entered. So a loaded version may be
//!   read for as long as the guard lives.
//! - V2. Length, flags and value bytes are written before the version is published, and never change.
//!   Only `stamp` and `older` do, both atomic.
//! - V3. Only the collector, under its lock, unlinks a version, and notes that in the lowest bit of its
//!   `older` word, which otherwise stays as it was. The version is retired, once, when the collector
//!   disposes of its entry of the dead list; so while there is an entry, the version may be read. An
//!   inline version is unlinked when its entry is disposed of and not before, so it has no such bit.
//!   A newest version that was copied, of a key without older ones (see `compact.rs`), has no entry and
//!   never gets one; who moved its record retires it.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use whimbrel_skiplist::{EMPTY, Guard, Record, SEALED, Seen, memory};

use crate::Error;
use crate::batch::Descriptor;
use crate::mutant::{Mutant, order};
use crate::stamp::{Stamp, StampWord};
use crate::sync::atomic::{AtomicU64, Ordering};

/// The longest value in bytes.
pub const MAX_VALUE_LEN: usize = 512 << 20;

/// Longer values never lie inline: a superseded inline version keeps its memory while its record
/// lives, so it must be small.
pub(crate) const INLINE_MAX: usize = 256;

/// Bit of `older`: the version is out of its chain.
const UNLINKED: u64 = 1;

/// Bit of a word: the version lies in the record at this address.
const INLINE: u64 = 2;

const TOMBSTONE: u32 = 1;

/// Header of a version that has an allocation of its own. The value's bytes follow.
#[repr(C)]
pub(crate) struct Version {
    stamp: StampWord,
    /// Address of the version below, or 0, and [`UNLINKED`]. Once published, the collector writes it.
    older: AtomicU64,
    len: u32,
    flags: u32,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

const _: () = {
    assert!(align_of::<Version>() == 8, "addresses must differ from EMPTY and SEALED");
    assert!(size_of::<usize>() == 8, "addresses are kept in 64-bit words");
    assert!(cfg!(whimbrel_loom) || size_of::<Version>() == 24, "three words a version");
};

/// Length of the inline part of a record for a value of this length, in bytes.
pub(crate) const fn inline_len(value_len: usize) -> usize {
    size_of::<StampWord>() + value_len
}

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

/// Writes the first version of a record into its inline part and returns the cell's first value.
///
/// # Safety
///
/// Nobody else sees the record, and its inline part is [`inline_len`] of the value long.
pub(crate) unsafe fn write_inline(record: Record<'_>, stamp: StampWord, value: &[u8]) -> u64 {
    debug_assert_eq!(record.inline_len(), inline_len(value.len()));
    let at = record.inline().cast::<StampWord>();
    // SAFETY: the caller gives room for the stamp, aligned.
    unsafe { at.write(stamp) };
    // SAFETY: inside of the room that the caller gives.
    let body = unsafe { at.add(1) };
    // SAFETY: room for the value; a fresh record cannot overlap the caller's slice.
    unsafe { memory::copy(value, body.cast()) };
    inline_word(record)
}

/// The word that leads to the inline version of a record.
#[inline]
pub(crate) fn inline_word(record: Record<'_>) -> u64 {
    word_of(record.as_raw().as_ptr()) | INLINE
}

/// The value of the inline version that a cell leads to, if it is that of the cell's own record, and its
/// number is decided and not above `s`.
#[inline]
pub(crate) fn inline_value_up_to(seen: Seen<'_>, s: u64) -> Option<&[u8]> {
    let record = seen.record();
    if seen.cell() != inline_word(record) {
        return None;
    }
    let len = record.inline_len() - inline_len(0);
    let at = record.inline().cast::<StampWord>();
    // SAFETY: as in `VersionRef::stamp`: the cell says that there is one.
    if !unsafe { at.as_ref() }.is_final_up_to(s) {
        return None;
    }
    // SAFETY: as in `VersionRef::value`: the value follows the stamp.
    let body = unsafe { at.add(1) }.cast::<u8>();
    // SAFETY: as in `VersionRef::value`.
    Some(unsafe { std::slice::from_raw_parts(body.as_ptr(), len) })
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

    pub(crate) fn word(&self) -> u64 {
        word_of(self.0.as_ptr())
    }

    /// Bytes of header and value.
    pub(crate) fn bytes(&self) -> usize {
        // SAFETY: owned.
        layout(unsafe { self.0.as_ref() }.len as usize).size()
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
    /// In the inline part of this record.
    Inline(Record<'g>),
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
    #[inline]
    fn header(self) -> &'g Version {
        // SAFETY: invariant V1, vouched for by the caller of `VersionRef::from_word`.
        unsafe { self.at.as_ref() }
    }
}

/// What a stamp word comes to, a batch's included.
pub(crate) enum Number<'g> {
    /// Decided.
    Final(u64),
    /// Not decided; the word that will say it.
    Pending(&'g StampWord),
}

impl<'g> VersionRef<'g> {
    /// The version that a word of a cell or chain leads to; none for `EMPTY` and `SEALED`.
    ///
    /// # Safety
    ///
    /// The word was loaded, with Acquire, from a cell or from the `older` word of such a version,
    /// inside the session of a guard that lives as long as `'g` (invariant V1).
    #[inline]
    pub(crate) unsafe fn from_word(word: u64) -> Option<Self> {
        if word == EMPTY || word == SEALED {
            return None;
        }
        if word & INLINE != 0 {
            let record = NonNull::new(pointer_of(word & !INLINE))?;
            // SAFETY: the version is protected, and its record with it.
            return Some(Self::Inline(unsafe { Record::at(record) }));
        }
        let version = OwnRef { at: NonNull::new(pointer_of(word))?, guard: PhantomData };
        #[cfg(whimbrel_loom)]
        version.header().canary.touch();
        Some(Self::Own(version))
    }

    pub(crate) fn word(self) -> u64 {
        match self {
            Self::Inline(record) => inline_word(record),
            Self::Own(version) => word_of(version.at.as_ptr()),
        }
    }

    /// This version's own stamp word.
    #[inline]
    pub(crate) fn stamp(self) -> &'g StampWord {
        match self {
            // SAFETY: `write_inline` wrote it there before the record was published, and it is only
            // shared since; the record is protected for `'g`.
            Self::Inline(record) => unsafe { record.inline().cast().as_ref() },
            Self::Own(version) => &version.header().stamp,
        }
    }

    /// Looks at the stamp, through the batch's descriptor where there is one.
    pub(crate) fn number(self) -> Number<'g> {
        match self.stamp().load() {
            Stamp::Final(number) => Number::Final(number),
            Stamp::Pending => Number::Pending(self.stamp()),
            Stamp::Indirect(descriptor) => {
                // SAFETY: loaded from the stamp of a version under the guard (invariant D1).
                let descriptor: &'g Descriptor = unsafe { Descriptor::from_word(descriptor) };
                match descriptor.stamp().load() {
                    Stamp::Final(number) => Number::Final(number),
                    _ => Number::Pending(descriptor.stamp()),
                }
            }
        }
    }

    /// The number of a version that is known to be settled and direct.
    pub(crate) fn settled_number(self) -> Option<u64> {
        match self.stamp().load() {
            Stamp::Final(number) => Some(number),
            Stamp::Pending | Stamp::Indirect(_) => None,
        }
    }

    /// Address of the version below, or 0.
    pub(crate) fn older_word(self) -> u64 {
        self.load_older() & !UNLINKED
    }

    fn load_older(self) -> u64 {
        match self {
            Self::Inline(_) => 0,
            // ORDERING: Acquire; pairs with the Release in `unlink_below` and with the installing
            // exchange: the version below is seen whole. Row V7.
            Self::Own(version) => {
                version.header().older.load(order(Mutant::OlderLoadRelaxed, Ordering::Acquire))
            }
        }
    }

    pub(crate) fn older(self) -> Option<VersionRef<'g>> {
        // SAFETY: an `older` word of a version that this guard protects.
        unsafe { Self::from_word(self.older_word()) }
    }

    /// Takes `below`, the version directly below, out of the chain. For the collector, under its lock.
    pub(crate) fn unlink_below(self, below: VersionRef<'g>) {
        debug_assert_eq!(self.load_older(), below.word(), "only a version in the chain, and below");
        let Self::Own(version) = self else { unreachable!("nothing is below an inline version") };
        let rest = below.load_older();
        // ORDERING: Release; pairs with the Acquire in `load_older`. The version it leads to was
        // published to this thread; hands that on. Row V7.
        let release = order(Mutant::UnlinkRelaxed, Ordering::Release);
        version.header().older.store(rest, release);
        if let Self::Own(below) = below {
            // ORDERING: Release; only the collector, under its lock, looks at the bit, but readers of
            // the word need the version it leads to, as above. Row V7.
            below.header().older.fetch_or(UNLINKED, release);
        }
    }

    /// Whether it was taken out of its chain. For the collector, under its lock.
    pub(crate) fn is_unlinked(self) -> bool {
        self.load_older() & UNLINKED != 0
    }

    /// The value; none for a tombstone.
    #[inline]
    pub(crate) fn value(self) -> Option<&'g [u8]> {
        let (body, len) = match self {
            Self::Inline(record) => {
                let stamp = record.inline().cast::<StampWord>();
                // SAFETY: the value follows the stamp, in the same inline part.
                (unsafe { stamp.add(1) }.cast::<u8>(), record.inline_len() - inline_len(0))
            }
            Self::Own(_) if self.is_tombstone() => return None,
            Self::Own(version) => {
                // SAFETY: the value follows the header, in the same allocation.
                (unsafe { version.at.add(1) }.cast::<u8>(), version.header().len as usize)
            }
        };
        // SAFETY: `len` bytes were written there before it was published and never change (V2); the
        // guard protects them for `'g` (V1).
        Some(unsafe { std::slice::from_raw_parts(body.as_ptr(), len) })
    }

    #[inline]
    pub(crate) fn is_tombstone(self) -> bool {
        matches!(self, Self::Own(version) if version.header().flags & TOMBSTONE != 0)
    }

    pub(crate) fn is_inline(self) -> bool {
        matches!(self, Self::Inline(_))
    }

    /// Bytes of header and value.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Inline(record) => record.inline_len(),
            Self::Own(version) => layout(version.header().len as usize).size(),
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
