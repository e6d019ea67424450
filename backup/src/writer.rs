//! Writes a file of blocks, front to back, to anything that takes bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::block::{
    BlockBuilder, BlockKind, BlockOptions, HEADER_LEN as BLOCK_HEADER_LEN, MAX_KEY_LEN,
};
use crate::bytes::len_u32;
use crate::error::{KeyExcerpt, Part, Place};
use crate::file::{FOOTER_LEN, FileIdentity, FileKind, Footer, HEADER_LEN, Tally, Tallying};

/// What a finished file holds; the manifest records it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileSummary {
    /// What the file's header says.
    pub identity: FileIdentity,
    /// Bytes of the file.
    pub bytes: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Counts and digest.
    pub tally: Tally,
    /// First key, empty when there are no entries.
    pub first_key: Vec<u8>,
    /// Last key, empty when there are no entries.
    pub last_key: Vec<u8>,
    /// Checksum over header and footer, which leads to every other byte of the file.
    pub crc: u32,
}

/// Writes entries in strictly ascending key order; shards and deltas are faces of it.
pub(crate) struct FileWriter<W> {
    out: W,
    path: PathBuf,
    identity: FileIdentity,
    builder: BlockBuilder,
    block: Vec<u8>,
    index: Vec<u8>,
    first_key: Vec<u8>,
    /// First key of the block being built.
    block_key: Vec<u8>,
    blocks: u32,
    written: u64,
    tally: Tallying,
    /// Set by the first failed write: what follows it would be a file with a hole.
    failed: bool,
}

impl<W> std::fmt::Debug for FileWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter")
            .field("path", &self.path)
            .field("blocks", &self.blocks)
            .field("written", &self.written)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl<W: Write> FileWriter<W> {
    /// Writes the header. `path` is for messages only.
    pub(crate) fn new(
        out: W,
        path: &Path,
        identity: FileIdentity,
        options: BlockOptions,
    ) -> Result<Self, Error> {
        let kind = match identity.kind {
            FileKind::Shard | FileKind::GcDelta => BlockKind::Entries,
            FileKind::ChangeDelta | FileKind::Sorted => BlockKind::Changes,
        };
        let mut writer = Self {
            out,
            path: path.to_owned(),
            identity,
            builder: BlockBuilder::new(kind, options),
            block: Vec::new(),
            index: Vec::new(),
            first_key: Vec::new(),
            block_key: Vec::new(),
            blocks: 0,
            written: 0,
            tally: Tallying::default(),
            failed: false,
        };
        writer.write(&identity.encode())?;
        Ok(writer)
    }

    /// Adds one entry, or a remove where there is no value.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        if !self.add_within(key, value)? {
            self.flush_block()?;
            let added = self.add_within(key, value)?;
            debug_assert!(added, "an empty block takes any entry");
        }
        Ok(())
    }

    /// As [`add`](Self::add), if the block at hand has room for the entry; false: it has none, and
    /// [`flush_block`](Self::flush_block) makes some. Nothing here waits for the sink.
    #[inline]
    pub(crate) fn add_within(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<bool, Error> {
        if self.builder.is_empty() {
            self.begin_block(key)?;
        }
        let added = self.builder.try_add(key, value)?;
        if added {
            self.tally.add(key, value);
        }
        Ok(added)
    }

    /// Counts and digest of what was added.
    pub(crate) fn tally(&self) -> Tally {
        self.tally.tally()
    }

    /// The key that was added last; empty before the first.
    pub(crate) fn last_key(&self) -> &[u8] {
        self.builder.last_key()
    }

    /// Bytes handed to the sink so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// The builder checks order within a block; this is the check across blocks.
    fn begin_block(&mut self, key: &[u8]) -> Result<(), Error> {
        if self.blocks > 0 && key <= self.builder.last_key() {
            return Err(Error::OutOfOrder {
                place: Place::new(&self.identity.file_name(), Part::Block(self.blocks.into())),
                previous: KeyExcerpt::of(self.builder.last_key()),
                got: KeyExcerpt::of(key),
            });
        }
        self.block_key.clear();
        self.block_key.extend_from_slice(key);
        Ok(())
    }

    /// Writes the block at hand, which has entries.
    pub(crate) fn flush_block(&mut self) -> Result<(), Error> {
        self.block.clear();
        let entries = self.builder.len();
        let len = self.builder.finish_into(&mut self.block)?;
        assert!(self.block_key.len() <= MAX_KEY_LEN, "the builder refused longer keys");
        if self.blocks == 0 {
            self.first_key.clone_from(&self.block_key);
        }
        self.index.extend_from_slice(&len_u32(len).to_le_bytes());
        self.index.extend_from_slice(&entries.to_le_bytes());
        self.index.extend_from_slice(&self.block[28..BLOCK_HEADER_LEN]);
        self.index.extend_from_slice(&len_u32(self.block_key.len()).to_le_bytes()[..2]);
        self.index.extend_from_slice(&self.block_key);
        self.blocks += 1;
        let block = std::mem::take(&mut self.block);
        let written = self.write(&block);
        self.block = block;
        written
    }

    /// Writes the last block, index and footer, and hands the sink back, flushed and not synced.
    pub(crate) fn finish(mut self) -> Result<(W, FileSummary), Error> {
        if !self.builder.is_empty() {
            self.flush_block()?;
        }
        let last_key = self.builder.last_key().to_vec();
        self.index.extend_from_slice(&last_key);
        let tally = self.tally();
        let footer = Footer {
            index_at: self.written,
            index_len: self.index.len() as u64,
            blocks: self.blocks,
            last_key_len: len_u32(last_key.len()),
            tally,
            index_crc: crc32c::crc32c(&self.index),
        };
        let index = std::mem::take(&mut self.index);
        self.write(&index)?;
        let footer: [u8; FOOTER_LEN] = footer.encode(&self.identity.encode());
        self.write(&footer)?;
        self.out.flush().map_err(|source| self.write_error(source))?;
        let summary = FileSummary {
            identity: self.identity,
            bytes: self.written,
            blocks: self.blocks,
            tally,
            first_key: self.first_key,
            last_key,
            crc: Footer::crc(&footer),
        };
        debug_assert!(summary.bytes >= (HEADER_LEN + FOOTER_LEN) as u64, "both ends are written");
        Ok((self.out, summary))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.failed {
            return Err(Error::WriterFailed { path: self.path.clone() });
        }
        if let Err(source) = self.out.write_all(bytes) {
            self.failed = true;
            return Err(self.write_error(source));
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn write_error(&self, source: std::io::Error) -> Error {
        Error::Io { action: "write", path: self.path.clone(), source }
    }
}
