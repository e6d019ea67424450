//! Durable grants: the source's promises of rule M4, one small file per slot.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::codec::Reader;
use crate::{Attempt, Error, MigrationId, Slot};

const MAGIC: [u8; 8] = *b"WHIMGRNT";

/// The directory that holds a node's grants. Each is written to a temporary file, synced, renamed,
/// and the directory synced: after [`write`](Self::write) returns, a restart finds it.
#[derive(Debug, Clone)]
pub struct GrantLog {
    dir: PathBuf,
}

impl GrantLog {
    /// Opens the directory, making it if needed.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|e| Error::file(&dir, "making", e))?;
        Ok(Self { dir })
    }

    fn path(&self, slot: Slot) -> PathBuf {
        self.dir.join(format!("grant-{slot}"))
    }

    /// Makes a grant durable.
    ///
    /// # Errors
    ///
    /// After an error it may be durable or not.
    pub fn write(&self, attempt: Attempt) -> Result<(), Error> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&attempt.slot.number().to_le_bytes());
        bytes.extend_from_slice(&attempt.id.as_u64().to_le_bytes());
        bytes.extend_from_slice(&attempt.epoch.to_le_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let path = self.path(attempt.slot);
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            sync_dir(&self.dir)
        };
        write().map_err(|e| Error::file(&path, "writing", e))
    }

    /// The grant of a slot, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is damaged: then whether the slot was granted is unknown.
    pub fn read(&self, slot: Slot) -> Result<Option<Attempt>, Error> {
        let path = self.path(slot);
        match fs::read(&path) {
            Ok(bytes) => match decode(&bytes).filter(|a| a.slot == slot) {
                Some(attempt) => Ok(Some(attempt)),
                None => {
                    let cause = "it is no grant of this slot".to_owned();
                    Err(Error::CorruptFile { file: path, offset: 0, cause })
                }
            },
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::file(&path, "reading", e)),
        }
    }

    /// Forgets a grant whose epoch the record has passed. That this is lost in a crash is harmless,
    /// because a grant counts only for the record's own epoch and attempt.
    ///
    /// # Errors
    ///
    /// If the file cannot be removed.
    pub fn erase(&self, slot: Slot) -> Result<(), Error> {
        let path = self.path(slot);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::file(&path, "removing", e)),
            _ => Ok(()),
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Attempt> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut r = Reader::new(body);
    if r.array::<8>().ok()? != MAGIC {
        return None;
    }
    let slot = Slot::new(r.u16().ok()?)?;
    let id = MigrationId::from_u64(r.u64().ok()?);
    let epoch = r.u64().ok()?;
    r.finish().ok()?;
    Some(Attempt { id, slot, epoch })
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_found_again_and_damage_is_not_taken_for_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = GrantLog::open(dir.path()).expect("open");
        let slot = Slot::new(5).expect("exists");
        assert_eq!(log.read(slot).expect("read"), None);
        let attempt = Attempt { id: MigrationId::from_u64(3), slot, epoch: 8 };
        log.write(attempt).expect("write");
        assert_eq!(log.read(slot).expect("read"), Some(attempt));
        let path = dir.path().join("grant-5");
        let bytes = fs::read(&path).expect("read");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, damaged).expect("write");
            assert!(log.read(slot).is_err(), "bit {bit}");
        }
        log.erase(slot).expect("erase");
        log.erase(slot).expect("erase again");
        assert_eq!(log.read(slot).expect("read"), None);
    }
}
