//! The program's allocator, with a count of what is in use and of the most there was. Not counted are the
//! records of stores, which have an allocator of their own.

#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // ORDERING: Relaxed; statistics.
        let before = IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        MOST.fetch_max(before + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // ORDERING: Relaxed; statistics.
        let before = IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        MOST.fetch_max(before + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // ORDERING: Relaxed; a statistic.
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// For tests of a process of which one measures: they take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is allocated from now on.
pub(crate) struct Measured {
    before: usize,
}

impl Measured {
    pub(crate) fn begin() -> Self {
        // ORDERING: Relaxed; statistics, and one thread begins and asks.
        let before = IN_USE.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        Self { before }
    }

    /// The most bytes that there were at one time.
    pub(crate) fn most(&self) -> usize {
        // ORDERING: Relaxed; as above.
        MOST.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// Does the work; answers with the bytes that it had allocated at most at one time.
pub(crate) fn most_during<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let measured = Measured::begin();
    let result = work();
    (measured.most(), result)
}
