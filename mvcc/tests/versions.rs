//! Goal: a store with many snapshots open answers every question at every one of them like a map of
//! version lists, while it is written, collected and compacted, and cursors that stand somewhere in the
//! middle go on in what they began with.
//! Method: random operation sequences against a `BTreeMap` from keys to lists of (moment, value).
//! Differs from `model.rs` in what it is wide in: hundreds of keys, so that cursors have many portions
//! and scans many sessions; up to 64 snapshots; all ways of reading; every version is kept in the model.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use common::{Rng, assert_clean, digest_of};
use proptest::prelude::*;
use whimbrel_mvcc::{
    Batch, CasOutcome, Clock, Cursor, CursorToken, Inserted, KeyRange, Snapshot, Store,
    StoreOptions, Update, Updated,
};

type Entry = (Vec<u8>, Vec<u8>);

/// What a key held, from which moment on.
type List = Vec<(u64, Option<Vec<u8>>)>;

/// Snapshots open at once.
const MOST_OPEN: usize = 64;

/// Cursors open at once.
const MOST_CURSORS: usize = 12;

/// Every version that every key ever had, by the moment from which it holds.
#[derive(Default)]
struct Versions {
    now: u64,
    keys: BTreeMap<Vec<u8>, List>,
}

impl Versions {
    /// Writes of one moment.
    fn write(&mut self, changes: impl IntoIterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
        self.now += 1;
        for (key, value) in changes {
            self.keys.entry(key).or_default().push((self.now, value));
        }
    }

    fn at(&self, key: &[u8], moment: u64) -> Option<&Vec<u8>> {
        let versions = self.keys.get(key)?;
        let newer = versions.partition_point(|(from, _)| *from <= moment);
        versions[..newer].last()?.1.as_ref()
    }

    fn newest(&self, key: &[u8]) -> Option<&Vec<u8>> {
        self.at(key, self.now)
    }

    fn range(&self, range: &KeyRange, moment: u64) -> Vec<Entry> {
        let inside = self.keys.keys().filter(|key| range.contains(key));
        inside.filter_map(|key| Some((key.clone(), self.at(key, moment)?.clone()))).collect()
    }
}

/// A cursor in the middle of its range, and what it still has to show.
struct Standing {
    cursor: Cursor,
    rest: std::vec::IntoIter<Entry>,
}

struct Run {
    store: Store,
    rng: Rng,
    versions: Versions,
    open: Vec<(Snapshot, u64)>,
    cursors: Vec<Standing>,
    keys: u64,
}

impl Run {
    fn new(seed: u64, keys: u64) -> Self {
        let options = StoreOptions::new().with_running_digest();
        let options =
            if seed.is_multiple_of(3) { options.with_manual_collection() } else { options };
        let store = Store::with_options(&Clock::new(), options);
        let (open, cursors) = (Vec::new(), Vec::new());
        Self { store, rng: Rng(seed), versions: Versions::default(), open, cursors, keys }
    }

    /// Groups of different lengths, so that there are prefixes of each other.
    fn key(&mut self) -> Vec<u8> {
        let number = self.rng.below(self.keys);
        let text = format!("{:o}", number * 7);
        let mut key = text.into_bytes();
        key.reverse();
        key
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.rng.below(12) {
            0 => 250 + self.rng.below(20),
            1 => 3_000,
            _ => self.rng.below(12),
        };
        let byte = self.rng.next().to_le_bytes()[0];
        vec![byte; usize::try_from(len).unwrap()]
    }

    fn range(&mut self) -> KeyRange {
        let (lo, hi) = (self.key(), self.key());
        match self.rng.below(6) {
            0 => KeyRange::all(),
            1 => KeyRange::prefix(&lo[..1]),
            2 => KeyRange { lo: Bound::Excluded(lo), hi: Bound::Unbounded },
            3 => KeyRange { lo: Bound::Unbounded, hi: Bound::Included(hi) },
            4 => KeyRange { lo: Bound::Included(lo), hi: Bound::Excluded(hi) },
            _ => KeyRange { lo: Bound::Excluded(lo), hi: Bound::Included(hi) },
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..24 => {
                let (key, value) = (self.key(), self.value());
                self.store.put(&key, &value).unwrap();
                self.versions.write([(key, Some(value))]);
            }
            24..36 => {
                let key = self.key();
                let had = self.versions.newest(&key).cloned();
                assert_eq!(self.store.remove(&key).unwrap(), had);
                self.versions.write([(key, None)]);
            }
            36..42 => self.insert_unique(),
            42..47 => self.compare_and_set(),
            47..50 => self.update(),
            50..60 => self.batch(),
            60..70 if self.open.len() < MOST_OPEN => {
                self.open.push((self.store.snapshot(), self.versions.now));
            }
            60..72 if !self.open.is_empty() => {
                let one = self.one_open();
                self.open.swap_remove(one);
            }
            72..76 => _ = self.store.collect_all(),
            76..78 => _ = self.store.compact(),
            78..84 => self.start_cursor(),
            84..92 => self.step_cursor(),
            92..96 => self.read_newest(),
            _ => self.read_open(),
        }
    }

    fn one_open(&mut self) -> usize {
        usize::try_from(self.rng.below(self.open.len() as u64)).unwrap()
    }

    fn one_of_the_open(&mut self) -> (Snapshot, u64) {
        let one = self.one_open();
        self.open[one].clone()
    }

    fn insert_unique(&mut self) {
        let (key, value) = (self.key(), self.value());
        let there = self.versions.newest(&key).is_some();
        let did = self.store.insert_unique(&key, &value).unwrap();
        assert_eq!(did, if there { Inserted::Exists } else { Inserted::Inserted });
        if !there {
            self.versions.write([(key, Some(value))]);
        }
    }

    fn compare_and_set(&mut self) {
        let key = self.key();
        let had = self.versions.newest(&key).cloned();
        let expected = if self.rng.below(3) == 0 { Some(self.value()) } else { had.clone() };
        let new = (self.rng.below(3) > 0).then(|| self.value());
        let did = self.store.compare_and_set(&key, expected.as_deref(), new.as_deref()).unwrap();
        if expected == had {
            assert_eq!(did, CasOutcome::Done);
            self.versions.write([(key, new)]);
        } else {
            assert_eq!(did, CasOutcome::Differs(had));
        }
    }

    fn update(&mut self) {
        let key = self.key();
        let had = self.versions.newest(&key).cloned();
        let new = (self.rng.below(3) > 0).then(|| self.value());
        let did = self.store.update(&key, |value| {
            assert_eq!(value, had.as_deref());
            new.as_ref().map_or(Update::Remove, Update::Put)
        });
        let removed = if had.is_some() { Updated::Removed } else { Updated::Kept };
        assert_eq!(did, Ok(if new.is_some() { Updated::Put } else { removed }));
        self.versions.write([(key, new)]);
    }

    fn batch(&mut self) {
        let mut batch = Batch::new();
        let mut changes = BTreeMap::new();
        for _ in 0..=self.rng.below(if self.rng.0.is_multiple_of(9) { 300 } else { 8 }) {
            let key = self.key();
            let value = (self.rng.below(3) > 0).then(|| self.value());
            match &value {
                Some(value) => batch.put(&self.store, key.clone(), value.clone()),
                None => batch.remove(&self.store, key.clone()),
            };
            changes.insert(key, value);
        }
        let committed = batch.commit().unwrap();
        let newest = self.open.iter().map(|(snapshot, _)| snapshot.number()).max();
        assert!(newest.is_none_or(|newest| newest < committed.number));
        self.versions.write(changes);
    }

    fn start_cursor(&mut self) {
        let range = self.range();
        if self.open.is_empty() || self.cursors.len() >= MOST_CURSORS {
            return self.step_cursor();
        }
        let (snapshot, moment) = self.one_of_the_open();
        let mut rest = self.versions.range(&range, moment);
        let mut cursor = snapshot.range(range);
        let back = self.rng.below(2) == 0;
        if back {
            cursor = cursor.rev();
            rest.reverse();
        }
        if self.rng.below(3) == 0 {
            let to = self.key();
            cursor.seek(&to);
            rest.retain(|(key, _)| if back { *key <= to } else { *key >= to });
        }
        assert_eq!(cursor.position(), None);
        // The snapshot may be closed before the cursor: it holds a registration of its own.
        self.cursors.push(Standing { cursor, rest: rest.into_iter() });
    }

    /// Some steps of a cursor; at times it goes on as another that begins where it stood.
    fn step_cursor(&mut self) {
        if self.cursors.is_empty() {
            return;
        }
        let one = usize::try_from(self.rng.below(self.cursors.len() as u64)).unwrap();
        let steps = self.rng.below(120);
        let standing = &mut self.cursors[one];
        for _ in 0..steps {
            let got = standing.cursor.next_entry();
            let got = got.map(|(key, value)| (key.to_vec(), value.to_vec()));
            let expected = standing.rest.next();
            assert_eq!(got, expected);
            let Some((key, _)) = expected else {
                assert_eq!(standing.cursor.next_entry(), None, "the end stays the end");
                self.cursors.swap_remove(one);
                return;
            };
            assert_eq!(standing.cursor.position(), Some(&key[..]));
        }
        let position = standing.cursor.position().map(<[u8]>::to_vec);
        if let (Some(position), true) = (position, self.rng.below(4) == 0) {
            standing.cursor.seek(&position);
            let again = standing.cursor.next_entry().map(|(key, _)| key.to_vec());
            assert_eq!(again, Some(position), "seeking to a position gives its entry again");
        }
        if self.rng.below(3) == 0 {
            let token = CursorToken::decode(&standing.cursor.token().encode()).unwrap();
            assert_eq!(token, standing.cursor.token());
            standing.cursor = standing.cursor.snapshot().resume(&token);
        }
    }

    fn read_newest(&mut self) {
        let keys: Vec<_> = (0..self.rng.below(40)).map(|_| self.key()).collect();
        let expected: Vec<_> = keys.iter().map(|key| self.versions.newest(key).cloned()).collect();
        let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        assert_eq!(self.store.get_many(&names), expected);
        for (key, expected) in keys.iter().zip(&expected) {
            assert_eq!(self.store.get(key), *expected);
            assert_eq!(self.store.contains_key(key), expected.is_some());
        }
        let all = self.versions.range(&KeyRange::all(), self.versions.now);
        assert_eq!(self.store.len_estimate(), all.len());
    }

    fn read_open(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (snapshot, moment) = self.one_of_the_open();
        let (range, pieces) = (self.range(), self.rng.below(6));
        let expected = self.versions.range(&range, moment);
        check_range(&snapshot, &range, &expected);
        let pieces = snapshot.split_range(range, usize::try_from(pieces).unwrap());
        let glued: Vec<_> =
            pieces.into_iter().flat_map(|piece| snapshot.range(piece).entries()).collect();
        assert_eq!(glued, expected, "the pieces of a split");
        let keys: Vec<_> = (0..self.rng.below(300)).map(|_| self.key()).collect();
        let expected: Vec<_> =
            keys.iter().map(|key| self.versions.at(key, moment).cloned()).collect();
        let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        assert_eq!(snapshot.get_many(&names), expected);
        for (key, expected) in keys.iter().zip(expected).take(20) {
            assert_eq!(snapshot.contains_key(key), expected.is_some());
            assert_eq!(snapshot.get(key), expected);
        }
    }

    fn finish(mut self) {
        for (snapshot, moment) in std::mem::take(&mut self.open) {
            let all = KeyRange::all();
            check_range(&snapshot, &all, &self.versions.range(&all, moment));
            assert_eq!(snapshot.len(), self.versions.range(&all, moment).len());
            drop(snapshot);
            if self.rng.below(3) == 0 {
                self.store.collect();
            }
        }
        for standing in self.cursors.drain(..) {
            let rest: Vec<_> = standing.cursor.entries().collect();
            assert_eq!(rest, standing.rest.collect::<Vec<_>>());
        }
        self.read_newest();
        assert_clean(&self.store);
        assert_eq!(self.store.digest(), Some(digest_of(&self.store.snapshot())));
    }
}

/// All ways to read a range give the same.
fn check_range(snapshot: &Snapshot, range: &KeyRange, expected: &[Entry]) {
    let up: Vec<_> = snapshot.range(range.clone()).entries().collect();
    assert_eq!(up, expected);
    let mut down: Vec<_> = snapshot.range(range.clone()).rev().entries().collect();
    down.reverse();
    assert_eq!(down, expected);
    let mut scanned = Vec::new();
    snapshot.scan(range.clone(), |key, value| {
        scanned.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    assert_eq!(scanned, expected);
    scanned.clear();
    snapshot.scan_back(range.clone(), |key, value| {
        scanned.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.reverse();
    assert_eq!(scanned, expected);
    assert_eq!(snapshot.count(range.clone()), expected.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn answers_like_a_map_of_version_lists(
        seed in any::<u64>(),
        keys in prop_oneof![Just(12_u64), Just(150), Just(900)],
        steps in 100_usize..1_500,
    ) {
        let mut run = Run::new(seed, keys);
        (0..steps).for_each(|_| run.step());
        run.finish();
    }
}
