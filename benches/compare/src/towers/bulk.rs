//! Building a list from ordered entries in linear time.
//!
//! The builder keeps a *tower buffer*: the last node per level. A new node becomes the successor of
//! the last node on each of its levels and takes its place there: O(height) a key, 4/3 links on
//! average. Segments are stitched the same way: O(levels) each.

use std::ptr::NonNull;

use super::List;
use super::height::{MAX_HEIGHT, height_of};
use super::node::{Header, INSERTER_DONE, NodeRef, Owned, free};
use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::{Barrier, BulkError, KeyTooLong, MAX_KEY_LEN};

/// First and last node of one level; null when the level is empty.
#[derive(Clone, Copy)]
struct Level {
    first: *mut Header,
    last: *mut Header,
}

/// A finished piece of a list, to be stitched by [`List::from_segments`].
pub struct Segment {
    levels: [Level; MAX_HEIGHT],
    len: usize,
    bytes: usize,
}

impl Segment {
    fn new() -> Self {
        let null = std::ptr::null_mut();
        Self { levels: [Level { first: null, last: null }; MAX_HEIGHT], len: 0, bytes: 0 }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes held by the records.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The smallest key.
    #[must_use]
    pub fn first_key(&self) -> Option<&[u8]> {
        // SAFETY: the segment owns its nodes.
        unsafe { NodeRef::protect(self.levels[0].first) }.map(NodeRef::key)
    }

    /// The greatest key.
    #[must_use]
    pub fn last_key(&self) -> Option<&[u8]> {
        // SAFETY: the segment owns its nodes.
        unsafe { NodeRef::protect(self.levels[0].last) }.map(NodeRef::key)
    }

    /// Makes one node or a run of nodes the new end of a level.
    fn append(&mut self, level: usize, first: *mut Header, last: *mut Header) {
        let end = &mut self.levels[level];
        // SAFETY: the segment owns its nodes.
        match unsafe { NodeRef::protect(end.last) } {
            Some(tail) => tail.link(level).prepare(first),
            None => end.first = first,
        }
        end.last = last;
    }

    /// Checks that `key` may follow.
    fn check_order(&self, key: &[u8]) -> Result<(), BulkError> {
        match self.last_key() {
            Some(previous) if previous >= key => {
                Err(BulkError::OutOfOrder { previous: previous.to_vec(), got: key.to_vec() })
            }
            _ => Ok(()),
        }
    }

    /// Moves everything of `other` behind this one.
    fn stitch(&mut self, mut other: Segment) -> Result<(), BulkError> {
        let Some(first) = other.first_key() else { return Ok(()) };
        self.check_order(first)?;
        self.len += other.len;
        self.bytes += other.bytes;
        let levels = std::mem::replace(&mut other.levels, Segment::new().levels);
        for (level, run) in levels.iter().enumerate() {
            if !run.first.is_null() {
                self.append(level, run.first, run.last);
            }
        }
        Ok(())
    }
}

// SAFETY: a segment owns its nodes alone, and nodes hold nothing but bytes and atomics.
unsafe impl Send for Segment {}
// SAFETY: through `&Segment` nodes are only read.
unsafe impl Sync for Segment {}

impl Drop for Segment {
    fn drop(&mut self) {
        let mut next = self.levels[0].first;
        // SAFETY: the segment owns its nodes; `stitch` and `from_segments` empty what they take.
        while let Some(node) = unsafe { NodeRef::protect(next) } {
            next = node.link(0).load().ptr;
            // SAFETY: nobody else can reach it, and the loop has left it.
            unsafe { free(node) };
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("len", &self.len).finish_non_exhaustive()
    }
}

/// Builds a segment from strictly ascending entries. One thread a builder, any number of builders.
#[derive(Debug)]
pub struct SegmentBuilder {
    /// Its `last` pointers are the tower buffer.
    segment: Segment,
}

impl SegmentBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self { segment: Segment::new() }
    }

    /// Adds a record behind all others. `init` as in [`List::find_or_insert`].
    ///
    /// # Complexity
    ///
    /// O(1) expected.
    ///
    /// # Errors
    ///
    /// [`BulkError::OutOfOrder`] when the key is not greater than the one before,
    /// [`BulkError::KeyTooLong`]. The builder is unchanged then.
    ///
    /// # Panics
    ///
    /// When `inline_len` does not fit in 32 bits.
    pub fn push(
        &mut self,
        key: &[u8],
        inline_len: usize,
        init: impl FnOnce(NonNull<u8>) -> u64,
    ) -> Result<(), BulkError> {
        if key.len() > MAX_KEY_LEN {
            return Err(KeyTooLong { len: key.len() }.into());
        }
        self.segment.check_order(key)?;
        let height = height_of(key);
        let mut node = Owned::new(key, height, inline_len, INSERTER_DONE);
        node.init(init);
        self.segment.len += 1;
        self.segment.bytes += node.node().bytes();
        let raw = node.into_raw().as_ptr().cast();
        for level in 0..height {
            self.segment.append(level, raw, raw);
        }
        Ok(())
    }

    /// Number of records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segment.len
    }

    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segment.len == 0
    }

    /// Bytes held by the records so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segment.bytes
    }

    /// The finished segment.
    #[must_use]
    pub fn finish(self) -> Segment {
        self.segment
    }
}

impl Default for SegmentBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl List {
    /// A list of the records of all segments, which follow each other in order.
    ///
    /// # Complexity
    ///
    /// O(levels) a segment.
    ///
    /// # Errors
    ///
    /// [`BulkError::OutOfOrder`] when a segment does not begin above the end of the one before; all
    /// records are freed then.
    pub fn from_segments(barrier: Arc<Barrier>, segs: Vec<Segment>) -> Result<Self, BulkError> {
        let mut whole = Segment::new();
        for segment in segs {
            whole.stitch(segment)?;
        }
        let list = Self::new(barrier);
        let head = list.head();
        let levels = std::mem::replace(&mut whole.levels, Segment::new().levels);
        for (level, run) in levels.iter().enumerate() {
            head.link(level).prepare(run.first);
            if !run.first.is_null() {
                list.raise_levels(level + 1);
            }
        }
        list.account(whole.len, whole.bytes);
        Ok(list)
    }
}
