//! One access: a store, its clock, and the guard under which records and versions are read.
//!
//! The steps that every operation is made of: reading a chain at the newest or at a snapshot, and
//! bringing a head into a state that may be written over.

use whimbrel_skiplist::{EMPTY, Guard, Record, SEALED, Seen};

use crate::batch;
use crate::clock::ClockInner;
use crate::inline;
use crate::mutant::{Mutant, order, planted};
use crate::stamp::{By, Stamp, VOID};
use crate::store::StoreInner;
use crate::sync::atomic::Ordering;
use crate::version::{Fresh, Number, OwnRef, Raised, VersionRef, inline_value};

/// A store inside a barrier session.
#[derive(Clone, Copy)]
pub(crate) struct Access<'g> {
    pub(crate) clock: &'g ClockInner,
    pub(crate) store: &'g StoreInner,
    pub(crate) guard: &'g Guard<'g>,
}

/// A version that this thread installed, and what it superseded.
#[derive(Clone, Copy)]
pub(crate) struct Change<'g> {
    pub(crate) record: Record<'g>,
    pub(crate) new: OwnRef<'g>,
    pub(crate) old: Option<VersionRef<'g>>,
}

/// The newest version of a key, settled.
pub(crate) enum Head<'g> {
    /// The record has no version yet.
    Empty,
    /// The record is dead for ever.
    Sealed,
    /// Settled, and its number is in its own stamp, or in an ingest's.
    Settled(VersionRef<'g>),
    /// Of an ingest that is running, or was cancelled: what lies below it is the newest that there is, and
    /// what is written goes on top.
    Ingesting {
        /// The ingest's version.
        top: VersionRef<'g>,
        /// The settled one below it.
        below: Option<VersionRef<'g>>,
    },
}

impl<'g> Access<'g> {
    pub(crate) fn new(clock: &'g ClockInner, store: &'g StoreInner, guard: &'g Guard<'g>) -> Self {
        Self { clock, store, guard }
    }

    /// The same session, in another store of the clock.
    pub(crate) fn within(self, store: &'g StoreInner) -> Self {
        Self { store, ..self }
    }

    pub(crate) fn find(self, key: &[u8]) -> Option<Record<'g>> {
        self.store.list.find(key, self.guard)
    }

    /// Looks several keys up side by side, and gives the record of each to `f`.
    pub(crate) fn find_many(self, keys: &[&[u8]], f: impl FnMut(usize, Option<Record<'g>>)) {
        self.store.list.find_many(keys, self.guard, f);
    }

    /// What the cell of the key holds: the record's, or of the one it moved to.
    pub(crate) fn cell_word(record: Record<'g>) -> u64 {
        // ORDERING: Acquire, in there; pairs with the installing exchange: the version is seen whole.
        // Row V7.
        record.follow().1
    }

    /// The newest version, whatever its state, and the record of its chain.
    pub(crate) fn head_of(record: Record<'g>) -> (Record<'g>, Option<VersionRef<'g>>) {
        // ORDERING: as in `cell_word`.
        let (record, word) = record.follow();
        // SAFETY: loaded with Acquire from this cell, under the guard that `'g` stands for.
        (record, unsafe { VersionRef::from_word(record, word) })
    }

    /// The newest version, whatever its state.
    pub(crate) fn head(record: Record<'g>) -> Option<VersionRef<'g>> {
        Self::head_of(record).1
    }

    /// Snapshot read: what snapshot `s` sees of the key of this record.
    #[inline]
    pub(crate) fn value_at(self, record: Record<'g>, s: u64) -> Option<&'g [u8]> {
        let (record, word) = record.follow();
        Self::value_of(record, word, s)
    }

    /// As [`Access::value_at`], of a record that a walk under the guard came to.
    #[inline]
    pub(crate) fn value_seen(seen: Seen<'g>, s: u64) -> Option<&'g [u8]> {
        // Most often nothing was written since the record was made.
        if inline::is_seen(seen.cell(), s) {
            // SAFETY: the cell says that the newest version is the inline one.
            return Some(unsafe { inline_value(seen.record()) });
        }
        let (record, word) = seen.live()?;
        Self::value_in_chain(record, word, s)
    }

    /// As [`Access::value_at`], for a record that has not moved and what its cell held, read with Acquire
    /// in this session.
    #[inline]
    pub(crate) fn value_of(record: Record<'g>, word: u64, s: u64) -> Option<&'g [u8]> {
        if inline::is_seen(word, s) {
            // SAFETY: the cell says that the newest version is the inline one.
            return Some(unsafe { inline_value(record) });
        }
        Self::value_in_chain(record, word, s)
    }

    #[inline(never)]
    fn value_in_chain(record: Record<'g>, word: u64, s: u64) -> Option<&'g [u8]> {
        Self::seen_in_chain(record, word, s).and_then(|(version, _)| version.value())
    }

    /// The version that snapshot `s` sees of a key, and its number; a tombstone is one.
    #[inline]
    pub(crate) fn seen_in_chain(
        mut record: Record<'g>,
        word: u64,
        s: u64,
    ) -> Option<(VersionRef<'g>, u64)> {
        let floor = if planted(Mutant::FloorIsSnapshot) { s } else { s + 1 };
        // SAFETY: loaded with Acquire from the cell, under the guard.
        let mut next = unsafe { VersionRef::from_word(record, word) };
        while let Some(version) = next {
            let number = match version.number() {
                Number::Final(number) | Number::Ingested(number) => Some(number),
                Number::Pending(_) if planted(Mutant::PendingPassed) => None,
                Number::Pending(undecided) => match undecided.raise(floor) {
                    Raised::Final(number) => Some(number),
                    Raised::Pending => None,
                    Raised::Changed => {
                        (record, next) = Self::head_of(record);
                        continue;
                    }
                },
            };
            if let Some(number) = number.filter(|number| *number <= s) {
                return Some((version, number));
            }
            next = version.older(record);
        }
        None
    }

    /// Latest read: the newest value, settled or made to be so by raising its floor to the clock.
    #[inline]
    pub(crate) fn latest(self, record: Record<'g>) -> Option<&'g [u8]> {
        let (record, word) = record.follow();
        if inline::is_settled(word) {
            // SAFETY: the cell says that the newest version is the inline one.
            return Some(unsafe { inline_value(record) });
        }
        self.latest_in_chain(record, word)
    }

    #[inline(never)]
    fn latest_in_chain(self, mut record: Record<'g>, word: u64) -> Option<&'g [u8]> {
        // SAFETY: loaded with Acquire from the cell, under the guard.
        let mut next = unsafe { VersionRef::from_word(record, word) };
        loop {
            let head = next?;
            // Before the deciding look: were it read after it, the head could have been settled and the
            // version below superseded and unlinked in between.
            let older = head.older(record);
            let undecided = match head.number() {
                Number::Final(number) if number != VOID && !head.is_of_ingest() => {
                    return head.value();
                }
                Number::Pending(undecided) if !head.is_on_ingest() => undecided,
                _ => match self.latest_of_ingest(record, head) {
                    Some(value) => return value,
                    None => {
                        (record, next) = Self::head_of(record);
                        continue;
                    }
                },
            };
            if planted(Mutant::PendingReturned) {
                return head.value();
            }
            let mut floor = self.clock.now();
            if planted(Mutant::LatestFloorAboveClock) {
                floor += 1;
            } else if planted(Mutant::LatestFloorBelowClock) {
                floor -= 1;
            }
            match undecided.raise(floor) {
                // Looked at again: it may be void, or written over before it was decided.
                Raised::Final(_) if head.is_of_ingest() => {}
                Raised::Final(_) => return head.value(),
                Raised::Pending if planted(Mutant::OlderAfterStamp) => {
                    // Loom tries no other thread between the two loads otherwise.
                    self.clock.step();
                    return head.older(record)?.value();
                }
                Raised::Pending => match self.latest_below(record, head, older, floor) {
                    Some(value) => return value,
                    None => (record, next) = Self::head_of(record),
                },
                Raised::Changed => (record, next) = Self::head_of(record),
            }
        }
    }

    /// Before a write: the newest version, settled by this thread if need be, ready to be superseded.
    pub(crate) fn settled_head(self, record: Record<'g>) -> Head<'g> {
        loop {
            // ORDERING: as in `cell_word`.
            let (record, word) = record.follow();
            match word {
                EMPTY => return Head::Empty,
                SEALED => return Head::Sealed,
                _ => {}
            }
            // SAFETY: loaded with Acquire from this cell under the guard.
            let version =
                unsafe { VersionRef::from_word(record, word) }.expect("neither empty nor sealed");
            if planted(Mutant::PendingNotHelped) {
                return Head::Settled(version);
            }
            if let Some(head) = self.settle(record, version) {
                return head;
            }
        }
    }

    /// Settles the newest version of a record, helping the whole batch that it is of, and writes the
    /// number into the version's own stamp (invariant S3). None: it was settled, and superseded or moved, or
    /// it came to nothing.
    fn settle(self, record: Record<'g>, version: VersionRef<'g>) -> Option<Head<'g>> {
        match version {
            VersionRef::Inline(..) if version.settled_number().is_some() => {}
            VersionRef::Inline(_, stamp) => {
                let stamp = stamp.settle(record.cell(), self.clock, By::Helper)?;
                return Some(Head::Settled(VersionRef::Inline(record, stamp)));
            }
            VersionRef::Own(own) => match own.stamp().load() {
                Stamp::Ingested(_) => return Some(self.head_of_ingest(record, own)),
                Stamp::Final(VOID) if own.is_of_ingest() => {
                    return Some(self.head_of_ingest(record, own));
                }
                Stamp::Final(number) if number != VOID => {}
                Stamp::Final(_) => {
                    self.withdraw(record, own);
                    return None;
                }
                Stamp::Pending if own.is_on_ingest() => {
                    // Looked at again, it is final.
                    self.settle_on_ingest(record, own);
                    return None;
                }
                Stamp::Pending => _ = own.stamp().settle(self.clock, By::Helper),
                Stamp::Indirect(word) => {
                    own.stamp().make_direct(batch::help(self, word, record.key()));
                }
            },
        }
        Some(Head::Settled(version))
    }

    /// Installs a version on top of `old` (none: into an empty cell) unless the cell has changed, or the
    /// record has moved.
    pub(crate) fn install(
        self,
        record: Record<'g>,
        old: Option<VersionRef<'g>>,
        mut fresh: Fresh,
    ) -> Result<Change<'g>, Fresh> {
        let below = old.map_or(EMPTY, VersionRef::word);
        fresh.set_older(below);
        let word = fresh.word();
        // ORDERING: AcqRel; Release publishes the version (pairs with `cell_word`); Acquire so that
        // who supersedes a version is ordered after who installed it. Row V7.
        let acq_rel = if planted(Mutant::InstallNotAcquired) {
            Ordering::Release
        } else {
            order(Mutant::InstallRelaxed, Ordering::AcqRel)
        };
        let placed = record.cell().compare_exchange(below, word, acq_rel, Ordering::Relaxed);
        if placed.is_err() {
            return Err(fresh);
        }
        fresh.published();
        // SAFETY: installed by this thread under the guard; whoever unlinks it retires it later.
        let new = unsafe { OwnRef::from_word(word) };
        self.store.count_installed(record.key(), VersionRef::Own(new), old);
        Ok(Change { record, new, old })
    }

    /// Drops a record that nothing was installed in, unless somebody does so after all.
    pub(crate) fn drop_if_empty(self, record: Record<'g>) {
        // ORDERING: AcqRel; as in `install`. Row V7.
        let sealed =
            record.cell().compare_exchange(EMPTY, SEALED, Ordering::AcqRel, Ordering::Relaxed);
        if sealed.is_ok() {
            self.store.list.unlink_sealed(record, self.guard);
        }
    }

    /// Tells the capture, once the write is settled.
    pub(crate) fn tell_capture(self, key: &[u8]) {
        if !planted(Mutant::CaptureEarly) {
            self.captured(key);
        }
    }

    /// What the installer does once its version is settled: tells the capture, and puts what is dead
    /// now, or will be, on the dead list.
    #[inline]
    pub(crate) fn settled(self, change: Change<'g>, number: u64) {
        self.tell_capture(change.record.key());
        match change.old {
            Some(VersionRef::Own(old)) if old.is_of_ingest() => self.cover(change, old, number),
            Some(old) if !old.is_tombstone() => {
                self.store.collection.superseded(change.record, old, number);
            }
            _ => {}
        }
        if change.new.is_tombstone() {
            let tombstone = VersionRef::Own(change.new);
            self.store.collection.tombstone(change.record, tombstone, number);
        }
    }
}
