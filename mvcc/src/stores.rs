//! The stores of a clock, for who looks at all of them: collectors and statistics.
//!
//! The list keeps no store alive. A store leaves it before it is handed to the barrier, so who finds it
//! there, inside a session, may use it for as long as the session lasts.

use std::collections::BTreeMap;
use std::ptr::NonNull;
// Of `std` in models too: nothing that loom sees happens under this lock.
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::access::Access;
use crate::clock::ClockInner;
use crate::store::StoreInner;

/// By number.
pub(crate) struct Stores(Mutex<BTreeMap<u64, Listed>>);

#[derive(Clone, Copy)]
struct Listed(NonNull<StoreInner>);

// SAFETY: an address; used only as `ClockInner::in_store` says, and a store is Send and Sync.
unsafe impl Send for Listed {}

impl Stores {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Listed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, number: u64, store: NonNull<StoreInner>) {
        self.lock().insert(number, Listed(store));
    }

    pub(crate) fn remove(&self, number: u64) {
        self.lock().remove(&number);
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.lock().keys().copied().collect()
    }

    fn find(&self, number: u64) -> Option<Listed> {
        self.lock().get(&number).copied()
    }
}

impl ClockInner {
    /// Runs `f` inside a barrier session in the store of this number; none: there is no such store.
    pub(crate) fn in_store<R>(
        &self,
        number: u64,
        f: impl for<'g> FnOnce(Access<'g>) -> R,
    ) -> Option<R> {
        let guard = self.barrier().pin();
        let Listed(store) = self.stores.find(number)?;
        // SAFETY: it was on the list after the session was entered, so it is retired, if at all, later than
        // that, and reclaimed after the guard is dropped.
        let store = unsafe { store.as_ref() };
        Some(f(Access::new(self, store, &guard)))
    }

    /// Runs `f` in one store after another, each in a session of its own.
    pub(crate) fn each_store(&self, mut f: impl for<'g> FnMut(Access<'g>)) {
        for number in self.stores.numbers() {
            self.in_store(number, &mut f);
        }
    }
}
