//! Compaction: entries move together, into memory that they fill.
//!
//! A removed key leaves a hole in a page of memory, and a page goes back to the system only when all of
//! it is free. A value that was written again lies in an allocation of its own instead of beside its
//! key. [`Store::compact`] copies entry after entry, in the order of the keys: the copies fill the holes,
//! values come to lie beside their keys, and pages that are left become free.
//!
//! An entry moves when its newest version is settled, is a value, and has nothing below it. Then no entry
//! of the dead list leads to its record: the entry of a superseded version is disposed of after that
//! version has left the chain, or has seen it leave (invariant E3 of `dead.rs`); a tombstone does not
//! move. So nobody comes back to the old record but who found it before, inside a session.
//! The copy has the same number and the same value, and the exchange of the record's cell fails when
//! anything was written meanwhile: a reader finds the same before and after.

use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::{Compacted, Record, memory};

use crate::CollectReport;
use crate::access::Access;
use crate::inline::InlineStamp;
use crate::mutant::{Mutant, planted};
use crate::stamp::StampWord;
use crate::store::Store;
use crate::version::{Fresh, INLINE_MAX, OwnRef, VersionRef, write_inline};

/// Entries between two guards.
const SESSION: usize = 256;

/// Blocks between two guards; more than hold the entries, where many are empty.
const BLOCKS: usize = 256;

/// Longer values stay where they are: they have pages of their own, which nothing else keeps.
const MOVE_MAX: usize = 64 << 10;

/// What [`Store::compact`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactReport {
    /// What was collected before.
    pub collected: CollectReport,
    /// Entries that were copied.
    pub moved: usize,
    /// Entries that stay where they are: a snapshot sees an older version, a write is under way, or the
    /// key is removed and not collected yet.
    pub kept: usize,
    /// Blocks that were rebuilt.
    pub rebuilt: usize,
    /// Blocks that were merged into their neighbours.
    pub merged: usize,
}

impl Store {
    /// Makes the store dense again: collects, moves every entry that no snapshot and no write is about
    /// into memory beside its neighbours, rebuilds and merges the blocks, and gives free
    /// memory back to the system.
    ///
    /// For after many removals, whose memory is otherwise reused but not given back, and after many
    /// overwrites, whose values otherwise lie apart from their keys; reads and scans are then as fast as
    /// those of a fresh store. Needs no call where entries only come.
    ///
    /// Content, digest and numbers stay as they are, captures and snapshots notice nothing, and nobody
    /// waits: readers and writers work beside it. Works in short sessions, in which at most 256
    /// entries are in memory twice. What open snapshots keep stays; close them first. Memory that other
    /// threads allocated comes back when these threads next allocate, or have ended.
    ///
    /// The copies lie in what is free already, so that nothing grows meanwhile, and pages may stay half
    /// full where not much was removed. A second pass closes them up: of 1M entries of 16 + 8 bytes a
    /// quarter took 23.6 MB after one pass, 15.8 MB after two, and 15.1 MB are in use
    /// ([`crate::StoreStats::bytes`]).
    ///
    /// # Complexity
    ///
    /// O(n): every entry is copied, some 0.5 us each.
    ///
    /// # Examples
    ///
    /// ```
    /// # use whimbrel_mvcc::{Clock, Store};
    /// let store = Store::new(&Clock::new());
    /// for n in 0..1000_u32 {
    ///     store.put(&n.to_be_bytes(), b"first")?;
    ///     store.put(&n.to_be_bytes(), b"second")?;
    /// }
    /// let report = store.compact();
    /// assert_eq!((report.moved, report.kept), (1000, 0));
    /// assert_eq!(store.get(&7_u32.to_be_bytes()), Some(b"second".to_vec()));
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    pub fn compact(&self) -> CompactReport {
        let mut report = CompactReport { collected: self.collect_all(), ..Default::default() };
        let mut from = Bound::Unbounded;
        while let Some(next) = self.compact_some(from.as_ref().map(Vec::as_slice), &mut report) {
            from = next;
        }
        self.inner().collection.shrink();
        self.clock().reclaim();
        memory::give_back();
        report
    }

    /// One step of [`Store::compact`], for those who want to pace it or end it early: a session with
    /// up to 256 entries from the bound on. Adds to the report; returns where to go on, or none at
    /// the end of the store. Neither collects before nor gives memory back after.
    pub fn compact_some(
        &self,
        from: Bound<&[u8]>,
        report: &mut CompactReport,
    ) -> Option<Bound<Vec<u8>>> {
        let next = self.access(|access| access.compact(from, report));
        self.clock().barrier().flush();
        next
    }
}

impl<'g> Access<'g> {
    fn compact(self, from: Bound<&[u8]>, report: &mut CompactReport) -> Option<Bound<Vec<u8>>> {
        let (mut seen, mut last) = (0, None);
        self.store.list.walk(from, self.guard, |record| {
            let moved = self.relocate(record).is_some();
            report.moved += usize::from(moved);
            report.kept += usize::from(!moved);
            seen += 1;
            if seen < SESSION {
                return ControlFlow::Continue(());
            }
            last = Some(record.key());
            ControlFlow::Break(())
        });
        let mut blocks = Compacted::default();
        let to = last.map_or(Bound::Unbounded, Bound::Included);
        let rest = self.store.list.compact(from, to, BLOCKS, &mut blocks, self.guard);
        report.rebuilt += blocks.rebuilt;
        report.merged += blocks.merged;
        match (rest, last) {
            // Blocks are left, most of them empty. Entries before `last` may move twice.
            (Some(key), _) => Some(Bound::Included(key)),
            (None, Some(last)) => Some(Bound::Excluded(last.to_vec())),
            (None, None) => None,
        }
    }

    /// Puts a copy in the place of a record whose newest version is all that there is of the key.
    fn relocate(self, record: Record<'g>) -> Option<Record<'g>> {
        let (record, cell) = record.follow();
        // SAFETY: read with Acquire from a cell, under the guard.
        let version = unsafe { VersionRef::from_word(record, cell) }?;
        let number = match version.settled_number() {
            None if planted(Mutant::MovedPending) => self.clock.now(),
            number => number?,
        };
        if version.older_word() != 0 && !planted(Mutant::MovedWithOlder) {
            return None;
        }
        let value = version.value()?;
        let (copy, copied) = if value.len() <= INLINE_MAX {
            let stamp = InlineStamp::decided(number);
            let init = |copy: Record<'_>| {
                // SAFETY: the list gives a record with this inline length that nobody else sees.
                unsafe { write_inline(copy, value) };
                stamp.word()
            };
            let copy = self.store.list.relocate(record, cell, value.len(), init, self.guard)?;
            (copy, VersionRef::Inline(copy, stamp))
        } else if value.len() <= MOVE_MAX {
            let fresh = Fresh::new(StampWord::decided(number), Some(value));
            let word = fresh.word();
            let copy = self.store.list.relocate(record, cell, 0, |_| word, self.guard)?;
            fresh.published();
            // SAFETY: published by this thread, under the guard.
            (copy, VersionRef::Own(unsafe { OwnRef::from_word(word) }))
        } else {
            return self.store.list.relocate(record, cell, 0, |_| cell, self.guard);
        };
        self.store.count_copied(version, copied);
        // SAFETY: the cell does not lead to it any more, no entry of the dead list does, and who
        // won the exchange alone comes here.
        unsafe { version.retire(self.guard) };
        Some(copy)
    }
}
