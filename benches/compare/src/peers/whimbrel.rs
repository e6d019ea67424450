//! Ours: the store with versions.

use std::ops::ControlFlow;

use whimbrel_mvcc::{Clock, Snapshot, Store, StoreOptions, StoreSegmentBuilder};

use crate::keys::Keys;
use crate::peer::{Begin, Peer, Worker, from_bytes, to_bytes};
use crate::sum::Sum;

struct Whimbrel {
    clock: Clock,
    store: Store,
}

pub(super) fn make(_: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    let clock = Clock::new();
    let store = Store::new(&clock);
    Ok(Box::new(Whimbrel { clock, store }))
}

impl Peer for Whimbrel {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let store = &self.store;
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand { store, snapshot: None }) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn bulk_build(&mut self, sorted: &Keys) -> bool {
        let mut builder = StoreSegmentBuilder::new();
        for (at, key) in sorted.iter().enumerate() {
            builder.push(key, &to_bytes(at as u64)).expect("the keys ascend");
        }
        let segments = vec![builder.finish()];
        let store = Store::from_segments(&self.clock, StoreOptions::new(), segments);
        self.store = store.expect("one segment");
        true
    }

    fn collect(&mut self) {
        self.store.compact();
    }
}

struct Hand<'a> {
    store: &'a Store,
    snapshot: Option<Snapshot>,
}

impl Worker for Hand<'_> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.store.put(key, &to_bytes(value)).expect("short keys and values");
    }

    fn remove(&mut self, key: &[u8]) {
        self.store.remove(key).expect("short keys");
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.store.get_with(key, from_bytes)
    }

    fn get_many(&mut self, keys: &[&[u8]], sum: &mut Sum) {
        self.store.get_many_with(keys, |_, value| sum.found(value.map(from_bytes)));
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let mut left = limit;
        self.store.snapshot().scan(from.., |key, value| count_entry(key, value, &mut left, sum));
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let mut left = limit;
        let snapshot = self.store.snapshot();
        snapshot.scan_back(..=from, |key, value| count_entry(key, value, &mut left, sum));
    }

    fn take_snapshot(&mut self) {
        self.snapshot = Some(self.store.snapshot());
    }

    fn get_snapshot(&mut self, key: &[u8]) -> Option<u64> {
        self.snapshot.as_ref()?.get_with(key, from_bytes)
    }
}

/// Counts an entry of a walk that ends after so many.
fn count_entry(key: &[u8], value: &[u8], left: &mut usize, sum: &mut Sum) -> ControlFlow<()> {
    sum.entry(key, from_bytes(value));
    *left -= 1;
    if *left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
