//! Goal: an export on several threads, which syncs files on others than those that write them, publishes
//! nothing before the last file is synced, and nothing at all when a sync fails.
//! Method: a directory whose files take their time to sync, or fail to, and which looks back when the manifest
//! gets its name.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use whimbrel_backup::shard::Source;
use whimbrel_backup::storage::{Directory, Listed, Storage, StorageFile};
use whimbrel_backup::{Error, ExportOptions, Work, export_to, verify};
use whimbrel_mvcc::{Clock, Snapshot, Store};

const SHARDS: usize = 12;

/// A directory whose files are slow to sync.
struct Slow {
    dir: Directory,
    /// The file whose sync fails.
    bad: Option<&'static str>,
    /// Files that were created and are not synced.
    open: Arc<Mutex<BTreeSet<String>>>,
    published: Mutex<bool>,
}

impl Slow {
    fn new(dir: &tempfile::TempDir, bad: Option<&'static str>) -> Self {
        let dir = Directory::create(dir.path()).unwrap();
        Self { dir, bad, open: Arc::default(), published: Mutex::new(false) }
    }
}

struct SlowFile {
    file: Box<dyn StorageFile>,
    name: String,
    fails: bool,
    open: Arc<Mutex<BTreeSet<String>>>,
}

impl Write for SlowFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl StorageFile for SlowFile {
    fn sync(&mut self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(5));
        if self.fails {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync()?;
        self.open.lock().unwrap().remove(&self.name);
        Ok(())
    }
}

impl Storage for Slow {
    fn list(&self) -> io::Result<Vec<Listed>> {
        self.dir.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        self.dir.open(name)
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = self.dir.create_new(name)?;
        let (name, fails) = (name.to_owned(), self.bad == Some(name));
        self.open.lock().unwrap().insert(name.clone());
        Ok(Box::new(SlowFile { file, name, fails, open: Arc::clone(&self.open) }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let open = self.open.lock().unwrap();
        assert!(open.is_empty(), "the manifest gets its name before these are synced: {open:?}");
        *self.published.lock().unwrap() = true;
        self.dir.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.dir.remove(name)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.dir.sync_names()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }
}

fn snapshots() -> Vec<(String, Snapshot)> {
    let store = Store::new(&Clock::new());
    for n in 0..20_000_u32 {
        store.put(&n.to_be_bytes(), b"value").unwrap();
    }
    vec![("s".to_owned(), store.snapshot())]
}

fn options(threads: usize) -> ExportOptions {
    let work = Work::default().with_threads(threads);
    ExportOptions::default().with_work(work).with_shards_per_store(SHARDS)
}

#[test]
fn the_manifest_comes_after_the_last_sync() {
    for threads in [1, 2, 5] {
        let dir = tempfile::tempdir().unwrap();
        let slow = Slow::new(&dir, None);
        let report = export_to(&snapshots(), &slow, &options(threads)).unwrap();
        assert!(*slow.published.lock().unwrap() && report.shards.len() > SHARDS / 2);
        assert_eq!(verify(dir.path()).unwrap().entries, 20_000);
    }
}

#[test]
fn a_sync_that_fails_is_the_error_and_leaves_nothing() {
    for threads in [1, 2, 5] {
        for bad in ["shard-0000", "shard-0003", "shard-0009"] {
            let dir = tempfile::tempdir().unwrap();
            let slow = Slow::new(&dir, Some(bad));
            let error = export_to(&snapshots(), &slow, &options(threads)).unwrap_err();
            assert!(matches!(error, Error::Io { action: "sync", .. }), "{threads}: {error}");
            assert!(error.to_string().contains(bad), "{error}");
            assert!(!*slow.published.lock().unwrap());
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
