//! Shards: files of entries in key order, each a key range of one store.
//!
//! The layout is in `docs/format.md`: a header that names kind, backup, store and number; blocks without
//! gaps; an index with each block's length, count, checksum and first key; a footer with counts and
//! digest. The footer's checksum covers header and footer, the footer holds the index's, the index holds
//! the blocks': one 32-bit word in the manifest leads to every byte.

use std::io::Write;
use std::path::Path;

use crate::Error;
use crate::block::BlockOptions;
use crate::error::{Part, Place};
pub use crate::file::{BackupId, FileIdentity, FileKind, Tally};
pub use crate::reader::{Buffers, FileReader, FileSource, Source, check_tally};
pub use crate::sequence::Sequence;
pub use crate::writer::FileSummary;
use crate::writer::FileWriter;

/// Writes a shard front to back, in memory bounded by one block and the index.
///
/// # Examples
/// ```
/// use std::path::Path;
/// use whimbrel_backup::block::BlockOptions;
/// use whimbrel_backup::shard::{self, BackupId, Buffers, ShardWriter};
///
/// let id = shard::identity(BackupId::generate(), 0, 0);
/// let mut writer =
///     ShardWriter::new(Vec::new(), Path::new("shard-0000"), id, BlockOptions::default())?;
/// writer.push(b"curlew", b"1")?;
/// writer.push(b"whimbrel", b"2")?;
/// let (bytes, summary) = writer.finish()?;
/// assert_eq!((summary.tally.entries, summary.bytes), (2, bytes.len() as u64));
///
/// let shard = shard::open(&bytes[..], "shard-0000")?;
/// assert_eq!(shard.get(b"curlew", &mut Buffers::default())?, Some(Some(b"1".to_vec())));
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
pub struct ShardWriter<W> {
    inner: FileWriter<W>,
}

impl<W> std::fmt::Debug for ShardWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ShardWriter").field(&self.inner).finish()
    }
}

impl<W: Write> ShardWriter<W> {
    /// Writes the header. `path` is for messages only.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::WrongKind`] when the identity is not a shard's.
    pub fn new(
        out: W,
        path: &Path,
        identity: FileIdentity,
        options: BlockOptions,
    ) -> Result<Self, Error> {
        check_kind(&identity, FileKind::Shard)?;
        Ok(Self { inner: FileWriter::new(out, path, identity, options)? })
    }

    /// Adds an entry whose key is greater than every key before.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::KeyTooLong`], [`Error::ValueTooLong`]: the entry was not added.
    /// [`Error::Io`]: the file is lost, as [`finish`](Self::finish) will say as well.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.add(key, Some(value))
    }

    /// As [`push`](Self::push), if the block at hand has room for the entry; false: it has none, and
    /// [`flush_block`](Self::flush_block) makes some. Nothing here waits for the sink.
    #[inline]
    pub(crate) fn push_within(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        self.inner.add_within(key, Some(value))
    }

    /// Writes the block at hand, which has entries.
    pub(crate) fn flush_block(&mut self) -> Result<(), Error> {
        self.inner.flush_block()
    }

    /// Counts and digest of what was pushed.
    pub(crate) fn tally(&self) -> Tally {
        self.inner.tally()
    }

    /// The key that was pushed last; empty before the first.
    pub(crate) fn last_key(&self) -> &[u8] {
        self.inner.last_key()
    }

    /// Bytes of the file so far; grows by a block at a time.
    #[must_use]
    #[inline]
    pub fn written(&self) -> u64 {
        self.inner.written()
    }

    /// Writes the last block, index and footer. The sink comes back flushed, not synced.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WriterFailed`] after an earlier one.
    pub fn finish(self) -> Result<(W, FileSummary), Error> {
        self.inner.finish()
    }
}

pub(crate) fn check_kind(identity: &FileIdentity, expected: FileKind) -> Result<(), Error> {
    if identity.kind == expected {
        return Ok(());
    }
    Err(Error::WrongKind {
        place: Place::new(&identity.file_name(), Part::Header),
        expected: expected.number(),
        got: identity.kind.number(),
    })
}

/// The identity of shard `number`, which belongs to the manifest's store number `store`.
#[must_use]
pub fn identity(backup: BackupId, store: u32, number: u32) -> FileIdentity {
    FileIdentity { kind: FileKind::Shard, backup, store, number }
}

/// Opens a shard; `name` goes into errors.
///
/// # Complexity
/// Linear in the index; the blocks are not touched.
///
/// # Errors
/// Whatever is wrong with the file's length, header, index or footer, or [`Error::Io`].
pub fn open<S: Source>(source: S, name: &str) -> Result<FileReader<S>, Error> {
    FileReader::open(source, name, FileKind::Shard)
}
