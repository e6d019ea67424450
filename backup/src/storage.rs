//! Where the files of a backup are: written to, and read from; and where the backups of a repository are.
//!
//! Everything that makes a backup durable passes through [`Storage`], so tests can record the order of
//! writes and syncs, cut it anywhere, and look at what a crash leaves behind; everything that is read
//! passes through it as well, so tests can fail each read.
//!
//! | who | what |
//! |---|---|
//! | [`Storage`]: [`Directory`] | the files of one backup: a directory of the file system |
//! | [`Shelf`]: [`Directories`] | the backups of a repository: a directory of such directories |
//! | `object::ObjectStorage`, `object::ObjectShelf` | both in an object store, with the feature `s3` |
//! | [`Location`](crate::Location) | what a user names one by: a path, or `s3://bucket/prefix` |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Error;
use crate::reader::{FileSource, Source};

/// A file being written.
pub trait StorageFile: Write + Send + Sync {
    /// Makes everything written so far durable. After an error the file must be given up: the system
    /// may have dropped what it could not write. Where files cannot grow (object stores), nothing may be
    /// written after the first sync that had bytes to store.
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

/// Name and length of something in a [`Storage`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A flat namespace of files: a directory, or what stands for it.
pub trait Storage: Send + Sync {
    /// Everything there, by name in ascending order. A directory or a group of objects below counts as
    /// one file of any length.
    ///
    /// # Errors
    /// What the system says; `NotFound` when the place itself is not there and has to be.
    fn list(&self) -> io::Result<Vec<Listed>>;

    /// Opens a file for reading. What is handed out has the file's length of this moment.
    ///
    /// # Errors
    /// `NotFound`, or what the system says.
    fn open(&self, name: &str) -> io::Result<Box<dyn Source>>;

    /// The path under which the file can be mapped into memory, where there is one; of the directory itself for
    /// an empty name. Default none.
    fn local_path(&self, name: &str) -> Option<PathBuf> {
        let _ = name;
        None
    }

    /// Creates a file that must not exist yet. Of several who try at once, one succeeds at most.
    ///
    /// # Errors
    /// `AlreadyExists`, or what the system says.
    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>>;

    /// Gives a synced file another name in one step: whoever looks finds all of it under the new name, or
    /// nothing. The step that publishes a backup.
    ///
    /// A directory replaces what has the new name; an object store refuses then, as its step is a
    /// conditional put of the same bytes, after which the old name is removed or, should that fail, left.
    ///
    /// # Errors
    /// `AlreadyExists` where it is refused. `TimedOut` when nobody can know whether it happened or is yet
    /// to happen: nothing that the file speaks of may be removed then. After any other error it has not
    /// happened, as far as the system can be believed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes a file away.
    ///
    /// # Errors
    /// What the system says. `NotFound` is an error in directories only.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals so far durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;

    /// The path to show in messages; of the place itself for an empty name.
    fn path(&self, name: &str) -> PathBuf;

    /// The shelf that this stands on, if it stands on one, and its name there: where an incremental
    /// backup's chain is. Default none.
    ///
    /// # Errors
    /// What the system says.
    fn shelf(&self) -> io::Result<Option<(Arc<dyn Shelf>, String)>> {
        Ok(None)
    }
}

/// What keeps other writers out of a repository until it is dropped.
pub type Lock = Box<dyn Send>;

/// A place for the backups of a repository, each a [`Storage`] with a name.
pub trait Shelf: Send + Sync {
    /// Names of all that is there, in ascending order; none when the place is not there.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// What has that name. That it is there will be seen by whoever reads.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>>;

    /// Makes a place of that name for a new backup.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn create(&self, name: &str) -> Result<Arc<dyn Storage>, Error>;

    /// Takes away a directory that is empty; where there are no directories, looks that nothing is there.
    ///
    /// # Errors
    /// `DirectoryNotEmpty`, or what the system says.
    fn remove_empty(&self, name: &str) -> io::Result<()>;

    /// Makes removals so far durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;

    /// Keeps other writers out, also those of other processes, until what is returned is dropped. Waits
    /// for nobody.
    ///
    /// # Errors
    /// [`Error::RepositoryBusy`], [`Error::Io`].
    fn lock(&self) -> Result<Lock, Error>;

    /// The path to show in messages; of the place itself for an empty name.
    fn path(&self, name: &str) -> PathBuf;
}

/// Name of what locks a repository.
pub(crate) const LOCK: &str = "LOCK";

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

    /// The directory at `path`, to read from. That it is there will be seen by whoever reads.
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Storage for Directory {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A link that leads nowhere is there; what is gone since the names were read is not.
            let found = fs::metadata(entry.path()).or_else(|_| entry.metadata());
            let bytes = match found {
                Ok(found) => found.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // Names that are not Unicode as far as they can be shown: none is of a backup.
            files.push(Listed { name: entry.file_name().to_string_lossy().into_owned(), bytes });
        }
        files.sort_unstable();
        Ok(files)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(FileSource::of(File::open(self.path.join(name))?)?))
    }

    fn local_path(&self, name: &str) -> Option<PathBuf> {
        Some(self.path(name))
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
        path_in(&self.path, name)
    }

    fn shelf(&self) -> io::Result<Option<(Arc<dyn Shelf>, String)>> {
        let whole = std::path::absolute(&self.path)?.canonicalize()?;
        let (Some(root), Some(name)) = (whole.parent(), whole.file_name()) else { return Ok(None) };
        let shelf: Arc<dyn Shelf> = Arc::new(Directories::in_root(root));
        Ok(Some((shelf, name.to_string_lossy().into_owned())))
    }
}

/// A directory of directories.
#[derive(Debug, Clone)]
pub struct Directories {
    root: PathBuf,
}

impl Directories {
    /// The directories in `root`, which may be missing: then there are none.
    #[must_use]
    pub fn in_root(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directories in `root`, which is created with its parents where it is missing.
    ///
    /// # Errors
    /// As [`Directory::create`].
    pub fn create(root: &Path) -> Result<Self, Error> {
        Directory::create(root)?;
        Ok(Self::in_root(root))
    }
}

impl Shelf for Directories {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // Names that are not Unicode as far as they can be shown: none is of a repository.
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(Directory::at(&self.root.join(name))))
    }

    fn create(&self, name: &str) -> Result<Arc<dyn Storage>, Error> {
        Ok(Arc::new(Directory::create(&self.root.join(name))?))
    }

    fn remove_empty(&self, name: &str) -> io::Result<()> {
        fs::remove_dir(self.root.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }

    /// A lock on a file, which the system gives back when its holder ends.
    fn lock(&self) -> Result<Lock, Error> {
        let path = self.root.join(LOCK);
        let io = |action| {
            let path = path.clone();
            move |source| Error::Io { action, path, source }
        };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(io("open"))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(file)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::RepositoryBusy { root: self.root.clone(), holder: None })
            }
            Err(TryLockError::Error(source)) => Err(io("lock")(source)),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        path_in(&self.root, name)
    }
}

fn path_in(root: &Path, name: &str) -> PathBuf {
    if name.is_empty() { root.to_owned() } else { root.join(name) }
}
