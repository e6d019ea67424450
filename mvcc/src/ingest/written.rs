//! Whether a range was written since a snapshot: the condition of an ingest.

use std::ops::ControlFlow;

use super::Ingest;
use crate::access::Access;
use crate::snapshot::SESSION_RECORDS;
use crate::store::Store;
use crate::{Error, KeyRange};
use std::ops::Bound;

impl Ingest {
    /// Fails where a key of the range was written after snapshot `since`, up to a snapshot taken now.
    pub(super) fn check_unwritten(&self, range: &KeyRange, since: u64) -> Result<(), Error> {
        if range.is_empty() {
            return Ok(());
        }
        let now = self.clock.hold_named("ingest");
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
                let newest = Access::seen_in_chain(record, word, now);
                if newest.is_none_or(|(_, number)| number <= since) {
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
