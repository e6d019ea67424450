//! A disk that records what is done to it, and lays out what a crash may leave.

#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use whimbrel_backup::Error;
use whimbrel_backup::shard::Source;
use whimbrel_backup::storage::{Listed, Lock, Shelf, Storage, StorageFile};

use crate::common::Content;

/// Directories and what is in their files, by path: `directory/file`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) dirs: BTreeSet<String>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// What lies in the directories of `root`. Files of the root itself are left out.
    pub(crate) fn read(root: &Path) -> Self {
        let mut image = Self::default();
        for dir in fs::read_dir(root).unwrap().map(Result::unwrap) {
            let name = dir.file_name().into_string().unwrap();
            if dir.path().is_dir() {
                for file in fs::read_dir(dir.path()).unwrap().map(Result::unwrap) {
                    let path = format!("{name}/{}", file.file_name().into_string().unwrap());
                    image.files.insert(path, fs::read(file.path()).unwrap());
                }
                image.dirs.insert(name);
            }
        }
        image
    }

    pub(crate) fn write(&self, root: &Path) {
        for dir in &self.dirs {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        for (path, bytes) in &self.files {
            fs::write(root.join(path), bytes).unwrap();
        }
    }

    fn has_files(&self, dir: &str) -> bool {
        self.files.keys().any(|path| dir_of(path) == dir)
    }

    /// Does it, if the names are as it needs them.
    fn apply(&mut self, change: &Change) -> bool {
        match change {
            Change::Create { path } => {
                self.files.insert(path.clone(), Vec::new());
                true
            }
            Change::Rename { from, to } => match self.files.remove(from) {
                Some(bytes) => {
                    self.files.insert(to.clone(), bytes);
                    true
                }
                None => false,
            },
            Change::Remove { path } => self.files.remove(path).is_some(),
            Change::RemoveDir { dir } => !self.has_files(dir) && self.dirs.remove(dir),
        }
    }
}

fn dir_of(path: &str) -> &str {
    path.split_once('/').map_or("", |(dir, _)| dir)
}

/// A change of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Create { path: String },
    Rename { from: String, to: String },
    Remove { path: String },
    RemoveDir { dir: String },
}

impl Change {
    /// The directory whose sync makes it durable.
    fn dir(&self) -> &str {
        match self {
            Self::Create { path } | Self::Remove { path } | Self::Rename { from: path, .. } => {
                dir_of(path)
            }
            Self::RemoveDir { .. } => "",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Change(Change),
    /// Bytes for the file that was created as `path`.
    Write {
        path: String,
        bytes: Vec<u8>,
    },
    SyncFile {
        path: String,
    },
    SyncNames {
        dir: String,
    },
}

#[derive(Debug, Default)]
struct Log {
    ops: Vec<Op>,
    now: Image,
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

    fn change(&mut self, change: Change) -> io::Result<()> {
        self.call()?;
        if let Change::RemoveDir { dir } = &change
            && self.now.has_files(dir)
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        if !self.now.apply(&change) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.ops.push(Op::Change(change));
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Log>>);

impl Disk {
    /// One that holds this, all of it durable; call `fail_at` fails, from 1.
    pub(crate) fn with(image: &Image, fail_at: Option<usize>) -> Self {
        let log = Log { now: image.clone(), fail_at, ..Log::default() };
        Self(Arc::new(Mutex::new(log)))
    }

    pub(crate) fn dir(&self, dir: &str) -> DiskDir {
        DiskDir { disk: self.clone(), dir: dir.to_owned() }
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.0.lock().unwrap().ops.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().calls
    }
}

/// One directory of the disk.
#[derive(Debug)]
pub(crate) struct DiskDir {
    disk: Disk,
    dir: String,
}

impl DiskDir {
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.dir)
    }
}

struct DiskFile {
    disk: Disk,
    path: String,
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.disk.0.lock().unwrap();
        let called = log.call();
        // A full disk takes a part before it fails.
        let taken = if called.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        log.ops.push(Op::Write { path: self.path.clone(), bytes: taken.to_vec() });
        if let Some(content) = log.now.files.get_mut(&self.path) {
            content.extend_from_slice(taken);
        }
        called.map(|()| taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for DiskFile {
    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.disk.0.lock().unwrap();
        log.call()?;
        log.ops.push(Op::SyncFile { path: self.path.clone() });
        Ok(())
    }
}

/// A file as it is when it is opened.
struct Opened(Vec<u8>);

impl Source for Opened {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, _: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        self.0.get(at..at + len).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Storage for DiskDir {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut log = self.disk.0.lock().unwrap();
        log.call()?;
        let files = log.now.files.keys().filter(|path| dir_of(path) == self.dir);
        let listed =
            |path: &String| Listed { name: path[self.dir.len() + 1..].to_owned(), bytes: 0 };
        Ok(files.map(listed).collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        let mut log = self.disk.0.lock().unwrap();
        log.call()?;
        let bytes = log.now.files.get(&self.at(name)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Opened(bytes.clone())))
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let path = self.at(name);
        let mut log = self.disk.0.lock().unwrap();
        if log.now.files.contains_key(&path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        log.change(Change::Create { path: path.clone() })?;
        Ok(Box::new(DiskFile { disk: self.disk.clone(), path }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let change = Change::Rename { from: self.at(from), to: self.at(to) };
        self.disk.0.lock().unwrap().change(change)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.0.lock().unwrap().change(Change::Remove { path: self.at(name) })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut log = self.disk.0.lock().unwrap();
        log.call()?;
        log.ops.push(Op::SyncNames { dir: self.dir.clone() });
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/recorded").join(&self.dir).join(name)
    }
}

impl Shelf for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        Ok(log.now.dirs.iter().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        self.0.lock().unwrap().call()?;
        Ok(Arc::new(self.dir(name)))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn Storage>, Error> {
        panic!("nothing makes {name} here")
    }

    fn remove_empty(&self, name: &str) -> io::Result<()> {
        self.0.lock().unwrap().change(Change::RemoveDir { dir: name.to_owned() })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut log = self.0.lock().unwrap();
        log.call()?;
        log.ops.push(Op::SyncNames { dir: String::new() });
        Ok(())
    }

    /// Nobody else is at work.
    fn lock(&self) -> Result<Lock, Error> {
        Ok(Box::new(()))
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/recorded").join(name)
    }
}

/// Everything that a crash after `ops` may leave of `before`: any of the changes of names that were not
/// synced may be missing, and any bytes that were not synced lost, torn or zeros.
pub(crate) fn crashes(before: &Image, ops: &[Op]) -> Vec<Image> {
    let mut contents: BTreeMap<&str, Content> = BTreeMap::new();
    let mut changes: Vec<(&Change, bool)> = Vec::new();
    for op in ops {
        match op {
            Op::Change(change) => changes.push((change, false)),
            Op::Write { path, bytes } => {
                contents.entry(path).or_default().write(bytes);
            }
            Op::SyncFile { path } => contents.entry(path).or_default().sync(),
            Op::SyncNames { dir } => {
                for (change, synced) in &mut changes {
                    *synced |= change.dir() == dir;
                }
            }
        }
    }
    let open = changes.iter().filter(|(_, synced)| !synced).count();
    assert!(open <= 8, "{open} changes are not synced: too many to try all");
    let mut all = Vec::new();
    for kept in 0..1_u32 << open {
        let mut image = before.clone();
        // Where the bytes of a created file are now.
        let mut places: BTreeMap<String, &str> = BTreeMap::new();
        let (mut at, mut possible) = (0, true);
        for (change, synced) in &changes {
            let taken = *synced || kept & 1 << at != 0;
            at += u32::from(!synced);
            if !taken {
                continue;
            }
            possible &= image.apply(change);
            match change {
                Change::Create { path } => _ = places.insert(path.clone(), path.as_str()),
                Change::Rename { from, to } => {
                    if let Some(created) = places.remove(from) {
                        places.insert(to.clone(), created);
                    }
                }
                Change::Remove { path } => _ = places.remove(path),
                Change::RemoveDir { .. } => {}
            }
        }
        if !possible {
            continue;
        }
        let mut images = vec![image];
        for (path, created) in places {
            let found = contents.get(created).cloned().unwrap_or_default().images();
            images = images
                .iter()
                .flat_map(|image| {
                    found.iter().map(|bytes| {
                        let mut image = image.clone();
                        image.files.insert(path.clone(), bytes.clone());
                        image
                    })
                })
                .collect();
        }
        all.extend(images);
    }
    all
}
