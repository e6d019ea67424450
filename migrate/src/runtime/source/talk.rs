//! What the source hears from the target and says to it.

use std::time::{Duration, Instant};

use super::outcome::phase_name;
use super::{RETRY, SourceRun};
use crate::protocol::source::{SourceEvent, SourceMessage, SourcePhase};
use crate::runtime::wire::{Connection, Hello, Progress, Ranges, Sum, from_json, to_json};
use crate::server::THROTTLE_TICK;
use crate::{Error, Frame, Kind};

impl SourceRun {
    /// The next event from the target, a person, or the clock, if what came means one.
    pub(super) async fn wait(&mut self) -> Option<SourceEvent> {
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

    pub(super) async fn say(&mut self, message: SourceMessage) {
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
        let stats = self.store().map(|store| store.stats());
        Hello {
            source: self.inner.me.id.as_str().to_owned(),
            source_bus: self.inner.me.bus.as_str().to_owned(),
            target: self.out.target().as_str().to_owned(),
            incarnation: self.state.job.record.incarnation,
            pulls: self.out.options.pulls,
            credit_bytes: self.out.options.credit_bytes,
            bytes: stats.map_or(0, |s| s.bytes()),
        }
    }

    async fn connect(&mut self) -> Result<(), Error> {
        let bus = self.inner.bus_of(self.out.target())?;
        self.connection =
            Some(Connection::open(bus.as_str(), self.inner.options.io_timeout).await?);
        Ok(())
    }

    /// Sends, or gives the connection up: the next wait lets the machine know.
    pub(super) async fn send(&mut self, kind: Kind, sequence: u64, content: Vec<u8>) {
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
}
