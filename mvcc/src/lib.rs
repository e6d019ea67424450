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
//! - No thread is started unless you ask for it, and there is no async runtime.
//!
//! # First steps
//!
//! Everything goes through `&Store`, from any number of threads; clones are handles to the same store. Keys and
//! values are bytes, in whatever you have them. What is read comes as a copy, or is handed to a closure without
//! one. (`examples/first_steps.rs`)
//!
//! ```
//! use whimbrel_mvcc::{Clock, Store};
//!
//! let store = Store::new(&Clock::new());
//! store.put("whimbrel", "Numenius phaeopus")?;
//! store.put(b"knot", vec![7; 100])?;
//! assert_eq!(store.get("whimbrel"), Some(b"Numenius phaeopus".to_vec()));
//! assert_eq!(store.get_with("knot", <[u8]>::len), Some(100));
//! assert_eq!(store.remove("knot")?, Some(vec![7; 100]));
//! assert!(!store.contains_key("knot"));
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Snapshots and scans
//!
//! A store answers for single keys; whatever looks at several at one moment is done on a snapshot. It is
//! `Clone`, `Send` and `Sync`: take it, hand it to other threads, keep it for hours. (`examples/snapshots.rs`)
//!
//! ```
//! use whimbrel_mvcc::{Clock, Store};
//!
//! let store = Store::new(&Clock::new());
//! store.extend([("avocet", "1"), ("curlew", "2"), ("knot", "3")])?;
//! let before = store.snapshot();
//! store.remove("curlew")?;
//!
//! let keys = |from: &str| -> Vec<String> {
//!     let rest = before.range(from..);
//!     rest.into_iter().map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect()
//! };
//! assert_eq!(keys("b"), ["curlew", "knot"]);
//! assert_eq!((before.len(), store.snapshot().len()), (3, 2));
//! assert_eq!(before.range(..="curlew").rev().next_entry(), Some((&b"curlew"[..], &b"2"[..])));
//! assert_eq!(before.last_key_value(), Some((b"knot".to_vec(), b"3".to_vec())));
//!
//! // Parts of about equal size, for as many threads.
//! let counts = std::thread::scope(|scope| {
//!     let parts = before.split(4).into_iter().map(|part| scope.spawn(|| before.count(part)));
//!     parts.collect::<Vec<_>>().into_iter().map(|part| part.join()).sum::<Result<usize, _>>()
//! });
//! assert_eq!(counts.ok(), Some(3));
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Writes that depend on what is there
//!
//! [`Store::insert_unique`] writes where nothing is; [`Store::compare_and_set`] where it is what you
//! expect; [`Store::update`] computes the new value from the old one and is never too late.
//! (`examples/update.rs`)
//!
//! ```
//! use whimbrel_mvcc::{CasOutcome, Clock, Inserted, Store, Update};
//!
//! let store = Store::new(&Clock::new());
//! assert_eq!(store.insert_unique("lock", "ann")?, Inserted::Inserted);
//! assert_eq!(store.insert_unique("lock", "bob")?, Inserted::Exists);
//! assert_eq!(store.compare_and_set("lock", Some(b"ann"), None)?, CasOutcome::Done);
//!
//! std::thread::scope(|scope| {
//!     for _ in 0..2 {
//!         scope.spawn(|| {
//!             for _ in 0..100 {
//!                 let count = |value: Option<&[u8]>| {
//!                     let before = value.and_then(|value| value.try_into().ok());
//!                     Update::Put((before.map_or(0, u64::from_be_bytes) + 1).to_be_bytes())
//!                 };
//!                 store.update("count", count).expect("short");
//!             }
//!         });
//!     }
//! });
//! assert_eq!(store.get("count"), Some(200_u64.to_be_bytes().to_vec()));
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Batches, and several stores
//!
//! Stores of one clock are as cheap as you like (an empty one takes less than a kibibyte), and a batch over them
//! is seen whole or not at all. It may depend on the key that comes first in it. (`examples/batches.rs`,
//! `examples/many_stores.rs`)
//!
//! ```
//! use whimbrel_mvcc::{Batch, Clock, Error, Store};
//!
//! let clock = Clock::new();
//! let (birds, by_weight) = (Store::new(&clock), Store::new(&clock));
//! let (old, token) = birds.get_versioned("knot");
//! assert_eq!(old, None);
//!
//! let mut batch = Batch::new();
//! batch.expect(&birds, "knot", token.clone());
//! batch.put(&birds, "knot", "130 g").put(&by_weight, "0130 knot", "");
//! batch.commit()?;
//!
//! let moment = clock.hold();
//! assert_eq!(birds.snapshot_at(&moment).len(), by_weight.snapshot_at(&moment).len());
//!
//! let mut late = Batch::new();
//! late.expect(&birds, "knot", token).put(&birds, "knot", "131 g");
//! assert!(matches!(late.commit(), Err(Error::PreconditionFailed { .. })));
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Cursors that rest
//!
//! A [`Cursor`] holds nothing back between two steps but its snapshot. Where that is too much, or where the
//! scan goes on in another process, a [`CursorToken`] says where it stood. (`examples/cursors.rs`)
//!
//! ```
//! use whimbrel_mvcc::{Clock, CursorToken, Store};
//!
//! let store = Store::new(&Clock::new());
//! store.extend((0..100_u8).map(|n| ([n], [n])))?;
//! let mut cursor = store.snapshot().range(..);
//! let page: Vec<u8> = (0..10).filter_map(|_| cursor.next_entry().map(|(key, _)| key[0])).collect();
//! let token: Vec<u8> = cursor.token().encode();
//! drop(cursor);
//!
//! let mut next = store.snapshot().resume(&CursorToken::decode(&token)?);
//! assert_eq!(next.next_entry().map(|(key, _)| key[0]), Some(page[9] + 1));
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Values without copies
//!
//! [`Store::get_with`] and [`Snapshot::scan`] lend a value for one call. To have several at once, enter the
//! barrier yourself, for a moment: what is read under a guard lives as long as that. (`examples/guards.rs`)
//!
//! ```
//! use std::ops::ControlFlow;
//! use whimbrel_mvcc::{Clock, Store};
//!
//! let clock = Clock::new();
//! let store = Store::new(&clock);
//! store.extend([("a", "same"), ("b", "same")])?;
//! let guard = clock.pin();
//! assert_eq!(store.get_ref("a", &guard), store.get_ref("b", &guard));
//! drop(guard);
//!
//! let mut bytes = 0;
//! store.snapshot().scan(.., |_, value| {
//!     bytes += value.len();
//!     ControlFlow::Continue(())
//! });
//! assert_eq!(bytes, 8);
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Following what is written
//!
//! A [`Capture`] keeps the keys that are written, in bounded memory: a copy of the store, here or elsewhere,
//! is brought up to date by what the keys hold at the next look. (`examples/capture.rs`)
//!
//! ```
//! use whimbrel_mvcc::{CaptureOptions, Clock, Store};
//!
//! let store = Store::new(&Clock::new());
//! let capture = store.capture(CaptureOptions::new().max_bytes(1 << 20))?;
//! store.put("knot", "1")?;
//! store.remove("knot")?;
//! store.put("avocet", "2")?;
//! assert_eq!(capture.drain().keys, [&b"avocet"[..], b"knot"]);
//! # Ok::<(), whimbrel_mvcc::Error>(())
//! ```
//!
//! # Loading, backup and restore
//!
//! Sorted entries become a store in linear time. `whimbrel-backup` writes snapshots to checksummed files
//! beside the writers, and `whimbrel-recovery` makes stores of them again, at the same speed.
//! (`recovery/examples/backup.rs`)
//!
//! ```
//! use whimbrel_backup::{ExportOptions, export};
//! use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};
//! use whimbrel_recovery::{RestoreOptions, restore};
//!
//! let mut sorted = StoreSegmentBuilder::new();
//! sorted.extend((0..1000_u32).map(|n| (n.to_be_bytes(), "a value")))?;
//! let store = Store::from_segments(&Clock::new(), StoreOptions::new(), vec![sorted.finish()])?;
//!
//! let dir = tempfile::tempdir()?;
//! let monday = dir.path().join("monday");
//! export(&[("numbers".to_owned(), store.snapshot())], &monday, &ExportOptions::default())?;
//! drop(store);
//!
//! let restored = restore(&monday, &Clock::new(), &RestoreOptions::default())?;
//! let (name, store) = &restored.stores[0];
//! assert_eq!((name.as_str(), store.len_estimate()), ("numbers", 1000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # If you come from `BTreeMap`
//!
//! | `BTreeMap` | here |
//! |---|---|
//! | `get`, `contains_key` | the same, of a store or of a snapshot; also [`get_many`](Store::get_many) |
//! | `insert` | [`Store::put`], which does not say what was there; [`Store::insert_unique`] where nothing must be |
//! | `entry`, `get_mut` | [`Store::update`] |
//! | `remove` | the same |
//! | `extend`, `FromIterator` | [`Store::extend`]; [`StoreSegmentBuilder::extend`] for a new store from sorted entries |
//! | `iter`, `range`, `first_key_value`, `last_key_value`, `len`, `is_empty` | the same, of a snapshot; [`Store::len_estimate`] is O(1) |
//! | `range(..).rev()` | the same; also [`prefix`](Snapshot::prefix) and [`Cursor::seek`] |
//! | `pop_first` | none: what is first at one moment may not be when it is removed. [`Snapshot::first_key_value`], then [`Store::compare_and_set`] |
//! | `split_off`, `retain`, `clear` | none: stores are cheap, make another |
//! | `clone` | [`Store::snapshot`]; a clone of a store is a handle to the same one |
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
//! in a warning. (`examples/garbage.rs`)
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
//! holds, rounded up as the allocator does; [`Store::compact`] gives back what removals left. A store without
//! entries takes less than a kibibyte, so that there may be thousands.
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
mod options;
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
mod token;
mod unlinks;
mod update;
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
pub use digest::{Digest, Digester};
pub use error::Error;
pub use ingest::{DecidedIngest, Ingest, IngestMode, IngestOptions, IngestPart, IngestReport};
pub use options::StoreOptions;
pub use queue::Garbage;
pub use range::KeyRange;
pub use snapshot::Snapshot;
pub use stats::{ClockStats, StoreStats};
pub use store::{CasOutcome, Inserted, Store, VersionToken};
pub use token::CursorToken;
pub use unlinks::{Observation, ObservedWalk, UnlinkAnswer, UnlinkObserver};
pub use update::{Update, Updated};
pub use version::MAX_VALUE_LEN;
pub use watch::{ClockOptions, OpenSnapshot};

/// The barrier's types that [`Clock::pin`] and [`Clock::barrier`] give out.
pub use whimbrel_skiplist::{Barrier, Guard, Ticket};
