//! What only modelled builds have: canaries, the graveyard, and planted mutants.
//!
//! A canary is a cell that every dereference reads and that reclaiming writes: a use after free
//! becomes a causality violation that loom reports, or a panic under shuttle. The memory itself goes
//! to the graveyard, so that the violation is found instead of undefined behaviour. Both run all
//! threads of a model on one system thread, so a plain thread-local holds both.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};

pub use crate::list::model::{Access, Sessions, Stopped, allocated, stop_after};
pub use crate::mutant::{Mutant, Step};

thread_local! {
    static GRAVEYARD: RefCell<Vec<(*mut u8, Layout)>> = const { RefCell::new(Vec::new()) };
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Read at every dereference, written when the memory is reclaimed.
#[derive(Debug)]
pub struct Canary(CanaryCell);

#[cfg(whimbrel_loom)]
type CanaryCell = loom::cell::UnsafeCell<u64>;

/// Under shuttle threads change at atomic accesses only, so a look at the state is exact.
#[cfg(whimbrel_shuttle)]
type CanaryCell = Cell<u64>;

// SAFETY: loom checks every access to the cell, and reports those that are concurrent.
unsafe impl Sync for Canary {}

impl Default for Canary {
    fn default() -> Self {
        Self(CanaryCell::new(ALIVE))
    }
}

const ALIVE: u64 = 0x600D_600D;
const DEAD: u64 = 0xDEAD_DEAD;

impl Canary {
    /// A live canary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the memory around it is being used.
    ///
    /// # Panics
    ///
    /// When the memory was reclaimed before, or is reclaimed beside.
    pub fn touch(&self) {
        #[cfg(whimbrel_loom)]
        self.0.with(|state| {
            // SAFETY: loom has checked that no write is concurrent; graveyard memory stays mapped.
            let state = unsafe { *state };
            assert_eq!(state, ALIVE, "use after free");
        });
        #[cfg(whimbrel_shuttle)]
        assert_eq!(self.0.get(), ALIVE, "use after free");
    }

    /// Says that the memory around it is reclaimed.
    ///
    /// # Panics
    ///
    /// When it was reclaimed before, or is used beside.
    pub fn die(&self) {
        #[cfg(whimbrel_loom)]
        self.0.with_mut(|state| {
            // SAFETY: loom has checked that no access is concurrent; graveyard memory stays mapped.
            let was = unsafe { state.replace(DEAD) };
            assert_eq!(was, ALIVE, "reclaimed twice");
        });
        #[cfg(whimbrel_shuttle)]
        assert_eq!(self.0.replace(DEAD), ALIVE, "reclaimed twice");
    }
}

/// Keeps reclaimed memory until [`begin`] of the next execution.
///
/// # Safety
///
/// `ptr` was allocated by the global allocator with `layout`, and the caller gives it up.
pub unsafe fn bury(ptr: *mut u8, layout: Layout) {
    GRAVEYARD.with_borrow_mut(|graves| graves.push((ptr, layout)));
}

/// To be called first in every execution of a model: empties the graveyard of the one before.
pub fn begin() {
    crate::list::model::begin();
    GRAVEYARD.with_borrow_mut(|graves| {
        for (ptr, layout) in graves.drain(..) {
            // SAFETY: the contract of `bury`; the execution that used the memory is over.
            unsafe { std::alloc::dealloc(ptr, layout) };
        }
    });
}

/// Chooses the defect that the modelled code contains from now on.
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}

/// Whether this defect was chosen.
#[must_use]
pub fn planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}
