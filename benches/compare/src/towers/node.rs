//! Memory of a node, its links and its state.
//!
//! A node is one allocation: header, tower (one link a level), key, inline part (8-aligned). It is
//! reached through thin pointers that cover the whole allocation; a [`NodeRef`] is such a pointer
//! together with the time for which the node is protected.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::ptr::NonNull;

use whimbrel_skiplist::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use whimbrel_skiplist::{EMPTY, SEALED};

/// Alignment of a node and of its inline part.
const ALIGN: usize = 8;

/// Tag bit of a link: the node that holds the link is removed.
const MARK: usize = 1;

/// State bit: the inserter links no further level of this node.
pub(crate) const INSERTER_DONE: u8 = 1;

/// State bit: all links of this node are marked.
pub(crate) const REMOVED: u8 = 2;

/// The fixed part of a node.
#[repr(C)]
pub(crate) struct Header {
    /// Owned by the layer above; the list only compares it with [`SEALED`].
    cell: AtomicU64,
    inline_len: u32,
    key_len: u16,
    height: u8,
    /// [`INSERTER_DONE`] and [`REMOVED`]; bits are only ever set.
    state: AtomicU8,
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(align_of::<Header>() <= ALIGN && align_of::<Link>() <= ALIGN);
const _: () = assert!(size_of::<Header>().is_multiple_of(align_of::<Link>()));

/// Sizes of a node.
#[derive(Clone, Copy)]
struct Shape {
    height: usize,
    key_len: usize,
    inline_len: usize,
}

impl Shape {
    const fn key_offset(self) -> usize {
        size_of::<Header>() + self.height * size_of::<Link>()
    }

    const fn inline_offset(self) -> usize {
        (self.key_offset() + self.key_len).next_multiple_of(ALIGN)
    }

    fn layout(self) -> Layout {
        Layout::from_size_align(self.inline_offset() + self.inline_len, ALIGN)
            .expect("tower, key and a 32-bit inline part fit in the address space")
    }
}

/// Address of a link of the tower.
///
/// # Safety
///
/// `node` covers the allocation of a node with a tower higher than `level`.
unsafe fn link_at(node: NonNull<Header>, level: usize) -> NonNull<Link> {
    let offset = size_of::<Header>() + level * size_of::<Link>();
    // SAFETY: the tower follows the header, see `Shape`.
    unsafe { node.byte_add(offset) }.cast()
}

/// What a link held: where it leads, and whether the node that holds it is removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) ptr: *mut Header,
    pub(crate) marked: bool,
}

/// One level of a tower: pointer to the successor, and the mark.
pub(crate) struct Link(AtomicPtr<Header>);

impl Link {
    fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn load(&self) -> Target {
        // ORDERING: Acquire; pairs with the Release in `publish` and `bypass`: the node behind the
        // pointer is complete.
        let raw = self.0.load(Ordering::Acquire);
        Target { ptr: raw.map_addr(|addr| addr & !MARK), marked: raw.addr() & MARK != 0 }
    }

    /// Sets the link of a node that no other thread can reach.
    pub(crate) fn prepare(&self, to: *mut Header) {
        // ORDERING: Relaxed; `publish` of the node comes later.
        self.0.store(to, Ordering::Relaxed);
    }

    /// Links a new node in front of `from`. False when the link has changed or is marked.
    #[must_use]
    pub(crate) fn publish(&self, from: *mut Header, node: *mut Header) -> bool {
        // ORDERING: Release pairs with the Acquire in `load`: publishes header, key, inline part and
        // tower. Acquire pairs with the Release in `bypass`: a node of the same key that came and
        // went since the place was found is seen marked on all levels.
        self.0.compare_exchange(from, node, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes the marked node `from` out: its successor `to` takes its place.
    #[must_use]
    pub(crate) fn bypass(&self, from: *mut Header, to: *mut Header) -> bool {
        // ORDERING: Release; pairs with the Acquire in `load`: who comes this way also sees the
        // mark that let us unlink, and the node behind `to`.
        self.0.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Gives a node that is not yet linked at this level another successor. False when marked.
    #[must_use]
    pub(crate) fn retarget(&self, from: *mut Header, to: *mut Header) -> bool {
        // ORDERING: Release; the successor was read with Acquire, the marker that copies the
        // pointer passes it on.
        self.0.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed).is_ok()
    }

    /// Marks the link. True for the one caller that did it.
    #[must_use]
    pub(crate) fn mark(&self) -> bool {
        let mut found = self.load();
        while !found.marked {
            let marked = found.ptr.map_addr(|addr| addr | MARK);
            // ORDERING: AcqRel; Release passes on the marks of the levels above, Acquire sees the
            // pointer that a failed exchange found.
            match self.0.compare_exchange(found.ptr, marked, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(raw) => {
                    let marked = raw.addr() & MARK != 0;
                    found = Target { ptr: raw.map_addr(|addr| addr & !MARK), marked };
                }
            }
        }
        false
    }
}

/// A node that is protected for `'g`.
///
/// Invariant: the pointer covers the whole allocation of a complete node, which is not reclaimed
/// during `'g`. Whoever makes one vouches for it.
#[derive(Clone, Copy)]
pub(crate) struct NodeRef<'g> {
    ptr: NonNull<Header>,
    protected: PhantomData<&'g Header>,
}

impl<'g> NodeRef<'g> {
    /// # Safety
    ///
    /// A pointer that is not null leads to a complete node, as [`Owned::new`] made it, that is not
    /// reclaimed during `'g`.
    pub(crate) unsafe fn protect(ptr: *mut Header) -> Option<Self> {
        NonNull::new(ptr).map(|ptr| Self { ptr, protected: PhantomData })
    }

    /// # Safety
    ///
    /// As [`NodeRef::protect`].
    pub(crate) unsafe fn from_raw(ptr: NonNull<u8>) -> Self {
        Self { ptr: ptr.cast(), protected: PhantomData }
    }

    pub(crate) fn as_ptr(self) -> *mut Header {
        self.ptr.as_ptr()
    }

    pub(crate) fn as_raw(self) -> NonNull<u8> {
        self.ptr.cast()
    }

    fn header(self) -> &'g Header {
        // SAFETY: the invariant of the type; the header is shared and only its atomics change.
        unsafe { self.ptr.as_ref() }
    }

    fn shape(self) -> Shape {
        let header = self.header();
        Shape {
            height: usize::from(header.height),
            key_len: usize::from(header.key_len),
            inline_len: header.inline_len as usize,
        }
    }

    pub(crate) fn height(self) -> usize {
        usize::from(self.header().height)
    }

    pub(crate) fn link(self, level: usize) -> &'g Link {
        assert!(level < self.height(), "a tower has no link above its height");
        // SAFETY: the tower follows the header and has `height` links; `level` is below.
        let link = unsafe { link_at(self.ptr, level) };
        // SAFETY: `Owned::new` wrote the link, and it is only shared.
        unsafe { link.as_ref() }
    }

    pub(crate) fn key(self) -> &'g [u8] {
        let shape = self.shape();
        // SAFETY: the key lies at this offset of the allocation.
        let start = unsafe { self.ptr.cast::<u8>().add(shape.key_offset()) };
        // SAFETY: `Owned::new` wrote `key_len` bytes there, which never change.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), shape.key_len) }
    }

    pub(crate) fn inline(self) -> NonNull<u8> {
        // SAFETY: the inline part lies at this offset of the allocation (one past when empty).
        unsafe { self.ptr.cast::<u8>().add(self.shape().inline_offset()) }
    }

    pub(crate) fn inline_len(self) -> usize {
        self.shape().inline_len
    }

    pub(crate) fn cell(self) -> &'g AtomicU64 {
        &self.header().cell
    }

    pub(crate) fn is_sealed(self) -> bool {
        // ORDERING: Relaxed; the list reads nothing because of a seal, and what its owner did
        // before is ordered by the owner.
        self.header().cell.load(Ordering::Relaxed) == SEALED
    }

    /// Size of the allocation.
    pub(crate) fn bytes(self) -> usize {
        self.shape().layout().size()
    }

    /// Marks every level from the top down. True for the one caller that marked level 0: that one
    /// removed the node.
    #[must_use]
    pub(crate) fn mark_tower(self) -> bool {
        for level in (1..self.height()).rev() {
            let _ = self.link(level).mark();
        }
        self.link(0).mark()
    }

    /// Sets one of the two state bits. True when the other one was set already: the caller is the
    /// second of the two and finishes the removal.
    #[must_use]
    pub(crate) fn transition(self, bit: u8) -> bool {
        debug_assert!(bit == INSERTER_DONE || bit == REMOVED);
        // ORDERING: AcqRel; the second one sees every link and every mark that the first one wrote
        // before its bit.
        let before = self.header().state.fetch_or(bit, Ordering::AcqRel);
        debug_assert_eq!(before & bit, 0, "a state bit is set once, by one thread");
        before == (INSERTER_DONE | REMOVED) & !bit
    }
}

impl PartialEq for NodeRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.ptr == other.ptr
    }
}

/// A complete node that nobody else can reach; freed on drop unless given away.
pub(crate) struct Owned(NonNull<Header>);

impl Owned {
    /// A node with null links, an [`EMPTY`] cell and an inline part of zeros.
    ///
    /// # Panics
    ///
    /// When `inline_len` does not fit in 32 bits.
    pub(crate) fn new(key: &[u8], height: usize, inline_len: usize, state: u8) -> Self {
        let shape = Shape { height, key_len: key.len(), inline_len };
        let header = Header {
            cell: AtomicU64::new(EMPTY),
            inline_len: u32::try_from(inline_len).expect("an inline part is below 4 GiB"),
            key_len: u16::try_from(key.len()).expect("callers refuse keys above MAX_KEY_LEN"),
            height: u8::try_from(height).expect("heights are at most MAX_HEIGHT"),
            state: AtomicU8::new(state),
        };
        let layout = shape.layout();
        // SAFETY: the layout has the size of the header at least, so it is not zero.
        let raw = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(raw.cast::<Header>()) else {
            std::alloc::handle_alloc_error(layout)
        };
        // SAFETY: fresh memory, large enough and aligned for the header.
        unsafe { ptr.write(header) };
        for level in 0..height {
            // SAFETY: `height` links follow the header inside the allocation.
            let link = unsafe { link_at(ptr, level) };
            // SAFETY: fresh memory, aligned (see the assertions on the header).
            unsafe { link.write(Link::new()) };
        }
        // SAFETY: the key lies at this offset of the allocation.
        let start = unsafe { ptr.cast::<u8>().add(shape.key_offset()) };
        // SAFETY: `key_len` bytes there are ours, and cannot overlap `key`.
        unsafe { std::ptr::copy_nonoverlapping(key.as_ptr(), start.as_ptr(), key.len()) };
        Self(ptr)
    }

    pub(crate) fn node(&self) -> NodeRef<'_> {
        NodeRef { ptr: self.0, protected: PhantomData }
    }

    /// Writes the inline part and the cell, before the node is linked.
    pub(crate) fn init(&mut self, init: impl FnOnce(NonNull<u8>) -> u64) {
        let value = init(self.node().inline());
        // ORDERING: Relaxed; `Link::publish` of the node comes later.
        self.node().cell().store(value, Ordering::Relaxed);
    }

    /// Gives the node away; the caller sees to its end.
    pub(crate) fn into_raw(self) -> NonNull<u8> {
        std::mem::ManuallyDrop::new(self).0.cast()
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: this value owns the node, and nobody else can reach it.
        unsafe { free(self.node()) };
    }
}

/// Gives the memory of a node back, for the barrier.
///
/// # Safety
///
/// `ptr` is a node that no thread can reach; it is not used afterwards.
pub(crate) unsafe fn reclaim(ptr: *mut u8) {
    let Some(ptr) = NonNull::new(ptr) else { return };
    // SAFETY: the caller hands over a complete node.
    let node = unsafe { NodeRef::from_raw(ptr) };
    // SAFETY: nobody else can reach it, says the caller.
    unsafe { free(node) };
}

/// Gives the memory of a node back.
///
/// # Safety
///
/// No thread can reach the node, and no copy of the reference is used afterwards.
pub(crate) unsafe fn free(node: NodeRef<'_>) {
    let layout = node.shape().layout();
    let ptr = node.ptr.as_ptr().cast::<u8>();
    // SAFETY: allocated with this layout in `Owned::new`; nobody can reach it. Links and header
    // own nothing.
    unsafe {
        std::alloc::dealloc(ptr, layout);
    }
}
