//! The shim: atomics, locks and threads from `std`, or from `loom` in modelled builds.

pub(crate) use whimbrel_skiplist::sync::{
    Arc, Counter, Mutex, MutexGuard, atomic, fence_behind_rmw, thread_number,
};
