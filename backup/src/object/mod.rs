//! Backups in an object store that speaks S3 (feature `s3`).
//!
//! What a directory promises by syncs and renames an object store promises by conditional puts: an object
//! is there whole or not at all, durable when the store has said so, and of several who create one name one
//! succeeds at most. So [`Storage`] maps to it like this:
//!
//! | step | in a directory | here |
//! |---|---|---|
//! | claim a name | `open` with `O_EXCL` | a put of an empty object `If-None-Match: *` |
//! | write, sync | `write`, `fsync` | one put, or the parts of one multipart upload, over that empty object |
//! | publish | `rename`, `fsync` of the directory | a put of the same bytes `If-None-Match: *`, then the old name is removed |
//! | lock a repository | `flock` | an object `LOCK`, made like a claim, that says who holds it |
//!
//! An answer may be lost, and the request be sent again: then a conditional put finds its own object. Each
//! claim carries a token in its metadata by which it is known, and each manifest an identity of its own. Where nobody can know
//! whether the publishing put arrived, [`Storage::rename`] says `TimedOut` and everything is left in place.
//!
//! Reads are of ranges, all of the object that was there at opening: a range of another one is refused by
//! its entity tag. Whoever reads on from where a range ended is read ahead for.
//!
//! # Assumptions
//!
//! Reads see every write that was answered before (S3 since December 2020), and `If-None-Match: *` is honoured (S3 since
//! August 2024; MinIO, Ceph, R2). A store that ignores that header keeps nobody out.

mod file;
mod shelf;
mod source;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};
use tokio::runtime::Runtime;

use self::file::ObjectFile;
pub use self::shelf::ObjectShelf;
use self::source::ObjectSource;
use crate::Error;
use crate::file::BackupId;
use crate::manifest::MAX_MANIFEST_LEN;
use crate::reader::Source;
use crate::storage::{Listed, Shelf, Storage, StorageFile};

/// How often a request is sent again.
const RETRIES: usize = 6;
/// How long after the first attempt one is sent again at the latest.
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
/// Threads that talk to object stores, for the whole process.
const THREADS: usize = 2;
/// Name of the metadata that tells one claim from another.
const TOKEN: &str = "whimbrel-claim";

/// The objects below a prefix, as a [`Storage`].
///
/// Shared access from any thread is fine, also from one of an async runtime, which is blocked meanwhile.
///
/// # Examples
/// Any store of the crate `object_store` will do; [`s3`](Self::s3) makes the usual one.
/// ```
/// use std::sync::Arc;
/// use object_store::memory::InMemory;
/// use whimbrel_backup::object::ObjectStorage;
/// use whimbrel_backup::{Backup, ExportOptions, export_to};
///
/// let monday = ObjectStorage::new(Arc::new(InMemory::new()), "backups/monday", "memory://")?;
/// export_to(&[], &monday, &ExportOptions::default())?;
/// assert_eq!(Backup::open_in(Arc::new(monday))?.manifest().entries(), 0);
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
#[derive(Clone)]
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// What stands before the prefix in messages: `s3://bucket`.
    root: Arc<str>,
}

impl fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ObjectStorage").field(&self.path("")).finish()
    }
}

impl ObjectStorage {
    /// The objects below `prefix` in `store`. `root` stands before the prefix in messages.
    ///
    /// # Errors
    /// [`Error::BadLocation`] when the prefix is none.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: &str, root: &str) -> Result<Self, Error> {
        let prefix = Path::parse(prefix).map_err(|_| Error::BadLocation {
            location: format!("{root}/{prefix}"),
            why: "its prefix is not one of objects",
        })?;
        Ok(Self { store, prefix, root: root.trim_end_matches('/').into() })
    }

    /// The objects below `prefix` in a bucket that speaks S3. Nothing is asked yet.
    ///
    /// Where it is and who asks stands in the environment, as for the tools of AWS: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`; for other stores than AWS's `AWS_ENDPOINT_URL`,
    /// and `AWS_ALLOW_HTTP=true` where that is not encrypted; `AWS_TIMEOUT` where 30 seconds are too few for
    /// 16 MiB.
    ///
    /// # Errors
    /// [`Error::BadLocation`] when the prefix is none; [`Error::Io`] when the environment makes no sense.
    pub fn s3(bucket: &str, prefix: &str) -> Result<Self, Error> {
        let root = format!("s3://{bucket}");
        let retry = RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        };
        let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
        let built = builder.build();
        let store = built.map_err(|error| Error::Io {
            action: "configure",
            path: PathBuf::from(&root),
            source: io::Error::new(io::ErrorKind::InvalidInput, error),
        })?;
        Self::new(Arc::new(store), prefix, &root)
    }

    /// What is below a name of this one.
    fn below(&self, name: &str) -> Self {
        Self { prefix: self.at(name), ..self.clone() }
    }

    fn at(&self, name: &str) -> Path {
        self.prefix.clone().join(name)
    }

    /// Creates an object that must not exist yet.
    fn create(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let (store, path) = (Arc::clone(&self.store), self.at(name));
        let token = BackupId::generate().to_string();
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::Metadata(TOKEN.into()), token.clone().into());
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        let at = path.clone();
        let put = wait(async move { store.put_opts(&at, bytes.into(), options).await })?;
        match put.map_err(to_io) {
            // Its answer may have been lost, and the request sent again.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.token(path)? == Some(token) { Ok(()) } else { Err(error) }
            }
            put => put.map(drop),
        }
    }

    /// What tells an object's claim from others, if it was one.
    fn token(&self, path: Path) -> io::Result<Option<String>> {
        let store = Arc::clone(&self.store);
        let options = GetOptions { head: true, ..GetOptions::default() };
        let found = wait(async move { store.get_opts(&path, options).await })?.map_err(to_io)?;
        let token = found.attributes.get(&Attribute::Metadata(TOKEN.into()));
        Ok(token.map(|token| token.to_string()))
    }

    fn head(&self, path: Path) -> io::Result<ObjectMeta> {
        let store = Arc::clone(&self.store);
        wait(async move { store.head(&path).await })?.map_err(to_io)
    }

    /// All of an object that is no longer than a manifest may be.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let (store, path) = (Arc::clone(&self.store), self.at(name));
        let size = self.head(path.clone())?.size;
        if size > MAX_MANIFEST_LEN {
            let message = format!("it has {size} bytes: only what is small gets another name");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let read = async move { store.get_range(&path, 0..size).await };
        if size == 0 {
            return Ok(Vec::new());
        }
        Ok(wait(read)?.map_err(to_io)?.to_vec())
    }
}

impl Storage for ObjectStorage {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let (store, prefix) = (Arc::clone(&self.store), self.prefix.clone());
        let found = wait(async move { store.list_with_delimiter(Some(&prefix)).await })?;
        let found = found.map_err(to_io)?;
        let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
        let object = |it: &ObjectMeta| Listed { name: name(&it.location), bytes: it.size };
        let group = |path: &Path| Listed { name: name(path), bytes: 0 };
        let objects = found.objects.iter().map(object);
        let mut listed: Vec<Listed> =
            objects.chain(found.common_prefixes.iter().map(group)).collect();
        listed.sort_unstable();
        Ok(listed)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Source>> {
        let path = self.at(name);
        let meta = self.head(path.clone())?;
        Ok(Box::new(ObjectSource::new(Arc::clone(&self.store), path, meta)))
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        self.create(name, Vec::new())?;
        Ok(Box::new(ObjectFile::new(Arc::clone(&self.store), self.at(name))))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let bytes = self.read(from)?;
        let (store, path) = (Arc::clone(&self.store), self.at(to));
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes.clone());
        let put = wait(async move { store.put_opts(&path, payload, options).await })?;
        if let Err(error) = put {
            // Whether it happened is known where the store itself refused.
            let refused = !matches!(
                error,
                object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }
                    | object_store::Error::Generic { .. }
            );
            let error = to_io(error);
            if refused {
                return Err(error);
            }
            match self.read(to) {
                // An earlier attempt, whose answer was lost.
                Ok(found) if found == bytes => {}
                Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, error)),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, error)),
            }
        }
        // What is left of the old name says nothing beside the new one.
        let _ = self.remove(from);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (store, path) = (Arc::clone(&self.store), self.at(name));
        match wait(async move { store.delete(&path).await })?.map_err(to_io) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Does nothing: names are durable when they are there.
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        let mut shown = PathBuf::from(&*self.root);
        if !self.prefix.as_ref().is_empty() {
            shown.push(self.prefix.as_ref());
        }
        if name.is_empty() { shown } else { shown.join(name) }
    }

    fn shelf(&self) -> io::Result<Option<(Arc<dyn Shelf>, String)>> {
        let Some(name) = self.prefix.filename().map(str::to_owned) else { return Ok(None) };
        let prefix: Path = {
            let parts: Vec<_> = self.prefix.parts().collect();
            parts[..parts.len() - 1].iter().cloned().collect()
        };
        let shelf: Arc<dyn Shelf> = Arc::new(ObjectShelf::below(Self { prefix, ..self.clone() }));
        Ok(Some((shelf, name)))
    }
}

/// A runtime of our own: callers are threads of any kind.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let made = builder.worker_threads(THREADS).thread_name("objects").enable_all().build()?;
    // Of threads that come here at once the first one's is kept; another one ends here, unused, and waits for
    // nothing, which a caller's own runtime would not allow.
    if let Err(unused) = RUNTIME.set(made) {
        unused.shutdown_background();
    }
    RUNTIME.get().ok_or_else(|| io::Error::other("no runtime"))
}

/// Lets the runtime do the work, and waits for it.
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (answer, answered) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody listens any more: nothing to say.
        let _ = answer.send(work.await);
    });
    answered.recv().map_err(|_| io::Error::other("a request ended without an answer"))
}

/// The same error, of a kind that says what callers decide by.
fn to_io(error: object_store::Error) -> io::Error {
    use object_store::Error as E;
    let kind = match &error {
        E::NotFound { .. } => io::ErrorKind::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } => io::ErrorKind::AlreadyExists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        E::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        E::NotSupported { .. } | E::NotImplemented { .. } => io::ErrorKind::Unsupported,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
