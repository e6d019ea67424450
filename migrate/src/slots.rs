//! The table of slots: gate and store of each, allocated when first needed.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;
use whimbrel_mvcc::Store;

use crate::{Gate, SLOT_COUNT, Slot};

/// One slot of this node.
#[derive(Debug, Default)]
pub(crate) struct SlotCell {
    pub(crate) gate: Gate,
    /// Changed only while the gate lets nothing through, so an operation never waits for it.
    store: RwLock<Option<Store>>,
    /// Wakes parked operations when the gate moves.
    pub(crate) moved: Notify,
    parked: AtomicUsize,
    throttle: Throttle,
}

/// Writes per millisecond that are let through; 0: all.
#[derive(Debug, Default)]
struct Throttle {
    per_tick: AtomicU32,
    tokens: AtomicI64,
}

impl SlotCell {
    /// The store, for as long as the operation runs.
    pub(crate) fn store(&self) -> RwLockReadGuard<'_, Option<Store>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a store in, or takes it out, and returns what was there. Needs a closed gate.
    pub(crate) fn replace_store(&self, store: Option<Store>) -> Option<Store> {
        let mut place = self.store.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *place, store)
    }

    /// Counts one more parked operation, unless there are `limit` already.
    pub(crate) fn park(&self, limit: usize) -> bool {
        // ORDERING: Relaxed; a bound on memory, nothing is published through it.
        let parked = self.parked.fetch_add(1, Ordering::Relaxed);
        if parked < limit {
            return true;
        }
        self.unpark();
        false
    }

    pub(crate) fn unpark(&self) {
        // ORDERING: Relaxed; see `park`.
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a write may pass now.
    pub(crate) fn admit_write(&self) -> bool {
        // ORDERING: Relaxed, both; a rate, nothing is published through it.
        self.throttle.per_tick.load(Ordering::Relaxed) == 0
            || self.throttle.tokens.fetch_sub(1, Ordering::Relaxed) > 0
    }

    /// Sets the writes per tick; 0 ends the throttling.
    pub(crate) fn set_throttle(&self, per_tick: u32) {
        // ORDERING: Relaxed; see `admit_write`.
        self.throttle.per_tick.store(per_tick, Ordering::Relaxed);
        self.tick();
    }

    /// Gives out the writes of one tick.
    pub(crate) fn tick(&self) {
        // ORDERING: Relaxed, both; see `admit_write`.
        let tokens = self.throttle.per_tick.load(Ordering::Relaxed);
        self.throttle.tokens.store(i64::from(tokens), Ordering::Relaxed);
        self.moved.notify_waiters();
    }
}

/// All slots. Many cost nothing until they are used.
pub(crate) struct Slots(Box<[OnceLock<Arc<SlotCell>>]>);

impl Slots {
    pub(crate) fn new() -> Self {
        Self((0..SLOT_COUNT).map(|_| OnceLock::new()).collect())
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<&Arc<SlotCell>> {
        self.0[slot.index()].get()
    }

    pub(crate) fn get_or_make(&self, slot: Slot) -> &Arc<SlotCell> {
        self.0[slot.index()].get_or_init(Arc::default)
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.0.iter().filter(|s| s.get().is_some()).count();
        f.debug_struct("Slots").field("used", &used).finish()
    }
}
