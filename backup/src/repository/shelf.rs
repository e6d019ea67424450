//! A directory of directories, as far as a prune changes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::storage::{Directory, Storage};

/// What a prune does to a repository passes through this, so that tests can cut it anywhere.
pub trait Shelf {
    /// The directory of that name, which is there.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn Storage + '_>>;

    /// Takes away a directory that is empty.
    ///
    /// # Errors
    /// What the system says; an error when it is not empty.
    fn remove_empty(&self, name: &str) -> io::Result<()>;

    /// Makes removals so far durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;

    /// The path to show in messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// Directories of the file system.
#[derive(Debug)]
pub struct Directories {
    root: PathBuf,
}

impl Directories {
    /// The directories in `root`.
    #[must_use]
    pub fn in_root(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Shelf for Directories {
    fn open(&self, name: &str) -> io::Result<Box<dyn Storage + '_>> {
        Ok(Box::new(Directory::at(&self.root.join(name))))
    }

    fn remove_empty(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.root.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}
