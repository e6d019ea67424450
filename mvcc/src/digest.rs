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
        hash_joined::<64>(key, value)
            .or_else(|| hash_joined::<256>(key, value))
            .unwrap_or_else(|| hash_in_parts(key, value))
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

/// Adds up the digest of entries that are given one after the other, faster than [`Digest::add`].
///
/// The hash wants key length, key and value in one piece. Reading them back as soon as they were joined
/// makes a processor wait until all that it wrote before has left it, since the hash reads other pieces than
/// were written. So an entry lies here joined until some more have come, and is hashed then.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Digest, Digester};
///
/// let (mut digester, mut digest) = (Digester::default(), Digest::default());
/// for (key, value) in [("avocet", "1"), ("knot", "2")] {
///     digester.add(key.as_bytes(), value.as_bytes());
///     digest.add(key.as_bytes(), value.as_bytes());
/// }
/// assert_eq!(digester.digest(), digest);
/// ```
#[derive(Clone, Default)]
pub struct Digester {
    /// Of all entries; the hashes of those that are joined are missing.
    digest: Digest,
    joined: [Joined; JOINED_ENTRIES],
    /// Which of them is the oldest.
    oldest: usize,
}

/// Entries that lie joined: so many instructions behind its writing an entry is read back that all of it has
/// reached the cache.
const JOINED_ENTRIES: usize = 4;

impl Digester {
    /// Adds an entry.
    #[inline(always)]
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let joined = &mut self.joined[self.oldest % JOINED_ENTRIES];
        self.oldest += 1;
        self.digest.count = self.digest.count.wrapping_add(1);
        self.digest.sum = self.digest.sum.wrapping_add(joined.hash());
        if !joined.put(key, value) {
            self.digest.sum = self.digest.sum.wrapping_add(hash_in_parts(key, value));
        }
    }

    /// Digest of the entries that were added.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let hashes = self.joined.iter().map(Joined::hash);
        Digest { sum: hashes.fold(self.digest.sum, u64::wrapping_add), ..self.digest }
    }
}

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digester").field("digest", &self.digest()).finish()
    }
}

/// The longest entry, its key's length included, that is joined.
const JOINED_MAX: usize = 256;

/// Bytes of a key's length in what is hashed.
const LEN_BYTES: usize = 4;

/// What is hashed of an entry, or nothing.
#[derive(Clone)]
struct Joined {
    bytes: [u8; JOINED_MAX],
    len: usize,
}

impl Joined {
    /// The hash; 0 where there is nothing.
    #[inline(always)]
    fn hash(&self) -> u64 {
        if self.len == 0 { 0 } else { hash_whole(&self.bytes[..self.len]) }
    }

    /// Puts an entry here. False: it is too long, and nothing is here.
    #[inline(always)]
    fn put(&mut self, key: &[u8], value: &[u8]) -> bool {
        let len = LEN_BYTES + key.len() + value.len();
        let room = self.bytes.get_mut(..len);
        self.len = if room.is_some() { len } else { 0 };
        room.map(|room| join(room, key, value)).is_some()
    }
}

impl Default for Joined {
    fn default() -> Self {
        Self { bytes: [0; JOINED_MAX], len: 0 }
    }
}

#[inline(never)]
fn hash_whole(joined: &[u8]) -> u64 {
    xxh3_64(joined)
}

/// Hash of an entry that is [joined](join) in at most so many bytes.
#[inline]
fn hash_joined<const SIZE: usize>(key: &[u8], value: &[u8]) -> Option<u64> {
    let mut joined = [0; SIZE];
    let joined = joined.get_mut(..LEN_BYTES + key.len() + value.len())?;
    join(joined, key, value);
    Some(xxh3_64(joined))
}

/// Writes what is hashed of an entry in one piece, which is as long as that.
#[inline(always)]
fn join(joined: &mut [u8], key: &[u8], value: &[u8]) {
    let (head, rest) = joined.split_at_mut(LEN_BYTES);
    head.copy_from_slice(&(key.len() as u64).to_le_bytes()[..LEN_BYTES]);
    let (key_part, rest) = rest.split_at_mut(key.len());
    copy_to(key_part, key);
    copy_to(&mut rest[..value.len()], value);
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
fn hash_in_parts(key: &[u8], value: &[u8]) -> u64 {
    let len = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut hash = Xxh3::new();
    hash.update(&len);
    hash.update(key);
    hash.update(value);
    hash.digest()
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::{Digest, Digester, hash_in_parts};

    #[test]
    fn entries_of_all_lengths_hash_alike_whole_and_in_parts() {
        let bytes: Vec<u8> = (0..=255_u8).map(|n| n.wrapping_mul(167)).collect();
        let (mut digester, mut digest) = (Digester::default(), Digest::default());
        for key_len in (0..70).chain([200, 250, 256]) {
            for value_len in (0..70).chain([186, 200, 256]) {
                let (key, value) = (&bytes[..key_len], &bytes[256 - value_len..]);
                let whole = hash_in_parts(key, value);
                assert_eq!(Digest::entry_hash(key, value), whole, "{key_len} + {value_len}");
                digest.add(key, value);
                digester.add(key, value);
                assert_eq!(digester.digest(), digest, "{key_len} + {value_len}");
            }
        }
    }
}
