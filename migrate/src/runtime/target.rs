//! The task of a migration at the target: does what [`target::step`] asks for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use whimbrel_mvcc::Store;

use super::changes::ChangeApplier;
use super::copy::pull_all;
use super::wire::{Connection, Hello, Progress, Ranges, Sum, from_json, to_json};
use crate::protocol::target::{
    self, TargetAction, TargetEvent, TargetMessage, TargetPhase, TargetState,
};
use crate::protocol::{CasAnswer, Job};
use crate::server::Inner;
use crate::{Attempt, Error, Frame, Kind, Mode, NodeId, Slot, SlotKeeper, SlotRecord};

/// How often the source hears that the copy goes on.
const PROGRESS: Duration = Duration::from_millis(100);
/// How often a verified target without a word reads the record.
const LOOK: Duration = Duration::from_millis(500);

/// A migration to this node, as the bus sees it.
#[derive(Debug)]
pub(crate) struct Incoming {
    attempt: Attempt,
    /// Size of the slot, as the source announced it.
    pub(crate) bytes: u64,
    control: mpsc::Sender<Control>,
}

/// What the bus tells the task.
enum Control {
    /// A restarted source offers the slot over this connection.
    Offer(Connection),
    /// The source has begun another attempt.
    Superseded,
}

pub(crate) struct TargetRun {
    inner: Arc<Inner>,
    state: TargetState,
    hello: Hello,
    queue: VecDeque<TargetEvent>,
    connection: Option<Connection>,
    control: mpsc::Receiver<Control>,
    ranges: u64,
    pulling: Option<JoinHandle<Result<Store, Error>>>,
    keys: Arc<AtomicU64>,
    staging: Option<Store>,
    applier: ChangeApplier,
    /// The copy is not wanted any more.
    over: Arc<AtomicBool>,
    /// The source's digest, from its last round.
    expected: Option<Sum>,
    got: Sum,
    reason: String,
}

/// The job that a source's first message describes.
fn job_of(inner: &Inner, attempt: Attempt, hello: &Hello) -> Option<Job> {
    let (source, target) = (NodeId::new(&hello.source)?, NodeId::new(&hello.target)?);
    let record = SlotRecord {
        owner: source.clone(),
        epoch: attempt.epoch,
        mode: Mode::Migrating { to: target.clone(), id: attempt.id },
        incarnation: hello.incarnation,
    };
    let ours = target == inner.me.id && source != target;
    let incarnation = inner.incarnation;
    ours.then_some(Job { attempt, source, target, record, incarnation })
}

/// Takes part in a migration that was opened over this connection.
pub(crate) async fn receive(
    inner: Arc<Inner>,
    mut connection: Connection,
    open: Frame,
) -> Result<(), Error> {
    let hello: Hello = from_json(&open.content).map_err(|cause| connection.bad(cause))?;
    let attempt = open.attempt;
    let Some(job) = job_of(&inner, attempt, &hello) else {
        let why = format!("this node is {}, not {}", inner.me.id, hello.target).into_bytes();
        return connection.send(&Frame::new(attempt, Kind::Refuse, 0, why)).await;
    };
    if let Some(other) = inner.incoming(attempt.slot) {
        // A slot has one attempt at a time; the source says that the one before is over.
        let _ = other.control.send(Control::Superseded).await;
        if tokio::time::timeout(LOOK, other.control.closed()).await.is_err() {
            let why = b"an earlier attempt is still being settled".to_vec();
            return connection.send(&Frame::new(attempt, Kind::Refuse, 0, why)).await;
        }
    }
    let (to, control) = mpsc::channel(1);
    let incoming = Arc::new(Incoming { attempt, bytes: hello.bytes, control: to });
    inner.set_incoming(attempt.slot, incoming.clone());
    let run = TargetRun {
        inner: inner.clone(),
        state: TargetState::new(job),
        hello,
        queue: VecDeque::from([TargetEvent::Open]),
        connection: Some(connection),
        control,
        ranges: 0,
        pulling: None,
        keys: Arc::default(),
        staging: None,
        applier: ChangeApplier::default(),
        over: Arc::default(),
        expected: None,
        got: Sum { count: 0, sum: 0 },
        reason: String::new(),
    };
    run.run().await;
    inner.remove_incoming(attempt.slot, &incoming);
    Ok(())
}

/// Answers a restarted source.
pub(crate) async fn offered(
    inner: Arc<Inner>,
    mut connection: Connection,
    offer: Frame,
) -> Result<(), Error> {
    let attempt = offer.attempt;
    let known = inner.incoming(attempt.slot).filter(|i| i.attempt == attempt);
    let Some(incoming) = known else {
        // Never verified here, or dropped, or taken: the record tells the source which.
        return connection.send(&Frame::new(attempt, Kind::NoCopy, 0, Vec::new())).await;
    };
    // A task that has just ended lets the connection drop: the source asks again.
    let _ = incoming.control.send(Control::Offer(connection)).await;
    Ok(())
}

fn not_kept(error: &impl std::fmt::Display) -> String {
    format!("the copy cannot be made durable: {error}")
}

impl TargetRun {
    async fn run(mut self) {
        loop {
            let event = match self.queue.pop_front() {
                Some(event) => event,
                None => match self.wait().await {
                    Some(event) => event,
                    None => continue,
                },
            };
            let slot = self.state.job.attempt.slot;
            tracing::debug!(%slot, phase = ?self.state.phase, ?event, "target");
            let (state, actions) = target::step(self.state.clone(), event);
            self.state = state;
            for action in actions {
                if let TargetAction::Finish(outcome) = action {
                    tracing::info!(%slot, ?outcome, reason = self.reason, "migration to this node");
                    // What was sent last must reach the other side before the connection goes.
                    return;
                }
                self.perform(action).await;
            }
        }
    }

    /// The next event, if what came means one.
    async fn wait(&mut self) -> Option<TargetEvent> {
        let verified = self.state.phase == TargetPhase::Verified;
        let patience = if verified { LOOK } else { self.inner.options.io_timeout };
        let copying = self.pulling.is_some();
        let frame = async {
            match self.connection.as_mut() {
                Some(c) => c.receive_within("waiting for the source", patience).await,
                None => {
                    tokio::time::sleep(patience).await;
                    let peer = self.hello.source.clone();
                    let doing = "waiting for the source";
                    Err(Error::Silent { peer, doing, after: patience })
                }
            }
        };
        let built = async {
            match self.pulling.as_mut() {
                Some(pulling) => pulling.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            word = self.control.recv() => Some(match word {
                Some(Control::Offer(connection)) => {
                    self.connection = Some(connection);
                    TargetEvent::Offer
                }
                Some(Control::Superseded) | None => TargetEvent::Abort,
            }),
            built = built => Some(self.built(built.unwrap_or(Err(Error::ShuttingDown)))),
            () = tokio::time::sleep(PROGRESS), if copying => {
                self.report_progress().await;
                None
            }
            frame = frame => match frame {
                Ok(frame) => self.heard(frame).await,
                Err(Error::Silent { .. }) => Some(TargetEvent::Timeout),
                Err(error) => {
                    self.reason = error.to_string();
                    self.connection = None;
                    Some(TargetEvent::Disconnected)
                }
            },
        }
    }

    fn built(&mut self, built: Result<Store, Error>) -> TargetEvent {
        self.pulling = None;
        match built {
            Ok(store) => {
                self.staging = Some(store);
                TargetEvent::Built
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &impl ToString) -> TargetEvent {
        self.reason = error.to_string();
        TargetEvent::Failed
    }

    async fn report_progress(&mut self) {
        // ORDERING: Relaxed; a progress figure.
        let keys = self.keys.load(Ordering::Relaxed);
        self.send(Kind::Progress, 0, to_json(&Progress { keys })).await;
    }

    async fn heard(&mut self, frame: Frame) -> Option<TargetEvent> {
        if frame.attempt != self.state.job.attempt {
            return None;
        }
        let round = u32::try_from(frame.sequence).unwrap_or(u32::MAX);
        match frame.kind {
            Kind::Ranges => match from_json::<Ranges>(&frame.content) {
                Ok(Ranges { ranges }) => {
                    self.ranges = ranges;
                    Some(TargetEvent::Ranges)
                }
                Err(cause) => Some(self.failed(&cause)),
            },
            Kind::Block => self.apply(frame.content).await,
            Kind::Round => Some(TargetEvent::Round(round)),
            Kind::Final => {
                self.expected = from_json(&frame.content).ok();
                Some(TargetEvent::Final(round))
            }
            Kind::Grant => Some(TargetEvent::Grant),
            Kind::Abort => Some(TargetEvent::Abort),
            _ => None,
        }
    }

    /// Changes go into the staging copy as they come: nobody sees it, they carry state, and the
    /// digest decides in the end.
    async fn apply(&mut self, message: Vec<u8>) -> Option<TargetEvent> {
        let catching_up = matches!(self.state.phase, TargetPhase::CatchingUp { .. });
        let staging = self.staging.clone().filter(|_| catching_up)?;
        let mut applier = std::mem::take(&mut self.applier);
        let (keeper, slot, copy) = (self.keeper(), self.slot(), self.copy());
        let work = move || {
            let mut kept = Vec::new();
            let mut keep = |key: &[u8], value: Option<&[u8]>| {
                if keeper.is_some() {
                    kept.push((key.to_vec(), value.map(<[u8]>::to_vec)));
                }
            };
            let applied = applier.apply(&staging, &message, &mut keep);
            let done = match (applied, keeper) {
                (Ok(_), Some(keeper)) => {
                    let done = keeper.changes(slot, copy, &kept);
                    done.map_err(|error| not_kept(&error))
                }
                (Ok(_), None) => Ok(()),
                (Err(error), _) => Err(format!("a round is damaged: {error}")),
            };
            (applier, done)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok((applier, Ok(()))) => {
                self.applier = applier;
                None
            }
            Ok((_, Err(error))) => Some(self.failed(&error)),
            Err(_) => Some(self.failed(&Error::ShuttingDown)),
        }
    }

    fn keeper(&self) -> Option<Arc<dyn SlotKeeper>> {
        self.inner.options.keeper.clone()
    }

    fn slot(&self) -> Slot {
        self.state.job.attempt.slot
    }

    /// What the keeper calls the copy.
    fn copy(&self) -> u64 {
        self.state.job.attempt.id.as_u64()
    }

    async fn perform(&mut self, action: TargetAction) {
        match action {
            TargetAction::Prepare => self.prepare().await,
            TargetAction::StartPulls => {
                let (inner, hello) = (self.inner.clone(), self.hello.clone());
                let (attempt, keys) = (self.state.job.attempt, self.keys.clone());
                let pull = pull_all(inner, attempt, hello, self.ranges, keys);
                let (keeper, slot, copy) = (self.keeper(), self.slot(), self.copy());
                let over = Arc::clone(&self.over);
                self.pulling = Some(tokio::spawn(async move {
                    let store = pull.await?;
                    let Some(keeper) = keeper else { return Ok(store) };
                    let work = move || {
                        let kept = keeper.keep(slot, copy, &store);
                        // Whoever gives the migration up does not wait for this.
                        // ORDERING: Acquire; pairs with the Release in `DropStaging`. Row M2.
                        if over.load(Ordering::Acquire) {
                            keeper.void(slot, copy);
                        }
                        kept.map(|()| store).map_err(|cause| Error::NotKept { slot, cause })
                    };
                    let kept = tokio::task::spawn_blocking(work).await;
                    kept.unwrap_or(Err(Error::ShuttingDown))
                }));
            }
            TargetAction::ApplyRound(_) => {
                let whole = self.applier.is_between_messages();
                let event = if whole { TargetEvent::Applied } else { TargetEvent::Failed };
                self.queue.push_back(event);
            }
            TargetAction::Compare => {
                let digest = self.staging.as_ref().and_then(Store::digest).unwrap_or_default();
                self.got = digest.into();
                let whole = self.applier.is_between_messages();
                let equal = whole && self.expected == Some(self.got);
                let event = if equal { self.keep_whole().await } else { None };
                self.queue.push_back(event.unwrap_or(TargetEvent::Compared { equal }));
            }
            TargetAction::Send(message) => self.say(message).await,
            TargetAction::Cas { expected, new } => {
                let slot = self.state.job.attempt.slot;
                let swap = move |i: &Inner| i.map.cas(slot, Some(&expected), &new);
                let result = self.inner.blocking(swap).await;
                self.queue.push_back(TargetEvent::Cas(CasAnswer::from_result(&result)));
            }
            TargetAction::ReadMap => self.read_map().await,
            TargetAction::Install { epoch } => {
                let cell = self.inner.slots.get_or_make(self.state.job.attempt.slot);
                cell.replace_store(self.staging.take());
                cell.gate.open(epoch);
                cell.moved.notify_waiters();
                if let Some(keeper) = self.keeper() {
                    keeper.installed(self.slot(), self.copy());
                }
            }
            TargetAction::DropStaging => {
                if let Some(pulling) = self.pulling.take() {
                    pulling.abort();
                }
                // ORDERING: Release; pairs with the Acquire behind the keeping of the copy: one of both
                // sides makes the copy void after it was kept. Row M2.
                self.over.store(true, Ordering::Release);
                if let Some(keeper) = self.keeper() {
                    keeper.void(self.slot(), self.copy());
                }
                let staging = self.staging.take();
                tokio::task::spawn_blocking(move || drop(staging));
            }
            TargetAction::Finish(_) => {}
        }
    }

    /// Makes the verified copy durable before the source hears of it: only then may it grant.
    async fn keep_whole(&mut self) -> Option<TargetEvent> {
        let keeper = self.keeper()?;
        let (slot, copy) = (self.slot(), self.copy());
        match tokio::task::spawn_blocking(move || keeper.whole(slot, copy)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(self.failed(&not_kept(&error))),
            Err(_) => Some(self.failed(&Error::ShuttingDown)),
        }
    }

    /// The record must be the one that the source speaks of: this node reads it itself (M3). And
    /// there must be room for the copy.
    async fn prepare(&mut self) {
        let record = self.inner.read_record(self.state.job.attempt.slot).await;
        let event = match record {
            Ok(record) if self.state.job.is_under_way(record.as_ref()) => self.make_room(),
            Ok(_) => {
                self.reason = "the slot's record is not that of this migration".to_owned();
                TargetEvent::NotReady
            }
            Err(error) => {
                self.reason = error.to_string();
                TargetEvent::NotReady
            }
        };
        self.queue.push_back(event);
    }

    fn make_room(&mut self) -> TargetEvent {
        let arriving = self.inner.arriving_beside(self.state.job.attempt.slot);
        match self.inner.options.memory.room_for(self.hello.bytes, arriving) {
            Ok(()) => TargetEvent::Ready,
            Err(shortage) => {
                self.reason = shortage.to_string();
                TargetEvent::NotReady
            }
        }
    }

    async fn read_map(&mut self) {
        loop {
            match self.inner.read_record(self.state.job.attempt.slot).await {
                Ok(record) => return self.queue.push_back(TargetEvent::Read(record)),
                Err(error) => tracing::warn!(%error, "the slot map cannot be read"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn say(&mut self, message: TargetMessage) {
        let (kind, sequence, content) = match message {
            TargetMessage::Accept => (Kind::Accept, 0, Vec::new()),
            TargetMessage::Refuse => (Kind::Refuse, 0, self.reason.clone().into_bytes()),
            TargetMessage::Built => {
                self.report_progress().await;
                (Kind::Built, 0, Vec::new())
            }
            TargetMessage::RoundAck(round) => (Kind::RoundAck, u64::from(round), Vec::new()),
            TargetMessage::Verified => (Kind::Verified, 0, Vec::new()),
            TargetMessage::Mismatch => (Kind::Mismatch, 0, to_json(&self.got)),
            TargetMessage::Taken => (Kind::Taken, self.state.job.handed_over().epoch, Vec::new()),
            TargetMessage::NoCopy => (Kind::NoCopy, 0, Vec::new()),
        };
        self.send(kind, sequence, content).await;
    }

    /// A word that cannot be sent is a lost one; the connection's end shows at the next wait.
    async fn send(&mut self, kind: Kind, sequence: u64, content: Vec<u8>) {
        let frame = Frame::new(self.state.job.attempt, kind, sequence, content);
        if let Some(connection) = self.connection.as_mut()
            && let Err(error) = connection.send(&frame).await
        {
            self.reason = error.to_string();
        }
    }
}
