//! Where segments go, and where they are read from.

use std::fs::File;
use std::io::{self, Read};

use whimbrel_backup::storage::{Directory, Storage};

/// A file that is read from its beginning.
pub struct Contents {
    /// Its bytes, in order.
    pub bytes: Box<dyn Read + Send>,
    /// How many there are.
    pub len: u64,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contents").field("len", &self.len).finish_non_exhaustive()
    }
}

/// A flat namespace of files that can be read too: a directory, or what stands for it in tests.
///
/// A journal creates files, writes them from front to back, syncs and renames them, and removes them.
/// It never opens one again to write to it.
pub trait SegmentStorage: Storage + Send {
    /// Opens a file to read it.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, name: &str) -> io::Result<Contents>;
}

impl SegmentStorage for Directory {
    fn read(&self, name: &str) -> io::Result<Contents> {
        let file = File::open(self.path(name))?;
        let len = file.metadata()?.len();
        Ok(Contents { bytes: Box::new(file), len })
    }
}
