//! Goal: what users rely on, in a directory and with real threads: records come back in order, a second
//! process is kept out, checkpoints free space, tasks wait without blocking, a panic of the device is a
//! failure.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use common::record;
use whimbrel_journal::commit::{Acknowledge, Device, Group, GroupCommit};
use whimbrel_journal::{Error, Failure, Journal, JournalOptions, OpenReport, Refused, SyncPolicy};

const POLICIES: [SyncPolicy; 3] =
    [SyncPolicy::Always, SyncPolicy::Interval(Duration::from_millis(2)), SyncPolicy::Never];

fn reopen(dir: &std::path::Path) -> (Vec<Vec<u8>>, OpenReport) {
    let mut found = Vec::new();
    let options = JournalOptions::new(SyncPolicy::Always);
    let (_, report) = Journal::open(dir, &options, None, |sequence, record| {
        assert_eq!(sequence, found.len() as u64 + 1);
        found.push(record.to_vec());
        Ok(())
    })
    .unwrap();
    (found, report)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

/// Each thread's records come back in its order; groups are shared.
#[test]
fn many_threads_share_groups_and_find_everything_again() {
    const THREADS: u32 = 8;
    const RECORDS: u32 = 200;
    for policy in POLICIES {
        for with_thread in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let options = JournalOptions::new(policy).with_segment_bytes(4096);
            let options = if with_thread { options.with_thread() } else { options };
            let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(())).unwrap();
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let journal = &journal;
                    scope.spawn(move || {
                        for number in 0..RECORDS {
                            let bytes = [thread.to_le_bytes(), number.to_le_bytes()].concat();
                            let sequence = journal.append(&bytes).unwrap();
                            match (thread + number) % 3 {
                                0 => journal.wait(sequence).unwrap(),
                                1 => block_on(journal.acknowledged(sequence)).unwrap(),
                                // Waits later, for several at once.
                                _ => {}
                            }
                        }
                    });
                }
            });
            let figures = journal.figures();
            drop(journal);
            let (found, report) = reopen(dir.path());
            assert_eq!(found.len(), (THREADS * RECORDS) as usize, "{policy:?}");
            assert_eq!(report.cut_bytes, 0);
            let mut next = [0; THREADS as usize];
            for bytes in found {
                let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                let thread = number(0) as usize;
                assert_eq!(number(4), next[thread], "{policy:?}: the order of thread {thread}");
                next[thread] += 1;
            }
            println!("{policy:?} with thread {with_thread}: {figures:?}");
        }
    }
}

#[test]
fn a_second_process_is_kept_out() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(SyncPolicy::Never);
    let open = || Journal::open(dir.path(), &options, None, |_, _| Ok(()));
    let first = open().unwrap();
    assert!(matches!(open().unwrap_err(), Error::InUse { .. }));
    drop(first);
    open().unwrap();
}

#[test]
fn a_checkpoint_frees_what_it_covers_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(SyncPolicy::Always).with_segment_bytes(200);
    let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(())).unwrap();
    let mut bytes = 0;
    for sequence in 1..=50 {
        journal.append(&record(sequence)).unwrap();
        journal.sync().unwrap();
        bytes = journal.bytes();
    }
    let middle = whimbrel_journal::Mark { sequence: 25, ..journal.mark() };
    assert!(journal.truncate(&middle).unwrap() > 3);
    assert!(journal.bytes() < bytes * 2 / 3 && journal.bytes() > bytes / 3);
    journal.turn_over().unwrap();
    let all = journal.mark();
    journal.append(&record(51)).unwrap();
    journal.sync().unwrap();
    journal.truncate(&all).unwrap();
    assert!(journal.bytes() < 300, "{} bytes for one record", journal.bytes());
    assert_eq!(journal.truncate(&all).unwrap(), 0);
    drop(journal);
    let mut found = Vec::new();
    let replay = |sequence, _: &[u8]| {
        found.push(sequence);
        Ok(())
    };
    Journal::open(dir.path(), &options, Some(&all), replay).unwrap();
    assert_eq!(found, [51]);
    let error = Journal::open(dir.path(), &options, Some(&middle), |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Missing { needed: 26, .. }), "{error}");
}

#[test]
fn records_of_all_lengths_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(SyncPolicy::Never).with_segment_bytes(1 << 20);
    let lengths = [0, 1, 127, 128, 20_000, (1 << 20) - 1, 1 << 20, 3_000_000, 0];
    let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(())).unwrap();
    for (at, len) in lengths.into_iter().enumerate() {
        journal.append(&vec![u8::try_from(at).unwrap(); len]).unwrap();
    }
    drop(journal);
    let (found, _) = reopen(dir.path());
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), lengths);
    assert!(found.iter().enumerate().all(|(at, bytes)| bytes.iter().all(|b| *b as usize == at)));
}

#[test]
fn whoever_replays_may_refuse() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(SyncPolicy::Always);
    let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(())).unwrap();
    for sequence in 1..=3 {
        journal.append(&record(sequence)).unwrap();
    }
    drop(journal);
    let refuse = |sequence, _: &[u8]| match sequence {
        2 => Err("not this one".into()),
        _ => Ok(()),
    };
    let error = Journal::open(dir.path(), &options, None, refuse).unwrap_err();
    assert!(matches!(error, Error::Replay { sequence: 2, .. }));
    assert_eq!(reopen(dir.path()).0.len(), 3, "nothing was changed");
}

/// Appending waits once too much is pending, so memory stays bounded whoever forgets to wait.
#[test]
fn appending_without_waiting_is_held_up() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(SyncPolicy::Never).with_max_pending(10_000);
    let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(())).unwrap();
    for sequence in 1..=2_000 {
        journal.append(&record(sequence)).unwrap();
    }
    assert!(journal.figures().records > 1_000, "what did not fit was written");
    drop(journal);
    assert_eq!(reopen(dir.path()).0.len(), 2_000);
}

struct Panics(Arc<AtomicU32>);

impl Device for Panics {
    fn write(&mut self, _: &mut [Group]) -> Result<(), Failure> {
        // ORDERING: Relaxed; a count.
        self.0.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
        panic!("planted")
    }

    fn sync(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn a_leader_that_panics_is_a_failure_for_all() {
    let calls = Arc::new(AtomicU32::new(0));
    let device = Panics(Arc::clone(&calls));
    let commit = Arc::new(GroupCommit::new(device, 1, Acknowledge::Synced, 1 << 20));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let commit = Arc::clone(&commit);
            thread::spawn(move || {
                let sequence = commit.append(b"r")?;
                commit.wait(sequence)
            })
        })
        .collect();
    let ends: Vec<_> = threads.into_iter().map(thread::JoinHandle::join).collect();
    assert_eq!(ends.iter().filter(|end| end.is_err()).count(), 1, "one led and panicked");
    let refused = |end: &Result<_, _>| matches!(end, Ok(Err(Refused::Failed(_))));
    assert_eq!(ends.iter().filter(|end| refused(end)).count(), 3, "the others were told");
    // ORDERING: Relaxed; the threads have been joined.
    assert_eq!(calls.load(Ordering::Relaxed), 1, "nobody else wrote");
}

/// A task that is polled again under another waker, or goes away, leaves nothing behind.
#[test]
fn tickets_may_be_dropped_and_polled_again() {
    let dir = tempfile::tempdir().unwrap();
    let options = JournalOptions::new(SyncPolicy::Always).with_thread();
    let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(())).unwrap();
    for sequence in 1..=100 {
        journal.append(&record(sequence)).unwrap();
        let mut dropped = pin!(journal.acknowledged(sequence));
        let _ = dropped.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let mut ticket = pin!(journal.acknowledged(sequence));
        let _ = ticket.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        block_on(ticket).unwrap();
    }
}
