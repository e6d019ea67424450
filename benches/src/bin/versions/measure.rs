//! How the bars measure: latencies, memory.

use std::time::Duration;

use whimbrel_benches::measure::float;

/// Latencies in nanoseconds.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn note(&mut self, time: Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// The one that so many of a thousand are not above, in microseconds.
    pub(crate) fn per_mille(&mut self, per_mille: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * per_mille / 1000).min(self.0.len().saturating_sub(1));
        float(self.0[at]) / 1e3
    }
}

/// Bytes that are resident, after what is free was given back.
pub(crate) fn resident() -> u64 {
    whimbrel_skiplist::memory::give_back();
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("the kernel says what is resident") << 10
}
