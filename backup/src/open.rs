//! Opens a backup's directory: the manifest is checked, and that every file is there and none else.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::ends::Ends;
use crate::error::{KeyExcerpt, Part, Place};
use crate::file::FileKind;
use crate::manifest::{FileRecord, Link, MANIFEST, MAX_MANIFEST_LEN, Manifest, crc_of};
use crate::reader::{FileReader, Source, check_tally};
use crate::storage;

/// A backup on disk whose manifest is sound and whose directory holds exactly the listed files, each of
/// the listed length.
///
/// # Examples
/// ```
/// use whimbrel_backup::{Backup, Error};
/// let dir = tempfile::tempdir()?;
/// assert!(matches!(Backup::open(dir.path()), Err(Error::NoManifest { .. })));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Backup {
    dir: PathBuf,
    manifest: Manifest,
    /// The checksum in the manifest's last member.
    crc: u32,
}

impl Backup {
    /// Opens the backup in `dir`.
    ///
    /// # Complexity
    /// Linear in the manifest; the other files are only looked at for their lengths.
    ///
    /// # Errors
    /// [`Error::NoManifest`], whatever [`Manifest::decode`] refuses, [`Error::MissingFile`],
    /// [`Error::ForeignFile`], [`Error::WrongLength`], [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let backup = Self::read(dir)?;
        backup.check_directory()?;
        Ok(backup)
    }

    /// Reads the manifest and does not look at the other files.
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let bytes = read_manifest(dir)?;
        let manifest = Manifest::decode(&bytes)?;
        Ok(Self { dir: dir.to_owned(), manifest, crc: crc_of(&bytes) })
    }

    /// Where the backup is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
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

    /// Path of one of its files.
    #[must_use]
    pub fn path(&self, record: &FileRecord) -> PathBuf {
        self.dir.join(&record.file)
    }

    /// Exactly the listed files are there, each of the listed length.
    pub(crate) fn check_directory(&self) -> Result<(), Error> {
        let io = |path: &Path, source| Error::Io { action: "read", path: path.to_owned(), source };
        let names = storage::list(&self.dir).map_err(|source| io(&self.dir, source))?;
        let mut listed: HashMap<&str, &FileRecord> =
            self.manifest.files().map(|(_, _, record)| (record.file.as_str(), record)).collect();
        for name in names {
            if name == MANIFEST {
                continue;
            }
            let Some(record) = listed.remove(name.as_str()) else {
                return Err(Error::ForeignFile { dir: self.dir.clone(), file: name });
            };
            let path = self.path(record);
            let got = fs::metadata(&path).map_err(|source| io(&path, source))?.len();
            if got != record.bytes {
                let place = Place::new(&record.file, Part::Whole);
                return Err(Error::WrongLength { place, expected: record.bytes, got });
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

/// Reads the manifest's bytes, at most as many as a manifest may have.
fn read_manifest(dir: &Path) -> Result<Vec<u8>, Error> {
    let path = dir.join(MANIFEST);
    let read = || {
        let mut bytes = Vec::new();
        // One more than allowed, so that a longer file is refused by its length.
        File::open(&path)?.take(MAX_MANIFEST_LEN + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::NotFound if dir.is_dir() => Error::NoManifest { dir: dir.to_owned() },
        io::ErrorKind::NotFound => Error::Io { action: "open", path: dir.to_owned(), source },
        _ => Error::Io { action: "read", path: path.clone(), source },
    })
}
