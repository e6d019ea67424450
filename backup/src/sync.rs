//! The shim: the lock of what models explore, and how it waits, from `std`, or from `loom` in modelled builds.

#[cfg(not(whimbrel_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(whimbrel_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};

/// Lets others run for a moment.
pub(crate) fn pause() {
    #[cfg(not(whimbrel_loom))]
    std::thread::sleep(std::time::Duration::from_micros(50));
    #[cfg(whimbrel_loom)]
    loom::thread::yield_now();
}
