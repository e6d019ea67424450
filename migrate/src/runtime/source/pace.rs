//! How fast rounds go: the estimate of the blackout, and how far writers are slowed.

use std::time::{Duration, Instant};

use crate::server::THROTTLE_TICK;

/// Keys a second that the target is taken to apply before it was measured.
const FIRST_RATE: f64 = 200_000.0;

/// How fast rounds go, for the estimate of the blackout.
pub(super) struct Pace {
    pub(super) round_trip: Duration,
    keys_per_second: f64,
    pub(super) sent: Instant,
    pub(super) sent_keys: usize,
    pub(super) drained: Instant,
    pub(super) last_pending: usize,
    per_tick: u32,
}

#[expect(clippy::cast_precision_loss, reason = "estimates")]
impl Pace {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            round_trip: Duration::ZERO,
            keys_per_second: FIRST_RATE,
            sent: now,
            sent_keys: 0,
            drained: now,
            last_pending: usize::MAX,
            per_tick: 0,
        }
    }

    /// How long writes would be frozen if these keys were the last round.
    pub(super) fn blackout(&self, keys: usize) -> Duration {
        let apply = keys as f64 / self.keys_per_second.max(1.0);
        Duration::from_secs_f64(apply) + 3 * self.round_trip
    }

    pub(super) fn acked(&mut self) {
        const ENOUGH: usize = 256;
        let took = self.sent.elapsed();
        if self.sent_keys >= ENOUGH {
            self.keys_per_second = self.sent_keys as f64 / took.as_secs_f64().max(1e-6);
        } else {
            self.round_trip = self.round_trip.min(took);
        }
    }

    /// Half of the writes per tick that there were since the last drain, or half of what was let
    /// through last.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    pub(super) fn half_rate(&mut self, keys: usize) -> u32 {
        let ticks = self.drained.elapsed().as_secs_f64() / THROTTLE_TICK.as_secs_f64();
        let half = (keys as f64 / ticks.max(1.0) / 2.0).clamp(1.0, 1e6) as u32;
        self.per_tick = match self.per_tick {
            0 => half,
            before => half.min(before.div_ceil(2)),
        };
        self.per_tick
    }
}
