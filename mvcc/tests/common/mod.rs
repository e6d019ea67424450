//! What several test files need: a recomputed digest, a settled state, a small random generator.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use whimbrel_mvcc::{Digest, Snapshot, Store};

/// Digest of everything that a snapshot sees, computed anew.
pub(crate) fn digest_of(snapshot: &Snapshot) -> Digest {
    let mut digest = Digest::default();
    let mut cursor = snapshot.range(..);
    while let Some((key, value)) = cursor.next_entry() {
        digest.add(key, value);
    }
    digest
}

/// With no snapshot open and nothing in flight, collection leaves one version per entry, one record
/// per version, and nothing that was retired and not reclaimed.
pub(crate) fn assert_clean(store: &Store) {
    assert_eq!(store.clock().open_holds(), 0, "a snapshot is open");
    for _ in 0..8 {
        store.collect_all();
    }
    let (stats, barrier) = (store.stats(), store.clock().barrier().stats());
    assert_eq!(stats.dead, 0, "{stats:?}");
    assert_eq!(stats.versions, stats.entries, "{stats:?}");
    assert_eq!(stats.records, stats.entries, "{stats:?}");
    assert_eq!(stats.entries, store.snapshot().len() as u64, "{stats:?}");
    assert_eq!(barrier.retired, barrier.reclaimed, "{barrier:?}");
    assert_eq!(barrier.retired_bytes, barrier.reclaimed_bytes, "{barrier:?}");
}

/// A seeded generator (splitmix64): the same numbers in every run.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
