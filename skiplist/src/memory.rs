//! Memory of blocks, records and versions.
//!
//! They come from mimalloc rather than from the program's allocator, whatever that is: its size classes
//! of 8 bytes take a record of 40 bytes as 40, where common allocators add a header and round up to 48;
//! freed memory is reused from lists local to a page, and pages that become empty go back to the system.
//! The classes are of 8 bytes where mimalloc is built with `CFLAGS=-DMI_MAX_ALIGN_SIZE=8`, as
//! `.cargo/config.toml` says for this workspace; otherwise of 16, which costs 8 bytes an entry and is as right.
//! Long keys and values get allocations of their own. mimalloc asks for huge pages by itself (its option
//! `allow_thp`; `allow_large_os_pages` would only add pages that the administrator reserved, which cannot
//! be given back); what becomes of those that are given back in part is in `huge.rs`. Models and
//! sanitizers (`--cfg whimbrel_system_memory`) use the program's allocator, which they watch.

use std::alloc::{Layout, handle_alloc_error};
use std::ptr::NonNull;

/// Allocates. Ends the process as `Box::new` does when there is no memory.
///
/// # Safety
///
/// The layout's size is not zero.
#[must_use]
#[inline]
pub unsafe fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: the caller's promise.
    let raw = unsafe { imp::allocate(layout) };
    let Some(raw) = NonNull::new(raw) else { handle_alloc_error(layout) };
    #[cfg(debug_assertions)]
    IN_USE.add(layout.size() as u64);
    raw
}

#[cfg(debug_assertions)]
static IN_USE: crate::sync::Counter = crate::sync::Counter::new();

/// Bytes that were allocated here and not freed, by all of the process. Counted where debug assertions
/// are on, for tests.
#[cfg(debug_assertions)]
#[must_use]
pub fn in_use() -> u64 {
    IN_USE.get()
}

/// Frees.
///
/// # Safety
///
/// `at` is from [`allocate`] with this layout, and nobody uses it any more.
#[inline]
pub unsafe fn free(at: NonNull<u8>, layout: Layout) {
    #[cfg(debug_assertions)]
    IN_USE.sub(layout.size() as u64);
    // SAFETY: the caller's promise.
    unsafe { imp::free(at.as_ptr(), layout) };
}

/// Begins to load what lies at an address, which need not be valid.
#[inline]
pub fn prefetch(at: NonNull<u8>) {
    crate::list::prefetch(at.as_ptr().expose_provenance() as u64, 1);
}

/// Bytes that an allocation of this layout takes, those that are lost to its size class included.
#[must_use]
#[inline]
pub fn held(layout: Layout) -> usize {
    imp::held(layout)
}

/// Copies bytes to fresh memory; few of them without a call.
///
/// # Safety
///
/// There is room for them, and nobody else uses it.
#[inline]
pub unsafe fn copy(from: &[u8], to: NonNull<u8>) {
    match from.len() {
        // SAFETY: the caller's promise.
        8..=16 => unsafe { write_ends::<8>(to, from.len(), from.first_chunk(), from.last_chunk()) },
        // SAFETY: as above.
        17..=32 => unsafe {
            write_ends::<16>(to, from.len(), from.first_chunk(), from.last_chunk())
        },
        // SAFETY: as above; a borrowed slice does not overlap it.
        len => unsafe { to.copy_from_nonoverlapping(NonNull::from(from).cast(), len) },
    }
}

/// Writes zeros to fresh memory; few of them without a call.
///
/// # Safety
///
/// As for [`copy`].
#[inline]
pub(crate) unsafe fn zero(at: NonNull<u8>, len: usize) {
    match len {
        0 => {}
        // SAFETY: the caller's promise.
        8..=16 => unsafe { write_ends::<8>(at, len, Some(&[0; _]), Some(&[0; _])) },
        // SAFETY: as above.
        17..=32 => unsafe { write_ends::<16>(at, len, Some(&[0; _]), Some(&[0; _])) },
        // SAFETY: as above.
        _ => unsafe { at.write_bytes(0, len) },
    }
}

/// Writes the first and the last bytes of `len`; both together are all.
///
/// # Safety
///
/// As for [`copy`].
#[inline]
unsafe fn write_ends<const N: usize>(
    at: NonNull<u8>,
    len: usize,
    first: Option<&[u8; N]>,
    last: Option<&[u8; N]>,
) {
    debug_assert!(N <= len && len <= 2 * N, "neither too long nor with a gap");
    let (Some(first), Some(last)) = (first, last) else { return };
    // SAFETY: the caller's promise; an array of bytes has no alignment.
    unsafe { at.cast::<[u8; N]>().write(*first) };
    // SAFETY: as above, `len` is at least `N`.
    let end = unsafe { at.add(len - N) };
    // SAFETY: as above.
    unsafe { end.cast::<[u8; N]>().write(*last) };
}

/// Has the allocator ask the system for address space in smaller pieces, unless the environment says
/// otherwise: what it writes down about a piece is in memory whether the piece is used or not, and
/// takes 2 MiB for the usual one of 1 GiB. Later pieces are larger.
pub(crate) fn prepare() {
    imp::prepare();
}

/// Gives free memory of this thread's back to the system now, instead of a little later, and has the
/// kernel keep the pages small where much was given back: it would fill them up to huge ones again.
pub fn give_back() {
    imp::give_back();
}

#[cfg(any(whimbrel_loom, whimbrel_shuttle, whimbrel_tsan, whimbrel_system_memory))]
mod imp {
    use std::alloc::Layout;

    /// # Safety
    ///
    /// As for `std::alloc::alloc`.
    pub(super) unsafe fn allocate(layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { std::alloc::alloc(layout) }
    }

    /// # Safety
    ///
    /// As for `std::alloc::dealloc`.
    pub(super) unsafe fn free(at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { std::alloc::dealloc(at, layout) };
    }

    pub(super) fn held(layout: Layout) -> usize {
        layout.size()
    }

    pub(super) fn prepare() {}

    pub(super) fn give_back() {}
}

#[cfg(not(any(whimbrel_loom, whimbrel_shuttle, whimbrel_tsan, whimbrel_system_memory)))]
mod imp {
    use std::alloc::Layout;
    use std::sync::atomic::{AtomicU8, Ordering};

    use libmimalloc_sys::{
        mi_collect, mi_free, mi_good_size, mi_malloc, mi_malloc_aligned, mi_malloc_small,
        mi_option_get, mi_option_set, mi_option_t,
    };

    /// `mi_option_arena_reserve`, which the bindings do not name.
    const ARENA_RESERVE: mi_option_t = 23;

    /// What that option is when nobody has set it, in KiB: by this it is known.
    const USUAL_RESERVE: core::ffi::c_long = 1 << 20;

    /// What it is set to, in KiB.
    const SMALL_RESERVE: core::ffi::c_long = 64 << 10;

    /// Alignment that every allocation of mimalloc has.
    const NATURAL: usize = 8;

    /// The most bytes that mimalloc hands out by its shorter way: its `MI_SMALL_SIZE_MAX`.
    const SMALL_MAX: usize = 128 * size_of::<usize>();

    /// # Safety
    ///
    /// The layout's size is not zero.
    #[inline]
    pub(super) unsafe fn allocate(layout: Layout) -> *mut u8 {
        if layout.align() <= NATURAL && layout.size() <= SMALL_MAX {
            // SAFETY: the size is not above what counts as small.
            unsafe { mi_malloc_small(layout.size()) }.cast()
        } else if layout.align() <= NATURAL {
            // SAFETY: any size may be asked for.
            unsafe { mi_malloc(layout.size()) }.cast()
        } else {
            // SAFETY: as above; the alignment of a layout is a power of two.
            unsafe { mi_malloc_aligned(layout.size(), layout.align()) }.cast()
        }
    }

    /// # Safety
    ///
    /// `at` is from [`allocate`], and nobody uses it any more.
    #[inline]
    pub(super) unsafe fn free(at: *mut u8, _: Layout) {
        // SAFETY: the caller's promise.
        unsafe { mi_free(at.cast()) };
    }

    /// What allocations of so many words take, in words; 0 until somebody asks. Classes end with words.
    static SMALL: [AtomicU8; 129] = [const { AtomicU8::new(0) }; 129];

    #[inline]
    pub(super) fn held(layout: Layout) -> usize {
        let known = SMALL.get(layout.size().div_ceil(NATURAL));
        // ORDERING: Relaxed, also below; the number says all there is.
        match known.map_or(0, |known| known.load(Ordering::Relaxed)) {
            0 => ask_held(layout.size()),
            words => usize::from(words) * NATURAL,
        }
    }

    #[cold]
    fn ask_held(size: usize) -> usize {
        // SAFETY: computes with its argument only.
        let held = unsafe { mi_good_size(size) };
        if let (Some(known), Ok(words)) =
            (SMALL.get(size.div_ceil(NATURAL)), u8::try_from(held / NATURAL))
        {
            // ORDERING: Relaxed; every thread finds and writes the same number.
            known.store(words, Ordering::Relaxed);
        }
        held
    }

    #[cfg(test)]
    #[test]
    fn what_is_remembered_of_sizes_is_what_the_allocator_says() {
        for size in (1..1100).chain(1..1100) {
            let layout = Layout::from_size_align(size, NATURAL).expect("a small layout");
            // SAFETY: computes with its argument only.
            assert_eq!(held(layout), unsafe { mi_good_size(size) });
        }
    }

    pub(super) fn prepare() {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            // SAFETY: reads an option, or says that there is none of this number.
            if unsafe { mi_option_get(ARENA_RESERVE) } == USUAL_RESERVE {
                // SAFETY: the option is there; one thread sets it, others see the old value or the new.
                unsafe { mi_option_set(ARENA_RESERVE, SMALL_RESERVE) };
            }
        });
    }

    pub(super) fn give_back() {
        // SAFETY: may be called at any time.
        unsafe { mi_collect(true) };
        #[cfg(target_os = "linux")]
        crate::huge::keep_holes();
    }
}
