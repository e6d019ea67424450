//! GC deltas: entries that complete a snapshot which was given up while it was exported.
//!
//! [`export_non_intrusive`](crate::export_non_intrusive()) writes them. Each has entries of the snapshot in key
//! order, as a shard has; together with the shards they are the snapshot. Key ranges of GC deltas overlap
//! each other and the shards. A key may be in several files of a store, with the same value each time
//! (this release writes it once); whoever restores counts it once.

use std::io::Write;
use std::path::Path;

use crate::Error;
use crate::block::BlockOptions;
use crate::file::{BackupId, FileIdentity, FileKind};
use crate::reader::{FileReader, Source};
use crate::shard::check_kind;
use crate::writer::{FileSummary, FileWriter};

/// Writes a GC delta front to back, in memory bounded by one block and the index.
///
/// # Examples
/// ```
/// use std::path::Path;
/// use whimbrel_backup::block::BlockOptions;
/// use whimbrel_backup::gc_delta::{self, GcDeltaWriter};
/// use whimbrel_backup::shard::{BackupId, Buffers};
///
/// let id = gc_delta::identity(BackupId::generate(), 0, 0);
/// let mut writer =
///     GcDeltaWriter::new(Vec::new(), Path::new("gc-0000"), id, BlockOptions::default())?;
/// writer.push(b"a", b"old")?;
/// let (bytes, summary) = writer.finish()?;
/// assert_eq!((summary.tally.entries, summary.tally.removes), (1, 0));
///
/// let delta = gc_delta::open(&bytes[..], "gc-0000")?;
/// assert_eq!(delta.get(b"a", &mut Buffers::default())?, Some(Some(b"old".to_vec())));
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
pub struct GcDeltaWriter<W> {
    inner: FileWriter<W>,
}

impl<W> std::fmt::Debug for GcDeltaWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GcDeltaWriter").field(&self.inner).finish()
    }
}

impl<W: Write> GcDeltaWriter<W> {
    /// Writes the header. `path` is for messages only.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::WrongKind`] when the identity is not a GC delta's.
    pub fn new(
        out: W,
        path: &Path,
        identity: FileIdentity,
        options: BlockOptions,
    ) -> Result<Self, Error> {
        check_kind(&identity, FileKind::GcDelta)?;
        Ok(Self { inner: FileWriter::new(out, path, identity, options)? })
    }

    /// Adds an entry whose key is greater than every key before.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::KeyTooLong`], [`Error::ValueTooLong`]: the entry was not added.
    /// [`Error::Io`]: the file is lost, as [`finish`](Self::finish) will say as well.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.add(key, Some(value))
    }

    /// Writes the last block, index and footer. The sink comes back flushed, not synced.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WriterFailed`] after an earlier one.
    pub fn finish(self) -> Result<(W, FileSummary), Error> {
        self.inner.finish()
    }
}

/// The identity of GC delta `number`, which belongs to the manifest's store number `store`.
#[must_use]
pub fn identity(backup: BackupId, store: u32, number: u32) -> FileIdentity {
    FileIdentity { kind: FileKind::GcDelta, backup, store, number }
}

/// Opens a GC delta; `name` goes into errors.
///
/// # Complexity
/// Linear in the index; the blocks are not touched.
///
/// # Errors
/// Whatever is wrong with the file's length, header, index or footer, or [`Error::Io`].
pub fn open<S: Source>(source: S, name: &str) -> Result<FileReader<S>, Error> {
    FileReader::open(source, name, FileKind::GcDelta)
}
