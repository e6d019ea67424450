//! A copy-on-write B+-tree (`imbl::OrdMap`) in an `ArcSwap`: readers and snapshots load a pointer,
//! writers take turns and publish a new root with every write.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use imbl::OrdMap;

use crate::keys::Keys;
use crate::make_typed;
use crate::peer::{Begin, Key, Peer, Worker};
use crate::sum::Sum;

struct CopyOnWrite<K: Key> {
    root: ArcSwap<OrdMap<K, u64>>,
    writer: Mutex<()>,
}

impl<K: Key> Default for CopyOnWrite<K> {
    fn default() -> Self {
        Self { root: ArcSwap::from_pointee(OrdMap::new()), writer: Mutex::new(()) }
    }
}

pub(super) fn make(begin: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
    Ok(make_typed!(CopyOnWrite, begin.keys))
}

impl<K: Key> Peer for CopyOnWrite<K> {
    fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
        let tree = &*self;
        let worker = || -> Box<dyn Worker + Send> { Box::new(Hand { tree, snapshot: None }) };
        std::iter::repeat_with(worker).take(threads).collect()
    }

    fn bulk_build(&mut self, sorted: &Keys) -> bool {
        let map: OrdMap<K, u64> = sorted.iter().map(K::make).zip(0_u64..).collect();
        self.root.store(Arc::new(map));
        true
    }
}

impl<K: Key> CopyOnWrite<K> {
    /// Writers take turns: trying again after a lost race would copy the path in vain.
    fn write(&self, change: impl FnOnce(&mut OrdMap<K, u64>)) {
        let _turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = OrdMap::clone(&self.root.load());
        change(&mut map);
        self.root.store(Arc::new(map));
    }
}

struct Hand<'a, K: Key> {
    tree: &'a CopyOnWrite<K>,
    snapshot: Option<Arc<OrdMap<K, u64>>>,
}

impl<K: Key> Worker for Hand<'_, K> {
    fn insert(&mut self, key: &[u8], value: u64) {
        self.tree.write(|map| _ = map.insert(K::make(key), value));
    }

    fn remove(&mut self, key: &[u8]) {
        self.tree.write(|map| _ = map.remove(K::probe(key)));
    }

    fn get(&mut self, key: &[u8]) -> Option<u64> {
        self.tree.root.load().get(K::probe(key)).copied()
    }

    fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let map = self.tree.root.load_full();
        for (key, value) in map.range::<_, K::Probe>(K::upwards(from)).take(limit) {
            sum.entry(key.bytes(), *value);
        }
    }

    fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
        let map = self.tree.root.load_full();
        for (key, value) in map.range::<_, K::Probe>(K::downwards(from)).rev().take(limit) {
            sum.entry(key.bytes(), *value);
        }
    }

    fn take_snapshot(&mut self) {
        self.snapshot = Some(self.tree.root.load_full());
    }

    fn get_snapshot(&mut self, key: &[u8]) -> Option<u64> {
        self.snapshot.as_ref()?.get(K::probe(key)).copied()
    }
}
