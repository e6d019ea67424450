//! Versions: layout, allocation, and the handle through which all of them are read.
//!
//! A version is a header followed by the bytes of its value. It lies in an allocation of its own, or
//! in the inline part of the record whose first version it is (then it goes with the record).
//!
//! Invariants (unsafe code below and in `collect.rs` relies on them).
//!
//! - V1. What a cell or an `older` word of a reachable version leads to is a version that was not
//!   retired before the session of whoever loaded the word was entered. So a loaded version may be
//!   read for as long as the guard lives.
//! - V2. Header length, flags and value bytes are written before the version is published, and never
//!   change. Only `stamp` and `older` do, both atomic.
//! - V3. Only the collector, under its lock, unlinks a version, and notes that in the lowest bit of its
//!   `older` word, which otherwise stays as it was. The version is retired, once, when the collector
//!   disposes of its entry of the dead list; so while there is an entry, the version may be read.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

use whimbrel_skiplist::{EMPTY, Guard, SEALED};

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

const TOMBSTONE: u32 = 1;
const INLINE: u32 = 2;

/// Header of a version. The value's bytes follow.
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

/// Length of a version with its value, in bytes.
pub(crate) const fn bytes_with(value_len: usize) -> usize {
    size_of::<Version>() + value_len
}

fn layout(value_len: usize) -> Layout {
    Layout::from_size_align(bytes_with(value_len), align_of::<Version>())
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
pub(crate) fn word_of<T>(ptr: *const T) -> u64 {
    ptr.expose_provenance() as u64
}

/// Pointer from a word of a cell.
#[expect(clippy::cast_possible_truncation, reason = "pointers have 64 bits, asserted above")]
pub(crate) fn pointer_of<T>(word: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut(word as usize)
}

/// Writes header and value.
///
/// # Safety
///
/// `at` is aligned to 8 and valid for writes of `bytes_with(value length)`, and nobody else sees it.
unsafe fn write(at: NonNull<u8>, stamp: StampWord, value: Option<&[u8]>, flags: u32) -> u64 {
    let bytes = value.unwrap_or(&[]);
    let tombstone = if value.is_none() { TOMBSTONE } else { 0 };
    let header = Version {
        stamp,
        older: AtomicU64::new(0),
        len: u32::try_from(bytes.len()).expect("values are shorter than MAX_VALUE_LEN"),
        flags: flags | tombstone,
        #[cfg(whimbrel_loom)]
        canary: whimbrel_skiplist::model::Canary::new(),
    };
    // SAFETY: the caller gives room for the header, aligned.
    unsafe { at.cast::<Version>().write(header) };
    // SAFETY: the header is inside the room that the caller gives.
    let body = unsafe { at.add(size_of::<Version>()) };
    // SAFETY: `body` has room for the value; a fresh version cannot overlap the caller's slice.
    unsafe { body.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    word_of(at.as_ptr())
}

/// Writes the first version of a record into its inline part and returns the cell's first value.
///
/// # Safety
///
/// As for the pointer that `List::find_or_insert` gives to `init`, with an inline length of
/// `bytes_with(value.len())`.
pub(crate) unsafe fn write_inline(at: NonNull<u8>, stamp: StampWord, value: &[u8]) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { write(at, stamp, Some(value), INLINE) }
}

/// A version of its own allocation that nobody else sees yet. Freed when dropped unpublished.
pub(crate) struct Fresh(NonNull<Version>);

impl Fresh {
    /// A version with this value; `None` makes a tombstone.
    pub(crate) fn new(stamp: StampWord, value: Option<&[u8]>) -> Self {
        let layout = layout(value.map_or(0, <[u8]>::len));
        // SAFETY: the layout has at least the header's size.
        let raw = unsafe { alloc(layout) };
        let Some(at) = NonNull::new(raw) else { handle_alloc_error(layout) };
        // SAFETY: freshly allocated with the layout of header and value.
        unsafe { write(at, stamp, value, 0) };
        Self(at.cast())
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
        dealloc(version.as_ptr().cast(), layout(len as usize));
    }
}

#[cfg(whimbrel_loom)]
const _: unsafe fn(*mut u8, Layout) = dealloc;

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
pub(crate) struct VersionRef<'g> {
    version: NonNull<Version>,
    guard: PhantomData<&'g Version>,
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
    pub(crate) unsafe fn from_word(word: u64) -> Option<Self> {
        if word == EMPTY || word == SEALED {
            return None;
        }
        let version = NonNull::new(pointer_of(word))?;
        let it = Self { version, guard: PhantomData };
        #[cfg(whimbrel_loom)]
        it.header().canary.touch();
        Some(it)
    }

    fn header(self) -> &'g Version {
        // SAFETY: invariant V1, vouched for by the caller of `from_word`.
        unsafe { self.version.as_ref() }
    }

    pub(crate) fn word(self) -> u64 {
        word_of(self.version.as_ptr())
    }

    /// This version's own stamp word.
    pub(crate) fn stamp(self) -> &'g StampWord {
        &self.header().stamp
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
        // ORDERING: Acquire; pairs with the Release in `unlink_below` and with the installing exchange:
        // the version below is seen whole. Row V7.
        self.header().older.load(order(Mutant::OlderLoadRelaxed, Ordering::Acquire))
    }

    pub(crate) fn older(self) -> Option<VersionRef<'g>> {
        // SAFETY: an `older` word of a version that this guard protects.
        unsafe { Self::from_word(self.older_word()) }
    }

    /// Takes `below`, the version directly below, out of the chain. For the collector, under its lock.
    pub(crate) fn unlink_below(self, below: VersionRef<'g>) {
        debug_assert_eq!(self.load_older(), below.word(), "only a version in the chain, and below");
        let rest = below.load_older();
        // ORDERING: Release; pairs with the Acquire in `load_older`. The version it leads to was
        // published to this thread; hands that on. Row V7.
        let release = order(Mutant::UnlinkRelaxed, Ordering::Release);
        self.header().older.store(rest, release);
        // ORDERING: Release; only the collector, under its lock, looks at the bit, but readers of the
        // word need the version it leads to, as above. Row V7.
        below.header().older.fetch_or(UNLINKED, release);
    }

    /// Whether it was taken out of its chain. For the collector, under its lock.
    pub(crate) fn is_unlinked(self) -> bool {
        self.load_older() & UNLINKED != 0
    }

    /// The value; none for a tombstone.
    pub(crate) fn value(self) -> Option<&'g [u8]> {
        if self.is_tombstone() {
            return None;
        }
        let len = self.header().len as usize;
        let base = self.version.cast::<u8>();
        // SAFETY: header and value are one allocation, or one inline part.
        let body = unsafe { base.add(size_of::<Version>()) };
        // SAFETY: `len` bytes were written there before it was published and never change (V2); the
        // guard protects them for `'g` (V1).
        Some(unsafe { std::slice::from_raw_parts(body.as_ptr(), len) })
    }

    pub(crate) fn is_tombstone(self) -> bool {
        self.header().flags & TOMBSTONE != 0
    }

    pub(crate) fn is_inline(self) -> bool {
        self.header().flags & INLINE != 0
    }

    /// Bytes of header and value.
    pub(crate) fn bytes(self) -> usize {
        bytes_with(self.header().len as usize)
    }

    /// Hands an unlinked version to the barrier. An inline one goes with its record.
    ///
    /// # Safety
    ///
    /// It is out of its chain, and the caller retires it only once (invariant V3).
    pub(crate) unsafe fn retire(self, guard: &Guard<'_>) {
        if self.is_inline() {
            return;
        }
        // SAFETY: out of its chain, so a later session cannot reach it; the caller says only once.
        unsafe { guard.retire(self.version.as_ptr().cast(), self.bytes(), reclaim) };
    }

    /// Frees a version at once. An inline one goes with its record.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the chain any more.
    pub(crate) unsafe fn free_now(self) {
        if !self.is_inline() {
            // SAFETY: the caller's promise; not inline, so from `Fresh::new`.
            unsafe { free(self.version) };
        }
    }
}
