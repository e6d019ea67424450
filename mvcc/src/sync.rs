//! The shim: atomics, locks and threads from `std`, or from `loom` in modelled builds.

pub(crate) use whimbrel_skiplist::sync::{
    Arc, Counter, Mutex, MutexGuard, Striped, atomic, fence_behind_rmw,
};

/// Threads.
pub(crate) mod thread {
    use std::time::Duration;

    #[cfg(not(whimbrel_loom))]
    pub(crate) use std::thread::{Builder, JoinHandle, Thread, current, yield_now};

    #[cfg(whimbrel_loom)]
    pub(crate) use loom::thread::{Builder, JoinHandle, Thread, current, yield_now};

    /// Rests until this thread is unparked, or for so long. Models have no time: only until unparked.
    pub(crate) fn park_for(most: Duration) {
        #[cfg(not(whimbrel_loom))]
        std::thread::park_timeout(most);
        #[cfg(whimbrel_loom)]
        {
            let _ = most;
            loom::thread::park();
        }
    }

    /// Rests for so long. For threads that are not ours, whose unparking is not for us. Models let another
    /// thread run.
    pub(crate) fn sleep(time: Duration) {
        if cfg!(whimbrel_loom) {
            yield_now();
        } else {
            std::thread::sleep(time);
        }
    }

    /// Rests for so long, or until this thread is unparked. Models let another thread run.
    pub(crate) fn nap(time: Duration) {
        if cfg!(whimbrel_loom) {
            yield_now();
        } else {
            park_for(time);
        }
    }
}
