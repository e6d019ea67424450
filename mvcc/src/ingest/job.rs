//! What the versions of an ingest share, and which stores have an ingest running.

use std::collections::BTreeSet;
use std::ptr::NonNull;
// Of `std` in models too: nothing that loom sees happens under this lock.
use std::sync::{Mutex, MutexGuard, PoisonError};

use whimbrel_skiplist::Guard;

use crate::stamp::StampWord;
use crate::version::{pointer_of, word_of};

/// The word that decides about all versions of an ingest. Lives until its owner retires it (invariant J1).
pub(crate) struct Job {
    stamp: StampWord,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

impl Job {
    pub(super) fn new() -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            stamp: StampWord::pending(),
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        })))
    }

    /// The job that an `INGESTED` word leads to.
    ///
    /// # Safety
    ///
    /// The word was loaded from the stamp of a version that a guard of lifetime `'g` protects.
    pub(crate) unsafe fn from_word<'g>(word: u64) -> &'g Self {
        // SAFETY: invariant J1.
        let it: &'g Self = unsafe { &*pointer_of(word) };
        #[cfg(whimbrel_loom)]
        it.canary.touch();
        it
    }

    pub(crate) fn stamp(&self) -> &StampWord {
        &self.stamp
    }

    pub(super) fn word(&self) -> u64 {
        word_of(std::ptr::from_ref(self))
    }

    /// Hands the job to the barrier.
    ///
    /// # Safety
    ///
    /// From [`Job::new`], no version has a word that leads to it, and this is done once.
    pub(super) unsafe fn retire(job: NonNull<Self>, guard: &Guard<'_>) {
        // SAFETY: the caller's promise; who loaded such a word before is in a session that began before.
        unsafe { guard.retire(job.as_ptr().cast(), size_of::<Self>(), reclaim) };
    }
}

/// Frees a job.
///
/// # Safety
///
/// From [`Job::new`], and nobody can reach it.
unsafe fn reclaim(job: *mut u8) {
    let job = job.cast::<Job>();
    #[cfg(whimbrel_loom)]
    {
        // SAFETY: not freed yet; given up below.
        unsafe { &*job }.canary.die();
        // SAFETY: as above; a box, so allocated with this layout.
        unsafe { whimbrel_skiplist::model::bury(job.cast(), std::alloc::Layout::new::<Job>()) };
    }
    #[cfg(not(whimbrel_loom))]
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(job) });
}

/// The stores of a clock that an ingest is running into, by number.
#[derive(Default)]
pub(crate) struct Running(Mutex<BTreeSet<u64>>);

impl Running {
    /// False: another ingest has the store.
    pub(super) fn reserve(&self, store: u64) -> bool {
        self.lock().insert(store)
    }

    pub(super) fn release(&self, store: u64) {
        self.lock().remove(&store);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
