//! Building a list from ordered entries in linear time.
//!
//! The builder keeps a *tower buffer*: per level the last block and the records that will fill the
//! next one. Segments are stitched level by level: O(levels) each. Every block of a segment, the
//! first of a level included, has an anchor in the level above; the one anchor above all is the
//! segment's root. The finished list puts an empty leftmost block in front of each level.

use super::hint::head;
use super::raw::{BlockRef, Plan};
use super::record::{OwnedRec, RecRef};
use super::search::records;
use super::shape::Shape;
use super::work::separator;
use super::{List, Record};
use crate::sync::Arc;
use crate::{Barrier, BulkError, KeyTooLong, MAX_KEY_LEN};

/// The blocks of one level. All references are owned by the segment.
#[derive(Clone, Copy)]
struct Run {
    first: BlockRef<'static>,
    last: BlockRef<'static>,
}

/// A finished piece of a list, to be stitched by [`List::from_segments`].
pub struct Segment {
    shape: Shape,
    runs: Vec<Run>,
    /// Anchors of the blocks of the highest level that are in no block.
    roots: Vec<RecRef<'static>>,
    last: Option<RecRef<'static>>,
    len: usize,
    bytes: usize,
}

impl Segment {
    fn new(shape: Shape) -> Self {
        Self { shape, runs: Vec::new(), roots: Vec::new(), last: None, len: 0, bytes: 0 }
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

    /// Bytes held by the segment.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The smallest key.
    #[must_use]
    pub fn first_key(&self) -> Option<&[u8]> {
        let first = self.runs.first()?.first;
        records(first).next().map(RecRef::key)
    }

    /// The greatest key.
    #[must_use]
    pub fn last_key(&self) -> Option<&[u8]> {
        self.last.map(RecRef::key)
    }

    /// Hands out all records in the order of their keys.
    pub fn for_each(&self, mut f: impl FnMut(Record<'_>)) {
        let mut next = self.runs.first().map(|run| run.first);
        while let Some(block) = next {
            records(block).for_each(|record| f(Record(record)));
            next = block.next().0;
        }
    }

    /// Makes a block that begins where the last one of its level ends the new last one.
    fn link(&mut self, level: usize, block: BlockRef<'static>) {
        if let Some(run) = self.runs.get_mut(level) {
            debug_assert!(run.last.high() == Some(block.anchor()), "the ranges have no gap");
            run.last.prepare_next(block);
            run.last = block;
        } else {
            self.append(level, block);
        }
    }

    /// Makes a block the new end of a level, and the low end of its range the end of the one before.
    fn append(&mut self, level: usize, block: BlockRef<'static>) {
        if let Some(run) = self.runs.get_mut(level) {
            // SAFETY: the segment has its blocks alone.
            unsafe { run.last.prepare_end(Some(block.anchor()), Some(block)) };
            run.last = block;
        } else {
            assert_eq!(self.runs.len(), level, "levels begin one after the other");
            self.runs.push(Run { first: block, last: block });
        }
    }

    /// Makes a block of records in ascending order, for the range from the key of one anchor to that of
    /// another, if that is known.
    fn make_block(
        &mut self,
        level: usize,
        (low, high): (RecRef<'static>, Option<RecRef<'static>>),
        filled: &[RecRef<'static>],
    ) -> BlockRef<'static> {
        let (capacity, _) = self.shape.of_level(level);
        let plan = Plan { anchor: low, high, next: None, level, capacity };
        let block = BlockRef::new(plan, filled);
        low.prepare_child(block);
        self.bytes += block.bytes();
        block
    }

    fn make_anchor(&mut self, key: &[u8]) -> RecRef<'static> {
        // SAFETY: owned by the segment, which frees it on drop or hands it on.
        let anchor = unsafe { RecRef::protect(OwnedRec::new(key, 0, false).into_raw()) };
        self.bytes += anchor.bytes();
        anchor
    }

    /// Adds a level of one block above the highest.
    fn raise(&mut self) {
        let roots = std::mem::take(&mut self.roots);
        let anchor = self.make_anchor(roots[0].key());
        let level = self.runs.len();
        let block = self.make_block(level, (anchor, None), &roots);
        self.append(level, block);
        self.roots.push(anchor);
    }

    /// Moves everything of `other` behind this one. Both are equally high.
    fn stitch(&mut self, mut other: Segment) -> Result<(), BulkError> {
        let Some(first) = other.first_key() else { return Ok(()) };
        check_order(self.last_key(), first)?;
        let runs = std::mem::take(&mut other.runs);
        if self.runs.is_empty() {
            self.runs = runs;
        } else {
            for (level, run) in runs.into_iter().enumerate() {
                self.append(level, run.first);
                self.runs[level].last = run.last;
            }
        }
        self.roots.append(&mut other.roots);
        self.last = other.last;
        self.len += other.len;
        self.bytes += other.bytes;
        Ok(())
    }

    /// Builds levels until one block holds the root of all.
    fn crown(&mut self) {
        while self.roots.len() > 1 {
            let level = self.runs.len();
            let fill = self.shape.of_level(level).1.max(2);
            let roots = std::mem::take(&mut self.roots);
            let parts = roots.len().div_ceil(fill);
            let mut anchors = Vec::with_capacity(parts);
            for part in 0..parts {
                let (from, to) = (roots.len() * part / parts, roots.len() * (part + 1) / parts);
                let anchor = self.make_anchor(roots[from].key());
                let block = self.make_block(level, (anchor, None), &roots[from..to]);
                self.append(level, block);
                anchors.push(anchor);
            }
            self.roots = anchors;
        }
    }
}

/// Checks that a record can have the key.
#[inline]
fn check_len(key: &[u8]) -> Result<(), BulkError> {
    match key.len() {
        ..=MAX_KEY_LEN => Ok(()),
        len => Err(KeyTooLong { len }.into()),
    }
}

/// Checks that `key` may follow.
#[inline]
fn check_order(last: Option<&[u8]>, key: &[u8]) -> Result<(), BulkError> {
    match last {
        Some(previous) if !is_below(previous, key) => Err(out_of_order(previous, key)),
        _ => Ok(()),
    }
}

/// The record behind the one with the key `last`, with what `init` says in its cell.
#[inline]
pub(super) fn next_record(
    last: Option<&[u8]>,
    key: &[u8],
    inline_len: usize,
    init: impl FnOnce(Record<'_>) -> u64,
) -> Result<OwnedRec, BulkError> {
    check_len(key)?;
    check_order(last, key)?;
    let mut fresh = OwnedRec::new(key, inline_len, false);
    let cell = init(Record(fresh.record()));
    fresh.set_cell(cell);
    Ok(fresh)
}

/// Whether a key is below another; by their first bytes where these differ.
#[inline]
fn is_below(low: &[u8], high: &[u8]) -> bool {
    let (low_head, high_head) = (head(low, 0), head(high, 0));
    low_head < high_head || (low_head == high_head && low < high)
}

#[cold]
fn out_of_order(previous: &[u8], got: &[u8]) -> BulkError {
    BulkError::OutOfOrder { previous: previous.to_vec(), got: got.to_vec() }
}

// SAFETY: a segment owns its records and blocks alone, and they hold nothing but bytes and atomics.
unsafe impl Send for Segment {}
// SAFETY: through `&Segment` they are only read.
unsafe impl Sync for Segment {}

impl Drop for Segment {
    fn drop(&mut self) {
        for run in &self.runs {
            let mut next = Some(run.first);
            while let Some(block) = next {
                next = block.next().0;
                for record in records(block) {
                    // SAFETY: the segment owns what its blocks hold; `stitch` and `from_segments`
                    // empty what they take.
                    unsafe { record.free() };
                }
                // SAFETY: as above, and the loop has left it.
                unsafe { block.free() };
            }
        }
        for root in &self.roots {
            // SAFETY: as above; roots are in no block.
            unsafe { root.free() };
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("len", &self.len).finish_non_exhaustive()
    }
}

/// What the builder gathers on one level.
struct Gather {
    /// Anchor of the block that is being filled.
    anchor: RecRef<'static>,
    /// At most `fill`: when one more comes, the end of the block's range is known, and it is made.
    records: Vec<RecRef<'static>>,
    fill: usize,
}

/// What the allocator takes for a record, asked for again only when the size is another one.
#[derive(Default)]
struct Held {
    size: usize,
    bytes: usize,
}

impl Held {
    /// `size` is the record's.
    #[inline]
    fn of(&mut self, record: RecRef<'_>, size: usize) -> usize {
        debug_assert_eq!(record.size(), size);
        if size != self.size {
            *self = Self { size, bytes: record.bytes() };
        }
        self.bytes
    }
}

/// Builds a segment from strictly ascending entries. One thread a builder, any number of builders.
///
/// ```
/// use whimbrel_skiplist::{Barrier, List, SegmentBuilder, sync::Arc};
///
/// let mut builder = SegmentBuilder::new();
/// for key in ["avocet", "knot", "whimbrel"] {
///     builder.push(key.as_bytes(), 0, |_| 8)?;
/// }
/// let list = List::from_segments(Arc::new(Barrier::new()), vec![builder.finish()])?;
/// assert_eq!(list.len_estimate(), 3);
/// # Ok::<(), whimbrel_skiplist::BulkError>(())
/// ```
pub struct SegmentBuilder {
    /// Its `last` blocks and `gather` are the tower buffer.
    segment: Segment,
    gather: Vec<Gather>,
    held: Held,
    /// Of the last key; 0 before the first.
    head: u64,
}

impl SegmentBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::with_shape(Shape::STANDARD)
    }

    /// An empty builder for blocks of other sizes; all segments of a list have the same.
    #[must_use]
    pub fn with_shape(shape: Shape) -> Self {
        crate::memory::prepare();
        Self { segment: Segment::new(shape), gather: Vec::new(), held: Held::default(), head: 0 }
    }

    /// Adds a record behind all others. `init` as in [`List::find_or_insert`].
    ///
    /// # Complexity
    ///
    /// O(1) amortized.
    ///
    /// # Errors
    ///
    /// [`BulkError::OutOfOrder`] when the key is not greater than the one before,
    /// [`BulkError::KeyTooLong`]. The builder is unchanged then.
    ///
    /// # Panics
    ///
    /// When `inline_len` does not fit in 32 bits.
    #[inline]
    pub fn push(
        &mut self,
        key: &[u8],
        inline_len: usize,
        init: impl FnOnce(Record<'_>) -> u64,
    ) -> Result<(), BulkError> {
        let fresh = next_record(self.segment.last_key(), key, inline_len, init)?;
        self.take(fresh, RecRef::size_for(key.len(), inline_len), head(key, 0));
        Ok(())
    }

    /// As [`SegmentBuilder::push`], of a record with these bytes as its inline part and `cell` in its cell:
    /// the shorter way where both are at hand.
    ///
    /// # Errors
    ///
    /// As there.
    ///
    /// # Panics
    ///
    /// When the length of `inline` does not fit in 32 bits.
    #[inline(always)]
    pub fn push_filled(&mut self, key: &[u8], inline: &[u8], cell: u64) -> Result<(), BulkError> {
        check_len(key)?;
        let next = head(key, 0);
        // The first bytes tell most keys apart.
        if next <= self.head {
            check_order(self.segment.last_key(), key)?;
        }
        let size = RecRef::size_for(key.len(), inline.len());
        self.take(OwnedRec::filled(key, inline, cell), size, next);
        Ok(())
    }

    /// Takes the record behind all others, of this size, whose key has this head.
    #[inline(always)]
    fn take(&mut self, fresh: OwnedRec, size: usize, head: u64) {
        // SAFETY: owned by the segment from here on.
        let record = unsafe { RecRef::protect(fresh.into_raw()) };
        self.segment.len += 1;
        self.segment.bytes += self.held.of(record, size);
        self.segment.last = Some(record);
        self.head = head;
        self.add(0, record);
    }

    #[inline(always)]
    fn add(&mut self, level: usize, record: RecRef<'static>) {
        match self.gather.get_mut(level) {
            Some(gather) if gather.records.len() < gather.fill => gather.records.push(record),
            Some(_) => self.close(level, record),
            None => self.begin(level, record),
        }
    }

    #[cold]
    fn begin(&mut self, level: usize, record: RecRef<'static>) {
        let anchor = self.segment.make_anchor(record.key());
        let fill = self.segment.shape.of_level(level).1.max(2);
        let mut records = Vec::with_capacity(fill);
        records.push(record);
        self.gather.push(Gather { anchor, records, fill });
    }

    /// Makes a block of what was gathered on a level, which ends where the next record begins, and tells
    /// the level above.
    #[cold]
    fn close(&mut self, level: usize, next: RecRef<'static>) {
        let Gather { anchor, records, fill } = &mut self.gather[level];
        let previous = records[*fill - 1].key();
        let high = self.segment.make_anchor(separator(level, previous, next.key()));
        let low = std::mem::replace(anchor, high);
        let block = self.segment.make_block(level, (low, Some(high)), records);
        self.segment.link(level, block);
        records.clear();
        records.push(next);
        self.add(level + 1, low);
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

    /// Bytes held so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.segment.bytes
    }

    /// The finished segment.
    #[must_use]
    pub fn finish(mut self) -> Segment {
        self.complete();
        std::mem::replace(&mut self.segment, Segment::new(Shape::STANDARD))
    }

    /// Makes blocks of all that was gathered.
    fn complete(&mut self) {
        let mut level = 0;
        while level < self.gather.len() {
            let anchor = self.gather[level].anchor;
            let records = std::mem::take(&mut self.gather[level].records);
            let block = self.segment.make_block(level, (anchor, None), &records);
            self.segment.link(level, block);
            if level + 1 < self.gather.len() {
                self.add(level + 1, anchor);
            } else {
                self.segment.roots.push(anchor);
            }
            level += 1;
        }
        self.gather.clear();
    }
}

impl Default for SegmentBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SegmentBuilder {
    fn drop(&mut self) {
        // The segment frees what it has.
        self.complete();
    }
}

impl std::fmt::Debug for SegmentBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SegmentBuilder").field("len", &self.len()).finish_non_exhaustive()
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
    ///
    /// # Panics
    ///
    /// When segments of other block sizes are mixed, or their shape has too few levels.
    pub fn from_segments(barrier: Arc<Barrier>, segs: Vec<Segment>) -> Result<Self, BulkError> {
        let shape = segs.first().map_or(Shape::STANDARD, |segment| segment.shape);
        let levels = segs.iter().map(|segment| segment.runs.len()).max().unwrap_or(0);
        let mut whole = Segment::new(shape);
        for mut segment in segs {
            assert_eq!(segment.shape, shape, "segments of one list have blocks of one size");
            while !segment.is_empty() && segment.runs.len() < levels {
                segment.raise();
            }
            whole.stitch(segment)?;
        }
        whole.crown();
        let list = Self::with_shape(barrier, shape);
        for (level, run) in std::mem::take(&mut whole.runs).into_iter().enumerate() {
            list.grow(level);
            // SAFETY: nobody else has the list yet.
            unsafe { list.leftmost(level).prepare_end(Some(run.first.anchor()), Some(run.first)) };
        }
        if let Some(root) = whole.roots.pop() {
            let level = list.height();
            assert!(level < shape.levels, "a list of {} records needs more levels", whole.len);
            list.grow(level);
            list.leftmost(level).prepare_word(0, root);
        }
        list.note_bulk(whole.len, whole.bytes);
        Ok(list)
    }
}
