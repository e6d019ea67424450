//! Searching the hints of a block: with SSE2, or in plain code.
//!
//! Every x86-64 machine has SSE2, so nothing is asked at run time: the question, and a call that cannot be
//! inlined behind it, would cost each of the five searches of a lookup more than the wider vectors of a newer machine
//! save in six compares. Other machines, models and `--cfg whimbrel_portable` take the plain code, with which
//! `ci/test.sh` runs the tests of list and store once more.

use super::raw::MOST_SORTED;
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
    #[cfg(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_portable)))]
    if let Some(lines) = lines.as_array() {
        // SAFETY: every x86-64 machine has SSE2.
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

#[cfg(not(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_portable))))]
pub(super) use count_below_portable as count_below;
#[cfg(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_portable)))]
pub(super) use vector::count_below;

/// Number of hints below one, in ascending hints.
#[cfg(any(test, not(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_portable)))))]
pub(super) fn count_below_portable(hints: &[i16; MOST_SORTED], hint: i16) -> usize {
    hints.partition_point(|other| *other < hint)
}

#[cfg(all(target_arch = "x86_64", not(whimbrel_loom), not(whimbrel_portable)))]
mod vector {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi16, _mm_loadu_si128, _mm_movemask_epi8,
        _mm_packs_epi16, _mm_set1_epi8, _mm_set1_epi16, _mm_setzero_si128,
    };

    use super::{AtomicU64, LANES, MOST_SORTED, Matches};
    use crate::list::raw::MOST_WORDS;

    /// Order hints that a vector compares at once.
    const HINT_LANES: usize = 8;

    /// Number of hints below one, in ascending hints.
    #[inline]
    pub(in crate::list) fn count_below(hints: &[i16; MOST_SORTED], hint: i16) -> usize {
        // SAFETY: every x86-64 machine has SSE2.
        unsafe { count_below_sse2(hints, hint) }
    }

    /// # Safety
    ///
    /// The machine has SSE2.
    #[inline]
    #[target_feature(enable = "sse2")]
    unsafe fn count_below_sse2(hints: &[i16; MOST_SORTED], hint: i16) -> usize {
        const { assert!(MOST_SORTED == 6 * HINT_LANES) };
        let wanted = _mm_set1_epi16(hint);
        let is_below = |lanes: usize| {
            let start = hints[lanes * HINT_LANES..][..HINT_LANES].as_ptr();
            // SAFETY: there are eight hints.
            _mm_cmplt_epi16(unsafe { _mm_loadu_si128(start.cast()) }, wanted)
        };
        let mask = |lanes: usize| {
            let both = _mm_packs_epi16(is_below(lanes), is_below(lanes + 1));
            u64::from(_mm_movemask_epi8(both).cast_unsigned())
        };
        // A bit for each hint: as the hints ascend, those below are the first ones.
        (mask(0) | (mask(2) << 16) | (mask(4) << 32)).trailing_ones() as usize
    }

    /// # Safety
    ///
    /// The machine has SSE2.
    #[inline]
    #[target_feature(enable = "sse2")]
    pub(super) unsafe fn matches(
        lines: &[AtomicU64; MOST_WORDS / LANES],
        fingerprint: u8,
    ) -> Matches {
        let quarters = load(lines);
        let equal = |to: __m128i| {
            let mask = |at: usize| {
                let mask = _mm_movemask_epi8(_mm_cmpeq_epi8(quarters[at], to));
                u64::from(mask.cast_unsigned()) << (at * 16)
            };
            (mask(0) | mask(1)) | (mask(2) | mask(3))
        };
        Matches {
            hits: equal(_mm_set1_epi8(fingerprint.cast_signed())),
            unknown: equal(_mm_setzero_si128()),
        }
    }

    /// Eight relaxed loads in four instructions.
    ///
    /// They stand in assembly because they read atomics that other threads may write: to the
    /// compiler it is opaque, to the machine each aligned word of it is read whole.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(lines: &[AtomicU64; MOST_WORDS / LANES]) -> [__m128i; 4] {
        let (first, second, third, fourth);
        // SAFETY: the 64 bytes are borrowed.
        unsafe {
            asm!(
                "movdqu {first}, [{lines}]",
                "movdqu {second}, [{lines} + 16]",
                "movdqu {third}, [{lines} + 32]",
                "movdqu {fourth}, [{lines} + 48]",
                first = out(xmm_reg) first,
                second = out(xmm_reg) second,
                third = out(xmm_reg) third,
                fourth = lateout(xmm_reg) fourth,
                lines = in(reg) lines.as_ptr(),
                options(nostack, preserves_flags, readonly),
            );
        }
        [first, second, third, fourth]
    }
}

/// Asks the machine to load the lines of `bytes` bytes from an address that need not be valid.
#[inline]
#[cfg_attr(
    all(target_arch = "x86_64", not(whimbrel_loom)),
    expect(clippy::cast_possible_truncation, reason = "addresses have 64 bits")
)]
pub(crate) fn prefetch(address: u64, bytes: u64) {
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
        AtomicU64, MOST_SORTED, Matches, count_below, count_below_portable, matches,
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
        for len in 0..=MOST_SORTED {
            for step in [0, 1, 3, 1000] {
                let mut hints = [i16::MAX; MOST_SORTED];
                for (at, hint) in hints[..len].iter_mut().enumerate() {
                    let top = if at > len / 2 { 0 } else { i16::MIN };
                    *hint = i16::try_from(at * step % 0x8000).expect("small") | top;
                }
                hints[..len].sort_unstable();
                for hint in [i16::MIN, i16::MIN + 1, -7, 0, 1, 2, 3, 1000, i16::MAX] {
                    let right = hints.iter().filter(|other| **other < hint).count();
                    assert_eq!(count_below(&hints, hint), right);
                    assert_eq!(count_below_portable(&hints, hint), right);
                }
            }
        }
    }
}
