//! Goal: with group commit nothing is acknowledged that is not durable, nobody who waits is left
//! behind, and a failed sync is the last that anybody hears of the device.
//! Method: every interleaving (up to the bound) of threads and tasks on the shipped group commit, over a
//! device that counts. Loom reports a thread that sleeps for ever.
#![cfg(whimbrel_loom)]

use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use whimbrel_journal::commit::{Acknowledge, Device, Group, GroupCommit, Ticket};
use whimbrel_journal::{Failure, Refused};
use whimbrel_loom_tests::{Bound, explore};

/// Two threads.
const TWO: Bound = Bound::None;
/// Three threads.
const THREE: Bound = Bound::Preemptions(3);

/// What the device holds. Relaxed: that whoever is told of a sync sees it is the work of the lock.
struct Medium {
    written: AtomicU64,
    synced: AtomicU64,
    /// Calls since a sync has failed.
    after_failure: AtomicU64,
}

struct Disk {
    medium: std::sync::Arc<Medium>,
    /// The sync that fails, counted from 1; 0: none.
    fails: u64,
    syncs: u64,
    failed: bool,
}

impl Disk {
    fn call(&self) {
        if self.failed {
            self.medium.after_failure.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Device for Disk {
    fn write(&mut self, groups: &mut [Group]) -> Result<(), Failure> {
        self.call();
        for group in groups {
            let before = self.medium.written.load(Ordering::Relaxed);
            assert_eq!(group.first(), before + 1, "a group is written twice, or left out");
            self.medium.written.store(group.next() - 1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.call();
        self.syncs += 1;
        if self.syncs == self.fails {
            self.failed = true;
            let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
            return Err(Failure::new("sync", "disk".into(), &error));
        }
        let written = self.medium.written.load(Ordering::Relaxed);
        self.medium.synced.store(written, Ordering::Relaxed);
        Ok(())
    }
}

type Shared = (std::sync::Arc<GroupCommit<Disk>>, std::sync::Arc<Medium>);

fn group_commit(fails: u64, max_pending: usize) -> Shared {
    let zero = || AtomicU64::new(0);
    let medium = Medium { written: zero(), synced: zero(), after_failure: zero() };
    let medium = std::sync::Arc::new(medium);
    let disk = Disk { medium: medium.clone(), fails, syncs: 0, failed: false };
    let commit = GroupCommit::new(disk, 1, Acknowledge::Synced, max_pending);
    (std::sync::Arc::new(commit), medium)
}

fn assert_durable(medium: &Medium, sequence: u64) {
    let synced = medium.synced.load(Ordering::Relaxed);
    assert!(synced >= sequence, "{sequence} was acknowledged, {synced} is durable");
}

fn append_and_wait((commit, medium): &Shared) -> Result<u64, Refused> {
    let sequence = commit.append(b"r")?;
    commit.wait(sequence)?;
    assert_durable(medium, sequence);
    Ok(sequence)
}

fn waits(shared: &Shared) -> thread::JoinHandle<Result<u64, Refused>> {
    let shared = shared.clone();
    thread::spawn(move || append_and_wait(&shared))
}

/// Runs a future on this thread, asleep between its wake-ups.
struct Sleeper {
    woken: Mutex<bool>,
    told: Condvar,
}

impl Wake for Sleeper {
    fn wake(self: std::sync::Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.told.notify_one();
    }
}

fn block_on(ticket: Ticket<Disk>) -> Result<(), Refused> {
    let sleeper = std::sync::Arc::new(Sleeper { woken: Mutex::new(false), told: Condvar::new() });
    let waker = Waker::from(sleeper.clone());
    let mut ticket = pin!(ticket);
    loop {
        if let Poll::Ready(done) = ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        let mut woken = sleeper.woken.lock().unwrap();
        while !*woken {
            woken = sleeper.told.wait(woken).unwrap();
        }
        *woken = false;
    }
}

fn drives(shared: &Shared) -> thread::JoinHandle<()> {
    let commit = shared.0.clone();
    thread::spawn(move || commit.drive())
}

#[test]
fn two_who_wait() {
    explore(TWO, || {
        let shared = group_commit(0, 100);
        let other = waits(&shared);
        let mine = append_and_wait(&shared).expect("no failure");
        let theirs = other.join().unwrap().expect("no failure");
        assert_eq!(mine + theirs, 3, "sequences are given once");
    });
}

#[test]
fn three_who_wait() {
    explore(THREE, || {
        let shared = group_commit(0, 100);
        let others = [waits(&shared), waits(&shared)];
        append_and_wait(&shared).expect("no failure");
        for other in others {
            other.join().unwrap().expect("no failure");
        }
        assert_durable(&shared.1, 3);
    });
}

/// One record is all that may wait: whoever comes second leads or sleeps before it appends.
#[test]
fn two_who_find_it_full() {
    explore(TWO, || {
        let shared = group_commit(0, 1);
        let other = waits(&shared);
        append_and_wait(&shared).expect("no failure");
        other.join().unwrap().expect("no failure");
    });
}

/// A task appends while a thread leads that wants its own record only, and nobody drives.
#[test]
fn a_task_beside_one_who_waits() {
    explore(TWO, || {
        let shared = group_commit(0, 100);
        let other = waits(&shared);
        let sequence = shared.0.append(b"r").expect("open");
        block_on(shared.0.ticket(sequence)).expect("no failure");
        assert_durable(&shared.1, sequence);
        other.join().unwrap().expect("no failure");
    });
}

#[test]
fn a_task_and_a_driver() {
    explore(TWO, || {
        let shared = group_commit(0, 100);
        let driver = drives(&shared);
        let sequence = shared.0.append(b"r").expect("open");
        block_on(shared.0.ticket(sequence)).expect("no failure");
        assert_durable(&shared.1, sequence);
        shared.0.close();
        driver.join().unwrap();
    });
}

/// The second record comes while the driver writes the first.
#[test]
fn a_driver_and_two_appends() {
    explore(Bound::Preemptions(3), || {
        let shared = group_commit(0, 100);
        let driver = drives(&shared);
        for _ in 0..2 {
            shared.0.append(b"r").expect("open");
        }
        block_on(shared.0.ticket(2)).expect("no failure");
        assert_durable(&shared.1, 2);
        shared.0.close();
        driver.join().unwrap();
    });
}

/// A task, a thread that waits and leads, and a driver.
#[test]
fn a_task_a_driver_and_one_who_waits() {
    explore(Bound::Preemptions(2), || {
        let shared = group_commit(0, 100);
        let driver = drives(&shared);
        let other = waits(&shared);
        let sequence = shared.0.append(b"r").expect("open");
        block_on(shared.0.ticket(sequence)).expect("no failure");
        assert_durable(&shared.1, sequence);
        other.join().unwrap().expect("no failure");
        shared.0.close();
        driver.join().unwrap();
    });
}

fn assert_given_up(medium: &Medium) {
    let calls = medium.after_failure.load(Ordering::Relaxed);
    assert_eq!(calls, 0, "the device was used after a failed sync");
}

/// The first sync fails: nobody is told that a record is durable, and nobody syncs again.
#[test]
fn a_sync_that_fails() {
    explore(TWO, || {
        let shared = group_commit(1, 100);
        let other = waits(&shared);
        assert!(append_and_wait(&shared).is_err(), "acknowledged by a failed sync");
        assert!(other.join().unwrap().is_err(), "acknowledged by a failed sync");
        assert!(shared.0.append(b"r").is_err() && shared.0.sync().is_err());
        assert_given_up(&shared.1);
    });
}

/// The second sync fails: what the first acknowledged stays acknowledged.
#[test]
fn the_second_sync_fails() {
    explore(THREE, || {
        let shared = group_commit(2, 100);
        let others = [waits(&shared), waits(&shared)];
        let mine = append_and_wait(&shared);
        let done = others.map(|other| other.join().unwrap());
        let failed = done.iter().chain([&mine]).filter(|done| done.is_err()).count();
        let synced = shared.1.synced.load(Ordering::Relaxed);
        assert_eq!(3 - failed as u64, synced, "each record is acknowledged or refused");
        assert_given_up(&shared.1);
    });
}

#[test]
fn a_sync_that_fails_under_a_task() {
    explore(TWO, || {
        let shared = group_commit(1, 100);
        let driver = drives(&shared);
        let sequence = shared.0.append(b"r").expect("open");
        assert!(block_on(shared.0.ticket(sequence)).is_err(), "acknowledged by a failed sync");
        shared.0.close();
        driver.join().unwrap();
        assert_given_up(&shared.1);
    });
}

/// A thread leads and fails while a task waits, and nobody drives.
#[test]
fn a_sync_that_fails_beside_a_task() {
    explore(TWO, || {
        let shared = group_commit(1, 100);
        let other = waits(&shared);
        if let Ok(sequence) = shared.0.append(b"r") {
            let done = block_on(shared.0.ticket(sequence));
            assert!(done.is_err(), "acknowledged by a failed sync");
        }
        assert!(other.join().unwrap().is_err(), "acknowledged by a failed sync");
        assert_given_up(&shared.1);
    });
}

/// What was appended before the journal is closed is written by the driver, though nobody waits.
#[test]
fn closing_writes_what_is_pending() {
    explore(TWO, || {
        let shared = group_commit(0, 100);
        let driver = drives(&shared);
        shared.0.append(b"r").expect("open");
        shared.0.close();
        driver.join().unwrap();
        assert_durable(&shared.1, 1);
        assert_eq!(shared.0.append(b"r"), Err(Refused::Closed));
    });
}

/// A segment is ended while another thread appends: everything is written once, in order.
#[test]
fn a_turn_over_beside_one_who_waits() {
    explore(TWO, || {
        let shared = group_commit(0, 100);
        let other = waits(&shared);
        shared.0.turn_over().expect("no failure");
        append_and_wait(&shared).expect("no failure");
        other.join().unwrap().expect("no failure");
        assert_durable(&shared.1, 2);
    });
}

/// A task that is dropped while it waits takes its waker along.
#[test]
fn a_task_that_goes_away() {
    explore(TWO, || {
        let shared = group_commit(0, 100);
        let driver = drives(&shared);
        let sequence = shared.0.append(b"r").expect("open");
        {
            let mut ticket = pin!(shared.0.ticket(sequence));
            let mut context = Context::from_waker(Waker::noop());
            let _ = ticket.as_mut().poll(&mut context);
        }
        shared.0.wait(sequence).expect("no failure");
        shared.0.close();
        driver.join().unwrap();
    });
}
