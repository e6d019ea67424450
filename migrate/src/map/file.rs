//! The slot map in one file, shared by the processes of one machine.
//!
//! Every change is an entry appended under an exclusive lock on `<file>.lock` and synced before the
//! call returns. Readers take the lock shared, and read what was appended since they last looked.
//! The lock has a file of its own because compaction replaces the map's file by renaming.
//!
//! # Crashes
//!
//! - A writer that dies before its sync leaves a tail that is cut or damaged. The next writer cuts
//!   it off: a bad entry that is followed by no whole entry was never acknowledged. One that *is*
//!   followed by a whole entry is damage to committed bytes, and the map refuses to open.
//! - Damage to exactly the last entry cannot be told from a torn write and is cut off too. Media
//!   that return other bytes than were synced are outside of what one copy can survive.
//! - A failed sync says nothing about what is on the disk, so the handle refuses further work.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::watch;

use super::codec::{
    FILE_HEADER, FILE_MAGIC, FILE_VERSION, decode_entry, encode_entry, file_header,
    holds_later_entry,
};
use super::view::{Change, View};
use super::{CasOp, CasOutcome, SlotMap};
use crate::{Error, NodeInfo, Slot, SlotRecord};

/// The file is rewritten when it is longer than this and four times what its content needs.
const COMPACT_BYTES: u64 = 1 << 20;

/// A slot map in a file that several processes of one machine may open.
///
/// # Complexity
///
/// A swap costs one append and one sync, however many records it swaps; a read costs a look at the
/// file's length. The file is compacted when it has grown to a multiple of its content.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::{FileMap, NodeId, Slot, SlotMap, SlotRecord};
///
/// let dir = tempfile::tempdir()?;
/// let (one, two) = (FileMap::open(dir.path().join("map"))?, FileMap::open(dir.path().join("map"))?);
/// let slot = Slot::new(7).expect("exists");
/// let record = SlotRecord::first(NodeId::new("a:1").expect("valid"), 1);
/// assert!(one.cas(slot, None, &record)?.is_won());
/// assert_eq!(two.get(slot)?, Some(record));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileMap {
    path: PathBuf,
    lock: File,
    io: Mutex<Io>,
    view: RwLock<View>,
    version: watch::Sender<u64>,
}

/// The open file and how far it was read; whoever holds it also holds the file lock for I/O.
#[derive(Debug)]
struct Io {
    file: File,
    inode: u64,
    /// Bytes whose entries are in the view.
    applied: u64,
    /// Sequence of the last entry.
    sequence: u64,
    /// A sync failed.
    unsynced: bool,
}

/// Holds the lock on `<file>.lock` until dropped.
struct Locked<'a>(&'a File);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::error!(%error, "the slot map's lock could not be released");
        }
    }
}

impl FileMap {
    /// Opens the map, or makes an empty one.
    ///
    /// # Errors
    ///
    /// If the file or its lock cannot be opened, is of another kind, or is damaged.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let lock_path = with_suffix(&path, ".lock");
        let lock = open_rw(&lock_path)?;
        let file = open_rw(&path)?;
        let io = Io { file, inode: 0, applied: 0, sequence: 0, unsynced: false };
        let map = Self {
            path,
            lock,
            io: Mutex::new(io),
            view: RwLock::new(View::new()),
            version: watch::Sender::new(0),
        };
        let mut io = map.io();
        let locked = map.lock_exclusive()?;
        map.catch_up(&mut io)?;
        map.cut_torn_tail(&io)?;
        drop(locked);
        drop(io);
        Ok(map)
    }

    /// Where the map is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn io(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_view<R>(&self, f: impl FnOnce(&View) -> R) -> R {
        f(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn lock_exclusive(&self) -> Result<Locked<'_>, Error> {
        self.lock.lock().map_err(|e| self.error("locking", e))?;
        Ok(Locked(&self.lock))
    }

    fn lock_shared(&self) -> Result<Locked<'_>, Error> {
        self.lock.lock_shared().map_err(|e| self.error("locking", e))?;
        Ok(Locked(&self.lock))
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::file(&self.path, action, source)
    }

    fn corrupt(&self, offset: u64, cause: impl ToString) -> Error {
        Error::CorruptFile { file: self.path.clone(), offset, cause: cause.to_string() }
    }

    /// Reads what was appended, or everything where the file was replaced. Needs the lock.
    fn catch_up(&self, io: &mut Io) -> Result<(), Error> {
        if io.unsynced {
            return Err(Error::UnsyncedFile { file: self.path.clone() });
        }
        let meta = std::fs::metadata(&self.path).map_err(|e| self.error("reading", e))?;
        if meta.ino() != io.inode {
            io.file = open_rw(&self.path)?;
            io.inode = meta.ino();
            (io.applied, io.sequence) = (0, 0);
        }
        if meta.len() == io.applied {
            return Ok(());
        }
        if meta.len() < io.applied {
            return Err(self.corrupt(meta.len(), "the file became shorter than it was"));
        }
        let mut bytes = Vec::new();
        let from = io.applied;
        io.file.seek(SeekFrom::Start(from)).map_err(|e| self.error("reading", e))?;
        io.file.read_to_end(&mut bytes).map_err(|e| self.error("reading", e))?;
        let start = if from == 0 { self.check_header(&bytes)? } else { 0 };
        self.apply_entries(io, from, &bytes, start)
    }

    fn check_header(&self, bytes: &[u8]) -> Result<usize, Error> {
        let head = file_header();
        if bytes.len() < FILE_HEADER {
            // A writer died while it made the file: nothing was ever acknowledged.
            if head.starts_with(bytes) || bytes.iter().all(|&b| b == 0) {
                return Ok(0);
            }
            return Err(self.foreign(bytes));
        }
        if bytes[..8] != FILE_MAGIC {
            return Err(self.foreign(&bytes[..8]));
        }
        if bytes[..FILE_HEADER] == head {
            return Ok(FILE_HEADER);
        }
        let found = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let crc = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if crc == crc32c::crc32c(&bytes[..12]) {
            let (file, supported) = (self.path.clone(), FILE_VERSION);
            return Err(Error::UnsupportedVersion { file, found, supported });
        }
        Err(self.corrupt(8, "the header's checksum does not fit"))
    }

    fn foreign(&self, bytes: &[u8]) -> Error {
        let found = bytes[..bytes.len().min(8)].to_vec();
        Error::ForeignFile { file: self.path.clone(), expected: "slot map", found }
    }

    fn apply_entries(&self, io: &mut Io, from: u64, bytes: &[u8], at: usize) -> Result<(), Error> {
        let mut at = at;
        let mut changes = Vec::new();
        while at < bytes.len() {
            let entry = match decode_entry(&bytes[at..]) {
                Ok(entry) => entry,
                Err(cause) => {
                    if holds_later_entry(&bytes[at..], io.sequence + 1) {
                        return Err(self.corrupt(from + at as u64, cause));
                    }
                    break;
                }
            };
            if io.sequence != 0 && entry.sequence != io.sequence + 1 {
                let cause = format!("entry {} follows entry {}", entry.sequence, io.sequence);
                return Err(self.corrupt(from + at as u64, cause));
            }
            io.sequence = entry.sequence;
            changes.extend(entry.changes);
            at += entry.len;
        }
        io.applied = from + at as u64;
        self.publish(changes);
        Ok(())
    }

    fn publish(&self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        changes.into_iter().for_each(|c| view.apply(c));
        drop(view);
        self.version.send_modify(|v| *v += 1);
    }

    /// Cuts what a dead writer left behind the last whole entry. Needs the exclusive lock.
    fn cut_torn_tail(&self, io: &Io) -> Result<(), Error> {
        let len = io.file.metadata().map_err(|e| self.error("reading", e))?.len();
        if len > io.applied {
            tracing::warn!(file = %self.path.display(), from = io.applied, to = len,
                "cutting off what a dead writer left at the end of the slot map");
            io.file.set_len(io.applied).map_err(|e| self.error("cutting", e))?;
        }
        Ok(())
    }

    /// Appends and syncs one entry, then shows it. Needs the exclusive lock and a caught-up view.
    fn append(&self, io: &mut Io, changes: Vec<Change>) -> Result<(), Error> {
        self.cut_torn_tail(io)?;
        let mut bytes = if io.applied == 0 { file_header().to_vec() } else { Vec::new() };
        bytes.extend_from_slice(&encode_entry(io.sequence + 1, &changes));
        let written =
            io.file.seek(SeekFrom::Start(io.applied)).and_then(|_| io.file.write_all(&bytes));
        if let Err(e) = written {
            // Whatever was written is no whole entry; if cutting fails too, the next writer cuts.
            let _ = io.file.set_len(io.applied);
            return Err(self.error("writing", e));
        }
        if let Err(e) = io.file.sync_all() {
            io.unsynced = true;
            return Err(self.error("syncing", e));
        }
        if io.applied == 0 {
            self.sync_directory()?;
        }
        io.applied += bytes.len() as u64;
        io.sequence += 1;
        self.publish(changes);
        self.compact_if_long(io);
        Ok(())
    }

    fn sync_directory(&self) -> Result<(), Error> {
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let dir = parent.unwrap_or(Path::new("."));
        File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::file(dir, "syncing", e))
    }

    /// Rewrites a file that is mostly history. A failure only leaves the file long.
    fn compact_if_long(&self, io: &mut Io) {
        if io.applied < COMPACT_BYTES {
            return;
        }
        let mut bytes = file_header().to_vec();
        bytes.extend_from_slice(&encode_entry(io.sequence, &self.with_view(View::changes)));
        if io.applied < 4 * bytes.len() as u64 {
            return;
        }
        if let Err(error) = self.replace(io, &bytes) {
            tracing::warn!(%error, "the slot map could not be compacted");
        }
    }

    fn replace(&self, io: &mut Io, bytes: &[u8]) -> Result<(), Error> {
        let temporary = with_suffix(&self.path, ".tmp");
        let write = || -> std::io::Result<File> {
            let options =
                OpenOptions::new().read(true).write(true).create(true).truncate(true).to_owned();
            let mut file = options.open(&temporary)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|e| Error::file(&temporary, "writing", e));
        let file = file.inspect_err(|_| {
            let _ = std::fs::remove_file(&temporary);
        })?;
        let inode = file.metadata().map_err(|e| self.error("reading", e))?.ino();
        std::fs::rename(&temporary, &self.path).map_err(|e| self.error("renaming", e))?;
        (io.file, io.inode, io.applied) = (file, inode, bytes.len() as u64);
        // Before this sync a crash brings the old file back, which holds the same records; after a
        // failed one later appends might go to a file that a crash takes away.
        self.sync_directory().inspect_err(|_| io.unsynced = true)
    }

    fn change(
        &self,
        decide: impl FnOnce(&View) -> Result<Vec<Change>, Error>,
    ) -> Result<(), Error> {
        let mut io = self.io();
        let _locked = self.lock_exclusive()?;
        self.catch_up(&mut io)?;
        let changes = self.with_view(decide)?;
        if changes.is_empty() { Ok(()) } else { self.append(&mut io, changes) }
    }
}

fn open_rw(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.open(path).map_err(|e| Error::file(path, "opening", e))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl SlotMap for FileMap {
    fn get(&self, slot: Slot) -> Result<Option<SlotRecord>, Error> {
        self.refresh()?;
        Ok(self.peek(slot))
    }

    fn all(&self) -> Result<Vec<(Slot, SlotRecord)>, Error> {
        self.refresh()?;
        Ok(self.with_view(View::all))
    }

    fn cas_many(&self, ops: &[CasOp]) -> Result<Vec<CasOutcome>, Error> {
        let mut outcomes = Vec::new();
        self.change(|view| {
            let (decided, changes) = view.decide(ops)?;
            outcomes = decided;
            Ok(changes)
        })?;
        Ok(outcomes)
    }

    fn put_node(&self, node: &NodeInfo) -> Result<(), Error> {
        self.change(|view| {
            let known = view.nodes().contains(node);
            Ok(if known { Vec::new() } else { vec![Change::Node(node.clone())] })
        })
    }

    fn refresh(&self) -> Result<(), Error> {
        let mut io = self.io();
        let _locked = self.lock_shared()?;
        self.catch_up(&mut io)
    }

    fn peek(&self, slot: Slot) -> Option<SlotRecord> {
        self.with_view(|view| view.get(slot).cloned())
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.with_view(View::nodes)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
