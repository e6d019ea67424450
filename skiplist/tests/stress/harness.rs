//! What all stress tests share: an allocator that counts, threads, a generator, the checks at the end.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use whimbrel_skiplist::{List, Shape};

/// Blocks of the smallest sizes, small ones that vectors search, and the shipped ones.
pub(crate) const SHAPES: [Shape; 3] = [
    Shape { words: [3, 3], fill: [2, 2], levels: 12 },
    Shape { words: [8, 5], fill: [6, 3], levels: 12 },
    Shape { words: [56, 61], fill: [42, 46], levels: 12 },
];

/// Index of the shipped shape.
pub(crate) const BLOCK: usize = 2;

struct Counting;

static IN_USE: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// Whether the thread belongs to a test: what the test runner allocates is not counted.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: usize, sign: i64) {
    if COUNTED.get() {
        let bytes = i64::try_from(bytes).expect("small");
        IN_USE.fetch_add(sign * bytes, Ordering::Relaxed);
    }
}

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes in use: of the program's allocator, and where they are counted of the lists' own.
fn in_use() -> i64 {
    #[cfg(debug_assertions)]
    let lists = i64::try_from(whimbrel_skiplist::memory::in_use()).expect("not below zero");
    #[cfg(not(debug_assertions))]
    let lists = 0;
    IN_USE.load(Ordering::Relaxed) + lists
}

/// Runs a test alone, checks that it gives back what it allocated, and prints what it reports.
pub(crate) fn run(test: impl FnOnce() -> String) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    COUNTED.set(true);
    let before = in_use();
    let report = std::hint::black_box(test());
    let left = in_use() - before;
    let held = i64::try_from(report.capacity()).expect("small");
    assert_eq!(left, held, "bytes were not given back");
    COUNTED.set(false);
    println!("{report}");
}

/// Length of each test.
pub(crate) fn seconds() -> Duration {
    let seconds = std::env::var("STRESS_SECONDS").ok().map(|text| text.parse().expect("seconds"));
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

/// Runs pieces of work on threads of their own. What the threads themselves need is not counted.
pub(crate) fn together<R: Send>(mut work: Vec<Box<dyn FnOnce() -> R + Send + '_>>) -> Vec<R> {
    let mut results = Vec::with_capacity(work.len());
    COUNTED.set(false);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for work in work.drain(..) {
            threads.push(scope.spawn(move || {
                COUNTED.set(true);
                let result = work();
                COUNTED.set(false);
                result
            }));
        }
        results.extend(threads.into_iter().map(|thread| thread.join().expect("a thread panicked")));
    });
    COUNTED.set(true);
    results
}

/// A small generator of our own: runs draw the same numbers every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % n as u64).expect("below n")
    }
}

/// The structure, the counts, and the memory of a list that no thread uses any more.
pub(crate) fn check_end(list: &mut List, expected: usize) {
    let stats = list.barrier().stats();
    assert_eq!(stats.terminated, stats.current, "nobody is inside: closed sessions are over");
    let mut seen = 0;
    let g = list.barrier().pin();
    list.walk(Bound::Unbounded, &g, |_| {
        seen += 1;
        ControlFlow::Continue(())
    });
    drop(g);
    assert_eq!((seen, list.len_estimate()), (expected, expected));
    assert_eq!(list.audit(), expected);
    list.barrier().flush();
    list.barrier().flush();
    let stats = list.barrier().stats();
    assert_eq!(stats.reclaimed, stats.retired, "something is stranded");
    assert_eq!(stats.reclaimed_bytes, stats.retired_bytes);
}
