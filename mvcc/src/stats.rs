//! Figures of stores and clocks.

use std::time::Duration;

use crate::Clock;
use crate::queue::Garbage;
use crate::watch::OpenSnapshot;

/// Figures of a store. Exact when no operation is in flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Entries: keys whose newest version is a value.
    pub entries: u64,
    /// Versions in all chains, tombstones included.
    pub versions: u64,
    /// Bytes of those that have allocations of their own, rounded up as the allocator does.
    pub version_bytes: u64,
    /// Records of the list.
    pub records: u64,
    /// Bytes of the records, with the versions that lie inline, and of the blocks.
    pub record_bytes: u64,
    /// Superseded versions and tombstones that wait for the collector or for a snapshot to close:
    /// the entries of `collectable` and `held`.
    pub dead: u64,
    /// Garbage that no open snapshot is known to see: the work of collectors. Unless the store has
    /// a bound, the bytes of what none has looked at are estimated by what came before.
    pub collectable: Garbage,
    /// Garbage that an open snapshot sees: only closing it makes this less. What snapshots held that have
    /// closed is in here until a collector looks.
    pub held: Garbage,
}

/// Figures of a clock and all its stores. Each is exact when no operation is in flight; they are not of one
/// moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockStats {
    /// The number that a write settled now would get.
    pub now: u64,
    /// Stores there are.
    pub stores: usize,
    /// The sums of their figures.
    pub total: StoreStats,
    /// What was handed to the barrier and waits there for the accesses under way: versions, records, blocks.
    pub unreclaimed: Garbage,
    /// The open snapshots and other holds, oldest first.
    pub snapshots: Vec<OpenSnapshot>,
    /// The oldest barrier session that has not ended, as a number.
    pub oldest_session: u64,
    /// Sessions that are closed and have not ended: somebody who entered the oldest of them is still inside.
    pub open_sessions: u64,
    /// For how long, at least, the oldest of them has been closed: since the first look at the figures, by
    /// anybody, that saw it so. None when none is.
    pub oldest_reader: Option<Duration>,
}

impl ClockStats {
    /// The snapshot that has the lowest number: what it sees, nobody older does.
    #[must_use]
    pub fn oldest_snapshot(&self) -> Option<&OpenSnapshot> {
        self.snapshots.first()
    }
}

impl StoreStats {
    /// Bytes in use: what the store holds of the process's memory.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.record_bytes.wrapping_add(self.version_bytes)
    }

    fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries.wrapping_add(other.entries),
            versions: self.versions.wrapping_add(other.versions),
            version_bytes: self.version_bytes.wrapping_add(other.version_bytes),
            records: self.records.wrapping_add(other.records),
            record_bytes: self.record_bytes.wrapping_add(other.record_bytes),
            dead: self.dead + other.dead,
            collectable: self.collectable.plus(other.collectable),
            held: self.held.plus(other.held),
        }
    }
}

impl Clock {
    /// Figures of the clock and all its stores. Waits for nobody, except that stores being made or
    /// dropped, and a collector in the middle of a turn, are given way for a moment.
    ///
    /// # Complexity
    ///
    /// O(s + o log o) for s stores and o open snapshots.
    #[must_use]
    pub fn stats(&self) -> ClockStats {
        let (mut stores, mut total) = (0, StoreStats::default());
        self.0.each_store(|access| {
            stores += 1;
            total = total.plus(access.store.stats());
        });
        let barrier = self.barrier().stats();
        // The open session is not counted.
        let open_sessions = barrier.current.saturating_sub(barrier.terminated);
        let oldest_reader = self.0.watch.note_reader(open_sessions > 0, barrier.terminated);
        ClockStats {
            now: self.now(),
            stores,
            total,
            unreclaimed: Garbage {
                entries: barrier.retired.saturating_sub(barrier.reclaimed),
                bytes: barrier.retired_bytes.saturating_sub(barrier.reclaimed_bytes),
            },
            snapshots: self.0.snapshots(),
            oldest_session: barrier.terminated,
            open_sessions,
            oldest_reader,
        }
    }
}
