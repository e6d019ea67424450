//! Change deltas: the puts and removes that lead from one snapshot of a store to a later one.
//!
//! A change delta carries state, not history: a key appears once, with its newest value or as removed.
//! Replaying one twice is therefore harmless, and so is replaying one whose changes are partly there.

use std::io::Write;
use std::path::Path;

use crate::Error;
use crate::block::BlockOptions;
use crate::file::{BackupId, FileIdentity, FileKind};
use crate::reader::{FileReader, Source};
use crate::shard::check_kind;
use crate::writer::{FileSummary, FileWriter};

/// Writes a change delta front to back, in memory bounded by one block and the index.
///
/// # Examples
/// ```
/// use std::path::Path;
/// use whimbrel_backup::block::BlockOptions;
/// use whimbrel_backup::delta::{self, DeltaWriter};
/// use whimbrel_backup::shard::{BackupId, Buffers};
///
/// let id = delta::identity(BackupId::generate(), 0, 0);
/// let mut writer =
///     DeltaWriter::new(Vec::new(), Path::new("delta-0000"), id, BlockOptions::default())?;
/// writer.put(b"a", b"new")?;
/// writer.remove(b"b")?;
/// let (bytes, summary) = writer.finish()?;
/// assert_eq!((summary.tally.entries, summary.tally.removes), (1, 1));
///
/// let delta = delta::open(&bytes[..], "delta-0000")?;
/// assert_eq!(delta.get(b"b", &mut Buffers::default())?, Some(None));
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
pub struct DeltaWriter<W> {
    inner: FileWriter<W>,
}

impl<W> std::fmt::Debug for DeltaWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeltaWriter").field(&self.inner).finish()
    }
}

impl<W: Write> DeltaWriter<W> {
    /// Writes the header. `path` is for messages only.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::WrongKind`] when the identity is not a change delta's.
    pub fn new(
        out: W,
        path: &Path,
        identity: FileIdentity,
        options: BlockOptions,
    ) -> Result<Self, Error> {
        check_kind(&identity, FileKind::ChangeDelta)?;
        Ok(Self { inner: FileWriter::new(out, path, identity, options)? })
    }

    /// Adds the newest value of a key that is greater than every key before.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::KeyTooLong`], [`Error::ValueTooLong`]: the entry was not added.
    /// [`Error::Io`]: the file is lost, as [`finish`](Self::finish) will say as well.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.add(key, Some(value))
    }

    /// Adds the remove of a key that is greater than every key before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.inner.add(key, None)
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

/// The identity of change delta `number`, which belongs to the manifest's store number `store`.
#[must_use]
pub fn identity(backup: BackupId, store: u32, number: u32) -> FileIdentity {
    FileIdentity { kind: FileKind::ChangeDelta, backup, store, number }
}

/// Opens a change delta; `name` goes into errors.
///
/// # Complexity
/// Linear in the index; the blocks are not touched.
///
/// # Errors
/// Whatever is wrong with the file's length, header, index or footer, or [`Error::Io`].
pub fn open<S: Source>(source: S, name: &str) -> Result<FileReader<S>, Error> {
    FileReader::open(source, name, FileKind::ChangeDelta)
}
