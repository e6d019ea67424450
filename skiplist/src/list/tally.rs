//! Counts of records and bytes, spread over cache lines so that writers do not meet on one.

use crossbeam_utils::CachePadded;

use crate::sync::{Counter, thread_number};

/// Lines; few, because every list has them.
const STRIPES: usize = 4;

/// Records and bytes of a list. The sums are exact when no other thread is inside a call.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stripes: [CachePadded<Stripe>; STRIPES],
}

/// What some of the threads counted; wraps below zero where others counted the rest.
#[derive(Debug, Default)]
struct Stripe {
    records: Counter,
    bytes: Counter,
}

impl Tally {
    #[inline]
    pub(super) fn add(&self, records: usize, bytes: usize) {
        let stripe = &self.stripes[my_stripe()];
        if records > 0 {
            stripe.records.add(records as u64);
        }
        stripe.bytes.add(bytes as u64);
    }

    pub(super) fn remove_record(&self) {
        self.stripes[my_stripe()].records.sub(1);
    }

    pub(super) fn remove_bytes(&self, bytes: usize) {
        self.stripes[my_stripe()].bytes.sub(bytes as u64);
    }

    pub(super) fn records(&self) -> usize {
        self.sum(|stripe| stripe.records.get())
    }

    pub(super) fn bytes(&self) -> usize {
        self.sum(|stripe| stripe.bytes.get())
    }

    fn sum(&self, of: impl Fn(&Stripe) -> u64) -> usize {
        let sum = self.stripes.iter().fold(0_u64, |sum, stripe| sum.wrapping_add(of(stripe)));
        // Counts in flight may make the sum negative for a moment.
        usize::try_from(sum.cast_signed()).unwrap_or(0)
    }
}

#[inline]
fn my_stripe() -> usize {
    thread_number() % STRIPES
}
