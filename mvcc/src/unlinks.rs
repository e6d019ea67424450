//! Observers of unlinking: a snapshot is given up before it was read to its end, and still read whole.
//!
//! A backup that holds its snapshot while it copies keeps every version that the snapshot sees. A
//! *non-intrusive* one gives the snapshot up at once, walks the store at its number all the same, and is told
//! of each version of that number before the collector takes it away: walk and observer together have
//! everything. The hand-shake is that of Nitro (Lakshman et al., VLDB 2016), which has one collector a
//! writer; here one works on a store at a time, behind the lock of its [`Collection`]:
//!
//! | state | asked | answered |
//! |---|---|---|
//! | INIT | [`Snapshot::observe_unlinks`] asks for the lock | who has the lock speaks for all collectors: none is inside, and every later one finds the observer, because the lock orders it. Only then the snapshot is given up |
//! | ACTIVE | | collectors tell the observer, then unlink |
//! | TERMINATE | [`Observation::finish`] asks for the lock | no collector is inside, hence none is with the observer, and later ones find none: what it was told is complete |
//!
//! # Why walk and observer have everything, and nothing else
//!
//! Let S be the number, and v the version of a key that is visible at S: `born(v) <= S < dead(v)`. There is at
//! most one, and it was there when the snapshot was registered, or a pending one above it was passed
//! (STAMPS rule 6), so no version that comes later is visible at S. Invariants:
//!
//! - U1. v is in its chain, or the observer was told of it. While the registration lasts, v is not
//!   garbage. It ends after INIT is answered, so every collector that may unlink v afterwards knows the
//!   observer, and tells it first.
//! - U2. v is unlinked only as the last of its chain; a tombstone likewise. So there is never a version
//!   below the place where v was, and a reader that misses v finds nothing older instead. What lies below
//!   v is garbage too, or older snapshots see it: then v stays until the observation ends. (Versions carry
//!   no `dead` number; the one above says it, and would say it wrongly for what lies below a gap.)
//! - U3. v is unlinked after the observer has taken it and before it is told of another one of its store.
//!   Where it answers that it has no room, v stays, and it is told again at another time.
//! - U4. What lies above v has a number above S, or will have. Around an ingest that does not follow from the
//!   number of the one directly above: what was written on a running ingest has a lower number than the ingest, and
//!   may be decided, or lead to the number of its batch, after the ingest is done. So before it takes a version
//!   for visible, the collector goes down the chain as a reader of S does: through the words of batches and
//!   ingests, raising the floor above S of what is pending.
//!
//! The walk reads each key as a snapshot does: from the newest version down, past pending ones whose floor it
//! raises above S, to the first with a number of at most S. So with v in the chain it takes v (U4). Otherwise it read the word from which v was taken away (Release and Acquire,
//! row V7), or found the key's record sealed or dropped, which is later still: it comes to the end of the chain
//! (U2) and takes nothing, and the observer was told before (U1, U3). It never takes a version that is not visible
//! at S; the observer is never told of one. A key may come from both, with the same value.
//!
//! # By which ways a version leaves
//!
//! Out of its chain: by `Collector::sweep`, under the lock. It takes inline versions and versions of batches as it
//! takes others. With its key: a value that was removed in place (`removal.rs`); where a store is observed the
//! collector does that, and tells first (`Collector::tell_removed`). The rest takes nothing that a walk could miss: sealing ends
//! a record whose only version is a tombstone; an ingest takes out versions that are void, which nobody sees; `unlink_sealed` (writers, batches and helpers call it too) drops a record that is sealed;
//! `drop_if_empty` seals one that never had a version; `compact` replaces a version by a copy with
//! number and value; a store that is dropped has no observation, which holds a handle.
//!
//! [`Collection`]: crate::collect::Collection

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
// Of `std` in models too: loom's cannot hold a trait object. What is inside is of the shim.
use std::sync::Arc;

use crate::cursor::{Portion, Session};
use crate::mutant::{Mutant, planted};
use crate::registry::visible;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Error, KeyRange, Snapshot, Store};

/// Bit: given up without waiting; the next collector takes it down.
const ENDED: u64 = 1;
/// Bit: the observer wants no more, or panicked.
const LOST: u64 = 2;

/// What an [`UnlinkObserver`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum UnlinkAnswer {
    /// It has the entry, or needs it no more: the version goes.
    Taken,
    /// It has no room now: the version stays as if a snapshot held it, and the observer is told again
    /// later.
    Later,
    /// It cannot go on: it is told no more, and [`Observation::finish`] will fail.
    Lost,
}

/// Is told of versions before they are unlinked; see [`Snapshot::observe_unlinks`].
pub trait UnlinkObserver: Send + Sync {
    /// The key had this value at the observed number, and its version is to be unlinked. Where this answers
    /// [`UnlinkAnswer::Taken`] that happens after it returns and before the next call for the same store, and the
    /// key does not come again. Called by whichever thread collects, one call at a time for a store.
    ///
    /// Runs in a barrier session and under the store's collector lock: it should be short, wait for nothing
    /// ([`UnlinkAnswer::Later`] is for that), and bound its memory. It must not collect, compact or observe
    /// the same store, nor finish an observation of it: these wait for the lock. When it panics it is lost, and the
    /// collector goes on.
    fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer;
}

/// What collectors know of an observation.
pub(crate) struct Observed {
    number: u64,
    observer: Arc<dyn UnlinkObserver>,
    state: AtomicU64,
}

impl Observed {
    /// Whether a version that lives in `[born, dead)` is to be told of.
    pub(crate) fn sees(&self, born: u64, dead: u64) -> bool {
        if planted(Mutant::ObservedByDeathOnly) {
            return self.number < dead;
        }
        visible(born, dead, self.number) && !self.is(LOST)
    }

    /// Whether what has this number is seen, unless it is hidden.
    pub(crate) fn has(&self, number: u64) -> bool {
        number <= self.number
    }

    /// The least number that is not seen.
    pub(crate) fn floor(&self) -> u64 {
        self.number + 1
    }

    /// Whether it was given up.
    pub(crate) fn has_ended(&self) -> bool {
        self.is(ENDED)
    }

    /// Tells the observer. False: the version has to stay. For the collector, under its lock.
    pub(crate) fn tell(&self, key: &[u8], value: &[u8]) -> bool {
        // Loom ends its threads by panics.
        let answer = if cfg!(whimbrel_loom) {
            Ok(self.observer.unlinked(key, value))
        } else {
            catch_unwind(AssertUnwindSafe(|| self.observer.unlinked(key, value)))
        };
        match answer {
            Ok(UnlinkAnswer::Taken) => return true,
            Ok(UnlinkAnswer::Later) => return false,
            Ok(UnlinkAnswer::Lost) => {}
            Err(_) => tracing::error!(self.number, "an observer of unlinking panicked"),
        }
        // ORDERING: Relaxed; the collector's lock orders it for collectors and for `finish`. Row V17.
        self.state.fetch_or(LOST, Ordering::Relaxed);
        true
    }

    fn is(&self, bit: u64) -> bool {
        // ORDERING: Relaxed; as in `tell`; whoever looks without the lock looks again later. Row V17.
        self.state.load(Ordering::Relaxed) & bit != 0
    }
}

impl Snapshot {
    /// Gives this snapshot up, and has the observer told of every version that it sees before that is
    /// unlinked. Waits until a collector that is at work in the store has come to the end of its turn, of 256
    /// entries at most; for nobody else.
    ///
    /// When this returns, the registration is over as far as this snapshot goes (clones keep it): garbage
    /// goes as if the snapshot had been closed. [`Observation::walk`] gives what is still there, the observer has
    /// been told of the rest, and after [`Observation::finish`] the two together are the snapshot.
    ///
    /// # Performance
    ///
    /// Without an observation a collector looks at one field a version. With one, a version of the observed
    /// number stays while older snapshots see an older version of its key.
    ///
    /// # Errors
    ///
    /// [`Error::ObservationActive`]: a store has one at a time. The snapshot is given up all the same; clone
    /// it to keep it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::sync::{Arc, Mutex};
    /// use whimbrel_mvcc::{Clock, Store, UnlinkAnswer, UnlinkObserver};
    ///
    /// #[derive(Default)]
    /// struct Kept(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);
    ///
    /// impl UnlinkObserver for Kept {
    ///     fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer {
    ///         self.0.lock().expect("not poisoned").insert(key.to_vec(), value.to_vec());
    ///         UnlinkAnswer::Taken
    ///     }
    /// }
    ///
    /// let store = Store::new(&Clock::new());
    /// store.put(b"avocet", b"1")?;
    /// store.put(b"knot", b"1")?;
    /// let kept = Arc::new(Kept::default());
    /// let observation = store.snapshot().observe_unlinks(kept.clone())?;
    /// store.put(b"knot", b"2")?;
    /// store.collect();
    ///
    /// let mut walk = observation.walk(..);
    /// let mut walked = BTreeMap::new();
    /// while walk.advance() {
    ///     walked.extend(walk.entries().map(|(key, value)| (key.to_vec(), value.to_vec())));
    /// }
    /// drop(walk);
    /// observation.finish()?;
    /// walked.append(&mut kept.0.lock().expect("not poisoned"));
    /// assert_eq!(walked.len(), 2);
    /// assert_eq!(walked[b"knot".as_slice()], b"1");
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    pub fn observe_unlinks(self, observer: Arc<dyn UnlinkObserver>) -> Result<Observation, Error> {
        let state = AtomicU64::new(0);
        let observed = Arc::new(Observed { number: self.number(), observer, state });
        let store = self.store().clone();
        let mut held = Some(self);
        if planted(Mutant::ObserverNotAwaited) {
            held = None;
        }
        let begun = {
            let collection = &store.inner().collection;
            collection.lock().observe(collection, observed.clone())
        };
        // Answered: every collector that works on the store from now on knows the observer.
        drop(held);
        if begun {
            Ok(Observation { store, observed, is_over: false })
        } else {
            Err(Error::ObservationActive { store: store.number() })
        }
    }
}

/// A snapshot number that is not held any more, whose versions an observer is told of before they are
/// unlinked. See [`Snapshot::observe_unlinks`].
///
/// Send and Sync: several threads may walk ranges of it. Dropping it ends it without waiting: a collector that
/// is at work may tell the observer until the end of its turn, and the observer is dropped after that.
pub struct Observation {
    store: Store,
    observed: Arc<Observed>,
    is_over: bool,
}

impl Observation {
    /// The snapshot number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.observed.number
    }

    /// The store that is observed.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether the observer is lost, by its answer or by a panic, so that [`Observation::finish`] will fail.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.observed.is(LOST)
    }

    /// A walk over what is still there of a range of keys.
    #[must_use]
    pub fn walk(&self, range: impl Into<KeyRange>) -> ObservedWalk<'_> {
        let range = range.into();
        ObservedWalk {
            observation: self,
            from: range.lo.clone(),
            is_at_end: range.is_empty(),
            range,
            portion: Portion::full_size(),
        }
    }

    /// Cuts the store into at most `n` ranges that follow each other, with about equal numbers of
    /// records. See [`Snapshot::split`].
    #[must_use]
    pub fn split(&self, n: usize) -> Vec<KeyRange> {
        self.store.split_range(KeyRange::all(), n)
    }

    /// Ends the observation. Waits until a collector that is at work in the store has come to the end of
    /// its turn; after that the observer is not called any more.
    ///
    /// Everything that the observer was told happened before this returns.
    ///
    /// # Errors
    ///
    /// [`Error::ObserverLost`] when the observer said so, or panicked: walk and observer may lack entries.
    pub fn finish(mut self) -> Result<(), Error> {
        if planted(Mutant::FinishNotAwaited) {
            self.give_up();
        } else {
            let collection = &self.store.inner().collection;
            collection.lock().end_observation(collection);
            self.is_over = true;
            self.store.clock().0.ring();
        }
        if self.is_lost() {
            return Err(Error::ObserverLost { store: self.store.number(), number: self.number() });
        }
        Ok(())
    }

    /// Ends it without waiting.
    fn give_up(&mut self) {
        self.is_over = true;
        // ORDERING: Relaxed; a flag that the next collector finds, or the one after it. Row V17.
        self.observed.state.fetch_or(ENDED, Ordering::Relaxed);
        let clock = &self.store.clock().0;
        self.store.inner().collection.end_given_up();
        // What was kept for it may go: collectors look again where a registration has closed.
        clock.registry.note_closed();
        clock.ring();
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if (cfg!(whimbrel_loom) && std::thread::panicking()) || self.is_over {
            return;
        }
        self.give_up();
    }
}

impl std::fmt::Debug for Observation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observation")
            .field("store", &self.store.number())
            .field("number", &self.number())
            .field("is_lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}

/// A walk over an observed number, ascending, in portions of up to 256 entries and 256 KiB.
///
/// Each portion is copied in one short barrier session; between two steps there is none. A portion has
/// every entry of its part of the range that the observer was not told of before its step began, and none that is
/// not of the observed number.
#[derive(Debug)]
pub struct ObservedWalk<'o> {
    observation: &'o Observation,
    range: KeyRange,
    /// Where the next portion begins.
    from: Bound<Vec<u8>>,
    is_at_end: bool,
    portion: Portion,
}

impl ObservedWalk<'_> {
    /// Copies the next portion, which may have no entries. False at the end of the range.
    ///
    /// # Complexity
    ///
    /// O(log n) and O(1) a record.
    pub fn advance(&mut self) -> bool {
        self.portion.clear();
        if self.is_at_end {
            return false;
        }
        let Self { observation, range, from, portion, .. } = self;
        let number = observation.number();
        let last = observation
            .store
            .access(|access| Session { access, number, range, reverse: false, portion }.run(from));
        match last {
            Some(key) => self.from = Bound::Excluded(key),
            None => self.is_at_end = true,
        }
        true
    }

    /// The entries of the portion, ascending.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.portion.entries()
    }

    /// The upper end of what was walked: all of the range up to it was looked at. At first that is
    /// the lower end of the range, as an upper end.
    #[must_use]
    pub fn reached(&self) -> Bound<&[u8]> {
        match (&self.from, self.is_at_end) {
            (_, true) => self.range.hi(),
            (Bound::Excluded(key), _) => Bound::Included(key),
            (Bound::Included(key), _) => Bound::Excluded(key),
            // Nothing is below the empty key.
            (Bound::Unbounded, _) => Bound::Excluded(&[]),
        }
    }
}
