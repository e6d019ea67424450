//! Embedded secondary-index engine: typed ordered indexes, consistent snapshots, backup and fast restart.

#![forbid(unsafe_code)]
#![expect(dead_code, reason = "the engine that uses all of it lands next")]

mod def;
mod document;
pub mod encoding;
mod error;
mod layout;
mod schema;
mod span;
mod value;

pub use def::{
    CollectionDef, Direction, FieldDef, IndexDef, MAX_FIELDS, MAX_INDEXES, MAX_NAME_BYTES,
    MAX_PARTITIONS,
};
pub use document::Document;
pub use error::Error;
pub use layout::{MAX_DOCUMENT_ENTRIES, MAX_DOCUMENT_ID_BYTES, MAX_KEY_BYTES};
pub use value::{Kind, Value};
