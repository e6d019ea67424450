//! What readers and writers do who meet a version of an ingest, or one that lies on it.

use whimbrel_skiplist::{EMPTY, Record};

use crate::access::{Access, Change, Head};
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, StampWord, VOID};
use crate::sync::atomic::Ordering;
use crate::version::{Fresh, Number, OwnRef, Raised, VersionRef};

impl<'g> Access<'g> {
    /// A newest version that is of an ingest, before a write.
    pub(crate) fn head_of_ingest(self, record: Record<'g>, top: OwnRef<'g>) -> Head<'g> {
        let top = VersionRef::Own(top);
        match top.number() {
            Number::Final(number) | Number::Ingested(number) if number != VOID => {
                Head::Settled(top)
            }
            _ => Head::Ingesting { top, below: top.older(record) },
        }
    }

    /// Whether the ingest of this version has no number at this moment, and if so will not get one below the
    /// clock: whoever answered by what lies below it was before the ingest.
    pub(crate) fn is_running(self, record: Record<'g>, top: VersionRef<'g>) -> bool {
        let taken = match top.number() {
            Number::Final(number) | Number::Ingested(number) => Some(number),
            Number::Pending(word) => match word.raise(self.clock.now()) {
                Raised::Final(number) => Some(number),
                Raised::Pending | Raised::Changed => None,
            },
        };
        match taken {
            None => true,
            // Cancelled: what lies below was not superseded when it was looked at if nobody came on top.
            Some(VOID) => Self::cell_word(record) == top.word(),
            Some(_) => false,
        }
    }

    /// Decides the number of a version that was installed on one of a running ingest, unless that was done
    /// (rule I1). `VOID`: it came too late, and nothing has happened.
    pub(crate) fn settle_on_ingest(self, record: Record<'g>, version: OwnRef<'g>) -> u64 {
        if planted(Mutant::OnIngestSettledPlainly) {
            return version.stamp().settle(self.clock, By::Helper);
        }
        version.stamp().settle_before(self.clock, |number| {
            match VersionRef::Own(version).older(record) {
                Some(below @ VersionRef::Own(own)) if own.is_of_ingest() => match below.number() {
                    Number::Final(taken) | Number::Ingested(taken) => Some(taken),
                    Number::Pending(word) => match word.raise(number) {
                        Raised::Final(taken) => Some(taken),
                        Raised::Pending | Raised::Changed => None,
                    },
                },
                _ => None,
            }
        })
    }

    /// Takes a void write out of the cell again, unless somebody has.
    pub(crate) fn withdraw(self, record: Record<'g>, version: OwnRef<'g>) {
        let version = VersionRef::Own(version);
        let below = version.older(record);
        let word = below.map_or(EMPTY, VersionRef::word);
        // ORDERING: AcqRel; as in `install`: hands on the version below. Row V7.
        let cell = record.cell();
        if cell.compare_exchange(version.word(), word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        {
            self.store.count_withdrawn(record.key(), version, below);
            // SAFETY: out of the cell, nothing was installed on it (invariant J3), it has no entry in the dead
            // list, and who won the exchange alone comes here.
            unsafe { version.retire(self.guard) };
        }
    }

    /// Writes what lies below a version of a running ingest once more on top of it, so that the ingest loses
    /// the key. Nothing: the cell has changed, or the ingest has its number.
    pub(crate) fn touch(
        self,
        record: Record<'g>,
        top: VersionRef<'g>,
        below: Option<VersionRef<'g>>,
    ) {
        let value = below.and_then(VersionRef::value);
        let fresh = Fresh::new(StampWord::pending(), value).on_ingest();
        if let Ok(change) = self.install(record, Some(top), fresh) {
            self.settled_on_ingest(change);
        }
    }

    /// What the installer on a version of a running ingest does. False: it came too late, and has to begin
    /// again.
    pub(crate) fn settled_on_ingest(self, change: Change<'g>) -> bool {
        let number = self.settle_on_ingest(change.record, change.new);
        if number == VOID && !planted(Mutant::VoidTakenForDone) {
            self.withdraw(change.record, change.new);
            return false;
        }
        self.settled(change, number);
        true
    }

    /// What the installer on a version of an ingest does once its own number is decided (rule I3).
    #[cold]
    pub(crate) fn cover(self, change: Change<'g>, old: OwnRef<'g>, number: u64) {
        let (record, collection) = (change.record, &self.store.collection);
        let below = VersionRef::Own(old).older(record);
        match old.stamp().bury() {
            // Its owner files it.
            None => {}
            Some(VOID) => {
                collection.void(record, VersionRef::Own(old), number);
                if let Some(below) = below.filter(|below| !below.is_tombstone()) {
                    collection.superseded(record, below, number);
                }
            }
            Some(_) if old.is_tombstone() => {}
            Some(_) => collection.superseded(record, VersionRef::Own(old), number),
        }
    }

    /// The newest value, where the newest version is of an ingest that has its number (in its own word or not:
    /// that may have come there after the cell was read), void, or lies on an ingest and has none. None: the cell has changed and is to be looked at again.
    #[cold]
    pub(crate) fn latest_of_ingest(
        self,
        record: Record<'g>,
        head: VersionRef<'g>,
    ) -> Option<Option<&'g [u8]>> {
        let VersionRef::Own(own) = head else { return None };
        let value = match head.number() {
            Number::Pending(_) => match self.settle_on_ingest(record, own) {
                VOID => Self::value_below_void(record, head)?,
                _ => return Some(head.value()),
            },
            Number::Final(VOID) | Number::Ingested(VOID) => Self::value_below_void(record, head)?,
            Number::Final(_) | Number::Ingested(_) => head.value(),
        };
        // Rule I2; and what lies below a void version was not superseded when it was looked at.
        let unchanged = Self::cell_word(record) == head.word();
        (unchanged || planted(Mutant::IngestNotLookedAtAgain)).then_some(value)
    }

    /// The value of the first version below that is not void. None: it has no number, so the cell has changed.
    fn value_below_void(record: Record<'g>, head: VersionRef<'g>) -> Option<Option<&'g [u8]>> {
        let mut next = head.older(record);
        while let Some(version) = next {
            next = version.older(record);
            match version.number() {
                Number::Final(VOID) | Number::Ingested(VOID) => {}
                Number::Final(_) | Number::Ingested(_) => return Some(version.value()),
                Number::Pending(_) => return None,
            }
        }
        Some(None)
    }

    /// The newest value, where the newest version has no number and its floor was raised to `floor`: that of
    /// `older`, the version below it, or of one still further down where that is of an ingest without a
    /// number. None: the cell has changed and is to be looked at again.
    #[inline]
    pub(crate) fn latest_below(
        self,
        record: Record<'g>,
        head: VersionRef<'g>,
        older: Option<VersionRef<'g>>,
        floor: u64,
    ) -> Option<Option<&'g [u8]>> {
        match older {
            Some(VersionRef::Own(own)) if own.is_of_ingest() => {
                self.latest_below_ingest(record, head, VersionRef::Own(own), floor)
            }
            older => Some(older.and_then(VersionRef::value)),
        }
    }

    #[cold]
    fn latest_below_ingest(
        self,
        record: Record<'g>,
        head: VersionRef<'g>,
        older: VersionRef<'g>,
        mut floor: u64,
    ) -> Option<Option<&'g [u8]>> {
        let (mut next, mut value) = (Some(older), None);
        while let Some(version) = next {
            // Before the look at the stamp, as in `latest_in_chain`.
            next = version.older(record);
            let number = match version.number() {
                Number::Final(number) | Number::Ingested(number) => number,
                Number::Pending(word) => match word.raise(floor) {
                    Raised::Final(number) => number,
                    Raised::Pending => VOID,
                    Raised::Changed => return None,
                },
            };
            if number != VOID {
                (value, floor) = (version.value(), floor.max(number));
                break;
            }
        }
        if planted(Mutant::BelowIngestNotRaised) {
            return Some(value);
        }
        // Not above the ingest's number, or the newest version would come before what was read; and
        // pending still, so what was read had not been superseded.
        match head.number() {
            Number::Pending(word) => match word.raise(floor) {
                Raised::Pending => Some(value),
                Raised::Final(_) if head.is_of_ingest() => None,
                Raised::Final(_) => Some(head.value()),
                Raised::Changed => None,
            },
            _ if head.is_of_ingest() => None,
            _ => Some(head.value()),
        }
    }
}
