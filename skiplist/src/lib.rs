//! Lock-free ordered list of byte keys with an access barrier and a linear-time segment builder.
//!
//! A [`List`] maps byte keys (`memcmp` order) to one atomic 64-bit *cell* per key. The list never
//! interprets a cell, but for one value: [`SEALED`] means that the record is dead for ever, so it
//! may be taken out with [`List::unlink_sealed`], and that whoever wants the key makes a new
//! record.
//!
//! Every access happens under a [`Guard`] of the list's [`Barrier`]. Memory that was unlinked is
//! handed to the barrier, which reclaims it once no access can still see it.
//!
//! ```
//! use std::ops::{Bound, ControlFlow};
//! use whimbrel_skiplist::{Barrier, FindOrInsert, List, SEALED, sync::Arc, sync::atomic::Ordering};
//!
//! let list = List::new(Arc::new(Barrier::new()));
//! let guard = list.barrier().pin();
//! for (key, number) in [("knot", 7), ("avocet", 8), ("whimbrel", 9)] {
//!     let made = list.find_or_insert(key.as_bytes(), 0, |_| number, &guard)?;
//!     assert!(matches!(made, FindOrInsert::Inserted(_)));
//! }
//!
//! let mut seen = Vec::new();
//! list.walk(Bound::Excluded(b"avocet"), &guard, |record| {
//!     seen.push(String::from_utf8_lossy(record.key()).into_owned());
//!     ControlFlow::Continue(())
//! });
//! assert_eq!(seen, ["knot", "whimbrel"]);
//!
//! let knot = list.find(b"knot", &guard).expect("it was inserted");
//! knot.cell().store(SEALED, Ordering::Release);
//! list.unlink_sealed(knot, &guard);
//! assert!(list.find(b"knot", &guard).is_none());
//! # Ok::<(), whimbrel_skiplist::KeyTooLong>(())
//! ```

mod bag;
mod barrier;
mod error;
#[cfg(all(
    target_os = "linux",
    not(any(whimbrel_loom, whimbrel_shuttle, whimbrel_tsan, whimbrel_system_memory))
))]
mod huge;
mod list;
pub mod memory;
#[cfg(any(whimbrel_loom, whimbrel_shuttle))]
pub mod model;
#[cfg_attr(
    not(any(whimbrel_loom, whimbrel_shuttle)),
    expect(unreachable_pub, reason = "only modelled builds show these types, in `model`")
)]
mod mutant;
pub mod sync;

pub use barrier::{Barrier, BarrierStats, Guard, Ticket};
pub use error::{BulkError, KeyTooLong};
pub use list::{
    Compacted, EMPTY, FindOrInsert, Found, List, MAX_KEY_LEN, Record, Run, SEALED, Seen, Segment,
    SegmentBuilder, Shape,
};
