//! Progress and cancellation of long work.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use crate::Error;
use crate::pace::Pace;
pub use crate::pace::{Meter, Speed};

/// Hears how far long work has come. Called from worker threads, every few thousand entries and at
/// the end of every file, so that the sums are exact when the work is done.
pub trait Progress: Send + Sync {
    /// `entries` more entries of `bytes` bytes in keys and values are done.
    fn add(&self, entries: u64, bytes: u64);

    /// The work has about `entries` entries in all. Called once, before the first [`add`](Self::add).
    fn begin(&self, entries: u64) {
        let _ = entries;
    }
}

/// Asks long work to stop. Clones share one flag; once set it stays set.
///
/// The work ends with an error, publishes nothing and removes what it made.
///
/// # Examples
/// ```
/// use whimbrel_backup::progress::Cancel;
/// let cancel = Cancel::new();
/// let seen_by_the_work = cancel.clone();
/// cancel.cancel();
/// assert!(seen_by_the_work.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag.
    pub fn cancel(&self) {
        // ORDERING: Relaxed; the flag carries no data, and the work looks at it again and again.
        self.0.store(true, Ordering::Relaxed);
    }

    /// True once [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: Relaxed; see `cancel`.
        self.0.load(Ordering::Relaxed)
    }
}

/// What long work is told: how many threads, whom to report to, when to stop.
#[derive(Clone)]
pub struct Work {
    threads: usize,
    progress: Option<Arc<dyn Progress>>,
    cancel: Cancel,
    /// Set when a sibling task failed.
    failed: Cancel,
    pace: Option<Arc<Pace>>,
}

impl Default for Work {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { threads, progress: None, cancel: Cancel::new(), failed: Cancel::new(), pace: None }
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work")
            .field("threads", &self.threads)
            .field("progress", &self.progress.is_some())
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

impl Work {
    /// Worker threads, at least 1; default as many as the machine runs at once. Each takes memory for
    /// the blocks it holds. An export on several has as many more, which do nothing but wait for the disk.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Who hears of progress; default nobody.
    #[must_use]
    pub fn with_progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Nobody hears of progress.
    #[must_use]
    pub fn without_progress(mut self) -> Self {
        self.progress = None;
        self
    }

    /// The flag that stops the work; default one that nobody sets.
    #[must_use]
    pub fn with_cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Most bytes of files that an export writes in a second, all threads together; default no limit. 0 is
    /// taken for 1. Clones of this value share the limit.
    ///
    /// It is kept on average over a few blocks: a thread writes a block and rests for as long as that
    /// takes at the rate. The work looks at its cancel flag 50 times a second meanwhile.
    #[must_use]
    pub fn with_bytes_per_second(mut self, bytes: u64) -> Self {
        self.pace = Some(Arc::new(Pace::new(bytes)));
        self
    }

    /// For work that has written `bytes` more: rests for as long as the limit of bytes a second asks, and
    /// returns at once without one.
    ///
    /// # Errors
    /// [`Error::Cancelled`], within some 20 ms of the flag being set.
    pub fn wrote(&self, bytes: u64) -> Result<(), Error> {
        match &self.pace {
            Some(pace) if bytes > 0 => pace.rest(bytes, || self.is_cancelled()),
            _ => self.check(),
        }
    }

    /// Worker threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// True when the work must stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled() || self.failed.is_cancelled()
    }

    /// For work to look at between two steps.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when it must stop.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Stops this work and its siblings, for an error that [`for_each`](Self::for_each) does not see.
    pub(crate) fn stop(&self) {
        self.failed.cancel();
    }

    /// Tells the listener how much there is in all.
    pub fn begin(&self, entries: u64) {
        if let Some(progress) = &self.progress {
            progress.begin(entries);
        }
    }

    /// Tells the listener how much more is done.
    pub fn add(&self, entries: u64, bytes: u64) {
        if let Some(progress) = &self.progress {
            progress.add(entries, bytes);
        }
    }

    /// Does `each` for every item, on as many threads as asked for; answers in the items' order.
    ///
    /// The first error stops the others: the [`Work`] that `each` is given counts as cancelled from
    /// then on. `each` must look at it now and then and end with [`Error::Cancelled`].
    ///
    /// # Errors
    /// The first error of `each`, [`Error::Cancelled`], [`Error::Threads`] when the system gives none.
    pub fn for_each<T, R, E>(
        &self,
        items: &[T],
        each: impl Fn(&Self, &T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, E>
    where
        T: Sync,
        R: Send,
        E: Send + From<Error>,
    {
        let failed = Cancel::new();
        let first = Mutex::new(None);
        let work = Self { failed: failed.clone(), ..self.clone() };
        let one = |item| {
            let result =
                if work.is_cancelled() { Err(Error::Cancelled.into()) } else { each(&work, item) };
            result.map_err(|error| {
                // Kept before the others are stopped, so their `Cancelled` never comes first.
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
                failed.cancel();
            })
        };
        let done: Result<Vec<R>, ()> = if self.threads == 1 || items.len() == 1 {
            items.iter().map(one).collect()
        } else {
            self.pool()?.install(|| items.par_iter().map(one).collect())
        };
        done.map_err(|()| {
            let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
            first.unwrap_or_else(|| Error::Cancelled.into())
        })
    }

    fn pool(&self) -> Result<rayon::ThreadPool, Error> {
        let threads = self.threads;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(|error| Error::Threads { threads, reason: error.to_string() })
    }
}

/// Entries a second, 0 for no time at all.
#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
