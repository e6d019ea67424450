//! Workers that collect garbage in the background, for who asks for them.
//!
//! A worker goes round all stores of its clock: of each it takes the collector's lock for 256 entries at a
//! time, unless somebody else has it, until nothing is left that nobody has looked at. After a round with
//! work it naps for a millisecond, so that writers need not wake it for every write; after one without, it
//! sleeps until somebody rings (`bell.rs`), a second at most.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::bell::Sleeper;
use crate::collect::SESSION;
use crate::mutant::{Mutant, planted};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::{Clock, CollectReport};

/// Between two rounds while there is work.
const NAP: Duration = Duration::from_millis(1);

/// The longest sleep. A look a second costs nothing, and helps where who should have rung was stopped.
const REST: Duration = Duration::from_secs(1);

/// Sessions in one store before the others have their turn.
const VISIT: usize = 64;

/// Background workers that collect the garbage of all stores of a clock, those made later included.
///
/// Nobody starts any but who asks for them. They help the writers of stores with default options (and do
/// alone what is left when nobody writes, as after a snapshot was closed), take the work from those of stores
/// [with background collection](crate::StoreOptions::with_background_collection), and leave stores with
/// manual collection alone. They have the barrier reclaim memory that nobody would flush otherwise, and
/// watch the ages of snapshots.
///
/// While there is nothing to do they sleep; writers that leave garbage, and snapshots that close, wake them.
/// They keep the clock alive and none of its stores. Dropping the handle stops and joins them, after at most
/// 256 more entries each. A panic in one store (there should be none) is reported by `tracing`, and the
/// worker goes on.
///
/// # Performance
///
/// One collector works on a store at a time, so several workers help where there are several stores; a
/// single store is collected by one. One kept up with two writers that overwrote a million keys a second
/// (`cargo run --release -p whimbrel-benches --bin versions -- worker`), and
/// [a bound](crate::StoreOptions::with_garbage_bound) makes writers help when it does not.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Collectors, Store, StoreOptions};
///
/// let clock = Clock::new();
/// let store = Store::with_options(&clock, StoreOptions::new().with_background_collection());
/// let collectors = Collectors::start(&clock, 1)?;
/// for n in 0..1000_u32 {
///     store.put(b"counter", &n.to_be_bytes())?;
/// }
/// while store.stats().dead > 0 {
///     std::thread::yield_now();
/// }
/// drop(collectors);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Collectors {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Clock,
    stop: AtomicBool,
}

impl Collectors {
    /// Starts so many workers, at least one, for the stores of a clock.
    ///
    /// # Errors
    ///
    /// When the system starts no more threads; those that were started have ended then.
    pub fn start(clock: &Clock, workers: usize) -> std::io::Result<Self> {
        let workers = workers.max(1);
        let shared = Shared { clock: clock.clone(), stop: AtomicBool::new(false) };
        let mut started = Self { shared: Arc::new(shared), workers: Vec::with_capacity(workers) };
        for number in 0..workers {
            let shared = Arc::clone(&started.shared);
            let builder = thread::Builder::new().name(format!("whimbrel-gc-{number}"));
            clock.0.bell.hire();
            let worker = builder.spawn(move || Worker::new(shared, number).run());
            let worker = worker.inspect_err(|_| clock.0.bell.dismiss())?;
            started.workers.push(worker);
        }
        Ok(started)
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Stops the workers and waits for each to end its session; as dropping does.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Collectors {
    fn drop(&mut self) {
        // ORDERING: Relaxed; waking orders it before the worker's next look. Row V14.
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in &self.workers {
            self.shared.clock.0.bell.dismiss();
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            // It does not panic but in models, where that is found already.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Collectors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collectors").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

/// What a visit to a store, or a round over all, has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Nothing was taken away: there is nothing, or somebody else is at it.
    Nothing,
    /// All that there was.
    Work,
    /// More than a visit takes away.
    Backlog,
}

struct Worker {
    shared: Arc<Shared>,
    sleeper: Arc<Sleeper>,
    number: usize,
    /// The next nap while there is work that it cannot do: somebody else is at it.
    pause: Duration,
}

impl Worker {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, sleeper: Sleeper::current(), number, pause: NAP }
    }

    fn run(mut self) {
        while !self.is_stopped() {
            let begin = Instant::now();
            match self.round() {
                Found::Nothing => self.rest(),
                Found::Work => {
                    self.pause = NAP;
                    // Where there are thousands of stores, a look at each takes its time.
                    thread::nap(NAP.max(2 * begin.elapsed()));
                }
                Found::Backlog => self.pause = NAP,
            }
        }
    }

    fn is_stopped(&self) -> bool {
        // ORDERING: Relaxed; as in `Collectors::drop`. Row V14.
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Visits every store once, each worker beginning with another.
    fn round(&self) -> Found {
        let clock = &self.shared.clock;
        let mut stores = clock.0.stores.numbers();
        if !stores.is_empty() {
            let first = self.number % stores.len();
            stores.rotate_left(first);
        }
        let visits = stores.into_iter().map(|store| {
            guarded("collecting", Some(store), || self.visit(store)).unwrap_or(Found::Nothing)
        });
        let found = visits.max().unwrap_or(Found::Nothing);
        // What was handed over while the barrier's ring was full waits for somebody to close its session.
        if found > Found::Nothing || clock.barrier().has_unreclaimed() {
            clock.reclaim();
        }
        guarded("watching snapshots", None, || clock.0.watch_if_due());
        found
    }

    /// Collects in one store for as long as that takes something away, or something is new.
    fn visit(&self, store: u64) -> Found {
        let mut report = CollectReport::default();
        let mut left = true;
        for _ in 0..VISIT {
            left = !self.is_stopped() && self.step(store, &mut report);
            if !left {
                break;
            }
        }
        match report.progress() {
            0 => Found::Nothing,
            _ if left => Found::Backlog,
            _ => Found::Work,
        }
    }

    /// One session in a store. Returns whether another is worth it.
    fn step(&self, store: u64, report: &mut CollectReport) -> bool {
        let before = report.progress();
        let clock = &self.shared.clock.0;
        let more = clock.in_store(store, |access| {
            access.store.options.workers_collect(access.clock)
                && access.try_collect(SESSION, report).is_some()
                && (access.has_fresh_work() || (access.has_work() && report.progress() > before))
        });
        more.unwrap_or(false)
    }

    /// Sleeps until somebody rings, or for a while.
    fn rest(&mut self) {
        let clock = &self.shared.clock.0;
        clock.list_sleeper(&self.sleeper);
        if self.is_stopped() {
            return;
        }
        let mut work = false;
        if !planted(Mutant::SleepWithoutLook) {
            clock.each_store(|access| {
                work |= access.store.options.workers_collect(access.clock) && access.has_work();
            });
        }
        if work {
            // Somebody is at it, or something is under way that it waits for.
            thread::nap(self.pause);
            self.pause = (2 * self.pause).min(REST);
        } else {
            thread::park_for(clock.watch.pause().unwrap_or(REST).min(REST));
            self.pause = NAP;
        }
    }
}

/// Runs a part of a worker's round. A panic is reported, and ends this part only.
fn guarded<R>(what: &str, store: Option<u64>, part: impl FnOnce() -> R) -> Option<R> {
    if cfg!(whimbrel_loom) {
        // Loom ends its threads by panics.
        return Some(part());
    }
    // What is left behind is a store's queue less one entry, whose version is not collected.
    let panic = match catch_unwind(AssertUnwindSafe(part)) {
        Ok(result) => return Some(result),
        Err(panic) => panic,
    };
    tracing::error!(
        store,
        panic = message(&*panic),
        "a collector panicked while {what}; it goes on"
    );
    None
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_a_part_and_no_more() {
        let part = || -> u32 { panic!("number {}", 7) };
        assert_eq!(guarded("testing", Some(3), part), None);
        assert_eq!(guarded("testing", Some(3), || 8), Some(8));
        let panic = catch_unwind(|| panic!("static text")).expect_err("it panics");
        assert_eq!(message(&*panic), "static text");
    }
}
