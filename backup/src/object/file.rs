//! An object being written.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use tokio::task::JoinHandle;

use super::{runtime, to_io, wait};
use crate::storage::StorageFile;

/// Bytes of a part of an upload. Of 10,000 parts at most, an object has 156 GiB at most.
const PART: usize = 16 << 20;

/// What is written is gathered; what fills no part is put as one object, more goes up in parts, of which
/// one is under way while the next is gathered. Nothing replaces the empty object before the sync.
pub(super) struct ObjectFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    gathered: Vec<u8>,
    /// Only ever used through `&mut`; the lock is what lets threads hand the file on.
    upload: Mutex<Option<Box<dyn MultipartUpload>>>,
    under_way: Option<JoinHandle<object_store::Result<()>>>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Synced, with bytes.
    Stored,
    /// Something went wrong: nobody knows what is there.
    Failed,
}

impl ObjectFile {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        let (gathered, upload) = (Vec::new(), Mutex::new(None));
        Self { store, path, gathered, upload, under_way: None, state: State::Open }
    }

    fn check_open(&self) -> io::Result<()> {
        match self.state {
            State::Open => Ok(()),
            State::Stored => Err(io::Error::other("an object cannot grow once it is stored")),
            State::Failed => Err(io::Error::other("an earlier write of this object has failed")),
        }
    }

    fn upload(&mut self) -> &mut Option<Box<dyn MultipartUpload>> {
        self.upload.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the part that is under way.
    fn settle(&mut self) -> io::Result<()> {
        let Some(part) = self.under_way.take() else { return Ok(()) };
        wait(part)?.map_err(io::Error::other)?.map_err(to_io)
    }

    /// Sends what was gathered as a part.
    fn send_part(&mut self) -> io::Result<()> {
        if self.upload().is_none() {
            let (store, path) = (Arc::clone(&self.store), self.path.clone());
            let upload = wait(async move { store.put_multipart(&path).await })?;
            *self.upload() = Some(upload.map_err(to_io)?);
        }
        self.settle()?;
        let bytes = std::mem::take(&mut self.gathered);
        let Some(upload) = self.upload() else { return Ok(()) };
        let part = upload.put_part(bytes.into());
        // Begins at once, and goes on while the next part is gathered.
        self.under_way = Some(runtime()?.spawn(part));
        Ok(())
    }

    fn store(&mut self) -> io::Result<()> {
        if self.upload().is_none() {
            let (store, path) = (Arc::clone(&self.store), self.path.clone());
            let bytes = std::mem::take(&mut self.gathered);
            return wait(async move { store.put(&path, bytes.into()).await })?
                .map(drop)
                .map_err(to_io);
        }
        if !self.gathered.is_empty() {
            self.send_part()?;
        }
        self.settle()?;
        let Some(mut upload) = self.upload().take() else { return Ok(()) };
        let (upload, completed) = wait(async move {
            let completed = upload.complete().await;
            (upload, completed)
        })?;
        if let Err(error) = completed {
            // To be given up by `drop`.
            *self.upload() = Some(upload);
            return Err(to_io(error));
        }
        Ok(())
    }
}

impl Write for ObjectFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check_open()?;
        let taken = bytes.len().min(PART - self.gathered.len());
        self.gathered.extend_from_slice(&bytes[..taken]);
        if self.gathered.len() == PART {
            self.send_part().inspect_err(|_| self.state = State::Failed)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.state == State::Failed { self.check_open() } else { Ok(()) }
    }
}

impl StorageFile for ObjectFile {
    fn sync(&mut self) -> io::Result<()> {
        if self.state == State::Stored {
            return Ok(());
        }
        self.check_open()?;
        if self.gathered.is_empty() && self.upload().is_none() {
            // The empty object is there since its creation.
            return Ok(());
        }
        self.store().inspect_err(|_| self.state = State::Failed)?;
        self.state = State::Stored;
        Ok(())
    }
}

impl Drop for ObjectFile {
    fn drop(&mut self) {
        if let Some(part) = self.under_way.take() {
            part.abort();
        }
        // Parts of an upload that is never completed cost their owner money.
        if let Some(mut upload) = self.upload().take() {
            let _ = wait(async move { upload.abort().await });
        }
    }
}
