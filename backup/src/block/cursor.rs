//! A place in a decoded block that moves both ways.

use std::ops::Range;
use std::sync::Arc;

use super::read::OwnedBlock;
use super::walk::KeyBuffer;
use crate::Error;

/// A place in a block that is shared: at an entry, before the first or behind the last.
///
/// The block must have been walked once from end to end ([`Entries`](super::Entries) checks order and
/// what restart points state); a cursor checks bounds and limits only, and never panics.
///
/// # Complexity
/// A step forward is constant. A step back and [`seek`](Self::seek) walk one restart interval; `seek` looks
/// at logarithmically many restart points before.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use whimbrel_backup::Place;
/// use whimbrel_backup::block::{BlockBuilder, BlockCursor, BlockKind, BlockOptions, OwnedBlock};
///
/// let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
/// builder.add(b"curlew", b"1")?;
/// builder.add(b"whimbrel", b"2")?;
/// let mut bytes = Vec::new();
/// builder.finish_into(&mut bytes)?;
/// let block = OwnedBlock::decode(&bytes, Place::block("frame", 0))?;
///
/// let mut cursor = BlockCursor::new(Arc::new(block));
/// assert!(cursor.seek(b"d")?);
/// assert_eq!((cursor.key(), cursor.value()), (&b"whimbrel"[..], Some(&b"2"[..])));
/// assert!(cursor.back()? && !cursor.back()?);
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockCursor {
    block: Arc<OwnedBlock>,
    /// Where the current entry begins; where the next one does when there is no current one.
    at: usize,
    /// Where the next entry begins.
    next: usize,
    key: KeyBuffer,
    value: Option<Range<usize>>,
}

impl BlockCursor {
    /// A cursor before the first entry.
    #[must_use]
    pub fn new(block: Arc<OwnedBlock>) -> Self {
        Self { block, at: 0, next: 0, key: KeyBuffer::default(), value: None }
    }

    /// The key of the current entry. Meaningless when the last move answered false.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.get()
    }

    /// The value of the current entry; none for a remove. Meaningless when the last move answered false.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.block.block().body.get(self.value.clone()?)
    }

    /// Moves to the next entry. False, and behind the last entry, when there is none.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::LimitExceeded`] for a block that nobody has walked.
    #[inline]
    pub fn forward(&mut self) -> Result<bool, Error> {
        let block = self.block.block();
        self.at = self.next;
        if self.next >= block.body.len() {
            return Ok(false);
        }
        let entry = block.entry(self.next).filter(|entry| entry.shared <= self.key.get().len());
        let Some(entry) = entry else { return Err(block.bad_entry(self.next)) };
        self.key.set(entry.shared, block.body, entry.rest_at, entry.value_at - entry.rest_at);
        self.value = entry.value(block.body).map(|_| entry.value_at..entry.end);
        self.next = entry.end;
        Ok(true)
    }

    /// Moves to the entry before. False, and before the first entry, when there is none.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn back(&mut self) -> Result<bool, Error> {
        let (block, end) = (self.block.block(), self.at);
        let (mut low, mut high) = (0, block.restart_points());
        while low < high {
            let middle = low.midpoint(high);
            if block.restart_at(middle)? < end {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(restart) = low.checked_sub(1) else {
            (self.at, self.next) = (0, 0);
            return Ok(false);
        };
        self.next = block.restart_at(restart)?;
        while self.forward()? && self.next < end {}
        Ok(true)
    }

    /// Moves to the first entry whose key is not below `key`. False, and behind the last entry, when
    /// there is none.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn seek(&mut self, key: &[u8]) -> Result<bool, Error> {
        let block = self.block.block();
        self.next = block.restart_at(block.restart_of(key)?)?;
        while self.forward()? {
            if self.key() >= key {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves behind the last entry.
    pub fn seek_to_end(&mut self) {
        (self.at, self.next) = (self.block.block().body.len(), self.block.block().body.len());
    }
}
