//! Goal: tickets, polls, flushes and accounts of the barrier as a caller sees them.
//! Method: one thread or two, each step checked. The races are in loom-tests.

use std::sync::atomic::{AtomicUsize, Ordering};

use whimbrel_skiplist::Barrier;

static RECLAIMED: AtomicUsize = AtomicUsize::new(0);

unsafe fn reclaim(ptr: *mut u8) {
    // SAFETY: made by `retire` below from a box of this type, given up by the barrier.
    drop(unsafe { Box::from_raw(ptr.cast::<u64>()) });
    RECLAIMED.fetch_add(1, Ordering::Relaxed);
}

fn retire(guard: &whimbrel_skiplist::Guard<'_>) {
    let item = Box::into_raw(Box::new(7_u64));
    // SAFETY: never linked anywhere, retired once.
    unsafe { guard.retire(item.cast(), 8, reclaim) };
}

#[test]
fn an_item_waits_for_all_who_are_inside() {
    let barrier = Barrier::with_stripes(2);
    let outer = barrier.pin();
    let inner = barrier.pin();
    retire(&inner);
    drop(inner);
    barrier.flush();
    assert_eq!(barrier.stats().reclaimed, 0);
    drop(outer);
    assert_eq!(barrier.stats().reclaimed, 1, "the last one to leave reclaims");
    assert_eq!(barrier.stats().reclaimed_bytes, 8);
}

#[test]
fn a_poll_waits_for_the_accesses_of_its_ticket_only() {
    let barrier = Barrier::new();
    let inside = barrier.pin();
    let ticket = barrier.ticket();
    assert!(!barrier.poll(ticket));
    let later = barrier.pin();
    assert!(!barrier.poll(ticket));
    drop(inside);
    assert!(barrier.poll(ticket), "who came later does not matter");
    drop(later);
    assert!(barrier.poll(ticket));
    assert!(barrier.poll(barrier.ticket()), "nobody is inside");
}

#[test]
fn a_full_ring_goes_on_when_the_oldest_leaves() {
    let barrier = Barrier::new();
    let oldest = barrier.pin();
    for _ in 0..10 {
        retire(&barrier.pin());
        barrier.flush();
    }
    let stats = barrier.stats();
    assert_eq!((stats.reclaimed, stats.terminated), (0, 0));
    drop(oldest);
    barrier.flush();
    assert_eq!(barrier.stats().reclaimed, 10);
}

#[test]
fn dropping_the_barrier_reclaims_the_rest() {
    let before = RECLAIMED.load(Ordering::Relaxed);
    let barrier = Barrier::new();
    retire(&barrier.pin());
    drop(barrier);
    assert!(RECLAIMED.load(Ordering::Relaxed) > before);
}
