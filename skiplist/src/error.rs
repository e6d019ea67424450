//! Errors of the crate.

use crate::MAX_KEY_LEN;

/// A key is longer than [`MAX_KEY_LEN`]. Remedy: shorten the key, or store a digest of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("key of {len} bytes is longer than the limit of {MAX_KEY_LEN} bytes")]
pub struct KeyTooLong {
    /// Length of the refused key in bytes.
    pub len: usize,
}

/// Why a segment, or a list made of segments, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BulkError {
    /// A key is not greater than the one before it. Remedy: sort the input and drop duplicates.
    #[error("key {} does not follow {} in strictly ascending order", show(.got), show(.previous))]
    OutOfOrder {
        /// The key before it (the last key of the segment before, when segments overlap).
        previous: Vec<u8>,
        /// The key that came.
        got: Vec<u8>,
    },
    /// A key is longer than the limit.
    #[error(transparent)]
    KeyTooLong(#[from] KeyTooLong),
}

/// The first bytes of a key, escaped, for a message.
fn show(key: &[u8]) -> String {
    const SHOWN: usize = 64;
    let cut = &key[..key.len().min(SHOWN)];
    let dots = if key.len() > SHOWN { ".." } else { "" };
    format!("\"{}{dots}\"", cut.escape_ascii())
}
