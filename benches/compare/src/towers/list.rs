//! The list: construction, point operations, accounting, end.

use std::ops::{Bound, ControlFlow};
use std::ptr::NonNull;

use super::Record;
use super::height::{MAX_HEIGHT, height_of};
use super::node::{INSERTER_DONE, NodeRef, Owned, free, reclaim};
use super::search::{Edge, Path};
use whimbrel_skiplist::sync::atomic::{AtomicUsize, Ordering};
use whimbrel_skiplist::sync::{Arc, Counter};
use whimbrel_skiplist::{Barrier, Guard, KeyTooLong, MAX_KEY_LEN};

/// Levels that searches look at in an empty list. Models start with all.
const FIRST_LEVELS: usize = 1;

/// Ordered map from byte keys to cells, one key a node.
///
/// All methods through `&List` may be called from any number of threads; each takes a guard of
/// [`List::barrier`] and panics when it is given one of another barrier.
pub struct List {
    barrier: Arc<Barrier>,
    /// Node without key, before all others; never marked, with a link at every level.
    head: NonNull<u8>,
    /// Levels that any tower may have; grows only. A hint for where to begin a search.
    levels: AtomicUsize,
    records: Counter,
    bytes: Counter,
}

/// What [`List::find_or_insert`] did.
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
    pub fn record(self) -> Record<'g> {
        match self {
            Self::Found(record) | Self::Inserted(record) => record,
        }
    }
}

impl List {
    /// An empty list.
    #[must_use]
    pub fn new(barrier: Arc<Barrier>) -> Self {
        let head = Owned::new(&[], MAX_HEIGHT, 0, INSERTER_DONE).into_raw();
        Self {
            barrier,
            head,
            levels: AtomicUsize::new(FIRST_LEVELS),
            records: Counter::new(),
            bytes: Counter::new(),
        }
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
    /// O(log n) comparisons expected.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn find<'g>(&'g self, key: &[u8], g: &'g Guard<'_>) -> Option<Record<'g>> {
        self.check(g);
        let found = self.seek(Edge::Before(key), 0, g).next?;
        (found.key() == key && !found.is_sealed()).then_some(Record { node: found, list: self })
    }

    /// The record of `key`; makes one where there is none that is not sealed.
    ///
    /// `init` writes the inline part (`inline_len` bytes, zeroed, aligned to 8) of a record that
    /// nobody else can see yet, and returns the first value of its cell. It may have run although
    /// the answer is [`FindOrInsert::Found`]: then another thread was first, and the fresh record
    /// was freed as plain bytes.
    ///
    /// Linearization point: the link at level 0. Sealed records of the key are taken out first.
    ///
    /// # Complexity
    ///
    /// O(log n) comparisons expected.
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
        init: impl FnOnce(NonNull<u8>) -> u64,
        g: &'g Guard<'_>,
    ) -> Result<FindOrInsert<'g>, KeyTooLong> {
        self.check(g);
        if key.len() > MAX_KEY_LEN {
            return Err(KeyTooLong { len: key.len() });
        }
        let height = height_of(key);
        let mut path = match self.search_vacant(key, height, g) {
            Ok(path) => path,
            Err(found) => return Ok(FindOrInsert::Found(found)),
        };
        let mut fresh = Owned::new(key, height, inline_len, 0);
        fresh.init(init);
        while !self.link_bottom(fresh.node(), &path) {
            path = match self.search_vacant(key, height, g) {
                Ok(path) => path,
                Err(found) => return Ok(FindOrInsert::Found(found)),
            };
        }
        // SAFETY: linked, so from here on the barrier decides; it cannot be reclaimed during this
        // session, because it was reachable in it.
        let node = unsafe { NodeRef::from_raw(fresh.into_raw()) };
        self.records.add(1);
        self.bytes.add(node.bytes() as u64);
        self.link_upper(node, path, g);
        Ok(FindOrInsert::Inserted(Record { node, list: self }))
    }

    /// A path to the place of `key`, or the unsealed record that is there.
    fn search_vacant<'g>(
        &'g self,
        key: &[u8],
        height: usize,
        g: &'g Guard<'_>,
    ) -> Result<Path<'g>, Record<'g>> {
        loop {
            let path = self.search(key, height, g);
            match path.found {
                None => return Ok(path),
                Some(node) if node.is_sealed() => self.take_out(node, g),
                Some(node) => return Err(Record { node, list: self }),
            }
        }
    }

    /// Takes a record whose cell is sealed out of all levels, and retires it once.
    ///
    /// Any number of threads may do it for one record, and each finds it out of the list when the
    /// call returns (a level that its inserter is still about to link is seen to by that one).
    ///
    /// # Complexity
    ///
    /// O(log n) comparisons expected.
    ///
    /// # Panics
    ///
    /// When the cell is not sealed, the record is of another list, or the guard of another barrier.
    pub fn unlink_sealed<'g>(&'g self, r: Record<'g>, g: &'g Guard<'_>) {
        self.check(g);
        assert!(std::ptr::eq(r.list, self), "the record belongs to another list");
        assert!(r.node.is_sealed(), "only a record with a sealed cell may be taken out");
        self.take_out(r.node, g);
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
    /// The record is of this list, and its cell was not sealed when the session of `g` was
    /// entered: a sealed record may have been taken out by anybody who wanted its key.
    #[must_use]
    pub unsafe fn record_from_raw<'g>(&'g self, raw: NonNull<u8>, g: &'g Guard<'_>) -> Record<'g> {
        self.check(g);
        // SAFETY: the caller says that it was still in the list inside this session.
        let node = unsafe { NodeRef::from_raw(raw) };
        Record { node, list: self }
    }

    /// Number of records, sealed ones that are still in the list included. O(1); exact when no
    /// other thread is inside a call.
    #[must_use]
    pub fn len_estimate(&self) -> usize {
        usize::try_from(self.records.get()).unwrap_or(usize::MAX)
    }

    /// Bytes held by the records in the list. O(1); exact when no other thread is inside a call.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes.get()).unwrap_or(usize::MAX)
    }

    /// Calls `f` for every record, sealed ones included, in ascending order. Used by the owner to
    /// free what the cells lead to.
    pub fn for_each_mut(&mut self, mut f: impl FnMut(Record<'_>)) {
        let list = &*self;
        let mut next = list.head().link(0).load();
        // SAFETY: `&mut self` excludes all accesses, so what is linked stays.
        while let Some(node) = unsafe { NodeRef::protect(next.ptr) } {
            next = node.link(0).load();
            f(Record { node, list });
        }
    }

    pub(crate) fn check(&self, g: &Guard<'_>) {
        assert!(std::ptr::eq(g.barrier(), &*self.barrier), "the guard is of another barrier");
    }

    pub(crate) fn head(&self) -> NodeRef<'_> {
        // SAFETY: the head lives as long as the list.
        unsafe { NodeRef::from_raw(self.head) }
    }

    pub(crate) fn levels(&self) -> usize {
        // ORDERING: Relaxed; a hint, whoever needs a certain level asks for it.
        self.levels.load(Ordering::Relaxed)
    }

    pub(crate) fn raise_levels(&self, height: usize) {
        if height > self.levels() {
            // ORDERING: Relaxed; a hint.
            self.levels.fetch_max(height, Ordering::Relaxed);
        }
    }

    /// Adds records that were linked in bulk to the accounts.
    pub(crate) fn account(&self, records: usize, bytes: usize) {
        self.records.add(records as u64);
        self.bytes.add(bytes as u64);
    }

    /// Hands a node that is linked nowhere to the barrier.
    ///
    /// # Safety
    ///
    /// No level leads to the node and none ever will; nobody else retires it.
    pub(crate) unsafe fn retire(&self, node: NodeRef<'_>, g: &Guard<'_>) {
        let bytes = node.bytes();
        self.records.sub(1);
        self.bytes.sub(bytes as u64);
        // SAFETY: the caller says that it is unlinked and retired once; `reclaim` is for nodes.
        unsafe { g.retire(node.as_ptr().cast(), bytes, reclaim) };
    }
}

// SAFETY: nodes are shared between threads through atomics only, and reclaimed by the barrier from
// any thread; a node owns nothing but bytes.
unsafe impl Send for List {}
// SAFETY: as above.
unsafe impl Sync for List {}

impl Drop for List {
    fn drop(&mut self) {
        let mut next = self.head().as_ptr();
        // SAFETY: exclusive access: what is linked at level 0 (the head first) is owned by the
        // list, what was taken out belongs to the barrier.
        while let Some(node) = unsafe { NodeRef::protect(next) } {
            next = node.link(0).load().ptr;
            // SAFETY: nobody can reach it any more, and the loop has left it.
            unsafe { free(node) };
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
