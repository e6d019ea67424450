//! What a node makes of a backup: which store of it belongs into which slot.
//!
//! The backup of a node has a store `slot-NNNNN` per slot, whose keys are as they stand there. The
//! backup of an engine has a store `collection/NNNNN` per partition; it goes into the slot of that
//! name, behind the collection's key prefix.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use whimbrel_backup::repository::{Chain, Repository};
use whimbrel_backup::{Location, Work};
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

/// Opens what a user names, with what it continues: a backup at `s3://bucket/prefix`, or one in a directory as
/// [`find_backup`] finds it.
///
/// # Errors
///
/// [`Error::Backup`] when there is none, its manifest is damaged, or the object store cannot be
/// reached; [`Error::Usage`] when one of several is asked for in an object store, where there are no
/// repositories.
pub fn open_chain(given: &Path, at: Option<&str>) -> Result<Chain, Error> {
    match (Location::of(given)?, at) {
        (Location::Directory(dir), _) => Ok(Chain::of(&find_backup(&dir, at)?)?),
        (elsewhere, None) => Ok(Chain::alone(elsewhere.open()?)?),
        (elsewhere, Some(_)) => Err(no_repository(&elsewhere, "verify")),
    }
}

/// What to say where a repository is named in an object store.
pub(crate) fn no_repository(location: &Location, command: &'static str) -> Error {
    let message = format!("{location} is one backup; repositories of backups are directories");
    Error::Usage { command, message }
}

/// The backup that a directory stands for: itself, or the newest complete checkpoint in it.
pub(crate) fn newest_backup(dir: &Path) -> PathBuf {
    let has_manifest = |dir: &Path| dir.join(whimbrel_backup::manifest::MANIFEST).exists();
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

/// The backup that is meant: of a repository of backups the newest, or the one `at` a number or identity;
/// otherwise as the newest complete checkpoint in it, or the directory itself.
///
/// # Errors
///
/// [`Error::Backup`] when the repository has no such backup, or the newest is damaged.
pub fn find_backup(dir: &Path, at: Option<&str>) -> Result<PathBuf, Error> {
    if let Some(wanted) = at {
        return Ok(Repository::open(dir)?.find(wanted)?.dir().to_owned());
    }
    match repository_in(dir) {
        Some(repository) => Ok(repository.newest()?.dir().to_owned()),
        None => Ok(newest_backup(dir)),
    }
}

/// Whether the directory is a repository of backups, and neither a backup nor a directory of checkpoints.
#[must_use]
pub fn is_repository(dir: &Path) -> bool {
    repository_in(dir).is_some()
}

fn repository_in(dir: &Path) -> Option<Repository> {
    if newest_backup(dir) != dir || dir.join(whimbrel_backup::manifest::MANIFEST).exists() {
        return None;
    }
    Repository::open(dir).ok().filter(|repository| !repository.entries().is_empty())
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
