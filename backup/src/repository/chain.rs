//! One chain: a full backup, and the incremental ones that continue it.

use std::collections::HashMap;
use std::path::Path;

use super::Repository;
use crate::Error;
use crate::open::Backup;

/// A full backup and the incremental backups that lead from it to one moment, each continuing the one
/// before.
///
/// Made by [`Repository::chain`] or [`Chain::of`], which check that every backup is the one that the next
/// one continues, and that its files are there.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Never empty; the first one is full.
    backups: Vec<Backup>,
    /// For each backup: position of every store, and whether it continues the one of the backup before.
    stores: Vec<HashMap<String, (u32, bool)>>,
}

impl Chain {
    /// The chain that ends in the backup in `dir`: [`ending_in`](Self::ending_in) what
    /// [`Backup::open`] opens there.
    ///
    /// # Errors
    /// As [`Backup::open`]; [`Error::BrokenChain`], [`Error::InBackup`].
    ///
    /// # Examples
    /// ```
    /// use whimbrel_backup::repository::Chain;
    /// use whimbrel_backup::{ExportOptions, export};
    ///
    /// let dir = tempfile::tempdir()?;
    /// export(&[], &dir.path().join("monday"), &ExportOptions::default())?;
    /// assert_eq!(Chain::of(&dir.path().join("monday"))?.backups().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(dir: &Path) -> Result<Self, Error> {
        Self::ending_in(Backup::open(dir)?)
    }

    /// The chain that ends in a backup: the backup itself where it is a full one, otherwise with those
    /// that stand beside it.
    ///
    /// # Errors
    /// [`Error::BrokenChain`], also for an incremental backup that stands in no repository;
    /// [`Error::InBackup`], [`Error::Io`].
    pub fn ending_in(backup: Backup) -> Result<Self, Error> {
        if backup.manifest().base.is_none() {
            return Ok(Self::new(vec![backup]));
        }
        let shelf = backup.storage().shelf().map_err(|source| Error::Io {
            action: "resolve",
            path: backup.dir().to_owned(),
            source,
        })?;
        let Some((shelf, name)) = shelf else {
            return Err(broken(&backup, "which is looked for beside it, where nothing can be"));
        };
        let repository = Repository::open_on(shelf)?;
        let listed = repository.entries().iter().find(|entry| entry.name() == name);
        match listed.and_then(super::Entry::backup) {
            Some(backup) => repository.chain(backup),
            None => {
                Err(broken(&backup, "and its directory has not the name of one in a repository"))
            }
        }
    }

    /// The chain that ends in the newest backup of the repository at `root`.
    ///
    /// # Errors
    /// As [`Repository::open`], [`Repository::newest`] and [`Repository::chain`].
    pub fn newest_in(root: &Path) -> Result<Self, Error> {
        let repository = Repository::open(root)?;
        repository.chain(repository.newest()?)
    }

    pub(super) fn resolve(repository: &Repository, tip: &Backup) -> Result<Self, Error> {
        let number = |backup: &Backup| {
            let id = backup.manifest().id;
            repository.backups().find(|(_, it)| it.manifest().id == id).map(|(number, _)| number)
        };
        let mut backups = vec![tip.clone()];
        let mut last = tip;
        // Ends: each step is to a smaller position.
        while let Some(base) = &last.manifest().base {
            let found = repository.backups().find(|(_, it)| it.manifest().id == base.id);
            let Some((before_number, before)) = found else {
                // It may be there, damaged.
                let id = base.id.to_string();
                let named = repository.entries().iter().find(|entry| entry.name().ends_with(&id));
                return Err(match named {
                    Some(entry) if matches!(entry.state(), super::State::Damaged(_)) => {
                        repository.damage(entry)
                    }
                    _ => broken(last, "which is missing"),
                });
            };
            if before.link() != base.link() {
                return Err(broken(last, "whose manifest is not the one that it had then"));
            }
            if before.manifest().position().checked_add(1) != Some(base.position) {
                return Err(broken(last, "which has another place in its chain"));
            }
            if number(last).is_some_and(|number| number <= before_number) {
                return Err(broken(last, "which comes after it by its number"));
            }
            backups.push(before.clone());
            last = before;
        }
        backups.reverse();
        let chain = Self::new(backups);
        chain.check()?;
        Ok(chain)
    }

    fn new(backups: Vec<Backup>) -> Self {
        let index = |backup: &Backup| {
            let (manifest, continued) = (backup.manifest(), backup.manifest().continued());
            let numbered = (0_u32..).zip(&manifest.stores);
            let places = numbered.map(|(number, store)| {
                (store.name.clone(), (number, continued.contains(store.name.as_str())))
            });
            places.collect()
        };
        let stores = backups.iter().map(index).collect();
        Self { backups, stores }
    }

    /// Files are there, and stores that are continued are in the backup before.
    fn check(&self) -> Result<(), Error> {
        for backup in &self.backups {
            backup.check_directory().map_err(|error| error.within(backup.dir()))?;
        }
        for (backup, before) in self.backups[1..].iter().zip(&self.stores) {
            if backup.manifest().continued().iter().any(|name| !before.contains_key(*name)) {
                return Err(broken(backup, "which lacks a store that it continues"));
            }
        }
        Ok(())
    }

    /// The backups, the full one first.
    #[must_use]
    pub fn backups(&self) -> &[Backup] {
        &self.backups
    }

    /// What went wrong in a backup of this chain: with the directory where there are several backups, whose
    /// files have the same names.
    #[must_use]
    pub fn named(&self, backup: &Backup, error: Error) -> Error {
        if self.backups.len() > 1 { error.within(backup.dir()) } else { error }
    }

    /// The full backup.
    #[must_use]
    pub fn full(&self) -> &Backup {
        &self.backups[0]
    }

    /// The last backup: what a restore of the chain shows.
    #[must_use]
    pub fn newest(&self) -> &Backup {
        &self.backups[self.backups.len() - 1]
    }

    /// What makes up a store as the newest backup has it: backups that have files of it, oldest first,
    /// with its position in their manifests. The first one has it whole.
    ///
    /// # Errors
    /// [`Error::StoreName`] when the newest backup has no such store.
    pub fn layers(&self, name: &str) -> Result<Vec<(&Backup, u32)>, Error> {
        let mut layers = Vec::new();
        for (backup, stores) in self.backups.iter().zip(&self.stores).rev() {
            let Some((number, continued)) = stores.get(name) else {
                let (name, why) = (name.to_owned(), "the chain has no such store");
                return Err(Error::StoreName { name, why }.within(backup.dir()));
            };
            layers.push((backup, *number));
            if !continued {
                break;
            }
        }
        layers.reverse();
        Ok(layers)
    }
}

fn broken(backup: &Backup, what: &'static str) -> Error {
    let base = backup.manifest().base.as_ref();
    let base = base.map_or_else(String::new, |base| base.id.to_string());
    Error::BrokenChain { backup: backup.dir().to_owned(), base, what }
}
