//! Heights of towers, from a seeded hash of the key.
//!
//! No randomness per thread: the same key gets the same height everywhere in one process. The seed
//! is drawn once per process, so that nobody outside can choose keys of equal height.

/// The greatest number of levels.
pub(crate) const MAX_HEIGHT: usize = 20;

/// Height of the tower of `key`: 1 with probability 3/4, one more with 1/4 each, up to the limit.
pub(crate) fn height_of(key: &[u8]) -> usize {
    let zeros = hash(seed(), key).trailing_zeros();
    (1 + zeros as usize / 2).min(MAX_HEIGHT)
}

fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static SEED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().hash_one(0_u64))
}

/// A short multiplicative hash; only its lowest bits are used, after a full mix.
fn hash(seed: u64, key: &[u8]) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = seed ^ (key.len() as u64).wrapping_mul(K);
    let mut chunks = key.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        h = fold(h ^ u64::from_le_bytes(word), K);
    }
    let mut word = [0; 8];
    let rest = chunks.remainder();
    word[..rest.len()].copy_from_slice(rest);
    fold(fold(h ^ u64::from_le_bytes(word), K), seed | 1)
}

/// Both halves of a 128-bit product, folded.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let low = product & u128::from(u64::MAX);
    let folded = low ^ (product >> 64);
    u64::try_from(folded).expect("the fold of two 64-bit halves has 64 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_each_level_goes_on() {
        const KEYS: u32 = 200_000;
        let mut at_least = [0_u32; MAX_HEIGHT + 1];
        for i in 0..KEYS {
            for count in &mut at_least[..height_of(&i.to_be_bytes())] {
                *count += 1;
            }
        }
        assert_eq!(at_least[0], KEYS);
        for level in 1..5 {
            let expected = f64::from(KEYS) / 4_f64.powi(level);
            let got = f64::from(at_least[usize::try_from(level).expect("small")]);
            let slack = 6.0 * expected.sqrt();
            assert!((got - expected).abs() < slack, "level {level}: {got} of {expected}");
        }
    }
}
