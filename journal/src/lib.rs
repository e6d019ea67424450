//! Append-only journal with group commit: what was acknowledged outlives its process.
//!
//! A store in memory is as durable as its process. With a [`Journal`] beside it, every change is
//! appended before it is acknowledged, and after a crash the changes behind the newest checkpoint are
//! replayed. [`SyncPolicy`] says what a crash of the machine can take.
//!
//! # What is here
//!
//! | module | what it does |
//! |---|---|
//! | [`commit`] | the hand-shake by which many threads share one write and one sync |
//! | [`changes`] | a form for records: changes of numbered stores |
//! | [`storage`] | where segments go: a directory, or a double that fails or crashes in tests |
//!
//! The bytes, and what a crash at each step leaves, are specified in `docs/format.md`.
//!
//! # How to use it
//!
//! 1. Open it behind the mark of the checkpoint that was loaded; apply each record that comes.
//! 2. For every change: apply it, [`append`](Journal::append) it, in one order for each key (a lock for
//!    the keys' class around both does it); acknowledge it when [`wait`](Journal::wait) or
//!    [`acknowledged`](Journal::acknowledged) says so.
//! 3. Now and then: [`turn_over`](Journal::turn_over), take the [`mark`](Journal::mark), then a snapshot,
//!    [`sync`](Journal::sync), write the checkpoint with the mark in it, and when it is durable
//!    [`truncate`](Journal::truncate).
//!
//! # Guarantees
//!
//! - [`Journal`] says what is replayed. In short: everything acknowledged, in order, once, or an error
//!   that names file, byte and cause.
//! - A torn end is cut off only where no later group proves that it was durable. The one loss that
//!   cannot be told from a crash is damage to the very last group, or a file that was cut short there.
//! - Reading never panics, and takes no more memory than one group, whose length a checksum and the
//!   file's length vouch for.

#![forbid(unsafe_code)]

pub mod changes;
pub mod commit;
mod error;
mod format;
mod journal;
#[cfg(not(whimbrel_loom))]
mod mutant;
#[cfg(whimbrel_loom)]
pub mod mutant;
mod open;
mod reader;
mod segment;
pub mod storage;
mod sync;

pub use error::{Damage, Error, Failure, Found, Refused};
pub use format::{Identity, MAX_RECORD_LEN};
pub(crate) use journal::LOCK;
pub use journal::{Acknowledgement, Journal, JournalOptions, Mark, ReplayError, SyncPolicy};
pub use open::OpenReport;
pub use segment::Figures;
