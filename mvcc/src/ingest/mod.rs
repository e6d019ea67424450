//! Ingest: any number of writes, of several threads and stores, that become visible at one moment.
//!
//! Like those of a batch, the versions of an ingest share one stamp word, in its *job*, and each version's
//! own word leads to it until the owner has written the number into it. Unlike a batch it may be of any
//! size, so nobody helps it: whoever meets a version of a running ingest passes it by, and waits for
//! nothing.
//!
//! - **Snapshot readers** raise the job's floor above their number and go on to the version below.
//! - **Latest readers** raise it to the clock and go on. Before they return the value of an ingest that has
//!   its number they look at the cell once more (rule I2).
//! - **Writers** install on top of the version, decide by what lies below it, and win over it.
//! - **Batches** do the same. One with a precondition first writes what is there once more (`touch`), since
//!   its own number comes when its last version is in place, too late to promise that the ingest had none.
//!
//! So below a newest version there may be versions of one running ingest. A reader takes the first version
//! from the top whose number its snapshot has, whatever the numbers below are: a write of number 5 on a version
//! of an ingest that gets number 7 hides that from everybody, and one of number 9 hides it from 9 on.
//!
//! Rules.
//!
//! - I1. *A write on a running ingest is before it, or is not.* The write decided by what lies below the
//!   ingest's version, so it must get its number before the ingest does. Whoever gives it a number (its
//!   writer, the next writer, a latest reader) raises the job's floor to that number first and then
//!   exchanges the write's word from exactly the floor that it had read (`StampWord::settle_before`). Where the job
//!   had its number already the write becomes void, and its writer begins again. That is a conditional
//!   exchange of two words (RDCSS: Harris, Fraser and Pratt, DISC 2002): while the write has no number, all
//!   who must know help, and snapshot readers, who do not, change the floor. Batches without precondition
//!   on the key may come on either side, and are settled as ever; the latest reader who saw the ingest's value
//!   below such a version raises that one's floor to the ingest's number.
//! - I2. *The value of an ingest is returned by a latest read only if it was the newest when the ingest got
//!   its number.* A write may have come on top between the look at the cell and the look at the job. Where the
//!   cell is unchanged afterwards none did.
//! - I3. *A version is filed in the dead list once.* Who installs on a version of an ingest notes that in its
//!   word (`BURIED`), after its own number is decided; the owner takes the note when it writes the number. Whichever
//!   comes second files the version.
//! - I4. *One ingest a store.* Two would need an order of their own where they overlap.
//!
//! Invariants.
//!
//! - J1. An `INGESTED(j)` word was loaded from a version only before `j` was retired: nobody but the owner
//!   installs such versions and takes the word away, and it does that to all of them, wherever in their
//!   chains they lie, before it retires `j`.
//! - J2. A version whose word is `INGESTED` is in its chain, and its record is neither sealed nor
//!   moved: it has no entry in the dead list, is no garbage (its number is not known), and no record moves or
//!   ends whose chain has an undecided or a second version. So the owner may keep the addresses of both
//!   without a session.
//! - J3. A void version has no number as far as collectors and compaction are concerned, so nothing is taken
//!   for superseded by it. A void write is taken out of the cell again, by whoever meets it; nobody installs
//!   on top of it. The versions of a cancelled ingest are taken out by its owner, under the lock of collectors; where
//!   somebody installed on one before that, the one who came second files it.
//!
//! Where the store has no key between two of its entries, entries go into the list as whole blocks, which is one
//! decision about one block for hundreds of them; see `part.rs`.
//!
//! What it costs: a version of its own for each entry (24 bytes more than an inline one, until
//! [`crate::Store::compact`]), and 16 bytes an entry while the ingest runs.

mod finish;
mod job;
mod meet;
mod part;
mod written;

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

pub(crate) use job::{Job, Running};
pub use part::IngestPart;

use crate::mutant::{Mutant, planted};
use crate::stamp::By;
use crate::store::Store;
use crate::{Clock, Error, Hold, KeyRange};
use part::Gathered;

/// Who wins on a key that is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IngestMode {
    /// The ingest wins over what was there when it began; a write that arrives while it runs wins over it.
    #[default]
    Over,
    /// The ingest loses to whatever is there, a removal included that came after it began. (A removal that
    /// came before counts while its tombstone is there; see [`IngestOptions::with_base`].)
    Behind,
}

/// How an [`Ingest`] works. Builder.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    mode: IngestMode,
    base: Option<Hold>,
    unwritten: Option<(KeyRange, Hold)>,
}

impl IngestOptions {
    /// The defaults: over what was there when it began, whoever wrote it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who wins on a key that is there. Default: [`IngestMode::Over`].
    #[must_use]
    pub fn with_mode(mut self, mode: IngestMode) -> Self {
        self.mode = mode;
        self
    }

    /// What counts as there when it began: what this hold sees. Default: a hold of its own, taken by
    /// [`Ingest::begin`]. With an earlier one, writes and removals since then win as well; removals since
    /// then are all still known, because the hold keeps their tombstones. Price: what the hold keeps.
    #[must_use]
    pub fn with_base(mut self, base: &Hold) -> Self {
        self.base = Some(base.clone());
        self
    }

    /// The ingest fails, as a whole, if a key of the range was written or removed since that hold was taken,
    /// in any of its stores. Default: no such condition.
    ///
    /// Checked by [`Ingest::commit`], at a snapshot that is taken when all entries are in place and just before the
    /// ingest gets its number. A write that comes after that snapshot is no conflict: it is ordered after the
    /// ingest, or, on a key of the ingest, wins over it as ever. Price: a walk through the range.
    #[must_use]
    pub fn with_unwritten(mut self, range: impl Into<KeyRange>, since: &Hold) -> Self {
        self.unwritten = Some((range.into(), since.clone()));
        self
    }
}

/// What an ingest did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IngestReport {
    /// Its number: snapshots with at least this number see all of it, others nothing.
    pub number: u64,
    /// Entries that it wrote.
    pub written: u64,
    /// Entries that were there already, removals of absent keys among them: nothing was changed for them.
    pub same: u64,
    /// Entries that lost: to what was written since it began, or to anything with [`IngestMode::Behind`].
    /// Those that lost after they were in place are counted as written too.
    pub lost: u64,
}

/// Writes of any number that become visible at one moment, beside running readers and writers, who wait for
/// nothing.
///
/// Threads take parts ([`Ingest::part`]) and put entries; nobody sees them. [`Ingest::commit`] makes all of them
/// visible in one step: every snapshot sees all or nothing, and so do reads of the latest values, in the sense
/// that whoever has read one entry finds the others. A write of a key that arrives while the
/// ingest runs wins over it; the others are as if it had come in at the moment of the commit. A batch with a
/// precondition ([`crate::Batch::expect`]) counts as such a write of its first key from when it
/// begins. Dropped without commit it leaves nothing.
///
/// Entries that are there already are skipped, so the same ingest again changes nothing as long as nobody
/// has written its keys since. Nothing of it is kept besides: whoever must recognise a job that was done
/// before, and written over since, puts a record of it among its entries, which appears together with them.
///
/// # Memory
///
/// Every entry takes the memory of a version beside its key at once, and 16 bytes more until the commit has
/// returned. Versions that it supersedes go to the collectors then.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Ingest, IngestOptions, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"knot", b"old")?;
///
/// let ingest = Ingest::begin(&[&store], IngestOptions::new())?;
/// let mut part = ingest.part(&store)?;
/// part.put(b"avocet", b"1")?;
/// part.put(b"curlew", b"2")?;
/// part.put(b"knot", b"3")?;
/// drop(part);
/// store.put(b"curlew", b"mine")?;
/// assert_eq!(store.get(b"knot"), Some(b"old".to_vec()), "nothing is visible yet");
///
/// let report = ingest.commit()?;
/// assert_eq!((report.written, report.lost), (3, 1));
/// assert_eq!(store.get(b"knot"), Some(b"3".to_vec()));
/// assert_eq!(store.get(b"curlew"), Some(b"mine".to_vec()), "it arrived meanwhile");
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
pub struct Ingest {
    clock: Clock,
    /// Reserved for this ingest (rule I4), in the order in which they were given.
    stores: Vec<Store>,
    /// Where a store is among them, by its number.
    places: HashMap<u64, usize>,
    options: IngestOptions,
    /// What was there when it began; keeps the tombstones of what was removed since. None once decided.
    began: Option<Hold>,
    /// From a box; retired by the owner at the end (invariant J1).
    job: NonNull<Job>,
    gathered: Mutex<Vec<Gathered>>,
    /// What was wrong with an entry that was put in place after its part had been told of it.
    failed: Mutex<Option<Error>>,
    /// Its number, from the decision until its versions are about to get it.
    decided: Option<u64>,
    /// No version leads to the job any more.
    finished: bool,
}

// SAFETY: the job is an atomic behind a pointer that this value alone frees; the rest is Send.
unsafe impl Send for Ingest {}
// SAFETY: as for Send; what changes through `&self` is behind a lock.
unsafe impl Sync for Ingest {}

impl Ingest {
    /// Begins an ingest into stores of one clock. What they hold now is what "was there when it began".
    ///
    /// # Complexity
    ///
    /// O(1).
    ///
    /// # Errors
    ///
    /// [`Error::IngestActive`] when another ingest into one of the stores is running or the store is named
    /// twice, [`Error::ForeignClock`] when stores or holds are of different clocks.
    ///
    /// # Panics
    ///
    /// When no store is given.
    pub fn begin(stores: &[&Store], options: IngestOptions) -> Result<Self, Error> {
        let clock = stores.first().expect("an ingest has a store").clock().clone();
        let holds = options.base.iter().chain(options.unwritten.iter().map(|(_, since)| since));
        if stores.iter().any(|store| !store.clock().is(&clock))
            || holds.into_iter().any(|hold| !hold.clock().is(&clock))
        {
            return Err(Error::ForeignClock);
        }
        let mut reserved = Vec::with_capacity(stores.len());
        for store in stores {
            if !clock.0.ingests.reserve(store.number()) {
                reserved.iter().for_each(|store: &Store| clock.0.ingests.release(store.number()));
                return Err(Error::IngestActive { store: store.number() });
            }
            reserved.push((*store).clone());
        }
        let began = options.base.clone().unwrap_or_else(|| clock.hold_named("ingest"));
        Ok(Self {
            places: reserved.iter().map(Store::number).zip(0..).collect(),
            stores: reserved,
            options,
            began: Some(began),
            job: Job::new(),
            gathered: Mutex::new(Vec::new()),
            failed: Mutex::new(None),
            decided: None,
            finished: false,
            clock,
        })
    }

    /// A part of the ingest, for one thread and one store. Any number of parts may be open at once.
    ///
    /// # Errors
    ///
    /// [`Error::NotOfIngest`] when the ingest does not have the store.
    pub fn part(&self, store: &Store) -> Result<IngestPart<'_>, Error> {
        let at = self.places.get(&store.number()).filter(|at| self.stores[**at].is(store));
        let at = at.ok_or_else(|| Error::NotOfIngest { store: store.number() })?;
        Ok(IngestPart::new(self, *at))
    }

    /// Makes everything visible, in one step, and does what is left to do: [`decide`](Self::decide) and
    /// [`DecidedIngest::finish`].
    ///
    /// # Complexity
    ///
    /// O(1) until it is visible, then O(m) for m entries; before that a walk through the range of
    /// [`IngestOptions::with_unwritten`].
    ///
    /// # Errors
    ///
    /// As [`decide`](Self::decide).
    pub fn commit(self) -> Result<IngestReport, Error> {
        Ok(self.decide()?.finish())
    }

    /// Makes everything visible, in one step, and leaves the rest for later: for callers who must do something
    /// in the same moment, such as to write it down in the order in which it happened.
    ///
    /// Linearizable: takes effect when its number is decided, before this returns. Readers and writers of
    /// the keys are let by meanwhile as before.
    ///
    /// # Complexity
    ///
    /// O(1); before that a walk through the range of [`IngestOptions::with_unwritten`].
    ///
    /// # Errors
    ///
    /// [`Error::WrittenSince`] when the condition of [`IngestOptions::with_unwritten`] does not hold,
    /// [`Error::OutOfOrder`] when two parts had a key in common: nothing was changed, and everything was taken back.
    pub fn decide(mut self) -> Result<DecidedIngest, Error> {
        if let Some(err) = self.failed.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(err);
        }
        if let Some((range, since)) = &self.options.unwritten {
            self.check_unwritten(range, since.number())?;
        }
        self.decided = Some(self.job().stamp().settle(&self.clock.0, By::Owner));
        // What it superseded can be collected from here on.
        self.began = None;
        self.options = IngestOptions::new();
        Ok(DecidedIngest(self))
    }

    /// Takes everything back: nothing of it was or will be visible. The same as to drop it.
    pub fn cancel(self) {
        drop(self);
    }

    fn job(&self) -> &Job {
        // SAFETY: retired when this drops and not before.
        unsafe { self.job.as_ref() }
    }

    /// The number up to which versions count as there when it began.
    fn base(&self) -> u64 {
        if planted(Mutant::IngestIgnoresBegin) {
            return crate::stamp::VOID;
        }
        self.began.as_ref().map_or(0, Hold::number)
    }

    /// Writes the number into the versions, if that is to be done.
    fn finish_decided(&mut self) -> Option<IngestReport> {
        // Taken first: a panic in the middle is not gone on with.
        let number = self.decided.take()?;
        let report = self.finish(number);
        self.finished = true;
        Some(report)
    }

    fn fail(&self, err: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(err);
    }

    fn gathered(&self) -> std::sync::MutexGuard<'_, Vec<Gathered>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        if cfg!(whimbrel_loom) && std::thread::panicking() {
            return;
        }
        if self.began.take().is_some() {
            self.job().stamp().settle_void();
            self.withdraw_all();
            self.finished = true;
        }
        self.finish_decided();
        if !self.finished {
            // A panic in the middle: versions lead to the job, which stays, and so does the reservation.
            return;
        }
        let guard = self.clock.pin();
        // SAFETY: no version has a word that leads to it any more (invariant J1); once, on drop.
        unsafe { Job::retire(self.job, &guard) };
        drop(guard);
        self.stores.iter().for_each(|store| self.clock.0.ingests.release(store.number()));
    }
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest")
            .field("stores", &self.stores.len())
            .field("mode", &self.options.mode)
            .finish_non_exhaustive()
    }
}

/// An [`Ingest`] that is visible. Its versions still lead to their number through it; to drop it does what
/// [`finish`](Self::finish) does.
#[derive(Debug)]
#[must_use = "its stores take no other ingest until it is finished"]
pub struct DecidedIngest(Ingest);

impl DecidedIngest {
    /// Gives the versions their number, and what they superseded to the collectors.
    ///
    /// # Complexity
    ///
    /// O(m) for m entries.
    pub fn finish(mut self) -> IngestReport {
        self.0.finish_decided().unwrap_or_default()
    }
}
