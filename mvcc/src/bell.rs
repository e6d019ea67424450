//! The bell: how sleeping collectors learn that there is work.
//!
//! A worker that finds nothing to do puts itself on a list, looks again, and sleeps. Who leaves work
//! behind (a writer that made garbage, a snapshot that closed) looks at the list afterwards, and wakes
//! whom it finds there. Between the two steps of either side stands a fence, so one of them sees what
//! the other did first: no wake-up is lost. Nobody waits: the list is taken as a whole, and waking is
//! one system call for who sleeps and none for who does not.

use crate::clock::ClockInner;
use crate::dead::Inbox;
use crate::mutant::{Mutant, planted};
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::thread::{self, Thread};
use crate::sync::{Arc, Counter};

/// A worker that may sleep.
pub(crate) struct Sleeper {
    thread: Thread,
    /// It is on the list, or about to be woken.
    listed: AtomicBool,
}

impl Sleeper {
    /// The calling thread.
    pub(crate) fn current() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), listed: AtomicBool::new(false) })
    }
}

/// Who sleeps, of one clock.
pub(crate) struct Bell {
    sleepers: Inbox<Arc<Sleeper>>,
    /// Workers there are. A hint.
    workers: Counter,
}

impl Bell {
    pub(crate) fn new() -> Self {
        Self { sleepers: Inbox::new(), workers: Counter::new() }
    }

    /// Whether workers collect. A hint: who relies on it once in vain is helped by the next look.
    pub(crate) fn is_staffed(&self) -> bool {
        self.workers.get() > 0
    }

    /// A worker was started.
    pub(crate) fn hire(&self) {
        self.workers.add(1);
    }

    /// A worker is to stop.
    pub(crate) fn dismiss(&self) {
        self.workers.sub(1);
    }
}

impl ClockInner {
    /// Wakes the workers that sleep. For who has left work behind.
    pub(crate) fn ring(&self) {
        if !self.bell.is_staffed() {
            return;
        }
        if !planted(Mutant::RingNoFence) {
            self.step();
            // ORDERING: SeqCst fence; store buffering against the fence in `Barrier::pin` by
            // which a worker enters that has put itself on the list: either this look at the list sees
            // the worker, or the worker's look sees the work left before. Row V14.
            fence(Ordering::SeqCst);
        }
        if self.bell.sleepers.is_empty() {
            return;
        }
        for sleeper in self.bell.sleepers.take() {
            // ORDERING: Relaxed; waking orders it before whatever the worker does next. Row V14.
            sleeper.listed.store(false, Ordering::Relaxed);
            sleeper.thread.unpark();
        }
    }

    /// Puts a worker on the list. It must look for work in a session entered afterwards, and may sleep if
    /// there is none.
    ///
    /// ORDERING: the fence between the list and that look is the one in `Barrier::pin`. Row V14.
    pub(crate) fn list_sleeper(&self, sleeper: &Arc<Sleeper>) {
        // ORDERING: Relaxed; only this thread sets it, and who clears it wakes this thread after that,
        // so one that is found set, however old, comes with a waking still to come. Row V14.
        if !sleeper.listed.load(Ordering::Relaxed) {
            // ORDERING: as above.
            sleeper.listed.store(true, Ordering::Relaxed);
            self.bell.sleepers.push(Arc::clone(sleeper));
        }
    }
}
