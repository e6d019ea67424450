//! The task of a migration at the source: does what [`source::step`] asks for.
//!
//! This file has the loop, the gate and the record; the rest is one file per mechanism.

mod outcome;
mod pace;
mod plants;
mod rounds;
mod talk;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use whimbrel_mvcc::{Capture, Captured, Store, Ticket};

use self::outcome::phase_name;
use self::pace::Pace;
use super::outgoing::Outgoing;
use super::wire::Connection;
use crate::protocol::CasAnswer;
use crate::protocol::source::{self, SourceAction, SourceEvent, SourceState};
use crate::server::Inner;
use crate::slots::SlotCell;
use crate::{Error, Plant};

/// How often an offer is repeated to a target that does not answer, and a map that fails is read.
const RETRY: Duration = Duration::from_millis(200);
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

impl SourceRun {
    pub(crate) fn new(inner: Arc<Inner>, out: Arc<Outgoing>, state: SourceState) -> Self {
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
            pace: Pace::new(),
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

    fn trouble(&mut self, error: Error) {
        tracing::warn!(slot = %self.out.slot(), %error, "migration");
        self.trouble.get_or_insert(error);
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
        if let Some(keeper) = &self.inner.options.keeper {
            keeper.gone(self.out.slot());
        }
        self.cell.moved.notify_waiters();
        let kept = self.inner.options.lineage;
        tokio::spawn(async move {
            tokio::time::sleep(kept).await;
            tokio::task::spawn_blocking(move || drop(lineage));
        });
    }
}

impl Drop for SourceRun {
    fn drop(&mut self) {
        self.stop_capture();
    }
}
