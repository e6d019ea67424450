//! Goal: nothing is under way behind a closed gate, and what a migration captures around its
//! snapshot and its freeze is everything that was acknowledged.
//! Method: every interleaving (up to the bound) of an operation and the task that moves the gate,
//! on the shipped gate, barrier and store; the same models without the wait for the ticket must
//! fail.
#![cfg(whimbrel_loom)]

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use whimbrel_loom_tests::{Bound, explore};
use whimbrel_migrate::{AccessKind, Gate};
use whimbrel_mvcc::{Barrier, CaptureOptions, Clock, Store, Ticket};

/// The gate and the barrier.
const GATE: Bound = Bound::Preemptions(4);
/// A store beside the gate.
const STORE: Bound = Bound::Preemptions(2);

/// What the closing task leaves out in the models that must fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    Nothing,
    TheWait,
}

fn wait(barrier: &Barrier, ticket: Ticket, leaves: Leaves) {
    while leaves == Leaves::Nothing && !barrier.poll(ticket) {
        thread::yield_now();
    }
}

/// An operation that was let through has had its effect when the freeze is over.
fn freeze_against_operation(kind: AccessKind, leaves: Leaves) {
    let (clock, gate) = (Clock::new(), Arc::new(Gate::new()));
    gate.open(1);
    let effect = Arc::new(AtomicU64::new(0));
    let operation = {
        let (clock, gate, effect) = (clock.clone(), gate.clone(), effect.clone());
        thread::spawn(move || {
            let session = clock.pin();
            let passed = gate.enter(&session, kind).is_ok();
            if passed {
                effect.store(1, Ordering::Relaxed);
            }
            passed
        })
    };
    let ticket = match kind {
        AccessKind::Write => gate.freeze_writes(clock.barrier()),
        AccessKind::Read => gate.freeze(clock.barrier()),
    };
    wait(clock.barrier(), ticket, leaves);
    let seen = effect.load(Ordering::Relaxed);
    let passed = operation.join().expect("no panic");
    assert!(!passed || seen == 1, "an operation was under way behind the closed gate");
}

#[test]
fn freeze_writes_against_a_write() {
    explore(GATE, || freeze_against_operation(AccessKind::Write, Leaves::Nothing));
}

#[test]
fn freeze_against_a_read() {
    explore(GATE, || freeze_against_operation(AccessKind::Read, Leaves::Nothing));
}

#[test]
#[should_panic(expected = "behind the closed gate")]
fn a_freeze_that_does_not_wait_is_caught() {
    explore(GATE, || freeze_against_operation(AccessKind::Write, Leaves::TheWait));
}

/// An operation that finds the gate open again sees the store that was installed before.
#[test]
fn open_against_an_operation() {
    explore(GATE, || {
        let (clock, gate) = (Clock::new(), Arc::new(Gate::new()));
        let installed = Arc::new(AtomicU64::new(0));
        let opener = {
            let (gate, installed) = (gate.clone(), installed.clone());
            thread::spawn(move || {
                installed.store(1, Ordering::Relaxed);
                gate.open(2);
            })
        };
        let session = clock.pin();
        if let Ok(epoch) = gate.enter(&session, AccessKind::Read) {
            assert_eq!((epoch, installed.load(Ordering::Relaxed)), (2, 1));
        }
        drop(session);
        opener.join().expect("no panic");
    });
}

/// The source's side of a migration against one writer: what was acknowledged is in the snapshot or
/// captured once the writes are frozen.
fn capture_against_writer(before: Leaves, freeze: Leaves) {
    let (clock, gate) = (Clock::new(), Arc::new(Gate::new()));
    gate.open(1);
    let store = Store::new(&clock);
    store.put(b"k", b"0").expect("put");
    let writer = {
        let (clock, gate, store) = (clock.clone(), gate.clone(), store.clone());
        thread::spawn(move || {
            let session = clock.pin();
            let passed = gate.enter(&session, AccessKind::Write).is_ok();
            if passed {
                store.put(b"k", b"1").expect("put");
            }
            passed
        })
    };
    let capture = store.capture(CaptureOptions::new().buckets(1)).expect("the only capture");
    let ticket = clock.barrier().ticket();
    wait(clock.barrier(), ticket, before);
    let snapshot = store.snapshot();
    let ticket = gate.freeze_writes(clock.barrier());
    wait(clock.barrier(), ticket, freeze);
    let captured = capture.drain();
    let newest = store.get(b"k");
    let passed = writer.join().expect("no panic");
    let copied = if captured.is_empty() { snapshot.get(b"k") } else { newest };
    let expected: &[u8] = if passed { b"1" } else { b"0" };
    assert_eq!(copied.as_deref(), Some(expected), "an acknowledged write is missing");
}

#[test]
fn gate_and_capture_against_a_writer() {
    explore(STORE, || capture_against_writer(Leaves::Nothing, Leaves::Nothing));
}

/// Writers look for a capture only after their write is settled, so one that misses the capture is
/// in the snapshot even without the wait between the two. The source waits all the same, because the
/// capture's contract asks for it.
#[test]
fn gate_and_capture_against_a_writer_without_the_wait_before_the_snapshot() {
    explore(STORE, || capture_against_writer(Leaves::TheWait, Leaves::Nothing));
}

#[test]
#[should_panic(expected = "acknowledged write is missing")]
fn a_last_round_that_does_not_wait_for_the_freeze_is_caught() {
    explore(STORE, || capture_against_writer(Leaves::Nothing, Leaves::TheWait));
}
