//! Finds what changed in a part of a store, and writes it into a delta.

use std::cmp::Ordering;
use std::ops::Range;

use whimbrel_mvcc::{Digest, KeyRange, Snapshot};

use super::pending::Piece;
use crate::Error;
use crate::block::BlockOptions;
use crate::delta::DeltaWriter;
use crate::export::STEP;
use crate::manifest::FileRecord;
use crate::progress::Work;
use crate::publish::{BackupWriter, Sink};

/// Keys that are looked up side by side.
const LOOKED_UP: usize = 256;

/// Bytes of values that are kept while keys are looked up; what does not fit is looked up again.
const KEPT_BYTES: usize = 1 << 20;

/// A delta that is made when the first change comes.
pub(crate) struct DeltaOut<'a> {
    pub(crate) backup: &'a BackupWriter<'a>,
    pub(crate) work: &'a Work,
    pub(crate) blocks: BlockOptions,
    /// Position of the store in the manifest.
    pub(crate) store: u32,
    /// Number of the file.
    pub(crate) number: u32,
    pub(crate) found: Found,
    pub(crate) open: Option<DeltaWriter<Sink>>,
}

/// What was found so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found {
    /// What the changes do to the digest of the store.
    pub(crate) change: Digest,
    /// Digest of all old entries that were looked at.
    pub(crate) old: Digest,
    written: u64,
    entries: u64,
    bytes: u64,
}

impl<'a> DeltaOut<'a> {
    /// Looks at one key: what the base has of it, and what it has now.
    fn look(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<(), Error> {
        let bytes = (key.len() + new.map_or(0, <[u8]>::len)) as u64;
        self.looked_at(1, bytes, &Digest::default())?;
        if old == new { Ok(()) } else { self.change(key, old, new) }
    }

    /// Takes note of entries that were looked at, and of the digest of the old ones among them.
    pub(super) fn looked_at(
        &mut self,
        entries: u64,
        bytes: u64,
        old: &Digest,
    ) -> Result<(), Error> {
        self.found.old.merge(old);
        self.found.entries += entries;
        self.found.bytes += bytes;
        if self.found.entries >= STEP { self.tell() } else { Ok(()) }
    }

    /// Writes a key that has changed: what the base has of it, and what it has now.
    pub(super) fn change(
        &mut self,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<(), Error> {
        let writer = match &mut self.open {
            Some(writer) => writer,
            none => none.insert(self.backup.delta(self.store, self.number, self.blocks)?),
        };
        if let Some(old) = old {
            self.found.change.remove(key, old);
        }
        match new {
            Some(new) => {
                self.found.change.add(key, new);
                writer.put(key, new)?;
            }
            None => writer.remove(key)?,
        }
        let written = writer.written();
        if written != self.found.written {
            self.work.wrote(written - self.found.written)?;
            self.found.written = written;
        }
        Ok(())
    }

    fn tell(&mut self) -> Result<(), Error> {
        self.work.check()?;
        self.work.add(self.found.entries, self.found.bytes);
        (self.found.entries, self.found.bytes) = (0, 0);
        Ok(())
    }

    /// Finishes and syncs the delta, if there is one.
    pub(crate) fn finish(mut self) -> Result<(Option<FileRecord>, Found), Error> {
        self.tell()?;
        let record = self.open.map(|writer| self.backup.finish_delta(writer)).transpose()?;
        if let Some(record) = &record {
            self.work.wrote(record.bytes - self.found.written)?;
        }
        Ok((record, self.found))
    }

    /// Writes what changed in these pieces between two snapshots.
    pub(crate) fn between(
        &mut self,
        base: &Snapshot,
        now: &Snapshot,
        pieces: &[Piece<'_>],
    ) -> Result<(), Error> {
        for piece in pieces {
            match piece {
                Piece::Keys(keys) => self.keys(base, now, keys)?,
                Piece::Span(range) => self.span(base, now, range)?,
            }
        }
        Ok(())
    }

    fn keys(&mut self, base: &Snapshot, now: &Snapshot, keys: &[Vec<u8>]) -> Result<(), Error> {
        let (mut old, mut new) = (Values::default(), Values::default());
        let mut asked: Vec<&[u8]> = Vec::with_capacity(LOOKED_UP);
        for keys in keys.chunks(LOOKED_UP) {
            asked.clear();
            asked.extend(keys.iter().map(Vec::as_slice));
            old.load(base, &asked);
            new.load(now, &asked);
            for (at, key) in asked.iter().enumerate() {
                let (mut one, mut other) = (Vec::new(), Vec::new());
                let old = old.get(at, base, key, &mut one);
                let new = new.get(at, now, key, &mut other);
                self.look(key, old, new)?;
            }
        }
        Ok(())
    }

    fn span(&mut self, base: &Snapshot, now: &Snapshot, range: &KeyRange) -> Result<(), Error> {
        let (mut old, mut new) = (base.range(range.clone()), now.range(range.clone()));
        let (mut before, mut after) = (old.next_entry(), new.next_entry());
        loop {
            let Some((key, order)) = order(before, after) else { return Ok(()) };
            let (is_old, is_new) = (order != Ordering::Greater, order != Ordering::Less);
            let old_value = before.filter(|_| is_old).map(|(_, value)| value);
            let new_value = after.filter(|_| is_new).map(|(_, value)| value);
            self.look(key, old_value, new_value)?;
            if is_old {
                before = old.next_entry();
            }
            if is_new {
                after = new.next_entry();
            }
        }
    }
}

/// The lesser key of two entries, and which one has it. None: there is neither.
fn order<'k>(
    before: Option<(&'k [u8], &'k [u8])>,
    after: Option<(&'k [u8], &'k [u8])>,
) -> Option<(&'k [u8], Ordering)> {
    match (before, after) {
        (None, None) => None,
        (Some((key, _)), None) => Some((key, Ordering::Less)),
        (None, Some((key, _))) => Some((key, Ordering::Greater)),
        (Some((before, _)), Some((after, _))) => Some((before.min(after), before.cmp(after))),
    }
}

/// Values of some keys in a snapshot.
#[derive(Default)]
struct Values {
    bytes: Vec<u8>,
    of: Vec<Value>,
}

enum Value {
    Absent,
    At(Range<usize>),
    /// There, and not kept.
    Left,
}

impl Values {
    fn load(&mut self, snapshot: &Snapshot, keys: &[&[u8]]) {
        self.bytes.clear();
        self.of.clear();
        let Self { bytes, of } = self;
        snapshot.get_many_with(keys, |_, value| {
            let start = bytes.len();
            of.push(match value {
                None => Value::Absent,
                Some(value) if start + value.len() > KEPT_BYTES => Value::Left,
                Some(value) => {
                    bytes.extend_from_slice(value);
                    Value::At(start..bytes.len())
                }
            });
        });
    }

    fn get<'v>(
        &'v self,
        at: usize,
        snapshot: &Snapshot,
        key: &[u8],
        scratch: &'v mut Vec<u8>,
    ) -> Option<&'v [u8]> {
        match self.of.get(at)? {
            Value::Absent => None,
            Value::At(range) => Some(&self.bytes[range.clone()]),
            Value::Left => {
                *scratch = snapshot.get(key)?;
                Some(scratch)
            }
        }
    }
}
