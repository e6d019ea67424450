//! Programs that ThreadSanitizer must judge right before it is believed; run by `ci/tsan.sh`.
//!
//! `unordered`: two threads write a place with nothing between them. `relaxed`: a place is handed
//! over by a flag that orders nothing. `published`: it is handed over properly, and no race.
//!
//! Both threads live until both are done: the sanitizer may forget a thread that has ended.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

struct Place(UnsafeCell<u64>);

// SAFETY: not sound, and that is the point: the sanitizer has to say so.
unsafe impl Sync for Place {}

impl Place {
    fn write(&self, value: u64) {
        // SAFETY: the memory is valid; the race is made on purpose.
        unsafe { self.0.get().write_volatile(value) };
    }

    fn read(&self) -> u64 {
        // SAFETY: as above.
        unsafe { self.0.get().read_volatile() }
    }
}

/// Two threads meet here without being ordered by it.
#[derive(Default)]
struct Meeting(AtomicU32);

impl Meeting {
    fn meet(&self) {
        // ORDERING: Relaxed; must order nothing.
        self.0.fetch_add(1, Ordering::Relaxed);
        // ORDERING: Relaxed; as above.
        while self.0.load(Ordering::Relaxed) < 2 {
            thread::yield_now();
        }
    }
}

fn side_by_side(one: impl FnOnce() + Send, other: impl FnOnce() + Send) {
    let (start, end) = (Meeting::default(), Meeting::default());
    let run = |part: Box<dyn FnOnce() + Send + '_>| {
        start.meet();
        part();
        end.meet();
    };
    thread::scope(|scope| {
        scope.spawn(|| run(Box::new(one)));
        scope.spawn(|| run(Box::new(other)));
    });
}

fn hand_over(publish: Ordering, observe: Ordering) {
    let place = Place(UnsafeCell::new(0));
    let ready = AtomicBool::new(false);
    let give = || {
        place.write(1);
        // ORDERING: given by the caller.
        ready.store(true, publish);
    };
    let take = || {
        // ORDERING: given by the caller.
        while !ready.load(observe) {
            thread::yield_now();
        }
        assert_eq!(place.read(), 1);
    };
    side_by_side(give, take);
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("unordered") => {
            let place = Place(UnsafeCell::new(0));
            side_by_side(|| place.write(1), || place.write(2));
        }
        // ORDERING: Relaxed on both sides: the defect that has to be reported.
        Some("relaxed") => hand_over(Ordering::Relaxed, Ordering::Relaxed),
        // ORDERING: Release pairs with Acquire: what was written before is seen, nothing to report.
        Some("published") => hand_over(Ordering::Release, Ordering::Acquire),
        other => panic!("no program named {other:?}"),
    }
}
