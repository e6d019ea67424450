//! Models of every concurrent protocol, explored over all interleavings.
//!
//! The models are integration tests that exist only in builds with `--cfg whimbrel_loom`, and run
//! on the shipped types. `ci/loom.sh` runs each in a process of its own.

#[cfg(whimbrel_loom)]
mod explore;

#[cfg(whimbrel_loom)]
pub use explore::{Bound, explore};
