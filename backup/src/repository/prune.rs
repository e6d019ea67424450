//! Removes old chains.
//!
//! A backup goes in steps of which each leaves something that is known for what it is:
//!
//! 1. its `MANIFEST.json` is renamed to `MANIFEST.json.pruned`, and the names are synced: from here on it is
//!    no backup, and the next prune knows what is left of it (in an object store, which copies and removes,
//!    both may be there after a crash: then it still is a backup);
//! 2. the files that the manifest lists are removed, and the names are synced;
//! 3. the renamed manifest is removed, and the names are synced;
//! 4. the directory is removed, which is refused when something else is in it, and the root is synced.
//!
//! Of a chain the newest backup goes first, so that what is left is a chain at any moment.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{Entry, Repository, State};
use crate::Error;
use crate::manifest::{MANIFEST, MANIFEST_PRUNED, Manifest};
use crate::open::read_manifest;
use crate::storage::{Directories, Shelf, Storage};

/// What [`prune`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PruneReport {
    /// The chains that are kept, oldest first.
    pub kept: Vec<Kept>,
    /// Directories that were removed, in that order.
    pub removed: Vec<String>,
    /// Bytes of the removed backups' files.
    pub removed_bytes: u64,
    /// What was left alone, and why.
    pub left: Vec<Left>,
}

/// A chain that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Kept {
    /// Directories of its backups, the full one first.
    pub backups: Vec<String>,
}

/// Something that a prune did not touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// Its name in the repository.
    pub name: String,
    /// Why it was not touched.
    pub why: String,
}

/// What a prune is going to do.
#[derive(Debug, Default)]
pub struct Pruning {
    /// Backups to be removed, in that order: directory, files.
    backups: Vec<(String, Vec<String>)>,
    /// Empty directories.
    empty: Vec<String>,
    report: PruneReport,
}

/// Keeps the newest `keep` chains of the repository at `root`, and removes the older ones.
///
/// A chain is a full backup with all that continue it. What is incomplete, damaged or foreign is not
/// touched and does not count. Interrupted at any point, also by a crash, it leaves whole chains and
/// leftovers that the next prune removes; doing it again changes nothing more.
///
/// # Complexity
/// Linear in the manifests and the number of files.
///
/// # Errors
/// [`Error::RepositoryBusy`] while a backup or another prune is at work; [`Error::Io`], also, [in that
/// backup](Error::InBackup), when the manifest of any cannot be read: nothing is removed then.
///
/// # Examples
/// ```
/// use std::num::NonZeroUsize;
/// use whimbrel_backup::ExportOptions;
/// use whimbrel_backup::repository::{Kind, back_up, prune};
///
/// let dir = tempfile::tempdir()?;
/// for _ in 0..3 {
///     back_up(dir.path(), &[], Kind::Full, &ExportOptions::default(), None)?;
/// }
/// let report = prune(dir.path(), NonZeroUsize::MIN)?;
/// assert_eq!((report.kept.len(), report.removed.len()), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn prune(root: &Path, keep: NonZeroUsize) -> Result<PruneReport, Error> {
    // A repository that is not there is an error: nothing is to be created here.
    if !root.is_dir() {
        let (root, wanted) = (root.to_owned(), "newest".to_owned());
        return Err(Error::NoSuchBackup { root, wanted });
    }
    prune_on(&(Arc::new(Directories::in_root(root)) as Arc<dyn Shelf>), keep)
}

/// Prunes the repository on a shelf; see [`prune`].
///
/// # Errors
/// As there.
pub fn prune_on(shelf: &Arc<dyn Shelf>, keep: NonZeroUsize) -> Result<PruneReport, Error> {
    let _lock = shelf.lock()?;
    let mut repository = Repository::open_on(Arc::clone(shelf))?;
    let unread = |entry: &Entry| matches!(entry.state(), State::Damaged(error) if is_unread(error));
    if let Some(at) = repository.entries.iter().position(unread) {
        let Entry { name, state, .. } = repository.entries.swap_remove(at);
        if let State::Damaged(error) = state {
            return Err(error.within(&shelf.path(&name)));
        }
    }
    Pruning::plan(&repository, keep)?.carry_out(&**shelf)
}

/// What could not be read may be whole, and continue what would go.
fn is_unread(error: &Error) -> bool {
    match error {
        Error::InBackup { source, .. } => is_unread(source),
        error => matches!(error, Error::Io { .. }),
    }
}

impl Pruning {
    /// Decides what goes, from one look at the repository.
    ///
    /// # Errors
    /// [`Error::Io`], [in a backup](Error::InBackup), when it cannot be seen whether a chain is whole.
    pub fn plan(repository: &Repository, keep: NonZeroUsize) -> Result<Self, Error> {
        let mut it = Self::default();
        let left = |name: &str, why: String| Left { name: name.to_owned(), why };
        let (leftovers, chains) = it.sort_out(repository)?;
        let kept_from = chains.len().saturating_sub(keep.get());
        for (at, backups) in chains.into_values().enumerate() {
            if at >= kept_from {
                let backups = backups.into_iter().map(|(name, _)| name).collect();
                it.report.kept.push(Kept { backups });
            } else {
                it.backups.extend(backups.into_iter().rev());
            }
        }
        // What an earlier prune began is ended first.
        it.backups.splice(0..0, leftovers);
        it.report.left.extend(
            repository.foreign().iter().map(|name| left(name, "not of a repository".to_owned())),
        );
        Ok(it)
    }

    /// The leftovers of earlier prunes; and the chains, by the number of their full backups.
    #[expect(clippy::type_complexity, reason = "lists of directories with their files")]
    fn sort_out(
        &mut self,
        repository: &Repository,
    ) -> Result<(Vec<(String, Vec<String>)>, BTreeMap<u64, Vec<(String, Vec<String>)>>), Error>
    {
        let mut leftovers = Vec::new();
        let mut chains: BTreeMap<u64, Vec<(String, Vec<String>)>> = BTreeMap::new();
        let numbers: HashMap<_, _> =
            repository.backups().map(|(number, backup)| (backup.manifest().id, number)).collect();
        for entry in repository.entries() {
            let name = entry.name().to_owned();
            let why = match entry.state() {
                State::Complete(backup) => match repository.chain(backup) {
                    Ok(chain) => {
                        let number = numbers[&chain.full().manifest().id];
                        let files = files(backup.manifest());
                        chains.entry(number).or_default().push((name, files));
                        continue;
                    }
                    Err(error) if is_unread(&error) => return Err(error),
                    Err(error) => error.to_string(),
                },
                State::Pruned => match pruned_files(&*repository.shelf, &name) {
                    Ok(files) => {
                        leftovers.push((name, files));
                        continue;
                    }
                    Err(error) if is_unread(&error) => return Err(error),
                    Err(error) => error.to_string(),
                },
                State::Empty => {
                    self.empty.push(name);
                    continue;
                }
                State::Incomplete => "incomplete: being written, or interrupted".to_owned(),
                State::Damaged(error) => error.to_string(),
            };
            self.report.left.push(Left { name, why });
        }
        Ok((leftovers, chains))
    }

    /// Directories that it will remove, in that order.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.backups.iter().map(|(name, _)| name).chain(&self.empty).map(String::as_str)
    }

    /// Carries out what was planned. The caller keeps other writers out.
    ///
    /// # Errors
    /// [`Error::Io`]. What is left is whole chains, and leftovers that the next prune removes.
    pub fn carry_out(self, shelf: &dyn Shelf) -> Result<PruneReport, Error> {
        let Self { backups, empty, mut report } = self;
        for (name, files) in backups {
            report.removed_bytes += remove_backup(shelf, &name, &files)?;
            remove_directory(shelf, name, &mut report)?;
        }
        for name in empty {
            remove_directory(shelf, name, &mut report)?;
        }
        Ok(report)
    }
}

fn remove_backup(shelf: &dyn Shelf, name: &str, files: &[String]) -> Result<u64, Error> {
    let io = |action, path: PathBuf| move |source| Error::Io { action, path, source };
    let storage: Arc<dyn Storage> = shelf.open(name).map_err(io("open", shelf.path(name)))?;
    let found = storage.list().map_err(io("list", storage.path("")))?;
    let sizes: HashMap<&str, u64> =
        found.iter().map(|file| (file.name.as_str(), file.bytes)).collect();
    let sync = || storage.sync_names().map_err(io("sync", storage.path("")));
    if sizes.contains_key(MANIFEST) {
        let renamed = storage.rename(MANIFEST, MANIFEST_PRUNED);
        renamed.map_err(io("rename", storage.path(MANIFEST)))?;
        take_old_name(&*storage)?;
    }
    // Also when an earlier prune renamed it: nobody knows whether it came to the sync.
    sync()?;
    let mut bytes = 0;
    for file in files {
        let Some(size) = sizes.get(file.as_str()) else { continue };
        bytes += size;
        storage.remove(file).map_err(io("remove", storage.path(file)))?;
    }
    sync()?;
    storage.remove(MANIFEST_PRUNED).map_err(io("remove", storage.path(MANIFEST_PRUNED)))?;
    sync()?;
    Ok(bytes)
}

/// An object store may leave the old name when it gives the new one: no file may go while it is there.
fn take_old_name(storage: &dyn Storage) -> Result<(), Error> {
    let io = |action| move |source| Error::Io { action, path: storage.path(MANIFEST), source };
    match storage.open(MANIFEST) {
        Ok(_) => storage.remove(MANIFEST).map_err(io("remove")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io("open")(source)),
    }
}

fn remove_directory(
    shelf: &dyn Shelf,
    name: String,
    report: &mut PruneReport,
) -> Result<(), Error> {
    match shelf.remove_empty(&name) {
        Ok(()) => {
            let synced = shelf.sync_names();
            let io = |source| Error::Io { action: "sync", path: shelf.path(""), source };
            synced.map_err(io)?;
            report.removed.push(name);
        }
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let why = "holds files that are not of the backup that was there".to_owned();
            report.left.push(Left { name, why });
        }
        Err(source) => {
            return Err(Error::Io { action: "remove", path: shelf.path(&name), source });
        }
    }
    Ok(())
}

fn files(manifest: &Manifest) -> Vec<String> {
    manifest.files().map(|(_, _, record)| record.file.clone()).collect()
}

/// The files of a backup whose manifest a prune has renamed.
fn pruned_files(shelf: &dyn Shelf, name: &str) -> Result<Vec<String>, Error> {
    let io = |source| Error::Io { action: "open", path: shelf.path(name), source };
    let storage = shelf.open(name).map_err(io)?;
    Ok(files(&Manifest::decode(&read_manifest(&*storage, MANIFEST_PRUNED)?)?))
}
