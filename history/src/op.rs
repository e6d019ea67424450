//! What a history is made of, and how threads record it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names what a key holds. Every write of a history should have one of its own.
pub type Value = u32;

/// The key is absent.
pub const ABSENT: Value = 0;

/// What an operation found out about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key held this.
    Is(Value),
    /// The key held something else than this.
    Not(Value),
}

impl Expect {
    pub(crate) fn fits(self, value: Value) -> bool {
        match self {
            Self::Any => true,
            Self::Is(expected) => value == expected,
            Self::Not(other) => value != other,
        }
    }
}

/// What an operation did to one key: it found what is expected, and then wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The key, counted from 0.
    pub key: u16,
    /// What it found.
    pub expect: Expect,
    /// What it left behind; [`ABSENT`] after a removal. None: it only looked.
    pub write: Option<Value>,
}

impl Step {
    /// The key held this value.
    #[must_use]
    pub fn read(key: u16, value: Value) -> Self {
        Self { key, expect: Expect::Is(value), write: None }
    }

    /// The key held something else.
    #[must_use]
    pub fn differs(key: u16, value: Value) -> Self {
        Self { key, expect: Expect::Not(value), write: None }
    }

    /// The key was given this value, whatever it held.
    #[must_use]
    pub fn write(key: u16, value: Value) -> Self {
        Self { key, expect: Expect::Any, write: Some(value) }
    }

    /// The key held `from`, and was given `to`.
    #[must_use]
    pub fn change(key: u16, from: Value, to: Value) -> Self {
        Self { key, expect: Expect::Is(from), write: Some(to) }
    }
}

/// The name of an operation. Only explanations and the meaning of numbers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `get`, or one key of `get_many`.
    Get,
    /// `put`.
    Put,
    /// `remove`.
    Remove,
    /// `insert_unique`.
    InsertUnique,
    /// `compare_and_set`.
    CompareAndSet,
    /// `update`.
    Update,
    /// The commit of a batch.
    Batch,
    /// The taking of a snapshot; its steps are what it showed, whenever it was read.
    Snapshot,
    /// The beginning of an ingest; its steps name the keys that it is about.
    Begin,
    /// The commit of an ingest. A step whose key was written since the beginning does not count: the entry
    /// has lost.
    Ingest,
    /// A batch with a precondition, met by an entry of an ingest on its first key, may write there once more
    /// what is there, long before its own number is known: the entry has lost. Or it does not come to that.
    /// [`History::new`] adds these.
    Touch,
}

/// One operation: when it was called and returned, its steps, its number.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    /// Who called it.
    pub thread: u16,
    /// What was called.
    pub kind: Kind,
    /// Before the call.
    pub invoke: u64,
    /// After the return.
    pub respond: u64,
    /// The number of a snapshot, a batch, or an ingest; of the hold that an ingest began with, if it is known.
    pub number: Option<u64>,
    /// Of which ingest it is the beginning or the commit.
    pub(crate) ingest: Option<u64>,
    pub(crate) first_step: u32,
    pub(crate) steps: u32,
}

impl Op {
    /// Where the operation lies in the order of numbers: batches and ingests of n, then snapshots of n.
    pub(crate) fn rank(&self) -> Option<u64> {
        let after = u64::from(matches!(self.kind, Kind::Snapshot | Kind::Begin));
        self.number.map(|number| 2 * number + after)
    }

    /// Whether the two have a moment in common.
    fn overlaps(&self, from: u64, to: u64) -> bool {
        self.invoke <= to && from <= self.respond
    }
}

/// The keys of some steps, as bits.
pub(crate) fn keys_of(steps: &[Step]) -> u128 {
    steps.iter().fold(0, |bits, step| bits | 1 << step.key)
}

/// The one order of time of a history: every moment is another.
///
/// A counter, not a clock: on a machine whose processors read their clocks out of order, two operations
/// that overlapped could seem to follow each other.
#[derive(Debug, Default)]
pub struct Ticks(AtomicU64);

impl Ticks {
    /// The next moment.
    pub fn now(&self) -> u64 {
        // ORDERING: SeqCst; the operation between two moments must not leave them.
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// What the owner of an ingest knows of it.
#[derive(Debug, Clone)]
pub struct Ingested {
    /// The moments before and after it began: before and after the hold was taken that says what was there.
    pub begun: (u64, u64),
    /// The number of that hold, where it is known.
    pub base: Option<u64>,
    /// The moments before the call of its commit and after the return.
    pub committed: (u64, u64),
    /// Its number.
    pub number: u64,
    /// What each entry did, unless its key was written since it began. To write what is there already is to
    /// do nothing.
    pub steps: Vec<Step>,
}

/// What one thread recorded.
#[derive(Debug, Default)]
pub struct Log {
    thread: u16,
    ops: Vec<Op>,
    steps: Vec<Step>,
}

impl Log {
    /// An empty log of a thread.
    #[must_use]
    pub fn new(thread: u16) -> Self {
        Self { thread, ..Self::default() }
    }

    /// Operations so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Records an operation. `during`: the moments before the call and after the return.
    ///
    /// # Panics
    ///
    /// When it returned before it was called, or after 2^32 steps.
    pub fn record(
        &mut self,
        kind: Kind,
        during: (u64, u64),
        number: Option<u64>,
        steps: impl IntoIterator<Item = Step>,
    ) {
        let (invoke, respond) = during;
        assert!(invoke <= respond, "returned before it was called");
        let first = self.steps.len();
        self.steps.extend(steps);
        self.ops.push(Op {
            thread: self.thread,
            kind,
            invoke,
            respond,
            number,
            ingest: None,
            first_step: u32::try_from(first).expect("fewer than 2^32 steps"),
            steps: u32::try_from(self.steps.len() - first).expect("fewer than 2^32 steps"),
        });
    }

    /// Records an ingest that was committed. One that was cancelled is not recorded: nobody sees anything of it.
    ///
    /// # Panics
    ///
    /// As [`Log::record`].
    pub fn record_ingest(&mut self, ingest: &Ingested) {
        let keys =
            ingest.steps.iter().map(|step| Step { expect: Expect::Any, write: None, ..*step });
        let first = self.ops.len();
        self.record(Kind::Begin, ingest.begun, ingest.base, keys);
        let steps = ingest.steps.iter().copied();
        self.record(Kind::Ingest, ingest.committed, Some(ingest.number), steps);
        let name = u64::from(self.thread) << 48 | first as u64;
        self.ops[first..].iter_mut().for_each(|op| op.ingest = Some(name));
    }
}

/// What all threads recorded, from a moment at which no operation was under way.
#[derive(Debug, Clone)]
pub struct History {
    /// What the keys held at the beginning.
    pub(crate) initial: Vec<Value>,
    /// What each key is called in explanations.
    pub(crate) names: Vec<u16>,
    pub(crate) ops: Vec<Op>,
    pub(crate) steps: Vec<Step>,
}

impl History {
    /// The most keys that a history may have.
    pub const MAX_KEYS: usize = 120;

    /// Puts the logs of all threads together. `initial`: what each key held before.
    ///
    /// # Panics
    ///
    /// When there are more than [`History::MAX_KEYS`] keys, or a step is on a key that is not one of them.
    #[must_use]
    pub fn new(initial: Vec<Value>, logs: impl IntoIterator<Item = Log>) -> Self {
        let keys = u16::try_from(initial.len()).expect("few keys");
        assert!(usize::from(keys) <= Self::MAX_KEYS, "{keys} keys are too many");
        let names = (0..keys).collect();
        let mut history = Self { initial, names, ops: Vec::new(), steps: Vec::new() };
        for log in logs {
            for op in log.ops {
                let steps = &log.steps[op.first_step as usize..][..op.steps as usize];
                assert!(steps.iter().all(|step| step.key < keys), "a step on an unknown key");
                history.push(op, steps.iter().copied());
            }
        }
        history.add_touches();
        history
    }

    /// Adds what batches may have done to ingests. A batch has a precondition if its first step expects
    /// something.
    fn add_touches(&mut self) {
        let ends = self.ops.iter().filter(|op| op.kind == Kind::Ingest);
        let ends: HashMap<_, _> = ends.map(|op| (op.ingest, op.respond)).collect();
        let begins = self.ops.iter().filter(|op| op.kind == Kind::Begin);
        let ingests: Vec<(u128, u64, u64)> =
            begins.map(|op| (keys_of(self.steps_of(op)), op.invoke, ends[&op.ingest])).collect();
        let touch = |op: &Op| {
            let first = self.steps_of(op).first().filter(|first| first.expect != Expect::Any)?;
            let meets = |(keys, from, to): &(u128, u64, u64)| {
                *keys & (1 << first.key) != 0 && op.overlaps(*from, *to)
            };
            let step = Step { expect: Expect::Any, write: None, ..*first };
            let touch = Op { kind: Kind::Touch, number: None, ..*op };
            ingests.iter().any(meets).then_some((touch, step))
        };
        let batches = self.ops.iter().filter(|op| op.kind == Kind::Batch);
        for (op, step) in batches.filter_map(touch).collect::<Vec<_>>() {
            self.push(op, std::iter::once(step));
        }
    }

    pub(crate) fn push(&mut self, op: Op, steps: impl Iterator<Item = Step>) {
        let first = self.steps.len();
        self.steps.extend(steps);
        self.ops.push(Op {
            first_step: u32::try_from(first).expect("fewer than 2^32 steps"),
            steps: u32::try_from(self.steps.len() - first).expect("fewer than 2^32 steps"),
            ..op
        });
    }

    /// Number of operations that were recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len() - self.count(Kind::Touch)
    }

    /// Whether it has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.ops.iter().filter(|op| op.kind == kind).count()
    }

    pub(crate) fn steps_of(&self, op: &Op) -> &[Step] {
        &self.steps[op.first_step as usize..][..op.steps as usize]
    }

    /// What each key alone saw: one history a key, with that key only.
    pub(crate) fn by_key(&self) -> Vec<Self> {
        let alone = |key: usize| Self {
            initial: vec![self.initial[key]],
            names: vec![self.names[key]],
            ops: Vec::new(),
            steps: Vec::new(),
        };
        let mut keys: Vec<_> = (0..self.initial.len()).map(alone).collect();
        for op in &self.ops {
            for step in self.steps_of(op) {
                keys[usize::from(step.key)].push(*op, std::iter::once(Step { key: 0, ..*step }));
            }
        }
        keys
    }
}
