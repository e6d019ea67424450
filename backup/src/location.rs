//! What a user names a place for backups by: a path, or `s3://bucket/prefix`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::storage::{Directories, Directory, Shelf, Storage};
use crate::{Backup, Error};

const S3: &str = "s3://";

/// A place for a backup, as a user writes it.
///
/// # Examples
/// ```
/// use std::path::Path;
/// use whimbrel_backup::Location;
/// let monday = Location::of(Path::new("s3://backups/birds/monday"))?;
/// assert_eq!(
///     monday,
///     Location::S3 { bucket: "backups".into(), prefix: "birds/monday".into() },
/// );
/// assert!(Location::of(Path::new("s3://")).is_err(), "no bucket");
/// let here = Location::of(Path::new("backups/monday"))?;
/// assert!(matches!(here, Location::Directory(_)));
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A prefix in a bucket of an object store that speaks S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What stands before the files' names, without slashes at its ends; empty for the bucket itself.
        prefix: String,
    },
}

impl Location {
    /// The place that `given` names: what begins with `s3://` is in an object store, all else a directory.
    ///
    /// # Errors
    /// [`Error::BadLocation`] when no bucket is named, or the prefix is none.
    pub fn of(given: &Path) -> Result<Self, Error> {
        let bytes = given.as_os_str().as_encoded_bytes();
        if !bytes.starts_with(S3.as_bytes()) {
            return Ok(Self::Directory(given.to_owned()));
        }
        let bad = |why| Error::BadLocation { location: given.display().to_string(), why };
        let text = given.to_str().ok_or_else(|| bad("it is not Unicode"))?;
        let rest = &text[S3.len()..];
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(bad("write s3://BUCKET/PREFIX"));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_bad =
            |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
        if !prefix.is_empty() && prefix.split('/').any(is_bad) {
            return Err(bad(
                "a part of its prefix is empty, `.`, `..`, or has a control character",
            ));
        }
        Ok(Self::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// What reads the files there. Nothing is created; that there is something will be seen later.
    ///
    /// # Errors
    /// [`Error::NoObjectStores`] for an object store in a build without the feature `s3`;
    /// [`Error::Io`] and [`Error::BadLocation`] when it cannot be configured.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, Error> {
        match self {
            Self::Directory(path) => Ok(Arc::new(Directory::at(path))),
            #[cfg(feature = "s3")]
            Self::S3 { bucket, prefix } => {
                Ok(Arc::new(crate::object::ObjectStorage::s3(bucket, prefix)?))
            }
            #[cfg(not(feature = "s3"))]
            Self::S3 { .. } => Err(self.no_object_stores()),
        }
    }

    /// What a new backup is written to. A directory is created where it is missing.
    ///
    /// # Errors
    /// As [`storage`](Self::storage), and [`Error::Io`] when the directory cannot be created.
    pub fn create(&self) -> Result<Arc<dyn Storage>, Error> {
        match self {
            Self::Directory(path) => Ok(Arc::new(Directory::create(path)?)),
            Self::S3 { .. } => self.storage(),
        }
    }

    /// The backups below the place, taken as a [`repository`](crate::repository). Nothing is created.
    ///
    /// # Errors
    /// As [`storage`](Self::storage).
    pub fn shelf(&self) -> Result<Arc<dyn Shelf>, Error> {
        match self {
            Self::Directory(root) => Ok(Arc::new(Directories::in_root(root))),
            #[cfg(feature = "s3")]
            Self::S3 { bucket, prefix } => {
                let root = crate::object::ObjectStorage::s3(bucket, prefix)?;
                Ok(Arc::new(crate::object::ObjectShelf::below(root)))
            }
            #[cfg(not(feature = "s3"))]
            Self::S3 { .. } => Err(self.no_object_stores()),
        }
    }

    /// The same, for a backup to be put there. A directory is created where it is missing.
    ///
    /// # Errors
    /// As [`storage`](Self::storage), and [`Error::Io`] when the directory cannot be created.
    pub fn create_shelf(&self) -> Result<Arc<dyn Shelf>, Error> {
        match self {
            Self::Directory(root) => Ok(Arc::new(Directories::create(root)?)),
            Self::S3 { .. } => self.shelf(),
        }
    }

    #[cfg(not(feature = "s3"))]
    fn no_object_stores(&self) -> Error {
        Error::NoObjectStores { location: self.to_string() }
    }

    /// Opens the backup there.
    ///
    /// # Errors
    /// As [`storage`](Self::storage) and [`Backup::open_in`].
    pub fn open(&self) -> Result<Backup, Error> {
        Backup::open_in(self.storage()?)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "{S3}{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "{S3}{bucket}/{prefix}"),
        }
    }
}
