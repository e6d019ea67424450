//! Writes segments: the device of a journal's group commit.
//!
//! A segment gets its name only when its header is durable, so one under its name has a whole header.
//! It is never opened again for writing: what a crash has torn is cut off by the next segment, whose
//! header says where this one ends.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use whimbrel_backup::storage::StorageFile;

use crate::commit::{Device, Group};
use crate::error::Failure;
use crate::format::{GroupHeader, Identity, SEGMENT_HEADER, SegmentHeader, payload_crc};
use crate::storage::SegmentStorage;

/// What stands before a segment's number in its name.
const NAME: &str = "journal-";
/// What stands behind the name of one that is being made.
pub(crate) const UNFINISHED: &str = ".tmp";

/// The name of a segment.
pub(crate) fn segment_name(number: u64) -> String {
    format!("{NAME}{number:010}")
}

/// The number of a segment of this name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(NAME)?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// A segment that gets no more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) number: u64,
    /// Sequence behind its last record.
    pub(crate) next: u64,
    pub(crate) bytes: u64,
}

/// What a journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// Records written.
    pub records: u64,
    /// Groups that they were written in.
    pub groups: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Syncs of segments.
    pub syncs: u64,
    /// Time that they took together.
    pub sync_time: Duration,
    /// The longest.
    pub sync_max: Duration,
}

/// What the device and its journal share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Oldest first.
    pub(crate) closed: VecDeque<Closed>,
    pub(crate) figures: Figures,
    /// Bytes of the segment that is being written.
    pub(crate) current: u64,
}

pub(crate) type SharedRef = Arc<Mutex<Shared>>;

/// The segment that is being written.
pub(crate) struct SegmentWriter {
    storage: Arc<dyn SegmentStorage>,
    shared: SharedRef,
    /// Length at which a segment ends.
    full: u64,
    identity: Identity,
    number: u64,
    name: String,
    file: Box<dyn StorageFile>,
    seed: u32,
    chain: u32,
    len: u64,
    first: u64,
    next: u64,
    proven: u64,
}

impl SegmentWriter {
    /// Makes a segment that begins with what `fill` writes. It has its name, and all of it is durable,
    /// when this returns.
    pub(crate) fn begin(
        storage: Arc<dyn SegmentStorage>,
        shared: SharedRef,
        full: u64,
        header: &SegmentHeader,
        fill: impl FnOnce(&mut Self) -> Result<(), crate::Error>,
    ) -> Result<Self, crate::Error> {
        let name = segment_name(header.number);
        let unfinished = format!("{name}{UNFINISHED}");
        let file = storage
            .create_new(&unfinished)
            .map_err(|source| Failure::new("create", storage.path(&unfinished), &source))?;
        let (bytes, seed) = header.encode();
        let mut writer = Self {
            shared,
            full,
            identity: header.identity,
            number: header.number,
            name,
            file,
            seed,
            chain: seed,
            len: SEGMENT_HEADER as u64,
            first: header.first,
            next: header.first,
            proven: header.first,
            storage,
        };
        let written = writer.file.write_all(&bytes);
        written.map_err(|source| writer.failure("write", &source))?;
        fill(&mut writer)?;
        writer.sync()?;
        let renamed = writer.storage.rename(&unfinished, &writer.name);
        renamed.map_err(|source| writer.failure("rename", &source))?;
        let synced = writer.storage.sync_names();
        synced.map_err(|source| writer.failure("sync the name of", &source))?;
        writer.shared().current = writer.len;
        Ok(writer)
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    fn failure(&self, action: &'static str, source: &io::Error) -> Failure {
        Failure::new(action, self.storage.path(&self.name), source)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Plain figures and a list: whole after every step.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a group to this segment.
    pub(crate) fn append(&mut self, group: &mut Group) -> Result<(), Failure> {
        let (first, count) = (group.first(), group.count());
        debug_assert_eq!(first, self.next, "groups come in the order of their sequences");
        let (room, payload) = group.parts();
        let header = GroupHeader {
            // Bounded when the records were appended.
            len: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            count,
            first,
            proven: self.proven,
            chain: self.chain,
            payload: payload_crc(self.seed, payload),
        };
        let (bytes, crc) = header.encode(self.seed);
        room.copy_from_slice(&bytes);
        let written = self.file.write_all(group.bytes());
        written.map_err(|source| self.failure("write", &source))?;
        self.len += group.bytes().len() as u64;
        (self.chain, self.next) = (crc, group.next());
        let mut shared = self.shared();
        shared.figures.records += u64::from(count);
        shared.figures.groups += 1;
        shared.figures.bytes += group.bytes().len() as u64;
        shared.current = self.len;
        Ok(())
    }
}

impl Device for SegmentWriter {
    fn write(&mut self, groups: &mut [Group]) -> Result<(), Failure> {
        for group in groups {
            if self.len >= self.full {
                self.turn_over()?;
            }
            self.append(group)?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let synced = self.file.flush().and_then(|()| self.file.sync());
        synced.map_err(|source| self.failure("sync", &source))?;
        self.proven = self.next;
        let took = begun.elapsed();
        let mut shared = self.shared();
        let figures = &mut shared.figures;
        figures.syncs += 1;
        figures.sync_time += took;
        figures.sync_max = figures.sync_max.max(took);
        Ok(())
    }

    fn turn_over(&mut self) -> Result<(), Failure> {
        self.sync()?;
        if self.next == self.first {
            return Ok(());
        }
        let header = SegmentHeader {
            identity: self.identity,
            number: self.number + 1,
            first: self.next,
            previous_end: self.len,
            previous_chain: self.chain,
        };
        let (storage, shared) = (Arc::clone(&self.storage), Arc::clone(&self.shared));
        let next = Self::begin(storage, shared, self.full, &header, |_| Ok(()));
        let next = next.map_err(|error| match error {
            crate::Error::Io { action, path, source } => Failure::new(action, path, &source),
            other => self.failure("end", &io::Error::other(other.to_string())),
        })?;
        let closed = Closed { number: self.number, next: self.next, bytes: self.len };
        let before = std::mem::replace(self, next);
        drop(before);
        self.shared().closed.push_back(closed);
        Ok(())
    }
}

impl std::fmt::Debug for SegmentWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentWriter")
            .field("name", &self.name)
            .field("len", &self.len)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
