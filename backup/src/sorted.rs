//! Sorted files: puts and removes in key order, made outside of a store, to be ingested into one.
//!
//! The layout is that of a change delta (see [`crate::shard`]), under a kind of its own, so that neither is taken for
//! the other. Where the header of a backup's file has the backup's identity, that of a sorted file has
//! one that no other file has: an ingest is recognised by the identities of its files.

use std::io;
use std::path::Path;

use crate::Error;
use crate::block::BlockOptions;
use crate::file::{BackupId, FileIdentity, FileKind};
use crate::publish::Sink;
use crate::reader::{FileReader, Source};
use crate::storage::{Directory, Storage};
use crate::writer::{FileSummary, FileWriter};

/// Writes a sorted file front to back, in memory bounded by one block and the index.
///
/// The file has its name when [`finish`](Self::finish) has returned, whole and durable, and not before: until
/// then it is written under another name beside it. Dropped before that, the writer takes away what it made; a
/// crash leaves a file `NAME.tmp-IDENTITY`, which nothing reads and may be removed.
///
/// # Examples
/// ```
/// use whimbrel_backup::shard::Buffers;
/// use whimbrel_backup::sorted::{self, SortedFileWriter};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("monday.sorted");
/// let mut writer = SortedFileWriter::create(&path)?;
/// writer.put(b"curlew", b"1")?;
/// writer.remove(b"dodo")?;
/// assert!(writer.put(b"avocet", b"1").is_err(), "keys ascend");
/// let summary = writer.finish()?;
/// assert_eq!((summary.tally.entries, summary.tally.removes), (1, 1));
///
/// let bytes = std::fs::read(&path)?;
/// let file = sorted::open(&bytes[..], "monday.sorted")?;
/// assert_eq!(file.get(b"dodo", &mut Buffers::default())?, Some(None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SortedFileWriter {
    storage: Box<dyn Storage + Send>,
    name: String,
    temporary: String,
    is_synced: bool,
    /// None once it has its name.
    inner: Option<FileWriter<Sink>>,
}

impl std::fmt::Debug for SortedFileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SortedFileWriter")
            .field("path", &self.storage.path(&self.name))
            .field("inner", &self.inner)
            .finish()
    }
}

impl SortedFileWriter {
    /// Begins the file `path` with default [`BlockOptions`]. Its directory is created where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`], also when there is a file of that name.
    pub fn create(path: &Path) -> Result<Self, Error> {
        Self::create_with(path, BlockOptions::default())
    }

    /// Begins the file `path`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with(path: &Path, options: BlockOptions) -> Result<Self, Error> {
        let no_name = || Error::Io {
            action: "create",
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "the path does not name a file"),
        };
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(no_name)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = Directory::create(parent.unwrap_or(Path::new(".")))?;
        Self::create_in(directory, name, options)
    }

    /// Begins a file of this name where `storage` puts it.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_in(
        storage: impl Storage + 'static,
        name: &str,
        options: BlockOptions,
    ) -> Result<Self, Error> {
        let backup = BackupId::generate();
        let temporary = format!("{name}.tmp-{backup}");
        let identity = FileIdentity { kind: FileKind::Sorted, backup, store: 0, number: 0 };
        let (storage, name) = (Box::new(storage), name.to_owned());
        let mut writer = Self { storage, name, temporary, is_synced: true, inner: None };
        writer.refuse_existing()?;
        let sink = writer.storage.create_new(&writer.temporary);
        let sink = sink.map_err(|source| writer.io("create", &writer.temporary, source))?;
        let path = writer.storage.path(&writer.name);
        let inner = FileWriter::new(sink, &path, identity, options);
        if inner.is_err() {
            let _ = writer.storage.remove(&writer.temporary);
        }
        writer.inner = Some(inner?);
        Ok(writer)
    }

    /// Leaves out the syncs, for a file that need not survive a crash of the system, such as one that is read
    /// again and removed by this process.
    #[must_use]
    pub fn without_sync(mut self) -> Self {
        self.is_synced = false;
        self
    }

    /// Adds a put whose key is greater than every key before.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`], [`Error::KeyTooLong`], [`Error::ValueTooLong`]: it was not added.
    /// [`Error::Io`]: the file is lost, as [`finish`](Self::finish) will say as well.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.add(key, Some(value))
    }

    /// Adds the remove of a key that is greater than every key before.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.add(key, None)
    }

    fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        match &mut self.inner {
            Some(inner) => inner.add(key, value),
            None => Err(Error::WriterFailed { path: self.storage.path(&self.name) }),
        }
    }

    /// Writes the rest, syncs the file, and gives it its name. Success means durable, unless
    /// [`without_sync`](Self::without_sync) was asked for.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::WriterFailed`] after an earlier one. There is no file of the name then.
    pub fn finish(mut self) -> Result<FileSummary, Error> {
        let Some(inner) = self.inner.take() else {
            return Err(Error::WriterFailed { path: self.storage.path(&self.name) });
        };
        self.publish(inner).inspect_err(|_| {
            // Best effort: what stays has no name that anybody reads.
            let _ = self.storage.remove(&self.temporary);
        })
    }

    fn publish(&self, inner: FileWriter<Sink>) -> Result<FileSummary, Error> {
        let (mut sink, summary) = inner.finish()?;
        if self.is_synced {
            sink.sync().map_err(|source| self.io("sync", &self.temporary, source))?;
        }
        drop(sink);
        self.refuse_existing()?;
        let renamed = self.storage.rename(&self.temporary, &self.name);
        renamed.map_err(|source| self.io("rename", &self.temporary, source))?;
        if self.is_synced
            && let Err(source) = self.storage.sync_names()
        {
            let _ = self.storage.remove(&self.name);
            return Err(self.io("sync", "", source));
        }
        Ok(summary)
    }

    fn refuse_existing(&self) -> Result<(), Error> {
        let files = self.storage.list().map_err(|source| self.io("list", "", source))?;
        if files.iter().any(|file| file.name == self.name) {
            return Err(self.io("create", &self.name, io::ErrorKind::AlreadyExists.into()));
        }
        Ok(())
    }

    fn io(&self, action: &'static str, name: &str, source: io::Error) -> Error {
        Error::Io { action, path: self.storage.path(name), source }
    }
}

impl Drop for SortedFileWriter {
    fn drop(&mut self) {
        if self.inner.take().is_some() {
            // Best effort, as in `finish`.
            let _ = self.storage.remove(&self.temporary);
        }
    }
}

/// Opens a sorted file; `name` goes into errors.
///
/// # Complexity
/// Linear in the index; the blocks are not touched.
///
/// # Errors
/// Whatever is wrong with the file's length, header, index or footer, or [`Error::Io`].
pub fn open<S: Source>(source: S, name: &str) -> Result<FileReader<S>, Error> {
    FileReader::open(source, name, FileKind::Sorted)
}
