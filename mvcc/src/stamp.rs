//! The stamp word: when a version appears, decided once and by whoever needs to know first.
//!
//! A word is in one of three states.
//!
//! - `PENDING(f)`: the number is not decided, but it will be at least the floor `f`.
//! - `FINAL(n)`: the version appears at snapshot number `n`. Never changes again.
//! - `INDIRECT(d)`: the version belongs to a batch; the word of descriptor `d` decides. It is
//!   rewritten to `FINAL(n)` once the batch is settled.
//! - `INGESTED(j)`: the version belongs to an ingest; the word of job `j` decides. `BURIED` beside it
//!   says that a newer version lies above. `ingest/mod.rs` has the rules.
//!
//! This is the word of versions that have an allocation of their own; `inline.rs` has that of the others,
//! which the same rules hold for.
//!
//! Invariants.
//!
//! - S1. Every floor and every number is at most the clock.
//! - S2. A word that was `FINAL` stays so; floors only rise.
//! - S3. Below the newest version of a key every word is `FINAL`, or `INGESTED`.
//!
//! `FINAL(VOID)` is the number of a version that no snapshot ever sees: of an ingest that was cancelled,
//! or of a write that came too late to be before an ingest.
//!
//! The rule that makes snapshots wait for nobody (after Wei et al., PPoPP 2021): a write installs
//! its version `PENDING` and takes its number from the clock afterwards; a reader of snapshot `s`
//! that meets a pending version raises its floor to `s + 1`, so the number can never become one
//! that the reader should have seen.

use crate::clock::ClockInner;
use crate::mutant::{Mutant, order, planted};
use crate::sync::atomic::{AtomicU64, Ordering};

const FINAL: u64 = 1 << 63;
const INDIRECT: u64 = 1 << 62;
/// Beside `INDIRECT`: the address is of an ingest's job.
const JOB: u64 = 1 << 61;
/// Beside `JOB`: a newer version lies above.
const BURIED: u64 = 1 << 60;

/// A number that no snapshot has.
pub(crate) const VOID: u64 = (1 << 59) - 1;

/// Who settles; all need a fence, for different reasons (docs/ordering.md, rows V2 and V3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The thread that installed the version, by an exchange.
    Installer,
    /// The owner of a batch, of whose versions others may have installed some.
    Owner,
    /// A thread that met it.
    Helper,
}

/// What a stamp word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// Not decided.
    Pending,
    /// Decided: the number.
    Final(u64),
    /// Decided by the word of the batch descriptor at this address.
    Indirect(u64),
    /// Decided by the word of the ingest's job at this address.
    Ingested(u64),
}

impl Stamp {
    fn of(word: u64) -> Self {
        if word & FINAL != 0 {
            Self::Final(word & !FINAL)
        } else if word & INDIRECT != 0 {
            let address = word & !(INDIRECT | JOB | BURIED);
            if word & JOB == 0 { Self::Indirect(address) } else { Self::Ingested(address) }
        } else {
            Self::Pending
        }
    }
}

/// The atomic word. All its orderings are in here.
pub(crate) struct StampWord(AtomicU64);

impl StampWord {
    pub(crate) fn pending() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn decided(number: u64) -> Self {
        debug_assert!(number < INDIRECT, "snapshot numbers have 62 bits");
        Self(AtomicU64::new(FINAL | number))
    }

    pub(crate) fn indirect(descriptor: u64) -> Self {
        debug_assert!(descriptor != 0 && descriptor < BURIED, "not a descriptor");
        Self(AtomicU64::new(INDIRECT | descriptor))
    }

    pub(crate) fn ingested(job: u64) -> Self {
        debug_assert!(job != 0 && job < BURIED, "not a job");
        Self(AtomicU64::new(INDIRECT | JOB | job))
    }

    /// What the word says now.
    pub(crate) fn load(&self) -> Stamp {
        // ORDERING: Acquire; pairs with the release half of `settle` and `make_direct`: whoever
        // sees a number also sees everything the settling thread had seen, so a read that is
        // ordered after this one cannot go backwards. Row V4.
        Stamp::of(self.0.load(order(Mutant::StampLoadRelaxed, Ordering::Acquire)))
    }

    /// Decides the number, unless that was done; returns it. Idempotent, no loop.
    pub(crate) fn settle(&self, clock: &ClockInner, by: By) -> u64 {
        let number = clock.number_for(by);
        if planted(Mutant::SettleIgnoresFloor) {
            self.0.store(FINAL | number, Ordering::Release);
            return number;
        }
        let (success, failure) = if planted(Mutant::SettleRelaxed) {
            (Ordering::Relaxed, Ordering::Relaxed)
        } else {
            // ORDERING: AcqRel, Acquire on failure; Release pairs with the Acquire in `load`,
            // Acquire with the settling that came first. Row V4.
            (Ordering::AcqRel, Ordering::Acquire)
        };
        match self.0.compare_exchange(0, FINAL | number, success, failure) {
            Ok(_) => number,
            Err(word) => match Stamp::of(word) {
                Stamp::Final(number) => number,
                _ => self.settle_above_floor(number, success),
            },
        }
    }

    /// The slow half of `settle`: a reader raised the floor before.
    fn settle_above_floor(&self, number: u64, ordering: Ordering) -> u64 {
        // ORDERING: as in `settle`. A word that became FINAL meanwhile is larger than any floor.
        self.0.fetch_max(number, ordering);
        self.0.fetch_or(FINAL, ordering) & !FINAL
    }

    /// Makes sure that the number will be at least `floor`; returns it where it was decided.
    ///
    /// Only for words that are not `INDIRECT`.
    pub(crate) fn raise(&self, floor: u64) -> Option<u64> {
        // ORDERING: AcqRel; Acquire as in `load`, Release so that the settling thread, which reads
        // this floor, is ordered after this reader. Row V5.
        let word = self.0.fetch_max(floor, order(Mutant::RaiseRelaxed, Ordering::AcqRel));
        debug_assert!(word & (FINAL | INDIRECT) != INDIRECT, "raised an indirect word");
        (word & FINAL != 0).then_some(word & !FINAL)
    }

    /// Replaces `INDIRECT` by the number of the settled batch. Idempotent.
    pub(crate) fn make_direct(&self, number: u64) {
        // ORDERING: Release; pairs with the Acquire in `load`: hands on what the settling thread
        // had published. Row V6.
        self.0.store(FINAL | number, order(Mutant::MakeDirectRelaxed, Ordering::Release));
    }

    /// Ends a word that nobody else settles: no snapshot sees what it decides about.
    pub(crate) fn settle_void(&self) {
        // ORDERING: as in `settle`.
        self.settle_above_floor(VOID, Ordering::AcqRel);
    }

    /// Decides the number of a version that lies on one of an ingest, which this decides about as well:
    /// a number up to the ingest's, or `VOID` where the ingest has a number already. `ingest` asks what
    /// its word says, and, while that is pending, raises its floor.
    ///
    /// Tries again only when a reader has raised this floor meanwhile: whoever passed the version before it
    /// was decided is not contradicted.
    pub(crate) fn settle_before(
        &self,
        clock: &ClockInner,
        mut ingest: impl FnMut(u64) -> Option<u64>,
    ) -> u64 {
        loop {
            // ORDERING: Acquire; as in `load`, and the clock read next is at least the floor. Row V15.
            let floor = self.0.load(order(Mutant::StampLoadRelaxed, Ordering::Acquire));
            if let Stamp::Final(number) = Stamp::of(floor) {
                return number;
            }
            let number = clock.number_for(By::Helper).max(floor);
            let decided = match ingest(number) {
                Some(taken) if taken != VOID => VOID,
                _ => number,
            };
            // ORDERING: AcqRel, Acquire on failure; Release so that who sees the number sees the ingest's
            // floor as well. Row V15.
            let success = order(Mutant::SettleBeforeRelaxed, Ordering::AcqRel);
            if self.0.compare_exchange(floor, FINAL | decided, success, Ordering::Acquire).is_ok() {
                return decided;
            }
        }
    }

    /// Notes that a newer version lies on this one of an ingest. The number, where the ingest's owner has
    /// written that already.
    pub(crate) fn bury(&self) -> Option<u64> {
        // ORDERING: Acquire; as in `load`.
        let word = self.0.load(Ordering::Acquire);
        if let Stamp::Final(number) = Stamp::of(word) {
            return Some(number);
        }
        debug_assert!(matches!(Stamp::of(word), Stamp::Ingested(_)), "of an ingest");
        // ORDERING: Release; pairs with `make_ingest_direct`: the owner who sees the bit sees what lies
        // above. Acquire on failure: as in `load`. Row V16.
        let release = order(Mutant::BuryRelaxed, Ordering::Release);
        match self.0.compare_exchange(word, word | BURIED, release, Ordering::Acquire) {
            Ok(_) => None,
            // Only the owner changes it, once, and only one version ever lies directly on this one when
            // both have their numbers.
            Err(found) => Some(found & !FINAL),
        }
    }

    /// Replaces `INGESTED` by the number of the ingest; for its owner, once. True: it was buried.
    pub(crate) fn make_ingest_direct(&self, number: u64) -> bool {
        // ORDERING: AcqRel; Release as in `make_direct`, Acquire pairs with `bury`. Row V16.
        let acq_rel = order(Mutant::IngestDirectRelaxed, Ordering::AcqRel);
        let word = self.0.swap(FINAL | number, acq_rel);
        debug_assert!(matches!(Stamp::of(word), Stamp::Ingested(_)), "made direct once");
        word & BURIED != 0
    }
}
