//! One block: up to a few thousand entries in key order, compressed and checksummed.
//!
//! A block is the unit of a shard, of a delta, and of a data frame of a migration. It stands alone: it
//! can be decoded, checked and searched without the file around it. Its bytes:
//!
//! ```text
//! header (32 bytes)                         stored bytes
//!   0  magic "WBLK"                           raw bytes as they are, or LZ4-compressed
//!   4  format version, u8                   raw bytes
//!   5  kind, u8: 1 entries, 2 changes         entries, then the offsets of the restart points
//!   6  codec, u8: 0 raw, 1 LZ4                (u32 each)
//!   7  zero                                 entry
//!   8  length of the stored bytes, u32        length shared with the key before, varint
//!  12  length of the raw bytes, u32           length of the rest of the key, varint
//!  16  entries, u32                           0 for a remove, else 1 + length of the value, varint
//!  20  restart points, u32                    rest of the key, value
//!  24  CRC-32C of bytes 0..24
//!  28  CRC-32C of bytes 0..28 and the stored bytes
//! ```
//!
//! The header has a checksum of its own, so that a reader of a stream can trust the length before it
//! waits for the rest.
//!
//! # Limits
//!
//! Checked before memory is taken: [`MAX_VALUE_LEN`], [`MAX_KEY_LEN`], [`MAX_RAW_LEN`]; a block of more
//! than [`MAX_SHARED_RAW_LEN`] raw bytes holds one entry only; raw bytes never exceed 255 times the
//! stored bytes (which is what LZ4 can reach), so a forged header makes a reader take at most 255
//! times what it was sent.
//!
//! # Complexity
//!
//! Building and walking are linear in the bytes and allocate nothing for an entry. [`Block::get`] is a
//! binary search over restart points and a walk of at most one interval.

mod build;
mod cursor;
mod header;
mod read;
mod walk;

pub use build::BlockBuilder;
pub use cursor::BlockCursor;
pub use header::BlockHeader;
pub use read::{Block, BlockDecoder, OwnedBlock};
pub use walk::{Entries, Entry};

use crate::Error;
use crate::error::Place;

/// Version of the format that this release writes, and the newest that it reads.
pub const FORMAT_VERSION: u16 = 1;

/// Bytes of a block's header.
pub const HEADER_LEN: usize = 32;

/// Longest key in bytes.
pub const MAX_KEY_LEN: usize = 65_535;

/// Longest value in bytes (512 MiB).
pub const MAX_VALUE_LEN: usize = 512 << 20;

/// Most raw bytes of a block: the longest value and its key, with room for lengths.
pub const MAX_RAW_LEN: usize = MAX_VALUE_LEN + (128 << 10);

/// Most raw bytes of a block that holds more than one entry (4 MiB).
pub const MAX_SHARED_RAW_LEN: usize = 4 << 20;

/// Raw bytes that one stored byte can stand for at most.
pub(crate) const MAX_EXPANSION: usize = 255;

pub(crate) const MAGIC: [u8; 4] = *b"WBLK";

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlockKind {
    /// Entries of one snapshot: every key has a value.
    Entries,
    /// Changes between two snapshots: a key has its new value, or was removed.
    Changes,
}

impl BlockKind {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Entries => 1,
            Self::Changes => 2,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Entries),
            2 => Some(Self::Changes),
            _ => None,
        }
    }
}

/// How the raw bytes of a block are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// LZ4 where it saves at least an eighth, else as they are.
    #[default]
    Lz4,
    /// As they are.
    None,
}

/// How blocks are made.
///
/// # Examples
/// ```
/// use whimbrel_backup::block::{BlockOptions, Compression};
/// let small = BlockOptions::default().with_block_bytes(4 << 10).with_compression(Compression::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockOptions {
    pub(crate) block_bytes: usize,
    pub(crate) restart_interval: u32,
    pub(crate) compression: Compression,
}

impl Default for BlockOptions {
    fn default() -> Self {
        // 60 KiB: within the window of LZ4 and within its small table (inputs below 65,535 bytes),
        // and small enough to stay in the second-level cache while it is decoded.
        Self { block_bytes: 60 << 10, restart_interval: 16, compression: Compression::Lz4 }
    }
}

impl BlockOptions {
    /// Raw bytes after which a block counts as full; from 64 bytes to 1 MiB, default 60 KiB. Larger
    /// blocks compress better and make a single lookup dearer. Values out of range are clamped.
    #[must_use]
    pub fn with_block_bytes(mut self, bytes: usize) -> Self {
        self.block_bytes = bytes.clamp(64, 1 << 20);
        self
    }

    /// Entries between restart points, at least 1, default 16. More entries save space and make a
    /// single lookup dearer. 0 counts as 1.
    #[must_use]
    pub fn with_restart_interval(mut self, entries: u32) -> Self {
        self.restart_interval = entries.max(1);
        self
    }

    /// How the bytes are stored; default [`Compression::Lz4`].
    #[must_use]
    pub fn with_compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }
}

/// The error for content that breaks the rule `what`.
#[cold]
pub(crate) fn malformed(place: &Place, what: &'static str) -> Error {
    Error::Malformed { place: place.clone(), what }
}
