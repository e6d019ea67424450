//! Change capture: which keys were written since a moment, bounded in memory.
//!
//! Whoever installs a version, owner or helper, hands the key to the running capture after the version
//! is settled and before the operation returns. Above its memory limit the capture notes, instead of the
//! key, that its *bucket* is dirty: one of at most a few thousand intervals, cut from the store when the
//! capture began. Draining gives the keys and the dirty intervals.

#[cfg(whimbrel_loom)]
use std::alloc::Layout;
use std::ops::Bound;
use std::ptr::NonNull;

use crate::access::Access;
use crate::mutant::{Mutant, order, planted};
use crate::store::Store;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::{Error, KeyRange};

/// Captures that a store may have at a time: a base for incremental backups is kept while a slot moves.
/// Modelled builds have one: what a second one adds is the same again.
pub(crate) const MAX_CAPTURES: usize = if cfg!(whimbrel_loom) { 1 } else { 2 };

/// Most buckets a capture may have.
const MAX_BUCKETS: usize = 4096;

/// Bytes of a separator that are kept; a shorter one cuts a little lower, which is as good.
const SEPARATOR_BYTES: usize = 256;

/// Bytes that a captured key is counted with, besides its own.
const KEY_OVERHEAD: usize = 48;

/// How a capture bounds its memory. Builder.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    max_bytes: usize,
    buckets: usize,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, buckets: MAX_BUCKETS }
    }
}

impl CaptureOptions {
    /// The defaults: 64 MiB of keys, 4096 buckets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of captured keys between two drains, above which intervals are noted instead. Default:
    /// 64 MiB. Price of a small limit: whole intervals have to be looked at again.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Intervals that the store is cut into, 1 to 4096. Default: 4096. Price: a key of up to 256 bytes
    /// each, and a walk through the upper levels when the capture begins.
    #[must_use]
    pub fn buckets(mut self, buckets: usize) -> Self {
        self.buckets = buckets.clamp(1, MAX_BUCKETS);
        self
    }
}

/// What was written since the last drain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// Keys, ascending, each once.
    pub keys: Vec<Vec<u8>>,
    /// Ranges, ascending and apart, in which further keys may have been written.
    pub intervals: Vec<KeyRange>,
    /// Bytes that the captured keys had taken.
    pub bytes: usize,
}

impl Captured {
    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.intervals.is_empty()
    }
}

struct Node {
    next: *mut Node,
    key: Box<[u8]>,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

/// What writers see of a capture.
pub(crate) struct CaptureState {
    top: AtomicPtr<Node>,
    bytes: AtomicU64,
    max_bytes: u64,
    /// Ascending; bucket i lies between separators i - 1 and i.
    separators: Vec<Vec<u8>>,
    dirty: Box<[AtomicU64]>,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

impl CaptureState {
    fn note(&self, key: &[u8]) {
        #[cfg(whimbrel_loom)]
        self.canary.touch();
        let cost = (key.len() + KEY_OVERHEAD) as u64;
        // ORDERING: Relaxed; a budget, exact enough. Row V12.
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > self.max_bytes {
            // ORDERING: as above.
            self.bytes.fetch_sub(cost, Ordering::Relaxed);
            self.soil(key);
        } else {
            self.push(key);
        }
    }

    fn soil(&self, key: &[u8]) {
        let bucket = self.separators.partition_point(|separator| separator.as_slice() <= key);
        // ORDERING: Release; pairs with the Acquire in `drain`: who sees the bucket dirty sees the
        // write. Row V12.
        let release = order(Mutant::CapturePushRelaxed, Ordering::Release);
        self.dirty[bucket / 64].fetch_or(1 << (bucket % 64), release);
    }

    fn push(&self, key: &[u8]) {
        let node = Box::into_raw(Box::new(Node {
            next: std::ptr::null_mut(),
            key: key.into(),
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        }));
        // ORDERING: Relaxed; compared only. Row V12.
        let mut top = self.top.load(Ordering::Relaxed);
        loop {
            // SAFETY: from the box above, not shared before the exchange succeeds.
            unsafe { (*node).next = top };
            // ORDERING: Release; pairs with the Acquire in `drain`. Row V12.
            let release = order(Mutant::CapturePushRelaxed, Ordering::Release);
            match self.top.compare_exchange(top, node, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => top = found,
            }
        }
    }

    fn drain(&self) -> Captured {
        let (mut keys, mut bytes) = (Vec::new(), 0);
        // ORDERING: Acquire; pairs with the Release in `push`. Row V12.
        let acquire = order(Mutant::CaptureDrainRelaxed, Ordering::Acquire);
        let mut next = self.top.swap(std::ptr::null_mut(), acquire);
        while !next.is_null() {
            // SAFETY: from `push`'s box; the swap took the stack, so this drain alone has it.
            let node = unsafe { Box::from_raw(next) };
            #[cfg(whimbrel_loom)]
            node.canary.touch();
            next = node.next;
            bytes += node.key.len() + KEY_OVERHEAD;
            keys.push(node.key.into_vec());
        }
        // ORDERING: Relaxed; a budget. Row V12.
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        keys.sort_unstable();
        keys.dedup();
        Captured { keys, intervals: self.take_dirty(), bytes }
    }

    fn take_dirty(&self) -> Vec<KeyRange> {
        let mut ranges: Vec<KeyRange> = Vec::new();
        let mut last = None;
        for (at, word) in self.dirty.iter().enumerate() {
            // ORDERING: Acquire; pairs with the Release in `soil`. Row V12.
            let mut bits = word.swap(0, order(Mutant::CaptureDrainRelaxed, Ordering::Acquire));
            while bits != 0 {
                let bucket = at * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let hi =
                    self.separators.get(bucket).cloned().map_or(Bound::Unbounded, Bound::Excluded);
                match ranges.last_mut() {
                    Some(range) if last == Some(bucket) => range.hi = hi,
                    _ => ranges.push(KeyRange { lo: self.lower_end(bucket), hi }),
                }
                last = Some(bucket + 1);
            }
        }
        ranges
    }

    fn lower_end(&self, bucket: usize) -> Bound<Vec<u8>> {
        match bucket.checked_sub(1) {
            Some(below) => Bound::Included(self.separators[below].clone()),
            None => Bound::Unbounded,
        }
    }
}

impl Drop for CaptureState {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

impl Access<'_> {
    /// Hands a written key to the running captures.
    #[inline]
    pub(crate) fn captured(self, key: &[u8]) {
        // ORDERING: Acquire; pairs with the exchange in `Store::capture`: the state is seen whole. That
        // an operation which entered after the capture's ticket sees it at all is the work of the
        // fences in `fence_capture` and `Barrier::pin`. Row V12.
        let acquire = order(Mutant::CaptureLoadRelaxed, Ordering::Acquire);
        for capture in &self.store.captures {
            let state = capture.load(acquire);
            // SAFETY: retired through the barrier after it was taken off the store, and this access is
            // inside a session.
            if let Some(state) = unsafe { state.as_ref() } {
                state.note(key);
            }
        }
    }
}

/// A running capture of the keys that are written. Dropping it stops it.
///
/// Writers hand a key over after their write is settled and before they return. To copy a store and
/// then follow it: start the capture; take a ticket of the barrier and poll it until the operations that
/// were under way have left; take a snapshot. From then on every write that the snapshot does not see is
/// captured. What a drain returns was written before it; a write that is still under way comes with a
/// later drain, although a snapshot taken before may see it. So whoever follows in rounds sends, for
/// every key of a round, what the round's snapshot says, whether or not that has changed.
#[derive(Debug)]
pub struct Capture {
    store: Store,
    /// Which of the captures of the store it is.
    slot: usize,
    /// Valid until it is retired on drop.
    state: NonNull<CaptureState>,
}

// SAFETY: the state is Sync (atomics, and data that does not change), and so is the store.
unsafe impl Send for Capture {}
// SAFETY: as for Send.
unsafe impl Sync for Capture {}

impl Store {
    /// Starts a capture. A store has two at a time at most.
    ///
    /// # Complexity
    ///
    /// Cutting the store into buckets walks its upper levels, once.
    ///
    /// # Errors
    ///
    /// [`Error::CaptureActive`].
    pub fn capture(&self, options: CaptureOptions) -> Result<Capture, Error> {
        let separators = self.access(|access| {
            let (all, list) = (Bound::Unbounded, &access.store.list);
            list.split(options.buckets, all, all, access.guard)
        });
        let mut separators: Vec<_> = separators
            .into_iter()
            .map(|mut separator| {
                separator.truncate(SEPARATOR_BYTES);
                separator
            })
            .collect();
        separators.dedup();
        let words = (separators.len() + 1).div_ceil(64);
        let state = NonNull::from(Box::leak(Box::new(CaptureState {
            top: AtomicPtr::new(std::ptr::null_mut()),
            bytes: AtomicU64::new(0),
            max_bytes: options.max_bytes as u64,
            separators,
            dirty: (0..words).map(|_| AtomicU64::new(0)).collect(),
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        })));
        // ORDERING: Release; pairs with the Acquire in `captured`. Row V12.
        let release = order(Mutant::CaptureSetRelaxed, Ordering::Release);
        let null = std::ptr::null_mut();
        let taken = self.inner().captures.iter().position(|slot| {
            slot.compare_exchange(null, state.as_ptr(), release, Ordering::Relaxed).is_ok()
        });
        let Some(slot) = taken else {
            // SAFETY: from the box above, not published.
            drop(unsafe { Box::from_raw(state.as_ptr()) });
            return Err(Error::CaptureActive { store: self.number() });
        };
        if !planted(Mutant::NoCaptureFence) {
            self.clock().0.fence_capture();
        }
        Ok(Capture { store: self.clone(), slot, state })
    }
}

impl Capture {
    /// Takes what was captured since the last drain. May be called beside writers.
    #[must_use = "what is drained is not captured any more"]
    pub fn drain(&self) -> Captured {
        // SAFETY: retired on drop only.
        unsafe { self.state.as_ref() }.drain()
    }

    /// The store whose writes are captured.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends the capture and returns what had not been drained. Writes that are under way may be missing.
    #[must_use = "what is returned is not captured any more"]
    pub fn stop(self) -> Captured {
        self.drain()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if cfg!(whimbrel_loom) && std::thread::panicking() {
            return;
        }
        // ORDERING: Relaxed; nothing is published, and the barrier keeps the state for those who
        // found it before. Row V12.
        self.store.inner().captures[self.slot].store(std::ptr::null_mut(), Ordering::Relaxed);
        let guard = self.store.clock().pin();
        let bytes = size_of::<CaptureState>();
        // SAFETY: taken off the store above, so a later session cannot reach it; once, on drop.
        unsafe { guard.retire(self.state.as_ptr().cast(), bytes, reclaim) };
    }
}

/// Frees the state of a capture.
///
/// # Safety
///
/// From the box of [`Store::capture`], and nobody can reach it.
unsafe fn reclaim(state: *mut u8) {
    let state = state.cast::<CaptureState>();
    #[cfg(whimbrel_loom)]
    {
        // SAFETY: not freed yet; given up below.
        unsafe { &*state }.canary.die();
        // SAFETY: as above; a box, so allocated with this layout. (What it owns is lost.)
        unsafe { whimbrel_skiplist::model::bury(state.cast(), Layout::new::<CaptureState>()) };
    }
    #[cfg(not(whimbrel_loom))]
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(state) });
}
