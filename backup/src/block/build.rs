//! Encoding of blocks.

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use super::{
    BlockKind, BlockOptions, Compression, FORMAT_VERSION, HEADER_LEN, MAGIC, MAX_KEY_LEN,
    MAX_SHARED_RAW_LEN, MAX_VALUE_LEN,
};
use crate::Error;
use crate::bytes::{common_prefix, len_u32, put_varint, varint_len};
use crate::error::{KeyExcerpt, Part, Place};

/// Bytes that the three lengths of an entry take at most.
const ENTRY_LENGTHS_MAX: usize = 3 + 3 + 5;

const CODEC_RAW: u8 = 0;
const CODEC_LZ4: u8 = 1;

/// Encodes entries, given in strictly ascending key order, into blocks.
///
/// One builder makes any number of blocks and reuses its buffers; nothing is allocated for an entry.
/// The caller asks [`fits`](Self::fits) before it adds and finishes the block when the answer is no. An
/// entry larger than a block gets a block of its own: an empty builder takes any entry.
///
/// # Examples
/// ```
/// use whimbrel_backup::block::{BlockBuilder, BlockKind, BlockOptions};
/// let mut builder = BlockBuilder::new(BlockKind::Changes, BlockOptions::default());
/// builder.add(b"a", b"new")?;
/// builder.add_remove(b"b")?;
/// let mut block = Vec::new();
/// builder.finish_into(&mut block)?;
/// assert_eq!(&block[..4], b"WBLK");
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
pub struct BlockBuilder {
    kind: BlockKind,
    options: BlockOptions,
    raw: Buffer,
    restarts: Vec<u32>,
    previous: Buffer,
    entries: u32,
    since_restart: u32,
    packed: Vec<u8>,
    table: CompressTable,
}

impl std::fmt::Debug for BlockBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockBuilder")
            .field("kind", &self.kind)
            .field("entries", &self.entries)
            .field("raw_bytes", &self.raw.len)
            .finish_non_exhaustive()
    }
}

impl BlockBuilder {
    /// A builder of blocks of one kind.
    #[must_use]
    pub fn new(kind: BlockKind, options: BlockOptions) -> Self {
        Self {
            kind,
            options,
            raw: Buffer::default(),
            restarts: Vec::new(),
            previous: Buffer::default(),
            entries: 0,
            since_restart: 0,
            packed: Vec::new(),
            table: CompressTable::default(),
        }
    }

    /// Entries in the block so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.entries
    }

    /// True when nothing was added since the last block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The key added last, also after its block was finished; empty before the first.
    #[must_use]
    pub fn last_key(&self) -> &[u8] {
        self.previous.get()
    }

    /// Raw bytes of the block so far, restart points included.
    #[must_use]
    pub fn size_estimate(&self) -> usize {
        self.raw.len + 4 * self.restarts.len()
    }

    /// True when an entry of these lengths still belongs into this block.
    #[must_use]
    pub fn fits(&self, key_len: usize, value_len: usize) -> bool {
        // Whatever is longer is refused, or has a block of its own.
        self.has_room(key_len.min(MAX_KEY_LEN + 1), value_len.min(MAX_VALUE_LEN + 1))
    }

    /// [`fits`](Self::fits) of lengths whose sum is a length.
    #[inline]
    fn has_room(&self, key_len: usize, value_len: usize) -> bool {
        let entry = ENTRY_LENGTHS_MAX + 4 + key_len + value_len;
        self.entries == 0 || self.size_estimate() + entry <= self.options.block_bytes
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::KeyTooLong`], [`Error::ValueTooLong`], and [`Error::BlockFull`] when
    /// the entry does not [fit](Self::fits). The builder is as before.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let added = self.try_add(key, Some(value))?;
        if added { Ok(()) } else { Err(Error::BlockFull { key: KeyExcerpt::of(key) }) }
    }

    /// Adds the remove of a key.
    ///
    /// # Errors
    /// As [`add`](Self::add); [`Error::RemoveAmongEntries`] when the blocks are of entries.
    pub fn add_remove(&mut self, key: &[u8]) -> Result<(), Error> {
        let added = self.try_add(key, None)?;
        if added { Ok(()) } else { Err(Error::BlockFull { key: KeyExcerpt::of(key) }) }
    }

    /// Adds an entry, or a remove where there is no value, if it [fits](Self::fits). False: nothing was added.
    ///
    /// # Errors
    /// As [`add`](Self::add) and [`add_remove`](Self::add_remove), but for [`Error::BlockFull`].
    #[inline]
    pub(crate) fn try_add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, Error> {
        let value_word = match value {
            Some(value) if value.len() > MAX_VALUE_LEN => return Err(value_too_long(key, value)),
            Some(value) => len_u32(value.len()) + 1,
            None if self.kind == BlockKind::Changes => 0,
            None => return Err(Error::RemoveAmongEntries { key: KeyExcerpt::of(key) }),
        };
        let value = value.unwrap_or_default();
        if key.len() > MAX_KEY_LEN {
            return Err(Error::KeyTooLong { len: key.len(), limit: MAX_KEY_LEN });
        }
        if !self.has_room(key.len(), value.len()) {
            return Ok(false);
        }
        let mut shared = 0;
        if self.entries > 0 {
            let previous = self.previous.get();
            shared = common_prefix(previous, key);
            // The first byte that is not shared decides; where there is none, the shorter key is smaller.
            let ascends = match (previous.get(shared), key.get(shared)) {
                (Some(old), Some(new)) => old < new,
                (old, new) => old.is_none() && new.is_some(),
            };
            if !ascends {
                return Err(self.out_of_order(key));
            }
        }
        if self.entries == 0 || self.since_restart == self.options.restart_interval {
            shared = 0;
            self.since_restart = 0;
            self.restarts.push(len_u32(self.raw.len));
        }
        self.since_restart += 1;
        self.entries += 1;
        let rest = &key[shared..];
        let (shared_len, rest_len) = (len_u32(shared), len_u32(rest.len()));
        // With room for the restart points, so that a huge value is not copied for their sake.
        let restarts = 4 * self.restarts.len();
        self.raw.reserve(ENTRY_LENGTHS_MAX + rest.len() + value.len() + restarts);
        if shared_len | rest_len | value_word < 0x80 {
            let lengths = [shared_len, rest_len, value_word].map(|len| len.to_le_bytes()[0]);
            self.raw.put_array(lengths);
        } else {
            self.put_long_lengths([shared_len, rest_len, value_word]);
        }
        self.raw.put(rest);
        self.raw.put(value);
        self.previous.len = 0;
        self.previous.reserve(key.len());
        self.previous.put(key);
        debug_assert!(varint_len(value_word) <= 5, "value lengths fit five groups");
        Ok(true)
    }

    #[inline(never)]
    fn put_long_lengths(&mut self, lengths: [u32; 3]) {
        let mut bytes = Vec::with_capacity(ENTRY_LENGTHS_MAX);
        lengths.into_iter().for_each(|length| put_varint(&mut bytes, length));
        self.raw.put(&bytes);
    }

    #[cold]
    fn out_of_order(&self, key: &[u8]) -> Error {
        Error::OutOfOrder {
            place: Place::new("block being built", Part::Whole),
            previous: KeyExcerpt::of(self.previous.get()),
            got: KeyExcerpt::of(key),
        }
    }

    /// Appends the block's bytes to `out` and begins the next one. Answers the number of bytes.
    ///
    /// # Errors
    /// [`Error::EmptyBlock`] when nothing was added.
    pub fn finish_into(&mut self, out: &mut Vec<u8>) -> Result<usize, Error> {
        if self.entries == 0 {
            return Err(Error::EmptyBlock);
        }
        self.raw.reserve(4 * self.restarts.len());
        for restart in &self.restarts {
            self.raw.put_array(restart.to_le_bytes());
        }
        debug_assert!(
            self.entries == 1 || self.raw.len <= MAX_SHARED_RAW_LEN,
            "fits() keeps shared blocks small"
        );
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        let codec = self.store_into(out);
        let stored_len = out.len() - start - HEADER_LEN;
        let header = self.header(codec, stored_len);
        out[start..start + header.len()].copy_from_slice(&header);
        let head_crc = crc32c::crc32c(&header);
        out[start + 24..start + 28].copy_from_slice(&head_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[start..start + 28]);
        let crc = crc32c::crc32c_append(crc, &out[start + HEADER_LEN..]);
        out[start + 28..start + 32].copy_from_slice(&crc.to_le_bytes());
        self.reset();
        Ok(out.len() - start)
    }

    fn store_into(&mut self, out: &mut Vec<u8>) -> u8 {
        let raw = self.raw.get();
        if self.options.compression == Compression::Lz4 {
            let room = get_maximum_output_size(raw.len());
            if self.packed.len() < room {
                self.packed.resize(room, 0);
            }
            // An error means that the room was too small, which the bound excludes; raw is right then
            // as well.
            if let Ok(len) = compress_into_with_table(raw, &mut self.packed, &mut self.table)
                && len <= raw.len() / 8 * 7
            {
                out.extend_from_slice(&self.packed[..len]);
                return CODEC_LZ4;
            }
        }
        out.extend_from_slice(raw);
        CODEC_RAW
    }

    fn header(&self, codec: u8, stored_len: usize) -> [u8; 24] {
        let mut header = [0; 24];
        header[..4].copy_from_slice(&MAGIC);
        header[4] = FORMAT_VERSION.to_le_bytes()[0];
        header[5] = self.kind.number();
        header[6] = codec;
        header[8..12].copy_from_slice(&len_u32(stored_len).to_le_bytes());
        header[12..16].copy_from_slice(&len_u32(self.raw.len).to_le_bytes());
        header[16..20].copy_from_slice(&self.entries.to_le_bytes());
        header[20..24].copy_from_slice(&len_u32(self.restarts.len()).to_le_bytes());
        header
    }

    fn reset(&mut self) {
        self.raw.len = 0;
        self.restarts.clear();
        self.entries = 0;
        self.since_restart = 0;
        // One huge value must not keep its memory for the life of the builder.
        let keep = 4 * self.options.block_bytes.max(64 << 10);
        if self.raw.bytes.len() > keep {
            self.raw = Buffer::default();
        }
        if self.packed.len() > keep {
            self.packed.truncate(keep);
            self.packed.shrink_to_fit();
        }
    }
}

#[cold]
fn value_too_long(key: &[u8], value: &[u8]) -> Error {
    Error::ValueTooLong { key: KeyExcerpt::of(key), len: value.len(), limit: MAX_VALUE_LEN }
}

/// Bytes that grow at the end. There is room behind them, so that short pieces are written at known places
/// instead of being handed to a general copy.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    #[inline]
    fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Makes room for so many bytes more. Each of the other methods writes into room that was made.
    #[inline]
    fn reserve(&mut self, more: usize) {
        if self.bytes.len() - self.len < more {
            self.grow(more);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        self.bytes.resize((2 * self.bytes.len()).max(self.len + more).max(64), 0);
    }

    #[inline]
    fn put_array<const N: usize>(&mut self, from: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&from);
        self.len += N;
    }

    #[inline]
    fn put(&mut self, from: &[u8]) {
        copy_short(&mut self.bytes[self.len..self.len + from.len()], from);
        self.len += from.len();
    }
}

/// Copies to a slice of the same length; few bytes without a call, by their first and last ones.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..=16 => copy_ends::<8>(to, from),
        17..=32 => copy_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
        return to.copy_from_slice(from);
    };
    if let Some(to) = to.first_chunk_mut::<N>() {
        *to = *first;
    }
    if let Some(to) = to.last_chunk_mut::<N>() {
        *to = *last;
    }
}
