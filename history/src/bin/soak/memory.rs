//! What the process and the stores hold.

use std::fmt::{Display, Formatter, Result};

use whimbrel_mvcc::{Barrier, Store, StoreStats};

use crate::counting;

/// What may be resident more in the end: pages in which allocators keep something, whatever it is; how
/// many depends on how threads took turns. `ci/soak.sh` tells the system's allocator to keep little.
const SLACK_BYTES: u64 = 16 << 20;

/// What two empty stores may differ by: each keeps the levels that it grew to, and their first anchors.
const EMPTY_BYTES: u64 = 4 << 10;

/// What the program itself may have more in use: buffers of its threads and of its counts.
const PROGRAM_BYTES: u64 = 256 << 10;

/// One look.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    resident_bytes: u64,
    /// What lists and versions allocated and did not free; 0 in builds that do not count it.
    in_use: u64,
    /// The same of all the rest of the program, dead lists and bags of the barrier among it.
    program: u64,
    stores: Vec<StoreStats>,
    open: usize,
    retired: u64,
    reclaimed: u64,
    retired_bytes: u64,
    reclaimed_bytes: u64,
}

impl Memory {
    pub(crate) fn now(stores: &[Store]) -> Self {
        let clock = stores[0].clock();
        let barrier = Barrier::stats(clock.barrier());
        Self {
            resident_bytes: resident_bytes(),
            in_use: in_use(),
            program: counting::in_use(),
            stores: stores.iter().map(Store::stats).collect(),
            open: clock.open_holds(),
            retired: barrier.retired,
            reclaimed: barrier.reclaimed,
            retired_bytes: barrier.retired_bytes,
            reclaimed_bytes: barrier.reclaimed_bytes,
        }
    }

    fn sum(&self, of: fn(&StoreStats) -> u64) -> u64 {
        self.stores.iter().map(of).sum()
    }

    /// What should have gone and has not.
    pub(crate) fn left_since(&self, before: &Self) -> Vec<String> {
        let mut left = Vec::new();
        let mut expect = |what: &str, got: u64, at_most: u64| {
            if got > at_most {
                left.push(format!("{what}: {got}, at most {at_most} expected"));
            }
        };
        expect("open snapshots", self.open as u64, 0);
        expect("entries", self.sum(|stats| stats.entries), 0);
        expect("versions", self.sum(|stats| stats.versions), 0);
        expect("bytes of versions", self.sum(|stats| stats.version_bytes), 0);
        expect("records", self.sum(|stats| stats.records), 0);
        let records = |stats: &StoreStats| stats.record_bytes;
        expect("bytes of the lists", self.sum(records), before.sum(records) + EMPTY_BYTES);
        expect("dead versions", self.sum(|stats| stats.dead), 0);
        expect("retired and not reclaimed", self.retired - self.reclaimed, 0);
        expect("bytes retired and not reclaimed", self.retired_bytes - self.reclaimed_bytes, 0);
        expect("bytes in use by lists and versions", self.in_use, before.in_use + EMPTY_BYTES);
        expect("bytes in use by the rest", self.program, before.program + PROGRAM_BYTES);
        expect("bytes resident", self.resident_bytes, before.resident_bytes + SLACK_BYTES);
        left
    }
}

impl Display for Memory {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        const MIB: f64 = 1_048_576.0;
        #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
        let mib = |bytes: u64| bytes as f64 / MIB;
        write!(
            f,
            "{:.1} MiB resident, lists {:.1} MiB, versions {:.1} MiB, in use {} + {} B; {} entries, {} \
             records, {} versions, {} dead, {} open; retired {} ({:.1} MiB), of these not reclaimed {}",
            mib(self.resident_bytes),
            mib(self.sum(|stats| stats.record_bytes)),
            mib(self.sum(|stats| stats.version_bytes)),
            self.in_use,
            self.program,
            self.sum(|stats| stats.entries),
            self.sum(|stats| stats.records),
            self.sum(|stats| stats.versions),
            self.sum(|stats| stats.dead),
            self.open,
            self.retired,
            mib(self.retired_bytes),
            self.retired.wrapping_sub(self.reclaimed).cast_signed(),
        )
    }
}

#[cfg(debug_assertions)]
fn in_use() -> u64 {
    whimbrel_skiplist::memory::in_use()
}

#[cfg(not(debug_assertions))]
fn in_use() -> u64 {
    0
}

/// As the system sees it; 0 where it does not say.
fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}
