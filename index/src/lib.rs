//! Embedded secondary-index engine: typed ordered indexes, consistent snapshots, backup and fast
//! restart.
//!
//! Give it the fields of your documents; ask for the documents by any indexed field, exactly, by
//! prefix, by range, in either direction, on a snapshot that no writer disturbs. Everything is in
//! memory; what has to outlive the process goes into checkpoints and backups. The documents
//! themselves stay where they are: the engine keeps index entries only.
//!
//! ```
//! use whimbrel::{CollectionDef, Document, Engine, IndexDef};
//!
//! let engine = Engine::new();
//! let cities = engine.create_collection(
//!     CollectionDef::new("cities")
//!         .index(IndexDef::new("by_name").asc("name"))
//!         .index(IndexDef::new("by_country").asc("country").desc("population").covering(["name"]))
//!         .index(IndexDef::new("by_alias").multi("aliases")),
//! )?;
//! let city = |name, country, population: i64| {
//!     Document::new().set("name", name).set("country", country).set("population", population)
//! };
//! cities.update("1", &city("Porto", "PT", 249_633).set_many("aliases", ["Oporto", "Invicta"]))?;
//! cities.update("2", &city("Lisbon", "PT", 517_802).set_many("aliases", ["Lisboa"]))?;
//!
//! let snapshot = engine.snapshot(); // one moment of all collections
//! cities.update("2", &city("Lisbon", "PT", 575_739))?; // all its entries change at once
//!
//! let view = snapshot.collection("cities")?;
//! let largest = view.query("by_country")?.eq(["PT"]).limit(1).fetch()?;
//! assert_eq!(largest[0].get("name"), Some(&"Lisbon".into()));
//! assert_eq!(view.query("by_country")?.eq(["PT"]).range(517_802..).count()?, 1);
//! assert_eq!(view.query("by_alias")?.prefix("Opo").fetch()?[0].doc_id(), b"1");
//! # Ok::<(), whimbrel::Error>(())
//! ```
//!
//! # Writing
//!
//! A [`Collection`] holds the [indexes](IndexDef) over one kind of document.
//! [`update`](Collection::update) makes a [`Document`] the document of its id: the entries of the
//! one before are removed and the new ones added in all indexes, in one atomic step. Writers need
//! no locks around them and wait neither for readers nor for snapshots; two updates of one
//! document take effect one after the other. [`Engine::bulk_load`] builds a collection from many
//! documents far faster.
//!
//! A document lacking an indexed field is indexed under [`Value::Null`]; an array field gives an
//! entry per distinct element, and none when there are none. A [unique](IndexDef::unique) index
//! refuses a key that another document has, also when both come at the same moment.
//!
//! # Reading
//!
//! All reading is done on snapshots: [`Engine::snapshot`] takes one of everything in O(1), and
//! [`Collection::view`] is a short way to one collection. A snapshot sees every update that
//! returned before it was taken, each wholly or not at all; its answers never change. Hold it for
//! hours if you need to: it costs the entries only it can still see.
//!
//! A [`Query`] names leading fields by [`eq`](Query::eq) and narrows the next one by
//! [`prefix`](Query::prefix) or [`range`](Query::range); [`or`](Query::or) adds alternatives. Rows
//! come in the index's order, which is the order of [`Value`]s, field by field, then of document
//! ids.
//!
//! # Partitions
//!
//! A collection has one partition unless its definition says otherwise. A document belongs to the
//! partition its id hashes to, and *a partition is one ordered store with everything of its
//! documents*: schema, back-index, entries. It can be moved to another machine or restored there,
//! and [`PartitionView::open`] searches it at once. The price: a query reads all partitions and
//! merges them, and a unique index needs a collection of one.
//!
//! # What outlives the process
//!
//! Between checkpoints nothing does: an update is as durable as the process. Feed the engine from
//! a log, write a [`checkpoint`](Engine::checkpoint) with the log's position now and then, beside
//! the writers, and after a restart [`Engine::open`] gives back the engine of the newest complete
//! one and the position to go on from. A [`backup`](EngineSnapshot::backup) writes a snapshot,
//! also one held since long ago, to a directory of its own; [`Engine::restore`] makes an engine
//! of it. Both are compressed and checksummed, and verified whole before anything is served.
//!
//! # Limits
//!
//! [`MAX_DOCUMENT_ENTRIES`] entries per document, [`MAX_KEY_BYTES`] per key,
//! [`MAX_DOCUMENT_ID_BYTES`] per document id, [`MAX_INDEXES`] indexes of [`MAX_FIELDS`] fields.
//! Definitions are fixed once a collection exists: to change one, load a new collection.

#![forbid(unsafe_code)]

mod backup;
mod bulk;
mod check;
mod checkpoint;
mod collection;
mod def;
mod document;
pub mod encoding;
mod engine;
mod error;
mod layout;
mod merge;
mod partition;
mod query;
mod rows;
mod schema;
mod snapshot;
mod span;
mod unique;
mod value;
mod view;

pub use backup::Restored;
pub use bulk::LoadReport;
pub use check::CheckReport;
pub use checkpoint::{CheckpointReport, MAX_RESUME_TOKEN_BYTES};
pub use collection::Collection;
pub use def::{
    CollectionDef, Direction, FieldDef, IndexDef, MAX_FIELDS, MAX_INDEXES, MAX_NAME_BYTES,
    MAX_PARTITIONS,
};
pub use document::Document;
pub use engine::Engine;
pub use error::Error;
pub use layout::{MAX_DOCUMENT_ENTRIES, MAX_DOCUMENT_ID_BYTES, MAX_KEY_BYTES};
pub use partition::Partition;
pub use query::Query;
pub use rows::{Row, Rows};
pub use snapshot::EngineSnapshot;
pub use value::{Kind, Value};
pub use view::{CollectionView, DocumentKey, PartitionView};
pub use whimbrel_backup::{
    Cancel, ExportOptions, ExportReport, Progress, Tracker, TrackerOptions, Work, repository,
};
/// The versioned store underneath: for what keeps a [`Partition`] in a store of its own.
pub use whimbrel_mvcc as mvcc;
pub use whimbrel_recovery::{RestoreOptions, RestoreReport};

/// The README's example, run as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
