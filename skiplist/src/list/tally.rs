//! Counts of records and bytes, spread over cache lines so that writers do not meet on one.

use crate::sync::{Counter, Striped};

/// Records and bytes of a list. The sums are exact when no other thread is inside a call.
#[derive(Debug, Default)]
pub(super) struct Tally(Striped<Counts>);

/// What some of the threads counted; wraps below zero where others counted the rest.
#[derive(Debug, Default)]
struct Counts {
    records: Counter,
    bytes: Counter,
}

impl Tally {
    #[inline]
    pub(super) fn add(&self, records: usize, bytes: usize) {
        let mine = self.0.mine();
        if records > 0 {
            mine.records.add(records as u64);
        }
        mine.bytes.add(bytes as u64);
    }

    pub(super) fn remove_record(&self) {
        self.0.mine().records.sub(1);
    }

    pub(super) fn remove_bytes(&self, bytes: usize) {
        self.0.mine().bytes.sub(bytes as u64);
    }

    pub(super) fn records(&self) -> usize {
        self.sum(|counts| counts.records.get())
    }

    pub(super) fn bytes(&self) -> usize {
        self.sum(|counts| counts.bytes.get())
    }

    fn sum(&self, of: impl Fn(&Counts) -> u64) -> usize {
        // Counts in flight may make the sum negative for a moment.
        usize::try_from(self.0.sum(of).cast_signed()).unwrap_or(0)
    }
}
