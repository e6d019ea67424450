//! Hints: what a block knows of the keys of its records without reading them.
//!
//! A *fingerprint* is one byte of a hash of the whole key. Lookups at level 0 ask for equality only, and
//! a fingerprint tells keys apart however much they have in common; those of a block lie side by side.
//! An *order hint* is the 16 bits of a key that follow what all keys of the block's range share; it
//! stands in the word, beside the address of the record. Walks order by it, and searches on the levels
//! above go by it; there some blocks pass over more bits (`window.rs`). Hints never decide alone: equal ones are followed by a comparison of keys, and a
//! fingerprint that is not there yet says nothing.

/// A key that is looked for, with its first eight bytes as a number.
#[derive(Clone, Copy)]
pub(super) struct Needle<'k> {
    pub(super) key: &'k [u8],
    head: u64,
}

impl<'k> Needle<'k> {
    #[inline]
    pub(super) fn new(key: &'k [u8]) -> Self {
        Self { key, head: head(key, 0) }
    }

    /// Eight bytes from byte `from` on.
    #[inline]
    pub(super) fn head(self, from: usize) -> u64 {
        if from == 0 { self.head } else { head(self.key, from) }
    }

    /// The order hint in a block whose keys share so many bits.
    #[inline]
    pub(super) fn order_hint(self, shared: u32) -> u16 {
        if cfg!(whimbrel_loom) || shared > 48 {
            return order_hint(self.key, shared);
        }
        top16(self.head << shared)
    }
}

/// Fingerprint of a key; never 0, which stands for "not known yet".
#[inline]
pub(super) fn fingerprint(key: &[u8]) -> u8 {
    if cfg!(whimbrel_loom) {
        // Models compare all keys, so that they touch all canaries.
        return 1;
    }
    let hash = (key.len() as u64).wrapping_mul(ODD);
    if let Ok(key) = <&[u8; 16]>::try_from(key) {
        // Keys of this length are common, and are hashed without a loop.
        let [first, second] = [0, 8].map(|at| std::array::from_fn(|byte| key[at + byte]));
        return top_byte(mix(mix(hash, first), second));
    }
    let (chunks, rest) = key.as_chunks();
    let mut hash = chunks.iter().fold(hash, |hash, chunk| mix(hash, *chunk));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(ODD);
    }
    top_byte(hash)
}

/// Multiplier of the hash.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

#[inline]
fn mix(hash: u64, chunk: [u8; 8]) -> u64 {
    let hash = (hash ^ u64::from_le_bytes(chunk)).wrapping_mul(ODD);
    hash ^ (hash >> 29)
}

#[inline]
fn top_byte(hash: u64) -> u8 {
    ((hash >> 56) as u8).max(1)
}

/// Number of bits that two keys share from the beginning, in whole keys: a key that ends is smaller
/// than what continues it, and shares no bits beyond its end.
pub(super) fn shared_bits(low: &[u8], high: &[u8]) -> u32 {
    let bytes = shared_bytes(low, high);
    let shared = match (low.get(bytes), high.get(bytes)) {
        (Some(low), Some(high)) => (low ^ high).leading_zeros(),
        _ => 0,
    };
    u32::try_from(bytes * 8).expect("keys are below 64 KiB") + shared
}

/// Number of bytes that two keys share from the beginning.
#[inline]
pub(super) fn shared_bytes(low: &[u8], high: &[u8]) -> usize {
    let most = low.len().min(high.len());
    let mut at = 0;
    while at + 8 <= most {
        let differ = head(low, at) ^ head(high, at);
        if differ != 0 {
            return at + differ.leading_zeros() as usize / 8;
        }
        at += 8;
    }
    at + low[at..most].iter().zip(&high[at..most]).take_while(|(low, high)| low == high).count()
}

/// Whether two keys are equal, without a call: most are short.
#[inline]
pub(super) fn same_bytes(one: &[u8], other: &[u8]) -> bool {
    let len = one.len();
    if len < 8 || other.len() != len {
        return one == other;
    }
    let mut at = 0;
    while at + 8 < len {
        if word(one, at) != word(other, at) {
            return false;
        }
        at += 8;
    }
    // The last eight bytes, some of them once more.
    word(one, len - 8) == word(other, len - 8)
}

/// Eight bytes of a key from byte `at` on, in the machine's order.
#[inline]
fn word(key: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(key[at..at + 8].try_into().expect("8 bytes"))
}

/// Byte from which on the heads of keys are compared in a block whose keys share so many bits.
#[inline]
pub(super) fn head_offset(shared: u32) -> usize {
    if shared < 64 { 0 } else { (shared / 8) as usize }
}

/// Order hint of a key: 16 bits from bit `shared` on, zeros beyond its end. Does not decrease from a
/// smaller key to a greater one when both share the first `shared` bits.
#[inline]
pub(super) fn order_hint(key: &[u8], shared: u32) -> u16 {
    if cfg!(whimbrel_loom) {
        return 0;
    }
    top16(head(key, (shared / 8) as usize) << (shared % 8))
}

/// Eight bytes of a key from byte `from` on as a number, zeros beyond its end.
#[inline]
pub(super) fn head(key: &[u8], from: usize) -> u64 {
    if let Some(bytes) = key.get(from..from + 8) {
        return u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
    }
    short_head(key, from)
}

#[cold]
fn short_head(key: &[u8], from: usize) -> u64 {
    let byte = |at| u64::from(key.get(from + at).copied().unwrap_or(0));
    (0..8).fold(0, |bits, at| bits << 8 | byte(at))
}

#[inline]
fn top16(bits: u64) -> u16 {
    (bits >> 48) as u16
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::{Needle, head, order_hint, shared_bits, shared_bytes};

    #[test]
    fn order_hints_rise_with_the_keys_of_any_range() {
        // All prefixes of 8 to 40 bits, followed by all values of a byte and a tail.
        for bits in 8..=40_u32 {
            let mut keys: Vec<Vec<u8>> = Vec::new();
            for number in 0..512_u64 {
                let value = (number * 0x0101) << (48 - bits);
                let prefix = u64::MAX << (64 - bits);
                let bytes = (prefix | value).to_be_bytes();
                keys.push(bytes[..3 + usize::try_from(number % 6).expect("small")].to_vec());
            }
            keys.sort();
            keys.dedup();
            for pair in [(0, keys.len() - 1), (7, 90), (100, 101), (keys.len() / 2, keys.len() - 9)]
            {
                let range = &keys[pair.0..=pair.1];
                let shared = shared_bits(&range[0], &range[range.len() - 1]);
                let hints: Vec<u16> = range.iter().map(|key| order_hint(key, shared)).collect();
                assert!(hints.is_sorted(), "{bits} bits shared: {shared}");
                for (key, hint) in range.iter().zip(hints) {
                    assert_eq!(Needle::new(key).order_hint(shared), hint);
                }
            }
        }
    }

    #[test]
    fn order_hints_follow_the_order_of_keys() {
        let keys: [&[u8]; 7] =
            [b"", b"\x00", b"a", b"ab", b"abcdefghi", b"abcdefghij", b"abcdefghik\xFF"];
        for pair in keys.windows(2) {
            let shared = shared_bits(pair[0], pair[1]);
            assert!(order_hint(pair[0], shared) <= order_hint(pair[1], shared), "{pair:?}");
        }
        assert_eq!(shared_bits(b"a", b"c"), 6);
        assert_eq!(shared_bytes(b"abcdefghij", b"abcdefghiJ"), 9);
        assert_eq!(shared_bytes(b"abcdefghij", b"abcdEfghij"), 4);
        assert_eq!(shared_bytes(b"abcdefghij", b"abcdefgh"), 8);
        assert_eq!(head(b"abc", 1), 0x6263_0000_0000_0000);
        assert_eq!(head(b"abc", 9), 0);
    }
}
