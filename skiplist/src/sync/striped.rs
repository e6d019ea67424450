//! Statistics that many threads count, in memory that few need.

use crossbeam_utils::CachePadded;
use once_cell::race::OnceBox;

use super::{Counter, thread_number};

/// Stripes; few, because every list that is used much has them.
const STRIPES: usize = 4;

/// Uses before there are stripes.
const FEW: u64 = 256;

/// Counts of the same things by many threads, one `T` for each stripe of them, so that writers do not
/// meet on a cache line.
///
/// A process has thousands of lists that are never written, and four cache lines are much for one of
/// those. So the first few uses, of all threads, are counted in place; then the stripes are allocated,
/// and what was counted in place stays there and is written no more. Lock-free: of threads that allocate
/// at one time one is first, and the others take its stripes.
///
/// Statistics only, as [`Counter`]: nothing is published through it, and models do not explore it.
#[derive(Debug, Default)]
pub struct Striped<T> {
    /// What the first uses counted.
    first: T,
    uses: Counter,
    stripes: OnceBox<[CachePadded<T>; STRIPES]>,
}

impl<T: Default> Striped<T> {
    /// Where the calling thread counts.
    #[inline]
    pub fn mine(&self) -> &T {
        match self.stripes.get() {
            Some(stripes) => &stripes[thread_number() % STRIPES],
            None => self.early(),
        }
    }

    #[cold]
    fn early(&self) -> &T {
        if self.uses.add(1) == FEW {
            let stripes = Box::new(std::array::from_fn(|_| CachePadded::new(T::default())));
            // Once: another thread has none to set.
            let _ = self.stripes.set(stripes);
        }
        &self.first
    }

    /// The wrapping sum of a count over all threads; exact when no thread is counting.
    pub fn sum(&self, of: impl Fn(&T) -> u64) -> u64 {
        let stripes = self.stripes.get().into_iter().flatten();
        stripes.fold(of(&self.first), |sum, stripe| sum.wrapping_add(of(stripe)))
    }
}

#[cfg(all(test, not(any(whimbrel_loom, whimbrel_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_stripes_come() {
        const THREADS: u64 = 4;
        for each in [1, FEW / THREADS, FEW, 10 * FEW] {
            let counts = Striped::<Counter>::default();
            assert_eq!(counts.sum(Counter::get), 0);
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (0..each).for_each(|_| _ = counts.mine().add(1)));
                }
            });
            assert_eq!(counts.sum(Counter::get), THREADS * each);
            assert_eq!(counts.stripes.get().is_some(), THREADS * each > FEW);
        }
    }

    #[test]
    fn a_thread_counts_below_zero_what_another_counted() {
        let counts = Striped::<Counter>::default();
        counts.mine().add(5);
        std::thread::scope(|scope| {
            scope.spawn(|| (0..FEW + 9).for_each(|_| counts.mine().sub(1)));
        });
        (0..FEW + 9).for_each(|_| _ = counts.mine().add(1));
        assert_eq!(counts.sum(Counter::get), 5);
    }
}
