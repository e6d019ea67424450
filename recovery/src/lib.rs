//! Parallel linear-time rebuild of stores from backups.
//!
//! | item | what it does |
//! |---|---|
//! | [`restore`] | makes the stores of a backup: maps the shards, decodes and rebuilds them in parallel, stitches, replays deltas, compares counts and digests |
//! | [`Rebuild`] | one ordered key range from encoded blocks to a segment; migration uses it for its data frames |
//! | [`apply_delta`], [`apply_block`] | puts and removes of a change delta into a store that is there |
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
mod map;
mod rebuild;
mod replay;
mod restore;

pub use error::Error;
pub use rebuild::{Rebuild, Rebuilt};
pub use replay::{Applied, apply_block, apply_delta};
pub use restore::{RestoreOptions, RestoreReport, Restored, restore, restore_backup};
