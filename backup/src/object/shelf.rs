//! The backups of a repository, below a prefix of an object store.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ObjectStorage;
use crate::Error;
use crate::storage::{LOCK, Listed, Lock, Shelf, Storage};

/// Longest text of a lock that is shown.
const HOLDER_MAX: usize = 200;

/// A prefix with a backup below each of its names, as a [`Shelf`].
#[derive(Debug, Clone)]
pub struct ObjectShelf {
    root: ObjectStorage,
}

impl ObjectShelf {
    /// What stands below `root`.
    #[must_use]
    pub fn below(root: ObjectStorage) -> Self {
        Self { root }
    }
}

impl Shelf for ObjectShelf {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.root.list()?.into_iter().map(|Listed { name, .. }| name).collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.root.below(name)))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(self.root.below(name)))
    }

    fn remove_empty(&self, name: &str) -> io::Result<()> {
        match self.root.below(name).list()?.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::DirectoryNotEmpty.into()),
        }
    }

    /// Does nothing: what was removed is gone.
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    /// An object that says who made it. One whose holder was killed stays, and has to be removed by hand:
    /// nothing here can know that nobody is at work any more.
    fn lock(&self) -> Result<Lock, Error> {
        let text = holder();
        match self.root.create(LOCK, text.clone().into_bytes()) {
            Ok(()) => Ok(Box::new(Held { root: self.root.clone(), text })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = self.root.read(LOCK).ok().map(|found| {
                    let found = String::from_utf8_lossy(&found);
                    found.chars().filter(|it| !it.is_control()).take(HOLDER_MAX).collect()
                });
                Err(Error::RepositoryBusy { root: self.root.path(""), holder: found })
            }
            Err(source) => Err(Error::Io { action: "lock", path: self.root.path(LOCK), source }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path(name)
    }
}

/// Who asks, for people to read. No two are the same.
fn holder() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (process, millis) = (std::process::id(), since.as_millis());
    format!(
        "process {process} of {}, since {millis} ms of the Unix clock, {}",
        host.trim(),
        crate::file::BackupId::generate(),
    )
}

/// The lock, as long as it is held.
struct Held {
    root: ObjectStorage,
    text: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Somebody may have removed it by hand, and another one be at work by now.
        if self.root.read(LOCK).is_ok_and(|found| found == self.text.as_bytes()) {
            let _ = self.root.remove(LOCK);
        }
    }
}
