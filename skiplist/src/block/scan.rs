//! Searching the words of a block for a hint, with vector instructions where the machine has them.

use super::hint::GREATEST;
use super::words::EMPTY_WORD;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Where the words of a block match; bit `i` stands for word `i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Matches {
    /// Words with the hint, whether flagged [`GREATEST`] or not.
    pub(super) hits: u64,
    /// Words that are empty.
    pub(super) empty: u64,
}

impl Matches {
    /// Number of words before the first empty one.
    pub(super) fn used(self, capacity: usize) -> usize {
        (self.empty.trailing_zeros() as usize).min(capacity)
    }
}

/// Looks at all words for a hint without flags. Each is read once, in an undefined order; a word that was claimed is final, so
/// a hit is one for ever.
///
/// The answer says where to look: records are reached by reading their words again, with Acquire.
/// ThreadSanitizer cannot see what assembly reads, so its builds take the portable path.
#[inline]
pub(super) fn matches(words: &[AtomicU64], hint: u16) -> Matches {
    #[cfg(all(target_arch = "x86_64", not(any(whimbrel_loom, whimbrel_tsan))))]
    if words.len() >= 4 && words.len() <= 64 && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the machine has AVX2, and the slice has 4 to 64 words.
        return unsafe { vector::matches(words, hint) };
    }
    matches_portable(words, hint)
}

/// As [`matches`], on every machine.
pub(super) fn matches_portable(words: &[AtomicU64], hint: u16) -> Matches {
    let mut found = Matches { hits: 0, empty: 0 };
    for (at, word) in words.iter().enumerate() {
        // ORDERING: Relaxed; see `matches`.
        let word = word.load(Ordering::Relaxed);
        if word == EMPTY_WORD {
            // Those behind are empty too, or were when this one was read.
            found.empty = u64::MAX << at;
            break;
        }
        let plain = (word >> 48) & u64::from(!GREATEST);
        found.hits |= u64::from(plain == u64::from(hint)) << at;
    }
    found
}

#[cfg(all(target_arch = "x86_64", not(any(whimbrel_loom, whimbrel_tsan))))]
mod vector {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_castsi256_pd, _mm256_cmpeq_epi16, _mm256_cmpeq_epi64,
        _mm256_movemask_pd, _mm256_set1_epi16, _mm256_setzero_si256,
    };

    use super::{AtomicU64, GREATEST, Matches};

    /// # Safety
    ///
    /// The machine has AVX2, and the slice has 4 to 64 words.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn matches(words: &[AtomicU64], hint: u16) -> Matches {
        let wanted = _mm256_set1_epi16(hint.cast_signed());
        let plain = _mm256_set1_epi16((!GREATEST).cast_signed());
        let zero = _mm256_setzero_si256();
        let (mut hits, mut empty) = (0, 0);
        let last = words.len() - 4;
        let mut at = 0;
        loop {
            // SAFETY: four words from `at <= last` on are inside of the slice.
            let from = unsafe { words.as_ptr().add(at) };
            // SAFETY: as above.
            let four = unsafe { load(from) };
            // The sign of a lane of 64 bits is that of its upper 16: the hint.
            hits |= lanes(_mm256_cmpeq_epi16(_mm256_and_si256(four, plain), wanted)) << at;
            empty |= lanes(_mm256_cmpeq_epi64(four, zero)) << at;
            if at == last {
                return Matches { hits, empty };
            }
            at = (at + 4).min(last);
        }
    }

    #[target_feature(enable = "avx2")]
    fn lanes(compared: __m256i) -> u64 {
        u64::from(_mm256_movemask_pd(_mm256_castsi256_pd(compared)).cast_unsigned())
    }

    /// Four relaxed loads in one instruction.
    ///
    /// The instruction stands in assembly because it reads atomics that other threads may write: to
    /// the compiler it is opaque, to the machine each aligned word of it is read whole.
    ///
    /// # Safety
    ///
    /// `words` leads to four words, and the machine has AVX.
    #[target_feature(enable = "avx2")]
    unsafe fn load(words: *const AtomicU64) -> __m256i {
        let four;
        // SAFETY: the caller says that the 32 bytes may be read.
        unsafe {
            asm!(
                "vmovdqu {four}, [{words}]",
                four = out(ymm_reg) four,
                words = in(reg) words,
                options(nostack, preserves_flags, readonly),
            );
        }
        four
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
    use super::{AtomicU64, matches, matches_portable};

    #[test]
    fn both_paths_find_the_same() {
        for len in 1..=64_usize {
            for used in 0..=len {
                let words: Vec<AtomicU64> = (0..len)
                    .map(|at| {
                        let hint = (at as u64 * 7) % 5 + 0x0FFE + ((at as u64 & 1) << 15);
                        AtomicU64::new(if at < used { (hint << 48) | 4096 } else { 0 })
                    })
                    .collect();
                for hint in 0x0FFD..=0x1003 {
                    let (quick, plain) = (matches(&words, hint), matches_portable(&words, hint));
                    assert_eq!(quick.hits, plain.hits);
                    assert_eq!(quick.used(len), plain.used(len));
                    assert_eq!(plain.used(len), used);
                }
            }
        }
    }
}
