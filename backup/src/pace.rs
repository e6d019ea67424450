//! Limits how many bytes a second long work writes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::Error;

/// Longest sleep between two looks at the cancel flag.
const SLICE: Duration = Duration::from_millis(20);

/// A bucket of bytes that fills at a constant rate and may be overdrawn: who writes takes what was
/// written out of it, and rests until it is level again. All threads of a work share one.
#[derive(Debug)]
pub(crate) struct Pace {
    began: Instant,
    bucket: Mutex<Bucket>,
}

/// The bucket on a time scale of its own, so that tests need no clock.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    /// When all that was written would have been written at the rate.
    level_at: Duration,
}

impl Bucket {
    /// Takes bytes that were written by `now` and answers how long their writer has to rest. Time in which
    /// nothing was written is lost: there are no bursts.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let took = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.level_at = self.level_at.max(now).saturating_add(took);
        self.level_at.saturating_sub(now)
    }
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        let bucket = Bucket { bytes_per_second: bytes_per_second.max(1), level_at: Duration::ZERO };
        Self { began: Instant::now(), bucket: Mutex::new(bucket) }
    }

    /// Rests for as long as `bytes` bytes take at the rate, unless `cancelled` says so before.
    pub(crate) fn rest(&self, bytes: u64, cancelled: impl Fn() -> bool) -> Result<(), Error> {
        let now = self.began.elapsed();
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let end = now.saturating_add(bucket.take(now, bytes));
        drop(bucket);
        loop {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            match end.checked_sub(self.began.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(SLICE)),
                _ => return Ok(()),
            }
        }
    }
}

/// Where long work stands: what a person who waits for it wants to know.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Speed {
    /// Entries done.
    pub entries: u64,
    /// Entries in all, about; 0 while the work has not said.
    pub total: u64,
    /// Bytes of keys and values done.
    pub bytes: u64,
    /// Entries a second since the work began.
    pub entries_per_second: f64,
    /// Bytes of keys and values a second.
    pub bytes_per_second: f64,
    /// Time that the rest will take at this rate; none while nothing is known about it.
    pub remaining: Option<Duration>,
}

impl Speed {
    #[expect(clippy::cast_precision_loss, reason = "rates for people to read")]
    fn of(total: u64, entries: u64, bytes: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let rate = |count| crate::progress::rate(count, seconds);
        let known = total > 0 && entries > 0 && seconds > 0.0;
        let left = total.saturating_sub(entries) as f64 / rate(entries);
        let remaining = known.then(|| Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX));
        Self {
            entries,
            total,
            bytes,
            entries_per_second: rate(entries),
            bytes_per_second: rate(bytes),
            remaining,
        }
    }
}

/// Sums up the progress of long work, for who asks from another thread.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use whimbrel_backup::progress::{Meter, Progress, Work};
///
/// let meter = Arc::new(Meter::new());
/// let work = Work::default().with_progress(meter.clone());
/// // The work does this:
/// work.begin(4);
/// work.add(1, 10);
/// let speed = meter.speed();
/// assert_eq!((speed.entries, speed.total, speed.bytes), (1, 4, 10));
/// assert!(speed.remaining.is_some());
/// ```
#[derive(Debug)]
pub struct Meter(Mutex<Sum>);

#[derive(Debug)]
struct Sum {
    began: Instant,
    total: u64,
    entries: u64,
    bytes: u64,
}

impl Meter {
    /// A meter that counts from now on, or from when the work begins.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Sum { began: Instant::now(), total: 0, entries: 0, bytes: 0 }))
    }

    /// Where the work stands now.
    #[must_use]
    pub fn speed(&self) -> Speed {
        let sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Speed::of(sum.total, sum.entries, sum.bytes, sum.began.elapsed())
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl crate::progress::Progress for Meter {
    fn add(&self, entries: u64, bytes: u64) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sum.entries += entries;
        sum.bytes += bytes;
    }

    fn begin(&self, entries: u64) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (sum.began, sum.total) = (Instant::now(), entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cancel;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_bucket_makes_the_sum_of_all_threads_keep_the_rate() {
        let mut bucket = Bucket { bytes_per_second: 1000, level_at: Duration::ZERO };
        assert_eq!(bucket.take(at(0), 100), at(100));
        // A second thread writes meanwhile: it rests behind the first one.
        assert_eq!(bucket.take(at(50), 100), at(150));
        assert_eq!(bucket.take(at(200), 50), at(50), "level at 200, so only its own");
        // Nothing was written for long: that is not saved up.
        assert_eq!(bucket.take(at(60_000), 100), at(100));
        assert_eq!(bucket.take(at(60_100), 0), Duration::ZERO);
    }

    #[test]
    fn absurd_rates_and_lengths_do_not_overflow() {
        let mut bucket = Bucket { bytes_per_second: 1, level_at: Duration::ZERO };
        for _ in 0..3 {
            assert!(bucket.take(at(1), u64::MAX) > Duration::from_secs(1 << 33));
        }
    }

    #[test]
    fn a_rest_ends_when_the_work_is_cancelled() {
        let (pace, cancel) = (Pace::new(1), Cancel::new());
        std::thread::scope(|scope| {
            let rest = scope.spawn(|| pace.rest(1 << 40, || cancel.is_cancelled()));
            std::thread::sleep(at(5));
            cancel.cancel();
            assert!(matches!(rest.join().expect("no panic"), Err(Error::Cancelled)));
        });
        assert!(pace.began.elapsed() < Duration::from_secs(60), "it would have been 34,000 years");
    }

    #[test]
    fn the_remaining_time_follows_from_the_rate() {
        let speed = Speed::of(1000, 250, 4000, Duration::from_secs(2));
        assert_eq!((speed.entries_per_second, speed.bytes_per_second), (125.0, 2000.0));
        assert_eq!(speed.remaining, Some(Duration::from_secs(6)));
        assert_eq!(Speed::of(0, 250, 0, at(1)).remaining, None, "the total is not known");
        assert_eq!(Speed::of(10, 0, 0, at(1)).remaining, None, "nothing is done");
        assert_eq!(Speed::of(10, 20, 0, at(1)).remaining, Some(Duration::ZERO), "estimated low");
    }
}
