//! What a node makes of a backup: which store of it belongs into which slot.
//!
//! The backup of a node has a store `slot-NNNNN` per slot, whose keys are as they stand there. The
//! backup of an engine has a store `collection/NNNNN` per partition; it goes into the slot of that
//! name, behind the collection's key prefix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::repository::{Chain, Repository};
use whimbrel_backup::{Backup, Location, Work};
use whimbrel_migrate::{Slot, SlotServer, slot_of};
use whimbrel_mvcc::{Clock, Store};
use whimbrel_recovery::{RestoreOptions, restore_chain};

use crate::Error;
use crate::resp::commands::partition_prefix;

/// What stands before the slot's number in the name of its store.
const SLOT: &str = "slot-";

/// The name of a slot's store in a backup.
#[must_use]
pub fn slot_store_name(slot: Slot) -> String {
    format!("{SLOT}{:05}", slot.number())
}

/// The slot that a store of this name belongs to, and what its keys get in front.
fn place_of(name: &str) -> Option<(Slot, Vec<u8>)> {
    if let Some(number) = name.strip_prefix(SLOT) {
        return Some((Slot::new(number.parse().ok()?)?, Vec::new()));
    }
    let (collection, number) = name.rsplit_once('/')?;
    let prefix = partition_prefix(collection, number.parse().ok()?);
    Some((slot_of(name.as_bytes()), prefix))
}

/// Opens what a user names, with what it continues: a backup; of a repository of backups the newest, or the one
/// `at` a number or identity; of a directory of `whimbrel import` the newest complete checkpoint. Places are
/// directories, or `s3://bucket/prefix`.
///
/// # Errors
///
/// [`Error::Backup`] when there is none, it or what it continues is damaged, or the object store cannot be
/// reached.
pub fn open_chain(given: &Path, at: Option<&str>) -> Result<Chain, Error> {
    let location = Location::of(given)?;
    if let Some(wanted) = at {
        let repository = Repository::open_on(location.shelf()?)?;
        return Ok(repository.chain(repository.find(wanted)?)?);
    }
    if let Some(repository) = repository_at(&location)? {
        return Ok(repository.chain(repository.newest()?)?);
    }
    Ok(Chain::ending_in(open_backup(&location)?)?)
}

/// Opens the backup at a place that is no repository: the place itself, or its newest complete checkpoint.
///
/// # Errors
///
/// [`Error::Backup`] when there is none, or its manifest is damaged.
pub fn open_backup(location: &Location) -> Result<Backup, Error> {
    Ok(match location {
        Location::Directory(dir) => Backup::open(&newest_backup(dir))?,
        elsewhere => elsewhere.open()?,
    })
}

/// What is there, when it is a repository of backups, and neither a backup nor a directory of checkpoints.
///
/// # Errors
///
/// [`Error::Backup`] when the place cannot be looked at.
pub fn repository_at(location: &Location) -> Result<Option<Repository>, Error> {
    if matches!(location, Location::Directory(dir) if newest_backup(dir) != *dir) {
        return Ok(None);
    }
    if location.storage()?.open(MANIFEST).is_ok() {
        return Ok(None);
    }
    let repository = Repository::open_on(location.shelf()?).ok();
    Ok(repository.filter(|repository| !repository.entries().is_empty()))
}

/// The backup that a directory stands for: itself, or the newest complete checkpoint in it.
fn newest_backup(dir: &Path) -> PathBuf {
    let has_manifest = |dir: &Path| dir.join(MANIFEST).exists();
    if has_manifest(dir) {
        return dir.to_owned();
    }
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let inside = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("checkpoint-") && has_manifest(path)
    });
    // Numbers have leading zeros: the order of names is the order of checkpoints.
    inside.max().unwrap_or_else(|| dir.to_owned())
}

/// Whether a backup is one of a node.
#[must_use]
pub fn is_node_backup(chain: &Chain) -> bool {
    let manifest = chain.newest().manifest();
    manifest.stores.iter().any(|store| store.name.starts_with(SLOT))
}

/// Loads a backup, or the newest one of a repository, into stores of slots: checked as a whole before
/// anything is returned.
///
/// Stores of a backup that fall into one slot are put together.
///
/// # Errors
///
/// [`Error::Recovery`] naming file and block of the first damage, [`Error::ForeignStore`] for a
/// store that is neither a slot's nor a partition's.
pub fn load(given: &Path, clock: &Clock, work: Work) -> Result<BTreeMap<Slot, Store>, Error> {
    let chain = open_chain(given, None)?;
    let (dir, manifest) = (chain.newest().dir(), chain.newest().manifest());
    let mut options = RestoreOptions::default()
        .with_work(work)
        .with_store_options(SlotServer::slot_store_options());
    let foreign = |name: &str| Error::ForeignStore { dir: dir.to_owned(), name: name.to_owned() };
    for store in &manifest.stores {
        let (_, prefix) = place_of(&store.name).ok_or_else(|| foreign(&store.name))?;
        options = options.with_key_prefix(&store.name, &prefix);
    }
    let restored = restore_chain(&chain, clock, &options)?;
    let mut slots: BTreeMap<Slot, Store> = BTreeMap::new();
    for (name, store) in restored.stores {
        let (slot, _) = place_of(&name).ok_or_else(|| foreign(&name))?;
        match slots.get(&slot) {
            None => {
                slots.insert(slot, store);
            }
            Some(present) => {
                let mut cursor = store.snapshot_named("restore").range(..);
                while let Some((key, value)) = cursor.next_entry() {
                    present
                        .put(key, value)
                        .map_err(|source| Error::Store { slot: slot.number(), source })?;
                }
            }
        }
    }
    Ok(slots)
}
