//! The access barrier: memory is reclaimed once no access that could see it is left.
//!
//! After the barrier of Nitro (VLDB 2016), with three departures. Sessions are numbers in a ring of
//! [`RING`] slots instead of objects, so nothing about a session is ever allocated or reclaimed.
//! Accesses are counted per stripe, each on cache lines of its own. And the end of a session is
//! decided by whoever finds it empty, with a second look, so that no wake-up is lost.
//!
//! # How it works
//!
//! *Enter*: read the number of the open session, count yourself into its slot, fence, look again:
//! when the session was closed meanwhile, leave it and begin anew. *Leave*: take yourself out,
//! fence, look whether your session is closed; if so try to terminate. *Retire*: fence, read the
//! number of the open session, put the item into the bag of its slot. *Close*: raise the number by
//! one when the ring has room. *Terminate*: take the oldest session that has not terminated; when
//! it is closed and nobody is counted in it, claim it, take its bags, give the claim up, reclaim;
//! then look again.
//!
//! # Invariants
//!
//! - **R1** An access that found its session open after counting itself is in every count that is
//!   read once the session is known to be closed. (Fence in `pin` between count and second look,
//!   fence in `try_terminate` between "closed" and the counts: one of the two sees the other.)
//! - **R2** A session terminates only after every access of it and of all earlier ones has left.
//!   (R1, and sessions terminate in order. A count may also hold accesses that came too late and
//!   will leave again: they delay, they never hide anybody.)
//! - **R3** Open and unfinished sessions have distinct slots: `current - terminated < RING`,
//!   checked with a `terminated` that may be old, so on the safe side. A slot is used again only
//!   after its bags were taken (the claim is given up after that).
//! - **R4** A retirer is inside a session p, and the session c whose bag it uses is not older than
//!   p (one thread reads `current` in order). So c does not terminate before it has left, and the
//!   slot of c is c's while it pushes.
//! - **R5** An access that can still reach an item retired into session c is inside a session not
//!   later than c. (An access of a later session read `current` above c before its fence; the
//!   retirer read c after its own: so the access sees the unlinking. The fence in `retire` covers
//!   unlinkings by other threads that the retirer has seen.) With R2: reclaiming is safe.
//! - **R6** When everybody has left, every closed session has terminated. Who leaves an unfinished
//!   session to others has seen a reason: a count that is not zero, and its owner looks after
//!   leaving; or a claim, and its owner looks after giving it up. The fences make sure that the one
//!   who is relied upon sees what was done before (a leaving, a closing).
//!
//! Items retired into the open session wait until it is closed: by the retirer after 64 items or
//! 1 MiB on its stripe, or by [`Barrier::flush`]. [`Barrier::poll`] with a ticket waits for
//! accesses by the same means: an access of a session later than the ticket's sees what was stored
//! before it.
//!
//! Progress: entering repeats only when a session was closed meanwhile; nothing waits. A thread
//! that stops inside a session delays reclamation, never another thread. One that stops with a
//! claim too.

use std::marker::PhantomData;

use crossbeam_utils::CachePadded;

use crate::bag::{Bag, Item};
use crate::mutant::{Mutant, order, planted};
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Counter, fence_behind_rmw};

/// Sessions that may be open or closed but not terminated at one time. A power of two.
const RING: usize = 4;

/// Retired items per stripe after which the current session is closed.
const FLUSH_ITEMS: u64 = 64;

/// Retired bytes per stripe after which the current session is closed.
const FLUSH_BYTES: u64 = 1 << 20;

/// Bit of `terminated`: a thread is taking the bags of that session.
const CLAIMED: u64 = 1;

/// Index of a session's counts and bags.
fn slot(session: u64) -> usize {
    const { assert!(RING == 4) };
    (session % 4) as usize
}

/// Access barrier: protects memory while accesses are inside its sessions.
///
/// A value without global state; usually shared as `Arc<Barrier>`. All methods may be called from
/// any thread at any time and none waits for another thread.
pub struct Barrier {
    /// Number of the open session. Written when a session closes.
    current: CachePadded<AtomicU64>,
    /// Twice the number of the oldest session that has not terminated, plus [`CLAIMED`].
    terminated: CachePadded<AtomicU64>,
    /// Counts and bags, shared out over the threads.
    stripes: Box<[CachePadded<Stripe>]>,
    /// Builds for shuttle: stripes are handed out in turn.
    #[cfg(whimbrel_shuttle)]
    turn: Counter,
    /// Modelled builds: loom schedules no thread at a fence, so each fence touches this word first.
    #[cfg(whimbrel_loom)]
    step: AtomicU64,
}

/// The part of the barrier that a group of threads writes.
struct Stripe {
    /// Accesses inside, by slot.
    count: [AtomicU64; RING],
    /// Retired items, by slot.
    bag: [Bag; RING],
    retired: Counter,
    retired_bytes: Counter,
    reclaimed: Counter,
    reclaimed_bytes: Counter,
}

impl Stripe {
    fn new() -> Self {
        Self {
            count: std::array::from_fn(|_| AtomicU64::new(0)),
            bag: std::array::from_fn(|_| Bag::new()),
            retired: Counter::new(),
            retired_bytes: Counter::new(),
            reclaimed: Counter::new(),
            reclaimed_bytes: Counter::new(),
        }
    }

    /// Counts an access into a session (not yet checked that the session is still open).
    #[inline]
    fn arrive(&self, session: u64) {
        // ORDERING: Relaxed; the SeqCst fence that follows in `Barrier::pin` orders it. Row B1.
        self.count[slot(session)].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an access out of its session.
    #[inline]
    fn depart(&self, session: u64) {
        // ORDERING: Release; pairs with the Acquire in `is_empty`: what the access did happens
        // before its session terminates. Row B1.
        let before =
            self.count[slot(session)].fetch_sub(1, order(Mutant::DepartRelaxed, Ordering::Release));
        debug_assert!(before > 0, "left a session that nobody had entered");
    }

    /// Whether no access is counted in the session.
    fn is_empty(&self, session: u64) -> bool {
        // ORDERING: Acquire; pairs with the Release in `depart`. Row B1.
        self.count[slot(session)].load(order(Mutant::CountRelaxed, Ordering::Acquire)) == 0
    }

    /// Notes retired items, by read-modify-writes; true when it is time for a flush.
    #[inline]
    fn note_retired(&self, items: u64, bytes: u64) -> bool {
        let (items_before, bytes_before) = (self.retired.add(items), self.retired_bytes.add(bytes));
        let is_due = |before: u64, more: u64, each: u64| before % each + more >= each;
        is_due(items_before, items, FLUSH_ITEMS) || is_due(bytes_before, bytes, FLUSH_BYTES)
    }
}

impl Barrier {
    /// A barrier with a stripe for each processor (a power of two of them; 2 in modelled builds).
    #[must_use]
    pub fn new() -> Self {
        const MOST: usize = 256;
        let stripes = if cfg!(any(whimbrel_loom, whimbrel_shuttle)) {
            2
        } else {
            std::thread::available_parallelism().map_or(8, std::num::NonZero::get)
        };
        Self::with_stripes(stripes.min(MOST))
    }

    /// A barrier with at least `stripes` stripes, rounded up to a power of two.
    ///
    /// # Panics
    ///
    /// When `stripes` is above 65,536.
    #[must_use]
    pub fn with_stripes(stripes: usize) -> Self {
        crate::memory::prepare();
        assert!(stripes <= 1 << 16, "{stripes} stripes are more than 65536");
        let stripes = stripes.max(1).next_power_of_two();
        Self {
            current: CachePadded::new(AtomicU64::new(0)),
            terminated: CachePadded::new(AtomicU64::new(0)),
            stripes: (0..stripes).map(|_| CachePadded::new(Stripe::new())).collect(),
            #[cfg(whimbrel_shuttle)]
            turn: Counter::new(),
            #[cfg(whimbrel_loom)]
            step: AtomicU64::new(0),
        }
    }

    /// Enters the current session. The access lasts until the guard is dropped.
    #[must_use]
    #[inline]
    pub fn pin(&self) -> Guard<'_> {
        let stripe = self.my_stripe();
        loop {
            let session = self.open_session();
            self.stripes[stripe].arrive(session);
            self.step();
            if !planted(Mutant::EnterNoFence) {
                // ORDERING: SeqCst fence; pairs with the fence in `try_terminate`. Row B2.
                fence_behind_rmw();
            }
            if planted(Mutant::EnterUnverified) || self.open_session() == session {
                return Guard { barrier: self, stripe, session, not_send: PhantomData };
            }
            if planted(Mutant::LateEntererSilent) {
                self.stripes[stripe].depart(session);
                continue;
            }
            self.leave(stripe, session);
        }
    }

    /// Names the sessions that are open now, for [`Barrier::poll`].
    #[must_use]
    pub fn ticket(&self) -> Ticket {
        self.step();
        if !planted(Mutant::TicketNoFence) {
            // ORDERING: SeqCst fence; pairs with the fence in `pin`: an access of a later session
            // sees everything that was written before the ticket was taken. Row B4.
            fence(Ordering::SeqCst);
        }
        Ticket(self.open_session())
    }

    /// Whether every access that was inside when the ticket was taken has left.
    ///
    /// Closes and terminates what it can, so polling again and again comes to an end. A thread that
    /// holds a guard of a session named by the ticket waits for itself when it polls in a loop.
    #[must_use]
    pub fn poll(&self, ticket: Ticket) -> bool {
        if self.terminated_session() > ticket.0 {
            return true;
        }
        self.try_terminate();
        if self.open_session() <= ticket.0 {
            self.flush();
        }
        self.terminated_session() > ticket.0
    }

    /// Closes the current session where the ring has room, and reclaims what has terminated.
    pub fn flush(&self) {
        let session = self.open_session();
        // a session number that is older than `terminated` fails in the exchange
        let unfinished = (session + 1).saturating_sub(self.terminated_session());
        if planted(Mutant::RingOverrun) || unfinished < RING as u64 {
            // ORDERING: AcqRel; pairs with the Acquire in `open_session`. Row B3.
            let acq_rel = order(Mutant::CloseRelaxed, Ordering::AcqRel);
            let _ = self.current.compare_exchange(session, session + 1, acq_rel, Ordering::Relaxed);
        }
        self.try_terminate();
    }

    /// What the barrier has done so far. Exact when no other thread is inside a call.
    #[must_use]
    pub fn stats(&self) -> BarrierStats {
        let sum = |of: fn(&Stripe) -> &Counter| {
            self.stripes.iter().fold(0_u64, |sum, stripe| sum.wrapping_add(of(stripe).get()))
        };
        BarrierStats {
            reclaimed: sum(|stripe| &stripe.reclaimed),
            reclaimed_bytes: sum(|stripe| &stripe.reclaimed_bytes),
            retired: sum(|stripe| &stripe.retired),
            retired_bytes: sum(|stripe| &stripe.retired_bytes),
            current: self.open_session(),
            terminated: self.terminated_session(),
        }
    }

    /// Whether something was handed over and not reclaimed. A hint, beside others who do either.
    #[must_use]
    pub fn has_unreclaimed(&self) -> bool {
        let stats = self.stats();
        stats.retired != stats.reclaimed
    }

    #[inline]
    fn open_session(&self) -> u64 {
        // ORDERING: Acquire; pairs with the AcqRel in `flush`. Row B3.
        self.current.load(order(Mutant::CurrentLoadRelaxed, Ordering::Acquire))
    }

    /// The oldest session that has not terminated.
    fn terminated_session(&self) -> u64 {
        self.load_terminated() >> 1
    }

    fn load_terminated(&self) -> u64 {
        // ORDERING: Acquire; pairs with the Release in `release_claim`: whoever learns that a
        // session is over also sees what its accesses did. Row B3.
        self.terminated.load(order(Mutant::TerminatedLoadRelaxed, Ordering::Acquire))
    }

    #[inline]
    fn leave(&self, stripe: usize, session: u64) {
        self.stripes[stripe].depart(session);
        self.step();
        if !planted(Mutant::LeaveNoFence) {
            // ORDERING: SeqCst fence; pairs with the fences in `try_terminate`: either this thread
            // sees that its session is closed, or who closes it sees that it left. Row B2.
            fence_behind_rmw();
        }
        if !planted(Mutant::LeaveNoLook) && self.open_session() > session {
            self.try_terminate();
        }
    }

    /// Terminates closed sessions in order, as far as they are empty, and reclaims their items.
    #[cold]
    fn try_terminate(&self) {
        loop {
            self.step();
            if !planted(Mutant::SecondLookNoFence) {
                // ORDERING: SeqCst fence; the second look: what others wrote before they met our
                // claim and went away is seen from here on. Row B2.
                fence(Ordering::SeqCst);
            }
            let word = self.load_terminated();
            let session = word >> 1;
            if word & CLAIMED != 0 || session >= self.open_session() {
                return;
            }
            self.step();
            if !planted(Mutant::CountsNoFence) {
                // ORDERING: SeqCst fence; pairs with the fence in `pin`: an access that found the
                // session open is in the counts read next. Row B2.
                fence(Ordering::SeqCst);
            }
            if !self.nobody_inside(session) {
                return;
            }
            if self.claim(session) {
                self.terminate(session);
            }
            if planted(Mutant::NoSecondLook) {
                return;
            }
        }
    }

    /// Whether no access is inside a closed session. Once true it stays true.
    fn nobody_inside(&self, session: u64) -> bool {
        let counted = if planted(Mutant::OneStripeCounted) { 1 } else { self.stripes.len() };
        planted(Mutant::CountsIgnored)
            || self.stripes[..counted].iter().all(|stripe| stripe.is_empty(session))
    }

    #[must_use]
    fn claim(&self, session: u64) -> bool {
        let word = session << 1;
        // ORDERING: AcqRel; Acquire pairs with `release_claim` of the session before. Row B3.
        let acq_rel = order(Mutant::ClaimRelaxed, Ordering::AcqRel);
        self.terminated.compare_exchange(word, word | CLAIMED, acq_rel, Ordering::Relaxed).is_ok()
    }

    fn release_claim(&self, session: u64) {
        // ORDERING: Release; pairs with the Acquire in `load_terminated`: the slot's bags are empty
        // before the slot is used again. Row B3.
        self.terminated
            .store((session + 1) << 1, order(Mutant::ReleaseClaimRelaxed, Ordering::Release));
    }

    fn terminate(&self, session: u64) {
        if planted(Mutant::BagsAfterRelease) {
            self.release_claim(session);
        }
        let bags: Vec<_> =
            self.stripes.iter().map(|stripe| stripe.bag[slot(session)].take()).collect();
        if !planted(Mutant::BagsAfterRelease) {
            self.release_claim(session);
        }
        for (stripe, bag) in self.stripes.iter().zip(bags) {
            // SAFETY: the session is over: every access of it and of all earlier ones has left.
            let (items, bytes) = unsafe { bag.reclaim() };
            stripe.reclaimed.add(items);
            stripe.reclaimed_bytes.add(bytes);
        }
    }

    #[cfg(whimbrel_loom)]
    fn step(&self) {
        // ORDERING: Relaxed; a scheduling point, nothing else.
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(not(whimbrel_loom))]
    #[inline(always)]
    #[expect(clippy::unused_self, reason = "the modelled build uses it")]
    fn step(&self) {}

    #[cfg(not(any(whimbrel_loom, whimbrel_shuttle)))]
    #[inline]
    fn my_stripe(&self) -> usize {
        crate::sync::thread_number() & (self.stripes.len() - 1)
    }

    /// By the number of the thread. Stripes handed out in turn would be state that loom does not see:
    /// it would take entering by two threads for independent, and skip orders.
    #[cfg(whimbrel_loom)]
    fn my_stripe(&self) -> usize {
        let thread = format!("{:?}", loom::thread::current().id());
        let number = thread.trim_matches(|letter: char| !letter.is_ascii_digit());
        number.parse::<usize>().expect("ThreadId(number)") & (self.stripes.len() - 1)
    }

    #[cfg(all(whimbrel_shuttle, not(whimbrel_loom)))]
    #[expect(clippy::cast_possible_truncation, reason = "a counter of a small test")]
    fn my_stripe(&self) -> usize {
        self.turn.add(1) as usize & (self.stripes.len() - 1)
    }
}

impl Default for Barrier {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Barrier {
    fn drop(&mut self) {
        if cfg!(any(whimbrel_loom, whimbrel_shuttle)) && std::thread::panicking() {
            return;
        }
        for stripe in &self.stripes {
            for bag in &stripe.bag {
                // SAFETY: guards borrow the barrier, so no access is left.
                unsafe { bag.take().reclaim() };
            }
        }
    }
}

impl std::fmt::Debug for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Barrier").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Proof that the thread is inside a session; leaves it on drop.
///
/// Stays on its thread. Memory is not reclaimed while a guard of an older session lives, so hold it
/// for one access only, never across an await or a wait.
#[derive(Debug)]
pub struct Guard<'b> {
    barrier: &'b Barrier,
    stripe: usize,
    session: u64,
    not_send: PhantomData<*mut ()>,
}

impl Guard<'_> {
    /// The barrier whose session this is.
    #[must_use]
    pub fn barrier(&self) -> &Barrier {
        self.barrier
    }

    /// Hands memory to the barrier: `reclaim(ptr)` is called once no access can still see it.
    ///
    /// # Safety
    ///
    /// - `ptr` is unlinked: an access that begins now cannot reach it. It is retired only once.
    /// - `reclaim(ptr)` may be called from any thread, and does not panic.
    #[inline]
    pub unsafe fn retire(&self, ptr: *mut u8, bytes: usize, reclaim: unsafe fn(*mut u8)) {
        // SAFETY: the caller's promise.
        unsafe { self.retire_several(ptr, 1, bytes, reclaim) };
    }

    /// As [`Guard::retire`], for so many pieces that one call of `reclaim` frees together.
    ///
    /// # Safety
    ///
    /// As there, for each of the pieces.
    pub(crate) unsafe fn retire_several(
        &self,
        ptr: *mut u8,
        pieces: usize,
        bytes: usize,
        reclaim: unsafe fn(*mut u8),
    ) {
        let (pieces, bytes) = (pieces as u64, bytes as u64);
        let stripe = &self.barrier.stripes[self.stripe];
        let is_due = stripe.note_retired(pieces, bytes);
        self.barrier.step();
        if !planted(Mutant::RetireNoFence) {
            // ORDERING: SeqCst fence; pairs with the fence in `pin`: an access of a later session
            // than the one read next sees the unlinking. Behind the counting. Row B4.
            fence_behind_rmw();
        }
        let open = self.barrier.open_session();
        let session = if planted(Mutant::RetireOwnSession) { self.session } else { open };
        stripe.bag[slot(session)].push(Item::new(ptr, pieces, bytes, reclaim));
        if is_due {
            self.barrier.flush();
        }
    }
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.barrier.leave(self.stripe, self.session);
    }
}

/// Names the accesses that were inside at one moment; see [`Barrier::ticket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What a barrier has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BarrierStats {
    /// Items handed over by [`Guard::retire`].
    pub retired: u64,
    /// Their bytes.
    pub retired_bytes: u64,
    /// Items given back to the allocator.
    pub reclaimed: u64,
    /// Their bytes.
    pub reclaimed_bytes: u64,
    /// Number of the open session.
    pub current: u64,
    /// Number of the oldest session that has not terminated; all below it have.
    pub terminated: u64,
}
