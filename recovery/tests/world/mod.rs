//! Stores of one clock that are backed up into a repository, and what each backup must show.

#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use whimbrel_backup::repository::{BackupReport, Kind, back_up};
use whimbrel_backup::{ExportOptions, Tracker, Work, verify};
use whimbrel_mvcc::{Clock, Snapshot, Store};
use whimbrel_recovery::{Error, RestoreOptions, restore};

pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
pub(crate) type Content = BTreeMap<String, Entries>;

pub(crate) fn content(snapshot: &Snapshot) -> Entries {
    snapshot.range(..).entries().collect()
}

pub(crate) fn restored(dir: &Path) -> Result<Content, Error> {
    let restored = restore(dir, &Clock::new(), &RestoreOptions::default())?;
    let stores = restored.stores.into_iter();
    Ok(stores.map(|(name, store)| (name, content(&store.snapshot()))).collect())
}

pub(crate) fn options() -> ExportOptions {
    ExportOptions::default().with_shards_per_store(3).with_work(Work::default().with_threads(2))
}

/// Stores of one clock, backed up together.
pub(crate) struct World {
    pub(crate) root: tempfile::TempDir,
    pub(crate) stores: BTreeMap<String, Store>,
    pub(crate) tracker: Option<Tracker>,
    /// What each backup must show.
    pub(crate) expected: Vec<(PathBuf, Content)>,
}

impl World {
    pub(crate) fn new(names: &[&str], tracker: Option<Tracker>) -> Self {
        let clock = Clock::new();
        let stores = names.iter().map(|name| ((*name).to_owned(), Store::new(&clock))).collect();
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { root, stores, tracker, expected: Vec::new() }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn store(&self, name: &str) -> &Store {
        &self.stores[name]
    }

    pub(crate) fn watch(&mut self) {
        let stores: Vec<_> = self.stores.clone().into_iter().collect();
        if let Some(tracker) = &mut self.tracker {
            tracker.watch(&stores);
        }
    }

    pub(crate) fn snapshots(&self) -> Vec<(String, Snapshot)> {
        let Some(first) = self.stores.values().next() else { return Vec::new() };
        let hold = first.clock().hold();
        self.stores.iter().map(|(name, store)| (name.clone(), store.snapshot_at(&hold))).collect()
    }

    pub(crate) fn back_up(&mut self, kind: Kind) -> BackupReport {
        let snapshots = self.snapshots();
        self.back_up_these(kind, &snapshots)
    }

    pub(crate) fn back_up_these(
        &mut self,
        kind: Kind,
        snapshots: &[(String, Snapshot)],
    ) -> BackupReport {
        let root = self.root.path();
        let report = back_up(root, snapshots, kind, &options(), self.tracker.as_mut()).unwrap();
        let shown = snapshots.iter().map(|(name, snapshot)| (name.clone(), content(snapshot)));
        self.expected.push((report.dir.clone(), shown.collect()));
        report
    }

    pub(crate) fn check_all(&self) {
        for (dir, expected) in &self.expected {
            assert_eq!(&restored(dir).unwrap(), expected, "{}", dir.display());
            verify(dir).unwrap();
        }
    }
}

/// Puts `count` keys of a series.
pub(crate) fn fill(store: &Store, count: u32, value: u32) {
    for n in 0..count {
        store.put(&key(n), &value.to_le_bytes()).unwrap();
    }
}

pub(crate) fn key(n: u32) -> Vec<u8> {
    format!("key/{:08}", n.wrapping_mul(2_654_435_761) % 100_000_007).into_bytes()
}

/// A chain of three backups of one store, and a full one after it.
pub(crate) fn chain() -> World {
    let mut world = World::new(&["a"], None);
    for value in 1..4 {
        fill(world.store("a"), 100 * value, value);
        world.back_up(Kind::Incremental);
    }
    world.back_up(Kind::Full);
    world
}
