//! An object being read.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};

use super::{to_io, wait};
use crate::reader::Source;

/// Bytes read ahead for whoever reads on from where a range ended.
const AHEAD: usize = 4 << 20;
/// Ranges that are kept, so that as many threads can read one object from front to back each.
const WINDOWS: usize = 4;

/// The bytes of one object, as it was when it was opened.
pub(super) struct ObjectSource {
    store: Arc<dyn ObjectStore>,
    path: Path,
    meta: ObjectMeta,
    /// The one used last comes last.
    windows: Mutex<Vec<Window>>,
}

/// A range that was read.
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// The bytes asked for, if they are all here.
    fn get(&self, at: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at.checked_sub(self.at)?).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }
}

impl ObjectSource {
    pub(super) fn new(store: Arc<dyn ObjectStore>, path: Path, meta: ObjectMeta) -> Self {
        Self { store, path, meta, windows: Mutex::default() }
    }

    fn fetch(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let (store, path) = (Arc::clone(&self.store), self.path.clone());
        let options = GetOptions {
            range: Some(GetRange::Bounded(at..at + len as u64)),
            if_match: self.meta.e_tag.clone(),
            ..GetOptions::default()
        };
        let read = async move { store.get_opts(&path, options).await?.bytes().await };
        let bytes = wait(read)?.map_err(|error| match error {
            object_store::Error::Precondition { .. } => {
                io::Error::other("the object was replaced while it was read")
            }
            error => to_io(error),
        })?;
        if bytes.len() == len {
            Ok(bytes.to_vec())
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

impl Source for ObjectSource {
    fn len(&self) -> u64 {
        self.meta.size
    }

    fn bytes<'a>(&'a self, at: u64, len: usize, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        scratch.clear();
        if len == 0 {
            return Ok(scratch);
        }
        let goes_on = {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = windows.iter().position(|window| window.get(at, len).is_some()) {
                let window = windows.remove(found);
                scratch.extend_from_slice(window.get(at, len).unwrap_or_default());
                windows.push(window);
                return Ok(scratch);
            }
            let next = |window: &Window| window.at <= at && at <= window.end();
            let before = windows.iter().position(next);
            // Its reader has gone past it.
            if let Some(before) = before {
                windows.remove(before);
            }
            before.is_some()
        };
        let left = usize::try_from(self.meta.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let ahead = if goes_on { AHEAD.min(left) } else { len };
        let bytes = self.fetch(at, len.max(ahead))?;
        scratch.extend_from_slice(&bytes[..len]);
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() == WINDOWS {
            windows.remove(0);
        }
        windows.push(Window { at, bytes });
        Ok(scratch)
    }
}
