//! What a migration is asked for, shows while it runs, and says at its end.

use std::time::Duration;

use crate::{MigrationId, NodeId, Slot};

/// A mistake that is made on purpose, so that the checks can be seen to notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Plant {
    /// The source forgets one captured write.
    DropCapturedWrite,
    /// The source goes on serving after its grant.
    ServeAfterGrant,
    /// The source flips a bit of a block before it is framed.
    FlipBlock,
    /// The source drains a round and does not send it.
    SkipDeltaRound,
}

/// How a slot is migrated. Builder.
#[derive(Clone, Debug)]
pub struct MigrationOptions {
    pub(crate) blackout_budget: Duration,
    pub(crate) max_rounds: u32,
    pub(crate) pulls: usize,
    pub(crate) ranges: usize,
    pub(crate) credit_bytes: u64,
    pub(crate) capture_bytes: usize,
    pub(crate) plant: Option<Plant>,
}

impl Default for MigrationOptions {
    fn default() -> Self {
        Self {
            blackout_budget: Duration::from_millis(5),
            max_rounds: 32,
            pulls: 2,
            ranges: 16,
            credit_bytes: 1 << 20,
            capture_bytes: 64 << 20,
            plant: None,
        }
    }
}

impl MigrationOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Estimated write blackout at which the hand-over begins. Default 5 ms. A smaller one costs
    /// more rounds.
    #[must_use]
    pub fn blackout_budget(mut self, budget: Duration) -> Self {
        self.blackout_budget = budget;
        self
    }

    /// Rounds after which the hand-over begins whatever the estimate says. Default 32.
    #[must_use]
    pub fn max_rounds(mut self, rounds: u32) -> Self {
        self.max_rounds = rounds.max(1);
        self
    }

    /// Ranges pulled at the same time, 1 to 64. Default 2. Each costs a connection and a thread at
    /// both ends.
    #[must_use]
    pub fn pulls(mut self, pulls: usize) -> Self {
        self.pulls = pulls.clamp(1, 64);
        self.ranges = self.ranges.max(self.pulls);
        self
    }

    /// Bytes that may be on their way per pull. Default 1 MiB.
    #[must_use]
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.credit_bytes = bytes.max(1);
        self
    }

    /// Bytes of captured keys between two rounds, above which key intervals are sent again instead.
    /// Default 64 MiB.
    #[must_use]
    pub fn capture_bytes(mut self, bytes: usize) -> Self {
        self.capture_bytes = bytes;
        self
    }

    /// Makes this mistake. Default none; for tests only.
    #[must_use]
    pub fn plant(mut self, plant: Option<Plant>) -> Self {
        self.plant = plant;
        self
    }
}

/// Where a migration is, for a progress bar.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MigrationStatus {
    /// What it is doing, in words.
    pub phase: &'static str,
    /// 0 to 100; the copy is most of it.
    pub percent: f64,
    /// Entries built at the target.
    pub keys_done: u64,
    /// Entries there will be, about.
    pub keys_total: u64,
    /// Bytes sent so far.
    pub bytes_sent: u64,
    /// Entries a second so far.
    pub keys_per_second: f64,
    /// Until the hand-over, about; none before anything was copied.
    pub eta: Option<Duration>,
    /// What the write blackout would be if the hand-over began now.
    pub blackout_estimate: Duration,
    /// Catch-up rounds so far.
    pub rounds: u32,
    /// Whether it has ended.
    pub ended: bool,
}

/// What a completed migration did.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The slot.
    pub slot: Slot,
    /// The attempt.
    pub id: MigrationId,
    /// Who has it now.
    pub target: NodeId,
    /// Entries of the copy, as counted and compared at the hand-over.
    pub keys: u64,
    /// Entries shipped again or removed in rounds, the last one included.
    pub delta_keys: u64,
    /// Bytes sent, frames included.
    pub bytes: u64,
    /// Catch-up rounds, the last one (sent while writes were frozen) included.
    pub rounds: u32,
    /// From the start to the end.
    pub elapsed: Duration,
    /// From the freezing of writes until the source knew of the new owner.
    pub write_blackout: Duration,
    /// From the closing of the gate until the source knew of the new owner.
    pub read_blackout: Duration,
    /// Whether writers had to be throttled for the rounds to shrink.
    pub throttled: bool,
}

impl MigrationReport {
    /// Entries a second over the whole migration.
    #[must_use]
    pub fn keys_per_second(&self) -> f64 {
        per_second(self.keys, self.elapsed)
    }

    /// Bytes a second over the whole migration.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        per_second(self.bytes, self.elapsed)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
pub(crate) fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}
