//! Multi-version ordered store: snapshots that wait for nobody, batches, cursors, garbage collection.
//!
//! A [`Store`] is an ordered map from byte keys to byte values that any number of threads read and write
//! at once. A [`Snapshot`] is an immutable view of it, taken in O(1) without stopping anybody. Stores that
//! share a [`Clock`] share one order of time: a [`Hold`] of the clock is one moment over all of them, and a
//! [`Batch`] writes to several of them at one moment.
//!
//! # What you may rely on
//!
//! - Single operations are linearizable and lock-free; reads of snapshots wait for nobody.
//! - A snapshot sees every write that returned before it was taken, and batches all or not at all.
//! - What a snapshot answers never changes. Holding one costs the memory of what it alone sees.
//! - Superseded versions are collected as soon as no open snapshot sees them, however old other
//!   snapshots are.
//!
//! # How it works
//!
//! Each key has a chain of versions, newest first. A write installs its version *pending*, and takes its
//! snapshot number from the clock afterwards; a snapshot reader that meets a pending version raises the
//! floor under its number and passes it. `stamp.rs` has the rules of the word that decides, `batch.rs` why a
//! batch goes in exactly once, `registry.rs` and `collect.rs` how garbage is known. The protocol follows
//! versioned compare-and-swap (Wei et al., PPoPP 2021), Jiffy (PPoPP 2022) for batches, and Ben-David et al.
//! (DISC 2021) for collection; new is that readers raise a floor where those help.
//!
//! # Examples
//!
//! ```
//! use whimbrel_mvcc::{Batch, Clock, Store};
//!
//! let clock = Clock::new();
//! let store = Store::new(&clock);
//! store.put(b"knot", b"7")?;
//!
//! let before = store.snapshot();
//! let mut batch = Batch::new();
//! batch.put(&store, "knot", "8").put(&store, "avocet", "1");
//! batch.commit()?;
//!
//! assert_eq!(before.range(..).entries().count(), 1);
//! assert_eq!(store.snapshot().range(..).entries().count(), 2);
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```

mod access;
mod batch;
mod bulk;
mod capture;
mod clock;
mod collect;
mod compact;
mod cursor;
mod dead;
mod digest;
mod error;
mod inline;
#[cfg(whimbrel_loom)]
pub mod mutant;
#[cfg(not(whimbrel_loom))]
mod mutant;
mod range;
mod registry;
mod snapshot;
mod stamp;
mod store;
mod sync;
mod version;
mod write;

pub use batch::{Batch, Committed, MAX_BATCH_OPS};
pub use bulk::{StoreSegment, StoreSegmentBuilder};
pub use capture::{Capture, CaptureOptions, Captured};
pub use clock::{Clock, Hold};
pub use collect::CollectReport;
pub use compact::CompactReport;
pub use cursor::{Cursor, Entries};
pub use digest::Digest;
pub use error::Error;
pub use range::KeyRange;
pub use snapshot::Snapshot;
pub use store::{CasOutcome, Inserted, Store, StoreOptions, StoreStats, VersionToken};
pub use version::MAX_VALUE_LEN;

/// The barrier's types that [`Clock::pin`] and [`Clock::barrier`] give out.
pub use whimbrel_skiplist::{Barrier, Guard, Ticket};
