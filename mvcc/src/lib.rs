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
//! # Garbage
//!
//! A version that was written over, and the version that says "removed", are garbage as soon as no open
//! snapshot sees them. (A key that was written once and is removed while no snapshot sees the value leaves no
//! garbage: it ends with the removal.) A snapshot keeps what it sees and nothing else: versions that came and went between two open
//! snapshots are collected although both are open. Closing a snapshot is one store, whatever it held.
//!
//! *Who collects.* By default writers do: each looks at a few more entries of the dead list than it made. With
//! [`Collectors`] background threads help them, or do all of it for stores with
//! [background collection](StoreOptions::with_background_collection); there is no such thread unless somebody starts it.
//! With [manual collection](StoreOptions::with_manual_collection) only [`Store::collect`] does.
//!
//! *How much there may be.* [`StoreOptions::with_garbage_bound`] makes every writer help, or wait a little, while
//! more than that could be collected.
//!
//! *What keeps it.* [`Store::stats`] and [`Clock::stats`] say how much could be collected and how much open
//! snapshots hold, name these with their ages, and show what waits in the barrier for readers that are still inside. No
//! collector makes less of what snapshots hold: close the one that is named. Give long-lived snapshots names
//! ([`Store::snapshot_named`]); one that is open for longer than [a limit](ClockOptions::with_age_limit) is named
//! in a warning.
//!
//! *Without keeping it.* A snapshot that is to be copied while everything is written over can be given up first:
//! [`Snapshot::observe_unlinks`] has an observer told of each of its versions before that is collected.
//!
//! ```
//! use whimbrel_mvcc::{Clock, Collectors, Store, StoreOptions};
//!
//! let clock = Clock::new();
//! let options = StoreOptions::new().with_background_collection().with_garbage_bound(64 << 20);
//! let store = Store::with_options(&clock, options);
//! let collectors = Collectors::start(&clock, 1)?;
//! store.put(b"knot", b"7")?;
//! let report = store.snapshot_named("report");
//! store.put(b"knot", b"8")?;
//! let stats = clock.stats();
//! assert_eq!(stats.snapshots[0].name, "report");
//! assert_eq!(stats.total.dead, 1);
//! drop(report);
//! # drop(collectors);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Memory
//!
//! Records, versions and blocks lie in memory of mimalloc, which is compiled with this crate whatever the
//! program's allocator is. An entry of a 16-byte key and an 8-byte value takes 56 bytes after insertion
//! at random, where mimalloc is built with size classes of 8 bytes: put
//! `CFLAGS = "-DMI_MAX_ALIGN_SIZE=8"` into the section `[env]` of your `.cargo/config.toml`. Without that the
//! classes are of 16 bytes and it takes 64; nothing else changes. [`StoreStats::bytes`] is what a store
//! holds, rounded up as the allocator does; [`Store::compact`] gives back what removals left.
//!
//! # How it works
//!
//! Each key has a chain of versions, newest first. A write installs its version *pending*, and takes its
//! snapshot number from the clock afterwards; a snapshot reader that meets a pending version raises the
//! floor under its number and passes it. `stamp.rs` has the rules of the word that decides, `removal.rs` how most
//! keys are removed without a version, `batch.rs` why a
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
mod bell;
mod bulk;
mod capture;
mod clock;
mod collect;
mod collectors;
mod compact;
mod cursor;
mod dead;
mod descriptor;
mod digest;
mod error;
mod ingest;
mod inline;
#[cfg(whimbrel_loom)]
pub mod mutant;
#[cfg(not(whimbrel_loom))]
mod mutant;
mod number;
mod pressure;
mod queue;
mod range;
mod registry;
mod removal;
mod snapshot;
mod stamp;
mod stats;
mod store;
mod stores;
mod sweep;
mod sync;
mod unlinks;
mod version;
mod watch;
mod write;

pub use batch::{Batch, Committed, MAX_BATCH_OPS};
pub use bulk::{StoreSegment, StoreSegmentBuilder};
pub use capture::{Capture, CaptureOptions, Captured};
pub use clock::{Clock, Hold};
pub use collect::CollectReport;
pub use collectors::Collectors;
pub use compact::CompactReport;
pub use cursor::{Cursor, Entries};
pub use digest::Digest;
pub use error::Error;
pub use ingest::{Ingest, IngestMode, IngestOptions, IngestPart, IngestReport};
pub use queue::Garbage;
pub use range::KeyRange;
pub use snapshot::Snapshot;
pub use stats::{ClockStats, StoreStats};
pub use store::{CasOutcome, Inserted, Store, StoreOptions, VersionToken};
pub use unlinks::{Observation, ObservedWalk, UnlinkAnswer, UnlinkObserver};
pub use version::MAX_VALUE_LEN;
pub use watch::{ClockOptions, OpenSnapshot};

/// The barrier's types that [`Clock::pin`] and [`Clock::barrier`] give out.
pub use whimbrel_skiplist::{Barrier, Guard, Ticket};
