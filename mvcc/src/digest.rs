//! Order-independent digest of a set of entries, computed as they come or kept while they change.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Digest of a set of entries: their number and the wrapping sum of their hashes.
///
/// Equal sets have equal digests in whatever order and from whatever parts they were computed. The
/// hash of an entry covers the key's length, the key and the value. It finds accidents (a lost, doubled
/// or changed entry), not forgeries.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::Digest;
///
/// let mut digest = Digest::default();
/// digest.add(b"a", b"1");
/// digest.add(b"b", b"2");
/// digest.remove(b"a", b"1");
/// let mut other = Digest::default();
/// other.add(b"b", b"2");
/// assert_eq!(digest, other);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Number of entries.
    pub count: u64,
    /// Wrapping sum of [`Digest::entry_hash`] over the entries.
    pub sum: u64,
}

impl Digest {
    /// XXH3 (64 bits, seed 0) over key length (u32, little endian), key, value.
    #[must_use]
    pub fn entry_hash(key: &[u8], value: &[u8]) -> u64 {
        const SMALL: usize = 256;
        let len = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes();
        let total = len.len() + key.len() + value.len();
        if total <= SMALL {
            let mut joined = [0_u8; SMALL];
            let (head, rest) = joined.split_at_mut(len.len());
            head.copy_from_slice(&len);
            rest[..key.len()].copy_from_slice(key);
            rest[key.len()..key.len() + value.len()].copy_from_slice(value);
            return xxh3_64(&joined[..total]);
        }
        let mut hash = Xxh3::new();
        hash.update(&len);
        hash.update(key);
        hash.update(value);
        hash.digest()
    }

    /// Adds an entry.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_add(1);
        self.sum = self.sum.wrapping_add(Self::entry_hash(key, value));
    }

    /// Takes an entry away.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.count = self.count.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(Self::entry_hash(key, value));
    }

    /// Adds all entries of another set. The sets must be disjoint to mean their union.
    pub fn merge(&mut self, other: &Digest) {
        self.count = self.count.wrapping_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}
