//! Maps a file of a backup into memory.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Advice, Mmap};
use whimbrel_backup::manifest::FileRecord;
use whimbrel_backup::shard::Source;
use whimbrel_backup::{Backup, Error};

/// The bytes of a file of a backup: mapped where it is a file, read in ranges elsewhere.
pub(crate) fn source(backup: &Backup, record: &FileRecord) -> Result<Box<dyn Source>, Error> {
    match backup.storage().local_path(&record.file) {
        Some(path) => Ok(Box::new(Mapped::open(&path)?)),
        None => backup.source(record),
    }
}

/// A mapped file. Its pages are read when they are touched and need no buffer of ours.
#[derive(Debug)]
pub(crate) struct Mapped {
    map: Mmap,
}

impl Mapped {
    /// Maps the whole file, read-only.
    ///
    /// A file that another process cuts short while it is mapped ends this process with SIGBUS; one
    /// that it overwrites may be refused or, if that happens after a block's checksum was compared,
    /// restored wrongly and then refused by its digest. Nobody may write to a published backup.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let open = || {
            let file = File::open(path)?;
            let map = map(&file)?;
            // Only a hint; without it everything works, with less reading ahead.
            let _ = map.advise(Advice::Sequential);
            Ok(Self { map })
        };
        let io = |source| Error::Io { action: "map", path: path.to_owned(), source };
        open().map_err(io)
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
        let start = usize::try_from(at).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(len)?));
        let bytes = range.and_then(|range| self.map.get(range));
        bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
