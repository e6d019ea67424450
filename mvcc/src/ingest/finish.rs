//! The end of an ingest: its number goes into its versions, or they go.

use whimbrel_skiplist::{EMPTY, Record};

use super::part::{Gathered, Installed, record_of};
use super::{Ingest, IngestReport};
use crate::access::Access;
use crate::collect::Collector;
use crate::mutant::{Mutant, planted};
use crate::stamp::VOID;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;
use crate::version::{Number, OwnRef, VersionRef};

/// Entries between two guards.
const SESSION: usize = 256;

impl Ingest {
    /// Writes the number into all versions, and files what they superseded. Returns what was done.
    pub(super) fn finish(&mut self, number: u64) -> IngestReport {
        let mut report = IngestReport { number, ..IngestReport::default() };
        for Gathered { store, installed, same, lost } in self.take() {
            report.same += same;
            report.lost += lost;
            report.written += installed.len() as u64;
            let store = &self.stores[store];
            for some in installed.chunks(SESSION) {
                let mut more = false;
                store.access(|access| {
                    for one in some {
                        report.lost += u64::from(access.finish(one, number));
                        more |= access.collect_some();
                    }
                });
                if more {
                    store.after_write(some.len());
                }
            }
        }
        report
    }

    /// Takes all versions out again. The job is void.
    pub(super) fn withdraw_all(&mut self) {
        for Gathered { store, installed, .. } in self.take() {
            let store = &self.stores[store];
            for some in installed.chunks(SESSION) {
                store.access(|access| {
                    // Only who holds the lock unlinks below a newest version.
                    let lock = access.store.collection.lock();
                    some.iter().for_each(|one| access.withdraw_ingested(one, &lock));
                });
            }
            store.clock().barrier().flush();
        }
    }

    fn take(&mut self) -> Vec<Gathered> {
        std::mem::take(&mut *self.gathered())
    }
}

impl<'g> Access<'g> {
    /// Writes the number into a version. True: something lies above it.
    fn finish(self, installed: &Installed, number: u64) -> bool {
        let (record, version) = self.installed(installed);
        // Before the version can be superseded and its record move.
        let old = VersionRef::Own(version).older(record);
        if planted(Mutant::IngestNotMadeDirect) {
            return false;
        }
        let is_buried = version.stamp().make_ingest_direct(number);
        if !planted(Mutant::IngestNotCaptured) {
            self.tell_capture(record.key());
        }
        let collection = &self.store.collection;
        if let Some(old) = old.filter(|old| !old.is_tombstone()) {
            collection.superseded(record, old, number);
        }
        let version = VersionRef::Own(version);
        if version.is_tombstone() {
            collection.tombstone(record, version, number);
        } else if is_buried && !planted(Mutant::BuriedNotFiled) {
            // Where it is gone a collector has unlinked it, and the entry is only to be disposed of. A number
            // that is too large keeps it too long at worst.
            let above = version_above(record, version).and_then(number_of);
            collection.superseded(record, version, above.unwrap_or(VOID));
        }
        is_buried
    }

    /// Takes a version of a cancelled ingest out of its chain.
    fn withdraw_ingested(self, installed: &Installed, _: &MutexGuard<'_, Collector>) {
        let (record, version) = self.installed(installed);
        let is_buried = version.stamp().make_ingest_direct(VOID);
        let version = VersionRef::Own(version);
        let below = version.older(record);
        if is_buried {
            let above = version_above(record, version);
            let Some(above @ VersionRef::Own(newer)) = above else {
                debug_assert!(false, "in its chain, and nobody else unlinks meanwhile");
                return;
            };
            newer.unlink_below(version);
            self.store.count_unlinked(version);
            let number = number_of(above);
            if let (Some(below), Some(number)) = (below.filter(|one| !one.is_tombstone()), number) {
                self.store.collection.superseded(record, below, number);
            }
        } else {
            let (cell, word) = (record.cell(), below.map_or(EMPTY, VersionRef::word));
            // ORDERING: AcqRel; as in `install`: hands on the version below. Row V7.
            let acq_rel = Ordering::AcqRel;
            if cell.compare_exchange(version.word(), word, acq_rel, Ordering::Relaxed).is_err() {
                // Somebody has installed on it, and files it once that is decided (rule I3).
                return;
            }
            self.store.count_withdrawn(record.key(), version, below);
            if below.is_none() {
                self.drop_if_empty(record);
            }
        }
        // SAFETY: out of its chain by this thread, and it never gets an entry in the dead list.
        unsafe { version.retire(self.guard) };
    }

    fn installed(self, installed: &Installed) -> (Record<'g>, OwnRef<'g>) {
        // SAFETY: not finished yet.
        let record = unsafe { record_of(installed) };
        // SAFETY: the version of an unfinished entry is in its chain (invariant J2).
        (record, unsafe { OwnRef::from_word(installed.version) })
    }
}

/// The number of a version that somebody has installed and settled, a batch's before it is direct.
fn number_of(version: VersionRef<'_>) -> Option<u64> {
    match version.number() {
        Number::Final(number) | Number::Ingested(number) => Some(number),
        Number::Pending(_) => None,
    }
}

/// The version directly above another, if that is still in its chain.
fn version_above<'g>(record: Record<'g>, version: VersionRef<'g>) -> Option<VersionRef<'g>> {
    let mut above = Access::head(record)?;
    while above.older_word() != version.word() {
        above = above.older(record)?;
    }
    Some(above)
}
