//! Where the files of a backup go.
//!
//! Everything that makes a backup durable passes through [`Storage`], so tests can record the order of
//! writes and syncs, cut it anywhere, and look at what a crash leaves behind.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// A file being written.
pub trait StorageFile: Write + Send + Sync {
    /// Makes everything written so far durable. After an error the file must be given up: the system
    /// may have dropped what it could not write.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&mut self) -> io::Result<()>;
}

impl StorageFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A flat namespace of files: a directory, or what stands for it.
pub trait Storage: Sync {
    /// Names of everything there.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Creates a file that must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Gives a file another name, replacing what has it, in one step.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;

    /// The path to show in messages; of the place itself for an empty name.
    fn path(&self, name: &str) -> PathBuf;
}

/// A directory of the file system.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// The directory at `path`, created with its parents where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created or is not a directory.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let create = || {
            if !path.is_dir() {
                fs::create_dir_all(path)?;
                if let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
                    File::open(parent)?.sync_all()?;
                }
            }
            Ok(())
        };
        create().map_err(|source| Error::Io { action: "create", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned() })
    }

    /// The directory at `path`, which is there.
    #[must_use]
    pub(crate) fn open(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Storage for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.path)
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(self.path.join(name))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }
}

/// Names in a directory, sorted; names that are not Unicode as far as they can be shown.
pub(crate) fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}
