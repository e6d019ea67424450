//! Compares what the files of a base have with what a snapshot sees.
//!
//! Nearly all of it is in the shards of the full backup. They are read block by block, and the entries of a block
//! are compared with the snapshot's where both lie: in the decoded block, and in the store, inside of the
//! snapshot's barrier sessions. What takes long or waits is done between these: a block is read and decoded
//! before, with what later files of the chain have in its range; changes are written afterwards.

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};
use std::path::Path;

use whimbrel_mvcc::{Digester, KeyRange, Snapshot};

use super::changes::DeltaOut;
use super::files::{Kept, Merge, StoreFiles, is_before, reaches};
use crate::Error;
use crate::block::{Block, Entries};
use crate::bytes::common_prefix;
use crate::reader::{Buffers, check_order};

/// Bytes of keys and values of later files that are kept for a block, and of changes that are kept until they
/// are written; what one entry adds may exceed them.
const KEPT_BYTES: usize = 1 << 20;

impl DeltaOut<'_> {
    /// Writes what differs in a range between the files of the base and a snapshot.
    pub(crate) fn compare(
        &mut self,
        files: &StoreFiles,
        range: &KeyRange,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let (mut blocks, mut later) = (files.blocks(range), files.later(range)?);
        later.step()?;
        let (mut buffers, mut kept) = (Buffers::default(), Kept::default());
        let mut rest = range.clone();
        loop {
            let read = blocks.read(&mut buffers)?;
            // Up to the next block, or all that is left.
            let next_key = blocks.next_key().filter(|key| reaches(&range.hi, key));
            let end =
                next_key.map_or_else(|| range.hi.clone(), |key| Bound::Excluded(key.to_vec()));
            let mut block = OldBlock::begin(read, range)?;
            loop {
                let is_all = take_up_to(&mut later, &end, &mut kept)?;
                rest.hi = end.clone();
                if !is_all && let Some((key, _)) = kept.get(kept.len() - 1) {
                    rest.hi = Bound::Included(key.to_vec());
                }
                // What ends where the next block begins has all that is left of this one.
                let is_inner = is_all && next_key.is_some();
                let hi = if is_inner { &Bound::Unbounded } else { &rest.hi };
                let old = Old::begin(&mut block, &kept, hi)?;
                self.compare_stretch(old, &rest, snapshot)?;
                rest.lo = behind(std::mem::replace(&mut rest.hi, Bound::Unbounded));
                if is_all {
                    break;
                }
            }
            match next_key {
                Some(key) => block.check_end(key)?,
                None => return Ok(()),
            }
        }
    }

    /// Compares all that the files have in a range with a snapshot.
    fn compare_stretch(
        &mut self,
        mut old: Old<'_, '_>,
        range: &KeyRange,
        snapshot: &Snapshot,
    ) -> Result<(), Error> {
        let (mut rest, mut changes) = (range.clone(), Changes::default());
        loop {
            let (mut met, mut behind) = (Ok(()), None);
            snapshot.scan(rest.clone(), |key, value| {
                met = old.meet(key, value, &mut changes);
                if met.is_ok() && !changes.are_many() {
                    return ControlFlow::Continue(());
                }
                behind = Some(key.to_vec());
                ControlFlow::Break(())
            });
            met?;
            changes.write(self)?;
            match behind {
                Some(key) => rest.lo = Bound::Excluded(key),
                None => break,
            }
        }
        // What is behind the snapshot's last entry is gone from it.
        while old.pass(&mut changes)? {
            if changes.are_many() {
                changes.write(self)?;
            }
        }
        changes.write(self)
    }
}

/// Where what follows on an upper end begins.
fn behind(hi: Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    match hi {
        Bound::Included(key) => Bound::Excluded(key),
        Bound::Excluded(key) => Bound::Included(key),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Takes what later files have up to an end. False: that is too much at once, and there is more.
fn take_up_to(later: &mut Merge<'_>, end: &Bound<Vec<u8>>, kept: &mut Kept) -> Result<bool, Error> {
    kept.clear();
    while let Some((key, value)) = later.entry().filter(|(key, _)| reaches(end, key)) {
        if kept.bytes() > KEPT_BYTES {
            return Ok(false);
        }
        kept.push(key, value);
        later.step()?;
    }
    Ok(true)
}

/// A block of the full backup, entry by entry.
struct OldBlock<'b> {
    /// None: there is no block.
    block: Option<(Block<'b>, Entries<'b>, &'b Path)>,
    /// Whether there is an entry at hand.
    any: bool,
    /// Its value; none for a remove.
    value: Option<&'b [u8]>,
}

impl<'b> OldBlock<'b> {
    /// Begins with the first entry of a range.
    fn begin(read: Option<(Block<'b>, &'b Path)>, range: &KeyRange) -> Result<Self, Error> {
        let block = read.map(|(block, backup)| (block, block.entries(), backup));
        let mut old = Self { block, any: false, value: None };
        old.step()?;
        while old.any && is_before(&range.lo, old.key()) {
            old.step()?;
        }
        Ok(old)
    }

    #[inline]
    fn step(&mut self) -> Result<(), Error> {
        let Some((_, entries, backup)) = &mut self.block else { return Ok(()) };
        (self.any, self.value) = match entries.next_entry() {
            Ok(Some((_, value))) => (true, value),
            Ok(None) => (false, None),
            Err(error) => return Err(error.within(backup)),
        };
        Ok(())
    }

    /// The key of the entry at hand, or of the last one.
    #[inline]
    fn key(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |(_, entries, _)| entries.key())
    }

    /// The next block must begin behind this one.
    fn check_end(&self, next: &[u8]) -> Result<(), Error> {
        let Some((block, _, backup)) = &self.block else { return Ok(()) };
        check_order(block.place(), self.key(), next).map_err(|error| error.within(backup))
    }
}

/// What the files have in a stretch, entry by entry, without what was removed later.
struct Old<'o, 'b> {
    block: &'o mut OldBlock<'b>,
    later: &'o Kept,
    /// The next entry of the later files.
    at: usize,
    /// Where the block may have more than the stretch, the end of that.
    hi: &'o Bound<Vec<u8>>,
    /// The value of the entry at hand; none when there are no more.
    value: Option<&'o [u8]>,
    /// Whether the entry at hand is of a later file.
    is_later: bool,
}

impl<'o, 'b: 'o> Old<'o, 'b> {
    fn begin(
        block: &'o mut OldBlock<'b>,
        later: &'o Kept,
        hi: &'o Bound<Vec<u8>>,
    ) -> Result<Self, Error> {
        let mut old = Self { block, later, at: 0, hi, value: None, is_later: false };
        old.settle()?;
        Ok(old)
    }

    /// The key of the entry at hand.
    #[inline]
    fn key(&self) -> &[u8] {
        match self.later.get(self.at) {
            Some((key, _)) if self.is_later => key,
            _ => self.block.key(),
        }
    }

    /// Leaves the entry at hand.
    #[inline]
    fn step(&mut self) -> Result<(), Error> {
        if self.is_later {
            self.at += 1;
        } else {
            self.block.step()?;
        }
        self.settle()
    }

    /// Finds the entry that comes next, past those that were removed.
    #[inline]
    fn settle(&mut self) -> Result<(), Error> {
        // Nearly always there is nothing later.
        if self.at == self.later.len() && self.block.any && reaches(self.hi, self.block.key()) {
            (self.value, self.is_later) = (self.block.value, false);
            if self.value.is_some() {
                return Ok(());
            }
        }
        self.settle_among_later()
    }

    #[inline(never)]
    fn settle_among_later(&mut self) -> Result<(), Error> {
        loop {
            let in_block = self.block.any && reaches(self.hi, self.block.key());
            let order = match self.later.get(self.at) {
                None if in_block => Ordering::Less,
                None => {
                    (self.value, self.is_later) = (None, false);
                    return Ok(());
                }
                Some((key, _)) if in_block => self.block.key().cmp(key),
                Some(_) => Ordering::Greater,
            };
            if order == Ordering::Equal {
                self.block.step()?;
            }
            self.is_later = order != Ordering::Less;
            self.value = match self.later.get(self.at) {
                Some((_, value)) if self.is_later => value,
                _ => self.block.value,
            };
            if self.value.is_some() {
                return Ok(());
            }
            if self.is_later {
                self.at += 1;
            } else {
                self.block.step()?;
            }
        }
    }

    /// Compares the snapshot's next entry with what the files have up to its key.
    #[inline]
    fn meet(&mut self, key: &[u8], value: &[u8], changes: &mut Changes) -> Result<(), Error> {
        changes.entries += 1;
        changes.bytes += (key.len() + value.len()) as u64;
        loop {
            let order = self.value.map_or(Ordering::Greater, |_| order_of(self.key(), key));
            match (order, self.value) {
                (Ordering::Equal, Some(old)) => {
                    changes.old.add(key, old);
                    if old != value {
                        changes.push(key, Some(old), Some(value));
                    }
                    return self.step();
                }
                (Ordering::Less, Some(_)) => _ = self.pass(changes)?,
                _ => {
                    changes.push(key, None, Some(value));
                    return Ok(());
                }
            }
        }
    }

    /// The entry at hand is not in the snapshot. False: there is none.
    fn pass(&mut self, changes: &mut Changes) -> Result<bool, Error> {
        let Some(old) = self.value else { return Ok(false) };
        changes.old.add(self.key(), old);
        changes.push(self.key(), Some(old), None);
        self.step()?;
        Ok(true)
    }
}

/// Compares two keys.
#[inline]
fn order_of(one: &[u8], other: &[u8]) -> Ordering {
    let shared = common_prefix(one, other);
    match (one.get(shared), other.get(shared)) {
        (Some(one), Some(other)) => one.cmp(other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// What was found and is not written yet.
#[derive(Default)]
struct Changes {
    /// Digest of the old entries that were looked at.
    old: Digester,
    /// Keys with the old value.
    before: Kept,
    /// The same keys with the new one.
    after: Kept,
    /// Entries of the snapshot that were looked at, and their bytes.
    entries: u64,
    bytes: u64,
}

impl Changes {
    #[inline(never)]
    fn push(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) {
        self.before.push(key, old);
        self.after.push(&[], new);
    }

    fn are_many(&self) -> bool {
        self.before.bytes() + self.after.bytes() > KEPT_BYTES
    }

    /// Writes them, and forgets them.
    fn write(&mut self, out: &mut DeltaOut<'_>) -> Result<(), Error> {
        out.looked_at(self.entries, self.bytes, &self.old.digest())?;
        for at in 0..self.before.len() {
            if let (Some((key, old)), Some((_, new))) = (self.before.get(at), self.after.get(at)) {
                out.change(key, old, new)?;
            }
        }
        self.before.clear();
        self.after.clear();
        (self.old, self.entries, self.bytes) = (Digester::default(), 0, 0);
        Ok(())
    }
}
