//! The standard library's `BTreeMap` behind its `RwLock`.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::btreemap::{rev_scan, scan};
use crate::keys::Keys;
use crate::make_typed;
use crate::peer::{Begin, Key, Peer, Worker};
use crate::sum::Sum;

struct Locked<K: Key>(RwLock<BTreeMap<K, u64>>);

impl<K: Key> Default for Locked<K> {
    fn default() -> Self {
        Self(RwLock::new(BTreeMap::new()))
    }
}

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    Ok(make_typed!(Locked, begin.keys))
}

impl<K: Key> Peer for Locked<K> {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand(&self.0)) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn bulk_build(&mut self, sorted: &Keys) -> bool {
        self.0 = RwLock::new(sorted.iter().map(K::make).zip(0..).collect());
        true
    }
}

struct Hand<'a, K>(&'a RwLock<BTreeMap<K, u64>>);

impl<'a, K: Key> Hand<'a, K> {
    fn read(&self) -> RwLockReadGuard<'a, BTreeMap<K, u64>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'a, BTreeMap<K, u64>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> Worker for Hand<'_, K> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.write().insert(K::make(key), value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.write().remove(K::probe(key));
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.read().get(K::probe(key)).copied()
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        scan(&self.read(), from, limit, sum);
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        rev_scan(&self.read(), from, limit, sum);
    }
}
