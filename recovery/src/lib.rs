//! Parallel linear-time rebuild of stores from backups.
//!
//! | item | what it does |
//! |---|---|
//! | [`restore`] | makes the stores of a backup: maps the shards, decodes and rebuilds them in parallel, stitches, replays deltas, compares counts and digests |
//! | [`restore_chain`] | the same for a full backup and the incremental ones that continue it |
//! | [`estimate`] | what a restore will read and take, before it begins |
//! | [`Rebuild`] | one ordered key range from encoded blocks to a segment; migration uses it for its data frames |
//! | [`BackupView`] | answers `get`, `range`, `prefix` and `scan` from the mapped files of a backup, without loading it |
//! | [`apply_delta`], [`apply_block`] | puts and removes of a change delta into a store that is there |
//! | [`ingest()`] | sorted files into a store that is being used: verified first, visible at one moment |
//! | [`Sorter`] | unsorted entries into a store through segments, parallel and in bounded memory, or into a sorted file |
//!
//! # Guarantees
//!
//! - Nothing is served before everything is checked: after any error there is no store.
//! - What comes back is what the backup's manifest states, entry for entry: order, counts and digests
//!   are compared.
//! - Damaged, cut, reordered or foreign files give an error that names file and block; never a panic.
//! - Replaying a delta twice is harmless: it carries state, not history.
//!
//! # Examples
//!
//! ```
//! use whimbrel_backup::{ExportOptions, export};
//! use whimbrel_mvcc::{Clock, Store};
//! use whimbrel_recovery::{RestoreOptions, restore};
//!
//! let store = Store::new(&Clock::new());
//! store.put(b"whimbrel", b"1")?;
//! let dir = tempfile::tempdir()?;
//! let target = dir.path().join("monday");
//! export(&[("birds".to_string(), store.snapshot())], &target, &ExportOptions::default())?;
//!
//! let restored = restore(&target, &Clock::new(), &RestoreOptions::default())?;
//! let (name, birds) = &restored.stores[0];
//! assert_eq!((name.as_str(), birds.get(b"whimbrel")), ("birds", Some(b"1".to_vec())));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(unsafe_code)]

mod error;
mod ingest;
mod map;
mod memory;
mod merge;
mod options;
mod plan;
mod rebuild;
mod replay;
mod restore;
mod sort;
mod sorted_files;
mod view;

pub use error::Error;
pub use ingest::{IngestOptions, IngestReport, JobId, ingest, ingest_into};
pub use options::RestoreOptions;
pub use plan::{Estimate, estimate};
pub use rebuild::{Rebuild, Rebuilt};
pub use replay::{Applied, apply_block, apply_delta};
pub use restore::{RestoreReport, Restored, restore, restore_backup, restore_chain};
pub use sort::{SortOptions, SortReport, Sorter};
pub use sorted_files::SortedFiles;
pub use view::{BackupView, StoreView, ViewCursor, ViewEntries, ViewEntry, ViewOptions, ViewStats};
