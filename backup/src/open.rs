//! Opens a backup: the manifest is checked, and that every file is there and none else.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::ends::Ends;
use crate::error::{KeyExcerpt, Part, Place};
use crate::file::FileKind;
use crate::manifest::{
    FileRecord, Link, MANIFEST, MANIFEST_PRUNED, MANIFEST_TMP, MAX_MANIFEST_LEN, Manifest, crc_of,
    too_long,
};
use crate::reader::{FileReader, Source, check_tally};
use crate::storage::{Directory, Storage};

/// A backup whose manifest is sound and whose place holds exactly the listed files, each of the listed
/// length.
///
/// # Examples
/// ```
/// use whimbrel_backup::{Backup, Error};
/// let dir = tempfile::tempdir()?;
/// assert!(matches!(Backup::open(dir.path()), Err(Error::NoManifest { .. })));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Backup {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    manifest: Arc<Manifest>,
    /// The checksum in the manifest's last member.
    crc: u32,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup")
            .field("dir", &self.dir)
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

impl Backup {
    /// Opens the backup in the directory `dir`.
    ///
    /// # Complexity
    /// Linear in the manifest; the other files are only looked at for their lengths.
    ///
    /// # Errors
    /// [`Error::NoManifest`], whatever [`Manifest::decode`] refuses, [`Error::MissingFile`],
    /// [`Error::ForeignFile`], [`Error::WrongLength`], [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_in(Arc::new(Directory::at(dir)))
    }

    /// Opens the backup in a storage; [`Location::open`](crate::Location::open) is the short way to it.
    ///
    /// # Complexity
    /// As [`open`](Self::open): the manifest is read, everything else is listed once.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let backup = Self::read_in(storage)?;
        backup.check_directory()?;
        Ok(backup)
    }

    /// Reads the manifest and does not look at the other files.
    pub(crate) fn read_in(storage: Arc<dyn Storage>) -> Result<Self, Error> {
        let bytes = read_manifest(&*storage, MANIFEST)?;
        let manifest = Arc::new(Manifest::decode(&bytes)?);
        Ok(Self { dir: storage.path(""), storage, manifest, crc: crc_of(&bytes) })
    }

    /// Where the backup is, for messages; in a directory also to open it again.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its files are read from.
    #[must_use]
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// What names it for good.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { id: self.manifest.id, crc32c: self.crc }
    }

    /// What it consists of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Path of one of its files, for messages.
    #[must_use]
    pub fn path(&self, record: &FileRecord) -> PathBuf {
        self.storage.path(&record.file)
    }

    /// The bytes of one of its files, to be checked by [`open_file`](Self::open_file).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn source(&self, record: &FileRecord) -> Result<Box<dyn Source>, Error> {
        let source = self.storage.open(&record.file);
        source.map_err(|source| Error::Io { action: "open", path: self.path(record), source })
    }

    /// Exactly the listed files are there, each of the listed length.
    pub(crate) fn check_directory(&self) -> Result<(), Error> {
        let io = |source| Error::Io { action: "read", path: self.dir.clone(), source };
        let found = self.storage.list().map_err(io)?;
        let mut listed: HashMap<&str, &FileRecord> =
            self.manifest.files().map(|(_, _, record)| (record.file.as_str(), record)).collect();
        for file in found {
            // A claim beside a manifest came too late, or was not taken away in time: it says nothing. Nor does
            // a prune that has not yet taken the manifest away.
            if [MANIFEST, MANIFEST_TMP, MANIFEST_PRUNED].contains(&file.name.as_str()) {
                continue;
            }
            let Some(record) = listed.remove(file.name.as_str()) else {
                return Err(Error::ForeignFile { dir: self.dir.clone(), file: file.name });
            };
            if file.bytes != record.bytes {
                let place = Place::new(&record.file, Part::Whole);
                return Err(Error::WrongLength { place, expected: record.bytes, got: file.bytes });
            }
        }
        match listed.into_keys().min() {
            None => Ok(()),
            Some(file) => Err(Error::MissingFile { dir: self.dir.clone(), file: file.to_owned() }),
        }
    }

    /// Opens one of its files from `source` and checks it against manifest and identity. Its blocks are
    /// checked as they are read.
    ///
    /// # Errors
    /// Whatever is wrong with header, index or footer, [`Error::Mismatch`] for a file that is not the
    /// one the manifest means, [`Error::Io`].
    pub fn open_file<S: Source>(
        &self,
        source: S,
        store: u32,
        kind: FileKind,
        record: &FileRecord,
    ) -> Result<FileReader<S>, Error> {
        let len = source.len();
        let file = FileReader::open(source, &record.file, kind)?;
        let summary = file.summary();
        self.check_record(&file.ends(), len, store, kind, record)?;
        let footer = || Place::new(&record.file, Part::Footer);
        let key = |key: &[u8]| KeyExcerpt::of(key).to_string();
        if record.first_key != summary.first_key || record.last_key != summary.last_key {
            let show = |first, last| format!("{} to {}", key(first), key(last));
            return Err(Error::Mismatch {
                place: footer(),
                what: "the key range",
                expected: show(&record.first_key, &record.last_key),
                got: show(&summary.first_key, &summary.last_key),
            });
        }
        Ok(file)
    }

    /// Checks header and footer of one of its files against manifest and identity, and reads nothing
    /// else. The index is checked by [`open_file`](Self::open_file).
    ///
    /// # Complexity
    /// Constant.
    ///
    /// # Errors
    /// Whatever is wrong with header or footer, [`Error::Mismatch`] for a file that is not the one the
    /// manifest means, [`Error::Io`].
    pub fn check_ends<S: Source>(
        &self,
        source: &S,
        store: u32,
        kind: FileKind,
        record: &FileRecord,
    ) -> Result<(), Error> {
        let ends = Ends::read(source, kind, &Place::new(&record.file, Part::Whole))?;
        self.check_record(&ends, source.len(), store, kind, record)
    }

    fn check_record(
        &self,
        ends: &Ends,
        len: u64,
        store: u32,
        kind: FileKind,
        record: &FileRecord,
    ) -> Result<(), Error> {
        let header = || Place::new(&record.file, Part::Header);
        let footer = || Place::new(&record.file, Part::Footer);
        let identity = ends.identity;
        same(header, "the backup's identity", self.manifest.id, identity.backup)?;
        same(header, "the store's number", store, identity.store)?;
        // `Manifest::decode` has refused names without a number.
        let number = record.number(kind).unwrap_or(u32::MAX);
        same(header, "the file's number", number, identity.number)?;
        same(footer, "the length", record.bytes, len)?;
        same(footer, "the number of blocks", record.blocks, ends.footer.blocks)?;
        check_tally(record.tally(), ends.footer.tally, footer)?;
        if record.crc32c == ends.crc {
            return Ok(());
        }
        Err(Error::ChecksumMismatch { place: footer(), expected: record.crc32c, got: ends.crc })
    }
}

fn same<T: PartialEq + ToString>(
    place: impl Fn() -> Place,
    what: &'static str,
    expected: T,
    got: T,
) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (expected.to_string(), got.to_string());
    Err(Error::Mismatch { place: place(), what, expected, got })
}

/// Reads the bytes of a manifest, at most as many as a manifest may have.
pub(crate) fn read_manifest(storage: &dyn Storage, name: &str) -> Result<Vec<u8>, Error> {
    let source = storage.open(name).map_err(|source| match source.kind() {
        // The place itself may be missing: then that is what to say.
        io::ErrorKind::NotFound => match storage.list() {
            Ok(_) => Error::NoManifest { dir: storage.path("") },
            Err(source) => Error::Io { action: "open", path: storage.path(""), source },
        },
        _ => Error::Io { action: "read", path: storage.path(name), source },
    })?;
    if source.len() > MAX_MANIFEST_LEN {
        return Err(too_long(source.len()));
    }
    let mut scratch = Vec::new();
    // At most 64 MiB, as was just checked.
    let len = usize::try_from(source.len()).unwrap_or(usize::MAX);
    let read = source.bytes(0, len, &mut scratch).map(<[u8]>::to_vec);
    read.map_err(|source| Error::Io { action: "read", path: storage.path(name), source })
}
