//! The store: one ordered keyspace of versioned values.

use std::ptr::NonNull;

use whimbrel_skiplist::List;

use crate::access::Access;
use crate::capture::{CaptureState, MAX_CAPTURES};
use crate::collect::Collection;
use crate::options::StoreOptions;
use crate::sync::atomic::AtomicPtr;
use crate::sync::{Arc, Counter, Striped};
use crate::version::VersionRef;
use crate::{Clock, Digest, Error, Guard, Hold, KeyRange, Snapshot, StoreStats};

/// One ordered keyspace of versioned values.
///
/// Clones are handles to the same store; all methods take `&self`, may be called from any number of
/// threads, and wait for nobody (except as [`StoreOptions::with_garbage_bound`] says). Single operations
/// are linearizable: each takes effect at one moment between call and return, when its version is
/// installed and numbered.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"whimbrel", b"Numenius phaeopus")?;
/// let before = store.snapshot();
/// store.remove(b"whimbrel")?;
/// assert_eq!(store.get(b"whimbrel"), None);
/// assert_eq!(before.get(b"whimbrel"), Some(b"Numenius phaeopus".to_vec()));
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
#[derive(Clone)]
pub struct Store(Arc<Handle>);

/// What the handles share. Dropping the last retires the store through the barrier, because a thread
/// that helps a batch may still be inside it.
struct Handle {
    clock: Clock,
    /// From a box; retired once, when this drops.
    inner: NonNull<StoreInner>,
}

// SAFETY: `StoreInner` is Send and Sync, and `Handle` only ever gives out shared references to it.
unsafe impl Send for Handle {}
// SAFETY: as for Send.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        if cfg!(whimbrel_loom) && std::thread::panicking() {
            return;
        }
        // SAFETY: the box is retired below and not before.
        let store = unsafe { self.inner.as_ref() };
        let bytes = store.list.bytes();
        // Before it is retired: who finds it there afterwards entered its session before.
        self.clock.0.stores.remove(store.number);
        let guard = self.clock.pin();
        // SAFETY: the last handle is going, so a new access can find the store only through a batch
        // that is not settled, and the owner of such a batch holds a handle. Retired once, here.
        unsafe { guard.retire(self.inner.as_ptr().cast(), bytes, reclaim) };
        drop(guard);
        self.clock.barrier().flush();
    }
}

/// Frees a store.
///
/// # Safety
///
/// `store` is the box of a [`Handle`], and nobody can reach it any more.
unsafe fn reclaim(store: *mut u8) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(store.cast::<StoreInner>()) });
}

/// In the order of who writes: to what is before the collection nobody does once there are a few entries, so
/// that reads meet no writer on a line, nor on the one beside it, which processors fetch with it.
#[repr(C)]
pub(crate) struct StoreInner {
    pub(crate) list: List,
    /// The running captures, or null.
    pub(crate) captures: [AtomicPtr<CaptureState>; MAX_CAPTURES],
    tally: Striped<Tally>,
    pub(crate) options: StoreOptions,
    pub(crate) number: u64,
    pub(crate) collection: Collection,
}

const _: () = {
    assert!(std::mem::offset_of!(StoreInner, collection).is_multiple_of(128), "lines of its own");
    // A process has thousands of stores that are empty; `tests/stores.rs` measures one.
    assert!(cfg!(whimbrel_loom) || size_of::<StoreInner>() <= 640, "an empty store is small");
};

/// Versions that a removal in place counts for: itself and the value.
const REMOVED_IN_PLACE: u64 = 2;

/// A thread's share of the running counts. Each is a difference and may wrap.
#[derive(Debug, Default)]
struct Tally {
    entries: Counter,
    hashes: Counter,
    /// Versions, less the entries: what was superseded, and tombstones.
    dead_versions: Counter,
    version_bytes: Counter,
}

impl StoreInner {
    fn new(clock: &Clock, list: List, options: StoreOptions) -> Self {
        Self {
            list,
            captures: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            tally: Striped::default(),
            collection: Collection::new(options.bound().is_some()),
            options,
            number: clock.next_store_number(),
        }
    }

    /// Counts an installation: `new` went on top of `old`.
    #[inline]
    pub(crate) fn count_installed(
        &self,
        key: &[u8],
        new: VersionRef<'_>,
        old: Option<VersionRef<'_>>,
    ) {
        let tally = self.tally();
        if !new.is_inline() {
            tally.version_bytes.add(new.held());
        }
        let (old, new) = (old.and_then(VersionRef::value), new.value());
        match (old, new) {
            (None, Some(_)) => _ = tally.entries.add(1),
            (Some(_), None) => {
                tally.entries.sub(1);
                tally.dead_versions.add(2);
            }
            _ => _ = tally.dead_versions.add(1),
        }
        if self.options.digest {
            let hash = |value| Digest::entry_hash(key, value);
            tally.hashes.add(new.map_or(0, hash).wrapping_sub(old.map_or(0, hash)));
        }
    }

    /// Takes back the count of an installation: `new`, which nobody saw, left the cell for `old` again.
    #[cold]
    pub(crate) fn count_withdrawn(
        &self,
        key: &[u8],
        new: VersionRef<'_>,
        old: Option<VersionRef<'_>>,
    ) {
        let tally = self.tally();
        tally.version_bytes.sub(new.held());
        let (old, new) = (old.and_then(VersionRef::value), new.value());
        match (old, new) {
            (None, Some(_)) => tally.entries.sub(1),
            (Some(_), None) => {
                tally.entries.add(1);
                tally.dead_versions.sub(2);
            }
            _ => tally.dead_versions.sub(1),
        }
        if self.options.digest {
            let hash = |value| Digest::entry_hash(key, value);
            tally.hashes.add(old.map_or(0, hash).wrapping_sub(new.map_or(0, hash)));
        }
    }

    /// Counts that this value, in its record, was removed in place.
    #[inline]
    pub(crate) fn count_removed(&self, key: &[u8], old: VersionRef<'_>) {
        let tally = self.tally();
        tally.entries.sub(1);
        if self.options.digest {
            tally.hashes.sub(old.value().map_or(0, |value| Digest::entry_hash(key, value)));
        }
    }

    /// Counts the value and the removal where the collector is to take them away.
    pub(crate) fn count_left(&self) {
        self.tally().dead_versions.add(REMOVED_IN_PLACE);
    }

    /// Counts a version that was taken out of its chain.
    pub(crate) fn count_unlinked(&self, version: VersionRef<'_>) {
        let tally = self.tally();
        tally.dead_versions.sub(if version.is_removal() { REMOVED_IN_PLACE } else { 1 });
        tally.version_bytes.sub(version.held());
    }

    /// Counts that the newest version of a key was copied.
    pub(crate) fn count_copied(&self, from: VersionRef<'_>, to: VersionRef<'_>) {
        let bytes = &self.tally().version_bytes;
        bytes.add(to.held());
        bytes.sub(from.held());
    }

    #[inline]
    fn tally(&self) -> &Tally {
        self.tally.mine()
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let (collectable, held) = (self.collection.collectable(), self.collection.held());
        let entries = self.total(|t| &t.entries);
        StoreStats {
            entries,
            versions: entries.wrapping_add(self.total(|t| &t.dead_versions)),
            version_bytes: self.total(|t| &t.version_bytes),
            records: self.list.len_estimate() as u64,
            record_bytes: self.list.bytes() as u64,
            dead: self.collection.waiting(),
            collectable,
            held,
        }
    }

    fn total(&self, of: fn(&Tally) -> &Counter) -> u64 {
        self.tally.sum(|tally| of(tally).get())
    }

    fn live_digest(&self) -> Digest {
        Digest { count: self.total(|t| &t.entries), sum: self.total(|t| &t.hashes) }
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        if cfg!(whimbrel_loom) && std::thread::panicking() {
            return;
        }
        // SAFETY: `&mut self`: nobody else is left. Before the chains: what is in a chain goes with it.
        unsafe { self.collection.free_unlinked() };
        self.list.for_each_mut(|record| {
            // ORDERING: Acquire; every thread that wrote has left the barrier's session before this
            // store was reclaimed. Row V7.
            let head = record.cell().load(crate::sync::atomic::Ordering::Acquire);
            // SAFETY: `&mut self`: the whole chain belongs to this store, nothing of it was retired.
            let mut next = unsafe { VersionRef::from_word(record, head) };
            while let Some(version) = next {
                next = version.older(record);
                // SAFETY: nobody else is left; `version` is not used after this.
                unsafe { version.free_now() };
            }
        });
    }
}

/// What [`Store::insert_unique`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Inserted {
    /// The key was absent and has the value now.
    Inserted,
    /// The key is present; nothing was changed.
    Exists,
}

/// What [`Store::compare_and_set`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CasOutcome {
    /// The key was as expected and is as wanted now.
    Done,
    /// The key was not as expected; this is its value. Nothing was changed.
    Differs(Option<Vec<u8>>),
}

/// Names what a key held when it was read, for [`crate::Batch::expect`].
///
/// A token is the value itself (or its absence), not a number or an address: numbers are shared by
/// writes between two snapshots, and addresses come back. So a key that was changed and changed back
/// to the same bytes counts as unchanged; whatever was computed from key and value still holds then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionToken(Option<Box<[u8]>>);

impl VersionToken {
    /// The token of a key that is absent.
    #[must_use]
    pub fn absent() -> Self {
        Self(None)
    }

    /// The token of a key that has this value.
    #[must_use]
    pub fn of_value(value: &[u8]) -> Self {
        Self(Some(value.into()))
    }

    pub(crate) fn holds(&self, current: Option<&[u8]>) -> bool {
        self.0.as_deref() == current
    }
}

impl Store {
    /// An empty store with default options.
    #[must_use]
    pub fn new(clock: &Clock) -> Self {
        Self::with_options(clock, StoreOptions::default())
    }

    /// An empty store.
    #[must_use]
    pub fn with_options(clock: &Clock, options: StoreOptions) -> Self {
        Self::from_list(clock, List::new(clock.barrier().clone()), options)
    }

    pub(crate) fn from_list(clock: &Clock, list: List, options: StoreOptions) -> Self {
        let inner = Box::new(StoreInner::new(clock, list, options));
        let number = inner.number;
        let inner = NonNull::from(Box::leak(inner));
        clock.0.stores.add(number, inner);
        Self(Arc::new(Handle { clock: clock.clone(), inner }))
    }

    /// Counts what a bulk load brought; the sum of the digest matters where it is kept running.
    pub(crate) fn count_loaded(&self, digest: &Digest, version_bytes: u64) {
        let tally = self.inner().tally();
        tally.entries.add(digest.count);
        tally.hashes.add(digest.sum);
        tally.version_bytes.add(version_bytes);
    }

    /// The clock this store was made with.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Number of this store in its clock, in order of creation. The keys of a batch over several
    /// stores are ordered by it first.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.inner().number
    }

    pub(crate) fn inner(&self) -> &StoreInner {
        // SAFETY: retired only when the last handle drops, and `self` holds one.
        unsafe { self.0.inner.as_ref() }
    }

    /// Runs `f` inside a barrier session.
    #[inline]
    pub(crate) fn access<R>(&self, f: impl for<'g> FnOnce(Access<'g>) -> R) -> R {
        let guard = self.0.clock.pin();
        f(Access::new(&self.0.clock.0, self.inner(), &guard))
    }

    /// The same under a guard of the caller's.
    pub(crate) fn access_under<'g>(&'g self, guard: &'g Guard<'_>) -> Access<'g> {
        Access::new(&self.0.clock.0, self.inner(), guard)
    }

    /// Cuts a range into at most `n` ranges that follow each other.
    pub(crate) fn split_range(&self, range: KeyRange, n: usize) -> Vec<KeyRange> {
        if n < 2 || range.is_empty() {
            return vec![range];
        }
        let separators =
            self.access(|access| access.store.list.split(n, range.lo(), range.hi(), access.guard));
        range.cut(separators)
    }

    /// Whether both are handles to one store.
    #[must_use]
    pub fn is(&self, other: &Store) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A snapshot of this store: sees every write that returned before the call, and never changes.
    ///
    /// # Complexity
    ///
    /// O(1); waits for nobody, and no writer waits for it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_at(&self.0.clock.hold())
    }

    /// A snapshot whose name is in the statistics and in the warning about snapshots that are open for
    /// long; see [`Clock::hold_named`].
    #[must_use]
    pub fn snapshot_named(&self, name: &str) -> Snapshot {
        self.snapshot_at(&self.0.clock.hold_named(name))
    }

    /// A snapshot of this store at a number that is already held.
    ///
    /// # Panics
    ///
    /// When the hold is of another clock.
    #[must_use]
    pub fn snapshot_at(&self, hold: &Hold) -> Snapshot {
        assert!(hold.clock().is(&self.0.clock), "the hold is of another clock than the store");
        Snapshot::new(self.clone(), hold.clone())
    }

    /// Entries, as counted while they were written. O(1); exact when no operation is in flight.
    #[must_use]
    pub fn len_estimate(&self) -> usize {
        usize::try_from(self.inner().total(|t| &t.entries).cast_signed().max(0)).unwrap_or(0)
    }

    /// Figures of the store. Waits for nobody.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.inner().stats()
    }

    /// The running digest over the newest value of every key; none unless the store keeps it.
    /// Exact when no operation is in flight.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        let inner = self.inner();
        inner.options.digest.then(|| inner.live_digest())
    }

    pub(crate) fn check_key(key: &[u8]) -> Result<(), Error> {
        if key.len() > whimbrel_skiplist::MAX_KEY_LEN {
            return Err(whimbrel_skiplist::KeyTooLong { len: key.len() }.into());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("number", &self.number())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
