//! Single calls at random, each recorded.

use whimbrel_mvcc::{Batch, CasOutcome, Error, Inserted, Store, Update, Updated, VersionToken};

use super::Worker;
use crate::op::{ABSENT, Kind, Step, Ticks, Value};
use crate::subject::{Subject, id_of, value_of};

/// One operation on a key (or on several, of which it is the first to be thought of).
pub(super) struct Call<'w> {
    pub(super) worker: &'w mut Worker,
    pub(super) subject: &'w Subject,
    pub(super) ticks: &'w Ticks,
    pub(super) key: u16,
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

    pub(super) fn get(&mut self) {
        let key = self.key;
        self.one(Kind::Get, |store, bytes| Step::read(key, id_of(store.get(bytes).as_deref())));
    }

    /// Each key is read at a moment of its own between call and return.
    pub(super) fn get_many(&mut self) {
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

    pub(super) fn put(&mut self) {
        let (key, value) = (self.key, self.worker.fresh());
        self.one(Kind::Put, |store, bytes| {
            store.put(bytes, &value_of(value)).expect("a short key");
            Step::write(key, value)
        });
    }

    pub(super) fn remove(&mut self) {
        let key = self.key;
        self.one(Kind::Remove, |store, bytes| {
            match id_of(store.remove(bytes).expect("a short key").as_deref()) {
                ABSENT => Step::read(key, ABSENT),
                value => Step::change(key, value, ABSENT),
            }
        });
    }

    pub(super) fn insert_unique(&mut self) {
        let (key, value) = (self.key, self.worker.fresh());
        self.one(Kind::InsertUnique, |store, bytes| {
            match store.insert_unique(bytes, &value_of(value)).expect("a short key") {
                Inserted::Inserted => Step::change(key, ABSENT, value),
                Inserted::Exists => Step::differs(key, ABSENT),
            }
        });
    }

    pub(super) fn compare_and_set(&mut self) {
        let (key, expected) = (self.key, self.worker.guess[usize::from(self.key)]);
        let new = if self.worker.rng.one_in(4) { ABSENT } else { self.worker.fresh() };
        self.one(Kind::CompareAndSet, |store, bytes| {
            let bytes_or_none = |value| (value != ABSENT).then(|| value_of(value));
            let (old, to) = (bytes_or_none(expected), bytes_or_none(new));
            match store.compare_and_set(bytes, old.as_deref(), to.as_deref()) {
                // Absent, and to be absent: nothing is written.
                Ok(CasOutcome::Done) if expected == new => Step::read(key, new),
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
    pub(super) fn update(&mut self) {
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

    pub(super) fn batch(&mut self) {
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
    pub(super) fn commit(&mut self, batch: Batch, mut steps: Vec<Step>, expected: Option<Value>) {
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
    pub(super) fn some_keys(&mut self, most: usize) -> Vec<u16> {
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
