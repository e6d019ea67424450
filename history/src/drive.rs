//! Threads that work on a [`Subject`] at random and record what they do, in rounds that are checked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel_mvcc::{
    Batch, CasOutcome, Clock, Error, Hold, Inserted, Store, Update, Updated, VersionToken,
};

use crate::check::{Refusal, check};
use crate::op::{ABSENT, History, Kind, Log, Step, Ticks, Value};
use crate::rng::Rng;
use crate::subject::{Subject, id_of, value_of};

/// Snapshots that a thread holds at most.
const HELD: usize = 6;

/// Bits of a value that count what a thread wrote.
const COUNT_BITS: u32 = 26;

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
}

impl Worker {
    fn new(thread: u16, plan: &Plan) -> Self {
        let seed = plan.seed.wrapping_add(u64::from(thread).wrapping_mul(0xD134_2543_DE82_EF95));
        let guess = vec![ABSENT; usize::from(plan.keys)];
        let log = Log::new(thread);
        let (rng, look_again) = (Rng(seed), plan.look_again);
        Self { rng, thread, log, written: 0, guess, held: Vec::new(), keeps: true, look_again }
    }

    fn log(&mut self) -> Log {
        std::mem::replace(&mut self.log, Log::new(self.thread))
    }

    fn work(&mut self, subject: &Subject, ticks: &Ticks, operations: usize) {
        while self.log.len() < operations {
            let key = u16::try_from(self.rng.below(self.guess.len())).expect("few keys");
            let mut call = Call { worker: self, subject, ticks, key };
            match call.worker.rng.below(100) {
                0..25 => call.get(),
                25..30 => call.get_many(),
                30..50 => call.put(),
                50..62 => call.remove(),
                62..71 => call.insert_unique(),
                71..78 => call.compare_and_set(),
                78..83 => call.update(),
                83..94 => call.batch(),
                94..99 => self.snapshot(subject, ticks),
                _ => self.look_again(subject),
            }
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
}

/// One operation on a key (or on several, of which it is the first to be thought of).
struct Call<'w> {
    worker: &'w mut Worker,
    subject: &'w Subject,
    ticks: &'w Ticks,
    key: u16,
}

impl Call<'_> {
    /// Calls, and records one step on the key. `call` gets store and key.
    fn one(&mut self, kind: Kind, call: impl FnOnce(&Store, &[u8]) -> Step) {
        let (store, key) = (self.subject.store_of(self.key), self.subject.bytes_of(self.key));
        let called = self.ticks.now();
        let step = call(store, &key);
        let returned = self.ticks.now();
        self.worker.log.record(kind, (called, returned), None, [step]);
        self.worker.learn(&step);
    }

    fn get(&mut self) {
        let key = self.key;
        self.one(Kind::Get, |store, bytes| Step::read(key, id_of(store.get(bytes).as_deref())));
    }

    /// Each key is read at a moment of its own between call and return.
    fn get_many(&mut self) {
        let store = self.subject.store_of(self.key);
        let numbers: Vec<u16> =
            self.some_keys(5).into_iter().filter(|k| self.subject.store_of(*k).is(store)).collect();
        let keys: Vec<_> = numbers.iter().map(|key| self.subject.bytes_of(*key)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let called = self.ticks.now();
        let values = store.get_many(&keys);
        let returned = self.ticks.now();
        for (key, value) in numbers.into_iter().zip(&values) {
            let step = Step::read(key, id_of(value.as_deref()));
            self.worker.log.record(Kind::Get, (called, returned), None, [step]);
            self.worker.learn(&step);
        }
    }

    fn put(&mut self) {
        let (key, value) = (self.key, self.worker.fresh());
        self.one(Kind::Put, |store, bytes| {
            store.put(bytes, &value_of(value)).expect("a short key");
            Step::write(key, value)
        });
    }

    fn remove(&mut self) {
        let key = self.key;
        self.one(Kind::Remove, |store, bytes| {
            match id_of(store.remove(bytes).expect("a short key").as_deref()) {
                ABSENT => Step::read(key, ABSENT),
                value => Step::change(key, value, ABSENT),
            }
        });
    }

    fn insert_unique(&mut self) {
        let (key, value) = (self.key, self.worker.fresh());
        self.one(Kind::InsertUnique, |store, bytes| {
            match store.insert_unique(bytes, &value_of(value)).expect("a short key") {
                Inserted::Inserted => Step::change(key, ABSENT, value),
                Inserted::Exists => Step::differs(key, ABSENT),
            }
        });
    }

    fn compare_and_set(&mut self) {
        let (key, expected) = (self.key, self.worker.guess[usize::from(self.key)]);
        let new = if self.worker.rng.one_in(4) { ABSENT } else { self.worker.fresh() };
        self.one(Kind::CompareAndSet, |store, bytes| {
            let bytes_or_none = |value| (value != ABSENT).then(|| value_of(value));
            let (old, to) = (bytes_or_none(expected), bytes_or_none(new));
            match store.compare_and_set(bytes, old.as_deref(), to.as_deref()) {
                Ok(CasOutcome::Done) => Step::change(key, expected, new),
                Ok(CasOutcome::Differs(other)) => {
                    let other = id_of(other.as_deref());
                    assert!(other != expected, "key {key} differs from what it is");
                    Step::read(key, other)
                }
                Err(error) => panic!("{error}"),
            }
        });
    }

    /// Puts, removes or keeps, whatever it is given; a third of each.
    fn update(&mut self) {
        let (key, value, wish) = (self.key, self.worker.fresh(), self.worker.rng.below(3));
        self.one(Kind::Update, |store, bytes| {
            let mut given = ABSENT;
            let done = store.update(bytes, |found| {
                given = id_of(found);
                match wish {
                    0 => Update::Put(value_of(value)),
                    1 => Update::Remove,
                    _ => Update::Keep,
                }
            });
            match done.expect("a short key") {
                Updated::Put => Step::change(key, given, value),
                Updated::Removed => Step::change(key, given, ABSENT),
                Updated::Kept => Step::read(key, given),
            }
        });
    }

    fn batch(&mut self) {
        let most = if self.worker.rng.one_in(8) { 30 } else { 5 };
        let keys = self.some_keys(most);
        let mut batch = Batch::new();
        let mut steps: Vec<Step> = Vec::new();
        for key in keys {
            let value = if self.worker.rng.one_in(3) { ABSENT } else { self.worker.fresh() };
            let (store, bytes) = (self.subject.store_of(key), self.subject.bytes_of(key));
            match value {
                ABSENT => batch.remove(store, bytes),
                value => batch.put(store, bytes, value_of(value)),
            };
            steps.push(Step::write(key, value));
        }
        let mut expected = None;
        if self.worker.rng.one_in(3) {
            let place = |step: &Step| (self.subject.store_of(step.key).number(), step.key);
            steps.sort_unstable_by_key(place);
            let first = steps[0];
            let guess = self.worker.guess[usize::from(first.key)];
            let token = match guess {
                ABSENT => VersionToken::absent(),
                value => VersionToken::of_value(&value_of(value)),
            };
            let bytes = self.subject.bytes_of(first.key);
            batch.expect(self.subject.store_of(first.key), bytes, token);
            expected = Some(guess);
        }
        self.commit(batch, steps, expected);
    }

    /// `expected`: the value that the first key must have.
    fn commit(&mut self, batch: Batch, mut steps: Vec<Step>, expected: Option<Value>) {
        let called = self.ticks.now();
        let outcome = batch.commit();
        let returned = self.ticks.now();
        let number = match (outcome, expected) {
            (Ok(committed), expected) => {
                if let Some(value) = expected {
                    steps[0] =
                        Step::change(steps[0].key, value, steps[0].write.expect("batches write"));
                }
                Some(committed.number)
            }
            (Err(Error::PreconditionFailed { .. }), Some(value)) => {
                steps = vec![Step::differs(steps[0].key, value)];
                None
            }
            (Err(error), _) => panic!("{error}"),
        };
        steps.iter().for_each(|step| self.worker.learn(step));
        self.worker.log.record(Kind::Batch, (called, returned), number, steps);
    }

    /// At most so many keys, each once.
    fn some_keys(&mut self, most: usize) -> Vec<u16> {
        let mut keys = vec![self.key];
        for _ in 0..self.worker.rng.below(most) {
            let key = self.worker.rng.below(self.worker.guess.len());
            let key = u16::try_from(key).expect("few keys");
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

impl Worker {
    fn learn(&mut self, step: &Step) {
        let seen = match step.expect {
            crate::Expect::Is(value) => Some(value),
            _ => None,
        };
        if let Some(value) = step.write.or(seen) {
            self.guess[usize::from(step.key)] = value;
        }
    }
}
