//! The gate of a slot: one word that every operation reads inside its barrier session.
//!
//! # Invariants
//!
//! - G1 An operation that passed the gate stays inside the session in which it read the word until
//!   it has finished with the slot's store.
//! - G2 Whoever closes the gate stores the word first, takes a ticket of the barrier afterwards,
//!   and acts only once the ticket is over. An operation whose session the ticket names may have
//!   read the old word, and has left by then; one that entered later reads the new word, because
//!   entering and taking the ticket each have a sequentially consistent fence between their write
//!   and their read. So nothing is under way behind a closed gate.
//! - G3 One task at a time moves the gate of a slot: the slot's migration, or the start of the
//!   node.

use whimbrel_mvcc::{Barrier, Guard, Ticket};

use crate::sync::{AtomicU64, Ordering};

/// What the gate lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GateState {
    /// Nothing: another node owns the slot, or nobody does.
    NotMine,
    /// Everything.
    Serve,
    /// Reads; writes wait.
    FreezeWrites,
    /// Nothing; everything waits.
    Frozen,
}

impl GateState {
    const ALL: [Self; 4] = [Self::NotMine, Self::Serve, Self::FreezeWrites, Self::Frozen];

    fn bits(self) -> u64 {
        match self {
            Self::NotMine => 0,
            Self::Serve => 1,
            Self::FreezeWrites => 2,
            Self::Frozen => 3,
        }
    }
}

/// Bits of the word that hold the state; the rest is the epoch.
const STATE_BITS: u32 = 2;

/// State and epoch, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GateView {
    /// What is let through.
    pub state: GateState,
    /// The epoch in which it is.
    pub epoch: u64,
}

impl GateView {
    fn word(self) -> u64 {
        debug_assert!(self.epoch < 1 << (64 - STATE_BITS), "epochs count changes of one record");
        (self.epoch << STATE_BITS) | self.state.bits()
    }

    fn of(word: u64) -> Self {
        let bits = word & ((1 << STATE_BITS) - 1);
        let state = GateState::ALL.into_iter().find(|s| s.bits() == bits);
        Self { state: state.unwrap_or(GateState::NotMine), epoch: word >> STATE_BITS }
    }

    fn admits(self, kind: AccessKind) -> bool {
        match self.state {
            GateState::Serve => true,
            GateState::FreezeWrites => kind == AccessKind::Read,
            GateState::NotMine | GateState::Frozen => false,
        }
    }
}

/// What an operation is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// Read only.
    Read,
    /// Write, or read and write.
    Write,
}

/// The gate of one slot.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::{AccessKind, Gate, GateState};
/// use whimbrel_mvcc::Clock;
///
/// let (clock, gate) = (Clock::new(), Gate::new());
/// gate.open(3);
/// assert_eq!(gate.enter(&clock.pin(), AccessKind::Write), Ok(3));
///
/// let ticket = gate.freeze_writes(clock.barrier());
/// while !clock.barrier().poll(ticket) {}
/// assert!(gate.enter(&clock.pin(), AccessKind::Write).is_err());
/// assert!(gate.enter(&clock.pin(), AccessKind::Read).is_ok());
/// assert_eq!(gate.view().state, GateState::FreezeWrites);
/// ```
#[derive(Debug)]
pub struct Gate {
    /// Written by the task that moves the gate (G3), read by every operation.
    word: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A gate that lets nothing through.
    #[must_use]
    pub fn new() -> Self {
        let closed = GateView { state: GateState::NotMine, epoch: 0 };
        Self { word: AtomicU64::new(closed.word()) }
    }

    /// Asks for passage; answers the epoch. The guard must be kept for the whole operation (G1).
    ///
    /// # Errors
    ///
    /// What the gate showed instead.
    pub fn enter(&self, guard: &Guard<'_>, kind: AccessKind) -> Result<u64, GateView> {
        let _inside = guard;
        let view = self.view();
        if view.admits(kind) { Ok(view.epoch) } else { Err(view) }
    }

    /// What the gate shows now.
    #[must_use]
    pub fn view(&self) -> GateView {
        // ORDERING: Acquire; pairs with the Release in `set`: who sees the gate open sees the store
        // that was installed before. Row M1.
        GateView::of(self.word.load(Ordering::Acquire))
    }

    /// Lets everything through in this epoch.
    pub fn open(&self, epoch: u64) {
        self.set(GateView { state: GateState::Serve, epoch });
    }

    /// Stops writes. They are out once the ticket is over.
    #[must_use = "writes are under way until the ticket is over"]
    pub fn freeze_writes(&self, barrier: &Barrier) -> Ticket {
        self.close(GateState::FreezeWrites, barrier)
    }

    /// Stops everything. All operations are out once the ticket is over.
    #[must_use = "operations are under way until the ticket is over"]
    pub fn freeze(&self, barrier: &Barrier) -> Ticket {
        self.close(GateState::Frozen, barrier)
    }

    /// Gives the slot up. All operations are out once the ticket is over.
    #[must_use = "operations are under way until the ticket is over"]
    pub fn give_up(&self, barrier: &Barrier) -> Ticket {
        self.close(GateState::NotMine, barrier)
    }

    fn close(&self, state: GateState, barrier: &Barrier) -> Ticket {
        self.set(GateView { state, ..self.view() });
        // The ticket begins with a sequentially consistent fence (G2).
        barrier.ticket()
    }

    fn set(&self, view: GateView) {
        // ORDERING: Release; pairs with the Acquire in `view`. That a closed gate is seen by every
        // operation outside of the ticket is the work of the barrier's fences (G2). Row M1.
        self.word.store(view.word(), Ordering::Release);
    }
}
