//! The list: construction, point operations, accounting, end.

use std::ops::{Bound, ControlFlow};
use std::ptr::NonNull;

use super::entry::Ordered;
use super::hint::{Needle, fingerprint};
use super::raw::{BlockRef, Plan, Repl};
use super::record::{OwnedRec, RecHeader, RecRef};
use super::scan::Matches;
use super::search::{find_among, find_in, records};
use super::shape::{MOST_LEVELS, Packed, Shape};
use super::tally::Tally;
use super::work::{Claim, Sought, Work};
use super::{FindOrInsert, Record};
use crate::mutant::{Mutant, order, planted};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use crate::{Barrier, Guard, KeyTooLong, MAX_KEY_LEN};

/// Lookups that run side by side.
pub(super) const GROUP: usize = 16;

/// Ordered map from byte keys to cells, kept in blocks. See the module page.
///
/// All methods through `&List` may be called from any number of threads; each takes a guard of
/// [`List::barrier`] and panics when it is given one of another barrier.
// What every access reads comes first, on lines that nobody writes once there are a few records.
#[repr(C)]
pub struct List {
    /// Anchor of the leftmost block of each level; null above [`List::height`]. Set once.
    heads: [AtomicPtr<RecHeader>; MOST_LEVELS],
    /// Levels that have heads; grows only.
    height: AtomicUsize,
    barrier: Arc<Barrier>,
    shape: Packed,
    tally: Tally,
}

impl List {
    /// An empty list.
    #[must_use]
    pub fn new(barrier: Arc<Barrier>) -> Self {
        Self::with_shape(barrier, Shape::STANDARD)
    }

    /// An empty list with blocks of other sizes, for models and tests.
    ///
    /// # Panics
    ///
    /// When a shape has blocks that a rebuild may leave full, more than 56 words at level 0 or 64 above,
    /// more than 48 that a rebuild may leave in order above level 0, or no level.
    #[must_use]
    pub fn with_shape(barrier: Arc<Barrier>, shape: Shape) -> Self {
        for (words, fill) in shape.words.into_iter().zip(shape.fill) {
            assert!(0 < fill && fill < words && words <= super::raw::MOST_WORDS);
        }
        assert!(shape.words[0] <= super::words::MOST_LEAF_WORDS);
        assert!(shape.fill[1] <= super::raw::MOST_SORTED);
        assert!(0 < shape.levels && shape.levels <= MOST_LEVELS);
        let list = Self {
            heads: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            height: AtomicUsize::new(0),
            barrier,
            shape: shape.packed(),
            tally: Tally::default(),
        };
        list.grow(0);
        list
    }

    /// The barrier that protects this list.
    #[must_use]
    pub fn barrier(&self) -> &Arc<Barrier> {
        &self.barrier
    }

    /// The record of `key`, unless it is absent or sealed. Never writes.
    ///
    /// # Complexity
    ///
    /// O(log n); about one block a level and one record.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn find<'g>(&'g self, key: &[u8], g: &'g Guard<'_>) -> Option<Record<'g>> {
        self.check(g);
        let needle = Needle::new(key);
        let block = self.seek_leaf(needle);
        find_in(block, needle, !planted(Mutant::SealedFound)).ok().map(Record)
    }

    /// The records of several keys, in the order of the keys; as [`List::find`] for each.
    ///
    /// The searches run side by side in groups of 16, so that their cache misses overlap.
    ///
    /// # Complexity
    ///
    /// O(log n) a key, at a third to a half of the time of single lookups in a large list.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn find_many<'g>(
        &'g self,
        keys: &[&[u8]],
        g: &'g Guard<'_>,
        mut f: impl FnMut(usize, Option<Record<'g>>),
    ) {
        self.check(g);
        let mut blocks = [self.leftmost(0); GROUP];
        let mut needles = [Needle::new(&[]); GROUP];
        let mut found = [Matches::NONE; GROUP];
        for (group, keys) in keys.chunks(GROUP).enumerate() {
            let blocks = &mut blocks[..keys.len()];
            let needles = &mut needles[..keys.len()];
            for (needle, key) in needles.iter_mut().zip(keys) {
                *needle = Needle::new(key);
            }
            self.seek_many(needles, blocks);
            for ((block, needle), found) in blocks.iter().zip(&*needles).zip(&mut found) {
                *found = block.matches(fingerprint(needle.key));
                block.prefetch_word(found.hits.trailing_zeros() as usize);
            }
            for (block, found) in blocks.iter().zip(&found) {
                block.prefetch_record(found.hits.trailing_zeros() as usize);
            }
            for (at, (block, needle)) in blocks.iter().zip(&*needles).enumerate() {
                let record = find_among(*block, *needle, found[at], true).ok();
                f(group * GROUP + at, record.map(Record));
            }
        }
    }

    /// The record of `key`; makes one where there is none that is not sealed.
    ///
    /// `init` gets a record that nobody else can see yet, writes its inline part (`inline_len` bytes,
    /// zeroed, aligned to 8), and returns the first value of its cell. It may have run although
    /// the answer is [`FindOrInsert::Found`]: then another thread was first, and the fresh record was
    /// freed as plain bytes. When it panics the list is as before.
    ///
    /// Linearization point: the claim of a word. Sealed records of the key are passed over.
    ///
    /// # Complexity
    ///
    /// O(log n); one insertion in about 25 rebuilds a block.
    ///
    /// # Errors
    ///
    /// [`KeyTooLong`] for a key above [`MAX_KEY_LEN`].
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier, or `inline_len` does not fit in 32 bits.
    pub fn find_or_insert<'g>(
        &'g self,
        key: &[u8],
        inline_len: usize,
        init: impl FnOnce(Record<'_>) -> u64,
        g: &'g Guard<'_>,
    ) -> Result<FindOrInsert<'g>, KeyTooLong> {
        self.check(g);
        if key.len() > MAX_KEY_LEN {
            return Err(KeyTooLong { len: key.len() });
        }
        let sought = Sought::new(key);
        let mut block = self.seek_leaf(sought.needle);
        let end = match sought.find_in(block, !planted(Mutant::SealIgnored)) {
            Ok(found) => return Ok(FindOrInsert::Found(Record(found))),
            Err(end) => end,
        };
        // Made before any block is decided: a panic of `init` leaves nothing to clean up.
        let mut fresh = OwnedRec::new(key, inline_len, false);
        let cell = init(Record(fresh.record()));
        fresh.set_cell(cell);
        let mut work = Work::new(self, g);
        // SAFETY: owned by `fresh`, or shared from the claim on and then protected by the session.
        let record = unsafe { RecRef::protect(fresh.record().as_ptr()) };
        let mut claim = Work::claim_from(end, block, sought, || record);
        let made = loop {
            match claim {
                Claim::Claimed(record) => {
                    let _ = fresh.into_raw();
                    self.tally.add(1, record.bytes());
                    break FindOrInsert::Inserted(Record(record));
                }
                Claim::Found(found) => break FindOrInsert::Found(Record(found)),
                Claim::Full => {
                    work.make_room(block);
                    block = self.seek_leaf(sought.needle);
                    claim = Work::claim(block, sought, || record);
                }
            }
        };
        work.clean_up();
        Ok(made)
    }

    /// Says that the record's cell is sealed, so that it may be dropped.
    ///
    /// It stays in its block, skipped by all, until the block is rebuilt; that is done at once when
    /// much of the block is dead, and a block with little else is merged into its neighbour. Any
    /// number of calls for one record count as one.
    ///
    /// # Complexity
    ///
    /// O(log n); one call in about 15 rebuilds a block.
    ///
    /// # Panics
    ///
    /// When the cell is not sealed, or the guard is of another barrier.
    pub fn unlink_sealed<'g>(&'g self, r: Record<'g>, g: &'g Guard<'_>) {
        self.check(g);
        self.drop_sealed(r, g, |work, key| work.tend(0, key));
    }

    /// The first record that is not sealed.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn first<'g>(&'g self, g: &'g Guard<'_>) -> Option<Record<'g>> {
        let mut first = None;
        self.walk(Bound::Unbounded, g, |record| {
            first = Some(record);
            ControlFlow::Break(())
        });
        first
    }

    /// The last record that is not sealed.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn last<'g>(&'g self, g: &'g Guard<'_>) -> Option<Record<'g>> {
        let mut last = None;
        self.walk_back(Bound::Unbounded, g, |record| {
            last = Some(record);
            ControlFlow::Break(())
        });
        last
    }

    /// The record that [`Record::as_raw`] gave.
    ///
    /// # Safety
    ///
    /// The record is of this list, and when the session of `g` was entered its cell was not sealed and
    /// the record had not moved.
    #[must_use]
    pub unsafe fn record_from_raw<'g>(&'g self, raw: NonNull<u8>, g: &'g Guard<'_>) -> Record<'g> {
        self.check(g);
        // SAFETY: the caller says that it was not sealed, so still in the list, inside this session.
        Record(unsafe { RecRef::protect(raw.cast()) })
    }

    /// Number of records that were not handed to [`List::unlink_sealed`]. O(1); exact when no other
    /// thread is inside a call.
    #[must_use]
    pub fn len_estimate(&self) -> usize {
        self.tally.records()
    }

    /// Bytes held by the list: records, dead ones that are still in their blocks included, blocks
    /// and anchors. O(1); exact when no other thread is inside a call.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tally.bytes()
    }

    /// Calls `f` for every record, sealed ones included, in ascending order; for the last only of those
    /// that a key moved through. Used by the owner to free what the cells lead to.
    pub fn for_each_mut(&mut self, mut f: impl FnMut(Record<'_>)) {
        let mut page = Ordered::new();
        for block in self.chain(0) {
            page.enter(block, 0, |_| true);
            page.all().iter().for_each(|entry| f(Record(entry.record().follow(|_| {}).0)));
        }
    }

    /// The blocks of a level, from the left.
    pub(super) fn chain<'g>(&'g self, level: usize) -> impl Iterator<Item = BlockRef<'g>> {
        std::iter::successors(Some(self.leftmost(level)), |block| Self::successor(*block))
    }

    /// The successor of a block that was on the chain in this session.
    pub(super) fn successor<'g>(block: BlockRef<'g>) -> Option<BlockRef<'g>> {
        let mut next = block.next().0?;
        while let Repl::Block(heir) = next.repl() {
            if planted(Mutant::ScanIgnoresRepl) {
                break;
            }
            next = heir;
        }
        Some(next)
    }

    #[inline]
    pub(super) fn check(&self, g: &Guard<'_>) {
        assert!(std::ptr::eq(g.barrier(), &*self.barrier), "the guard is of another barrier");
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape.unpacked()
    }

    /// Number of levels that have heads.
    #[inline]
    pub(super) fn height(&self) -> usize {
        // ORDERING: Acquire; pairs with the Release in `raise_height`: the heads are there.
        self.height.load(order(Mutant::RelaxedHeightLoad, Ordering::Acquire))
    }

    /// The anchor of the leftmost block of a level below [`List::height`].
    #[inline]
    pub(super) fn head(&self, level: usize) -> RecRef<'_> {
        // ORDERING: Acquire; pairs with the Release in `set_head`: the head is complete.
        let acquire = order(Mutant::RelaxedHeadLoad, Ordering::Acquire);
        let head = NonNull::new(self.heads[level].load(acquire));
        // SAFETY: heads live as long as the list.
        unsafe { RecRef::protect(head.expect("levels below the height have heads")) }
    }

    /// Makes sure that a level has a head and an empty leftmost block.
    pub(super) fn grow(&self, level: usize) {
        if level < self.height() {
            return;
        }
        let head = OwnedRec::new(&[], 0, true);
        let capacity = self.shape().words_of_the_only_block(level, 0);
        // SAFETY: owned by `head`, then by the list.
        let anchor = unsafe { RecRef::protect(head.record().as_ptr()) };
        let plan = Plan { anchor, high: None, next: None, level, capacity };
        let block = BlockRef::new(plan, &[]);
        anchor.prepare_child(block);
        let (bytes, raw) = (anchor.bytes() + block.bytes(), anchor.as_ptr().as_ptr());
        if planted(Mutant::HeightBeforeHead) {
            self.raise_height(level + 1);
        }
        if self.set_head(level, raw) {
            let _ = head.into_raw();
            self.tally.add(0, bytes);
        } else {
            // SAFETY: nobody else has seen it; `head` frees itself.
            unsafe { block.free() };
        }
        self.raise_height(level + 1);
    }

    /// Gives a level its head; false when it has one.
    fn set_head(&self, level: usize, raw: *mut RecHeader) -> bool {
        let head = &self.heads[level];
        // ORDERING: Release; pairs with the Acquire in `head`: publishes the head and its block.
        let release = order(Mutant::RelaxedHeadSet, Ordering::Release);
        if planted(Mutant::HeadByStore) {
            head.store(raw, release);
            return true;
        }
        head.compare_exchange(std::ptr::null_mut(), raw, release, Ordering::Relaxed).is_ok()
    }

    fn raise_height(&self, height: usize) {
        // ORDERING: Release; pairs with the Acquire in `height`: the level has its head. Who raises
        // it further has been on the level below, so it has acquired what was there before.
        self.height.fetch_max(height, order(Mutant::RelaxedHeightRaise, Ordering::Release));
    }

    /// Accounts for a record whose cell is sealed; false when that was done before.
    pub(super) fn note_dead(&self, record: RecRef<'_>) -> bool {
        let first = record.count_dead();
        if first {
            self.tally.remove_record();
        }
        first
    }

    /// Accounts for blocks and anchors that won a decision: the first of equal blocks, and the anchors of
    /// the others.
    pub(super) fn note_built(&self, first: BlockRef<'_>, anchors: &[RecRef<'_>]) {
        let blocks = first.bytes() * (1 + anchors.len());
        let anchors: usize = anchors.iter().map(|anchor| anchor.bytes()).sum();
        self.tally.add(0, blocks + anchors);
    }

    /// Accounts for what is handed to the barrier.
    pub(super) fn note_retired(&self, bytes: usize) {
        self.tally.remove_bytes(bytes);
    }

    /// Accounts for a record that took another one's place.
    pub(super) fn note_moved(&self, bytes: usize) {
        self.tally.add(0, bytes);
    }

    /// Adds what was built in bulk to the accounts.
    pub(super) fn note_bulk(&self, records: usize, bytes: usize) {
        self.tally.add(records, bytes);
    }
}

// SAFETY: records and blocks are shared between threads through atomics only, and reclaimed by the
// barrier from any thread; they own nothing but bytes.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

impl Drop for List {
    fn drop(&mut self) {
        if cfg!(any(whimbrel_loom, whimbrel_shuttle)) && std::thread::panicking() {
            return;
        }
        for level in 0..self.height() {
            let mut next = Some(self.leftmost(level));
            let is_top = level + 1 == self.shape().levels;
            while let Some(block) = next {
                next = Self::successor(block);
                if is_top && !block.is_leftmost() {
                    // SAFETY: exclusive access; on the top level anchors are in no other block.
                    unsafe { block.anchor().free() };
                }
                for record in records(block) {
                    // SAFETY: exclusive access: what a block on the chain holds belongs to the list,
                    // and a record that was moved to and is in no block belongs to the moved one.
                    let free = |record: RecRef<'_>| unsafe { record.free() };
                    free(record.follow(free).0);
                }
                // SAFETY: exclusive access, and the loop has left it.
                unsafe { block.free() };
            }
            // SAFETY: exclusive access, and the level is gone.
            unsafe { self.head(level).free() };
        }
    }
}

impl std::fmt::Debug for List {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("List")
            .field("len_estimate", &self.len_estimate())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
