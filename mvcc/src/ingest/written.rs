//! Whether a range was written since a snapshot: the condition of an ingest.

use std::ops::ControlFlow;

use whimbrel_skiplist::Record;

use super::Ingest;
use crate::access::Access;
use crate::mutant::{Mutant, planted};
use crate::snapshot::SESSION_RECORDS;
use crate::store::Store;
use crate::version::{Number, Raised, VersionRef};
use crate::{Error, KeyRange};
use std::ops::Bound;

impl Ingest {
    /// Fails where a key of the range was written after snapshot `since`, up to a snapshot taken now.
    pub(super) fn check_unwritten(&self, range: &KeyRange, since: u64) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        let now = self.clock.hold();
        for store in &self.stores {
            if let Some(key) = written(store, range, since, now.number()) {
                return Err(Error::WrittenSince { store: store.number(), key, since });
            }
        }
        Ok(())
    }
}

/// A key of the range that was written after `since`, and not after `now`; both are held open.
fn written(store: &Store, range: &KeyRange, since: u64, now: u64) -> Option<Vec<u8>> {
    let (mut found, mut behind): (Option<Vec<u8>>, Option<Vec<u8>>) = (None, None);
    loop {
        let from = behind.as_ref().map_or_else(|| range.lo(), |key| Bound::Excluded(key));
        behind = store.access(|access| {
            let (list, guard) = (&access.store.list, access.guard);
            let last = list.walk_some(from, range.hi(), SESSION_RECORDS, guard, |seen| {
                let Some((record, word)) = seen.live() else { return ControlFlow::Continue(()) };
                if access.number_at(record, word, now).is_none_or(|number| number <= since) {
                    return ControlFlow::Continue(());
                }
                found = Some(record.key().to_vec());
                ControlFlow::Break(())
            });
            last.map(|record| record.key().to_vec())
        });
        if found.is_some() || behind.is_none() {
            return found;
        }
    }
}

impl<'g> Access<'g> {
    /// The number of what snapshot `s` sees of a key, a tombstone included. As `value_in_chain`.
    fn number_at(self, mut record: Record<'g>, word: u64, s: u64) -> Option<u64> {
        // SAFETY: loaded with Acquire from the cell, under the guard.
        let mut next = unsafe { VersionRef::from_word(record, word) };
        while let Some(version) = next {
            let number = match version.number() {
                Number::Final(number) | Number::Ingested(number) => Some(number),
                Number::Pending(_) if planted(Mutant::PendingPassed) => None,
                Number::Pending(undecided) => match undecided.raise(s + 1) {
                    Raised::Final(number) => Some(number),
                    Raised::Pending => None,
                    Raised::Changed => {
                        (record, next) = Self::head_of(record);
                        continue;
                    }
                },
            };
            if number.is_some_and(|number| number <= s) {
                return number;
            }
            next = version.older(record);
        }
        None
    }
}
