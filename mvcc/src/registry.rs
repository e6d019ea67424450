//! The registry of open snapshot numbers, and the collector's view of it.
//!
//! A slot is `FREE`, `UNDECIDED(L)` (a snapshot with a number of at least `L` is being taken) or
//! `EXACT(s)`. Slots lie in a chain of chunks that only grows; a slot belongs to one registration
//! until it is closed, and clones share it by reference count.
//!
//! Why a scan misses no snapshot that matters (`ClockInner::register`, `Collector::judge`): a
//! registration writes its slot, fences, then reads the clock; a scan reads the clock, fences, then
//! reads the slots. Where
//! the scan misses the slot, the registration reads a clock at least as high as the scan did, and
//! such a snapshot sees none of the versions that the scan condemns.

use crate::clock::ClockInner;
use crate::mutant::{Mutant, order, planted};
use crate::sync::Counter;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

/// Slots per chunk: few enough to scan at a glance, small in models.
const SLOTS: usize = if cfg!(whimbrel_loom) { 2 } else { 32 };

const FREE: u64 = 0;
const EXACT: u64 = 1 << 63;
const UNDECIDED: u64 = 1 << 62;

/// One registration.
pub(crate) struct Slot(AtomicU64);

impl Slot {
    fn claim(&self, least: u64) -> bool {
        // ORDERING: Relaxed load; only avoids a useless exchange. AcqRel exchange; Acquire pairs
        // with `close` of the registration before. What orders the registration against a scan is
        // the fence F1 after it. Row V8.
        let acq_rel = order(Mutant::SlotClaimRelaxed, Ordering::AcqRel);
        let taken = UNDECIDED | least;
        self.0.load(Ordering::Relaxed) == FREE
            && self.0.compare_exchange(FREE, taken, acq_rel, Ordering::Relaxed).is_ok()
    }

    /// `UNDECIDED` becomes `EXACT(number)`.
    pub(crate) fn decide(&self, number: u64) {
        // ORDERING: Release; a scan that reads it (Acquire) is after the clock was moved. Row V8.
        self.0.store(EXACT | number, order(Mutant::SlotDecideRelaxed, Ordering::Release));
    }

    /// The registration ends.
    pub(crate) fn close(&self) {
        // ORDERING: Release; pairs with the Acquire of a scan: every read of the snapshot happens
        // before the collection of what only it could see. Row V9.
        self.0.store(FREE, order(Mutant::SlotCloseRelaxed, Ordering::Release));
    }

    /// The registration, if it has a number and has it still when the details were read.
    fn read(&self, details: &Details) -> Option<Registered> {
        let word = self.look();
        if word & EXACT == 0 {
            return None;
        }
        let registered = Registered {
            number: word & !EXACT,
            opened: details.opened.get(),
            name: details.name(),
        };
        // ORDERING: Acquire fence; pairs with F1 of a registration that has claimed the slot since and
        // written what was read above: then the word read next is no longer the first. Row V8.
        fence(Ordering::Acquire);
        (self.look() == word).then_some(registered)
    }

    fn look(&self) -> u64 {
        // ORDERING: Acquire; pairs with `close` and `decide`. Row V9.
        self.0.load(order(Mutant::SlotLookRelaxed, Ordering::Acquire))
    }
}

/// Bytes of a name that are kept.
pub(crate) const NAME_BYTES: usize = 32;

/// What is known of a registration besides its number. Figures: written before the number is, read like a
/// sequence lock that the slot's word is the sequence of, since a slot never has a number twice.
#[derive(Default)]
pub(crate) struct Details {
    opened: Counter,
    name: [Counter; NAME_BYTES / 8],
}

impl Details {
    /// For who has claimed the slot and fenced since.
    pub(crate) fn set(&self, opened: u64, name: &str) {
        self.opened.set(opened);
        let mut bytes = [0; NAME_BYTES];
        let kept = name.floor_char_boundary(NAME_BYTES);
        bytes[..kept].copy_from_slice(&name.as_bytes()[..kept]);
        for (word, bytes) in self.name.iter().zip(bytes.as_chunks().0) {
            word.set(u64::from_le_bytes(*bytes));
        }
    }

    fn name(&self) -> String {
        let bytes: Vec<u8> = self.name.iter().flat_map(|word| word.get().to_le_bytes()).collect();
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// An open registration.
pub(crate) struct Registered {
    pub(crate) number: u64,
    /// In nanoseconds of the clock's time.
    pub(crate) opened: u64,
    pub(crate) name: String,
}

struct Chunk {
    slots: [Slot; SLOTS],
    /// Beside the slots, so that a scan of those reads no more than them.
    details: [Details; SLOTS],
    next: AtomicPtr<Chunk>,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

impl Chunk {
    fn new() -> Self {
        Self {
            slots: std::array::from_fn(|_| Slot(AtomicU64::new(FREE))),
            details: std::array::from_fn(|_| Details::default()),
            next: AtomicPtr::new(std::ptr::null_mut()),
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        }
    }

    /// The chunk after this one. Chunks live as long as the registry.
    fn next(&self) -> Option<&Chunk> {
        // ORDERING: Acquire; pairs with the Release in `grow`: publishes the chunk. Row V10.
        let next = self.next.load(order(Mutant::ChunkLoadRelaxed, Ordering::Acquire));
        // SAFETY: only `grow` writes the pointer, from a box that is freed when the registry drops,
        // and `&self` borrows from the registry.
        let next = unsafe { next.as_ref() };
        #[cfg(whimbrel_loom)]
        next.inspect(|next| next.canary.touch());
        next
    }

    /// Appends a chunk unless somebody else did.
    fn grow(&self) {
        let fresh = Box::into_raw(Box::new(Chunk::new()));
        // ORDERING: Release; publishes the chunk to `next`. Row V10.
        let release = order(Mutant::ChunkGrowRelaxed, Ordering::Release);
        let null = std::ptr::null_mut();
        if self.next.compare_exchange(null, fresh, release, Ordering::Relaxed).is_err() {
            // SAFETY: `fresh` comes from the box above and was not published.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

/// All registrations of one clock.
pub(crate) struct Registry {
    first: Chunk,
    /// Registrations closed so far; a collector whose view has another count looks again.
    closed: AtomicU64,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { first: Chunk::new(), closed: AtomicU64::new(0) }
    }

    /// Claims a slot as `UNDECIDED(least)`.
    pub(crate) fn register(&self, least: u64) -> (&Slot, &Details) {
        let mut chunk = &self.first;
        loop {
            if let Some(at) = chunk.slots.iter().position(|slot| slot.claim(least)) {
                return (&chunk.slots[at], &chunk.details[at]);
            }
            chunk = match chunk.next() {
                Some(next) => next,
                None => {
                    chunk.grow();
                    continue;
                }
            };
        }
    }

    /// Notes that a slot was closed, after it was.
    pub(crate) fn note_closed(&self) {
        // ORDERING: Release; pairs with the Acquire in `closed`: who sees the count sees the slot
        // free. Row V9.
        self.closed.fetch_add(1, order(Mutant::SlotCloseRelaxed, Ordering::Release));
    }

    pub(crate) fn closed(&self) -> u64 {
        // ORDERING: Acquire; pairs with `note_closed`. Row V9.
        self.closed.load(order(Mutant::SlotLookRelaxed, Ordering::Acquire))
    }

    fn each(&self, mut f: impl FnMut(u64)) {
        let mut chunk = Some(&self.first);
        while let Some(here) = chunk {
            here.slots.iter().for_each(|slot| f(slot.look()));
            chunk = here.next();
        }
    }

    /// The open registrations with a number. Not of one moment.
    pub(crate) fn list(&self) -> Vec<Registered> {
        let (mut list, mut chunk) = (Vec::new(), Some(&self.first));
        while let Some(here) = chunk {
            let slots = here.slots.iter().zip(&here.details);
            list.extend(slots.filter_map(|(slot, details)| slot.read(details)));
            chunk = here.next();
        }
        list.sort_unstable_by_key(|registered| registered.number);
        list
    }

    /// Registrations open now.
    pub(crate) fn open(&self) -> usize {
        let mut open = 0;
        self.each(|word| open += usize::from(word != FREE));
        open
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // ORDERING: Relaxed; `&mut self`: no other thread is left.
        let mut next = self.first.next.load(Ordering::Relaxed);
        while !next.is_null() {
            // SAFETY: `grow` made it from a box, and every chunk is in the chain once.
            let chunk = unsafe { Box::from_raw(next) };
            // ORDERING: as above.
            next = chunk.next.load(Ordering::Relaxed);
        }
    }
}

/// `visible(s)`: a version that lives in `[born, dead)` is what snapshot `s` sees of its key.
pub(crate) fn visible(born: u64, dead: u64, snapshot: u64) -> bool {
    born <= snapshot && snapshot < dead
}

/// Which snapshots were open, as of one clock value.
///
/// Stays true for what was superseded at or before `clock`, however old the view is: snapshots
/// taken later have numbers of at least `clock`, and a snapshot closed since makes it cautious only.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// Clock before the scan; 0: nothing was scanned yet.
    pub(crate) clock: u64,
    /// Count of closed registrations before the scan.
    pub(crate) closed: u64,
    /// Exact numbers, ascending.
    exact: Vec<u64>,
    /// Least bound of a snapshot that is being taken.
    undecided: Option<u64>,
}

impl View {
    /// Scans the registry anew.
    pub(crate) fn refresh(&mut self, clock: &ClockInner) {
        self.closed = clock.registry.closed();
        let before = clock.now();
        if !planted(Mutant::NoCollectorFence) {
            clock.fence_scan();
        }
        self.exact.clear();
        self.undecided = None;
        clock.registry.each(|word| self.note(word));
        self.exact.sort_unstable();
        self.exact.dedup();
        self.clock = if planted(Mutant::ClockReadAfterScan) { clock.now() } else { before };
        clock.raise_oldest(self.oldest());
    }

    /// What no snapshot that was open, or is taken later, has a number below.
    fn oldest(&self) -> u64 {
        let open = self.exact.first().copied().into_iter().chain(self.undecided);
        open.fold(self.clock, u64::min)
    }

    fn note(&mut self, word: u64) {
        if word & EXACT != 0 {
            self.exact.push(word & !EXACT);
        } else if word & UNDECIDED != 0 && !planted(Mutant::UndecidedIgnored) {
            let least = word & !UNDECIDED;
            self.undecided = Some(self.undecided.map_or(least, |least_yet| least_yet.min(least)));
        }
    }

    /// The newest open snapshot that sees a version living in `[born, dead)`.
    pub(crate) fn newest_seeing(&self, born: u64, dead: u64) -> Option<u64> {
        let below = self.exact.partition_point(|s| *s < dead);
        let newest = *self.exact[..below].last()?;
        visible(born, dead, newest).then_some(newest)
    }

    /// Whether a snapshot that is being taken might get a number below `number`.
    pub(crate) fn may_come_below(&self, number: u64) -> bool {
        self.undecided.is_some_and(|least| least < number)
    }

    /// Whether a snapshot of this number was open.
    pub(crate) fn is_open(&self, snapshot: u64) -> bool {
        self.exact.binary_search(&snapshot).is_ok()
    }
}
