//! Capture, and the rounds of changes that follow the copy.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use whimbrel_mvcc::{CaptureOptions, Captured};

use super::SourceRun;
use crate::protocol::source::{SourceEvent, SourcePhase};
use crate::runtime::changes::{ChangeError, write_changes};
use crate::runtime::wire::{Sum, to_json};
use crate::server::{Inner, THROTTLE_TICK};
use crate::{Error, Kind, Plant};

/// From this round on a round that does not shrink throttles the writers.
const THROTTLE_FROM: u32 = 3;

impl SourceRun {
    /// Capture on; operations in flight out; then the snapshot: what it lacks is captured.
    pub(super) async fn start_capture(&mut self) {
        let (Some(store), options) = (self.store(), self.out.options.clone()) else {
            return self.queue.push_back(SourceEvent::Failed);
        };
        let slot = self.out.slot();
        let prepare = move |inner: &Inner| {
            let options_capture = CaptureOptions::new().max_bytes(options.capture_bytes);
            let capture = store.capture(options_capture).map_err(|source| Error::Store {
                slot,
                action: "a capture",
                source,
            })?;
            let barrier = inner.clock.barrier();
            let ticket = barrier.ticket();
            while !barrier.poll(ticket) {
                std::thread::yield_now();
            }
            let snapshot = store.snapshot_named(&format!("migration of slot {slot}"));
            let ranges = snapshot.split(options.ranges);
            let keys = store.len_estimate() as u64;
            Ok((capture, snapshot, ranges, keys))
        };
        match self.inner.blocking(prepare).await {
            Ok((capture, snapshot, ranges, keys)) => {
                self.capture = Some(Arc::new(capture));
                self.pace.drained = Instant::now();
                self.out.set_shipment(Some((snapshot, ranges)));
                self.out.update(|s| s.keys_total = keys);
                self.queue.push_back(SourceEvent::CaptureReady);
            }
            Err(error) => {
                self.trouble(error);
                self.queue.push_back(SourceEvent::Failed);
            }
        }
    }

    pub(super) fn stop_capture(&mut self) {
        self.out.set_shipment(None);
        self.capture = None;
        self.pending = Captured::default();
        if let Some(ticker) = self.ticker.take() {
            ticker.abort();
        }
        self.cell.set_throttle(0);
    }

    /// Drains the capture into `pending`.
    pub(super) async fn collect(&mut self) {
        let Some(capture) = self.capture.clone() else { return };
        let drained = self.inner.blocking(move |_| Ok(capture.drain())).await;
        let mut drained = drained.unwrap_or_default();
        self.forget_one(&mut drained);
        if self.pending.is_empty() {
            self.pending = drained;
        } else {
            self.pending.keys.extend(drained.keys);
            self.pending.keys.sort_unstable();
            self.pending.keys.dedup();
            self.pending.intervals.extend(drained.intervals);
            self.pending.bytes += drained.bytes;
        }
    }

    pub(super) async fn drain(&mut self) {
        self.collect().await;
        self.await_prey().await;
        // What the copy held is no longer needed.
        self.out.set_shipment(None);
        let round = match self.state.phase {
            SourcePhase::Draining { round } => round,
            _ => 0,
        };
        let keys = self.pending.keys.len();
        let estimate = self.pace.blackout(keys);
        let fits =
            self.pending.intervals.is_empty() && estimate <= self.out.options.blackout_budget;
        let skipping = self.out.options.plant == Some(Plant::SkipDeltaRound) && !self.planted;
        let last = (fits && !(skipping && keys > 0)) || round >= self.out.options.max_rounds;
        self.out.update(|s| {
            s.blackout_estimate = estimate;
            s.rounds = round;
        });
        if !last && round >= THROTTLE_FROM && keys > self.pace.last_pending / 4 * 3 {
            self.throttle(keys);
        }
        self.pace.last_pending = keys;
        self.pace.drained = Instant::now();
        self.queue.push_back(SourceEvent::Drained { last });
    }

    /// Lets half as many writes through as there were.
    fn throttle(&mut self, keys: usize) {
        let per_tick = self.pace.half_rate(keys);
        self.cell.set_throttle(per_tick);
        self.throttled = true;
        let cell = self.cell.clone();
        self.ticker.get_or_insert_with(|| {
            tokio::spawn(async move {
                let mut ticks = tokio::time::interval(THROTTLE_TICK);
                loop {
                    ticks.tick().await;
                    cell.tick();
                }
            })
        });
    }

    pub(super) async fn send_round(&mut self, round: u32) {
        self.pace.sent = Instant::now();
        self.pace.sent_keys = self.pending.keys.len();
        self.send_changes().await;
        self.rounds = self.rounds.saturating_add(1);
        self.send(Kind::Round, u64::from(round), Vec::new()).await;
    }

    pub(super) async fn send_final(&mut self, round: u32) {
        self.collect().await;
        self.send_changes().await;
        self.rounds = self.rounds.saturating_add(1);
        let digest = self.store().and_then(|s| s.digest()).unwrap_or_default();
        self.keys = digest.count;
        self.send(Kind::Final, u64::from(round), to_json(&Sum::from(digest))).await;
    }

    /// Streams the newest state of what is pending.
    async fn send_changes(&mut self) {
        let captured = std::mem::take(&mut self.pending);
        if !captured.is_empty() && self.plants(Plant::SkipDeltaRound) {
            return;
        }
        let Some(store) = self.store().filter(|_| !captured.is_empty()) else { return };
        const MESSAGES_AHEAD: usize = 4;
        let (to, mut messages) = mpsc::channel(MESSAGES_AHEAD);
        let writing = tokio::task::spawn_blocking(move || {
            write_changes(&store, &captured, |message| {
                to.blocking_send(message).map_err(|_| ChangeError::Abandoned)
            })
        });
        while let Some(message) = messages.recv().await {
            self.send(Kind::Block, 0, message).await;
            if self.connection.is_none() {
                break;
            }
        }
        drop(messages);
        match writing.await {
            Ok(Ok(entries)) => self.delta_keys += entries,
            Ok(Err(ChangeError::Abandoned)) | Err(_) => {}
            Ok(Err(cause)) => {
                let error = self.out.damaged("a round", &cause);
                self.trouble(error);
                self.queue.push_back(SourceEvent::Failed);
            }
        }
    }
}
