//! A part of an ingest: entries put in place, which nobody sees yet.

use std::ptr::NonNull;

use whimbrel_skiplist::Record;

use super::{Ingest, IngestMode, Job};
use crate::Error;
use crate::access::{Access, Head};
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, StampWord};
use crate::store::Store;
use crate::version::{Fresh, check_value};

/// What one part put in place, for the owner to finish.
pub(super) struct Gathered {
    /// Place of the store among the ingest's.
    pub(super) store: usize,
    pub(super) installed: Vec<Installed>,
    pub(super) same: u64,
    pub(super) lost: u64,
}

/// A version of the ingest and its record; both are there until the owner finishes the version (invariant J2).
pub(super) struct Installed {
    pub(super) record: NonNull<u8>,
    pub(super) version: u64,
}

// SAFETY: addresses that are used inside a session only, from any thread.
unsafe impl Send for Installed {}

/// What came of an entry.
enum Outcome {
    Installed(Installed),
    Same,
    Lost,
}

/// A part of an [`Ingest`]: takes the entries of one thread for one store, in ascending order of the keys.
///
/// What was put is kept when the part is dropped. Parts of one store must not have keys in common.
pub struct IngestPart<'i> {
    ingest: &'i Ingest,
    gathered: Gathered,
    last: Option<Vec<u8>>,
}

impl<'i> IngestPart<'i> {
    pub(super) fn new(ingest: &'i Ingest, store: usize) -> Self {
        let gathered = Gathered { store, installed: Vec::new(), same: 0, lost: 0 };
        Self { ingest, gathered, last: None }
    }

    /// The key is to have this value.
    ///
    /// # Complexity
    ///
    /// O(log n), and a copy of the value.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] when the key is not greater than the part's one before, or another part has it;
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`]. The ingest is as before.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.add(key, Some(value))
    }

    /// The key is to be absent.
    ///
    /// # Errors
    ///
    /// As [`IngestPart::put`].
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.add(key, None)
    }

    /// Entries that were put in place so far, without those that changed nothing or lost.
    #[must_use]
    pub fn written(&self) -> usize {
        self.gathered.installed.len()
    }

    fn store(&self) -> &'i Store {
        &self.ingest.stores[self.gathered.store]
    }

    fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        Store::check_key(key)?;
        check_value(value.unwrap_or_default())?;
        if let Some(last) = &self.last
            && last.as_slice() >= key
        {
            return Err(Error::OutOfOrder { previous: last.clone(), got: key.to_vec() });
        }
        let (mode, base, job) = (self.ingest.options.mode, self.ingest.base(), self.ingest.job());
        let outcome = self.store().access(|access| {
            let outcome = access.ingest(job, (mode, base), key, value)?;
            if planted(Mutant::IngestSettledEarly) {
                job.stamp().settle(access.clock, By::Owner);
            }
            Ok::<_, Error>(outcome)
        })?;
        match outcome {
            Outcome::Installed(installed) => self.gathered.installed.push(installed),
            Outcome::Same => self.gathered.same += 1,
            Outcome::Lost => self.gathered.lost += 1,
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }
}

impl Drop for IngestPart<'_> {
    fn drop(&mut self) {
        let store = self.gathered.store;
        let empty = Gathered { store, installed: Vec::new(), same: 0, lost: 0 };
        let gathered = std::mem::replace(&mut self.gathered, empty);
        self.ingest.gathered().push(gathered);
    }
}

impl std::fmt::Debug for IngestPart<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngestPart")
            .field("store", &self.store().number())
            .field("written", &self.written())
            .finish_non_exhaustive()
    }
}

impl<'g> Access<'g> {
    /// Puts an entry of an ingest in place, unless it loses to what is there or changes nothing.
    fn ingest(
        self,
        job: &Job,
        (mode, base): (IngestMode, u64),
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Outcome, Error> {
        loop {
            let record = match value {
                Some(_) => self.find_or_insert_empty(key)?,
                None => match self.find(key) {
                    Some(record) => record,
                    None => return Ok(Outcome::Same),
                },
            };
            let record = record.follow().0;
            let old = match self.settled_head(record) {
                Head::Sealed => {
                    self.store.list.unlink_sealed(record, self.guard);
                    continue;
                }
                Head::Empty => None,
                Head::Settled(version) => Some(version),
                // Of this very ingest (rule I4): another part has the key.
                Head::Ingesting { .. } => {
                    return Err(Error::OutOfOrder { previous: key.to_vec(), got: key.to_vec() });
                }
            };
            let ignored = planted(Mutant::BehindTakesRemoved)
                && old.is_some_and(|old| old.is_tombstone())
                && mode == IngestMode::Behind;
            if let Some(old) = old.filter(|_| !ignored) {
                let newer = old.settled_number().is_none_or(|number| number > base);
                if newer || mode == IngestMode::Behind {
                    return Ok(Outcome::Lost);
                }
            }
            if old.and_then(|old| old.value()) == value {
                return Ok(Outcome::Same);
            }
            let stamp = StampWord::ingested(job.word());
            if let Ok(change) = self.install(record, old, Fresh::new(stamp, value).of_ingest()) {
                return Ok(Outcome::Installed(Installed {
                    record: record.as_raw(),
                    version: change.new.word(),
                }));
            }
        }
    }
}

/// The record of a version that the owner has not finished.
///
/// # Safety
///
/// The version's word is `INGESTED` when the session of `'g` begins (invariant J2).
pub(super) unsafe fn record_of<'g>(installed: &Installed) -> Record<'g> {
    // SAFETY: the caller's promise.
    unsafe { Record::at(installed.record) }
}
