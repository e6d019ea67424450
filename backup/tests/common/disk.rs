//! A disk in memory that remembers every operation, fails one where it is told to, and says what it may hold
//! after a crash.
//!
//! What the process sees is the *live* image. The *durable* one is what the operations up to a crash force the
//! disk to have; around it much is possible, and [`Crash`] draws one possibility at a time:
//!
//! - a write since the last sync of its file may be there, be lost, or be torn at any sector; where only the
//!   length grew, zeros are read;
//! - of the operations on names since the last sync of the names any subset may be there; a rename leaves the
//!   new name, the old one or both, never none;
//! - a sync of a file says nothing of its name;
//! - after a sync that failed, what it should have written may be lost for good, and a later sync that succeeds
//!   does not bring it back.

#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use whimbrel_backup::shard::Source;
use whimbrel_backup::storage::{Listed, Storage, StorageFile};

/// Bytes that a crash keeps or loses together; small, so that small files have many.
const SECTOR: usize = 32;

/// What changed the disk.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create { name: String, inode: usize },
    Write { inode: usize, bytes: Vec<u8> },
    SyncFile { inode: usize },
    SyncFileFailed { inode: usize },
    Rename { from: String, to: String, inode: usize },
    Remove { name: String },
    SyncNames,
}

/// How an operation fails, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The medium: EIO.
    Io,
    /// EIO as well, and a rename was carried out all the same.
    IoDone,
    /// No room: ENOSPC; a write leaves a part.
    Full,
    /// A write takes half of what it is given and says so; other operations succeed.
    Short,
    /// A signal came: EINTR on a write or read; other operations succeed.
    Interrupted,
    /// EACCES.
    Denied,
    /// Gone since it was looked at: ENOENT when it is opened, the end of the file when it is read.
    Gone,
}

impl Fault {
    pub(crate) fn error(self) -> io::Error {
        match self {
            Self::Io | Self::IoDone => io::Error::from_raw_os_error(5),
            Self::Full => io::Error::from_raw_os_error(28),
            Self::Interrupted => io::ErrorKind::Interrupted.into(),
            Self::Denied => io::Error::from_raw_os_error(13),
            Self::Short | Self::Gone => io::Error::from_raw_os_error(2),
        }
    }
}

/// Names and what they lead to.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

#[derive(Default)]
pub(crate) struct Log {
    pub(crate) ops: Vec<Op>,
    pub(crate) names: BTreeMap<String, usize>,
    inodes: Vec<Vec<u8>>,
    /// Operations asked for, reads included.
    pub(crate) calls: usize,
    pub(crate) fault: Option<(usize, Fault)>,
}

/// What an operation can do about a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Names,
    Bytes,
}

impl Log {
    /// Counts a call. The chosen one gets its fault, where that means something for its kind.
    fn call(&mut self, kind: Kind) -> Option<Fault> {
        self.calls += 1;
        let (at, fault) = self.fault?;
        let silent = matches!(fault, Fault::Short | Fault::Interrupted) && kind == Kind::Names;
        (at == self.calls && !silent).then_some(fault)
    }

    fn name_call(&mut self) -> io::Result<()> {
        self.call(Kind::Names).map_or(Ok(()), |fault| Err(fault.error()))
    }
}

/// The disk; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Disk(pub(crate) Arc<Mutex<Log>>);

impl Disk {
    /// One whose call number `at`, from 1, meets a fault.
    pub(crate) fn failing(at: usize, fault: Fault) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().fault = Some((at, fault));
        disk
    }

    /// One that holds an image, durably and without a history.
    pub(crate) fn holding(image: &Image) -> Self {
        let disk = Self::default();
        let mut log = disk.0.lock().unwrap();
        for (name, bytes) in image {
            let inode = log.inodes.len();
            log.inodes.push(bytes.clone());
            log.names.insert(name.clone(), inode);
        }
        drop(log);
        disk
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().ops.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }

    /// What the process sees.
    pub(crate) fn live(&self) -> Image {
        let log = self.0.lock().unwrap();
        log.names.iter().map(|(name, inode)| (name.clone(), log.inodes[*inode].clone())).collect()
    }
}

struct DiskFile {
    disk: Disk,
    inode: usize,
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.disk.0.lock().unwrap();
        let fault = log.call(Kind::Bytes);
        let taken = match fault {
            None => bytes.len(),
            // A full disk takes a part before it fails.
            Some(Fault::Short | Fault::Full) => bytes.len().div_ceil(2),
            Some(_) => 0,
        };
        if taken > 0 {
            log.inodes[self.inode].extend_from_slice(&bytes[..taken]);
            log.ops.push(Op::Write { inode: self.inode, bytes: bytes[..taken].to_vec() });
        }
        match fault {
            None | Some(Fault::Short) => Ok(taken),
            Some(fault) => Err(fault.error()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for DiskFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.disk.0.lock().unwrap();
        let inode = self.inode;
        if let Err(error) = log.name_call() {
            log.ops.push(Op::SyncFileFailed { inode });
            return Err(error);
        }
        log.ops.push(Op::SyncFile { inode });
        Ok(())
    }
}

struct DiskSource {
    disk: Disk,
    bytes: Vec<u8>,
}

impl Source for DiskSource {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, _: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        match self.disk.0.lock().unwrap().call(Kind::Bytes) {
            // What reads a file goes on after either.
            None | Some(Fault::Short | Fault::Interrupted) => {
                let start = usize::try_from(at).unwrap();
                self.bytes
                    .get(start..start + len)
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Some(Fault::Gone) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(fault) => Err(fault.error()),
        }
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut log = self.0.lock().unwrap();
        log.name_call()?;
        let listed = |(name, inode): (&String, &usize)| Listed {
            name: name.clone(),
            bytes: log.inodes[*inode].len() as u64,
        };
        Ok(log.names.iter().map(listed).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        let mut log = self.0.lock().unwrap();
        log.name_call()?;
        let inode = *log.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(DiskSource { disk: self.clone(), bytes: log.inodes[inode].clone() }))
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut log = self.0.lock().unwrap();
        log.name_call()?;
        if log.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = log.inodes.len();
        log.inodes.push(Vec::new());
        log.names.insert(name.to_owned(), inode);
        log.ops.push(Op::Create { name: name.to_owned(), inode });
        Ok(Box::new(DiskFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        let answer = log.name_call();
        if answer.is_err() && log.fault.is_none_or(|(_, fault)| fault != Fault::IoDone) {
            return answer;
        }
        let inode = log.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        log.names.insert(to.to_owned(), inode);
        log.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned(), inode });
        answer
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        log.name_call()?;
        log.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        log.ops.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        log.name_call()?;
        log.ops.push(Op::SyncNames);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { "/disk".into() } else { Path::new("/disk").join(name) }
    }
}

/// A file of the durable image, and what may have become of it since.
#[derive(Clone, Default)]
struct Inode {
    /// Bytes that were synced.
    durable: Vec<u8>,
    /// Bytes after every write, the last of which is what the process sees.
    live: Vec<u8>,
    /// Lengths since the last sync.
    lengths: Vec<usize>,
    /// Ranges whose sync failed: they may read as zeros for ever.
    doubtful: Vec<(usize, usize)>,
}

/// What a crash after some operations may leave.
pub(crate) struct Crash {
    /// What held before the operations, durably.
    before: Image,
    inodes: BTreeMap<usize, Inode>,
    /// Operations on names, those up to the last sync first.
    names: Vec<Op>,
    synced: usize,
}

impl Crash {
    /// A crash after `ops`, on a disk that durably held `before`.
    pub(crate) fn after(before: &Image, ops: &[Op]) -> Self {
        let mut crash =
            Self { before: before.clone(), inodes: BTreeMap::new(), names: Vec::new(), synced: 0 };
        for op in ops {
            match op {
                Op::Write { inode, bytes } => {
                    let inode = crash.inodes.entry(*inode).or_default();
                    inode.live.extend_from_slice(bytes);
                    inode.lengths.push(inode.live.len());
                }
                Op::SyncFile { inode } => {
                    let inode = crash.inodes.entry(*inode).or_default();
                    inode.durable.clone_from(&inode.live);
                    inode.lengths.clear();
                }
                Op::SyncFileFailed { inode } => {
                    let inode = crash.inodes.entry(*inode).or_default();
                    inode.doubtful.push((inode.durable.len(), inode.live.len()));
                }
                Op::SyncNames => crash.synced = crash.names.len(),
                Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => {
                    crash.names.push(op.clone());
                }
            }
        }
        crash
    }

    /// The image that loses the most: the durable one.
    pub(crate) fn durable(&self) -> Image {
        let names = self.names_with(&mut |_| Kept::No);
        self.image(names, |inode| {
            let mut bytes = inode.durable.clone();
            inode.zero_doubtful(&mut bytes, &mut || true);
            bytes
        })
    }

    /// One of the images that are possible.
    pub(crate) fn draw(&self, random: &mut Random) -> Image {
        let style = random.below(4);
        let names = self.names_with(&mut |op| match (style, op) {
            (0, _) => Kept::Yes,
            (_, Op::Rename { .. }) if random.below(3) == 0 => Kept::Both,
            _ if random.below(2) == 0 => Kept::Yes,
            _ => Kept::No,
        });
        self.image(names, |inode| inode.draw(random))
    }

    fn names_with(&self, kept: &mut impl FnMut(&Op) -> Kept) -> BTreeMap<String, Option<usize>> {
        let mut names = BTreeMap::new();
        for (at, op) in self.names.iter().enumerate() {
            let kept = if at < self.synced { Kept::Yes } else { kept(op) };
            if kept == Kept::No {
                continue;
            }
            match op {
                Op::Create { name, inode } => drop(names.insert(name.clone(), Some(*inode))),
                Op::Remove { name } => drop(names.insert(name.clone(), None)),
                Op::Rename { from, to, inode } => {
                    names.insert(from.clone(), (kept == Kept::Both).then_some(*inode));
                    names.insert(to.clone(), Some(*inode));
                }
                _ => unreachable!("only operations on names are kept"),
            }
        }
        names
    }

    fn image(
        &self,
        names: BTreeMap<String, Option<usize>>,
        mut content: impl FnMut(&Inode) -> Vec<u8>,
    ) -> Image {
        let mut image = self.before.clone();
        // Two names of one file show the same bytes.
        let mut drawn: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (name, inode) in names {
            let Some(inode) = inode else {
                image.remove(&name);
                continue;
            };
            let empty = Inode::default();
            let file = self.inodes.get(&inode).unwrap_or(&empty);
            let bytes = drawn.entry(inode).or_insert_with(|| content(file)).clone();
            image.insert(name, bytes);
        }
        image
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
    /// A rename of which the old name is still there.
    Both,
}

impl Inode {
    fn draw(&self, random: &mut Random) -> Vec<u8> {
        let mut lengths = self.lengths.clone();
        lengths.push(self.durable.len());
        let mut len = lengths[random.below(lengths.len())];
        if random.below(4) == 0 && len > self.durable.len() {
            // The length itself is torn: it grew with the sectors that were written.
            len = self.durable.len() + random.below(len - self.durable.len() + 1);
        }
        let mut bytes = self.live[..len.min(self.live.len())].to_vec();
        let keep_all = random.below(3) == 0;
        let first = self.durable.len() / SECTOR;
        for sector in first..bytes.len().div_ceil(SECTOR) {
            if keep_all || random.below(2) == 0 {
                continue;
            }
            let start = (sector * SECTOR).max(self.durable.len());
            let end = ((sector + 1) * SECTOR).min(bytes.len());
            bytes[start..end].fill(0);
        }
        self.zero_doubtful(&mut bytes, &mut || random.below(2) == 0);
        bytes
    }

    fn zero_doubtful(&self, bytes: &mut [u8], lost: &mut impl FnMut() -> bool) {
        for &(start, end) in &self.doubtful {
            let end = end.min(bytes.len());
            if start < end && lost() {
                bytes[start..end].fill(0);
            }
        }
    }
}

/// Splitmix64: the same numbers for the same seed on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}
