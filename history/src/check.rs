//! The search for a linearization; the algorithm is explained in the crate's documentation.

use std::collections::HashSet;

use crate::config::{Config, Pending};
use crate::explain::{Violation, explain};
use crate::op::{History, Op};

/// Operations that may be pending at once.
const PLACES: usize = u64::BITS as usize;

/// Configurations at which the search gives up.
const MOST_CONFIGS: usize = 1 << 18;

/// A history that was found to be linearizable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Its operations.
    pub operations: usize,
    /// The most configurations that were possible at one moment.
    pub widest: usize,
}

/// Why a history was not accepted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Refusal {
    /// No order explains it.
    Violation(Box<Violation>),
    /// Too many orders explain its beginning; nothing is known of the rest.
    Undecided {
        /// Moment at which the search gave up.
        at: u64,
        /// Operations pending then.
        pending: usize,
    },
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Undecided { at, pending } => {
                write!(f, "undecided: too many orders at {at}, with {pending} operations pending")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Looks for a linearization: of each key for itself, then of all together.
///
/// # Errors
///
/// [`Refusal::Violation`] with an explanation when there is none; [`Refusal::Undecided`] when there were
/// too many possibilities.
///
/// # Panics
///
/// When more than 64 operations are pending at once.
pub fn check(history: &History) -> Result<Checked, Refusal> {
    let mut widest = 0;
    for key in history.by_key() {
        widest = widest.max(Search::new(&key).run()?);
    }
    widest = widest.max(Search::new(history).run()?);
    Ok(Checked { operations: history.len(), widest })
}

pub(crate) struct Search<'h> {
    pub(crate) history: &'h History,
    /// By place.
    pub(crate) pending: Vec<Option<Pending<'h>>>,
    /// All that explain what has returned. Never empty.
    pub(crate) configs: Vec<Config>,
    /// What one return leads to.
    next: HashSet<Config>,
}

impl<'h> Search<'h> {
    fn new(history: &'h History) -> Self {
        let configs = vec![Config::new(&history.initial)];
        Self { history, pending: vec![None; PLACES], configs, next: HashSet::new() }
    }

    /// The most configurations at one moment.
    fn run(mut self) -> Result<usize, Refusal> {
        let mut widest = 1;
        let mut places = vec![0; self.history.ops.len()];
        for (_, returns, at) in events(&self.history.ops) {
            if returns {
                self.returned(places[at])?;
                widest = widest.max(self.configs.len());
            } else {
                places[at] = self.called(&self.history.ops[at]);
            }
        }
        Ok(widest)
    }

    fn called(&mut self, op: &'h Op) -> usize {
        let free = self.pending.iter().position(Option::is_none);
        let place = free.expect("at most 64 operations are pending");
        self.pending[place] = Some(Pending::new(self.history, op));
        place
    }

    fn returned(&mut self, place: usize) -> Result<(), Refusal> {
        let configs = std::mem::take(&mut self.configs);
        let mut next = std::mem::take(&mut self.next);
        let is_optional = self.pending[place].is_some_and(|pending| pending.is_optional());
        for config in &configs {
            if is_optional || config.is_done(place) {
                let mut config = config.clone();
                config.set_done(place);
                next.insert(config);
            }
            if !config.is_done(place) {
                self.explore(config, place, |config, fits| {
                    if fits {
                        next.insert(config.clone());
                    }
                });
            }
        }
        if next.is_empty() {
            self.configs = configs;
            return Err(Refusal::Violation(Box::new(explain(self, place))));
        }
        let pending = self.pending.iter().flatten().count();
        let op = self.pending[place].take().expect("a pending operation returns").op;
        if next.len() > MOST_CONFIGS {
            return Err(Refusal::Undecided { at: op.respond, pending });
        }
        self.configs = configs;
        self.configs.clear();
        // All have this one done, so they stay different when its place is free.
        self.configs.extend(next.drain().map(|mut config| {
            config.free(place);
            config
        }));
        self.next = next;
        Ok(())
    }

    /// Goes through what can become of a configuration until the operation of this place has taken
    /// effect. Gives to `visit` each in which it just has (true), and each in which it has not (false).
    pub(crate) fn explore(
        &self,
        from: &Config,
        place: usize,
        mut visit: impl FnMut(&Config, bool),
    ) {
        let mut start = from.clone();
        self.read_what_fits(&mut start);
        let others = self.connected(&start, place);
        let mut seen = HashSet::from([start.clone()]);
        let mut open = vec![start];
        while let Some(config) = open.pop() {
            if config.is_done(place) {
                // It only reads. Nothing is won by letting others go first.
                visit(&config, true);
                continue;
            }
            visit(&config, false);
            if let Some(after) = self.step(&config, place) {
                visit(&after, true);
            }
            for other in others.iter().filter(|other| !config.is_done(**other)) {
                if let Some(after) = self.step(&config, *other)
                    && !seen.contains(&after)
                {
                    seen.insert(after.clone());
                    open.push(after);
                }
            }
        }
    }

    /// The operation of this place takes effect, if it fits.
    fn step(&self, config: &Config, place: usize) -> Option<Config> {
        let mut after = config.after(place, self.pending[place].as_ref()?)?;
        self.read_what_fits(&mut after);
        Some(after)
    }

    /// Operations that would change nothing take effect where they fit.
    fn read_what_fits(&self, config: &mut Config) {
        for (place, pending) in self.pending.iter().enumerate() {
            if let Some(pending) = pending
                && !config.is_done(place)
                && config.fits_unchanged(pending)
            {
                config.set_done(place);
            }
        }
    }

    /// The other pending operations that may matter to the one of this place: those that a chain of
    /// shared keys connects with it.
    fn connected(&self, config: &Config, place: usize) -> Vec<usize> {
        let mut touched = self.pending[place].map_or(0, |pending| pending.touches);
        let waiting = |at: &usize| !config.is_done(*at) && self.pending[*at].is_some();
        let mut apart: Vec<usize> = (0..PLACES).filter(waiting).filter(|at| *at != place).collect();
        let mut connected = Vec::new();
        loop {
            let before = apart.len();
            apart.retain(|at| {
                let pending = self.pending[*at].expect("only pending ones are looked at");
                if pending.touches & touched == 0 {
                    return true;
                }
                touched |= pending.touches;
                if pending.matters() {
                    connected.push(*at);
                }
                false
            });
            if apart.len() == before {
                return connected;
            }
        }
    }
}

/// Calls and returns in the order of time: (moment, whether it is a return, operation).
fn events(ops: &[Op]) -> Vec<(u64, bool, usize)> {
    let mut events = Vec::with_capacity(2 * ops.len());
    for (at, op) in ops.iter().enumerate() {
        events.push((op.invoke, false, at));
        events.push((op.respond, true, at));
    }
    // At one moment calls come first: they overlap with what returns then.
    events.sort_unstable();
    events
}
