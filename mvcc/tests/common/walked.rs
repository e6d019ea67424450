//! What walk and observer of a snapshot that was given up have together.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use whimbrel_mvcc::{Observation, Snapshot, UnlinkAnswer, UnlinkObserver};

pub(crate) type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keeps all that it is told.
#[derive(Default)]
pub(crate) struct Kept(pub(crate) Mutex<Entries>);

impl UnlinkObserver for Kept {
    fn unlinked(&self, key: &[u8], value: &[u8]) -> UnlinkAnswer {
        let before = self.0.lock().unwrap().insert(key.to_vec(), value.to_vec());
        assert_eq!(before, None, "told twice of {}", key.escape_ascii());
        UnlinkAnswer::Taken
    }
}

pub(crate) fn content(snapshot: &Snapshot) -> Entries {
    snapshot.range(..).entries().collect()
}

pub(crate) fn walk(observation: &Observation) -> Entries {
    walk_resting(observation, Duration::ZERO)
}

/// Rests before each of twenty ranges.
pub(crate) fn walk_resting(observation: &Observation, rest: Duration) -> Entries {
    let mut entries = Entries::new();
    for range in observation.split(20) {
        thread::sleep(rest);
        let mut walk = observation.walk(range);
        while walk.advance() {
            entries.extend(walk.entries().map(|(key, value)| (key.to_vec(), value.to_vec())));
        }
        assert!(!walk.advance(), "it stays at its end");
    }
    entries
}

/// Walk and observer together; where both have a key they say the same.
pub(crate) fn together(mut walked: Entries, kept: &Kept) -> Entries {
    for (key, value) in kept.0.lock().unwrap().iter() {
        let before = walked.insert(key.clone(), value.clone());
        assert!(before.is_none_or(|before| before == *value), "of {}", key.escape_ascii());
    }
    walked
}

/// Ends the other threads, also when an assertion fails.
pub(crate) struct StopOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
