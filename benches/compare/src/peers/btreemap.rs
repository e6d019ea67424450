//! The standard library's `BTreeMap`, for one thread.

use std::collections::BTreeMap;

use crate::keys::Keys;
use crate::make_typed;
use crate::peer::{Begin, Key, Peer, Worker};
use crate::sum::Sum;

struct Std<K: Key>(BTreeMap<K, u64>);

impl<K: Key> Default for Std<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    Ok(make_typed!(Std, begin.keys))
}

impl<K: Key> Peer for Std<K> {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        assert_eq!(threads, 1, "the table says that it takes one thread");
        vec![Box::new(Hand(&mut self.0))]
    }

    fn bulk_build(&mut self, sorted: &Keys) -> bool {
        self.0 = sorted.iter().map(K::make).zip(0..).collect();
        true
    }
}

struct Hand<'a, K>(&'a mut BTreeMap<K, u64>);

impl<K: Key> Worker for Hand<'_, K> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.0.insert(K::make(key), value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.0.remove(K::probe(key));
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.0.get(K::probe(key)).copied()
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        scan(self.0, from, limit, sum);
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        rev_scan(self.0, from, limit, sum);
    }
}

/// Reads a map upwards.
pub(super) fn scan<K: Key>(map: &BTreeMap<K, u64>, from: &[u8], limit: usize, sum: &mut Sum) {
    for (key, value) in map.range::<K::Probe, _>(K::upwards(from)).take(limit) {
        sum.entry(key.bytes(), *value);
    }
}

/// Reads a map downwards.
pub(super) fn rev_scan<K: Key>(map: &BTreeMap<K, u64>, from: &[u8], limit: usize, sum: &mut Sum) {
    for (key, value) in map.range::<K::Probe, _>(K::downwards(from)).rev().take(limit) {
        sum.entry(key.bytes(), *value);
    }
}
