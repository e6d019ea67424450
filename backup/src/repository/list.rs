//! Says what a repository holds.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::{Repository, State};
use crate::Error;
use crate::storage::{Directories, Shelf};

/// What [`inspect_repository`] found. Serializes to a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RepositoryInspection {
    /// Where the repository is.
    pub root: PathBuf,
    /// Its directories, by number.
    pub backups: Vec<EntryInspection>,
    /// Names that are not of a repository.
    pub foreign: Vec<String>,
}

/// One directory of a [`RepositoryInspection`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EntryInspection {
    /// Name of the directory.
    pub name: String,
    /// Its number in the repository.
    pub number: u64,
    /// `complete`, `incomplete`, `pruned in part`, `empty` or `damaged`.
    pub state: &'static str,
    /// What is wrong with it or its chain.
    pub error: Option<String>,
    /// What is known of the backup.
    pub backup: Option<BackupSummary>,
}

/// What a backup of a [`RepositoryInspection`] says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BackupSummary {
    /// Its identity, 32 hex digits.
    pub id: String,
    /// Backups before it in its chain.
    pub position: u32,
    /// Identity of the backup that it continues.
    pub base: Option<String>,
    /// When it was made, in milliseconds since 1970-01-01 UTC, by the machine's clock.
    pub created_unix_ms: u64,
    /// The snapshot number it shows.
    pub snapshot: u64,
    /// Stores.
    pub stores: usize,
    /// Entries when it is restored.
    pub entries: u64,
    /// Entries in its own files.
    pub puts: u64,
    /// Removes in its own files.
    pub removes: u64,
    /// Bytes of its own files.
    pub stored_bytes: u64,
}

/// Looks at the repository in `root`: manifests are read, and every chain is checked for its links and the
/// presence of its files.
///
/// # Complexity
/// Linear in the manifests; in the number of files times the length of the chains.
///
/// # Errors
/// [`Error::Io`] when the directory cannot be listed. What is wrong with a backup stands in its entry.
pub fn inspect_repository(root: &Path) -> Result<RepositoryInspection, Error> {
    inspect_repository_on(Arc::new(Directories::in_root(root)))
}

/// Looks at the repository on a shelf; see [`inspect_repository`].
///
/// # Errors
/// As there.
pub fn inspect_repository_on(shelf: Arc<dyn Shelf>) -> Result<RepositoryInspection, Error> {
    let repository = Repository::open_on(shelf)?;
    let backups = repository.entries().iter().map(|entry| {
        let (state, error) = match entry.state() {
            State::Complete(backup) => {
                ("complete", repository.chain(backup).err().map(|error| error.to_string()))
            }
            State::Incomplete => ("incomplete", None),
            State::Pruned => ("pruned in part", None),
            State::Empty => ("empty", None),
            State::Damaged(error) => ("damaged", Some(error.to_string())),
        };
        let backup = entry.backup().map(|backup| {
            let manifest = backup.manifest();
            let files = || manifest.files().map(|(_, _, record)| record);
            BackupSummary {
                id: manifest.id.to_string(),
                position: manifest.position(),
                base: manifest.base.as_ref().map(|base| base.id.to_string()),
                created_unix_ms: manifest.created_unix_ms,
                snapshot: manifest.snapshot,
                stores: manifest.stores.len(),
                entries: manifest.entries(),
                puts: files().map(|file| file.entries).sum(),
                removes: files().map(|file| file.removes).sum(),
                stored_bytes: files().map(|file| file.bytes).sum(),
            }
        });
        let (name, number) = (entry.name().to_owned(), entry.number());
        EntryInspection { name, number, state, error, backup }
    });
    let backups = backups.collect();
    Ok(RepositoryInspection {
        root: repository.root().to_owned(),
        backups,
        foreign: repository.foreign().to_vec(),
    })
}
