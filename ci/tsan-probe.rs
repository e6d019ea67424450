//! Programs that ThreadSanitizer must judge right before it is believed; run by `ci/tsan.sh`.
//!
//! `unordered`: two threads write a place with nothing between them. `relaxed`: a place is handed
//! over by a flag that orders nothing. `published`: it is handed over properly, and no race.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering};
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

fn hand_over(publish: Ordering, observe: Ordering) {
    let place = Place(UnsafeCell::new(0));
    let ready = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            place.write(1);
            // ORDERING: given by the caller.
            ready.store(true, publish);
        });
        scope.spawn(|| {
            // ORDERING: given by the caller.
            while !ready.load(observe) {
                thread::yield_now();
            }
            assert_eq!(place.read(), 1);
        });
    });
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("unordered") => {
            let place = Place(UnsafeCell::new(0));
            thread::scope(|scope| {
                scope.spawn(|| place.write(1));
                scope.spawn(|| place.write(2));
            });
        }
        Some("relaxed") => hand_over(Ordering::Relaxed, Ordering::Relaxed),
        Some("published") => hand_over(Ordering::Release, Ordering::Acquire),
        other => panic!("no program named {other:?}"),
    }
}
