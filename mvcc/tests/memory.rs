//! Goal: memory comes back: superseded and removed entries when they are collected, everything when the
//! store and its snapshots are dropped, whatever path a version took (inline, outside, batch, bulk).
//! Method: allocators that count the bytes in use. One test only, since the count is of the process.

#![cfg(debug_assertions)]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use whimbrel_mvcc::{Batch, CaptureOptions, Clock, Store, StoreOptions, StoreSegmentBuilder};

struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const KEYS: u64 = 2_000;

fn in_use() -> usize {
    let lists = usize::try_from(whimbrel_skiplist::memory::in_use()).unwrap();
    IN_USE.load(Ordering::Relaxed) + lists
}

fn everything(clock: &Clock) {
    let mut builder = StoreSegmentBuilder::new();
    for n in 0..KEYS {
        builder.push(&n.to_be_bytes(), &vec![1; (n % 600) as usize]).unwrap();
    }
    let unused = builder.finish();
    let mut builder = StoreSegmentBuilder::new();
    for n in 0..KEYS {
        builder.push(&n.to_be_bytes(), &vec![1; (n % 600) as usize]).unwrap();
    }
    let store = Store::from_segments(clock, StoreOptions::new(), vec![builder.finish()]).unwrap();
    drop(unused);
    let capture = store.capture(CaptureOptions::new()).unwrap();
    let old = store.snapshot();
    for round in 0..5 {
        for n in 0..KEYS {
            store.put(&n.to_be_bytes(), &vec![2; (n * round % 600) as usize]).unwrap();
        }
        let mut batch = Batch::new();
        for n in (0..KEYS).step_by(3) {
            batch.remove(&store, n.to_be_bytes()).put(&store, (KEYS + n).to_be_bytes(), vec![3; 9]);
        }
        batch.commit().unwrap();
    }
    assert_eq!(old.len() as u64, KEYS);
    let with_snapshot = in_use();
    drop(old);
    store.collect_all();
    assert!(in_use() < with_snapshot, "closing a snapshot gave nothing back");
    let full = in_use();
    for n in 0..2 * KEYS {
        store.remove(&n.to_be_bytes()).unwrap();
    }
    drop(capture);
    store.collect_all();
    store.collect_all();
    assert_eq!((store.stats().versions, store.stats().records), (0, 0));
    assert!(in_use() < full / 4, "{} of {full} bytes stay after removing all", in_use());
}

/// A store that is dropped while its dead list is long: of some versions the entry is all that is left.
fn garbage_left_behind(clock: &Clock) {
    let store = Store::new(clock);
    let mut held = Vec::new();
    for round in 0..20_u64 {
        for n in 0..50_u64 {
            store.put(&n.to_be_bytes(), &vec![1; 300]).unwrap();
            if (n + round) % 7 == 0 {
                store.remove(&n.to_be_bytes()).unwrap();
            }
        }
        held.push(store.snapshot());
        if round % 5 == 4 {
            held.drain(..3);
        }
    }
    held.clear();
    // Wakes the collector for a few of the entries that were filed; each sweeps a whole chain.
    store.put(b"one more", b"").unwrap();
    store.put(b"one more", b"").unwrap();
    assert!(store.stats().dead > 100, "{:?}", store.stats());
}

#[test]
fn memory_comes_back() {
    // Once for what lazily stays in the process, then measured.
    everything(&Clock::new());
    garbage_left_behind(&Clock::new());
    let before = in_use();
    let clock = Clock::new();
    everything(&clock);
    garbage_left_behind(&clock);
    drop(clock);
    assert_eq!(in_use(), before, "bytes in use after everything was dropped");
}
