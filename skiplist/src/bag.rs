//! A bag of retired items: a stack that is only pushed to and taken as a whole.
//!
//! Lock-free; there is no pop, so an address that comes back cannot confuse anybody.

use crate::mutant::{Mutant, order};
use crate::sync::atomic::{AtomicPtr, Ordering};

/// Retired memory: one piece, or several that one call reclaims.
pub(crate) struct Item {
    ptr: *mut u8,
    /// Pieces, and their bytes.
    pieces: u64,
    bytes: u64,
    reclaim: unsafe fn(*mut u8),
    next: *mut Item,
    #[cfg(whimbrel_loom)]
    canary: crate::model::Canary,
}

impl Item {
    pub(crate) fn new(ptr: *mut u8, pieces: u64, bytes: u64, reclaim: unsafe fn(*mut u8)) -> Self {
        Self {
            ptr,
            pieces,
            bytes,
            reclaim,
            next: std::ptr::null_mut(),
            #[cfg(whimbrel_loom)]
            canary: crate::model::Canary::new(),
        }
    }
}

/// Items retired into one session by the threads of one stripe.
pub(crate) struct Bag(AtomicPtr<Item>);

impl Bag {
    pub(crate) fn new() -> Self {
        Self(AtomicPtr::new(std::ptr::null_mut()))
    }

    /// Puts an item in.
    pub(crate) fn push(&self, item: Item) {
        let item = Box::into_raw(Box::new(item));
        // ORDERING: Relaxed; the value is only compared, nothing is read through it. Row B5.
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: `item` comes from the box above and is not shared before the exchange.
            unsafe { (*item).next = top };
            // ORDERING: Release; pairs with the Acquire in `take`: publishes the item. Row B5.
            let release = order(Mutant::BagPushRelaxed, Ordering::Release);
            match self.0.compare_exchange(top, item, release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(found) => top = found,
            }
        }
    }

    /// Takes everything out.
    pub(crate) fn take(&self) -> Taken {
        // ORDERING: Acquire; pairs with the Release in `push`. Row B5.
        let acquire = order(Mutant::BagTakeRelaxed, Ordering::Acquire);
        Taken(self.0.swap(std::ptr::null_mut(), acquire))
    }
}

/// What was taken out of a bag: a list that this value owns. Dropping it loses the items.
#[must_use]
pub(crate) struct Taken(*mut Item);

impl Taken {
    /// Reclaims every item; returns the number of pieces and their bytes.
    ///
    /// # Safety
    ///
    /// No access can reach the memory of any item in it any more.
    pub(crate) unsafe fn reclaim(self) -> (u64, u64) {
        let (mut pieces, mut bytes) = (0, 0);
        let mut next = self.0;
        while !next.is_null() {
            // SAFETY: `push` made it from a box and only one `take` can have returned it.
            let item = unsafe { Box::from_raw(next) };
            #[cfg(whimbrel_loom)]
            item.canary.touch();
            next = item.next;
            pieces += item.pieces;
            bytes += item.bytes;
            // SAFETY: the caller says that nobody can reach it; who retired it vouched for
            // `reclaim`.
            unsafe { (item.reclaim)(item.ptr) };
        }
        (pieces, bytes)
    }
}
