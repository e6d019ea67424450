//! A storage double that records what is done to it, fails where it is told to, and shows what a crash
//! may leave.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use whimbrel_backup::shard::Source;
use whimbrel_backup::storage::{Listed, Storage, StorageFile};
use whimbrel_journal::storage::{Contents, SegmentStorage};
use whimbrel_journal::{Error, Identity, Journal, JournalOptions, Mark, SyncPolicy};

/// Files by name.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// Something that was done, or that the journal said.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create {
        name: String,
        inode: usize,
    },
    Write {
        inode: usize,
        bytes: Vec<u8>,
    },
    Sync {
        inode: usize,
    },
    /// A sync that failed: the system forgets what it had not written.
    SyncFailed {
        inode: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncNames,
    /// Records up to this sequence were acknowledged.
    Acknowledged(u64),
    /// A checkpoint covers everything up to this sequence.
    Covered(Mark),
}

/// How the chosen call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// With this error; a write takes half before.
    Error(io::ErrorKind),
    /// A write takes half and says so; other calls are interrupted.
    Short,
}

#[derive(Default)]
struct Log {
    ops: Vec<Op>,
    names: BTreeMap<String, usize>,
    inodes: Vec<Vec<u8>>,
    calls: usize,
    fault: Option<(usize, Fault)>,
}

impl Log {
    /// Counts a call; the chosen one fails.
    fn call(&mut self) -> Option<Fault> {
        self.calls += 1;
        self.fault.filter(|(at, _)| *at == self.calls).map(|(_, fault)| fault)
    }

    fn fail(&mut self) -> io::Result<()> {
        match self.call() {
            Some(Fault::Error(kind)) => Err(kind.into()),
            Some(Fault::Short) | None => Ok(()),
        }
    }
}

/// The double. Clones show the same files.
#[derive(Clone, Default)]
pub(crate) struct Double(Arc<Mutex<Log>>);

impl Double {
    /// Files that are there already, and durable.
    pub(crate) fn of(image: &Image) -> Self {
        let double = Self::default();
        let mut log = double.log();
        for (name, bytes) in image {
            let inode = log.inodes.len();
            log.inodes.push(bytes.clone());
            log.names.insert(name.clone(), inode);
            log.ops.push(Op::Create { name: name.clone(), inode });
            log.ops.push(Op::Write { inode, bytes: bytes.clone() });
            log.ops.push(Op::Sync { inode });
        }
        log.ops.push(Op::SyncNames);
        drop(log);
        double
    }

    /// The call of this number, from 1, fails.
    pub(crate) fn failing(at: usize, fault: Fault) -> Self {
        let double = Self::default();
        double.log().fault = Some((at, fault));
        double
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap()
    }

    pub(crate) fn shared(&self) -> Arc<dyn SegmentStorage> {
        Arc::new(self.clone())
    }

    pub(crate) fn note(&self, op: Op) {
        self.log().ops.push(op);
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.log().ops.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.log().calls
    }

    /// The files as processes see them.
    pub(crate) fn image(&self) -> Image {
        let log = self.log();
        log.names.iter().map(|(name, inode)| (name.clone(), log.inodes[*inode].clone())).collect()
    }

    pub(crate) fn len(&self, name: &str) -> u64 {
        self.image()[name].len() as u64
    }
}

struct DoubleFile {
    double: Double,
    inode: usize,
}

impl Write for DoubleFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.double.log();
        let fault = log.call();
        let taken = if fault.is_some() { &bytes[..bytes.len() / 2] } else { bytes };
        if !taken.is_empty() {
            log.inodes[self.inode].extend_from_slice(taken);
            log.ops.push(Op::Write { inode: self.inode, bytes: taken.to_vec() });
        }
        match fault {
            Some(Fault::Error(kind)) => Err(kind.into()),
            _ => Ok(taken.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for DoubleFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.double.log();
        let done = log.fail();
        let inode = self.inode;
        log.ops.push(if done.is_ok() { Op::Sync { inode } } else { Op::SyncFailed { inode } });
        done
    }
}

impl Storage for Double {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut log = self.log();
        log.fail()?;
        let listed = |(name, inode): (&String, &usize)| Listed {
            name: name.clone(),
            bytes: log.inodes[*inode].len() as u64,
        };
        Ok(log.names.iter().map(listed).collect())
    }

    /// Journals read through [`SegmentStorage`].
    fn open(&self, _: &str) -> io::Result<Box<dyn Source>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut log = self.log();
        log.fail()?;
        if log.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = log.inodes.len();
        log.inodes.push(Vec::new());
        log.names.insert(name.to_owned(), inode);
        log.ops.push(Op::Create { name: name.to_owned(), inode });
        Ok(Box::new(DoubleFile { double: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut log = self.log();
        log.fail()?;
        let inode = log.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        log.names.insert(to.to_owned(), inode);
        log.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut log = self.log();
        log.fail()?;
        log.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        log.ops.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut log = self.log();
        log.fail()?;
        log.ops.push(Op::SyncNames);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/double").join(name)
    }
}

impl SegmentStorage for Double {
    fn read(&self, name: &str) -> io::Result<Contents> {
        let mut log = self.log();
        log.fail()?;
        let inode = *log.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let bytes = log.inodes[inode].clone();
        Ok(Contents { len: bytes.len() as u64, bytes: Box::new(Cursor::new(bytes)) })
    }
}

/// A record that says which it is; lengths vary.
pub(crate) fn record(sequence: u64) -> Vec<u8> {
    let len = usize::try_from(sequence * 7 % 23).unwrap();
    let mut bytes = sequence.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|at| u8::try_from(at).unwrap() ^ sequence.to_le_bytes()[0]));
    bytes
}

/// Options for small segments of a journal with a fixed identity.
pub(crate) fn options(policy: SyncPolicy) -> JournalOptions {
    JournalOptions::new(policy)
        .with_segment_bytes(300)
        .with_identity(Identity::from_bytes(*b"sixteen birds fl"))
}

/// Opens the journal of an image and gives the records that it replays, which must be those of
/// [`record`], in order and without a gap.
pub(crate) fn replay(
    double: &Double,
    policy: SyncPolicy,
    after: Option<&Mark>,
) -> Result<(Journal, Vec<u64>), Error> {
    let mut found: Vec<u64> = Vec::new();
    let (journal, report) =
        Journal::open_in(double.shared(), &options(policy), after, |sequence, bytes| {
            assert_eq!(bytes, record(sequence), "record {sequence} is another");
            let expected = found.last().map_or(after.map_or(0, |m| m.sequence), |last| *last) + 1;
            assert_eq!(sequence, expected, "records are in order, once each");
            found.push(sequence);
            Ok(())
        })?;
    assert_eq!(report.replayed, found.len() as u64);
    Ok((journal, found))
}
