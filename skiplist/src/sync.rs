//! The shim: atomics, fences and threads from `std`, or from `loom` or `shuttle` in modelled builds.
//!
//! The layers above use these names too, so that a model explores them together with the list.
//! Modelled builds are chosen by `--cfg whimbrel_loom` or `--cfg whimbrel_shuttle`. Builds with
//! `--cfg whimbrel_delay` have the threads of `std`, held up at random.
//!
//! ThreadSanitizer (`ci/tsan.sh`, `--cfg whimbrel_tsan`) does not model fences: they are executed and
//! order nothing for it. That suits these crates. Their fences decide which values a thread may read;
//! whatever is published to be read without atomics is published by the ordering of the atomic
//! itself, so nothing is reported falsely. A face that made each fence a read-modify-write of one
//! static would order all operations with one another and hide races (docs/verification.md).

#[cfg(any(whimbrel_shuttle, whimbrel_delay))]
mod stepped;
mod striped;

pub use striped::Striped;

#[cfg(not(any(whimbrel_loom, whimbrel_shuttle)))]
pub use std::sync::{Arc, Mutex, MutexGuard};

#[cfg(whimbrel_loom)]
pub use loom::sync::{Arc, Mutex, MutexGuard};

#[cfg(whimbrel_shuttle)]
pub use shuttle::sync::{Arc, Mutex, MutexGuard};

/// Atomic types and fences.
pub mod atomic {
    #[cfg(not(any(whimbrel_loom, whimbrel_shuttle, whimbrel_delay)))]
    pub use std::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    #[cfg(any(whimbrel_shuttle, whimbrel_delay))]
    pub use super::stepped::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };

    #[cfg(whimbrel_loom)]
    pub use loom::sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
}

/// Threads.
pub mod thread {
    #[cfg(not(any(whimbrel_loom, whimbrel_shuttle)))]
    pub use std::thread::{JoinHandle, spawn, yield_now};

    #[cfg(whimbrel_loom)]
    pub use loom::thread::{JoinHandle, spawn, yield_now};

    #[cfg(whimbrel_shuttle)]
    pub use shuttle::thread::{JoinHandle, spawn, yield_now};
}

/// Hints to the processor.
pub mod hint {
    #[cfg(not(any(whimbrel_loom, whimbrel_shuttle)))]
    pub use std::hint::spin_loop;

    #[cfg(whimbrel_loom)]
    pub use loom::hint::spin_loop;

    #[cfg(whimbrel_shuttle)]
    pub use shuttle::hint::spin_loop;
}

/// A sequentially consistent fence behind a read-modify-write of the same thread.
///
/// On x86-64 every atomic read-modify-write is a locked instruction and with it a full barrier, so
/// that only the compiler has to be kept from reordering; a fence instruction would cost several
/// times as much as the rest of entering a session. Elsewhere, and in models, it is the fence.
#[inline]
pub fn fence_behind_rmw() {
    // ORDERING: SeqCst; the callers say what it pairs with.
    if cfg!(all(target_arch = "x86_64", not(whimbrel_loom))) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    } else {
        atomic::fence(atomic::Ordering::SeqCst);
    }
}

/// Number of this thread, to spread threads over stripes. Counted up, so that threads which began one
/// after the other differ.
#[inline]
#[must_use]
pub fn thread_number() -> usize {
    use std::cell::Cell;
    thread_local! {
        /// One more than the number; 0 until somebody asks.
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    #[cold]
    fn new_number() -> usize {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
        // ORDERING: Relaxed; only spreads threads over stripes.
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        NUMBER.set(number);
        number
    }
    let number = NUMBER.get();
    (if number == 0 { new_number() } else { number }) - 1
}

/// A statistic: never part of a protocol, so it stays outside of what models explore.
#[derive(Debug, Default)]
pub struct Counter(std::sync::atomic::AtomicU64);

impl Counter {
    /// A counter that stands at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(std::sync::atomic::AtomicU64::new(0))
    }

    /// Adds `n` (wrapping) and returns what the counter was before.
    #[inline]
    pub fn add(&self, n: u64) -> u64 {
        // ORDERING: Relaxed; a statistic, nothing is published through it.
        self.0.fetch_add(n, std::sync::atomic::Ordering::Relaxed)
    }

    /// Subtracts `n` (wrapping).
    #[inline]
    pub fn sub(&self, n: u64) {
        // ORDERING: Relaxed; as in `add`.
        self.0.fetch_sub(n, std::sync::atomic::Ordering::Relaxed);
    }

    /// Sets the counter.
    pub fn set(&self, n: u64) {
        // ORDERING: Relaxed; as in `add`.
        self.0.store(n, std::sync::atomic::Ordering::Relaxed);
    }

    /// The present value.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        // ORDERING: Relaxed; as in `add`.
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
