//! Hints: the 16 bits that a word holds beside the address of its record.
//!
//! At level 0 a *fingerprint* of the whole key: lookups ask for equality only, and a fingerprint
//! tells keys apart however much they have in common. Above, searches ask for order. The words that a
//! rebuild put in order hold the 16 bits that follow what all keys of the block's range share; a word
//! that came later holds its *rank*, the number of those words that are not above it, so that a search
//! that knows its own rank looks at few of them, whatever the keys look like. Hints never decide alone:
//! equal ones are followed by a comparison of keys.

/// Flag of a hint above level 0, ignored by the search for equal hints: the word came after the words
/// in order, and its key is not below any that was in the block before.
pub(super) const GREATEST: u16 = 1 << 15;

/// Fingerprint of a key; never 0, so that it differs from words without a record.
pub(super) fn fingerprint(key: &[u8]) -> u16 {
    if cfg!(whimbrel_loom) {
        // Models compare all keys, so that they touch all canaries.
        return 1;
    }
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut hash = (key.len() as u64).wrapping_mul(ODD);
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        let chunk = u64::from_le_bytes(chunk.try_into().expect("chunks have 8 bytes"));
        hash = (hash ^ chunk).wrapping_mul(ODD);
        hash ^= hash >> 29;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(ODD);
    }
    (top16(hash) & !GREATEST).max(1)
}

/// Hint of a word that came after the words in order, above level 0: its rank among them, plus 1 so
/// that it differs from words without a record.
pub(super) fn rank_hint(rank: usize) -> u16 {
    u16::try_from(rank + 1).expect("blocks have few words")
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
pub(super) fn shared_bytes(low: &[u8], high: &[u8]) -> usize {
    low.iter().zip(high).take_while(|(low, high)| low == high).count()
}

/// Order hint of a key: 16 bits from bit `skip` on, zeros beyond its end. Does not decrease from a
/// smaller key to a greater one when both share the first `skip` bits.
pub(super) fn order_hint(key: &[u8], skip: u32) -> u16 {
    if cfg!(whimbrel_loom) {
        return 0;
    }
    top16(head(key, (skip / 8) as usize) << (skip % 8))
}

/// Eight bytes of a key from byte `from` on as a number, zeros beyond its end.
pub(super) fn head(key: &[u8], from: usize) -> u64 {
    if let Some(bytes) = key.get(from..from + 8) {
        return u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
    }
    let rest = key.get(from..).unwrap_or_default();
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

fn top16(bits: u64) -> u16 {
    (bits >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::{head, order_hint, shared_bits};

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
                let skip = shared_bits(&range[0], &range[range.len() - 1]);
                let hints: Vec<u16> = range.iter().map(|key| order_hint(key, skip)).collect();
                assert!(hints.is_sorted(), "{bits} bits shared: {skip}");
            }
        }
    }

    #[test]
    fn order_hints_follow_the_order_of_keys() {
        let keys: [&[u8]; 7] =
            [b"", b"\x00", b"a", b"ab", b"abcdefghi", b"abcdefghij", b"abcdefghik\xFF"];
        for pair in keys.windows(2) {
            let skip = shared_bits(pair[0], pair[1]);
            assert!(order_hint(pair[0], skip) <= order_hint(pair[1], skip), "{pair:?}");
        }
        assert_eq!(shared_bits(b"a", b"c"), 6);
        assert_eq!(head(b"abc", 1), 0x6263_0000_0000_0000);
        assert_eq!(head(b"abc", 9), 0);
    }
}
