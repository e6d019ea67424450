//! Threads that work on a [`Subject`] at random and record what they do, in rounds that are checked.

mod calls;
mod ingests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel_mvcc::{Clock, Hold, Store};

use calls::Call;

use crate::check::{Refusal, check};
use crate::op::{ABSENT, Expect, History, Kind, Log, Step, Ticks, Value};
use crate::rng::Rng;
use crate::subject::Subject;

/// Snapshots that a thread holds at most.
const HELD: usize = 6;

/// Bits of a value that count what a thread wrote.
const COUNT_BITS: u32 = 26;

/// What a thread draws a number below, to choose an operation. From `INGEST` on that is an ingest.
const CHOICES: usize = 102;
const INGEST: usize = 100;

/// What to do.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Threads that record.
    pub threads: u16,
    /// Keys.
    pub keys: u16,
    /// Stores of one clock that the keys lie in.
    pub stores: usize,
    /// Operations in all, about.
    pub operations: usize,
    /// Operations of a round; after each round the threads rest and the history is checked.
    pub round: usize,
    /// Where random choices begin.
    pub seed: u64,
    /// Whether snapshots that are held are read again, to see that they do not change. Without it the
    /// check of the history is all, to see what it finds alone.
    pub look_again: bool,
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Operations checked.
    pub operations: usize,
    /// Rounds.
    pub rounds: usize,
    /// The most configurations that the search had at one moment.
    pub widest: usize,
    /// Snapshots among the operations.
    pub snapshots: usize,
    /// Batches among the operations.
    pub batches: usize,
    /// Ingests among the operations, without those that were cancelled.
    pub ingests: usize,
    /// Entries of these that lost.
    pub lost: u64,
}

/// Carries the plan out on new stores, with a thread beside that collects and compacts.
///
/// # Errors
///
/// What [`check`] found.
pub fn run(plan: Plan, mut progress: impl FnMut(&Report)) -> Result<Report, Refusal> {
    let clock = Clock::new();
    let stores: Vec<Store> = (0..plan.stores).map(|_| Store::new(&clock)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // ORDERING: Relaxed; nothing is read because of it. It ends some time after `Stopper`.
            while !stop.load(Ordering::Relaxed) {
                stores.iter().for_each(tidy);
            }
        });
        let stopper = Stopper(&stop);
        let mut rounds = Rounds::new(plan, Subject::new(stores.clone(), b"h", plan.keys));
        while rounds.report().operations < plan.operations {
            progress(rounds.round()?);
        }
        drop(stopper);
        Ok(*rounds.report())
    })
}

/// Ends the thread beside, also when a check fails.
struct Stopper<'s>(&'s AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed; the scope's join orders all that matters after it.
        self.0.store(true, Ordering::Relaxed);
    }
}

fn tidy(store: &Store) {
    store.collect();
    store.compact();
    thread::yield_now();
}

/// Rounds of recorded work on keys that nobody else writes, each checked.
#[derive(Debug)]
pub struct Rounds {
    plan: Plan,
    subject: Subject,
    ticks: Ticks,
    workers: Vec<Worker>,
    /// What the keys hold between two rounds.
    holds: Vec<Value>,
    report: Report,
}

impl Rounds {
    /// The subject's keys are absent.
    #[must_use]
    pub fn new(plan: Plan, subject: Subject) -> Self {
        let workers = (0..plan.threads).map(|thread| Worker::new(thread, &plan)).collect();
        let holds = vec![ABSENT; usize::from(plan.keys)];
        Self { plan, subject, ticks: Ticks::default(), workers, holds, report: Report::default() }
    }

    /// What was done so far.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// One round: the threads work and end, and what they recorded is checked.
    ///
    /// # Errors
    ///
    /// What [`check`] found.
    ///
    /// # Panics
    ///
    /// When a thread did: a snapshot changed, a value was damaged, a write failed.
    pub fn round(&mut self) -> Result<&Report, Refusal> {
        let share = self.plan.round / usize::from(self.plan.threads);
        let (subject, ticks) = (&self.subject, &self.ticks);
        thread::scope(|scope| {
            for worker in &mut self.workers {
                scope.spawn(move || worker.work(subject, ticks, share));
            }
        });
        let mut logs: Vec<Log> = self.workers.iter_mut().map(|worker| worker.log()).collect();
        let mut last = Worker::new(self.plan.threads, &self.plan);
        let after = last.snapshot_now(subject, ticks);
        logs.push(last.log());
        let before = std::mem::replace(&mut self.holds, after);
        let history = History::new(before, logs);
        self.report.snapshots += history.count(Kind::Snapshot);
        self.report.batches += history.count(Kind::Batch);
        self.report.ingests += history.count(Kind::Ingest);
        self.report.lost +=
            self.workers.iter_mut().map(|worker| std::mem::take(&mut worker.lost)).sum::<u64>();
        let checked = check(&history)?;
        self.report.operations += checked.operations;
        self.report.widest = self.report.widest.max(checked.widest);
        self.report.rounds += 1;
        Ok(&self.report)
    }

    /// Removes all keys and closes all snapshots; the end of a run.
    ///
    /// # Panics
    ///
    /// When a removal fails.
    pub fn clear(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.held.clear());
        for key in 0..self.plan.keys {
            let store = self.subject.store_of(key);
            store.remove(&self.subject.bytes_of(key)).expect("keys are short");
        }
        self.holds.fill(ABSENT);
    }
}

/// A snapshot that a thread keeps open, and what it showed.
#[derive(Debug)]
struct Held {
    hold: Hold,
    shown: Vec<Value>,
}

#[derive(Debug)]
struct Worker {
    rng: Rng,
    thread: u16,
    log: Log,
    written: Value,
    /// What this thread last saw of each key, which others may have changed since.
    guess: Vec<Value>,
    held: Vec<Held>,
    /// Snapshots are kept open at present. At other times removed keys can go.
    keeps: bool,
    look_again: bool,
    /// Entries of ingests that lost.
    lost: u64,
}

impl Worker {
    fn new(thread: u16, plan: &Plan) -> Self {
        let seed = plan.seed.wrapping_add(u64::from(thread).wrapping_mul(0xD134_2543_DE82_EF95));
        Self {
            rng: Rng(seed),
            thread,
            log: Log::new(thread),
            written: 0,
            guess: vec![ABSENT; usize::from(plan.keys)],
            held: Vec::new(),
            keeps: true,
            look_again: plan.look_again,
            lost: 0,
        }
    }

    fn log(&mut self) -> Log {
        std::mem::replace(&mut self.log, Log::new(self.thread))
    }

    fn work(&mut self, subject: &Subject, ticks: &Ticks, operations: usize) {
        while self.log.len() < operations {
            let choice = self.rng.below(CHOICES);
            self.step(subject, ticks, choice);
        }
    }

    fn step(&mut self, subject: &Subject, ticks: &Ticks, choice: usize) {
        let key = u16::try_from(self.rng.below(self.guess.len())).expect("few keys");
        let mut call = Call { worker: self, subject, ticks, key };
        match choice {
            0..25 => call.get(),
            25..30 => call.get_many(),
            30..50 => call.put(),
            50..62 => call.remove(),
            62..71 => call.insert_unique(),
            71..78 => call.compare_and_set(),
            78..83 => call.update(),
            83..94 => call.batch(),
            94..99 => self.snapshot(subject, ticks),
            99..INGEST => self.look_again(subject),
            _ => call.ingest(),
        }
    }

    /// A value that nobody wrote before.
    fn fresh(&mut self) -> Value {
        self.written += 1;
        assert!(self.written < 1 << COUNT_BITS, "a thread has run out of values");
        (Value::from(self.thread) + 1) << COUNT_BITS | self.written
    }

    fn snapshot(&mut self, subject: &Subject, ticks: &Ticks) {
        let called = ticks.now();
        let hold = subject.clock().hold();
        let returned = ticks.now();
        let shown = subject.read_at(&hold, &mut self.rng);
        let steps = (0..).zip(&shown).map(|(key, value)| Step::read(key, *value));
        self.log.record(Kind::Snapshot, (called, returned), Some(hold.number()), steps);
        self.held.push(Held { hold, shown });
        if self.held.len() > HELD || !self.keeps {
            let one = self.rng.below(self.held.len());
            let held = self.held.swap_remove(one);
            self.look_at(subject, &held);
        }
    }

    /// A recorded snapshot; returns what it shows.
    fn snapshot_now(&mut self, subject: &Subject, ticks: &Ticks) -> Vec<Value> {
        self.snapshot(subject, ticks);
        self.held.pop().expect("it was taken just now, and is kept").shown
    }

    /// What a snapshot shows never changes.
    fn look_at(&mut self, subject: &Subject, held: &Held) {
        if !self.look_again {
            return;
        }
        let shown = subject.read_at(&held.hold, &mut self.rng);
        assert_eq!(shown, held.shown, "snapshot {} has changed", held.hold.number());
    }

    /// Looks at all that are open, and decides whether any are kept from now on.
    fn look_again(&mut self, subject: &Subject) {
        let held = std::mem::take(&mut self.held);
        held.iter().for_each(|held| self.look_at(subject, held));
        self.keeps = self.rng.one_in(3);
        if self.keeps {
            self.held = held;
        }
    }

    fn learn(&mut self, step: &Step) {
        let seen = match step.expect {
            Expect::Is(value) => Some(value),
            _ => None,
        };
        if let Some(value) = step.write.or(seen) {
            self.guess[usize::from(step.key)] = value;
        }
    }
}
