//! `scc::TreeIndex`.

use scc::{Guard, TreeIndex};

use crate::make_typed;
use crate::peer::{Begin, Key, Peer, Worker};
use crate::sum::Sum;

struct Scc<K: Key>(TreeIndex<K, u64>);

impl<K: Key> Default for Scc<K> {
    fn default() -> Self {
        Self(TreeIndex::new())
    }
}

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    Ok(make_typed!(Scc, begin.keys))
}

impl<K: Key> Peer for Scc<K> {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand(&self.0)) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn collect(&mut self) {
        for _ in 0..1 << 10 {
            Guard::new().accelerate();
        }
    }
}

struct Hand<'a, K>(&'a TreeIndex<K, u64>);

impl<K: Key> Worker for Hand<'_, K> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.0.upsert_sync(K::make(key), value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.0.remove_sync(K::probe(key));
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.0.peek_with(K::probe(key), |_, value| *value)
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let guard = Guard::new();
        for (key, value) in self.0.range::<K::Probe, _>(K::upwards(from), &guard).take(limit) {
            sum.entry(key.bytes(), *value);
        }
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let guard = Guard::new();
        let range = self.0.range::<K::Probe, _>(K::downwards(from), &guard);
        for (key, value) in range.rev().take(limit) {
            sum.entry(key.bytes(), *value);
        }
    }
}
