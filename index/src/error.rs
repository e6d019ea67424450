//! What can go wrong.

use std::path::PathBuf;

use crate::value::{Kind, Value};

/// Why an operation of the engine was refused or failed. Nothing is half applied: after an error
/// from an update or a remove the document is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A definition breaks a rule; the reason says which and what would be right.
    #[error("{place}: {reason}")]
    BadDefinition {
        /// The collection, and the index where it is one's fault.
        place: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A collection of this name exists already; open it with `collection`, or choose another name.
    #[error("collection {name:?} exists already")]
    CollectionExists {
        /// The name asked for.
        name: String,
    },
    /// No collection of this name (in this snapshot); create it first.
    #[error("there is no collection {name:?}; there are: {}", .existing.join(", "))]
    NoSuchCollection {
        /// The name asked for.
        name: String,
        /// The names there are.
        existing: Vec<String>,
    },
    /// No index of this name in the collection.
    #[error("collection {collection:?} has no index {name:?}; it has: {}", .existing.join(", "))]
    NoSuchIndex {
        /// The collection.
        collection: String,
        /// The name asked for.
        name: String,
        /// The names there are.
        existing: Vec<String>,
    },
    /// A document id is empty or too long.
    #[error("a document id of {got} bytes; 1 to {limit} are possible")]
    BadDocumentId {
        /// Bytes of the id.
        got: usize,
        /// The longest possible.
        limit: usize,
    },
    /// A field has another kind than its index was defined with; nothing was written.
    #[error("index {index:?}, field {field:?} takes {expected} values, got {got}: {value}")]
    WrongKind {
        /// The index.
        index: String,
        /// The field.
        field: String,
        /// The kind in the definition.
        expected: Kind,
        /// The kind that came.
        got: Kind,
        /// The value that came.
        value: Value,
    },
    /// A document has several values in a field that the index takes as a single one: define the
    /// field with `multi`, or give one value.
    #[error("index {index:?}, field {field:?} takes one value, got an array of {got}")]
    ManyValues {
        /// The index.
        index: String,
        /// The field.
        field: String,
        /// How many came.
        got: usize,
    },
    /// The key of an entry is too long to be stored; shorten the values or index a part of them.
    #[error("index {index:?}: an entry's key takes {got} bytes, {limit} are possible")]
    KeyTooLong {
        /// The index.
        index: String,
        /// Bytes of the encoded key.
        got: usize,
        /// The longest possible.
        limit: usize,
    },
    /// A document has too many entries to be replaced atomically.
    #[error("the document has {got} entries in the collection's indexes, {limit} are possible")]
    TooManyEntries {
        /// Entries of the document.
        got: usize,
        /// Most possible.
        limit: usize,
    },
    /// Another document has this key in a unique index. Retrying helps once that one has given it
    /// up.
    #[error(
        "unique index {index:?}: the key ({}) belongs to document {}",
        crate::error::list(.key), crate::error::id(.held_by)
    )]
    DuplicateKey {
        /// The index.
        index: String,
        /// The key's values.
        key: Vec<Value>,
        /// The document that has it.
        held_by: Vec<u8>,
    },
    /// A bulk load was given two documents with one id.
    #[error("document {} comes twice", crate::error::id(.doc_id))]
    DuplicateDocument {
        /// The id.
        doc_id: Vec<u8>,
    },
    /// A query does not fit its index; the reason says how.
    #[error("query on index {index:?}: {reason}")]
    BadQuery {
        /// The index.
        index: String,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// The partitions given do not make up one collection.
    #[error("these partitions do not form one collection: {reason}")]
    BadPartitions {
        /// What differs, or which is missing.
        reason: String,
    },
    /// Stored bytes are not what this crate writes: damage, or another program's data.
    #[error("{place}: byte {at}: {cause}")]
    Corrupt {
        /// Which entry, of which partition.
        place: String,
        /// Offset in its bytes.
        at: usize,
        /// What is wrong.
        cause: &'static str,
    },
    /// There is no partition under this key prefix.
    #[error("no partition of a collection under the key prefix {}", crate::error::id(.prefix))]
    NoPartition {
        /// The prefix asked for.
        prefix: Vec<u8>,
    },
    /// The stored schema cannot be read, or is of a newer format.
    #[error("the schema of {place}: {reason}")]
    BadSchema {
        /// Which partition or directory.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A backup or checkpoint could not be written; there is none in the directory.
    #[error("backup into {}: {source}", dir.display())]
    Backup {
        /// The directory.
        dir: PathBuf,
        /// What went wrong, and what to do about it.
        source: Box<whimbrel_backup::Error>,
    },
    /// A backup or checkpoint could not be restored; nothing of it is served.
    #[error("restoring {}: {source}", dir.display())]
    Restore {
        /// The directory.
        dir: PathBuf,
        /// What is wrong, with file and block where it is damage.
        source: Box<whimbrel_recovery::Error>,
    },
    /// A resume token is longer than a checkpoint keeps: keep it elsewhere, and its name here.
    #[error("a resume token of {got} bytes; {limit} are possible")]
    ResumeTokenTooLong {
        /// Bytes of the token.
        got: usize,
        /// The longest possible.
        limit: usize,
    },
    /// No complete checkpoint in this directory: none was finished, or it is not the right one.
    #[error("{dir}: no complete checkpoint here")]
    NoCheckpoint {
        /// The directory.
        dir: PathBuf,
    },
    /// Another checkpoint into the same directory is running, of this process or another.
    #[error("{dir}: another checkpoint into this directory is running")]
    CheckpointBusy {
        /// The directory.
        dir: PathBuf,
    },
    /// The store refused a write.
    #[error(transparent)]
    Store(#[from] whimbrel_mvcc::Error),
    /// The operating system refused an operation on a file.
    #[error("{path}: {action}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Its reason.
        source: std::io::Error,
    },
}

impl Error {
    /// Whether stored data is damaged or not this program's.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::BadSchema { .. } => true,
            Self::Backup { source, .. } => source.is_corruption(),
            Self::Restore { source, .. } => source.is_corruption(),
            _ => false,
        }
    }

    /// Whether the same call may succeed later without any change to it.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::DuplicateKey { .. } | Self::CheckpointBusy { .. } => true,
            Self::Store(source) => source.is_retryable(),
            Self::Backup { source, .. } => source.is_retryable(),
            Self::Restore { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}

fn list(values: &[Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A document id or prefix for people: as text where it is printable.
pub(crate) fn id(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(s) if !s.chars().any(char::is_control) => format!("{s:?}"),
        _ => Value::Bytes(bytes.to_vec()).to_string(),
    }
}
