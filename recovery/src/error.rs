//! What can go wrong between a backup and a store.

use whimbrel_backup::{KeyExcerpt, Place};

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backup cannot be used; the cause names file and block. Use another copy.
    #[error(transparent)]
    Backup(#[from] whimbrel_backup::Error),
    /// The store refused an entry.
    #[error("{place}: {source}")]
    Store {
        /// Where the entry came from.
        place: Place,
        /// What the store said.
        source: whimbrel_mvcc::Error,
    },
    /// The store refused an ingest, or an entry of it. Nothing was changed.
    #[error("the store refused the ingest: {0}")]
    Ingest(whimbrel_mvcc::Error),
    /// A key lies outside of the range that was announced for the block.
    #[error("{place}: key {key} lies outside of the announced range")]
    OutsideRange {
        /// Where.
        place: Place,
        /// The key.
        key: KeyExcerpt,
    },
    /// An earlier block was refused, so the range has a hole. Begin it again.
    #[error("{place}: an earlier block of this range was refused")]
    Broken {
        /// The block that came after.
        place: Place,
    },
    /// The store's content is not what the manifest states, although every file is sound.
    #[error("store `{store}`: {what} is {got}, the manifest states {expected}")]
    WrongContent {
        /// Name of the store.
        store: String,
        /// What differs.
        what: &'static str,
        /// What the manifest states.
        expected: u64,
        /// What was restored.
        got: u64,
    },
    /// The backup needs more memory than allowed. Allow more, or restore on a larger machine.
    #[error("restoring needs about {needed} bytes of memory, {limit} are allowed")]
    MemoryLimit {
        /// Bytes that the entries will take, about.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The options name a store that the backup does not have.
    #[error("the backup has no store `{store}`")]
    UnknownStore {
        /// The name.
        store: String,
    },
}

impl Error {
    /// True when the bytes of the backup are damaged, foreign or forged: another copy is needed.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        match self {
            Self::Backup(error) => error.is_corruption(),
            Self::OutsideRange { .. } | Self::WrongContent { .. } => true,
            _ => false,
        }
    }

    /// True when the same call may succeed later without any change to its input.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Backup(error) => error.is_retryable(),
            Self::Ingest(error) => error.is_retryable(),
            _ => false,
        }
    }

    /// The place of the damage, where there is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Backup(error) => error.place(),
            Self::Store { place, .. }
            | Self::OutsideRange { place, .. }
            | Self::Broken { place } => Some(place),
            _ => None,
        }
    }
}
