//! Maps a file of a backup into memory.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::{Advice, Mmap};
use whimbrel_backup::manifest::FileRecord;
use whimbrel_backup::shard::Source;
use whimbrel_backup::{Backup, Error};

/// The bytes of a file of a backup, to be read from front to back soon: mapped where it is a file, read in
/// ranges elsewhere.
pub(crate) fn source(backup: &Backup, record: &FileRecord) -> Result<Box<dyn Source>, Error> {
    match backup.storage().local_path(&record.file) {
        Some(path) => Ok(Box::new(Mapped::open(&path)?)),
        None => backup.source(record),
    }
}

/// The same, for as long as somebody wants to look something up.
pub(crate) fn source_for_lookups(
    backup: &Backup,
    record: &FileRecord,
) -> Result<Box<dyn Source>, Error> {
    match backup.storage().local_path(&record.file) {
        Some(path) => Ok(Box::new(Mapped::open_for_lookups(&path)?)),
        None => backup.source(record),
    }
}

/// A mapped file. Its pages are read when they are touched and need no buffer of ours.
///
/// Nobody may write to a published backup. What happens when somebody does:
///
/// - A file that was cut short is refused with an error: its length is looked at before bytes of it are
///   lent. One that is cut in the moment between that look and the reading ends the process with SIGBUS.
/// - One that is overwritten may be refused by a checksum, or, if that happens after a block's checksum was
///   compared, be read wrongly: a restore refuses it by its digest then.
#[derive(Debug)]
struct Mapped {
    map: Mmap,
    watch: Watch,
}

/// How the length of the file is looked at.
#[derive(Debug)]
enum Watch {
    /// By a descriptor that stays open.
    Open(File),
    /// By name, for readers of many files at once: descriptors are few. A file that has another
    /// identity by now is not the mapped one, which nobody can cut any more.
    Named { path: PathBuf, device: u64, inode: u64 },
}

impl Mapped {
    /// Maps the whole file, read-only, to be read from front to back soon.
    fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let file = File::open(path)?;
            let map = map(&file)?;
            // Only a hint; without it everything works, with less reading ahead.
            let _ = map.advise(Advice::Sequential);
            Ok(Self { map, watch: Watch::Open(file) })
        };
        open().map_err(|source| Self::error(path, source))
    }

    /// Maps the whole file, read-only, for as long as somebody wants to look something up. Keeps no
    /// descriptor.
    fn open_for_lookups(path: &Path) -> Result<Self, Error> {
        let open = || {
            let file = File::open(path)?;
            let is = file.metadata()?;
            let path = path.to_owned();
            let watch = Watch::Named { path, device: is.dev(), inode: is.ino() };
            Ok(Self { map: map(&file)?, watch })
        };
        open().map_err(|source| Self::error(path, source))
    }

    fn error(path: &Path, source: io::Error) -> Error {
        Error::Io { action: "map", path: path.to_owned(), source }
    }

    /// An error when the file is shorter than its mapping.
    fn check_length(&self) -> io::Result<()> {
        let now = match &self.watch {
            Watch::Open(file) => Some(file.metadata()?),
            Watch::Named { path, device, inode } => {
                let same = |is: &Metadata| (is.dev(), is.ino()) == (*device, *inode);
                fs::metadata(path).ok().filter(same)
            }
        };
        match now {
            Some(now) if now.len() < self.map.len() as u64 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("it was cut from {} to {} bytes", self.map.len(), now.len()),
            )),
            _ => Ok(()),
        }
    }
}

#[expect(unsafe_code, reason = "the one place of this crate that maps a file")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: files of a backup are written once, synced, and never written again by this project once
    // the manifest that lists them has its name; only such files are mapped (`Backup::open` came before),
    // and read-only. Bytes are only ever read as plain `u8`, by code that checks every bound and treats
    // them as hostile.
    unsafe { Mmap::map(file) }
}

impl Source for Mapped {
    fn len(&self) -> u64 {
        self.map.len() as u64
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, _: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        self.check_length()?;
        let start = usize::try_from(at).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        let bytes = range.and_then(|range| self.map.get(range));
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
