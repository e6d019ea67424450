//! How the bars measure: times and medians.

use std::time::{Duration, Instant};

/// The time of one call.
pub fn time<R>(work: impl FnOnce() -> R) -> (Duration, R) {
    let begin = Instant::now();
    let result = work();
    (begin.elapsed(), result)
}

/// The middle one of several figures.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A figure to look at.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
pub fn float(n: u64) -> f64 {
    n as f64
}

/// Bytes in MiB.
#[must_use]
pub fn mib(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}
