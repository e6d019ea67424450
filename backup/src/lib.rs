//! Ordered, compressed, checksummed backups of snapshots, and the block format they share with
//! migration.
//!
//! # What is here
//!
//! | module | what it does |
//! |---|---|
//! | [`block`] | encodes and decodes one block: the unit of a file, and of a migration's data frame |
//! | [`shard`] | a file of blocks in key order with an index and a footer |
//! | [`delta`] | the same file with removes in it: what changed between two snapshots |
//! | [`gc_delta`] | the same file again: what was collected before the shards came to it |
//! | [`sorted`] | the same file again, made outside of a store to be ingested into one |
//! | [`manifest`] | `MANIFEST.json`, written last: without it there is no backup |
//! | [`publish`] | the order of writes and syncs that makes a backup appear whole or not at all |
//! | [`storage`] | where files are: a directory, an object store, a double that fails or crashes in tests |
//! | `object` | an object store that speaks S3, with the feature `s3` |
//! | [`location`] | what a user names such a place by: a path, or `s3://bucket/prefix` |
//! | [`export()`] | writes the visible entries of snapshots, in parallel, beside running writers |
//! | [`export_non_intrusive()`] | the same, and gives the snapshots up at the beginning |
//! | [`export_incremental`], [`Tracker`] | writes what changed since a backup; follows the changes so that it is fast |
//! | [`PausableExport`] | an export that is stopped and resumed |
//! | [`repository`] | a directory of backups in chains: backing up, finding, pruning |
//! | [`verify()`], [`inspect()`] | reads every byte of a backup; reads only what describes it |
//! | [`progress`] | threads, progress and cancellation of all long work |
//!
//! The bytes are specified in `docs/format.md` and pinned by golden files.
//!
//! # Guarantees
//!
//! - A backup holds exactly the entries that its snapshot sees, however many writers run beside it.
//! - A directory holds a whole backup or it holds none: every file is synced before the manifest
//!   gets its name.
//! - Every byte of every file is covered by a checksum that the manifest leads to. A flipped bit, a
//!   cut, an exchanged or a foreign file is refused with an [`Error`] that names the file and the
//!   block.
//! - Reading never panics, and takes no more memory than the bytes at hand justify.
//!
//! # Examples
//!
//! ```
//! use whimbrel_backup::block::{BlockBuilder, BlockDecoder, BlockKind, BlockOptions};
//! use whimbrel_backup::Place;
//!
//! let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
//! builder.add(b"curlew", b"1")?;
//! builder.add(b"whimbrel", b"2")?;
//! let mut bytes = Vec::new();
//! builder.finish_into(&mut bytes)?;
//!
//! let mut decoder = BlockDecoder::new();
//! let block = decoder.decode(&bytes, Place::block("frame", 0))?;
//! let mut entries = block.entries();
//! while let Some((key, value)) = entries.next_entry()? {
//!     println!("{key:?} -> {value:?}");
//! }
//! # Ok::<(), whimbrel_backup::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod block;
mod bytes;
pub mod delta;
mod ends;
mod error;
mod export;
mod file;
#[cfg(whimbrel_loom)]
pub mod gather;
#[cfg(not(whimbrel_loom))]
mod gather;
pub mod gc_delta;
mod hex;
mod incremental;
mod inspect;
mod load;
pub mod location;
pub mod manifest;
#[cfg(not(whimbrel_loom))]
mod mutant;
#[cfg(whimbrel_loom)]
pub mod mutant;
mod non_intrusive;
#[cfg(feature = "s3")]
pub mod object;
mod open;
mod pace;
pub mod progress;
pub mod publish;
mod reader;
pub mod repository;
mod resume;
mod sequence;
pub mod shard;
pub mod sorted;
pub mod storage;
mod sync;
mod syncer;
mod verify;
mod writer;

pub use error::{Error, KeyExcerpt, Part, Place};
pub use export::{ExportOptions, ExportReport, ShardReport, export, export_to};
pub use incremental::{IncrementalReport, Tracker, TrackerOptions, Ways, export_incremental};
pub use inspect::{FileInspection, Inspection, inspect, inspect_backup};
pub use location::Location;
pub use non_intrusive::{export_non_intrusive, export_non_intrusive_to};
pub use open::Backup;
pub use progress::{Cancel, Meter, Progress, Speed, Work};
pub use resume::PausableExport;
pub use verify::{VerifyReport, verify, verify_backup, verify_chain, verify_with};
pub use whimbrel_mvcc::Digest;
