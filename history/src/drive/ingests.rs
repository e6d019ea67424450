//! Ingests: begun, filled and committed by one thread, which does other things in between.

use whimbrel_mvcc::{Batch, Error, Ingest, IngestMode, IngestOptions, Store};

use super::INGEST;
use super::calls::Call;
use crate::op::{ABSENT, Ingested, Step};
use crate::subject::value_of;

/// Entries of an ingest of keys that follow each other, at most. From 16 on they may go in as a block.
const RUN: usize = 40;

/// Entries of an ingest of keys from here and there, at most.
const FEW: usize = 8;

/// An ingest that is open.
struct Begun {
    ingest: Ingest,
    /// When what was "there when it began" was there.
    during: (u64, u64),
    /// The number of that moment, where it is known.
    base: Option<u64>,
}

impl Call<'_> {
    /// An ingest, committed or cancelled. Nothing, where another one has one of the stores.
    pub(super) fn ingest(&mut self) {
        let mode = if self.worker.rng.one_in(3) { IngestMode::Behind } else { IngestMode::Over };
        let keys = self.keys_to_ingest(mode);
        let Some(Begun { ingest, during, base }) = self.begin(&keys, mode) else { return };
        let steps = self.fill(&ingest, &keys, mode);
        self.do_other_things();
        if self.worker.rng.one_in(5) {
            // Nobody may ever see its values, so it is no part of the history.
            ingest.cancel();
            return;
        }
        let called = self.ticks.now();
        let report = ingest.commit().expect("without a condition");
        let returned = self.ticks.now();
        let (puts, lost) = (report.written + report.same, report.lost);
        let entries = keys.len() as u64;
        assert!(puts <= entries && entries <= puts + lost, "{report:?} of {entries} entries");
        self.worker.lost += lost;
        steps.iter().for_each(|step| self.worker.learn(step));
        self.worker.log.record_ingest(&Ingested {
            begun: during,
            base,
            committed: (called, returned),
            number: report.number,
            steps,
        });
    }

    /// Keys in the order of stores and of themselves.
    fn keys_to_ingest(&mut self, mode: IngestMode) -> Vec<u16> {
        let is_run = mode == IngestMode::Over && self.worker.rng.one_in(2);
        let mut keys = if is_run {
            let first = usize::from(self.key);
            let behind = (first + 1 + self.worker.rng.below(RUN)).min(self.worker.guess.len());
            (self.key..).take(behind - first).collect()
        } else {
            self.some_keys(FEW)
        };
        keys.sort_unstable_by_key(|key| (self.subject.store_of(*key).number(), *key));
        if is_run && self.worker.rng.one_in(3) {
            self.clear(&keys);
        }
        keys
    }

    /// Removes keys and, where no snapshot sees them, their records, so that there is room for a block.
    fn clear(&mut self, keys: &[u16]) {
        let mut batch = Batch::new();
        for key in keys {
            batch.remove(self.subject.store_of(*key), self.subject.bytes_of(*key));
        }
        let steps = keys.iter().map(|key| Step::write(*key, ABSENT)).collect();
        self.commit(batch, steps, None);
        self.subject.stores().iter().for_each(|store| _ = store.collect());
    }

    /// Begins one in the stores of these keys, which are in order. What was there is said by a hold of the
    /// ingest's own, or by one from a while before. None: another one has one of the stores.
    fn begin(&mut self, keys: &[u16], mode: IngestMode) -> Option<Begun> {
        let mut stores: Vec<&Store> = keys.iter().map(|key| self.subject.store_of(*key)).collect();
        stores.dedup_by(|one, other| one.is(other));
        let mut options = IngestOptions::new().with_mode(mode);
        let mut earlier = None;
        if self.worker.rng.one_in(2) {
            let called = self.ticks.now();
            let base = self.subject.clock().hold();
            earlier = Some(((called, self.ticks.now()), base.number()));
            options = options.with_base(&base);
            self.do_other_things();
        }
        let called = self.ticks.now();
        let begun = Ingest::begin(&stores, options);
        let returned = self.ticks.now();
        let (during, base) = match earlier {
            Some((during, number)) => (during, Some(number)),
            None => ((called, returned), None),
        };
        match begun {
            Ok(ingest) => Some(Begun { ingest, during, base }),
            Err(Error::IngestActive { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Puts entries, and returns what each does unless it loses to a write since the beginning.
    fn fill(&mut self, ingest: &Ingest, keys: &[u16], mode: IngestMode) -> Vec<Step> {
        let (subject, is_over) = (self.subject, mode == IngestMode::Over);
        let mut steps = Vec::new();
        // Behind, each entry has a part of its own, which says whether it lost to what was there.
        let together = |a: &u16, b: &u16| is_over && subject.store_of(*a).is(subject.store_of(*b));
        for keys in keys.chunk_by(together) {
            let mut part = ingest.part(subject.store_of(keys[0])).expect("one of its stores");
            for key in keys {
                if self.worker.rng.one_in(6) {
                    self.do_other_things();
                }
                let bytes = subject.bytes_of(*key);
                let is_removal = is_over && self.worker.rng.one_in(4);
                let value = if is_removal { ABSENT } else { self.worker.fresh() };
                let put = match value {
                    ABSENT => part.remove(&bytes),
                    value => part.put(&bytes, &value_of(value)),
                };
                put.expect("short, and in order");
                if is_over {
                    steps.push(Step::write(*key, value));
                } else if part.written() == 1 {
                    steps.push(Step::change(*key, ABSENT, value));
                }
            }
        }
        steps
    }

    /// Up to three operations that are no ingest.
    fn do_other_things(&mut self) {
        for _ in 0..self.worker.rng.below(4) {
            let choice = self.worker.rng.below(INGEST);
            self.worker.step(self.subject, self.ticks, choice);
        }
    }
}
