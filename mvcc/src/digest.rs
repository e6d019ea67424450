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
        let len = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes();
        match len.len() + key.len() + value.len() {
            0..=64 => hash_joined::<64>(len, key, value),
            65..=256 => hash_joined::<256>(len, key, value),
            _ => hash_in_parts(len, key, value),
        }
    }

    /// Adds an entry.
    #[inline]
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

/// Hash of an entry of at most `SIZE` bytes.
#[inline]
fn hash_joined<const SIZE: usize>(len: [u8; 4], key: &[u8], value: &[u8]) -> u64 {
    let mut joined = [0; SIZE];
    let (head, rest) = joined.split_at_mut(len.len());
    head.copy_from_slice(&len);
    copy_to(&mut rest[..key.len()], key);
    copy_to(&mut rest[key.len()..][..value.len()], value);
    xxh3_64(&joined[..len.len() + key.len() + value.len()])
}

/// Copies bytes; few of them without a call.
#[inline]
fn copy_to(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..=16 => copy_ends::<8>(to, from),
        17..=32 => copy_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first and the last bytes, which together are all.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}

#[cold]
fn hash_in_parts(len: [u8; 4], key: &[u8], value: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&len);
    hash.update(key);
    hash.update(value);
    hash.digest()
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::{Digest, hash_in_parts};

    #[test]
    fn entries_of_all_lengths_hash_alike_whole_and_in_parts() {
        let bytes: Vec<u8> = (0..=255_u8).map(|n| n.wrapping_mul(167)).collect();
        for key_len in (0..70).chain([200, 250, 256]) {
            for value_len in (0..70).chain([186, 200, 256]) {
                let (key, value) = (&bytes[..key_len], &bytes[256 - value_len..]);
                let len = u32::try_from(key_len).expect("short").to_le_bytes();
                let whole = hash_in_parts(len, key, value);
                assert_eq!(Digest::entry_hash(key, value), whole, "{key_len} + {value_len}");
            }
        }
    }
}
