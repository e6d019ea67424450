//! Goal: the checker's answer is that of trying all orders.
//! Method: small random histories, about half of them wrong, judged by both.

use whimbrel_history::{ABSENT, Expect, History, Kind, Log, Refusal, Rng, Step, Value, check};

const KEYS: u16 = 3;

#[derive(Debug, Clone)]
struct Made {
    kind: Kind,
    during: (u64, u64),
    number: Option<u64>,
    steps: Vec<Step>,
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
}

impl State {
    const BEGIN: Self =
        Self { holds: [ABSENT; KEYS as usize], number: 0, snapshot: false, written: false };

    /// Lets the operation happen if it can.
    fn apply(&mut self, op: &Made) -> bool {
        if let Some(number) = op.number {
            let ended = match op.kind {
                Kind::Snapshot => self.snapshot && self.written,
                _ => self.snapshot,
            };
            if number < self.number || (number == self.number && ended) {
                return false;
            }
            if number > self.number {
                (self.number, self.snapshot, self.written) = (number, false, false);
            }
            self.snapshot |= op.kind == Kind::Snapshot;
        }
        for step in &op.steps {
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
        for step in &op.steps {
            if let Some(value) = step.write {
                self.holds[usize::from(step.key)] = value;
                self.written |= self.snapshot;
            }
        }
        true
    }
}

/// Tries all orders of what is left.
fn some_order(left: &[&Made], state: &State) -> bool {
    let Some(first_end) = left.iter().map(|op| op.during.1).min() else { return true };
    (0..left.len()).any(|at| {
        let mut after = state.clone();
        left[at].during.0 < first_end && after.apply(left[at]) && {
            let rest: Vec<_> = [&left[..at], &left[at + 1..]].concat();
            some_order(&rest, &after)
        }
    })
}

/// Operations in an order that explains them, then some of them spoilt.
fn make(rng: &mut Rng) -> Vec<Made> {
    let (mut state, mut ops, mut value) = (State::BEGIN, Vec::new(), 0);
    let count = 3 + rng.below(6);
    let mut clock = 1;
    for at in 0..count as u64 {
        let key = u16::try_from(rng.below(usize::from(KEYS))).expect("few keys");
        let holds = |key: u16| state.holds[usize::from(key)];
        value += 1;
        let (kind, steps) = match rng.below(7) {
            0 => (Kind::Get, vec![Step::read(key, holds(key))]),
            1 => (Kind::Put, vec![Step::write(key, value)]),
            2 => (Kind::Remove, vec![Step::change(key, holds(key), ABSENT)]),
            3 => (Kind::CompareAndSet, vec![Step::change(key, holds(key), value)]),
            4 => (Kind::InsertUnique, vec![Step::differs(key, holds(key) + 100)]),
            5 => {
                let other = (key + 1) % KEYS;
                let second = if rng.one_in(3) { ABSENT } else { value };
                (Kind::Batch, vec![Step::write(key, value), Step::write(other, second)])
            }
            // Not of all keys, which real ones are: a harder case.
            _ => (Kind::Snapshot, (1..KEYS).map(|key| Step::read(key, holds(key))).collect()),
        };
        let number = matches!(kind, Kind::Batch | Kind::Snapshot).then_some(clock);
        clock += u64::from(kind == Kind::Snapshot);
        // Around its place in the order, up to three operations wide.
        let middle = 100 * at + 50;
        let mut reach = || rng.below(150) as u64;
        let during = (middle.saturating_sub(reach()), middle + reach());
        let op = Made { kind, during, number, steps };
        assert!(state.apply(&op), "{op:?} in order");
        ops.push(op);
    }
    for _ in 0..rng.below(3) {
        spoil(rng, &mut ops);
    }
    ops
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
            let step = rng.below(op.steps.len());
            let value = other.steps[0].write.unwrap_or(ABSENT);
            if op.steps[step].expect != Expect::Any {
                op.steps[step].expect = Expect::Is(value);
            }
        }
    }
}

#[test]
fn the_search_finds_an_order_exactly_if_there_is_one() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..30_000 {
        let ops = make(&mut Rng(seed));
        let logs = ops.iter().zip(0..).map(|(op, thread)| {
            let mut log = Log::new(thread);
            log.record(op.kind, op.during, op.number, op.steps.iter().copied());
            log
        });
        let history = History::new(vec![ABSENT; usize::from(KEYS)], logs);
        // Bounds may be equal here: what begins when another ends overlaps with it.
        let slack: Vec<Made> = ops.iter().cloned().map(widened).collect();
        let expected = some_order(&slack.iter().collect::<Vec<_>>(), &State::BEGIN);
        match check(&history) {
            Ok(_) => assert!(expected, "seed {seed}: accepted, and no order explains {ops:#?}"),
            Err(Refusal::Violation(why)) => {
                assert!(!expected, "seed {seed}: there is an order, yet: {why}\n{ops:#?}");
            }
            Err(other) => panic!("seed {seed}: {other}"),
        }
        if expected { good += 1 } else { bad += 1 }
    }
    assert!(good > 5_000 && bad > 5_000, "{good} good and {bad} bad histories");
}

/// Times doubled, with the ends moved apart.
fn widened(op: Made) -> Made {
    let (from, to) = op.during;
    Made { during: (2 * from, 2 * to + 1), ..op }
}
