//! Searching the hints of a block, with vector instructions where the machine has them.

use super::raw::MOST_WORDS;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Fingerprints that lie in one 64-bit word.
pub(super) const LANES: usize = 8;

/// Where the fingerprints of a block match; bit `i` stands for word `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matches {
    /// Words with the fingerprint.
    pub(super) hits: u64,
    /// Words whose fingerprint is not known: they are empty, closed, or were claimed just now.
    pub(super) unknown: u64,
}

impl Matches {
    /// Nothing is known to match.
    pub(super) const NONE: Self = Self { hits: 0, unknown: 0 };
}

/// Looks at all fingerprints, eight in a word, at most 64. Each is read once, in an undefined order; one
/// that is known never changes.
///
/// The answer says where to look: records are reached by reading their words, with Acquire.
#[inline]
pub(super) fn matches(lines: &[AtomicU64], fingerprint: u8) -> Matches {
    #[cfg(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_tsan)))]
    if lines.len() == 64 / LANES && vector::is_there() {
        // SAFETY: the machine has AVX2, and there are 64 fingerprints.
        return unsafe { vector::matches(lines, fingerprint) };
    }
    matches_portable(lines, fingerprint)
}

/// As [`matches`], on every machine: eight fingerprints at a time in a 64-bit register.
pub(super) fn matches_portable(lines: &[AtomicU64], fingerprint: u8) -> Matches {
    let wanted = u64::from_ne_bytes([fingerprint; LANES]);
    let mut found = Matches { hits: 0, unknown: 0 };
    for (at, line) in lines.iter().enumerate() {
        // ORDERING: Relaxed; see `matches`.
        let line = line.load(Ordering::Relaxed);
        found.hits |= zero_bytes(line ^ wanted) << (at * LANES);
        found.unknown |= zero_bytes(line) << (at * LANES);
    }
    found
}

/// A bit for each byte of a word: whether it is zero.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = 0x7F7F_7F7F_7F7F_7F7F;
    // The sum carries into the top bit of a byte, and not further, when its low bits are not zero.
    let top = !(((word & LOW) + LOW) | word | LOW);
    // Gathers the top bits of the eight bytes in the highest byte.
    (top >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Number of hints below one, in ascending hints.
#[inline]
pub(super) fn count_below(hints: &[u16; MOST_WORDS], hint: u16) -> usize {
    #[cfg(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_tsan)))]
    if vector::is_there() {
        // SAFETY: the machine has AVX2 and POPCNT.
        return unsafe { vector::count_below(hints, hint) };
    }
    count_below_portable(hints, hint)
}

/// As [`count_below`], on every machine.
pub(super) fn count_below_portable(hints: &[u16; MOST_WORDS], hint: u16) -> usize {
    hints.partition_point(|other| *other < hint)
}

#[cfg(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_tsan)))]
mod vector {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256i, _mm256_cmpeq_epi8, _mm256_cmpeq_epi16, _mm256_loadu_si256, _mm256_max_epu16,
        _mm256_movemask_epi8, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256,
    };

    use super::{AtomicU64, MOST_WORDS, Matches};

    /// Order hints that a vector compares at once.
    const HINT_LANES: usize = 16;

    /// Whether the machine has the instructions; asked once, then remembered.
    #[inline]
    pub(super) fn is_there() -> bool {
        std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt")
    }

    /// # Safety
    ///
    /// The machine has AVX2, and there are 8 lines.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn matches(lines: &[AtomicU64], fingerprint: u8) -> Matches {
        let wanted = _mm256_set1_epi8(fingerprint.cast_signed());
        let zero = _mm256_setzero_si256();
        // SAFETY: there are 8 lines: 64 bytes.
        let (low, high) = unsafe { load(lines.as_ptr()) };
        let mask = |low: __m256i, high: __m256i| {
            let low = u64::from(_mm256_movemask_epi8(low).cast_unsigned());
            low | (u64::from(_mm256_movemask_epi8(high).cast_unsigned()) << 32)
        };
        Matches {
            hits: mask(_mm256_cmpeq_epi8(low, wanted), _mm256_cmpeq_epi8(high, wanted)),
            unknown: mask(_mm256_cmpeq_epi8(low, zero), _mm256_cmpeq_epi8(high, zero)),
        }
    }

    /// # Safety
    ///
    /// The machine has AVX2 and POPCNT.
    #[target_feature(enable = "avx2,popcnt")]
    pub(super) unsafe fn count_below(hints: &[u16; MOST_WORDS], hint: u16) -> usize {
        let wanted = _mm256_set1_epi16(hint.cast_signed());
        let mut not_below = 0;
        for lanes in hints.chunks_exact(HINT_LANES) {
            // SAFETY: the chunk is 32 bytes long.
            let lanes = unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) };
            // The greater of both is the lane: the lane is not below.
            let mask =
                _mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_max_epu16(lanes, wanted), lanes));
            not_below += mask.count_ones();
        }
        hints.len() - (not_below / 2) as usize
    }

    /// Eight relaxed loads in two instructions.
    ///
    /// They stand in assembly because they read atomics that other threads may write: to the
    /// compiler it is opaque, to the machine each aligned word of it is read whole.
    ///
    /// # Safety
    ///
    /// `lines` leads to eight words, and the machine has AVX.
    #[target_feature(enable = "avx2")]
    unsafe fn load(lines: *const AtomicU64) -> (__m256i, __m256i) {
        let (low, high);
        // SAFETY: the caller says that the 64 bytes may be read.
        unsafe {
            asm!(
                "vmovdqu {low}, [{lines}]",
                "vmovdqu {high}, [{lines} + 32]",
                low = out(ymm_reg) low,
                high = out(ymm_reg) high,
                lines = in(reg) lines,
                options(nostack, preserves_flags, readonly),
            );
        }
        (low, high)
    }
}

/// Asks the machine to load the lines of `bytes` bytes from an address that need not be valid.
#[inline]
#[cfg_attr(
    all(target_arch = "x86_64", not(whimbrel_loom)),
    expect(clippy::cast_possible_truncation, reason = "addresses have 64 bits")
)]
pub(super) fn prefetch(address: u64, bytes: u64) {
    #[cfg(all(target_arch = "x86_64", not(whimbrel_loom)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let mut at = 0;
        while at < bytes {
            let line = std::ptr::with_exposed_provenance::<i8>((address + at) as usize);
            // SAFETY: a prefetch reads nothing that the program could see, and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
            at += 64;
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(whimbrel_loom))))]
    let _ = (address, bytes);
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::{
        AtomicU64, MOST_WORDS, Matches, count_below, count_below_portable, matches,
        matches_portable,
    };

    #[test]
    fn both_paths_find_the_same_fingerprints() {
        let mut number = 1_u64;
        for round in 0..2000_u64 {
            // Few values, zero among them, so that every position matches now and then.
            let bytes: Vec<u8> = (0..64)
                .map(|_| {
                    number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) + round;
                    [0, 1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF][(number % 8) as usize]
                })
                .collect();
            let lines: Vec<AtomicU64> = bytes
                .chunks(8)
                .map(|line| AtomicU64::new(u64::from_le_bytes(line.try_into().expect("8 bytes"))))
                .collect();
            for wanted in [1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF, 3] {
                let bits = |of: u8| {
                    (0..64).filter(|at| bytes[*at] == of).fold(0, |bits, at| bits | (1_u64 << at))
                };
                let right = Matches { hits: bits(wanted), unknown: bits(0) };
                assert_eq!(matches(&lines, wanted), right);
                assert_eq!(matches_portable(&lines, wanted), right);
            }
        }
    }

    #[test]
    fn both_paths_count_the_same_hints() {
        for len in 0..=MOST_WORDS {
            for step in [0, 1, 3, 1000] {
                let mut hints = [u16::MAX; MOST_WORDS];
                for (at, hint) in hints[..len].iter_mut().enumerate() {
                    let top = if at > len / 2 { 0x8000 } else { 0 };
                    *hint = u16::try_from(at * step % 0x8000).expect("small") | top;
                }
                hints[..len].sort_unstable();
                for hint in [0, 1, 2, 3, 1000, 0x7FFF, 0x8000, 0x8003, 0xFFFF] {
                    let right = hints.iter().filter(|other| **other < hint).count();
                    assert_eq!(count_below(&hints, hint), right);
                    assert_eq!(count_below_portable(&hints, hint), right);
                }
            }
        }
    }
}
