//! What the observer of a store was told of while the store is walked, until it is known where it goes.
//!
//! A non-intrusive export walks a store whose snapshot it has given up ([`Observation`]). The collector tells
//! the export of each entry of the snapshot before it takes it away, so an entry may come from the walk, from
//! the observer, or from both. Here it is decided, once for each, who writes it:
//!
//! - The walk of its range has passed its key: the walk found it there, and the shard has it. Dropped.
//! - The walk comes to its key: it goes into the shard at its place, once.
//! - It takes up room before the walk comes: it goes into a GC delta, and the walk will not find it.
//!
//! So shards and GC deltas have no key in common, and count and digest of the store are sums.
//!
//! # Why
//!
//! What is told happens under this lock, and so do the beginning and the end of each portion of a walk.
//! Invariants:
//!
//! - G1. An entry that was taken is in the chain of its key until the observer is told of another one at
//!   most (`UnlinkObserver`). Hence all but the last one are gone.
//! - G2. `waiting` has what was gone before the portion that is being copied in its range was begun: no walk
//!   finds it. An entry that is the last one, or was told while a portion of its range was being copied, is
//!   in `last` or `fresh` until that portion is over.
//! - G3. An entry that is told after the end of the portion that covers its key was in its chain while
//!   the portion was copied: the portion has it.
//!
//! Only `waiting` is given to GC deltas (G2). At the end of a portion all of the three maps that it
//! covers is merged into it; what the portion has already is the same. The memory of `waiting` is bounded;
//! `fresh` has what is told during one portion, which is copied in a fraction of a millisecond.
//!
//! [`Observation`]: whimbrel_mvcc::Observation

#![cfg_attr(
    not(whimbrel_loom),
    expect(unreachable_pub, reason = "models use it; others see nothing of it")
)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::PoisonError;

use whimbrel_mvcc::{KeyRange, ObservedWalk, UnlinkAnswer};

use crate::sync::{Mutex, MutexGuard};

/// Bytes that an entry is counted with, besides its own.
const ENTRY_OVERHEAD: usize = 80;

/// Entries of one snapshot, by their keys.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Entries that go into one GC delta: ranges of keys that follow each other, with their numbers.
pub type Piece = Vec<(usize, Entries)>;

/// The entries of one store that an observer was told of.
pub struct Gathering {
    inner: Mutex<Inner>,
    /// Lower ends of the ranges but the first.
    separators: Vec<Vec<u8>>,
    max_bytes: usize,
}

struct Inner {
    parts: Vec<Part>,
    /// Bytes of what waits in all parts.
    bytes: usize,
    /// What was told last, and its part: it may be in its chain yet.
    last: Option<(usize, Vec<u8>, Vec<u8>)>,
}

/// One range of keys.
#[derive(Default)]
struct Part {
    walked: Walked,
    is_copying: bool,
    waiting: Entries,
    fresh: Entries,
}

/// How far the walk of a range has come.
#[derive(Debug, PartialEq, Eq)]
enum Walked {
    /// Past every key below this one.
    Below(Vec<u8>),
    Everything,
}

impl Default for Walked {
    fn default() -> Self {
        Self::Below(Vec::new())
    }
}

impl Walked {
    fn up_to(reached: Bound<&[u8]>) -> Self {
        match reached {
            // The next key in order.
            Bound::Included(key) => Self::Below([key, &[0]].concat()),
            Bound::Excluded(key) => Self::Below(key.to_vec()),
            Bound::Unbounded => Self::Everything,
        }
    }

    fn is_past(&self, key: &[u8]) -> bool {
        match self {
            Self::Below(end) => key < end.as_slice(),
            Self::Everything => true,
        }
    }

    /// Takes what was walked past out of the entries.
    fn take_from(&self, entries: &mut Entries) -> Entries {
        match self {
            Self::Below(end) => {
                let rest = entries.split_off(end);
                std::mem::replace(entries, rest)
            }
            Self::Everything => std::mem::take(entries),
        }
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + ENTRY_OVERHEAD
}

impl Inner {
    /// What was told before is out of its chain now.
    fn settle_last(&mut self) {
        let Some((at, key, value)) = self.last.take() else { return };
        let part = &mut self.parts[at];
        if part.is_copying {
            part.fresh.insert(key, value);
        } else {
            self.bytes += cost(&key, &value);
            part.waiting.insert(key, value);
        }
    }

    fn take_waiting(&mut self) -> Piece {
        let waiting = self.parts.iter_mut().map(|part| std::mem::take(&mut part.waiting));
        waiting.enumerate().filter(|(_, entries)| !entries.is_empty()).collect()
    }

    /// After [`Inner::take_waiting`].
    fn put_back(&mut self, piece: Piece) {
        for (at, entries) in piece {
            self.parts[at].waiting = entries;
        }
    }
}

impl std::fmt::Debug for Gathering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gathering").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

impl Gathering {
    /// For a store that is walked in these ranges, which follow each other and cover all keys. Keeps so
    /// many bytes of entries that wait for the walk.
    pub fn new(ranges: &[KeyRange], max_bytes: usize) -> Self {
        let separators = ranges.iter().skip(1).map(|range| match &range.lo {
            Bound::Included(key) | Bound::Excluded(key) => key.clone(),
            Bound::Unbounded => Vec::new(),
        });
        let parts = ranges.iter().map(|_| Part::default()).collect();
        Self {
            inner: Mutex::new(Inner { parts, bytes: 0, last: None }),
            separators: separators.collect(),
            max_bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is whole when the lock is released, by a panic too.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The observer is told of an entry. When its memory is full, `write` is given what is to be written
    /// into a GC delta; it must not wait, and may give it back with the observer's answer.
    pub fn told(
        &self,
        key: &[u8],
        value: &[u8],
        write: impl FnOnce(Piece) -> Result<(), (Piece, UnlinkAnswer)>,
    ) -> UnlinkAnswer {
        let at = self.separators.partition_point(|separator| separator.as_slice() <= key);
        let mut inner = self.lock();
        inner.settle_last();
        if inner.parts[at].walked.is_past(key) {
            return UnlinkAnswer::Taken;
        }
        if inner.bytes > self.max_bytes {
            let piece = inner.take_waiting();
            if let Err((piece, answer)) = write(piece) {
                inner.put_back(piece);
                return answer;
            }
            inner.bytes = 0;
        }
        inner.last = Some((at, key.to_vec(), value.to_vec()));
        UnlinkAnswer::Taken
    }

    /// Copies the next portion of the walk of range `at`. Returns what it lacks; none: it is at its end.
    pub fn advance(&self, at: usize, walk: &mut ObservedWalk<'_>) -> Option<Entries> {
        self.begin_portion(at);
        let more = walk.advance();
        let missed = self.end_portion(at, walk.reached());
        more.then_some(missed)
    }

    /// A portion of range `at` is going to be copied.
    pub fn begin_portion(&self, at: usize) {
        self.lock().parts[at].is_copying = true;
    }

    /// The portion was copied, up to here. Returns what it may lack.
    pub fn end_portion(&self, at: usize, reached: Bound<&[u8]>) -> Entries {
        let mut inner = self.lock();
        let Inner { parts, bytes, last } = &mut *inner;
        let part = &mut parts[at];
        part.is_copying = false;
        part.walked = Walked::up_to(reached);
        let mut missed = part.walked.take_from(&mut part.waiting);
        *bytes -= missed.iter().map(|(key, value)| cost(key, value)).sum::<usize>();
        missed.append(&mut part.walked.take_from(&mut part.fresh));
        let last = last.take_if(|(of, key, _)| *of == at && part.walked.is_past(key));
        if let Some((_, key, value)) = last {
            missed.insert(key, value);
        }
        // What was told during this portion is out of its chain before the next one begins.
        *bytes += part.fresh.iter().map(|(key, value)| cost(key, value)).sum::<usize>();
        part.waiting.append(&mut part.fresh);
        missed
    }

    /// Whether nothing is left, as it must be when all ranges were walked to their ends.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        let empty = |part: &Part| part.waiting.is_empty() && part.fresh.is_empty();
        inner.last.is_none() && inner.parts.iter().all(empty)
    }
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::*;

    fn two_ranges(max_bytes: usize) -> Gathering {
        let ranges = [KeyRange::from(.."m"), KeyRange::from("m"..)];
        Gathering::new(&ranges, max_bytes)
    }

    /// The keys of what was to be written.
    fn tell(gathering: &Gathering, key: &str) -> Option<Vec<Vec<String>>> {
        let mut written = None;
        let answer = gathering.told(key.as_bytes(), b"1", |piece| {
            let keys = |(_, entries): &(usize, Entries)| {
                keys(entries).into_iter().map(str::to_owned).collect()
            };
            written = Some(piece.iter().map(keys).collect());
            Ok(())
        });
        assert_eq!(answer, UnlinkAnswer::Taken);
        written
    }

    fn keys(entries: &Entries) -> Vec<&str> {
        entries.keys().map(|key| std::str::from_utf8(key).expect("a test's keys")).collect()
    }

    #[test]
    fn what_the_walk_comes_to_is_merged_and_what_it_passed_is_dropped() {
        let gathering = two_ranges(1000);
        for key in ["c", "a", "x", "b"] {
            assert_eq!(tell(&gathering, key), None);
        }
        gathering.begin_portion(0);
        assert_eq!(keys(&gathering.end_portion(0, Bound::Included(b"b"))), ["a", "b"]);
        assert_eq!(tell(&gathering, "aa"), None, "passed");
        gathering.begin_portion(0);
        assert_eq!(keys(&gathering.end_portion(0, Bound::Excluded(b"m"))), ["c"]);
        gathering.begin_portion(1);
        assert_eq!(keys(&gathering.end_portion(1, Bound::Unbounded)), ["x"]);
        assert!(gathering.is_empty());
    }

    #[test]
    fn only_what_no_walk_can_find_goes_into_a_piece() {
        let gathering = two_ranges(0);
        assert_eq!(tell(&gathering, "a"), None, "it may be there yet");
        assert_eq!(tell(&gathering, "x").expect("full"), [["a"]]);
        // While a portion is copied, what is told of its range stays.
        gathering.begin_portion(0);
        assert_eq!(tell(&gathering, "b").expect("the other range is not being copied"), [["x"]]);
        assert_eq!(tell(&gathering, "c"), None);
        assert_eq!(tell(&gathering, "y"), None);
        assert_eq!(keys(&gathering.end_portion(0, Bound::Included(b"b"))), ["b"]);
        assert_eq!(tell(&gathering, "z").expect("full"), [["c"], ["y"]]);
        gathering.begin_portion(1);
        assert_eq!(keys(&gathering.end_portion(1, Bound::Unbounded)), ["z"]);
        assert!(gathering.is_empty());
    }

    #[test]
    fn what_cannot_be_written_stays_for_the_walk() {
        let gathering = two_ranges(0);
        for key in ["a", "x"] {
            let later = |piece| Err((piece, UnlinkAnswer::Later));
            let answer = gathering.told(key.as_bytes(), b"1", later);
            let expected = if key == "a" { UnlinkAnswer::Taken } else { UnlinkAnswer::Later };
            assert_eq!(answer, expected);
        }
        gathering.begin_portion(0);
        assert_eq!(keys(&gathering.end_portion(0, Bound::Unbounded)), ["a"]);
        assert!(gathering.is_empty(), "what was not taken is still in its chain");
    }
}
