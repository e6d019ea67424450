//! `crossbeam_skiplist::SkipMap`.

use crossbeam_skiplist::SkipMap;

use crate::make_typed;
use crate::peer::{Begin, Key, Peer, Worker};
use crate::sum::Sum;

struct Crossbeam<K: Key>(SkipMap<K, u64>);

impl<K: Key> Default for Crossbeam<K> {
    fn default() -> Self {
        Self(SkipMap::new())
    }
}

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    Ok(make_typed!(Crossbeam, begin.keys))
}

impl<K: Key> Peer for Crossbeam<K> {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand(&self.0)) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn collect(&mut self) {
        // Each call moves the epoch on by one and frees a few bags of garbage.
        for _ in 0..1 << 14 {
            crossbeam_epoch::pin().flush();
        }
    }
}

struct Hand<'a, K>(&'a SkipMap<K, u64>);

impl<K: Key> Worker for Hand<'_, K> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.0.insert(K::make(key), value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.0.remove(K::probe(key));
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.0.get(K::probe(key)).map(|entry| *entry.value())
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        for entry in self.0.range::<K::Probe, _>(K::upwards(from)).take(limit) {
            sum.entry(entry.key().bytes(), *entry.value());
        }
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        for entry in self.0.range::<K::Probe, _>(K::downwards(from)).rev().take(limit) {
            sum.entry(entry.key().bytes(), *entry.value());
        }
    }
}
