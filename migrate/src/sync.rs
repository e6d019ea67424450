//! The shim: the gate's atomic from `std`, or from `loom` in modelled builds.

#[cfg(not(whimbrel_loom))]
pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(whimbrel_loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
