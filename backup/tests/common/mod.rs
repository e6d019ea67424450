//! A small backup with everything in it: two stores, several shards, a delta, blocks of both codecs.

#![allow(dead_code, clippy::allow_attributes, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use whimbrel_backup::Error;
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::manifest::{FileRecord, Manifest, StoreRecord};
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::shard::{BackupId, Tally};
use whimbrel_backup::storage::{Directory, Storage};

pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) const ID: BackupId = BackupId(*b"golden backup v1");

/// What store `birds` has after its delta was replayed.
pub(crate) fn birds() -> Entries {
    let mut all = birds_in_shards();
    for (key, value) in changes() {
        match value {
            Some(value) => all.insert(key, value),
            None => all.remove(&key),
        };
    }
    all
}

pub(crate) fn birds_in_shards() -> Entries {
    let mut all = Entries::new();
    all.insert(Vec::new(), b"the empty key".to_vec());
    for n in 0..12_u8 {
        all.insert(format!("bird/{n:02}").into_bytes(), vec![n; usize::from(n)]);
    }
    all.insert(b"zeros".to_vec(), vec![0; 200]);
    all
}

pub(crate) fn changes() -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    BTreeMap::from([
        (b"bird/00".to_vec(), None),
        (b"bird/01".to_vec(), Some(b"changed".to_vec())),
        (b"bird/99".to_vec(), Some(b"new".to_vec())),
        (b"nothing".to_vec(), None),
    ])
}

pub(crate) fn towns() -> Entries {
    Entries::from([(b"a".to_vec(), Vec::new()), (b"b".to_vec(), b"2".to_vec())])
}

pub(crate) fn tally(entries: &Entries) -> Tally {
    let mut tally = Tally::default();
    for (key, value) in entries {
        tally.add(key, Some(value));
    }
    tally
}

fn shard(
    backup: &BackupWriter<'_>,
    store: u32,
    number: u32,
    entries: &[(&Vec<u8>, &Vec<u8>)],
) -> Result<FileRecord, Error> {
    let options = BlockOptions::default().with_block_bytes(96).with_restart_interval(4);
    let mut writer = backup.shard(store, number, options)?;
    for (key, value) in entries {
        writer.push(key, value)?;
    }
    backup.finish_shard(writer)
}

/// Everything but publishing, for tests that fail or crash there.
pub(crate) fn write_files(backup: &BackupWriter<'_>) -> Manifest {
    try_write_files(backup).unwrap()
}

fn try_write_files(backup: &BackupWriter<'_>) -> Result<Manifest, Error> {
    let entries = birds_in_shards();
    let all: Vec<_> = entries.iter().collect();
    let shards = vec![shard(backup, 0, 0, &all[..5])?, shard(backup, 0, 1, &all[5..])?];
    let mut delta = backup.delta(0, 0, BlockOptions::default())?;
    for (key, value) in changes() {
        match value {
            Some(value) => delta.put(&key, &value)?,
            None => delta.remove(&key)?,
        }
    }
    let deltas = vec![backup.finish_delta(delta)?];
    let store = |name: &str, entries: &Entries, shards, deltas| {
        let digest = tally(entries).digest;
        let (entries, digest) = (digest.count, digest.sum);
        let name = name.to_owned();
        StoreRecord { name, entries, digest, shards, gc_deltas: vec![], deltas }
    };
    let mut manifest = Manifest::new(backup.id(), 1_700_000_000_000, 42);
    let towns_shards = vec![shard(backup, 1, 2, &towns().iter().collect::<Vec<_>>())?];
    manifest.stores = vec![
        store("birds", &birds(), shards, deltas),
        store("towns", &towns(), towns_shards, vec![]),
        store("empty", &Entries::new(), vec![], vec![]),
    ];
    manifest.user = serde_json::json!({ "resume": "offset 17" });
    Ok(manifest)
}

pub(crate) fn write_backup_to(storage: &dyn Storage, id: BackupId) {
    try_backup_to(storage, id).unwrap();
}

/// [`write_backup_to`] that may fail.
pub(crate) fn try_backup_to(storage: &dyn Storage, id: BackupId) -> Result<(), Error> {
    let backup = BackupWriter::begin(storage, id)?;
    let manifest = try_write_files(&backup)?;
    backup.publish(&manifest)
}

pub(crate) fn write_backup(dir: &Path) {
    write_backup_to(&Directory::create(dir).unwrap(), ID);
}

/// Name and bytes of every file of a directory.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        all.push((name, fs::read(entry.path()).unwrap()));
    }
    all.sort();
    all
}

/// A directory in memory where the machine has one: tens of thousands of damages are written to it.
pub(crate) fn fast_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Makes every damage of the file that the whole project promises to notice, one after the other: each
/// flipped bit, each cut. `check` looks at each. The file is whole again afterwards. Answers how many.
pub(crate) fn damage(path: &Path, check: impl Fn(&str)) -> usize {
    let good = fs::read(path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    for bit in 0..good.len() * 8 {
        let (at, byte) = (bit / 8, good[bit / 8]);
        file.write_all_at(&[byte ^ (1 << (bit % 8))], at as u64).unwrap();
        check(&format!("bit {bit} flipped"));
        file.write_all_at(&[byte], at as u64).unwrap();
    }
    for len in (0..good.len()).rev() {
        file.set_len(len as u64).unwrap();
        check(&format!("cut to {len} bytes"));
    }
    file.write_all_at(&good, 0).unwrap();
    good.len() * 9
}

/// What was written to a file, and how much of it was synced.
#[derive(Default, Clone)]
pub(crate) struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

impl Content {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn sync(&mut self) {
        self.synced = self.bytes.len();
    }

    /// What may be found after a crash: everything, what was synced, half of the rest, zeros.
    pub(crate) fn images(&self) -> Vec<Vec<u8>> {
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
