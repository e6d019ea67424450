//! The shim: lock and condition variable from `std`, or from `loom` in modelled builds.

#[cfg(not(whimbrel_loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(whimbrel_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
