//! Goal: whatever moment a crash or a failing disk chooses, there is a whole backup or none; once `publish`
//! has returned there is one for good.
//! Method: a recording storage. Every cut of the list of operations, combined with every prefix of
//! directory operations that were not synced and with lost, torn and zero-filled unsynced writes, is
//! laid out as a directory and opened. Then every single operation is made to fail.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::shard::Source;
use whimbrel_backup::storage::{Directory, Listed, Storage, StorageFile};
use whimbrel_backup::{Error, Work, verify_with};

#[derive(Debug, Clone)]
enum Op {
    Create { name: String, inode: usize },
    Write { inode: usize, bytes: Vec<u8> },
    SyncFile { inode: usize },
    Rename { from: String, to: String },
    Remove { name: String },
    SyncNames,
}

#[derive(Default)]
struct Log {
    ops: Vec<Op>,
    names: BTreeMap<String, usize>,
    inodes: usize,
    calls: usize,
    fail_at: Option<usize>,
}

impl Log {
    /// Counts a call; the chosen one fails.
    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        if self.fail_at == Some(self.calls) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Log>>);

struct RecordedFile {
    log: Recorder,
    inode: usize,
}

impl Write for RecordedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.log.0.lock().unwrap();
        let called = log.call();
        // A full disk takes a part before it fails.
        let taken = if called.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        log.ops.push(Op::Write { inode: self.inode, bytes: taken.to_vec() });
        called.map(|()| taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for RecordedFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.log.0.lock().unwrap();
        log.call()?;
        log.ops.push(Op::SyncFile { inode: self.inode });
        Ok(())
    }
}

impl Storage for Recorder {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        Ok(log.names.keys().map(|name| Listed { name: name.clone(), bytes: 0 }).collect())
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn Source>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        if log.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = log.inodes;
        log.inodes += 1;
        log.names.insert(name.to_owned(), inode);
        log.ops.push(Op::Create { name: name.to_owned(), inode });
        Ok(Box::new(RecordedFile { log: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        let inode = log.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        log.names.insert(to.to_owned(), inode);
        log.ops.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        log.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        log.ops.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        log.ops.push(Op::SyncNames);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/recorded").join(name)
    }
}

fn run(fail_at: Option<usize>) -> (Vec<Op>, usize, Result<(), Error>) {
    let recorder = Recorder::default();
    recorder.0.lock().unwrap().fail_at = fail_at;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let backup = BackupWriter::begin(&recorder, common::ID)?;
        let manifest = common::write_files(&backup);
        backup.publish(&manifest)
    }));
    // `common` unwraps: a failure in the middle of a shard unwinds and drops the writer as an error would.
    let outcome = outcome.unwrap_or(Err(Error::Cancelled));
    let log = recorder.0.lock().unwrap();
    (log.ops.clone(), log.calls, outcome)
}

#[derive(Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: usize,
}

impl Inode {
    /// What may be found after a crash: everything, only what was synced, half of the rest, zeros.
    fn images(&self) -> Vec<Vec<u8>> {
        let mut images = vec![self.bytes.clone()];
        if self.synced < self.bytes.len() {
            images.push(self.bytes[..self.synced].to_vec());
            images.push(self.bytes[..self.synced.midpoint(self.bytes.len())].to_vec());
            let mut zeros = self.bytes.clone();
            zeros[self.synced..].fill(0);
            images.push(zeros);
        }
        images
    }
}

type Image = BTreeMap<String, Vec<u8>>;

/// Every directory that a crash after `ops` may leave.
fn images(ops: &[Op]) -> Vec<Image> {
    let mut inodes: BTreeMap<usize, Inode> = BTreeMap::new();
    let mut name_ops = Vec::new();
    let mut synced = 0;
    for op in ops {
        match op {
            Op::Write { inode, bytes } => {
                inodes.entry(*inode).or_default().bytes.extend_from_slice(bytes);
            }
            Op::SyncFile { inode } => {
                let inode = inodes.entry(*inode).or_default();
                inode.synced = inode.bytes.len();
            }
            Op::SyncNames => synced = name_ops.len(),
            Op::Create { .. } | Op::Rename { .. } | Op::Remove { .. } => name_ops.push(op),
        }
    }
    let mut all = Vec::new();
    let orders = (synced..=name_ops.len()).flat_map(|kept| {
        // Any one creation that was not synced may be missing among those that were kept, unless a
        // later operation needs it.
        let lost = (synced..kept).filter(|&at| match name_ops[at] {
            Op::Create { name, .. } => !name_ops[at + 1..kept].iter().any(|op| needs(op, name)),
            _ => false,
        });
        std::iter::once(None)
            .chain(lost.map(Some))
            .map(move |lost| (kept, lost))
            .collect::<Vec<_>>()
    });
    for (kept, lost) in orders {
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        for (at, op) in name_ops[..kept].iter().enumerate() {
            if lost == Some(at) {
                continue;
            }
            match op {
                Op::Create { name, inode } => drop(names.insert(name, *inode)),
                Op::Rename { from, to } => {
                    let inode = names.remove(from.as_str()).unwrap();
                    names.insert(to, inode);
                }
                Op::Remove { name } => drop(names.remove(name.as_str())),
                Op::Write { .. } | Op::SyncFile { .. } | Op::SyncNames => unreachable!(),
            }
        }
        let mut partial = vec![Image::new()];
        for (name, inode) in names {
            let contents = inodes.get(&inode).map_or_else(|| vec![Vec::new()], Inode::images);
            partial = partial
                .iter()
                .flat_map(|image| {
                    contents.iter().map(|bytes| {
                        let mut image = image.clone();
                        image.insert(name.to_owned(), bytes.clone());
                        image
                    })
                })
                .collect();
        }
        all.extend(partial);
    }
    all
}

fn needs(op: &Op, created: &str) -> bool {
    match op {
        Op::Rename { from: name, .. } | Op::Remove { name } => name == created,
        _ => false,
    }
}

/// True for a whole backup, false for none; anything between is a failed test.
fn is_whole(image: &Image) -> bool {
    let dir = common::fast_dir();
    for (name, bytes) in image {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    match verify_with(dir.path(), &Work::default().with_threads(1)) {
        Ok(report) => {
            assert_eq!(report.entries, 18);
            true
        }
        Err(Error::NoManifest { .. }) => false,
        Err(error) => panic!("a torn backup: {error}; files {:?}", image.keys()),
    }
}

#[test]
fn a_crash_at_any_moment_leaves_a_whole_backup_or_none() {
    let (ops, _, outcome) = run(None);
    outcome.unwrap();
    let (mut seen, mut whole) = (0, 0);
    for cut in 0..=ops.len() {
        for image in images(&ops[..cut]) {
            seen += 1;
            whole += usize::from(is_whole(&image));
        }
    }
    assert!(seen > 100 && whole > 1 && whole < seen, "{whole} of {seen}");
    assert!(images(&ops).iter().all(is_whole), "published is durable");
}

#[test]
fn any_failing_operation_means_an_error_and_no_backup() {
    let (_, calls, _) = run(None);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let runs: Vec<_> = (1..=calls).map(|fail_at| run(Some(fail_at))).collect();
    std::panic::set_hook(hook);
    for (ops, _, outcome) in runs {
        outcome.expect_err("the failure is reported");
        for cut in 0..=ops.len() {
            if cut == ops.len() || matches!(ops[cut], Op::Remove { .. }) {
                for image in images(&ops[..cut]) {
                    is_whole(&image);
                }
            }
        }
        // Nothing is left behind: the live directory is empty, or holds what could not be removed.
        let live = images(&[&ops[..], &[Op::SyncNames]].concat()).pop().unwrap();
        assert!(!live.contains_key(MANIFEST), "{:?}", live.keys());
        assert!(live.len() <= 4, "{:?}", live.keys());
    }
}

/// A directory whose files take nothing: every write fails as on a full disk.
struct FullDisk(Directory);

impl Storage for FullDisk {
    fn list(&self) -> io::Result<Vec<Listed>> {
        self.0.list()
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        self.0.open(name)
    }
    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        drop(self.0.create_new(name)?);
        Ok(Box::new(OpenOptions::new().write(true).open("/dev/full")?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

#[test]
fn a_full_disk_gets_a_clear_message_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let full = FullDisk(Directory::create(dir.path()).unwrap());
    let backup = BackupWriter::begin(&full, common::ID).unwrap();
    let error = backup.shard(0, 0, whimbrel_backup::block::BlockOptions::default()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("cannot write") && message.contains("shard-0000"), "{message}");
    assert!(message.contains("No space left"), "{message}");
    drop(backup);
    assert!(common::files(dir.path()).is_empty());
}

#[test]
fn two_backups_into_one_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Directory::create(dir.path()).unwrap();
    let first = BackupWriter::begin(&storage, common::ID).unwrap();
    let second = BackupWriter::begin(&storage, common::ID);
    assert!(matches!(second, Err(Error::Unfinished { .. })), "one is running");
    let manifest = common::write_files(&first);
    first.publish(&manifest).unwrap();
    let third = BackupWriter::begin(&storage, common::ID);
    assert!(matches!(third, Err(Error::AlreadyABackup { .. })));
    assert!(verify_with(dir.path(), &Work::default()).is_ok(), "untouched by the refused");

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("notes.txt"), "mine").unwrap();
    let storage = Directory::create(other.path()).unwrap();
    assert!(matches!(BackupWriter::begin(&storage, common::ID), Err(Error::ForeignFile { .. })));
    assert_eq!(common::files(other.path()).len(), 1, "the foreign file is untouched");
}

/// A directory into which somebody else publishes a backup just after the first look at it.
struct Overtaken(Directory, Mutex<bool>);

impl Storage for Overtaken {
    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        self.0.open(name)
    }
    fn list(&self) -> io::Result<Vec<Listed>> {
        let names = self.0.list()?;
        if !std::mem::replace(&mut self.1.lock().unwrap(), true) {
            common::write_backup_to(&self.0, common::ID);
        }
        Ok(names)
    }
    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.0.create_new(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

#[test]
fn a_backup_published_between_look_and_claim_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let storage = Overtaken(Directory::create(dir.path()).unwrap(), Mutex::new(false));
    let begun = BackupWriter::begin(&storage, common::ID);
    assert!(matches!(begun, Err(Error::AlreadyABackup { .. })));
    assert!(verify_with(dir.path(), &Work::default()).is_ok());
}

#[test]
fn a_place_that_cannot_be_a_directory_gets_a_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let message = Directory::create(&file.join("backup")).unwrap_err().to_string();
    assert!(message.starts_with("cannot create "), "{message}");
}
