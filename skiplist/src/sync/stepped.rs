//! Atomics of `std` that take a *step* before every access.
//!
//! Builds for shuttle let its scheduler choose at each step which thread goes on; builds with
//! `whimbrel_delay` hold the thread up at random, so that threads overlap on machines with few
//! processors. The types are as large as those of `std`, so blocks and records have the shipped
//! layout and searches take the shipped path. The step is in `deref`, and there is no other way to the
//! methods of an atomic, so none can be forgotten. Fences take no step: the accesses on both sides do.

use std::ops::{Deref, DerefMut};

pub use std::sync::atomic::{Ordering, fence};

macro_rules! stepped {
    ($($name:ident $(<$kind:ident>)? of $value:ty,)+) => {
        $(
            /// As in `std`; takes a step before every access.
            #[repr(transparent)]
            #[derive(Debug, Default)]
            pub struct $name$(<$kind>)?(std::sync::atomic::$name$(<$kind>)?);

            impl$(<$kind>)? $name$(<$kind>)? {
                /// An atomic of this value.
                #[must_use]
                pub const fn new(value: $value) -> Self {
                    Self(std::sync::atomic::$name::new(value))
                }
            }

            impl$(<$kind>)? Deref for $name$(<$kind>)? {
                type Target = std::sync::atomic::$name$(<$kind>)?;

                #[inline]
                fn deref(&self) -> &Self::Target {
                    step();
                    &self.0
                }
            }

            impl$(<$kind>)? DerefMut for $name$(<$kind>)? {
                fn deref_mut(&mut self) -> &mut Self::Target {
                    &mut self.0
                }
            }
        )+
    };
}

stepped! {
    AtomicBool of bool,
    AtomicU8 of u8,
    AtomicU32 of u32,
    AtomicU64 of u64,
    AtomicUsize of usize,
    AtomicPtr<T> of *mut T,
}

/// Lets the scheduler of shuttle choose the thread that goes on.
#[cfg(whimbrel_shuttle)]
fn step() {
    use shuttle::sync::atomic::AtomicBool;
    thread_local! {
        // Shuttle offers no bare step in its interface; a load of an atomic of its own is one. It
        // runs all threads of a test on one system thread, and each test on another.
        static POINT: AtomicBool = const { AtomicBool::new(false) };
    }
    // The destructors of a thread that failed run to their end; what they see is not judged.
    if !std::thread::panicking() {
        POINT.with(|point| point.load(Ordering::SeqCst));
    }
}

/// Holds the thread up at random: seldom, or little would happen, but long enough for others to do
/// whole operations meanwhile.
#[cfg(all(whimbrel_delay, not(whimbrel_shuttle)))]
fn step() {
    use std::cell::Cell;
    use std::sync::atomic::AtomicU64;
    static THREADS: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        // ORDERING: Relaxed; gives each thread its own sequence.
        static STATE: Cell<u64> =
            Cell::new(THREADS.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed) | 1);
    }
    // A thread that is being torn down is not held up.
    let _ = STATE.try_with(|state| {
        let mut random = state.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        state.set(random);
        match (random >> 20) % 4096 {
            0 => std::thread::sleep(std::time::Duration::from_micros(20)),
            1..8 => std::thread::yield_now(),
            8..64 => (0..(random >> 40) % 512).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    });
}
