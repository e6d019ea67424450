//! Goal: whatever moment a crash or a failing disk chooses, there is a whole backup or none; once `publish`
//! has returned there is one for good. The same for a sorted file.
//! Method: a recording storage. Every cut of the list of operations, combined with every prefix of
//! directory operations that were not synced and with lost, torn and zero-filled unsynced writes, is
//! laid out as a directory and opened. `images.rs` draws from all that a disk may do, `faults.rs` makes
//! every operation fail.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/disk.rs"]
mod disk;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use common::Content;
use disk::{Disk, Fault, Image, Op};
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::shard::{BackupId, Buffers, Sequence, Source};
use whimbrel_backup::sorted::{self, SortedFileWriter};
use whimbrel_backup::storage::{Directory, Listed, Storage, StorageFile};
use whimbrel_backup::{Error, Work, verify_with};

/// Every directory that a crash after `ops` may leave.
fn images(ops: &[Op]) -> Vec<Image> {
    let mut inodes: BTreeMap<usize, Content> = BTreeMap::new();
    let mut name_ops = Vec::new();
    let mut synced = 0;
    for op in ops {
        match op {
            Op::Write { inode, bytes } => {
                inodes.entry(*inode).or_default().write(bytes);
            }
            Op::SyncFile { inode } => inodes.entry(*inode).or_default().sync(),
            Op::SyncFileFailed { .. } => {}
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
                Op::Rename { from, to, .. } => {
                    let inode = names.remove(from.as_str()).unwrap();
                    names.insert(to, inode);
                }
                Op::Remove { name } => drop(names.remove(name.as_str())),
                _ => unreachable!("only operations on names are kept"),
            }
        }
        let mut partial = vec![Image::new()];
        for (name, inode) in names {
            let contents = inodes.get(&inode).map_or_else(|| vec![Vec::new()], Content::images);
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
    let disk = Disk::default();
    common::write_backup_to(&disk, common::ID);
    let ops = disk.ops();
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
fn a_backup_whose_place_was_taken_over_leaves_the_other_one_alone() {
    for publishes in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let storage = Directory::create(dir.path()).unwrap();
        let first = BackupWriter::begin(&storage, common::ID).unwrap();
        let manifest = common::write_files(&first);
        // Somebody thinks it dead, removes what it made, and makes a backup.
        for (name, _) in common::files(dir.path()) {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        common::write_backup_to(&storage, BackupId(*b"somebody else's!"));
        let theirs = common::files(dir.path());
        if publishes {
            let error = first.publish(&manifest).unwrap_err();
            assert!(error.to_string().starts_with("cannot publish "), "{error}");
        } else {
            drop(first);
        }
        assert!(common::files(dir.path()) == theirs, "published: {publishes}");
    }
}

#[test]
fn a_place_that_cannot_be_a_directory_gets_a_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let message = Directory::create(&file.join("backup")).unwrap_err().to_string();
    assert!(message.starts_with("cannot create "), "{message}");
}

const SORTED: &str = "monday.sorted";

/// Writes a sorted file through a recorder.
fn run_sorted(fail_at: Option<usize>) -> (Vec<Op>, usize, Result<(), Error>) {
    let disk = fail_at.map_or_else(Disk::default, |at| Disk::failing(at, Fault::Full));
    let write = || {
        let options = BlockOptions::default().with_block_bytes(96);
        let mut file = SortedFileWriter::create_in(disk.clone(), SORTED, options)?;
        for n in 0..20_u8 {
            file.put(&[n], &[n; 20])?;
        }
        file.remove(b"z")?;
        file.finish().map(|summary| assert_eq!(summary.tally.entries, 20))
    };
    let outcome = write();
    (disk.ops(), disk.calls(), outcome)
}

/// True for a whole sorted file, false for none under its name.
fn is_whole_sorted(image: &Image) -> bool {
    let Some(bytes) = image.get(SORTED) else { return false };
    let file = sorted::open(&bytes[..], SORTED).expect("what has the name is whole");
    let mut buffers = Buffers::default();
    let mut sequence = Sequence::default();
    for block in 0..file.blocks() {
        let block = file.block(block, &mut buffers).expect("what has the name is whole");
        sequence.walk(&block, |_, _| Ok::<(), Error>(())).unwrap();
    }
    file.check_end(sequence.last_key(), sequence.tally()).unwrap();
    true
}

#[test]
fn a_crash_at_any_moment_leaves_a_whole_sorted_file_or_none() {
    let (ops, _, outcome) = run_sorted(None);
    outcome.unwrap();
    let (mut seen, mut whole) = (0, 0);
    for cut in 0..=ops.len() {
        for image in images(&ops[..cut]) {
            seen += 1;
            whole += usize::from(is_whole_sorted(&image));
        }
    }
    assert!(seen > 50 && whole > 1 && whole < seen, "{whole} of {seen}");
    assert!(images(&ops).iter().all(is_whole_sorted), "finished is durable");
}

#[test]
fn any_failing_operation_means_an_error_and_no_sorted_file() {
    let (_, calls, _) = run_sorted(None);
    for fail_at in 1..=calls {
        let (ops, _, outcome) = run_sorted(Some(fail_at));
        outcome.expect_err("the failure is reported");
        for cut in 0..=ops.len() {
            images(&ops[..cut]).iter().for_each(|image| _ = is_whole_sorted(image));
        }
        let live = images(&[&ops[..], &[Op::SyncNames]].concat()).pop().unwrap();
        assert!(live.is_empty(), "call {fail_at}: {:?}", live.keys());
    }
}
