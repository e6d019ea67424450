//! Two nodes, one record, one network. Data is a number: how many writes the copy holds.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use whimbrel_migrate::protocol::source::{
    SourceAction, SourceEvent, SourceMessage, SourceOutcome, SourcePhase, SourceState,
};
use whimbrel_migrate::protocol::startup::{StartStep, decide};
use whimbrel_migrate::protocol::target::{
    TargetAction, TargetEvent, TargetMessage, TargetPhase, TargetState,
};
use whimbrel_migrate::protocol::{CasAnswer, Job};
use whimbrel_migrate::{Attempt, MigrationId, NodeId, Slot, SlotRecord};

use crate::flaws::{Flaw, source_step, target_step};

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) writes: u8,
    pub(crate) crashes: u8,
    pub(crate) attempts: u8,
    pub(crate) rounds: u32,
    /// Whether a node that restarts has the data that it had.
    pub(crate) journal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Gate {
    Closed,
    Reads(u64),
    All(u64),
}

impl Gate {
    fn epoch(self) -> Option<u64> {
        match self {
            Self::Closed => None,
            Self::Reads(e) | Self::All(e) => Some(e),
        }
    }
}

/// Work that a node has begun and that will end with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Work {
    Read,
    Capture,
    Drain,
    FreezeWrites,
    CloseGate,
    WriteGrant,
    Prepare,
    Pull,
    Apply,
    Compare { digest: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node<M> {
    up: bool,
    machine: Option<M>,
    gate: Gate,
    /// What a serving node holds; `None`: nothing.
    data: Option<u8>,
    incarnation: u64,
    swap: Option<(SlotRecord, SlotRecord)>,
    /// A swap at start (M5) rather than one of the machine.
    starting: bool,
    work: BTreeSet<Work>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Word {
    Open,
    Ranges,
    Abort,
    Grant,
    Offer,
    Round(u32, Option<u8>),
    Final(u32, Option<u8>, u8),
    Accept,
    Refuse,
    Built,
    RoundAck(u32),
    Verified,
    Mismatch,
    Taken,
    NoCopy,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    record: SlotRecord,
    s: Node<SourceState>,
    t: Node<TargetState>,
    /// The source's durable grant.
    granted: Option<(u64, u64)>,
    /// A write in flight at the source, and whether it will be captured.
    in_flight: Option<bool>,
    capture: bool,
    captured: bool,
    drained: bool,
    snapshot: Option<u8>,
    staged: Option<u8>,
    /// Content of the round that the target is applying.
    delta: Option<u8>,
    /// Everything ever said: delivered any number of times, in any order, or never.
    network: BTreeSet<(u64, u64, Word)>,
    /// The record of each attempt, as its first message carries it.
    jobs: Vec<SlotRecord>,
    acked: u8,
    writes: u8,
    crashes: u8,
}

fn name(s: &str) -> NodeId {
    NodeId::new(s).expect("a valid name")
}

fn slot() -> Slot {
    Slot::new(1).expect("exists")
}

type Next = Vec<(String, World)>;

/// Whether steps are named: only while a path is printed.
pub(crate) static NAMED: AtomicBool = AtomicBool::new(false);

fn said(name: impl FnOnce() -> String) -> String {
    if NAMED.load(Ordering::Relaxed) { name() } else { String::new() }
}

impl World {
    pub(crate) fn new() -> Self {
        let record = SlotRecord::first(name("s"), 1);
        let s = Node {
            up: true,
            machine: None,
            gate: Gate::All(1),
            data: Some(0),
            incarnation: 1,
            swap: None,
            starting: false,
            work: BTreeSet::new(),
        };
        let t = Node {
            up: true,
            machine: None,
            gate: Gate::Closed,
            data: None,
            incarnation: 2,
            swap: None,
            starting: false,
            work: BTreeSet::new(),
        };
        Self {
            record,
            s,
            t,
            granted: None,
            in_flight: None,
            capture: false,
            captured: false,
            drained: false,
            snapshot: None,
            staged: None,
            delta: None,
            network: BTreeSet::new(),
            jobs: Vec::new(),
            acked: 0,
            writes: 0,
            crashes: 0,
        }
    }

    pub(crate) fn is_served(&self) -> bool {
        self.s.gate.epoch().is_some() || self.t.gate.epoch().is_some()
    }

    pub(crate) fn is_handed_over(&self) -> bool {
        matches!(&self.s.machine, Some(m) if m.phase == SourcePhase::Done(SourceOutcome::Moved))
    }

    pub(crate) fn is_taken_back(&self) -> bool {
        matches!(&self.s.machine, Some(m)
            if matches!(m.phase, SourcePhase::Done(SourceOutcome::TookBack(_))))
    }

    /// The invariants.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (s, t) = (self.s.gate.epoch(), self.t.gate.epoch());
        if let (Some(s), Some(t)) = (s, t) {
            return Err(format!("two servers: source in epoch {s}, target in epoch {t}"));
        }
        for (node, epoch, data, who) in
            [("s", s, self.s.data, "source"), ("t", t, self.t.data, "target")]
        {
            let Some(epoch) = epoch else { continue };
            if self.record.owner != name(node) || self.record.epoch != epoch {
                let (owner, now) = (&self.record.owner, self.record.epoch);
                return Err(format!("{who} serves epoch {epoch}, the record says {owner}, {now}"));
            }
            // More than was acknowledged may be there: a copy can outlive the node that was
            // forgiven.
            if data.is_none_or(|data| data < self.acked) {
                let acked = self.acked;
                return Err(format!("{who} serves {data:?}, {acked} writes are acknowledged"));
            }
        }
        Ok(())
    }

    pub(crate) fn successors(&self, limits: Limits, flaw: Option<Flaw>) -> Next {
        let mut next = Vec::new();
        self.clients(limits, &mut next);
        self.crashes(limits, flaw, &mut next);
        self.begin(limits, flaw, &mut next);
        self.swaps(flaw, &mut next);
        self.source_work(limits, flaw, &mut next);
        self.target_work(flaw, &mut next);
        self.deliveries(flaw, &mut next);
        if let Some(m) = &self.s.machine {
            // A cancel and a lost connection lead to the same steps as a time-out.
            self.source_hears(m.clone(), SourceEvent::Timeout, flaw, &mut next);
        }
        if self.t.machine.is_some() {
            self.target_hears(TargetEvent::Timeout, flaw, &mut next);
        }
        next
    }

    /// Writes: at the source in two steps, at the target in one.
    fn clients(&self, limits: Limits, next: &mut Next) {
        if self.writes < limits.writes {
            if matches!(self.s.gate, Gate::All(_)) && self.in_flight.is_none() {
                let mut w = self.clone();
                w.in_flight = Some(self.capture);
                w.writes += 1;
                next.push((said(|| "a write enters the source".to_owned()), w));
            }
            if matches!(self.t.gate, Gate::All(_)) {
                let mut w = self.clone();
                w.writes += 1;
                w.acked += 1;
                w.t.data = w.t.data.map(|d| d + 1);
                next.push((said(|| "the target writes".to_owned()), w));
            }
        }
        if let Some(captures) = self.in_flight {
            let mut w = self.clone();
            w.in_flight = None;
            w.s.data = w.s.data.map(|d| d + 1);
            w.acked += 1;
            w.captured |= captures;
            next.push((said(|| "the source acknowledges the write".to_owned()), w));
        }
    }

    fn crashes(&self, limits: Limits, flaw: Option<Flaw>, next: &mut Next) {
        if self.crashes < limits.crashes {
            if self.s.up {
                next.push((said(|| "the source crashes".to_owned()), self.source_crashed(limits)));
            }
            if self.t.up {
                next.push((said(|| "the target crashes".to_owned()), self.target_crashed(limits)));
            }
        }
        if !self.s.up {
            let mut w = self.clone();
            w.s.up = true;
            w.s.incarnation += 10;
            let granted = matches!(flaw, Some(Flaw::OfferWithoutGrant))
                || matches!(&w.record.mode, whimbrel_migrate::Mode::Migrating { id, .. }
                    if w.granted == Some((id.as_u64(), w.record.epoch)));
            match decide(slot(), &w.record, &name("s"), w.s.incarnation, granted) {
                StartStep::Leave => {}
                StartStep::Take(new) => {
                    w.s.swap = Some((w.record.clone(), new));
                    w.s.starting = true;
                }
                StartStep::Offer(job) => {
                    w.source_does(SourceState::restarted(job), SourceEvent::Start, flaw);
                }
            }
            next.push((said(|| "the source restarts".to_owned()), w));
        }
        if !self.t.up {
            let mut w = self.clone();
            w.t.up = true;
            w.t.incarnation += 10;
            if let StartStep::Take(new) =
                decide(slot(), &w.record, &name("t"), w.t.incarnation, false)
            {
                w.t.swap = Some((w.record.clone(), new));
                w.t.starting = true;
            }
            next.push((said(|| "the target restarts".to_owned()), w));
        }
    }

    fn source_crashed(&self, limits: Limits) -> Self {
        let mut w = self.clone();
        w.crashes += 1;
        let incarnation = w.s.incarnation;
        // A write in flight is neither acknowledged nor kept.
        w.s = Node {
            up: false,
            machine: None,
            gate: Gate::Closed,
            data: w.s.data,
            incarnation,
            swap: None,
            starting: false,
            work: BTreeSet::new(),
        };
        (w.in_flight, w.capture, w.captured, w.drained, w.snapshot) =
            (None, false, false, false, None);
        if !limits.journal {
            w.s.data = Some(0);
            // Only a copy that a durable grant leads to is owed: the rest died with the process,
            // as it would have without a migration.
            let copy = matches!(&self.t.machine, Some(m) if matches!(m.phase,
                TargetPhase::Verified | TargetPhase::Taking | TargetPhase::Settling)
                && m.job.is_under_way(Some(&self.record))
                && self.granted == Some((m.job.attempt.id.as_u64(), m.job.attempt.epoch)));
            if self.record.owner == name("s") && !copy {
                w.acked = 0;
            }
        }
        w
    }

    fn target_crashed(&self, limits: Limits) -> Self {
        let mut w = self.clone();
        w.crashes += 1;
        let incarnation = w.t.incarnation;
        // With a journal the copy was made durable before the record was swapped.
        let kept = self.t.data.or(self.staged).filter(|_| limits.journal);
        w.t = Node {
            up: false,
            machine: None,
            gate: Gate::Closed,
            data: None,
            incarnation,
            swap: None,
            starting: false,
            work: BTreeSet::new(),
        };
        (w.staged, w.delta) = (None, None);
        if self.record.owner == name("t") {
            w.t.data = Some(kept.unwrap_or(0));
            if !limits.journal {
                w.acked = 0;
            }
        } else if !limits.journal && self.s.data == Some(0) {
            w.acked = 0;
        }
        w
    }

    fn begin(&self, limits: Limits, flaw: Option<Flaw>, next: &mut Next) {
        let idle = self.s.machine.as_ref().is_none_or(|m| matches!(m.phase, SourcePhase::Done(_)));
        let serving = matches!(self.s.gate, Gate::All(_));
        let stable = self.record.mode == whimbrel_migrate::Mode::Stable;
        if !(idle && serving && stable && self.jobs.len() < usize::from(limits.attempts)) {
            return;
        }
        let mut w = self.clone();
        let id = MigrationId::from_u64(w.jobs.len() as u64);
        let record = w.record.migrating(name("t"), id).expect("stable");
        w.jobs.push(record.clone());
        let job = w.job(id.as_u64(), record, w.s.incarnation);
        w.source_does(SourceState::new(job), SourceEvent::Start, flaw);
        next.push((said(|| "a migration begins".to_owned()), w));
    }

    fn job(&self, id: u64, record: SlotRecord, incarnation: u64) -> Job {
        let attempt = Attempt { id: MigrationId::from_u64(id), slot: slot(), epoch: record.epoch };
        Job { attempt, source: name("s"), target: name("t"), record, incarnation }
    }

    /// The map carries out a swap that a node has asked for; the answer may get lost.
    fn swaps(&self, flaw: Option<Flaw>, next: &mut Next) {
        for at_source in [true, false] {
            let swap = if at_source { &self.s.swap } else { &self.t.swap };
            let Some(swap) = swap.clone() else { continue };
            let (expected, new) = swap.clone();
            SlotRecord::check_change(Some(&expected), &new).expect("machines keep the rules");
            let mut done = self.clone();
            let answer = if done.record == expected {
                done.record = new;
                CasAnswer::Won
            } else {
                CasAnswer::Lost(Some(done.record.clone()))
            };
            for (world, answer) in
                [(&done, answer), (&done, CasAnswer::Unknown), (self, CasAnswer::Unknown)]
            {
                let mut w = world.clone();
                let who = if at_source { "source" } else { "target" };
                let what = said(|| format!("{who} swap: {answer:?}"));
                if at_source {
                    w.s.swap = None;
                } else {
                    w.t.swap = None;
                }
                let starting = if at_source { self.s.starting } else { self.t.starting };
                match (starting, at_source) {
                    (true, _) => w.started(at_source, swap.clone()),
                    (false, true) => w.answer_source(answer, flaw),
                    (false, false) => w.target_does(TargetEvent::Cas(answer), flaw),
                }
                next.push((what, w));
            }
        }
    }

    fn answer_source(&mut self, answer: CasAnswer, flaw: Option<Flaw>) {
        let m = self.s.machine.clone().expect("a machine asked");
        self.source_does(m, SourceEvent::Cas(answer), flaw);
    }

    /// A swap at start (M5): an unknown answer is settled by a read (M6).
    fn started(&mut self, at_source: bool, swap: (SlotRecord, SlotRecord)) {
        let (epoch, owned, open) =
            (self.record.epoch, self.record == swap.1, self.record == swap.0);
        let retry = open.then_some(swap);
        let gate = if owned { Gate::All(epoch) } else { Gate::Closed };
        if at_source {
            (self.s.gate, self.s.starting, self.s.swap) = (gate, retry.is_some(), retry);
        } else {
            (self.t.gate, self.t.starting, self.t.swap) = (gate, retry.is_some(), retry);
        }
    }

    fn source_hears(&self, m: SourceState, e: SourceEvent, flaw: Option<Flaw>, next: &mut Next) {
        let mut w = self.clone();
        let what = said(|| format!("source hears {e:?}"));
        w.source_does(m, e, flaw);
        next.push((what, w));
    }

    fn target_hears(&self, event: TargetEvent, flaw: Option<Flaw>, next: &mut Next) {
        let mut w = self.clone();
        let what = said(|| format!("target hears {event:?}"));
        w.target_does(event, flaw);
        next.push((what, w));
    }

    fn source_work(&self, limits: Limits, flaw: Option<Flaw>, next: &mut Next) {
        let Some(m) = &self.s.machine else { return };
        for &work in &self.s.work {
            let mut w = self.clone();
            w.s.work.remove(&work);
            let mut events = Vec::new();
            match work {
                Work::Read => events.push(SourceEvent::Read(Some(w.record.clone()))),
                Work::Capture
                    if w.in_flight != Some(false) || flaw == Some(Flaw::CaptureWithoutWaiting) =>
                {
                    w.snapshot = w.s.data;
                    events.push(SourceEvent::CaptureReady);
                }
                Work::Drain => {
                    w.drained |= w.captured && flaw != Some(Flaw::LostCaptureNoDigest);
                    w.captured = false;
                    let round = match m.phase {
                        SourcePhase::Draining { round } => round,
                        _ => 0,
                    };
                    events.push(SourceEvent::Drained { last: true });
                    if round < limits.rounds {
                        events.push(SourceEvent::Drained { last: false });
                    }
                }
                Work::FreezeWrites
                    if w.in_flight.is_none() || flaw == Some(Flaw::FreezeWithoutWaiting) =>
                {
                    events.push(SourceEvent::WritesFrozen);
                }
                Work::CloseGate => events.push(SourceEvent::GateClosed),
                Work::WriteGrant => {
                    events.push(SourceEvent::GrantFailed);
                    let mut durable = w.clone();
                    durable.granted = Some((m.job.attempt.id.as_u64(), m.job.attempt.epoch));
                    for event in [SourceEvent::GrantDurable, SourceEvent::GrantFailed] {
                        durable.source_hears(m.clone(), event, flaw, next);
                    }
                }
                _ => {}
            }
            for event in events {
                w.source_hears(m.clone(), event, flaw, next);
            }
        }
    }

    fn target_work(&self, flaw: Option<Flaw>, next: &mut Next) {
        let Some(m) = &self.t.machine else { return };
        for &work in &self.t.work {
            let mut w = self.clone();
            w.t.work.remove(&work);
            let event = match work {
                Work::Read => TargetEvent::Read(Some(w.record.clone())),
                Work::Prepare if m.job.is_under_way(Some(&w.record)) => TargetEvent::Ready,
                Work::Prepare => TargetEvent::NotReady,
                Work::Pull => match &w.s.machine {
                    Some(s) if s.job.attempt == m.job.attempt && w.snapshot.is_some() => {
                        w.staged = w.snapshot;
                        TargetEvent::Built
                    }
                    _ => TargetEvent::Failed,
                },
                Work::Apply => {
                    w.staged = w.delta.take().or(w.staged);
                    TargetEvent::Applied
                }
                Work::Compare { digest } => {
                    w.staged = w.delta.take().or(w.staged);
                    let equal = w.staged == Some(digest) || flaw.is_some_and(Flaw::ignores_digest);
                    TargetEvent::Compared { equal }
                }
                _ => continue,
            };
            w.target_hears(event, flaw, next);
        }
    }

    fn deliveries(&self, flaw: Option<Flaw>, next: &mut Next) {
        for (id, epoch, word) in &self.network {
            if self.t.up {
                self.deliver_to_target(*id, *epoch, word, flaw, next);
            }
            let Some(m) = &self.s.machine else { continue };
            let mine = (m.job.attempt.id.as_u64(), m.job.attempt.epoch) == (*id, *epoch);
            if !mine && flaw != Some(Flaw::ForeignAttempt) {
                continue;
            }
            let event = match word {
                Word::Accept => SourceEvent::Accepted,
                Word::Refuse => SourceEvent::Refused,
                Word::Built => SourceEvent::Built,
                Word::RoundAck(n) => SourceEvent::RoundAcked(*n),
                Word::Verified => SourceEvent::Verified,
                Word::Mismatch => SourceEvent::Mismatch,
                Word::Taken => SourceEvent::Taken,
                Word::NoCopy => SourceEvent::NoCopy,
                _ => continue,
            };
            self.source_hears(m.clone(), event, flaw, next);
        }
    }

    fn deliver_to_target(
        &self,
        id: u64,
        epoch: u64,
        word: &Word,
        flaw: Option<Flaw>,
        next: &mut Next,
    ) {
        let exact = self
            .t
            .machine
            .as_ref()
            .is_some_and(|m| (m.job.attempt.id.as_u64(), m.job.attempt.epoch) == (id, epoch));
        let mine = exact || (flaw == Some(Flaw::ForeignAttempt) && self.t.machine.is_some());
        let mut w = self.clone();
        let event = match word {
            Word::Open if !exact => {
                let number = usize::try_from(id).expect("few attempts");
                // A node has one attempt per slot: a new one ends the one before.
                if w.t.machine.is_some() {
                    w.target_does(TargetEvent::Abort, flaw);
                }
                let ended =
                    w.t.machine.as_ref().is_none_or(|m| matches!(m.phase, TargetPhase::Done(_)));
                let Some(record) = w.jobs.get(number).cloned().filter(|_| ended) else { return };
                let job = w.job(id, record, w.t.incarnation);
                w.t.machine = Some(TargetState::new(job));
                w.t.work.clear();
                TargetEvent::Open
            }
            Word::Offer if !mine => {
                w.network.insert((id, epoch, Word::NoCopy));
                next.push((said(|| "target knows no such attempt".to_owned()), w));
                return;
            }
            _ if !mine => return,
            Word::Ranges => TargetEvent::Ranges,
            Word::Abort => TargetEvent::Abort,
            Word::Grant => TargetEvent::Grant,
            Word::Offer => TargetEvent::Offer,
            Word::Round(n, delta) => {
                w.delta = *delta;
                TargetEvent::Round(*n)
            }
            Word::Final(n, delta, _) => {
                w.delta = *delta;
                TargetEvent::Final(*n)
            }
            _ => return,
        };
        w.deliver(event, word, flaw, next);
    }

    /// Gives the target a frame; content that its machine did not ask to apply is dropped.
    fn deliver(mut self, event: TargetEvent, word: &Word, flaw: Option<Flaw>, next: &mut Next) {
        let what = said(|| format!("target gets {word:?}"));
        let before = self.t.work.clone();
        self.target_does(event, flaw);
        if let Word::Final(_, _, digest) = word
            && self.t.work.remove(&Work::Compare { digest: u8::MAX })
        {
            self.t.work.insert(Work::Compare { digest: *digest });
        }
        let asked = self.t.work != before;
        let early = flaw == Some(Flaw::AckBeforeApply) && matches!(word, Word::Round(..));
        if !asked && matches!(word, Word::Round(..) | Word::Final(..)) {
            self.delta = None;
            if self.t.work.iter().any(|w| matches!(w, Work::Apply | Work::Compare { .. })) {
                return;
            }
        }
        if early && asked {
            // Acknowledged, never applied.
            self.delta = None;
        }
        next.push((what, self));
    }

    fn source_does(&mut self, m: SourceState, event: SourceEvent, flaw: Option<Flaw>) {
        let (m, actions) = source_step(flaw, m, event);
        let (id, epoch) = (m.job.attempt.id.as_u64(), m.job.attempt.epoch);
        self.s.machine = Some(m);
        for action in actions {
            match action {
                SourceAction::Cas { expected, new } => self.s.swap = Some((expected, new)),
                SourceAction::ReadMap => drop(self.s.work.insert(Work::Read)),
                SourceAction::Send(message) => {
                    let word = match message {
                        SourceMessage::Open => Word::Open,
                        SourceMessage::Ranges => Word::Ranges,
                        SourceMessage::Abort => Word::Abort,
                        SourceMessage::Grant => Word::Grant,
                        SourceMessage::Offer => Word::Offer,
                    };
                    self.network.insert((id, epoch, word));
                }
                SourceAction::StartCapture => {
                    self.capture = true;
                    self.s.work.insert(Work::Capture);
                }
                SourceAction::StopCapture => {
                    (self.capture, self.captured, self.drained) = (false, false, false);
                    self.in_flight = self.in_flight.map(|_| false);
                    self.snapshot = None;
                    self.s.work.clear();
                }
                SourceAction::Drain => drop(self.s.work.insert(Work::Drain)),
                SourceAction::SendRound(n) => {
                    let delta = self.s.data.filter(|_| self.drained);
                    self.drained = false;
                    self.network.insert((id, epoch, Word::Round(n, delta)));
                }
                SourceAction::FreezeWrites => {
                    self.s.gate = Gate::Reads(epoch);
                    self.s.work.insert(Work::FreezeWrites);
                }
                SourceAction::SendFinal(n) => {
                    let lost = flaw == Some(Flaw::LostCaptureNoDigest);
                    let full = self.drained || (self.captured && !lost);
                    let delta = self.s.data.filter(|_| full);
                    let digest = self.s.data.expect("a source that ships holds data");
                    self.network.insert((id, epoch, Word::Final(n, delta, digest)));
                }
                SourceAction::CloseGate => {
                    self.s.gate = Gate::Closed;
                    self.s.work.insert(Work::CloseGate);
                }
                SourceAction::WriteGrant => drop(self.s.work.insert(Work::WriteGrant)),
                SourceAction::EraseGrant => self.granted = None,
                SourceAction::Serve { epoch } => self.s.gate = Gate::All(epoch),
                SourceAction::Retire => self.s.gate = Gate::Closed,
                SourceAction::Finish(_) => {}
            }
        }
    }

    fn target_does(&mut self, event: TargetEvent, flaw: Option<Flaw>) {
        let m = self.t.machine.clone().expect("the caller checked");
        let (m, actions) = target_step(flaw, m, event);
        let (id, epoch) = (m.job.attempt.id.as_u64(), m.job.attempt.epoch);
        self.t.machine = Some(m);
        for action in actions {
            match action {
                TargetAction::Prepare => drop(self.t.work.insert(Work::Prepare)),
                TargetAction::StartPulls => drop(self.t.work.insert(Work::Pull)),
                TargetAction::ApplyRound(_) => drop(self.t.work.insert(Work::Apply)),
                TargetAction::Compare => {
                    self.t.work.insert(Work::Compare { digest: u8::MAX });
                }
                TargetAction::Cas { expected, new } => self.t.swap = Some((expected, new)),
                TargetAction::ReadMap => drop(self.t.work.insert(Work::Read)),
                TargetAction::Install { epoch } => {
                    self.t.data = self.staged.take();
                    self.t.gate = Gate::All(epoch);
                }
                TargetAction::DropStaging => {
                    (self.staged, self.delta) = (None, None);
                    self.t.work.clear();
                }
                TargetAction::Finish(_) => {}
                TargetAction::Send(message) => {
                    let word = match message {
                        TargetMessage::Accept => Word::Accept,
                        TargetMessage::Refuse => Word::Refuse,
                        TargetMessage::Built => Word::Built,
                        TargetMessage::RoundAck(n) => Word::RoundAck(n),
                        TargetMessage::Verified => Word::Verified,
                        TargetMessage::Mismatch => Word::Mismatch,
                        TargetMessage::Taken => Word::Taken,
                        TargetMessage::NoCopy => Word::NoCopy,
                    };
                    self.network.insert((id, epoch, word));
                }
            }
        }
    }
}
