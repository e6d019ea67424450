//! A part of an ingest: entries put in place, which nobody sees yet.
//!
//! Where the store has no key from one entry's on, entries are gathered until it has, or there are enough, and go
//! in together as whole blocks (`whimbrel_skiplist::List::splice`). All others are put one by one.

use std::ops::Bound;
use std::ptr::NonNull;

use whimbrel_skiplist::{Record, Run};

use super::{Ingest, IngestMode, Job};
use crate::Error;
use crate::access::{Access, Head};
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, StampWord};
use crate::store::Store;
use crate::version::{Fresh, OwnRef, VersionRef, check_value};

/// Entries that go in together at most, and bytes of their keys and values: one short session.
const MOST_ENTRIES: usize = 256;
const MOST_BYTES: usize = 256 << 10;

/// Entries below which it is not worth while.
const FEW_ENTRIES: usize = if cfg!(whimbrel_loom) { 2 } else { 16 };

/// Entries that are put one by one after a gap was too small, at most: then there is another look.
const MOST_SKIPPED: usize = 1024;

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

/// Puts that wait for others, to go in with them where the store has no record.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Where a key begins, its length, and that of the value behind it.
    entries: Vec<(usize, usize, usize)>,
    /// The first key that may be taken. None: nothing waits.
    end: Option<Bound<Vec<u8>>>,
    /// Entries to be put one by one before there is another look at the store, and after the next one.
    skip: usize,
    next_skip: usize,
}

impl Waiting {
    fn has_room_for(&self, key: &[u8], value: &[u8]) -> bool {
        let is_inside = match &self.end {
            Some(Bound::Excluded(end)) => key < end.as_slice(),
            Some(_) => true,
            None => false,
        };
        let bytes = self.bytes.len() + key.len() + value.len();
        is_inside && self.entries.len() < MOST_ENTRIES && bytes <= MOST_BYTES
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.entries.push((self.bytes.len(), key.len(), value.len()));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|(from, key_len, value_len)| {
            let (key, rest) = self.bytes[*from..].split_at(*key_len);
            (key, &rest[..*value_len])
        })
    }

    /// Whether to look for a gap now.
    fn is_due(&mut self) -> bool {
        let is_due = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        is_due
    }

    /// Notes whether a gap had room for enough.
    fn note(&mut self, was_large: bool) {
        self.next_skip = if was_large { 0 } else { (2 * self.next_skip).clamp(8, MOST_SKIPPED) };
        self.skip = self.next_skip;
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.end = None;
    }
}

/// A part of an [`Ingest`]: takes the entries of one thread for one store, in ascending order of the keys.
///
/// What was put is kept when the part is dropped. Parts of one store must not have keys in common. Some entries
/// are put in place later than they came, with those behind them: what is wrong with one of these may be said then,
/// or by [`Ingest::commit`].
pub struct IngestPart<'i> {
    ingest: &'i Ingest,
    gathered: Gathered,
    waiting: Waiting,
    last: Option<Vec<u8>>,
}

impl<'i> IngestPart<'i> {
    pub(super) fn new(ingest: &'i Ingest, store: usize) -> Self {
        let gathered = Gathered { store, installed: Vec::new(), same: 0, lost: 0 };
        Self { ingest, gathered, waiting: Waiting::default(), last: None }
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

    /// Entries that were put so far, without those that changed nothing or lost.
    #[must_use]
    pub fn written(&self) -> usize {
        self.gathered.installed.len() + self.waiting.entries.len()
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
        match value {
            Some(value) if self.waits(key, value)? => self.waiting.push(key, value),
            // Absent, as whatever lies in a gap: nothing to remove.
            None if self.waiting.has_room_for(key, &[]) => self.gathered.same += 1,
            value => {
                self.flush()?;
                self.add_one(key, value)?;
            }
        }
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    /// Whether the entry goes in together with those that wait, or may begin to wait for others.
    fn waits(&mut self, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        if self.waiting.has_room_for(key, value) {
            return Ok(true);
        }
        self.flush()?;
        if key.len() + value.len() > MOST_BYTES || !self.waiting.is_due() {
            return Ok(false);
        }
        self.waiting.end = self.store().access(|access| access.store.list.gap(key, access.guard));
        if self.waiting.end.is_none() {
            self.waiting.note(false);
        }
        Ok(self.waiting.end.is_some())
    }

    /// Puts in place what waits.
    fn flush(&mut self) -> Result<(), Error> {
        if self.waiting.entries.is_empty() {
            self.waiting.end = None;
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.waiting);
        let (job, installed) = (self.ingest.job(), &mut self.gathered.installed);
        let is_large = waiting.entries.len() >= FEW_ENTRIES;
        let store = &self.ingest.stores[self.gathered.store];
        let done = is_large && store.access(|access| access.splice(job, &waiting, installed));
        let one_by_one = if done {
            Ok(())
        } else {
            waiting.entries().try_for_each(|(key, value)| self.add_one(key, Some(value)))
        };
        // Its buffers are used again.
        self.waiting = waiting;
        self.waiting.clear();
        self.waiting.note(is_large);
        one_by_one
    }

    fn add_one(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
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
        Ok(())
    }
}

impl Drop for IngestPart<'_> {
    fn drop(&mut self) {
        if let Err(err) = self.flush() {
            self.ingest.fail(err);
        }
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
    /// Puts entries in place together. False: the store has a record between them, and none of them.
    fn splice(self, job: &Job, waiting: &Waiting, installed: &mut Vec<Installed>) -> bool {
        let (mut run, mut versions) = (Run::new(), Vec::with_capacity(waiting.entries.len()));
        for (key, value) in waiting.entries() {
            let fresh = Fresh::new(StampWord::ingested(job.word()), Some(value)).of_ingest();
            let word = fresh.word();
            if run.push(key, 0, |_| word).is_err() {
                debug_assert!(false, "keys are checked when they come, and ascend");
                return false;
            }
            versions.push(fresh);
        }
        let Ok(records) = self.store.list.splice(run, self.guard) else { return false };
        for (record, fresh) in records.into_iter().zip(versions) {
            let version = fresh.word();
            fresh.published();
            // SAFETY: published by this thread under the guard.
            let new = VersionRef::Own(unsafe { OwnRef::from_word(version) });
            self.store.count_installed(record.key(), new, None);
            installed.push(Installed { record: record.as_raw(), version });
        }
        true
    }

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
                    version: VersionRef::Own(change.new).word(),
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
