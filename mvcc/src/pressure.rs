//! What a write does after it has taken effect, outside of its session, when there is more to do than its
//! share of the collection: look at the ages of snapshots, and help when garbage is above its bound.

use std::time::Duration;

use crate::collect::SESSION;
use crate::store::Store;
use crate::sync::thread;
use crate::{Clock, CollectReport};

/// Sessions of collection that a write above the bound does, at least.
const HELP: u64 = 2;

/// How often a write above the bound looks whether the collector at work is done: at first it lets other
/// threads run, then it sleeps, a millisecond in all. A batch does for each of its operations, up to 64.
const YIELDS: u64 = 20;
const NAPS: u64 = 20;
const NAP: Duration = Duration::from_micros(50);
const MOST_NAPS: u64 = 64 * NAPS;

impl Store {
    /// For who was told to call it, after so many writes. Outside of a session, for it may wait a little.
    #[cold]
    pub(crate) fn after_write(&self, writes: usize) {
        self.clock().0.watch_if_due();
        if let Some(bound) = self.inner().options.bound() {
            // More than they made, which is at most two entries a write.
            let help = HELP + 2 * writes as u64 / SESSION;
            self.relieve(bound, help, YIELDS + (NAPS * writes as u64).min(MOST_NAPS));
        }
    }

    /// Collects some garbage if there is more than the bound, or waits for who does, never for long.
    fn relieve(&self, bound: u64, mut help: u64, most_waits: u64) {
        let mut waits = 0;
        while help > 0 && self.inner().collection.is_above(bound) {
            let mut report = CollectReport::default();
            match self.access(|access| access.try_collect(SESSION, &mut report)) {
                Some(0) => return,
                Some(_) => help -= 1,
                None if waits == most_waits => return,
                None => {
                    wait(waits);
                    waits += 1;
                }
            }
        }
    }
}

fn wait(waits: u64) {
    if waits < YIELDS { thread::yield_now() } else { thread::sleep(NAP) }
}

impl Clock {
    /// Has the barrier reclaim what was handed to it and nobody can see any more.
    pub(crate) fn reclaim(&self) {
        // Once to close the session that the memory was handed to, once for the one before.
        self.barrier().flush();
        self.barrier().flush();
    }
}

#[cfg(all(test, not(whimbrel_loom)))]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Clock, Store, StoreOptions};

    /// The thread of a collector that is stopped in the middle of its turn.
    #[test]
    fn a_writer_above_the_bound_does_not_hang_when_a_collector_is_stopped() {
        let store = Store::with_options(&Clock::new(), StoreOptions::new().with_garbage_bound(1));
        let put = || store.put(b"key", b"value").expect("short");
        put();
        let stopped = store.inner().collection.lock();
        let begin = Instant::now();
        (0..20).for_each(|_| put());
        let took = begin.elapsed();
        assert!(took > 20 * Duration::from_micros(500), "writers are slowed down: {took:?}");
        assert_eq!(store.stats().collectable.entries, 20);
        drop(stopped);
        put();
        assert_eq!(store.stats().dead, 0, "one write collects what was left");
    }
}
