//! Decoding of blocks. Every byte may be hostile here.

use super::{
    BlockKind, FORMAT_VERSION, HEADER_LEN, MAGIC, MAX_EXPANSION, MAX_KEY_LEN, MAX_RAW_LEN,
    MAX_SHARED_RAW_LEN, MAX_VALUE_LEN, malformed,
};
use crate::Error;
use crate::bytes::{Fields, array, get_varint};
use crate::error::{KeyExcerpt, Place};

/// An entry's key and value; no value means that the key was removed.
pub type Entry<'k, 'v> = (&'k [u8], Option<&'v [u8]>);

/// What a block's header says, checked against its own checksum and the format's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHeader {
    kind: BlockKind,
    packed: bool,
    stored_len: usize,
    raw_len: usize,
    entries: u32,
    restarts: usize,
    crc: u32,
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

/// Decodes blocks one after the other into one reused buffer.
///
/// # Examples
/// See the [crate's page](crate).
#[derive(Debug, Default)]
pub struct BlockDecoder {
    raw: Vec<u8>,
}

impl BlockDecoder {
    /// A decoder with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Checks lengths and checksums of the block that `bytes` is, and decompresses it.
    ///
    /// The entries themselves are checked as they are walked. `place` goes into errors.
    ///
    /// # Errors
    /// Whatever is wrong with header, length, checksum, or compressed bytes.
    pub fn decode<'a>(&'a mut self, bytes: &'a [u8], place: Place) -> Result<Block<'a>, Error> {
        let header = BlockHeader::parse(bytes, &place)?;
        if bytes.len() != header.block_len() {
            return Err(wrong_length(&place, header.block_len(), bytes.len()));
        }
        let stored = &bytes[HEADER_LEN..];
        let got = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), stored);
        if got != header.crc {
            return Err(Error::ChecksumMismatch { place, expected: header.crc, got });
        }
        let raw = if header.packed { self.unpack(stored, &header, &place)? } else { stored };
        let (body, restarts) = raw.split_at(header.raw_len - 4 * header.restarts);
        Ok(Block { place, kind: header.kind, entries: header.entries, body, restarts })
    }

    fn unpack(
        &mut self,
        stored: &[u8],
        header: &BlockHeader,
        place: &Place,
    ) -> Result<&[u8], Error> {
        // A buffer that one huge value left behind is given back before the next small block.
        if self.raw.len() > MAX_SHARED_RAW_LEN && header.raw_len <= MAX_SHARED_RAW_LEN {
            self.raw = Vec::new();
        }
        if self.raw.len() < header.raw_len {
            self.raw.resize(header.raw_len, 0);
        }
        let out = &mut self.raw[..header.raw_len];
        match lz4_flex::block::decompress_into(stored, out) {
            Ok(len) if len == header.raw_len => Ok(&self.raw[..len]),
            Ok(len) => Err(wrong_length(place, header.raw_len, len)),
            Err(_) => Err(malformed(place, "the compressed bytes are not LZ4")),
        }
    }
}

/// A decoded block.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    place: Place,
    kind: BlockKind,
    entries: u32,
    body: &'a [u8],
    restarts: &'a [u8],
}

impl<'a> Block<'a> {
    /// What the block holds.
    #[must_use]
    pub fn kind(&self) -> BlockKind {
        self.kind
    }

    /// Number of entries, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// Where the block was found.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Walks the entries in key order.
    #[must_use]
    pub fn entries(&self) -> Entries<'_, 'a> {
        Entries::new(self)
    }

    /// The entry of `key`: `Some(Some(value))`, `Some(None)` for a remove, `None` when it is not here.
    ///
    /// # Complexity
    /// Logarithmic in the restart points, then at most one interval.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::OutOfOrder`] when the entries break the format.
    pub fn get(&self, key: &[u8]) -> Result<Option<Option<&'a [u8]>>, Error> {
        let (mut low, mut high) = (0, self.restarts.len() / 4);
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.key_at_restart(middle)? <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut walk = Entries::new(self);
        walk.at = self.restart_at(low)?;
        walk.restart = low;
        walk.restart_at = walk.at;
        while walk.at < self.body.len() {
            let value = walk.step()?;
            match walk.key().cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(value)),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    fn restart_at(&self, index: usize) -> Result<usize, Error> {
        let at = array(self.restarts, 4 * index).map(u32::from_le_bytes);
        at.map(|at| at as usize)
            .filter(|&at| at < self.body.len())
            .ok_or_else(|| malformed(&self.place, "a restart point outside of the entries"))
    }

    fn key_at_restart(&self, index: usize) -> Result<&'a [u8], Error> {
        let mut at = self.restart_at(index)?;
        let lengths = self.lengths(&mut at)?;
        if lengths.shared != 0 {
            return Err(malformed(&self.place, "a restart point shares bytes"));
        }
        self.take(&mut at, lengths.rest)
    }

    /// The three lengths of the entry at `*at`, checked against the limits.
    #[inline]
    fn lengths(&self, at: &mut usize) -> Result<Lengths, Error> {
        let (shared, rest, value) = match self.body.get(*at..*at + 3) {
            Some(&[shared, rest, value]) if shared | rest | value < 0x80 => {
                *at += 3;
                (u32::from(shared), u32::from(rest), u32::from(value))
            }
            _ => self.long_lengths(at).ok_or_else(|| {
                malformed(&self.place, "the lengths of an entry run over the end")
            })?,
        };
        let lengths =
            Lengths { shared: shared as usize, rest: rest as usize, value: value as usize };
        let too_long = lengths.shared + lengths.rest > MAX_KEY_LEN
            || lengths.value > MAX_VALUE_LEN + 1
            || (lengths.value == 0 && self.kind != BlockKind::Changes);
        if too_long {
            return Err(self.bad_lengths(lengths));
        }
        Ok(lengths)
    }

    #[cold]
    fn bad_lengths(&self, lengths: Lengths) -> Error {
        let key_len = lengths.shared + lengths.rest;
        if let Err(error) = limit(&self.place, "length of a key", key_len, MAX_KEY_LEN) {
            return error;
        }
        match limit(&self.place, "length of a value", lengths.value, MAX_VALUE_LEN + 1) {
            Err(error) => error,
            Ok(()) => malformed(&self.place, "a remove among entries"),
        }
    }

    fn long_lengths(&self, at: &mut usize) -> Option<(u32, u32, u32)> {
        let shared = get_varint(self.body, at)?;
        let rest = get_varint(self.body, at)?;
        Some((shared, rest, get_varint(self.body, at)?))
    }

    #[inline]
    fn take(&self, at: &mut usize, len: usize) -> Result<&'a [u8], Error> {
        let bytes = self.body.get(*at..*at + len);
        *at += len;
        bytes.ok_or_else(|| malformed(&self.place, "an entry runs over the end"))
    }
}

#[derive(Clone, Copy)]
struct Lengths {
    shared: usize,
    rest: usize,
    /// 0 for a remove, else 1 + the value's length.
    value: usize,
}

/// Walks the entries of a block in key order; each key is lent until the next step.
///
/// Every step checks bounds, limits, and that the key is greater than the one before; the last step
/// checks that nothing is left over. The walk ends at the first error.
#[derive(Debug)]
pub struct Entries<'b, 'a> {
    block: &'b Block<'a>,
    at: usize,
    left: u32,
    key: Vec<u8>,
    /// False until a key was read, which every later one must exceed.
    started: bool,
    /// Restart points passed, and where the next one is (beyond every entry when there is none).
    restart: usize,
    restart_at: usize,
}

impl<'b, 'a> Entries<'b, 'a> {
    fn new(block: &'b Block<'a>) -> Self {
        // The first entry must be a restart point; `step` compares the two.
        let (left, restart_at) = (block.entries, block.restart_at(0).unwrap_or(usize::MAX));
        Self { block, at: 0, left, key: Vec::new(), started: false, restart: 0, restart_at }
    }

    /// The next entry, or `None` after the last.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LimitExceeded`] or [`Error::OutOfOrder`] when the entries break
    /// the format although the checksum is right.
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, 'a>>, Error> {
        if self.left == 0 {
            return self.end().map(|()| None);
        }
        self.left -= 1;
        match self.step() {
            Ok(value) => Ok(Some((&self.key, value))),
            Err(error) => {
                // Neither another entry nor a clean end may follow.
                (self.left, self.at) = (0, usize::MAX);
                Err(error)
            }
        }
    }

    /// The key of the last entry returned.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    fn end(&self) -> Result<(), Error> {
        let all = self.at == self.block.body.len() && 4 * self.restart == self.block.restarts.len();
        if all {
            return Ok(());
        }
        Err(malformed(&self.block.place, "bytes are left over after the last entry"))
    }

    #[inline]
    fn step(&mut self) -> Result<Option<&'a [u8]>, Error> {
        let block = self.block;
        let start = self.at;
        let lengths = block.lengths(&mut self.at)?;
        let rest = block.take(&mut self.at, lengths.rest)?;
        if start == self.restart_at {
            self.pass_restart(lengths.shared)?;
        }
        if !self.started {
            if lengths.shared != 0 || self.restart == 0 {
                return Err(malformed(&block.place, "the first entry is not a restart point"));
            }
            self.started = true;
        } else if lengths.shared > self.key.len() {
            return Err(malformed(&block.place, "an entry shares more than the key before has"));
        } else if rest <= &self.key[lengths.shared..] {
            return Err(self.out_of_order(lengths.shared, rest));
        }
        self.key.truncate(lengths.shared);
        self.key.extend_from_slice(rest);
        match lengths.value.checked_sub(1) {
            Some(len) => block.take(&mut self.at, len).map(Some),
            None => Ok(None),
        }
    }

    fn pass_restart(&mut self, shared: usize) -> Result<(), Error> {
        if shared != 0 {
            return Err(malformed(&self.block.place, "a restart point shares bytes"));
        }
        self.restart += 1;
        self.restart_at = if 4 * self.restart < self.block.restarts.len() {
            self.block.restart_at(self.restart)?
        } else {
            usize::MAX
        };
        Ok(())
    }

    #[cold]
    fn out_of_order(&self, shared: usize, rest: &[u8]) -> Error {
        let got = [&self.key[..shared], rest].concat();
        Error::OutOfOrder {
            place: self.block.place.clone(),
            previous: KeyExcerpt::of(&self.key),
            got: KeyExcerpt::of(&got),
        }
    }
}

#[cold]
fn wrong_length(place: &Place, expected: usize, got: usize) -> Error {
    Error::WrongLength { place: place.clone(), expected: expected as u64, got: got as u64 }
}

fn limit(place: &Place, what: &'static str, got: usize, limit: usize) -> Result<(), Error> {
    if got <= limit {
        return Ok(());
    }
    Err(Error::LimitExceeded { place: place.clone(), what, limit: limit as u64, got: got as u64 })
}
