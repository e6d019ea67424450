//! The task of a migration at the source: does what [`source::step`] asks for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use whimbrel_mvcc::{Capture, CaptureOptions, Captured, Store, Ticket};

use super::changes::{ChangeError, write_changes};
use super::outgoing::{Ended, Outgoing};
use super::wire::{Connection, Hello, Progress, Ranges, Sum, from_json, to_json};
use crate::protocol::CasAnswer;
use crate::protocol::source::{
    self, Cause, SourceAction, SourceEvent, SourceMessage, SourceOutcome, SourcePhase, SourceState,
};
use crate::server::{Inner, THROTTLE_TICK};
use crate::slots::SlotCell;
use crate::{Error, Frame, Kind, MigrationReport, Plant};

/// Keys a second that the target is taken to apply before it was measured.
const FIRST_RATE: f64 = 200_000.0;
/// How often an offer is repeated to a target that does not answer, and a map that fails is read.
const RETRY: Duration = Duration::from_millis(200);
/// From this round on a round that does not shrink throttles the writers.
const THROTTLE_FROM: u32 = 3;
/// How long the planted fault serves on.
const PLANT_SERVES: Duration = Duration::from_millis(300);

pub(crate) struct SourceRun {
    inner: Arc<Inner>,
    out: Arc<Outgoing>,
    cell: Arc<SlotCell>,
    state: SourceState,
    queue: VecDeque<SourceEvent>,
    connection: Option<Connection>,
    capture: Option<Arc<Capture>>,
    /// Drained and not yet sent.
    pending: Captured,
    pace: Pace,
    control_bytes: u64,
    delta_keys: u64,
    rounds: u32,
    keys: u64,
    opened: Option<Instant>,
    frozen: Option<Instant>,
    closed: Option<Instant>,
    blackout: (Duration, Duration),
    ticker: Option<JoinHandle<()>>,
    throttled: bool,
    planted: bool,
    /// What the planted fault never sends.
    forgotten: Option<Vec<u8>>,
    /// What went wrong first, for the report.
    trouble: Option<Error>,
}

/// How fast rounds go, for the estimate of the blackout.
struct Pace {
    round_trip: Duration,
    keys_per_second: f64,
    sent: Instant,
    sent_keys: usize,
    drained: Instant,
    last_pending: usize,
    per_tick: u32,
}

impl SourceRun {
    pub(crate) fn new(inner: Arc<Inner>, out: Arc<Outgoing>, state: SourceState) -> Self {
        let now = Instant::now();
        let pace = Pace {
            round_trip: Duration::ZERO,
            keys_per_second: FIRST_RATE,
            sent: now,
            sent_keys: 0,
            drained: now,
            last_pending: usize::MAX,
            per_tick: 0,
        };
        let cell = inner.slots.get_or_make(out.slot()).clone();
        Self {
            inner,
            out,
            cell,
            state,
            queue: VecDeque::from([SourceEvent::Start]),
            connection: None,
            capture: None,
            pending: Captured::default(),
            pace,
            control_bytes: 0,
            delta_keys: 0,
            rounds: 0,
            keys: 0,
            opened: None,
            frozen: None,
            closed: None,
            blackout: (Duration::ZERO, Duration::ZERO),
            ticker: None,
            throttled: false,
            planted: false,
            forgotten: None,
            trouble: None,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let event = match self.queue.pop_front() {
                Some(event) => event,
                None => match self.wait().await {
                    Some(event) => event,
                    None => continue,
                },
            };
            if event == SourceEvent::Taken {
                let since = |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.elapsed());
                self.blackout = (since(self.frozen), since(self.closed));
            }
            tracing::debug!(slot = %self.out.slot(), phase = ?self.state.phase, ?event, "source");
            let (state, actions) = source::step(self.state.clone(), event);
            self.state = state;
            self.out.update(|s| s.phase = phase_name(&self.state.phase));
            for action in actions {
                if let SourceAction::Finish(outcome) = action {
                    let ended = self.ended(&outcome);
                    self.inner.remove_outgoing(self.out.slot());
                    self.out.end(ended);
                    return;
                }
                self.perform(action).await;
            }
        }
    }

    /// The next event from the target, a person, or the clock, if what came means one.
    async fn wait(&mut self) -> Option<SourceEvent> {
        let offering = self.state.phase == SourcePhase::Offering;
        if self.out.is_cancelled() && !offering {
            return Some(SourceEvent::Cancel);
        }
        if offering && *self.out.forced.borrow() {
            return Some(SourceEvent::Force);
        }
        let Some(connection) = self.connection.as_mut() else {
            let pause = if offering { RETRY } else { THROTTLE_TICK };
            tokio::time::sleep(pause).await;
            return Some(SourceEvent::Disconnected);
        };
        let doing = phase_name(&self.state.phase);
        let patience = match self.state.phase {
            SourcePhase::Freezing { .. }
            | SourcePhase::Comparing
            | SourcePhase::Closing
            | SourcePhase::Granting
            | SourcePhase::Granted => self.inner.options.freeze_timeout,
            _ => self.inner.options.io_timeout,
        };
        let mut cancelled = self.out.cancelled.subscribe();
        let heard = tokio::select! {
            frame = connection.receive_within(doing, patience) => frame,
            _ = cancelled.changed(), if !offering => return Some(SourceEvent::Cancel),
        };
        match heard {
            Ok(frame) => self.heard(frame),
            Err(error) => {
                let silent = matches!(error, Error::Silent { .. });
                self.trouble(error);
                Some(if silent {
                    SourceEvent::Timeout
                } else {
                    self.connection = None;
                    SourceEvent::Disconnected
                })
            }
        }
    }

    fn trouble(&mut self, error: Error) {
        tracing::warn!(slot = %self.out.slot(), %error, "migration");
        self.trouble.get_or_insert(error);
    }

    /// What a frame means; frames of other attempts, and those that only report, mean nothing new.
    fn heard(&mut self, frame: Frame) -> Option<SourceEvent> {
        if frame.attempt != self.out.attempt() {
            return None;
        }
        Some(match frame.kind {
            Kind::Accept => {
                self.pace.round_trip = self.opened.map_or(Duration::ZERO, |at| at.elapsed());
                SourceEvent::Accepted
            }
            Kind::Progress => {
                if let Ok(Progress { keys }) = from_json(&frame.content) {
                    self.out.update(|s| s.keys_done = keys);
                }
                return None;
            }
            Kind::Built => SourceEvent::Built,
            Kind::RoundAck => {
                self.pace.acked();
                SourceEvent::RoundAcked(u32::try_from(frame.sequence).unwrap_or(u32::MAX))
            }
            Kind::Verified => SourceEvent::Verified,
            Kind::Mismatch => {
                self.note_mismatch(&frame);
                SourceEvent::Mismatch
            }
            Kind::Taken => SourceEvent::Taken,
            Kind::NoCopy => SourceEvent::NoCopy,
            Kind::Refuse => {
                let (slot, target) = (self.out.slot(), self.out.target().clone());
                let reason = String::from_utf8_lossy(&frame.content).into_owned();
                self.trouble(Error::Refused { slot, target, reason });
                SourceEvent::Refused
            }
            _ => return None,
        })
    }

    fn note_mismatch(&mut self, frame: &Frame) {
        let target = from_json(&frame.content).unwrap_or(Sum { count: 0, sum: 0 });
        let source = self.store().and_then(|s| s.digest()).unwrap_or_default();
        self.trouble = Some(Error::DigestMismatch {
            slot: self.out.slot(),
            source_count: source.count,
            source_sum: source.sum,
            target_count: target.count,
            target_sum: target.sum,
        });
    }

    fn store(&self) -> Option<Store> {
        self.cell.store().clone()
    }

    async fn perform(&mut self, action: SourceAction) {
        match action {
            SourceAction::Cas { expected, new } => {
                let slot = self.out.slot();
                let swap = move |i: &Inner| i.map.cas(slot, Some(&expected), &new);
                let result = self.inner.blocking(swap).await;
                self.queue.push_back(SourceEvent::Cas(CasAnswer::from_result(&result)));
                if let Err(error) = result {
                    self.trouble(error);
                }
            }
            SourceAction::ReadMap => self.read_map().await,
            SourceAction::Send(message) => self.say(message).await,
            SourceAction::StartCapture => self.start_capture().await,
            SourceAction::StopCapture => self.stop_capture(),
            SourceAction::Drain => self.drain().await,
            SourceAction::SendRound(round) => self.send_round(round).await,
            SourceAction::FreezeWrites => {
                self.frozen = Some(Instant::now());
                let ticket = self.cell.gate.freeze_writes(self.inner.clock.barrier());
                self.wait_for(ticket).await;
                self.queue.push_back(SourceEvent::WritesFrozen);
            }
            SourceAction::SendFinal(round) => self.send_final(round).await,
            SourceAction::CloseGate => self.close_gate().await,
            SourceAction::WriteGrant => {
                let attempt = self.out.attempt();
                let written = self.inner.blocking(move |i| i.grants.write(attempt)).await;
                let event = match written {
                    Ok(()) => SourceEvent::GrantDurable,
                    Err(error) => {
                        self.trouble(error);
                        SourceEvent::GrantFailed
                    }
                };
                self.queue.push_back(event);
            }
            SourceAction::EraseGrant => {
                let slot = self.out.slot();
                if let Err(error) = self.inner.blocking(move |i| i.grants.erase(slot)).await {
                    tracing::warn!(%error, "an old grant stays; it counts for nothing");
                }
            }
            SourceAction::Serve { epoch } => self.serve(epoch),
            SourceAction::Retire => self.retire().await,
            SourceAction::Finish(_) => {}
        }
    }

    async fn wait_for(&self, ticket: Ticket) {
        let barrier = self.inner.clock.barrier().clone();
        while !barrier.poll(ticket) {
            tokio::task::yield_now().await;
        }
    }

    fn serve(&mut self, epoch: u64) {
        if self.cell.store().is_none() {
            self.cell.replace_store(Some(self.inner.empty_store()));
        }
        self.cell.gate.open(epoch);
        self.cell.moved.notify_waiters();
    }

    async fn close_gate(&mut self) {
        self.closed = Some(Instant::now());
        if self.plants(Plant::ServeAfterGrant) {
            self.cell.gate.open(self.out.attempt().epoch);
            self.cell.moved.notify_waiters();
        } else {
            let ticket = self.cell.gate.freeze(self.inner.clock.barrier());
            self.wait_for(ticket).await;
        }
        self.queue.push_back(SourceEvent::GateClosed);
    }

    /// Rule M6 needs an answer, so this asks until there is one.
    async fn read_map(&mut self) {
        loop {
            match self.inner.read_record(self.out.slot()).await {
                Ok(record) => return self.queue.push_back(SourceEvent::Read(record)),
                Err(error) => self.trouble(error),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn say(&mut self, message: SourceMessage) {
        let (kind, content) = match message {
            SourceMessage::Open => (Kind::Open, to_json(&self.hello())),
            SourceMessage::Offer => (Kind::Offer, to_json(&self.hello())),
            SourceMessage::Ranges => {
                let ranges = (0..).take_while(|&i| self.out.range(i).is_some()).count() as u64;
                (Kind::Ranges, to_json(&Ranges { ranges }))
            }
            SourceMessage::Abort => (Kind::Abort, Vec::new()),
            SourceMessage::Grant => (Kind::Grant, Vec::new()),
        };
        let opens = matches!(message, SourceMessage::Open | SourceMessage::Offer);
        if opens && let Err(error) = self.connect().await {
            // The next wait says so, after a pause: an offer goes on for as long as it takes.
            self.trouble(error);
            self.connection = None;
            return;
        }
        self.opened = Some(Instant::now());
        self.send(kind, 0, content).await;
    }

    fn hello(&self) -> Hello {
        Hello {
            source: self.inner.me.id.as_str().to_owned(),
            source_bus: self.inner.me.bus.as_str().to_owned(),
            target: self.out.target().as_str().to_owned(),
            incarnation: self.state.job.record.incarnation,
            pulls: self.out.options.pulls,
            credit_bytes: self.out.options.credit_bytes,
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let bus = self.inner.bus_of(self.out.target())?;
        self.connection =
            Some(Connection::open(bus.as_str(), self.inner.options.io_timeout).await?);
        Ok(())
    }

    /// Sends, or gives the connection up: the next wait lets the machine know.
    async fn send(&mut self, kind: Kind, sequence: u64, content: Vec<u8>) {
        let attempt = self.out.attempt();
        let Some(connection) = self.connection.as_mut() else { return };
        let before = connection.sent();
        let sent = connection.send_parts(attempt, kind, sequence, &content).await;
        self.control_bytes += connection.sent() - before;
        if let Err(error) = sent {
            self.trouble(error);
            self.connection = None;
        }
    }

    /// Capture on; operations in flight out; then the snapshot: what it lacks is captured.
    async fn start_capture(&mut self) {
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
            let snapshot = store.snapshot();
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

    fn stop_capture(&mut self) {
        self.out.set_shipment(None);
        self.capture = None;
        self.pending = Captured::default();
        if let Some(ticker) = self.ticker.take() {
            ticker.abort();
        }
        self.cell.set_throttle(0);
    }

    /// Drains the capture into `pending`.
    async fn collect(&mut self) {
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

    /// The planted fault: one key whose write the snapshot does not have is never sent.
    fn forget_one(&mut self, drained: &mut Captured) {
        if self.out.options.plant != Some(Plant::DropCapturedWrite) {
            return;
        }
        if self.forgotten.is_none() {
            self.forgotten = self.written_since_snapshot(drained);
        }
        drained.keys.retain(|key| Some(key) != self.forgotten.as_ref());
    }

    fn written_since_snapshot(&self, captured: &Captured) -> Option<Vec<u8>> {
        let (store, (snapshot, _)) = (self.store()?, self.out.range(0)?);
        captured.keys.iter().find(|key| snapshot.get(key) != store.get(key)).cloned()
    }

    /// A planted fault needs a write that it can spoil: waits for one, for at most 5 s.
    async fn await_prey(&mut self) {
        const LOOKS: u32 = 1000;
        const BETWEEN: Duration = Duration::from_millis(5);
        for _ in 0..LOOKS {
            let ready = match self.out.options.plant {
                Some(Plant::DropCapturedWrite) => self.forgotten.is_some(),
                Some(Plant::SkipDeltaRound) => {
                    self.planted || self.written_since_snapshot(&self.pending).is_some()
                }
                _ => true,
            };
            if ready {
                return;
            }
            tokio::time::sleep(BETWEEN).await;
            self.collect().await;
        }
    }

    async fn drain(&mut self) {
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

    fn plants(&mut self, plant: Plant) -> bool {
        let now = !self.planted && self.out.options.plant == Some(plant);
        self.planted |= now;
        now
    }

    async fn send_round(&mut self, round: u32) {
        self.pace.sent = Instant::now();
        self.pace.sent_keys = self.pending.keys.len();
        self.send_changes().await;
        self.rounds = self.rounds.saturating_add(1);
        self.send(Kind::Round, u64::from(round), Vec::new()).await;
    }

    async fn send_final(&mut self, round: u32) {
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

    /// Gives the slot up: the map's view first, so that MOVED names the new owner.
    async fn retire(&mut self) {
        if let Err(error) = self.inner.blocking(|i| i.map.refresh()).await {
            tracing::warn!(%error, "the slot map cannot be read");
        }
        if self.planted && self.out.options.plant == Some(Plant::ServeAfterGrant) {
            tokio::time::sleep(PLANT_SERVES).await;
        }
        let ticket = self.cell.gate.give_up(self.inner.clock.barrier());
        self.wait_for(ticket).await;
        let lineage = self.cell.replace_store(None);
        self.cell.moved.notify_waiters();
        let kept = self.inner.options.lineage;
        tokio::spawn(async move {
            tokio::time::sleep(kept).await;
            tokio::task::spawn_blocking(move || drop(lineage));
        });
    }

    fn ended(&mut self, outcome: &SourceOutcome) -> Ended {
        let (slot, target) = (self.out.slot(), self.out.target().clone());
        let cause = match outcome {
            SourceOutcome::Moved => return Ok(self.report()),
            SourceOutcome::NotStarted(record) => {
                let owner = record.as_ref().map(|r| r.owner.clone());
                return Err(Arc::new(Error::NotOwner { slot, owner }));
            }
            SourceOutcome::Displaced => {
                return Err(Arc::new(Error::NotOwner { slot, owner: None }));
            }
            SourceOutcome::Aborted(cause) | SourceOutcome::TookBack(cause) => *cause,
        };
        let phase = match outcome {
            SourceOutcome::TookBack(_) => "waiting for the target to take the granted slot",
            _ => "copying or comparing",
        };
        let error = match (cause, self.trouble.take()) {
            (Cause::Cancelled, _) => Error::Cancelled { slot },
            (Cause::DigestMismatch | Cause::Refused, Some(error)) => error,
            (_, Some(error)) => Error::Failed { slot, target, phase, cause: error.to_string() },
            (cause, None) => Error::Failed { slot, target, phase, cause: format!("{cause:?}") },
        };
        Err(Arc::new(error))
    }

    fn report(&self) -> MigrationReport {
        MigrationReport {
            slot: self.out.slot(),
            id: self.out.attempt().id,
            target: self.out.target().clone(),
            keys: self.keys,
            delta_keys: self.delta_keys,
            bytes: self.out.copied_bytes() + self.control_bytes,
            rounds: self.rounds,
            elapsed: self.out.started.elapsed(),
            write_blackout: self.blackout.0,
            read_blackout: self.blackout.1,
            throttled: self.throttled,
        }
    }
}

impl Drop for SourceRun {
    fn drop(&mut self) {
        self.stop_capture();
    }
}

#[expect(clippy::cast_precision_loss, reason = "estimates")]
impl Pace {
    /// How long writes would be frozen if these keys were the last round.
    fn blackout(&self, keys: usize) -> Duration {
        let apply = keys as f64 / self.keys_per_second.max(1.0);
        Duration::from_secs_f64(apply) + 3 * self.round_trip
    }

    fn acked(&mut self) {
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
    fn half_rate(&mut self, keys: usize) -> u32 {
        let ticks = self.drained.elapsed().as_secs_f64() / THROTTLE_TICK.as_secs_f64();
        let half = (keys as f64 / ticks.max(1.0) / 2.0).clamp(1.0, 1e6) as u32;
        self.per_tick = match self.per_tick {
            0 => half,
            before => half.min(before.div_ceil(2)),
        };
        self.per_tick
    }
}

fn phase_name(phase: &SourcePhase) -> &'static str {
    match phase {
        SourcePhase::Claiming => "claiming",
        SourcePhase::Opening => "asking the target",
        SourcePhase::Capturing => "taking the snapshot",
        SourcePhase::Copying => "copying",
        SourcePhase::Draining { .. } | SourcePhase::RoundSent { .. } => "catching up",
        SourcePhase::Freezing { .. } => "freezing writes",
        SourcePhase::Comparing => "comparing",
        SourcePhase::Closing => "closing the gate",
        SourcePhase::Granting | SourcePhase::Granted => "handing over",
        SourcePhase::Offering => "offering a granted slot",
        SourcePhase::Aborting(_) => "aborting",
        SourcePhase::TakingBack(_) => "taking back",
        SourcePhase::Settling(_) => "reading the record",
        SourcePhase::Done(_) => "ended",
    }
}
