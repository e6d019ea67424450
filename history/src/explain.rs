//! Explanations of what cannot be: which operation, which keys, and what stands against it.

use std::fmt::{Display, Formatter, Result};

use crate::check::Search;
use crate::config::{Config, Pending};
use crate::op::{ABSENT, Expect, History, Kind, Op, Step, Value};

/// Steps of an operation that an explanation shows.
const MOST_STEPS: usize = 8;

/// Operations that an explanation shows of each kind.
const MOST_OPS: usize = 8;

/// An operation that no order of the operations explains.
#[derive(Debug, Clone)]
pub struct Violation {
    operation: String,
    /// Keys that are in the way, and how.
    misfits: Vec<String>,
    hints: Vec<String>,
    pending: Vec<String>,
    before: Vec<String>,
}

impl Display for Violation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "not linearizable: nothing explains {}", self.operation)?;
        for (title, lines) in [
            ("in the order that comes closest", &self.misfits),
            ("that is", &self.hints),
            ("pending with it", &self.pending),
            ("returned before it, latest first", &self.before),
        ] {
            if !lines.is_empty() {
                writeln!(f, "  {title}:")?;
            }
            lines.iter().try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

/// Explains that the operation of this place returned and fits nowhere.
pub(crate) fn explain(search: &Search<'_>, place: usize) -> Violation {
    let pending = search.pending[place].as_ref().expect("a pending operation returned");
    let closest = closest(search, place, pending);
    let words = Words { history: search.history, keys: pending.touches };
    let misfits: Vec<Step> = closest.misfits(pending).copied().collect();
    let others = search.pending.iter().flatten().filter(|other| {
        !std::ptr::eq(other.op, pending.op) && other.touches & pending.touches != 0
    });
    Violation {
        operation: words.op(pending.op),
        misfits: words.misfits(&closest, pending, &misfits),
        hints: words.hints(&closest, pending, &misfits),
        pending: others.map(|other| words.op(other.op)).take(MOST_OPS).collect(),
        before: words.before(pending.op, &misfits),
    }
}

/// The configuration in which least stands against the operation.
fn closest(search: &Search<'_>, place: usize, pending: &Pending<'_>) -> Config {
    let mut best: Option<(usize, Config)> = None;
    for config in search.configs.iter().filter(|config| !config.is_done(place)) {
        search.explore(config, place, |config, _| {
            let against =
                2 * config.misfits(pending).count() + usize::from(!config.allows(pending.rank));
            if best.as_ref().is_none_or(|(least, _)| against < *least) {
                best = Some((against, config.clone()));
            }
        });
    }
    best.expect("there is a configuration, and it can be as it is").1
}

struct Words<'h> {
    history: &'h History,
    /// Keys of the operation that is explained.
    keys: u128,
}

impl Words<'_> {
    fn key(&self, key: u16) -> String {
        format!("key {}", self.history.names[usize::from(key)])
    }

    fn op(&self, op: &Op) -> String {
        let steps = self.history.steps_of(op);
        let shared = steps.iter().filter(|step| self.keys & (1 << step.key) != 0);
        let mut shown: Vec<String> =
            shared.take(MOST_STEPS).map(|step| self.step(op.kind, step)).collect();
        if shown.len() < steps.len() {
            shown.push(format!("{} more", steps.len() - shown.len()));
        }
        let number = op.number.map_or(String::new(), |number| format!(" number {number}"));
        let (thread, from, to) = (op.thread, op.invoke, op.respond);
        format!("{:?}{number} [{}] by thread {thread} at {from}..{to}", op.kind, shown.join(", "))
    }

    fn step(&self, kind: Kind, step: &Step) -> String {
        let key = self.key(step.key);
        match (step.expect, step.write) {
            (Expect::Any, None) => key,
            (Expect::Any, Some(value)) => format!("{key} := {}", name(value)),
            (Expect::Is(value), None) if kind == Kind::Snapshot => {
                format!("{key} shows {}", name(value))
            }
            (Expect::Is(value), None) => format!("{key} was {}", name(value)),
            (Expect::Not(value), None) => format!("{key} was not {}", name(value)),
            (Expect::Is(old), Some(new)) => format!("{key} from {} to {}", name(old), name(new)),
            (Expect::Not(old), Some(new)) => {
                format!("{key} from other than {} to {}", name(old), name(new))
            }
        }
    }

    /// Who wrote the value to the key, where that is one operation.
    fn writer(&self, key: u16, value: Value) -> Option<&Op> {
        let writes = |step: &Step| step.key == key && step.write == Some(value);
        let mut writers =
            self.history.ops.iter().filter(|op| self.history.steps_of(op).iter().any(writes));
        writers.next().filter(|_| value != ABSENT)
    }

    fn misfits(&self, closest: &Config, pending: &Pending<'_>, misfits: &[Step]) -> Vec<String> {
        let mut lines = Vec::new();
        if !closest.allows(pending.rank) {
            lines.extend(self.of_later_number(closest.rank, pending.op));
        }
        for step in misfits.iter().take(MOST_STEPS) {
            let holds = closest.holds[usize::from(step.key)];
            let writer = match self.writer(step.key, holds) {
                Some(op) => self.op(op),
                None => "the beginning, or a removal".to_owned(),
            };
            lines.push(format!("{} holds {}, from {writer}", self.key(step.key), name(holds)));
        }
        if misfits.len() > MOST_STEPS {
            lines.push(format!("{} keys more", misfits.len() - MOST_STEPS));
        }
        lines
    }

    /// What may have brought the numbers to this rank.
    fn of_later_number(&self, rank: u64, op: &Op) -> impl Iterator<Item = String> {
        let later = move |other: &&Op| {
            let here = other.rank().is_some_and(|other| other == rank || other + 1 == rank);
            here && other.invoke < op.respond && other.respond != op.respond
        };
        let others = self.history.ops.iter().filter(later).take(MOST_OPS);
        others.map(|other| format!("before it, or a write between: {}", self.op(other)))
    }

    fn hints(&self, closest: &Config, pending: &Pending<'_>, misfits: &[Step]) -> Vec<String> {
        let mut hints = Vec::new();
        if !closest.allows(pending.rank) {
            hints.push("numbers go back: it is not of the time of its number".to_owned());
        }
        for step in misfits.iter().take(MOST_STEPS) {
            let Expect::Is(found) = step.expect else { continue };
            let holds = closest.holds[usize::from(step.key)];
            hints.extend(self.unwritten(step.key, found));
            hints.extend(self.lost_update(pending.op, step, found));
            hints.extend(self.stale(pending.op, step.key, found, holds));
            hints.extend(self.over_newer(step.key, found, holds));
            hints.extend(self.half_batch(pending, step.key, holds));
            hints.extend(self.half_batch(pending, step.key, found));
        }
        hints.sort_unstable();
        hints.dedup();
        hints
    }

    fn unwritten(&self, key: u16, found: Value) -> Option<String> {
        let initial = self.history.initial[usize::from(key)];
        let known = found == ABSENT || found == initial || self.writer(key, found).is_some();
        let (key, found) = (self.key(key), name(found));
        (!known).then(|| format!("a value never written: nobody wrote {found} to {key}"))
    }

    fn lost_update(&self, op: &Op, step: &Step, found: Value) -> Option<String> {
        step.write?;
        let same = |other: &Step| {
            other.key == step.key && other.expect == step.expect && other.write.is_some()
        };
        let mut others = self.history.ops.iter().filter(|other| {
            other.respond != op.respond && self.history.steps_of(other).iter().any(same)
        });
        let other = others.next().filter(|_| found != ABSENT)?;
        Some(format!("a lost update: {} was changed by {} too", name(found), self.op(other)))
    }

    /// The value was overwritten by something that had returned before.
    fn stale(&self, op: &Op, key: u16, found: Value, holds: Value) -> Option<String> {
        let newer = self.writer(key, holds)?;
        let after = self.writer(key, found).is_none_or(|older| older.respond < newer.invoke);
        let late = newer.respond < op.invoke && after;
        late.then(|| format!("a stale answer: {} had returned before it began", self.op(newer)))
    }

    /// The value is of an ingest, and another was written after that had begun.
    fn over_newer(&self, key: u16, found: Value, holds: Value) -> Option<String> {
        let ingest = self.writer(key, found).filter(|op| op.kind == Kind::Ingest)?;
        let is_begin = |op: &&Op| op.kind == Kind::Begin && op.ingest == ingest.ingest;
        let begun = self.history.ops.iter().find(is_begin)?;
        let newer = self.writer(key, holds)?;
        let meanwhile = begun.respond < newer.invoke && newer.invoke < ingest.respond;
        meanwhile.then(|| {
            let newer = self.op(newer);
            format!("an ingest over what was written since it began: {newer}")
        })
    }

    /// The value is of a batch or an ingest of which the operation shows something else too.
    fn half_batch(&self, pending: &Pending<'_>, key: u16, value: Value) -> Option<String> {
        let many = |op: &&Op| matches!(op.kind, Kind::Batch | Kind::Ingest);
        let batch = self.writer(key, value).filter(many)?;
        let written = |step: &Step| {
            let all = self.history.steps_of(batch);
            let same = |other: &Step| other.key == step.key && other.write.is_some();
            let write = all.iter().copied().find(same)?.write?;
            Some(step.expect == Expect::Is(write))
        };
        let shown: Vec<bool> = pending.steps.iter().filter_map(written).collect();
        let half = shown.contains(&true) && shown.contains(&false);
        let what = if batch.kind == Kind::Ingest { "an ingest" } else { "a batch" };
        half.then(|| format!("half {what}, unless overwritten: {}", self.op(batch)))
    }

    /// The operations that returned last before this one on the keys that are in the way.
    fn before(&self, op: &Op, misfits: &[Step]) -> Vec<String> {
        let keys = misfits.iter().fold(0, |bits, step| bits | 1_u128 << step.key);
        let shares = |other: &&Op| {
            let steps = self.history.steps_of(other);
            other.respond < op.respond && steps.iter().any(|step| keys & (1 << step.key) != 0)
        };
        let mut before: Vec<&Op> = self.history.ops.iter().filter(shares).collect();
        before.sort_unstable_by_key(|other| std::cmp::Reverse(other.respond));
        before.into_iter().take(MOST_OPS).map(|other| self.op(other)).collect()
    }
}

/// A value as explanations show it.
fn name(value: Value) -> String {
    if value == ABSENT { "nothing".to_owned() } else { format!("#{value:x}") }
}
