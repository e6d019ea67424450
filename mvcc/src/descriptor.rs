//! What the versions of a batch share: the stamp, and what there is to do (see `batch.rs`).
//!
//! Invariants.
//!
//! - D1. An `INDIRECT(d)` word was loaded from a reachable version only before `d` was retired: below
//!   a head all words are direct (who supersedes a version makes it direct first), and the owner makes
//!   the heads that are still its own direct before it retires `d`. So whoever loaded the word inside
//!   its session may use `d` until it leaves.
//! - D2. The stores of the operations outlive `d`: the owner holds handles until it has retired `d`,
//!   and a store is retired through the same barrier after its last handle.
//! - D3. Only the owner installs the first operation, so a batch that nobody has met yet can fail its
//!   precondition without a trace.

use std::ptr::NonNull;

use whimbrel_skiplist::Record;

use crate::access::Access;
use crate::stamp::{Stamp, StampWord};
use crate::store::StoreInner;
use crate::version::{VersionRef, pointer_of, word_of};

/// One operation of a descriptor.
pub(crate) struct Op {
    /// Valid for as long as the descriptor (invariant D2).
    pub(crate) store: NonNull<StoreInner>,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Op {
    pub(crate) fn store(&self) -> &StoreInner {
        // SAFETY: invariant D2.
        unsafe { self.store.as_ref() }
    }

    /// The record of the key, made if need be.
    pub(crate) fn record<'g>(&self, access: Access<'g>) -> Record<'g> {
        access.find_or_insert_empty(&self.key).expect("keys are checked before a batch begins")
    }

    pub(crate) fn place(&self) -> (u64, &[u8]) {
        (self.store().number, &self.key)
    }
}

/// What the versions of a batch share. Lives until its owner retires it (invariant D1).
pub(crate) struct Descriptor {
    stamp: StampWord,
    /// In order of (store, key), one per key, never empty.
    pub(crate) ops: Box<[Op]>,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

// SAFETY: the stores are Sync, and valid for as long as the descriptor (invariant D2).
unsafe impl Send for Descriptor {}
// SAFETY: as for Send; only the stamp changes, an atomic.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    pub(crate) fn new(ops: Box<[Op]>) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            stamp: StampWord::pending(),
            ops,
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        })))
    }

    /// The descriptor that an `INDIRECT` word leads to.
    ///
    /// # Safety
    ///
    /// The word was loaded from the stamp of a version that a guard of lifetime `'g` protects.
    pub(crate) unsafe fn from_word<'g>(word: u64) -> &'g Self {
        // SAFETY: invariant D1.
        let it: &'g Self = unsafe { &*pointer_of(word) };
        #[cfg(whimbrel_loom)]
        it.canary.touch();
        it
    }

    pub(crate) fn stamp(&self) -> &StampWord {
        &self.stamp
    }

    pub(crate) fn word(&self) -> u64 {
        word_of(std::ptr::from_ref(self))
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.stamp.load() == Stamp::Pending
    }

    /// Whether a version is one of this batch's (and was not made direct yet).
    pub(crate) fn owns(&self, version: VersionRef<'_>) -> bool {
        let VersionRef::Own(version) = version else { return false };
        version.stamp().load() == Stamp::Indirect(self.word())
    }
}

/// Frees a descriptor.
///
/// # Safety
///
/// `descriptor` comes from [`Descriptor::new`], and nobody can reach it.
pub(crate) unsafe fn reclaim(descriptor: *mut u8) {
    let descriptor = descriptor.cast::<Descriptor>();
    #[cfg(whimbrel_loom)]
    // SAFETY: not freed yet; given up below.
    unsafe { &*descriptor }.canary.die();
    #[cfg(whimbrel_loom)]
    // SAFETY: a box, so allocated with this layout. (What it owns is lost: models are small.)
    unsafe {
        whimbrel_skiplist::model::bury(descriptor.cast(), std::alloc::Layout::new::<Descriptor>());
    }
    #[cfg(not(whimbrel_loom))]
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(descriptor) });
}
