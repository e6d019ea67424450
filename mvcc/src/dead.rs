//! The dead list's inbox: superseded versions and tombstones on their way to the collector.
//!
//! Every superseded value and every tombstone has exactly one entry: made by who installed the
//! superseding version, or the tombstone, once that was settled. (A superseded tombstone has one
//! already; around an ingest others may make it, rule I3 there.) A version is retired only when its entry is
//! disposed of.
//!
//! Invariants.
//!
//! - E1. While an entry exists, its version was not retired.
//! - E2. While an entry exists and its version is not unlinked, its record is not sealed, because a
//!   record is sealed only when its tombstone is alone in the chain, by the holder of that one's entry, or
//!   by who removed its only version, which has no entry (`removal.rs`).
//!   An inline version is unlinked only when its own entry is disposed of, so its memory, the record's,
//!   is there for as long as the entry is.
//! - E3. While an entry exists and its version is not unlinked, its record is not moved: the key's newest
//!   version is that one, a tombstone, or has it below (see `compact.rs`).
//! - E4. A removal in place and the value that it removed have one entry together, made by who removed, unless
//!   that thread sealed the record itself. Until that entry is disposed of, both stay in their chain.

use std::num::NonZeroU64;
use std::ptr::NonNull;

use whimbrel_skiplist::{Guard, List, Record, memory};

use crate::inline::InlineStamp;
use crate::mutant::{Mutant, order, planted};
use crate::sync::atomic::{AtomicPtr, Ordering};
use crate::version::{OwnRef, VersionRef, pointer_of};

/// An entry of the dead list.
pub(crate) struct Dead {
    record: NonNull<u8>,
    version: u64,
    /// Number of the version.
    pub(crate) born: u64,
    /// Number of what superseded it; none for a tombstone that was the newest when it was filed.
    pub(crate) dead: Option<NonZeroU64>,
    bytes: u32,
    /// Whether an observer was told of what is taken away with the version.
    pub(crate) is_told: bool,
}

const _: () = assert!(size_of::<Dead>() == 40, "five words an entry");

// SAFETY: addresses that are used inside a session only (invariant E1), from any thread.
unsafe impl Send for Dead {}

impl Dead {
    pub(crate) fn new(
        record: Record<'_>,
        version: VersionRef<'_>,
        born: u64,
        dead: Option<u64>,
    ) -> Self {
        let bytes = u32::try_from(version.bytes()).unwrap_or(u32::MAX);
        // The clock begins at 1.
        let dead = dead.and_then(NonZeroU64::new);
        Self { record: record.as_raw(), version: version.word(), born, dead, bytes, is_told: false }
    }

    /// Bytes of the version.
    pub(crate) fn bytes(&self) -> u64 {
        u64::from(self.bytes)
    }

    /// The record, for an entry whose version is not unlinked.
    pub(crate) fn record<'g>(&self, list: &'g List, guard: &'g Guard<'_>) -> Record<'g> {
        // SAFETY: invariants E2 and E3: the record was not sealed and had not moved when this session was
        // entered, because this entry existed then and its version is in the chain even now.
        unsafe { list.record_from_raw(self.record, guard) }
    }

    pub(crate) fn version<'g>(&self, _: &'g Guard<'_>) -> VersionRef<'g> {
        match InlineStamp::of(self.version) {
            // SAFETY: invariant E2: the record is there for as long as the entry of its inline version.
            Some(stamp) => VersionRef::Inline(unsafe { Record::at(self.record) }, stamp),
            // SAFETY: invariant E1: the version was not retired before this session was entered.
            None => VersionRef::Own(unsafe { OwnRef::from_word(self.version) }),
        }
    }

    /// Frees the version if it is out of its chain: this entry alone leads to it then.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the store any more.
    pub(crate) unsafe fn free_if_unlinked(self) {
        if InlineStamp::of(self.version).is_some() {
            return;
        }
        // SAFETY: invariant E1; nobody else is left.
        let version = VersionRef::Own(unsafe { OwnRef::from_word(self.version) });
        if version.is_unlinked() {
            // SAFETY: the entry ends here, and nobody else is left.
            unsafe { version.free_now() };
        }
    }

    /// Snapshots below this number have nothing to do with the version. A removal in place goes together with
    /// the value that it removed, which each of them saw.
    pub(crate) fn since(&self) -> u64 {
        let stamp = InlineStamp::of(self.version);
        let with_value = stamp.is_some_and(InlineStamp::is_removal);
        if with_value && !planted(Mutant::RemovalWithoutValue) { 0 } else { self.born }
    }

    /// Begins to load what is read when the entry is judged.
    pub(crate) fn prefetch(&self) {
        memory::prefetch(self.record);
        if let Some(version) = NonNull::new(pointer_of(self.version)) {
            memory::prefetch(version);
        }
    }

    /// What leads to the version, in the chain of the record.
    pub(crate) fn version_word(&self) -> u64 {
        self.version
    }
}

struct Node<T> {
    item: T,
    next: *mut Node<T>,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

/// Bytes that an entry takes in the inbox.
pub(crate) const ENTRY_BYTES: u64 = size_of::<Node<Dead>>() as u64;

/// A stack that is pushed to by all and taken as a whole. Lock-free; without pop, so addresses that
/// come back confuse nobody.
pub(crate) struct Inbox<T>(AtomicPtr<Node<T>>);

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn push(&self, item: T) {
        let node = Box::into_raw(Box::new(Node {
            item,
            next: std::ptr::null_mut(),
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        }));
        // ORDERING: Relaxed; compared only. Row V11.
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: from the box above, not shared before the exchange succeeds.
            unsafe { (*node).next = top };
            // ORDERING: Release; pairs with the Acquire in `take`: the item (an entry, and that its
            // version is superseded) is seen by who takes it. Row V11.
            let release = order(Mutant::InboxPushRelaxed, Ordering::Release);
            match self.0.compare_exchange(top, node, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => top = found,
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: Relaxed; a hint, or ordered by the fences of row V14. Row V11.
        self.0.load(Ordering::Relaxed).is_null()
    }

    /// Takes all items, newest first.
    pub(crate) fn take(&self) -> Taken<T> {
        // ORDERING: Acquire; pairs with the Release in `push`. Row V11.
        let acquire = order(Mutant::InboxTakeRelaxed, Ordering::Acquire);
        Taken(self.0.swap(std::ptr::null_mut(), acquire))
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        if cfg!(whimbrel_loom) && std::thread::panicking() {
            return;
        }
        drop(self.take());
    }
}

/// Items taken out of an inbox.
pub(crate) struct Taken<T>(*mut Node<T>);

// SAFETY: it alone has its nodes, as a list of boxes would.
unsafe impl<T: Send> Send for Taken<T> {}

impl<T> Taken<T> {
    pub(crate) fn nothing() -> Self {
        Self(std::ptr::null_mut())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_null()
    }
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.0.is_null() {
            return None;
        }
        // SAFETY: from `push`'s box; taken by this value alone, once.
        let node = unsafe { Box::from_raw(self.0) };
        #[cfg(whimbrel_loom)]
        node.canary.touch();
        self.0 = node.next;
        Some(node.item)
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
