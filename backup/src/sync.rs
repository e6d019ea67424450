//! The shim: the lock of what models explore, from `std`, or from `loom` in modelled builds.

#[cfg(not(whimbrel_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(whimbrel_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
