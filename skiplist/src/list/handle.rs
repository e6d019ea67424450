//! Handle of a record.

use std::ptr::NonNull;

use super::record::{MOVED, RecRef};
use crate::mutant::{Mutant, order, planted};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Value of a cell that leads to nothing yet.
pub const EMPTY: u64 = 0;

/// Value of a cell that is dead for ever: its record will be dropped.
pub const SEALED: u64 = 1;

/// The longest key in bytes.
pub const MAX_KEY_LEN: usize = 65_535;

/// A record of a list: key, cell, and the inline part of the layer above.
///
/// A copyable handle that lives as long as the guard it was read under: the record may be dropped
/// from the list meanwhile, but its memory stays.
///
/// ```compile_fail,E0505
/// # use whimbrel_skiplist::{Barrier, List, sync::Arc};
/// # let list = List::new(Arc::new(Barrier::new()));
/// let guard = list.barrier().pin();
/// let first = list.first(&guard);
/// drop(guard);
/// println!("{:?}", first.map(|record| record.key().len()));
/// ```
#[derive(Clone, Copy)]
pub struct Record<'g>(pub(super) RecRef<'g>);

impl<'g> Record<'g> {
    /// The record at the address that [`Record::as_raw`] gave.
    ///
    /// # Safety
    ///
    /// The record is not reclaimed during `'g`.
    #[must_use]
    #[inline]
    pub unsafe fn at(raw: NonNull<u8>) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { RecRef::protect(raw.cast()) })
    }

    /// The key.
    #[must_use]
    #[inline]
    pub fn key(self) -> &'g [u8] {
        self.0.key()
    }

    /// The cell. Once it is [`crate::SEALED`] it must stay so, and its highest bit is the list's:
    /// [`crate::List::relocate`] sets it, and from then on another record has the key. So in a list
    /// in which records move, a cell is changed by compare-and-swap only; see [`Record::follow`].
    #[must_use]
    #[inline]
    pub fn cell(self) -> &'g AtomicU64 {
        self.0.cell()
    }

    /// The record that has the key, and what its cell holds: this one unless
    /// [`crate::List::relocate`] moved it. The cell is read with Acquire.
    ///
    /// # Complexity
    ///
    /// O(1); one step for each move since the record was looked up.
    #[must_use]
    #[inline]
    pub fn follow(self) -> (Self, u64) {
        let (record, cell) = self.0.follow(|_| {});
        (Self(record), cell)
    }

    /// Start of the inline part, aligned to 8 bytes. The list never reads it.
    #[must_use]
    #[inline]
    pub fn inline(self) -> NonNull<u8> {
        self.0.inline()
    }

    /// Length of the inline part in bytes.
    #[must_use]
    #[inline]
    pub fn inline_len(self) -> usize {
        self.0.inline_len()
    }

    /// Address of the record, to come back to it later with [`crate::List::record_from_raw`].
    #[must_use]
    #[inline]
    pub fn as_raw(self) -> NonNull<u8> {
        self.0.as_ptr().cast()
    }
}

impl PartialEq for Record<'_> {
    /// Whether both are the same record (not: of equal keys).
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Record<'_> {}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("key", &format_args!("\"{}\"", self.key().escape_ascii()))
            .field("inline_len", &self.inline_len())
            .finish_non_exhaustive()
    }
}

/// A record that a walk came to, and what its cell held then.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'g> {
    record: Record<'g>,
    cell: u64,
}

impl<'g> Seen<'g> {
    /// Reads the cell of a record.
    #[inline]
    pub(super) fn look_at(record: RecRef<'g>) -> Self {
        // ORDERING: Acquire; pairs with the Release in `move_to`, and with what the layer above
        // published by the cell.
        let acquire = order(Mutant::RelaxedMoveLoad, Ordering::Acquire);
        Self { record: Record(record), cell: record.cell().load(acquire) }
    }

    /// The record, which may be sealed, or may have moved.
    #[must_use]
    #[inline]
    pub fn record(self) -> Record<'g> {
        self.record
    }

    /// What the record's cell held, read with Acquire.
    #[must_use]
    #[inline]
    pub fn cell(self) -> u64 {
        self.cell
    }

    /// The record that has the key, and what its cell held: this one, or the last of those that it moved
    /// to. None when it is sealed.
    #[must_use]
    #[inline]
    pub fn live(self) -> Option<(Record<'g>, u64)> {
        match self.cell {
            SEALED if !planted(Mutant::ScanReadsCellsEarly) => None,
            cell if cell & MOVED == 0 || planted(Mutant::MovedNotFollowed) => {
                Some((self.record, cell))
            }
            _ => self.live_successor(),
        }
    }

    #[cold]
    fn live_successor(self) -> Option<(Record<'g>, u64)> {
        Some(self.record.follow()).filter(|(_, cell)| *cell != SEALED)
    }
}

/// What [`crate::List::find_or_insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindOrInsert<'g> {
    /// The key had this record, which was not sealed when it was looked at.
    Found(Record<'g>),
    /// The key had none; this one was made.
    Inserted(Record<'g>),
}

impl<'g> FindOrInsert<'g> {
    /// The record, found or inserted.
    #[must_use]
    #[inline]
    pub fn record(self) -> Record<'g> {
        match self {
            Self::Found(record) | Self::Inserted(record) => record,
        }
    }
}
