//! Tests of the block list under chosen schedules, in builds with `--cfg whimbrel_shuttle`.
//!
//! Shuttle runs all threads of a test on one system thread and decides at every atomic access of the
//! shipped types which one goes on. It knows no weak memory: what it finds are mistakes in the steps,
//! with more threads and longer runs than loom can explore. `ci/shuttle.sh` runs it.

#![forbid(unsafe_code)]

#[cfg(whimbrel_shuttle)]
mod explore;
#[cfg(whimbrel_shuttle)]
mod stop;
#[cfg(whimbrel_shuttle)]
mod workload;

#[cfg(whimbrel_shuttle)]
pub use explore::{Scheduling, config, explore, mutant};
#[cfg(whimbrel_shuttle)]
pub use stop::{Mode, Stop, StopScheduler};
#[cfg(whimbrel_shuttle)]
pub use workload::run;
