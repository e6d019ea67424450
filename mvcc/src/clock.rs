//! The clock: snapshot number, access barrier and registry of open snapshots, shared by stores.

use crossbeam_utils::CachePadded;
use whimbrel_skiplist::{Barrier, Guard};

use crate::bell::Bell;
use crate::ingest::Running;
use crate::mutant::{Mutant, order, planted};
use crate::registry::{Registry, Slot};
use crate::stamp::By;
use crate::stores::Stores;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering, fence};
use crate::sync::{Counter, fence_behind_rmw};
use crate::watch::{ClockOptions, Watch, nanos};

/// One order of time for any number of stores: a snapshot number, an access barrier, and the
/// registry of open snapshots.
///
/// Clones are handles to the same clock. All methods may be called from any thread; none waits.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Store};
///
/// let clock = Clock::new();
/// let (birds, places) = (Store::new(&clock), Store::new(&clock));
/// birds.put(b"whimbrel", b"1")?;
/// let hold = clock.hold();
/// places.put(b"Lewes", b"2")?;
/// // One number covers both stores.
/// assert_eq!(birds.snapshot_at(&hold).get(b"whimbrel"), Some(b"1".to_vec()));
/// assert_eq!(places.snapshot_at(&hold).get(b"Lewes"), None);
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
#[derive(Clone)]
pub struct Clock(pub(crate) Arc<ClockInner>);

pub(crate) struct ClockInner {
    time: CachePadded<Time>,
    pub(crate) registry: Registry,
    barrier: Arc<Barrier>,
    store_numbers: Counter,
    pub(crate) stores: Stores,
    pub(crate) ingests: Running,
    pub(crate) bell: Bell,
    pub(crate) watch: Watch,
    /// Modelled builds: loom schedules no thread at a fence, so each fence touches this word first.
    #[cfg(whimbrel_loom)]
    step: AtomicU64,
}

/// Read by every write.
struct Time {
    /// Moved by snapshots only.
    now: AtomicU64,
    /// Every snapshot that is open now, or later, has at least this number. Raised by collectors.
    oldest: AtomicU64,
}

/// The first number.
const FIRST: u64 = 1;

impl Clock {
    /// A clock of its own, at number 1, with default options.
    #[must_use]
    pub fn new() -> Self {
        Self::with_options(ClockOptions::default())
    }

    /// A clock of its own, at number 1.
    #[must_use]
    pub fn with_options(options: ClockOptions) -> Self {
        Self(Arc::new(ClockInner {
            time: CachePadded::new(Time {
                now: AtomicU64::new(FIRST),
                oldest: AtomicU64::new(FIRST),
            }),
            registry: Registry::new(),
            barrier: Arc::new(Barrier::new()),
            store_numbers: Counter::new(),
            stores: Stores::new(),
            ingests: Running::default(),
            bell: Bell::new(),
            watch: options.into_watch(),
            #[cfg(whimbrel_loom)]
            step: AtomicU64::new(0),
        }))
    }

    /// Enters the barrier: nothing that is reachable now is reclaimed before the guard is dropped.
    ///
    /// Operations of a store pin by themselves; this is for gates, which must read their word inside
    /// a session. Never hold a guard across a wait.
    #[must_use]
    #[inline]
    pub fn pin(&self) -> Guard<'_> {
        self.0.barrier.pin()
    }

    /// The access barrier of all stores of this clock.
    #[must_use]
    pub fn barrier(&self) -> &Arc<Barrier> {
        &self.0.barrier
    }

    /// The number that a write settled now would get. Moves when a snapshot is taken.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.0.now()
    }

    /// Registers a snapshot number over all stores of this clock: sees every write that returned
    /// before the call, of every store.
    ///
    /// # Complexity
    ///
    /// O(1), wait-free but for the search of a free slot among those of the open holds.
    #[must_use]
    pub fn hold(&self) -> Hold {
        self.hold_named("")
    }

    /// A hold that is named in [`Clock::stats`], and in the warning about those that are open for long.
    ///
    /// The first 32 bytes of the name are kept, up to a zero.
    #[must_use]
    pub fn hold_named(&self, name: &str) -> Hold {
        let (slot, number) = self.0.register(name);
        let slot = std::ptr::from_ref(slot);
        Hold(Arc::new(HoldInner { clock: self.clone(), slot, number }))
    }

    /// Registrations open now (a hold and its clones and snapshots count once).
    #[must_use]
    pub fn open_holds(&self) -> usize {
        self.0.registry.open()
    }

    pub(crate) fn is(&self, other: &Clock) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn next_store_number(&self) -> u64 {
        self.0.store_numbers.add(1)
    }
}

impl ClockInner {
    pub(crate) fn now(&self) -> u64 {
        // ORDERING: Relaxed; the fences of the callers order it against heads and slots. A thread
        // never sees the clock go back. Row V1.
        self.time.now.load(Ordering::Relaxed)
    }

    /// A number that no snapshot which is open now, or later, is below.
    ///
    /// It may be as of long ago, and stays true. Where it was raised because snapshots closed, everything that
    /// they read happened before.
    #[inline]
    pub(crate) fn oldest(&self) -> u64 {
        // ORDERING: Acquire; pairs with the Release in `raise_oldest`. Row V18.
        self.time.oldest.load(order(Mutant::OldestLoadRelaxed, Ordering::Acquire))
    }

    /// For who has looked at the registry (`View::refresh`).
    pub(crate) fn raise_oldest(&self, number: u64) {
        // ORDERING: Relaxed; only avoids a useless maximum. Row V18.
        if self.time.oldest.load(Ordering::Relaxed) < number {
            // ORDERING: Release; pairs with the Acquire in `oldest`: hands on that the snapshots that
            // were open below have closed, which the look has acquired (V9). Row V18.
            let release = order(Mutant::OldestRaiseRelaxed, Ordering::Release);
            self.time.oldest.fetch_max(number, release);
        }
    }

    pub(crate) fn barrier(&self) -> &Barrier {
        &self.barrier
    }

    /// The number for a write whose version this thread installed or saw installed.
    #[inline]
    pub(crate) fn number_for(&self, by: By) -> u64 {
        let skipped = match by {
            By::Installer | By::Owner => planted(Mutant::NoOwnerFence),
            By::Helper => planted(Mutant::NoHelperFence),
        };
        if !skipped {
            self.step();
            // ORDERING: SeqCst fence; store buffering against F2 in `register`: either this read of
            // the clock sees the snapshot's move, or the snapshot's readers see the head that was
            // installed (or seen) before this fence. Rows V2 (owner), V3 (helper).
            match by {
                // What installed the head was a read-modify-write of this thread.
                By::Installer => fence_behind_rmw(),
                By::Owner | By::Helper => fence(Ordering::SeqCst),
            }
        }
        self.now()
    }

    /// The fence between a collector's read of the clock and its scan of the slots.
    pub(crate) fn fence_scan(&self) {
        self.step();
        // ORDERING: SeqCst fence; pairs with F1 in `register`. Row V8.
        fence(Ordering::SeqCst);
    }

    /// The fence between turning a capture on and whatever names the sessions open now.
    pub(crate) fn fence_capture(&self) {
        self.step();
        // ORDERING: SeqCst fence; pairs with the fence in `Barrier::pin`: an operation that enters
        // a session after the ticket taken next sees the capture. Row V12.
        fence(Ordering::SeqCst);
    }

    /// Registers first, takes a number after: the order on which collection relies.
    fn register(&self, name: &str) -> (&Slot, u64) {
        let late = planted(Mutant::RegisteredLate);
        let opened = nanos(self.watch.now());
        let slot = (!late).then(|| self.registry.register(self.now()));
        if !planted(Mutant::NoRegistrationFence) {
            self.step();
            // ORDERING: SeqCst fence F1; pairs with `fence_scan`: either the collector sees the slot,
            // or the clock read next is at least the collector's. Row V8.
            fence(Ordering::SeqCst);
        }
        let number = self.move_clock();
        if !planted(Mutant::NoSnapshotFence) {
            self.step();
            // ORDERING: SeqCst fence F2; pairs with `number_for`. Covers all reads that follow, and
            // those of threads that the snapshot is handed to. Rows V2, V3.
            fence(Ordering::SeqCst);
        }
        let (slot, details) = slot.unwrap_or_else(|| self.registry.register(self.now()));
        details.set(opened, name);
        slot.decide(number);
        (slot, number)
    }

    /// Moves the clock from s to s + 1, or lets another snapshot do so, and returns s.
    fn move_clock(&self) -> u64 {
        let number = self.now();
        if planted(Mutant::ClockNotMoved) {
            return number;
        }
        // ORDERING: Relaxed; the fences on both sides order it. Row V1. A failed exchange means that
        // another snapshot with this number moved it: the number is the same, whatever it saw.
        let moved = self.time.now.compare_exchange(
            number,
            number + 1,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        match moved {
            Err(seen) if planted(Mutant::FailedMoveTakesSeen) => seen,
            _ => number,
        }
    }

    #[cfg(whimbrel_loom)]
    pub(crate) fn step(&self) {
        // ORDERING: Relaxed; a scheduling point, nothing else.
        self.step.fetch_add(1, Ordering::Relaxed);
    }

    #[cfg(not(whimbrel_loom))]
    #[expect(clippy::unused_self, reason = "the modelled build uses it")]
    pub(crate) fn step(&self) {}
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ClockInner {
    fn drop(&mut self) {
        if cfg!(whimbrel_loom) && std::thread::panicking() {
            return;
        }
        // Stores are retired through the barrier and hold it by their lists: a store in one of its
        // bags would keep it for ever. No guard is left, so this empties all bags.
        const SESSIONS: usize = 8;
        for _ in 0..SESSIONS {
            self.barrier.flush();
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock")
            .field("now", &self.now())
            .field("open_holds", &self.open_holds())
            .finish_non_exhaustive()
    }
}

/// A registered snapshot number: what it sees, in any store of its clock, stays as long as the hold
/// or a clone of it lives.
///
/// Clones share the registration. Holding one costs memory only: the versions that it alone sees.
#[derive(Clone)]
pub struct Hold(Arc<HoldInner>);

struct HoldInner {
    clock: Clock,
    /// A slot of the clock's registry; valid because `clock` keeps it.
    slot: *const Slot,
    number: u64,
}

impl Hold {
    /// The snapshot number: every version with a number up to it is seen.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// The clock of this hold.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

// SAFETY: the slot is an atomic inside the registry that `clock` keeps alive; the rest is Send.
unsafe impl Send for HoldInner {}
// SAFETY: as for Send; there is no interior mutability but the atomic slot.
unsafe impl Sync for HoldInner {}

impl Drop for HoldInner {
    fn drop(&mut self) {
        // SAFETY: slots live as long as the registry, which `self.clock` keeps alive.
        let slot = unsafe { &*self.slot };
        slot.close();
        self.clock.0.registry.note_closed();
        self.clock.0.ring();
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("number", &self.number()).finish_non_exhaustive()
    }
}
