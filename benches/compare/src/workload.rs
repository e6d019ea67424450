//! The workloads, and which of them share one child.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One thing that is measured. The README of the crate says exactly what each does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Workload {
    /// Insert every key in random order.
    Insert,
    /// Insert every key in ascending order.
    InsertAscending,
    /// Look every key up, in a random order that is not that of insertion.
    Get,
    /// Look up as many keys that are not there.
    GetMiss,
    /// As `get`, in groups of 16.
    GetMany,
    /// As `get`, in a snapshot that was taken before.
    GetSnapshot,
    /// Give every key another value, in random order.
    Update,
    /// Remove every key, in random order.
    Remove,
    /// Read all entries in order, after random insertion.
    Scan,
    /// The same backwards.
    RevScan,
    /// Read 10 entries from a key on.
    Range10,
    /// Read 100 entries from a key on.
    Range100,
    /// Build from sorted entries by the peer's own way of doing that.
    BulkBuild,
    /// Read all entries in order, after building from sorted input.
    ScanBulk,
    /// 50 % get, 25 % remove, 25 % insert, a snapshot each 10 ms.
    Mix,
    /// As `get`, after every key was updated three times and garbage was collected.
    ChurnedGet,
    /// As `scan`, after the same.
    ChurnedScan,
    /// Remove 90 % of the keys, a contiguous range.
    ShrinkContiguous,
    /// Remove 90 % of the keys, at random.
    ShrinkRandom,
}

impl Workload {
    /// How many there are.
    pub const COUNT: usize = 19;

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The set that measures it.
    #[must_use]
    pub fn set(self) -> Set {
        match self {
            Self::InsertAscending => Set::Ascending,
            Self::BulkBuild | Self::ScanBulk => Set::Bulk,
            Self::Mix => Set::Mix,
            Self::Update | Self::ChurnedGet | Self::ChurnedScan => Set::Churn,
            Self::ShrinkContiguous => Set::ShrinkContiguous,
            Self::ShrinkRandom => Set::ShrinkRandom,
            _ => Set::Fresh,
        }
    }

    /// Whether it is measured with this many threads.
    #[must_use]
    pub fn takes(self, threads: usize) -> bool {
        use Workload::{BulkBuild, ShrinkContiguous, ShrinkRandom};
        threads == 1 || !matches!(self, BulkBuild | ShrinkContiguous | ShrinkRandom)
    }

    /// Whether one operation is a range of entries, not one key.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Range10 | Self::Range100 => "range",
            Self::Scan | Self::RevScan | Self::ScanBulk | Self::ChurnedScan | Self::BulkBuild => {
                "entry"
            }
            Self::Mix => "operation",
            _ => "key",
        }
    }
}

/// Workloads that one child measures on one state, because building it costs the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Set {
    /// Built in random order: points, scans, ranges; at last removals.
    Fresh,
    /// Built in ascending order.
    Ascending,
    /// Built from sorted entries.
    Bulk,
    /// Built in random order, then updated three times.
    Churn,
    /// Built in random order, then read and written at once.
    Mix,
    /// Built in random order, then cut down to its last tenth.
    ShrinkContiguous,
    /// Built in random order, then thinned out to a tenth.
    ShrinkRandom,
}

impl Set {
    /// All of them, in the order in which they are run.
    pub const ALL: [Self; 7] = [
        Self::Fresh,
        Self::Ascending,
        Self::Bulk,
        Self::Churn,
        Self::Mix,
        Self::ShrinkContiguous,
        Self::ShrinkRandom,
    ];
}
