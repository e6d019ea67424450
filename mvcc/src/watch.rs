//! The watch over open snapshots: how old each is and what it holds, and a warning that names those
//! that have been open for longer than a limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crate::Clock;
use crate::clock::ClockInner;
use crate::queue::Garbage;
use crate::sync::{Counter, thread};

/// The default limit on the age of snapshots.
const AGE_LIMIT: Duration = Duration::from_secs(600);

/// Looks at the ages within a limit, and the least time between two.
const LOOKS: u32 = 8;
const LEAST_PAUSE: Duration = Duration::from_millis(1);

/// Times that a collector at work is given way, before its store is left out.
const ATTEMPTS: usize = 16;

/// Where a clock has its time from, and what it says about snapshots. Builder.
#[derive(Clone)]
pub struct ClockOptions {
    limit: Option<Duration>,
    time: Time,
}

impl Default for ClockOptions {
    fn default() -> Self {
        Self { limit: Some(AGE_LIMIT), time: Time::System(Instant::now()) }
    }
}

impl ClockOptions {
    /// The defaults: a warning about snapshots older than ten minutes, the system's monotonic time.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A snapshot that has been open for longer than this is named in a warning (`tracing`, target
    /// `whimbrel_mvcc`), again each time that it is older by as much. None: no warning. Default: 10 minutes.
    ///
    /// The ages are looked at by [`crate::Collectors`], and by writers that collect, about eight times within the limit;
    /// by nobody else, so where nobody writes and no collectors run, call [`Clock::watch_snapshots`].
    #[must_use]
    pub fn with_age_limit(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Where ages come from: any time that does not go back. Default: the system's monotonic time.
    /// Price: it is asked once for each snapshot. For tests, and for hosts that have a time of their own.
    #[must_use]
    pub fn with_time(mut self, time: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.time = Time::Given(Arc::new(time));
        self
    }

    pub(crate) fn into_watch(self) -> Watch {
        Watch {
            limit: self.limit,
            time: self.time,
            next: Counter::new(),
            warned: Mutex::default(),
            reader: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for ClockOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockOptions").field("age_limit", &self.limit).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Time {
    /// Since this moment.
    System(Instant),
    Given(Arc<dyn Fn() -> Duration + Send + Sync>),
}

/// What a clock knows of time.
pub(crate) struct Watch {
    limit: Option<Duration>,
    time: Time,
    /// When to look again, in nanoseconds.
    next: Counter,
    /// How many times each open snapshot was named.
    warned: Mutex<BTreeMap<u64, u32>>,
    /// The oldest session that had not ended at the last look though it was closed, and since when.
    reader: Mutex<Option<(u64, Duration)>>,
}

impl Watch {
    pub(crate) fn now(&self) -> Duration {
        match &self.time {
            Time::System(begin) => begin.elapsed(),
            Time::Given(time) => time(),
        }
    }

    /// For how long the oldest session has been seen closed with somebody inside.
    pub(crate) fn note_reader(&self, closed: bool, oldest: u64) -> Option<Duration> {
        let now = self.now();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        match *reader {
            _ if !closed => *reader = None,
            Some((session, _)) if session == oldest => {}
            _ => *reader = Some((oldest, now)),
        }
        reader.map(|(_, since)| now.saturating_sub(since))
    }

    /// The longest rest of a worker that shall look at the ages.
    pub(crate) fn pause(&self) -> Option<Duration> {
        Some((self.limit? / LOOKS).max(LEAST_PAUSE))
    }
}

/// An open snapshot, or another hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSnapshot {
    /// Its number.
    pub number: u64,
    /// Its name, or an empty one; the first 32 bytes.
    pub name: String,
    /// How long it has been open.
    pub age: Duration,
    /// Garbage of which it is the newest open snapshot that sees it, in all stores of the clock. What of
    /// that no older one sees can be collected when it closes. Less than there is where a
    /// collector was at work on a store.
    pub held: Garbage,
}

/// In nanoseconds; enough for 584 years.
pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock {
    /// Looks at the ages of the open snapshots, and names in a warning those that have been open for longer
    /// than the limit and were not named since they were younger by as much. Returns how many it named.
    ///
    /// Collectors and writers do this by themselves; see [`ClockOptions::with_age_limit`].
    ///
    /// # Complexity
    ///
    /// O(o) for o open snapshots; O(s) more for s stores where one is to be named.
    pub fn watch_snapshots(&self) -> usize {
        self.0.watch_snapshots()
    }
}

impl ClockInner {
    /// Looks at the ages if that is due.
    pub(crate) fn watch_if_due(&self) {
        let Some(pause) = self.watch.pause() else { return };
        let now = self.watch.now();
        if nanos(now) >= self.watch.next.get() {
            self.watch.next.set(nanos(now + pause));
            self.watch_snapshots();
        }
    }

    fn watch_snapshots(&self) -> usize {
        let Some(limit) = self.watch.limit else { return 0 };
        let old = self.newly_old(limit);
        if old.is_empty() {
            return 0;
        }
        for snapshot in self.with_held(old.clone()) {
            tracing::warn!(
                snapshot = snapshot.number,
                name = snapshot.name,
                age = ?snapshot.age,
                limit = ?limit,
                held_entries = snapshot.held.entries,
                held_bytes = snapshot.held.bytes,
                "a snapshot has been open for longer than the limit; \
                 what it alone sees is collected when it is closed"
            );
        }
        old.len()
    }

    /// Snapshots to be named now; notes that they were.
    fn newly_old(&self, limit: Duration) -> Vec<OpenSnapshot> {
        // Somebody else is at it otherwise.
        let mut warned = match self.watch.warned.try_lock() {
            Ok(warned) => warned,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        let mut open = self.open_snapshots();
        warned.retain(|number, _| open.binary_search_by_key(number, |s| s.number).is_ok());
        open.retain(|snapshot| {
            let times = warned.get(&snapshot.number).copied().unwrap_or(0);
            let old = snapshot.age > limit.saturating_mul(times.saturating_add(1));
            if old {
                // At most one warning for each limit that it is old, however late this look is.
                let limits = snapshot.age.as_nanos() / limit.as_nanos().max(1);
                warned.insert(snapshot.number, u32::try_from(limits).unwrap_or(u32::MAX));
            }
            old
        });
        open
    }

    /// The open snapshots, oldest first, without what they hold.
    fn open_snapshots(&self) -> Vec<OpenSnapshot> {
        let list = self.registry.list();
        // After the list, so that none of it is from the future.
        let now = self.watch.now();
        let open = list.into_iter().map(|registered| OpenSnapshot {
            number: registered.number,
            name: registered.name,
            age: now.saturating_sub(Duration::from_nanos(registered.opened)),
            held: Garbage::default(),
        });
        open.collect()
    }

    fn with_held(&self, mut snapshots: Vec<OpenSnapshot>) -> Vec<OpenSnapshot> {
        let mut held = BTreeMap::new();
        self.each_store(|access| {
            for _ in 0..ATTEMPTS {
                if access.store.collection.add_filed(&mut held) {
                    return;
                }
                thread::yield_now();
            }
        });
        for snapshot in &mut snapshots {
            snapshot.held = held.get(&snapshot.number).copied().unwrap_or_default();
        }
        snapshots
    }

    /// The open snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<OpenSnapshot> {
        self.with_held(self.open_snapshots())
    }
}
