//! What only modelled builds have: canaries, the graveyard, and planted mutants.
//!
//! A canary is a cell that every dereference reads and that reclaiming writes: a use after free
//! becomes a causality violation that loom reports. The memory itself goes to the graveyard, so
//! that the violation is found instead of undefined behaviour. Loom runs all threads of a model on
//! one system thread, so a plain thread-local holds both.

use std::alloc::Layout;
use std::cell::{Cell, RefCell};

use crate::{Barrier, Guard};

thread_local! {
    static GRAVEYARD: RefCell<Vec<(*mut u8, Layout)>> = const { RefCell::new(Vec::new()) };
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Read at every dereference, written when the memory is reclaimed.
#[derive(Debug)]
pub struct Canary(loom::cell::UnsafeCell<u64>);

impl Default for Canary {
    fn default() -> Self {
        Self(loom::cell::UnsafeCell::new(ALIVE))
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
        self.0.with(|state| {
            // SAFETY: loom has checked that no write is concurrent; graveyard memory stays mapped.
            let state = unsafe { *state };
            assert_eq!(state, ALIVE, "use after free");
        });
    }

    /// Says that the memory around it is reclaimed.
    ///
    /// # Panics
    ///
    /// When it was reclaimed before, or is used beside.
    pub fn die(&self) {
        self.0.with_mut(|state| {
            // SAFETY: loom has checked that no access is concurrent; graveyard memory stays mapped.
            let was = unsafe { state.replace(DEAD) };
            assert_eq!(was, ALIVE, "reclaimed twice");
        });
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
    GRAVEYARD.with_borrow_mut(|graves| {
        for (ptr, layout) in graves.drain(..) {
            // SAFETY: the contract of `bury`; the execution that used the memory is over.
            unsafe { std::alloc::dealloc(ptr, layout) };
        }
    });
}

/// A guard that is counted nowhere, so that a model of the list need not explore the barrier too.
///
/// # Safety
///
/// A guard of [`Barrier::pin`] is held all the time that this one lives.
#[must_use]
pub unsafe fn resident(barrier: &Barrier) -> Guard<'_> {
    Guard::uncounted(barrier)
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

macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Defects that the models must find; docs/ordering.md names the model that finds each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Mutant {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[(&str, Mutant)] = &[$((stringify!($name), Mutant::$name),)+];
        }
    };
}

mutants! {
    /// `pin` does not look again whether the session is still open.
    EnterUnverified,
    /// `pin` without the fence between counting and looking again.
    EnterNoFence,
    /// An access that was counted too late goes away without looking.
    LateEntererSilent,
    /// A leaver does not look whether its session can end.
    LeaveNoLook,
    /// A leaver without the fence between leaving and looking.
    LeaveNoFence,
    /// The terminator does not look again after it gave up its claim.
    NoSecondLook,
    /// The second look without its fence.
    SecondLookNoFence,
    /// No fence between "the session is closed" and reading the counts.
    CountsNoFence,
    /// Only the caller's session is checked, not the order of sessions: counts are not read.
    CountsIgnored,
    /// Only the first stripe is counted.
    OneStripeCounted,
    /// An item goes into the retirer's own session, which may be over before later ones.
    RetireOwnSession,
    /// `retire` without its fence.
    RetireNoFence,
    /// A session is closed although the ring is full.
    RingOverrun,
    /// The claim is given up before the bags are taken.
    BagsAfterRelease,
    /// `ticket` without its fence.
    TicketNoFence,
    /// Leaving does not publish what the access did.
    DepartRelaxed,
    /// Who sees an empty session does not see what its accesses did.
    CountRelaxed,
    /// The end of a session does not publish that its accesses are over.
    ReleaseClaimRelaxed,

    /// The remover retires, without the hand-shake with the inserter.
    RetireByRemover,
    /// The second of inserter and remover retires without searching again.
    NoFinalSearch,
    /// Level 0 is marked first.
    MarkBottomFirst,
    /// A marked node of equal key is not unlinked by a search.
    EqualKept,
    /// A path may hold a removed node of the key itself as successor.
    StalePath,
    /// A search goes on from a predecessor that is marked.
    MarkedPredecessor,
    /// A reader descends from a node that it saw marked.
    DescendFromMarked,
    /// The inserter links a level although the node is marked there.
    InserterIgnoresMark,
    /// A sealed record counts as found.
    SealedFound,
    /// A failed link at level 0 is taken for a success.
    LostLink,
    /// A new node is linked without publishing what is in it.
    PublishRelaxed,
    /// A new node is linked without seeing what was unlinked in its place.
    PublishNoAcquire,
    /// Links are read without seeing what is behind them.
    LoadRelaxed,
    /// Unlinking does not pass on what is behind the node.
    BypassRelaxed,
    /// A mark does not publish the marks above.
    MarkRelaxed,
    /// The hand-shake publishes nothing.
    StateRelaxed,
}

impl Mutant {
    /// The defect of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, mutant)| *mutant)
    }
}
