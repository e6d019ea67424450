//! The header of a block. Every byte may be hostile here.

use super::{
    BlockKind, Compression, FORMAT_VERSION, HEADER_LEN, MAGIC, MAX_EXPANSION, MAX_RAW_LEN,
    MAX_SHARED_RAW_LEN, malformed,
};
use crate::Error;
use crate::bytes::Fields;
use crate::error::Place;

/// What a block's header says, checked against its own checksum and the format's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    pub(super) kind: BlockKind,
    pub(super) packed: bool,
    pub(super) stored_len: usize,
    pub(super) raw_len: usize,
    pub(super) entries: u32,
    pub(super) restarts: usize,
    pub(super) crc: u32,
}

impl BlockHeader {
    /// Reads the header at the beginning of `bytes`, for readers of a stream that need the length first.
    ///
    /// # Errors
    /// What the first [`HEADER_LEN`] bytes can be wrong in: magic, version, checksum, kind, limits.
    pub fn parse(bytes: &[u8], place: &Place) -> Result<Self, Error> {
        let Some(header) = bytes.get(..HEADER_LEN) else {
            return Err(wrong_length(place, HEADER_LEN, bytes.len()));
        };
        if header[..4] != MAGIC {
            return Err(Error::BadMagic {
                place: place.clone(),
                expected: MAGIC.to_vec(),
                got: header[..4].to_vec(),
            });
        }
        let short = || wrong_length(place, HEADER_LEN, bytes.len());
        let mut fields = Fields::new(&header[4..]);
        let [version, kind, codec, zero] = fields.array().ok_or_else(short)?;
        let mut next = || fields.u32().ok_or_else(short);
        let (stored_len, raw_len) = (next()? as usize, next()? as usize);
        let (entries, restarts) = (next()?, next()? as usize);
        let (head_crc, crc) = (next()?, next()?);
        let got = crc32c::crc32c(&header[..24]);
        if got != head_crc {
            return Err(Error::ChecksumMismatch { place: place.clone(), expected: head_crc, got });
        }
        if u16::from(version) != FORMAT_VERSION {
            return Err(Error::UnsupportedVersion {
                place: place.clone(),
                found: u32::from(version),
                supported: u32::from(FORMAT_VERSION),
            });
        }
        let kind = BlockKind::from_number(kind).ok_or_else(|| malformed(place, "unknown kind"))?;
        if zero != 0 || codec > 1 {
            return Err(malformed(place, "unknown codec or flags"));
        }
        let header = Self { kind, packed: codec == 1, stored_len, raw_len, entries, restarts, crc };
        header.check_limits(place)?;
        Ok(header)
    }

    fn check_limits(&self, place: &Place) -> Result<(), Error> {
        let raw_limit = if self.entries == 1 { MAX_RAW_LEN } else { MAX_SHARED_RAW_LEN };
        let raw_limit = raw_limit.min(self.stored_len.saturating_mul(MAX_EXPANSION));
        limit(place, "raw length of a block", self.raw_len, raw_limit)?;
        limit(place, "stored length of a block", self.stored_len, self.raw_len)?;
        // An entry takes at least three bytes, a restart point belongs to an entry.
        limit(place, "number of entries", self.entries as usize, self.raw_len / 3)?;
        limit(place, "number of restart points", self.restarts, self.entries as usize)?;
        if self.restarts == 0 {
            return Err(malformed(place, "a block without entries or restart points"));
        }
        if !self.packed && self.stored_len != self.raw_len {
            return Err(malformed(place, "stored as it is, with two different lengths"));
        }
        if 4 * self.restarts >= self.raw_len {
            return Err(malformed(place, "restart points leave no room for entries"));
        }
        Ok(())
    }

    /// Bytes of the whole block, header included.
    #[must_use]
    pub fn block_len(&self) -> usize {
        HEADER_LEN + self.stored_len
    }

    /// What the block holds.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// How the raw bytes are stored.
    #[must_use]
    pub fn compression(&self) -> Compression {
        if self.packed { Compression::Lz4 } else { Compression::None }
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries
    }

    /// Bytes after decompression.
    #[must_use]
    pub fn raw_len(&self) -> usize {
        self.raw_len
    }

    /// The checksum over header and stored bytes, as the header states it.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc
    }
}

#[cold]
pub(super) fn wrong_length(place: &Place, expected: usize, got: usize) -> Error {
    Error::WrongLength { place: place.clone(), expected: expected as u64, got: got as u64 }
}

pub(super) fn limit(
    place: &Place,
    what: &'static str,
    got: usize,
    limit: usize,
) -> Result<(), Error> {
    if got <= limit {
        return Ok(());
    }
    Err(Error::LimitExceeded { place: place.clone(), what, limit: limit as u64, got: got as u64 })
}
