//! What the benches share: seeded keys, so that every run does the same work, and how bars are measured.

#![forbid(unsafe_code)]

pub mod bars;
pub mod measure;

use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};

/// A small seeded generator (splitmix64); the same seed gives the same sequence everywhere.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An index below `bound`.
    ///
    /// # Panics
    ///
    /// When `bound` is zero.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "there is no index below zero");
        usize::try_from(self.next_u64() % bound as u64).expect("below a usize")
    }
}

/// `count` keys of 16 random bytes in random order. With 128 random bits no two are equal.
#[must_use]
pub fn random_keys(count: usize, seed: u64) -> Vec<[u8; 16]> {
    let mut random = Seeded::new(seed);
    (0..count)
        .map(|_| {
            let mut key = [0; 16];
            key[..8].copy_from_slice(&random.next_u64().to_be_bytes());
            key[8..].copy_from_slice(&random.next_u64().to_be_bytes());
            key
        })
        .collect()
}

/// The same keys in ascending order.
#[must_use]
pub fn ascending_keys(count: usize, seed: u64) -> Vec<[u8; 16]> {
    let mut keys = random_keys(count, seed);
    keys.sort_unstable();
    keys
}

/// The value of every entry that these benches store.
pub const VALUE: [u8; 8] = *b"whimbrel";

/// A store filled by one put after another.
///
/// # Panics
///
/// When a put fails; none does.
#[must_use]
pub fn store_by_puts(keys: &[[u8; 16]]) -> Store {
    let store = Store::new(&Clock::new());
    for key in keys {
        store.put(key, &VALUE).expect("keys and values are short");
    }
    store
}

/// A store built from ascending keys in linear time.
///
/// # Panics
///
/// When the keys do not ascend.
#[must_use]
pub fn store_in_bulk(keys: &[[u8; 16]]) -> Store {
    let mut builder = StoreSegmentBuilder::new();
    for key in keys {
        builder.push(key, &VALUE).expect("the keys ascend");
    }
    let segments = vec![builder.finish()];
    Store::from_segments(&Clock::new(), StoreOptions::new(), segments).expect("one segment")
}
