//! Reads a file of blocks from bytes at hand or from a file, checking everything it hands out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;
use crate::block::{Block, BlockDecoder, BlockHeader, HEADER_LEN as BLOCK_HEADER_LEN};
use crate::bytes::Fields;
use crate::ends::Ends;
use crate::error::{KeyExcerpt, Part, Place};
use crate::file::{FOOTER_LEN, FileIdentity, FileKind, Footer, HEADER_LEN, Tally};
use crate::writer::FileSummary;

/// Bytes of an entry of the index whose key is empty.
const INDEX_ENTRY_MIN: usize = 14;

/// Where the bytes of a file come from: memory, a file, an object. Several threads may read at once.
pub trait Source: Send + Sync {
    /// Bytes there are.
    fn len(&self) -> u64;

    /// True when there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes at `at`, lent from the source itself or read into `scratch`. The caller has
    /// checked that they are inside of [`len`](Self::len).
    ///
    /// # Errors
    /// What the system says, or an unexpected end when the file has shrunk.
    fn bytes<'a>(&'a self, at: u64, len: usize, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, _: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let start = usize::try_from(at).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        range.and_then(|range| self.get(range)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn len(&self) -> u64 {
        (**self).len()
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        (**self).bytes(at, len, scratch)
    }
}

/// A file read piece by piece, with the length it had when it was opened.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    len: u64,
}

impl FileSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).and_then(Self::of);
        file.map_err(|source| Error::Io { action: "open", path: path.to_owned(), source })
    }

    /// What an open file has now.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self { file, len })
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        // Only ever as long as the file is: callers check against `len` first.
        scratch.resize(len, 0);
        self.file.read_exact_at(scratch, at)?;
        Ok(scratch)
    }
}

/// Buffers for reading blocks, reused from block to block.
#[derive(Debug, Default)]
pub struct Buffers {
    stored: Vec<u8>,
    decoder: BlockDecoder,
}

#[derive(Debug, Clone)]
struct IndexEntry {
    at: u64,
    len: usize,
    entries: u32,
    crc: u32,
    /// The first key's bytes in the index.
    key: Range<usize>,
}

/// A shard or a delta, opened: header, index and footer are checked, each block when it is read.
///
/// Shared access from several threads is fine; each needs its own [`Buffers`].
#[derive(Debug)]
pub struct FileReader<S> {
    source: S,
    place: Place,
    identity: FileIdentity,
    footer: Footer,
    crc: u32,
    index: Vec<u8>,
    blocks: Vec<IndexEntry>,
}

impl<S: Source> FileReader<S> {
    /// Opens a file that must be of `kind`. `name` goes into errors.
    ///
    /// # Complexity
    /// Linear in the index; the blocks are not touched.
    ///
    /// # Errors
    /// Whatever is wrong with the file's length, header, index or footer, or [`Error::Io`].
    pub(crate) fn open(source: S, name: &str, kind: FileKind) -> Result<Self, Error> {
        let place = Place::new(name, Part::Whole);
        let Ends { identity, footer, crc } = Ends::read(&source, kind, &place)?;
        let footer_at = source.len() - FOOTER_LEN as u64;
        let index = read_index(&source, &footer, footer_at, &mut Vec::new(), &place)?;
        let mut file = Self { source, place, identity, footer, crc, index, blocks: Vec::new() };
        file.parse_index()?;
        Ok(file)
    }

    fn parse_index(&mut self) -> Result<(), Error> {
        let place = self.place.at(Part::Index);
        let broken = |what| Error::Malformed { place: place.clone(), what };
        let last_key_len = self.footer.last_key_len as usize;
        let keys_end = self.index.len().checked_sub(last_key_len);
        let keys_end = keys_end.ok_or_else(|| broken("the last key is longer than the index"))?;
        let mut fields = Fields::new(&self.index[..keys_end]);
        // As many as there can be, so that a forged count takes no memory that the index does not justify.
        let most = self.index.len() / INDEX_ENTRY_MIN;
        self.blocks.reserve_exact(most.min(self.footer.blocks as usize));
        let (mut at, mut key_at) = (HEADER_LEN as u64, 0);
        let (mut entries, mut previous): (u64, Option<Range<usize>>) = (0, None);
        while !fields.is_empty() {
            let entry = IndexEntry::read(&mut fields, at, key_at);
            let entry = entry.ok_or_else(|| broken("an entry of the index is cut"))?;
            let key = &self.index[entry.key.clone()];
            if let Some(previous) = previous {
                check_order(&place, &self.index[previous], key)?;
            }
            at += entry.len as u64;
            key_at = entry.key.end;
            entries += u64::from(entry.entries);
            previous = Some(entry.key.clone());
            self.blocks.push(entry);
        }
        let counted = self.footer.tally.entries.checked_add(self.footer.tally.removes);
        if at != self.footer.index_at
            || self.blocks.len() as u64 != u64::from(self.footer.blocks)
            || Some(entries) != counted
        {
            return Err(broken("index and footer disagree"));
        }
        let last = &self.index[keys_end..];
        match previous {
            None if last.is_empty() => Ok(()),
            Some(first) if &self.index[first.clone()] <= last => Ok(()),
            _ => Err(broken("the last key comes before the last block")),
        }
    }

    /// Name of the file and the part of it that is spoken of.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Length of the longest block, header included; 0 when there is none.
    #[must_use]
    pub fn longest_block(&self) -> usize {
        self.blocks.iter().map(|block| block.len).max().unwrap_or(0)
    }

    /// Counts and digest of the whole file, as its footer states them.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.footer.tally
    }

    /// First key; empty when the file has no entries.
    #[must_use]
    pub fn first_key(&self) -> &[u8] {
        self.blocks.first().map_or(&[], |entry| &self.index[entry.key.clone()])
    }

    /// Last key; empty when the file has no entries.
    #[must_use]
    pub fn last_key(&self) -> &[u8] {
        &self.index[self.index.len() - self.footer.last_key_len as usize..]
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends { identity: self.identity, footer: self.footer, crc: self.crc }
    }

    /// What the manifest has to say about this file.
    #[must_use]
    pub fn summary(&self) -> FileSummary {
        FileSummary {
            identity: self.identity,
            bytes: self.source.len(),
            blocks: self.footer.blocks,
            tally: self.footer.tally,
            first_key: self.first_key().to_vec(),
            last_key: self.last_key().to_vec(),
            crc: self.crc,
        }
    }

    /// Reads and decodes block `number`, and checks it against the index.
    ///
    /// # Errors
    /// Whatever is wrong with the block, or [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such block: `number` must be below [`blocks`](Self::blocks).
    pub fn block<'a>(
        &'a self,
        number: usize,
        buffers: &'a mut Buffers,
    ) -> Result<Block<'a>, Error> {
        let Buffers { stored, decoder } = buffers;
        let (bytes, place) = self.stored_block(number, stored)?;
        let block = decoder.decode(bytes, place)?;
        self.check_against_index(&block, bytes, number)?;
        Ok(block)
    }

    /// The bytes of block `number` as they are stored, and its place.
    pub(crate) fn stored_block<'a>(
        &'a self,
        number: usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], Place), Error> {
        let entry = &self.blocks[number];
        let place = self.place.at(Part::Block(number as u64));
        let bytes = read(&self.source, entry.at, entry.len, scratch, &place)?;
        Ok((bytes, place))
    }

    /// What the header of block `number` states. Nothing else of the block is read.
    ///
    /// # Errors
    /// What the header can be wrong in, or [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such block.
    pub fn block_header(&self, number: usize) -> Result<BlockHeader, Error> {
        let (entry, place) = (&self.blocks[number], self.place.at(Part::Block(number as u64)));
        let len = entry.len.min(BLOCK_HEADER_LEN);
        let mut scratch = Vec::new();
        BlockHeader::parse(read(&self.source, entry.at, len, &mut scratch, &place)?, &place)
    }

    /// The decoded block and its stored bytes must be what the index states.
    pub(crate) fn check_against_index(
        &self,
        block: &Block<'_>,
        bytes: &[u8],
        number: usize,
    ) -> Result<(), Error> {
        let entry = &self.blocks[number];
        let crc = crate::bytes::array(bytes, BLOCK_HEADER_LEN - 4).map_or(0, u32::from_le_bytes);
        if crc != entry.crc {
            let place = block.place().clone();
            return Err(Error::ChecksumMismatch { place, expected: entry.crc, got: crc });
        }
        let kind = match self.identity.kind {
            FileKind::Shard | FileKind::GcDelta => crate::block::BlockKind::Entries,
            FileKind::ChangeDelta | FileKind::Sorted => crate::block::BlockKind::Changes,
        };
        if block.kind() != kind {
            let (expected, got) = (kind.number().into(), block.kind().number().into());
            return Err(Error::WrongKind { place: block.place().clone(), expected, got });
        }
        let mut entries = block.entries();
        entries.next_entry()?;
        if block.len() != entry.entries || entries.key() != &self.index[entry.key.clone()] {
            return Err(Error::Malformed {
                place: block.place().clone(),
                what: "the index states another number of entries or another first key",
            });
        }
        Ok(())
    }

    /// The block that holds `key` if any does: the last one whose first key is not above it. `None` when
    /// the key comes before the whole file.
    ///
    /// # Complexity
    /// A binary search over the index.
    #[must_use]
    pub fn block_of(&self, key: &[u8]) -> Option<usize> {
        let first_key = |entry: &IndexEntry| &self.index[entry.key.clone()];
        self.blocks.partition_point(|entry| first_key(entry) <= key).checked_sub(1)
    }

    /// The first key of block `number`, as the index states it.
    ///
    /// # Panics
    /// When there is no such block.
    #[must_use]
    pub fn block_key(&self, number: usize) -> &[u8] {
        &self.index[self.blocks[number].key.clone()]
    }

    /// The entry of `key`, copied: `Some(Some(value))`, `Some(None)` for a remove, `None` when absent.
    ///
    /// # Complexity
    /// A binary search over the index, then one block is read, checked and searched.
    ///
    /// # Errors
    /// Whatever is wrong with the block that would hold the key, or [`Error::Io`].
    pub fn get(&self, key: &[u8], buffers: &mut Buffers) -> Result<Option<Option<Vec<u8>>>, Error> {
        let Some(number) = self.block_of(key) else { return Ok(None) };
        let found = self.block(number, buffers)?.get(key)?;
        Ok(found.map(|value| value.map(<[u8]>::to_vec)))
    }

    /// The first block that may have a key of `key` or above: [`blocks`](Self::blocks) when none has.
    ///
    /// # Complexity
    /// A binary search over the index.
    #[must_use]
    pub fn block_from(&self, key: &[u8]) -> usize {
        if key > self.last_key() {
            return self.blocks.len();
        }
        let after = self.blocks.partition_point(|entry| &self.index[entry.key.clone()] <= key);
        after.saturating_sub(1)
    }

    /// Checks that the blocks, all of them seen, end and add up as the footer states.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming what differs.
    pub fn check_end(&self, last_key: &[u8], tally: Tally) -> Result<(), Error> {
        let place = || self.place.at(Part::Footer);
        if last_key != self.last_key() {
            let show = |key| KeyExcerpt::of(key).to_string();
            return Err(Error::Mismatch {
                place: place(),
                what: "the last key",
                expected: show(self.last_key()),
                got: show(last_key),
            });
        }
        check_tally(self.footer.tally, tally, place)
    }
}

impl IndexEntry {
    fn read(fields: &mut Fields<'_>, at: u64, index_at: usize) -> Option<Self> {
        let (len, entries, crc) = (fields.u32()? as usize, fields.u32()?, fields.u32()?);
        let key_len = fields.u16()? as usize;
        fields.bytes(key_len)?;
        let key_at = index_at + INDEX_ENTRY_MIN;
        Some(Self { at, len, entries, crc, key: key_at..key_at + key_len })
    }
}

/// Both tallies must be the same.
///
/// # Errors
/// [`Error::Mismatch`] at the place, with what differs.
pub fn check_tally(expected: Tally, got: Tally, place: impl Fn() -> Place) -> Result<(), Error> {
    let pairs = [
        ("the number of entries", expected.entries, got.entries),
        ("the number of removes", expected.removes, got.removes),
        ("the number of bytes in keys and values", expected.raw_bytes, got.raw_bytes),
        ("the digest's count", expected.digest.count, got.digest.count),
        ("the digest", expected.digest.sum, got.digest.sum),
    ];
    match pairs.into_iter().find(|(_, expected, got)| expected != got) {
        None => Ok(()),
        Some((what, expected, got)) => Err(Error::Mismatch {
            place: place(),
            what,
            expected: expected.to_string(),
            got: got.to_string(),
        }),
    }
}

fn read_index<S: Source>(
    source: &S,
    footer: &Footer,
    footer_at: u64,
    scratch: &mut Vec<u8>,
    place: &Place,
) -> Result<Vec<u8>, Error> {
    let at = place.at(Part::Footer);
    let fits = footer.index_at >= HEADER_LEN as u64
        && footer.index_at.checked_add(footer.index_len) == Some(footer_at);
    let len = usize::try_from(footer.index_len).ok().filter(|_| fits);
    let len = len.ok_or(Error::Malformed {
        place: at,
        what: "the index does not lie between blocks and footer",
    })?;
    let index = read(source, footer.index_at, len, scratch, place)?.to_vec();
    let got = crc32c::crc32c(&index);
    if got != footer.index_crc {
        let place = place.at(Part::Index);
        return Err(Error::ChecksumMismatch { place, expected: footer.index_crc, got });
    }
    Ok(index)
}

pub(crate) fn read<'a, S: Source>(
    source: &'a S,
    at: u64,
    len: usize,
    scratch: &'a mut Vec<u8>,
    place: &Place,
) -> Result<&'a [u8], Error> {
    source.bytes(at, len, scratch).map_err(|source| Error::Io {
        action: "read",
        path: place.file().into(),
        source,
    })
}

pub(crate) fn check_order(place: &Place, previous: &[u8], key: &[u8]) -> Result<(), Error> {
    if previous < key {
        return Ok(());
    }
    Err(Error::OutOfOrder {
        place: place.clone(),
        previous: KeyExcerpt::of(previous),
        got: KeyExcerpt::of(key),
    })
}
