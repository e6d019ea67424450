//! Errors of the crate.

/// Why an operation was refused. Nothing of a refused operation was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key is longer than the list can hold. Remedy: shorten it, or store a digest of it.
    #[error("key of {len} bytes is longer than the limit of {max} bytes")]
    KeyTooLong {
        /// Length of the key in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A value is longer than a version can hold. Remedy: split it over several keys.
    #[error("value of {len} bytes is longer than the limit of {max} bytes")]
    ValueTooLong {
        /// Length of the value in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A batch has too many operations. Remedy: several batches, or a bulk segment.
    #[error("batch of {ops} operations is larger than the limit of {limit}")]
    BatchTooLarge {
        /// Operations in the batch, one per key.
        ops: usize,
        /// The limit.
        limit: usize,
    },
    /// A batch names stores of different clocks. Remedy: make all its stores with one clock.
    #[error("batch over stores of different clocks: a batch has one number, taken from one clock")]
    ForeignClock,
    /// The precondition of a batch does not hold; the batch never began. Remedy: read the key
    /// again and build the batch from what it says now.
    #[error("precondition failed on key \"{}\": its newest version is another", show(.key))]
    PreconditionFailed {
        /// The key with the precondition.
        key: Vec<u8>,
    },
    /// The precondition of a batch is not on its first key in order, or there are several.
    #[error(
        "precondition on key \"{}\", but the first key of the batch in order is \"{}\"",
        show(.key),
        show(.first)
    )]
    PreconditionNotFirst {
        /// The key with the precondition.
        key: Vec<u8>,
        /// The first key in order (of the store that was made first).
        first: Vec<u8>,
    },
    /// The store already has a capture. Remedy: stop the other one first.
    #[error("store {store} already has a running capture")]
    CaptureActive {
        /// Number of the store.
        store: u64,
    },
    /// The unlinking of the store's versions is observed already. Remedy: finish that observation first.
    #[error("store {store} already has an observer of unlinking")]
    ObservationActive {
        /// Number of the store.
        store: u64,
    },
    /// The observer of unlinking gave up or panicked, so that it was not told of all that it had to be
    /// told. Remedy: observe a new snapshot, with an observer that has the room.
    #[error(
        "the observer of store {store} at snapshot number {number} was lost: it gave up or panicked"
    )]
    ObserverLost {
        /// Number of the store.
        store: u64,
        /// The observed number.
        number: u64,
    },
    /// Another ingest into the store is running, or the store was named twice. Remedy: wait until it has ended.
    #[error("store {store} already has a running ingest")]
    IngestActive {
        /// Number of the store.
        store: u64,
    },
    /// A part was asked for of a store that the ingest was not begun with. Remedy: name it there.
    #[error("the ingest was not begun with store {store}")]
    NotOfIngest {
        /// Number of the store.
        store: u64,
    },
    /// The range of an ingest's condition was written since its snapshot. Nothing was changed. Remedy: look
    /// at what is there now, and begin again from a new snapshot.
    #[error("key \"{}\" of store {store} was written since snapshot {since}", show(.key))]
    WrittenSince {
        /// Number of the store.
        store: u64,
        /// A key of the range that was written or removed.
        key: Vec<u8>,
        /// Number of the snapshot.
        since: u64,
    },
    /// Bulk input is not strictly ascending. Remedy: sort it and drop duplicates.
    #[error("key \"{}\" does not follow \"{}\" in ascending order", show(.got), show(.previous))]
    OutOfOrder {
        /// The key before it.
        previous: Vec<u8>,
        /// The key that came.
        got: Vec<u8>,
    },
    /// Bytes that are no token of a cursor. Remedy: begin the scan anew; keep tokens as they were given.
    #[error("cursor token of {len} bytes: {reason}")]
    BadToken {
        /// Number of the bytes.
        len: usize,
        /// What is wrong with them.
        reason: &'static str,
    },
    /// A token of a cursor was made by a later version of this crate. Remedy: use that version, or begin
    /// the scan anew.
    #[error("cursor token of version {found}; this program reads versions up to {supported}")]
    UnsupportedToken {
        /// The version of the token.
        found: u8,
        /// The highest version that can be read.
        supported: u8,
    },
    /// The list refused bulk input for a reason of its own.
    #[error("bulk input refused: {0}")]
    Bulk(whimbrel_skiplist::BulkError),
}

impl Error {
    /// Whether doing the same again, from a new look at the data, can succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::PreconditionFailed { .. }
                | Self::CaptureActive { .. }
                | Self::ObservationActive { .. }
                | Self::IngestActive { .. }
                | Self::WrittenSince { .. }
        )
    }
}

impl From<whimbrel_skiplist::KeyTooLong> for Error {
    fn from(err: whimbrel_skiplist::KeyTooLong) -> Self {
        Self::KeyTooLong { len: err.len, max: whimbrel_skiplist::MAX_KEY_LEN }
    }
}

impl From<whimbrel_skiplist::BulkError> for Error {
    fn from(err: whimbrel_skiplist::BulkError) -> Self {
        use whimbrel_skiplist::BulkError;
        match err {
            BulkError::OutOfOrder { previous, got } => Self::OutOfOrder { previous, got },
            BulkError::KeyTooLong(err) => err.into(),
            other => Self::Bulk(other),
        }
    }
}

/// The first bytes of a key, escaped, for a message.
fn show(key: &[u8]) -> String {
    const SHOWN: usize = 64;
    let cut = &key[..key.len().min(SHOWN)];
    let dots = if key.len() > SHOWN { ".." } else { "" };
    format!("{}{dots}", cut.escape_ascii())
}
