//! Goal: the checker's answer is that of trying all orders.
//! Method: small random histories, about half of them wrong, judged by both.

use whimbrel_history::{
    ABSENT, Expect, History, Ingested, Kind, Log, Refusal, Rng, Step, Value, check,
};

const KEYS: u16 = 3;

#[derive(Debug, Clone)]
struct Made {
    kind: Kind,
    during: (u64, u64),
    number: Option<u64>,
    steps: Vec<Step>,
    /// Which ingest it begins or commits.
    ingest: Option<usize>,
}

/// What the keys hold, and which numbers may come.
#[derive(Clone)]
struct State {
    holds: [Value; KEYS as usize],
    /// Snapshots and batches so far are at most of this number.
    number: u64,
    /// A snapshot of that number was taken, and something was written since, or not.
    snapshot: bool,
    written: bool,
    /// The ingests that have begun, and which keys were written since.
    ingests: Vec<(usize, [bool; KEYS as usize])>,
}

impl State {
    const BEGIN: Self = Self {
        holds: [ABSENT; KEYS as usize],
        number: 0,
        snapshot: false,
        written: false,
        ingests: Vec::new(),
    };

    /// A key was written.
    fn write(&mut self, key: u16, value: Value) {
        self.holds[usize::from(key)] = value;
        self.written |= self.snapshot;
        self.ingests.iter_mut().for_each(|(_, written)| written[usize::from(key)] = true);
    }

    /// Whether an ingest has lost the key.
    fn has_lost(&self, ingest: usize, key: u16) -> bool {
        let begun = self.ingests.iter().find(|(other, _)| *other == ingest);
        begun.is_none_or(|(_, written)| written[usize::from(key)])
    }

    /// Lets the operation happen if it can.
    fn apply(&mut self, op: &Made) -> bool {
        if let Some(number) = op.number {
            let ended = match op.kind {
                Kind::Snapshot | Kind::Begin => self.snapshot && self.written,
                _ => self.snapshot,
            };
            if number < self.number || (number == self.number && ended) {
                return false;
            }
            if number > self.number {
                (self.number, self.snapshot, self.written) = (number, false, false);
            }
            self.snapshot |= matches!(op.kind, Kind::Snapshot | Kind::Begin);
        }
        match (op.kind, op.ingest) {
            (Kind::Begin, Some(ingest)) => self.ingests.push((ingest, Default::default())),
            (Kind::Touch, _) => self.touch(op.steps[0].key),
            _ => return self.apply_steps(op),
        }
        true
    }

    fn apply_steps(&mut self, op: &Made) -> bool {
        let counts = |step: &&Step| op.ingest.is_none_or(|it| !self.has_lost(it, step.key));
        let steps: Vec<Step> = op.steps.iter().filter(counts).copied().collect();
        for step in &steps {
            let holds = self.holds[usize::from(step.key)];
            let fits = match step.expect {
                Expect::Any => true,
                Expect::Is(value) => holds == value,
                Expect::Not(value) => holds != value,
            };
            if !fits {
                return false;
            }
        }
        for step in &steps {
            if let Some(value) = step.write
                && (op.ingest.is_none() || self.holds[usize::from(step.key)] != value)
            {
                self.write(step.key, value);
            }
        }
        self.ingests.retain(|(ingest, _)| Some(*ingest) != op.ingest);
        true
    }

    /// What is there is written once more, if an ingest loses by it.
    fn touch(&mut self, key: u16) {
        if self.ingests.iter().any(|(_, written)| !written[usize::from(key)]) {
            self.write(key, self.holds[usize::from(key)]);
        }
    }
}

/// Tries all orders of what is left.
fn some_order(left: &[&Made], state: &State) -> bool {
    let Some(first_end) = left.iter().map(|op| op.during.1).min() else { return true };
    (0..left.len()).any(|at| {
        let rest: Vec<_> = [&left[..at], &left[at + 1..]].concat();
        let mut after = state.clone();
        // A touch need not happen.
        (left[at].kind == Kind::Touch && some_order(&rest, state))
            || left[at].during.0 < first_end && after.apply(left[at]) && some_order(&rest, &after)
    })
}

/// Operations in an order that explains them, then some of them spoilt.
fn make(rng: &mut Rng) -> Vec<Made> {
    let (mut state, mut ops, mut value) = (State::BEGIN, Vec::<Made>::new(), 0);
    let count = 3 + rng.below(6);
    let (mut clock, mut begun) = (1, None);
    for at in 0..count as u64 {
        let key = u16::try_from(rng.below(usize::from(KEYS))).expect("few keys");
        let other = (key + 1) % KEYS;
        let holds = |key: u16| state.holds[usize::from(key)];
        value += 1;
        let second = if rng.one_in(3) { ABSENT } else { value };
        let both = vec![Step::write(key, value), Step::write(other, second)];
        let (kind, steps) = match (rng.below(10), begun) {
            (0, _) => (Kind::Get, vec![Step::read(key, holds(key))]),
            (1, _) => (Kind::Put, vec![Step::write(key, value)]),
            (2, _) => (Kind::Remove, vec![Step::change(key, holds(key), ABSENT)]),
            (3, _) => (Kind::CompareAndSet, vec![Step::change(key, holds(key), value)]),
            (4, _) => (Kind::InsertUnique, vec![Step::differs(key, holds(key) + 100)]),
            (5, _) => (Kind::Batch, both),
            // With a precondition.
            (6, _) => {
                if rng.one_in(2) {
                    state.touch(key);
                }
                (
                    Kind::Batch,
                    vec![Step::change(key, state.holds[usize::from(key)], value), both[1]],
                )
            }
            (7, None) => (Kind::Begin, Vec::new()),
            (7 | 8, Some(ingest)) => (Kind::Ingest, ingest_steps(rng, &state, ingest, &both)),
            // Not of all keys, which real ones are: a harder case.
            _ => (Kind::Snapshot, (1..KEYS).map(|key| Step::read(key, holds(key))).collect()),
        };
        let numbered = match kind {
            Kind::Begin => rng.one_in(2),
            _ => matches!(kind, Kind::Batch | Kind::Snapshot | Kind::Ingest),
        };
        let number = numbered.then_some(clock);
        clock += u64::from(numbered && matches!(kind, Kind::Snapshot | Kind::Begin));
        // Around its place in the order, up to three operations wide.
        let middle = 100 * at + 50;
        let mut reach = || rng.below(150) as u64;
        let mut during = (middle.saturating_sub(reach()), middle + reach());
        let ingest = match kind {
            Kind::Begin => Some(ops.len()),
            Kind::Ingest => begun,
            _ => None,
        };
        if let (Kind::Ingest, Some(begin)) = (kind, begun) {
            // It returned from one before it called the other.
            during.0 = during.0.max(100 * at);
            let before: &mut Made = &mut ops[begin];
            before.during.1 = before.during.1.min(100 * at - 1);
        }
        begun = match kind {
            Kind::Begin => ingest,
            Kind::Ingest => None,
            _ => begun,
        };
        let op = Made { kind, during, number, steps, ingest };
        assert!(state.apply(&op), "{op:?} in order");
        ops.push(op);
    }
    for _ in 0..rng.below(3) {
        spoil(rng, &mut ops);
    }
    // One that was not committed is not seen.
    ops.retain(|op| op.kind != Kind::Begin || op.ingest != begun);
    ops
}

/// An ingest over what is there, or of one key behind it, which has lost it or finds it absent.
fn ingest_steps(rng: &mut Rng, state: &State, ingest: usize, both: &[Step]) -> Vec<Step> {
    let (key, value) = (both[0].key, both[0].write.unwrap_or(ABSENT));
    let fits = state.has_lost(ingest, key) || state.holds[usize::from(key)] == ABSENT;
    match rng.below(3) {
        0 if fits => vec![Step::change(key, ABSENT, value)],
        _ => both.to_vec(),
    }
}

/// Another number, another value, or a value that the key held at another time.
fn spoil(rng: &mut Rng, ops: &mut [Made]) {
    let one = rng.below(ops.len());
    let other = ops[rng.below(ops.len())].clone();
    let op = &mut ops[one];
    match (rng.below(3), &mut op.number) {
        (0, Some(number)) => *number = (*number + rng.next_u64() % 3).saturating_sub(1),
        (1, _) => op.during.1 = op.during.1.min(op.during.0 + 10),
        _ => {
            let value = other.steps.first().and_then(|step| step.write).unwrap_or(ABSENT);
            let step = op.steps.len().checked_sub(1).map(|last| rng.below(last + 1));
            if let Some(step) = step.map(|step| &mut op.steps[step])
                && step.expect != Expect::Any
            {
                step.expect = Expect::Is(value);
            }
        }
    }
}

/// As threads of their own record it.
fn log_of(ops: &[Made], op: &Made, thread: u16) -> Option<Log> {
    let mut log = Log::new(thread);
    let number = op.number;
    match (op.kind, number) {
        (Kind::Begin, _) => return None,
        (Kind::Ingest, Some(number)) => {
            let begin = |other: &&Made| other.kind == Kind::Begin && other.ingest == op.ingest;
            let begin = ops.iter().find(begin).expect("it began");
            log.record_ingest(&Ingested {
                begun: begin.during,
                base: begin.number,
                committed: op.during,
                number,
                steps: op.steps.clone(),
            });
        }
        _ => log.record(op.kind, op.during, number, op.steps.iter().copied()),
    }
    Some(log)
}

/// What a batch with a precondition may do to an ingest.
fn touch_of(op: &Made) -> Option<Made> {
    let first = op.steps.first().filter(|first| first.expect != Expect::Any)?;
    let step = Step { expect: Expect::Any, write: None, ..*first };
    let touch = Made { kind: Kind::Touch, number: None, steps: vec![step], ..op.clone() };
    (op.kind == Kind::Batch).then_some(touch)
}

#[test]
fn the_search_finds_an_order_exactly_if_there_is_one() {
    let (mut good, mut bad, mut ingests) = (0, 0, [0; 2]);
    for seed in 0..30_000 {
        let ops = make(&mut Rng(seed));
        let logs = ops.iter().zip(0..).filter_map(|(op, thread)| log_of(&ops, op, thread));
        let history = History::new(vec![ABSENT; usize::from(KEYS)], logs);
        // Bounds may be equal here: what begins when another ends overlaps with it.
        let touches: Vec<Made> = ops.iter().filter_map(touch_of).collect();
        let slack: Vec<Made> = ops.iter().chain(&touches).cloned().map(widened).collect();
        let expected = some_order(&slack.iter().collect::<Vec<_>>(), &State::BEGIN);
        match check(&history) {
            Ok(_) => assert!(expected, "seed {seed}: accepted, and no order explains {ops:#?}"),
            Err(Refusal::Violation(why)) => {
                assert!(!expected, "seed {seed}: there is an order, yet: {why}\n{ops:#?}");
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
        if expected {
            good += 1
        } else {
            bad += 1
        }
        ingests[usize::from(expected)] += ops.iter().filter(|op| op.kind == Kind::Ingest).count();
    }
    assert!(good > 5_000 && bad > 5_000, "{good} good and {bad} bad histories");
    assert!(ingests.iter().all(|count| *count > 500), "{ingests:?} ingests in bad and good ones");
}

/// Times doubled, with the ends moved apart.
fn widened(op: Made) -> Made {
    let (from, to) = op.during;
    Made { during: (2 * from, 2 * to + 1), ..op }
}
