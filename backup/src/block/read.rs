//! Decoding of blocks. Every byte may be hostile here.

use super::header::{BlockHeader, limit, wrong_length};
use super::walk::Entries;
use super::{BlockKind, HEADER_LEN, MAX_KEY_LEN, MAX_SHARED_RAW_LEN, MAX_VALUE_LEN, malformed};
use crate::Error;
use crate::bytes::{array, get_varint};
use crate::error::Place;

/// Least bytes of a buffer that is reused: blocks of the usual size never make it grow.
const REUSED_MIN: usize = 64 << 10;

/// Lengths of one byte each are within the limits: only longer ones are compared with them.
const _: () = assert!(2 * 0x7f <= MAX_KEY_LEN && 0x7f <= MAX_VALUE_LEN);

/// Decodes blocks one after the other into one reused buffer.
///
/// # Examples
/// See the [crate's page](crate).
#[derive(Debug, Default)]
pub struct BlockDecoder {
    raw: Vec<u8>,
    place: Option<Place>,
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
        let Self { raw, place: kept } = self;
        let place = &*kept.insert(place);
        let (header, stored) = split(bytes, place)?;
        check_crc(&header, bytes, place)?;
        let raw = match header.packed {
            true => unpack_into(raw, REUSED_MIN, stored, &header, place)?,
            false => stored,
        };
        Ok(Block::new(place, &header, raw))
    }
}

/// A decoded block that owns its bytes and can be shared by threads.
///
/// # Examples
/// ```
/// use whimbrel_backup::Place;
/// use whimbrel_backup::block::{BlockBuilder, BlockKind, BlockOptions, OwnedBlock};
///
/// let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
/// builder.add(b"curlew", b"1")?;
/// let mut bytes = Vec::new();
/// builder.finish_into(&mut bytes)?;
/// let block = OwnedBlock::decode(&bytes, Place::block("frame", 0))?;
/// assert_eq!(block.block().get(b"curlew")?, Some(Some(&b"1"[..])));
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct OwnedBlock {
    place: Place,
    kind: BlockKind,
    entries: u32,
    raw: Vec<u8>,
    body_len: usize,
}

impl OwnedBlock {
    /// Checks lengths and checksums of the block that `bytes` is, and decompresses it into memory of its
    /// own: as many bytes as the header states, within the format's limits.
    ///
    /// # Errors
    /// As [`BlockDecoder::decode`].
    pub fn decode(bytes: &[u8], place: Place) -> Result<Self, Error> {
        let (header, _) = split(bytes, &place)?;
        check_crc(&header, bytes, &place)?;
        Self::decode_checked(bytes, place)
    }

    /// [`decode`](Self::decode) for bytes that went through it before: all lengths and bounds are checked
    /// again, the checksum over the stored bytes is not.
    ///
    /// # Errors
    /// Whatever is wrong with header, length or compressed bytes.
    pub fn decode_checked(bytes: &[u8], place: Place) -> Result<Self, Error> {
        let (header, stored) = split(bytes, &place)?;
        let mut raw = Vec::new();
        if header.packed {
            unpack_into(&mut raw, 0, stored, &header, &place)?;
        } else {
            raw.extend_from_slice(stored);
        }
        let body_len = raw.len() - 4 * header.restarts;
        Ok(Self { place, kind: header.kind, entries: header.entries, raw, body_len })
    }

    /// The block, borrowed.
    #[must_use]
    pub fn block(&self) -> Block<'_> {
        let (body, restarts) = self.raw.split_at(self.body_len);
        Block { place: &self.place, kind: self.kind, entries: self.entries, body, restarts }
    }

    /// Bytes after decompression, which is the memory that it takes, about.
    #[must_use]
    pub fn raw_len(&self) -> usize {
        self.raw.len()
    }
}

/// The header and the stored bytes, whose lengths agree.
fn split<'a>(bytes: &'a [u8], place: &Place) -> Result<(BlockHeader, &'a [u8]), Error> {
    let header = BlockHeader::parse(bytes, place)?;
    if bytes.len() != header.block_len() {
        return Err(wrong_length(place, header.block_len(), bytes.len()));
    }
    Ok((header, &bytes[HEADER_LEN..]))
}

fn check_crc(header: &BlockHeader, bytes: &[u8], place: &Place) -> Result<(), Error> {
    let got = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bytes[HEADER_LEN..]);
    if got == header.crc {
        return Ok(());
    }
    Err(Error::ChecksumMismatch { place: place.clone(), expected: header.crc, got })
}

/// Decompresses into a buffer of at least `least` bytes. It only grows, but one that a huge value left behind is
/// given back before the next small block.
fn unpack_into<'a>(
    raw: &'a mut Vec<u8>,
    least: usize,
    stored: &[u8],
    header: &BlockHeader,
    place: &Place,
) -> Result<&'a [u8], Error> {
    let left_behind = raw.len() > MAX_SHARED_RAW_LEN && header.raw_len <= MAX_SHARED_RAW_LEN;
    if left_behind || raw.len() < header.raw_len {
        // Given back before the new one is taken; what is in it is of no use.
        *raw = Vec::new();
        *raw = vec![0; header.raw_len.max(least)];
    }
    let out = &mut raw[..header.raw_len];
    match lz4_flex::block::decompress_into(stored, out) {
        Ok(len) if len == header.raw_len => Ok(out),
        Ok(len) => Err(wrong_length(place, header.raw_len, len)),
        Err(_) => Err(malformed(place, "the compressed bytes are not LZ4")),
    }
}

/// A decoded block.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    pub(super) place: &'a Place,
    kind: BlockKind,
    entries: u32,
    pub(super) body: &'a [u8],
    pub(super) restarts: &'a [u8],
}

impl<'a> Block<'a> {
    fn new(place: &'a Place, header: &BlockHeader, raw: &'a [u8]) -> Self {
        // `BlockHeader::parse` has checked that the restart points leave room for entries.
        let (body, restarts) = raw.split_at(header.raw_len - 4 * header.restarts);
        Self { place, kind: header.kind, entries: header.entries, body, restarts }
    }

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
    pub fn place(&self) -> &'a Place {
        self.place
    }

    /// Walks the entries in key order.
    #[must_use]
    pub fn entries(&self) -> Entries<'a> {
        Entries::new(*self)
    }

    /// The entry of `key`: `Some(Some(value))`, `Some(None)` for a remove, `None` when it is not here.
    ///
    /// # Complexity
    /// Logarithmic in the restart points, then at most one interval.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::OutOfOrder`] when the entries break the format.
    pub fn get(&self, key: &[u8]) -> Result<Option<Option<&'a [u8]>>, Error> {
        let restart = self.restart_of(key)?;
        let mut walk = Entries::from_restart(*self, restart, self.restart_at(restart)?);
        while let Some(value) = walk.step_within()? {
            match walk.key().cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(Some(value)),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    /// The last restart point whose key is not above `key`; the first when there is none.
    pub(super) fn restart_of(&self, key: &[u8]) -> Result<usize, Error> {
        let (mut low, mut high) = (0, self.restart_points());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.key_at_restart(middle)? <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Number of restart points.
    pub(super) fn restart_points(&self) -> usize {
        self.restarts.len() / 4
    }

    pub(super) fn restart_at(&self, index: usize) -> Result<usize, Error> {
        self.restart_inside(index)
            .ok_or_else(|| malformed(self.place, "a restart point outside of the entries"))
    }

    /// Where restart point `index` leads, when that is inside of the entries.
    #[inline]
    pub(super) fn restart_inside(&self, index: usize) -> Option<usize> {
        let at = u32::from_le_bytes(array(self.restarts, 4 * index)?) as usize;
        (at < self.body.len()).then_some(at)
    }

    fn key_at_restart(&self, index: usize) -> Result<&'a [u8], Error> {
        let at = self.restart_at(index)?;
        let entry = self.entry(at).ok_or_else(|| self.bad_entry(at))?;
        if entry.shared != 0 {
            return Err(malformed(self.place, "a restart point shares bytes"));
        }
        Ok(entry.rest(self.body))
    }

    /// The entry at `at`, whose lengths are within the limits and whose bytes lie inside; `None` where
    /// they do not ([`bad_entry`](Self::bad_entry) says why).
    #[inline(always)]
    pub(super) fn entry(&self, at: usize) -> Option<RawEntry> {
        let lengths = self.body.get(at..at.wrapping_add(3))?;
        match *lengths.first_chunk()? {
            // Far below all limits.
            [shared, rest, value] if shared | rest | value < 0x80 && value > 0 => {
                let (shared, rest_at) = (usize::from(shared), at + 3);
                let (value_at, value_word) = (rest_at + usize::from(rest), usize::from(value));
                let end = value_at + value_word - 1;
                let inside = end <= self.body.len();
                inside.then_some(RawEntry { shared, rest_at, value_at, end, value_word })
            }
            _ => self.other_entry(at),
        }
    }

    /// As [`entry`](Self::entry), of a remove or with longer lengths.
    #[inline(never)]
    fn other_entry(&self, at: usize) -> Option<RawEntry> {
        let (shared, rest, value_word, rest_at) = self.long_lengths(at)?;
        let value_at = rest_at + rest;
        let end = value_at + value_word.saturating_sub(1);
        let wrong = shared + rest > MAX_KEY_LEN
            || value_word > MAX_VALUE_LEN + 1
            || (value_word == 0 && self.kind != BlockKind::Changes)
            || end > self.body.len();
        (!wrong).then_some(RawEntry { shared, rest_at, value_at, end, value_word })
    }

    fn long_lengths(&self, at: usize) -> Option<(usize, usize, usize, usize)> {
        let mut at = at;
        let mut next = || get_varint(self.body, &mut at).map(|length| length as usize);
        let (shared, rest, value) = (next()?, next()?, next()?);
        Some((shared, rest, value, at))
    }

    /// Why there is no [`entry`](Self::entry) at `at`.
    #[cold]
    pub(super) fn bad_entry(&self, at: usize) -> Error {
        let Some((shared, rest, value, _)) = self.long_lengths(at) else {
            return malformed(self.place, "the lengths of an entry run over the end");
        };
        let limits = [
            ("length of a key", shared + rest, MAX_KEY_LEN),
            ("length of a value", value, MAX_VALUE_LEN + 1),
        ];
        for (what, got, most) in limits {
            if let Err(error) = limit(self.place, what, got, most) {
                return error;
            }
        }
        if value == 0 && self.kind != BlockKind::Changes {
            return malformed(self.place, "a remove among entries");
        }
        malformed(self.place, "an entry runs over the end")
    }
}

/// An entry's place in the entries of a block; all of it is inside of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawEntry {
    /// Bytes that the key shares with the one before.
    pub(super) shared: usize,
    pub(super) rest_at: usize,
    pub(super) value_at: usize,
    /// Where the next entry begins.
    pub(super) end: usize,
    /// 0 for a remove, else 1 + the value's length.
    value_word: usize,
}

impl RawEntry {
    /// The rest of the key.
    #[inline]
    pub(super) fn rest<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        &body[self.rest_at..self.value_at]
    }

    /// The value; none for a remove.
    #[inline]
    pub(super) fn value<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        (self.value_word > 0).then(|| &body[self.value_at..self.end])
    }
}
