//! Group commit: many threads and tasks append, one of them writes for all.
//!
//! # How it works
//!
//! Appending copies a record behind those that wait and gives it a sequence; no system call is made.
//! Whoever needs a record acknowledged looks for the device. It is there: they take it and *lead*, that
//! is, write and sync everything that waits, without the lock, put the device back, and tell everybody.
//! It is not there: somebody leads, and they sleep until told, then look again. So a sync is shared by
//! all that was appended before it began, and the more threads append, the cheaper each record is.
//!
//! A thread may devote itself to leading ([`GroupCommit::drive`]): then appending wakes it, and tasks of
//! an async runtime wait without blocking anything ([`Ticket`]).
//!
//! # Invariants
//!
//! - J1 Having the device is leading: one thread at a time has it, and it comes back, or a failure takes
//!   its place, whatever the leader meets, a panic included.
//! - J2 What is acknowledged was written (and, with [`Acknowledge::Synced`], synced) by a leader that
//!   took all of it before it wrote.
//! - J3 Once a write or a sync has failed the device is never used again: the system may have dropped
//!   what it could not write and report success for the next sync. Everybody who waits, and everybody
//!   who comes later, is told.
//! - J4 Whoever sleeps has looked under the lock and found a leader at work, who wakes all when it ends,
//!   or is the driver and found nothing to write, and is woken by the next append. So nobody is left
//!   behind by a leader that has got what it wanted.
//!
//! # Complexity
//!
//! Appending is O(bytes of the record) under one lock; a sync costs the device's time divided by the
//! records that share it. The scheme is that of Gawlick and Kinkade (IMS Fast Path, 1985).

mod device;
mod ticket;

pub use device::{Device, Group};
pub use ticket::Ticket;

use std::sync::{Arc, PoisonError};
use std::task::Waker;

use crate::error::{Failure, Refused};
use crate::format::{GROUP_FULL, GROUP_HEADER};
use crate::mutant::{Mutant, planted};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// When a record counts as acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// When the system has it.
    Written,
    /// When it is durable.
    Synced,
}

/// What a leader does with the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Writes, and syncs if records are acknowledged when synced.
    Commit,
    /// Writes and syncs.
    Sync,
    /// Writes, and ends the segment.
    TurnOver,
}

/// A task that waits.
struct Waiter {
    sequence: u64,
    ticket: u64,
    waker: Waker,
}

struct State<D> {
    /// Records that no leader has taken.
    pending: Vec<Group>,
    pending_bytes: usize,
    /// A buffer for the next group.
    spare: Vec<u8>,
    /// Sequence of the newest record; 0 before the first.
    appended: u64,
    /// Everything up to here was handed to the system.
    written: u64,
    /// Everything up to here is durable.
    durable: u64,
    /// `None` while somebody leads, and after a failure (J1, J3).
    device: Option<D>,
    failure: Option<Arc<Failure>>,
    closed: bool,
    /// A thread drives.
    driven: bool,
    /// It sleeps because there is nothing to write.
    idle: bool,
    waiters: Vec<Waiter>,
    tickets: u64,
}

/// The hand-shake of those who append with whoever writes; see the module.
pub struct GroupCommit<D> {
    state: Mutex<State<D>>,
    /// A leader has ended.
    turn: Condvar,
    /// There is something to write, or the end has come: for the thread that drives.
    work: Condvar,
    acknowledge: Acknowledge,
    max_pending: usize,
}

type Guard<'a, D> = MutexGuard<'a, State<D>>;

impl<D: Device> GroupCommit<D> {
    /// A group commit over `device`, whose next record gets sequence `next`. While `max_pending` bytes
    /// or more wait to be written, appending waits.
    #[must_use]
    pub fn new(device: D, next: u64, acknowledge: Acknowledge, max_pending: usize) -> Self {
        let done = next.saturating_sub(1);
        let state = State {
            pending: Vec::new(),
            pending_bytes: 0,
            spare: Vec::new(),
            appended: done,
            written: done,
            durable: done,
            device: Some(device),
            failure: None,
            closed: false,
            driven: false,
            idle: false,
            waiters: Vec::new(),
            tickets: 0,
        };
        let (turn, work) = (Condvar::new(), Condvar::new());
        Self { state: Mutex::new(state), turn, work, acknowledge, max_pending }
    }

    /// Appends a record and gives its sequence. Makes no system call unless too much waits: then it
    /// leads, or sleeps while somebody does.
    ///
    /// # Errors
    /// [`Refused`]: the record was not appended.
    pub fn append(&self, record: &[u8]) -> Result<u64, Refused> {
        let mut state = self.lock();
        loop {
            state.check()?;
            if state.closed {
                return Err(Refused::Closed);
            }
            if state.pending_bytes < self.max_pending {
                break;
            }
            state = self.lead_or_sleep(state, Task::Commit);
        }
        let sequence = state.push(record);
        if state.idle && !planted(Mutant::AppendRingsNobody) {
            self.work.notify_one();
        }
        Ok(sequence)
    }

    /// Waits until the record of this sequence is acknowledged, leading if nobody does.
    ///
    /// # Errors
    /// [`Refused`]: whether the record will be found again is unknown.
    pub fn wait(&self, sequence: u64) -> Result<(), Refused> {
        let mut state = self.lock();
        // A record that nobody appended would be waited for for ever.
        let sequence = sequence.min(state.appended);
        while self.acknowledged(&state) < sequence {
            state.check()?;
            state = self.lead_or_sleep(state, Task::Commit);
        }
        Ok(())
    }

    /// Makes everything appended so far durable, whenever records are acknowledged; gives the sequence
    /// of the last.
    ///
    /// # Errors
    /// [`Refused`]: what is durable is unknown.
    pub fn sync(&self) -> Result<u64, Refused> {
        let mut state = self.lock();
        let goal = state.appended;
        loop {
            state.check()?;
            if state.durable >= goal {
                return Ok(goal);
            }
            state = self.lead_or_sleep(state, Task::Sync);
        }
    }

    /// Ends the segment, so that [`Device::turn_over`] separates what is appended before this call
    /// from what is appended after it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn turn_over(&self) -> Result<(), Refused> {
        let mut state = self.lock();
        loop {
            state.check()?;
            if let Some(device) = state.device.take() {
                let state = self.lead(state, device, Task::TurnOver);
                return state.check();
            }
            state = self.sleep(state);
        }
    }

    /// Leads whenever there is something to write, until the end: the body of a thread of its own.
    pub fn drive(&self) {
        let mut state = self.lock();
        state.driven = true;
        while state.failure.is_none() {
            if !state.pending.is_empty() {
                state = self.lead_or_sleep(state, Task::Commit);
                if !planted(Mutant::DriverLooksOnce) {
                    continue;
                }
            } else if state.closed {
                break;
            }
            state.idle = true;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle = false;
            if state.closed && planted(Mutant::ClosedTooSoon) {
                break;
            }
        }
        state.driven = false;
        // From here on tasks lead themselves.
        let woken = std::mem::take(&mut state.waiters);
        drop(state);
        woken.into_iter().for_each(|waiter| waiter.waker.wake());
    }

    /// Refuses further records, and lets [`drive`](Self::drive) end when all are written.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.work.notify_all();
    }

    /// Waits for a record without blocking a thread, while one [drives](Self::drive). Without, whoever
    /// polls the ticket leads.
    pub fn ticket(self: &Arc<Self>, sequence: u64) -> Ticket<D> {
        Ticket::new(self, sequence)
    }

    /// Sequence of the newest record.
    #[must_use]
    pub fn appended(&self) -> u64 {
        self.lock().appended
    }

    /// Everything up to this sequence is durable.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.lock().durable
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.lock().pending_bytes
    }

    /// Whether everything handed to the system is durable too.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let state = self.lock();
        state.durable == state.written
    }

    /// The failure that stopped it.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<Failure>> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> Guard<'_, D> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(&'a self, state: Guard<'a, D>) -> Guard<'a, D> {
        self.turn.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    fn lead_or_sleep<'a>(&'a self, mut state: Guard<'a, D>, task: Task) -> Guard<'a, D> {
        match state.device.take() {
            Some(device) => self.lead(state, device, task),
            None => self.sleep(state),
        }
    }

    fn acknowledged(&self, state: &State<D>) -> u64 {
        match self.acknowledge {
            Acknowledge::Written => state.written,
            Acknowledge::Synced => state.durable,
        }
    }

    /// Writes what waits, without the lock, and tells everybody.
    fn lead<'a>(&'a self, mut state: Guard<'a, D>, mut device: D, task: Task) -> Guard<'a, D> {
        let mut groups = state.take_pending();
        let taken = state.appended;
        if planted(Mutant::AcknowledgedEarly) {
            (state.written, state.durable) = (taken, taken);
        }
        drop(state);
        let leading = Leading { commit: self, over: false };
        let syncs = match task {
            Task::Commit => self.acknowledge == Acknowledge::Synced,
            Task::Sync => true,
            Task::TurnOver => false,
        };
        let mut done = device.write(&mut groups);
        if done.is_ok() && task == Task::TurnOver {
            done = device.turn_over();
        }
        if done.is_ok() && syncs {
            done = device.sync();
        }
        leading.over();
        let mut state = self.lock();
        let taken = if planted(Mutant::AcknowledgedTooMuch) { state.appended } else { taken };
        match done {
            Ok(()) => {
                state.device = Some(device);
                state.written = taken;
                // Ending a segment syncs it.
                if syncs || task == Task::TurnOver {
                    state.durable = taken;
                }
                state.recycle(groups);
            }
            Err(_) if planted(Mutant::FailureNotSpread) => state.device = Some(device),
            Err(failure) => state.failure = Some(Arc::new(failure)),
        }
        self.tell(state)
    }

    /// Wakes whoever waits for the end of a leader.
    fn tell<'a>(&'a self, mut state: Guard<'a, D>) -> Guard<'a, D> {
        if planted(Mutant::LeaderTellsOne) {
            self.turn.notify_one();
        } else if !planted(Mutant::LeaderTellsNobody) {
            self.turn.notify_all();
        }
        if state.waiters.is_empty() {
            return state;
        }
        let acknowledged = self.acknowledged(&state);
        let all = match state.failure {
            Some(_) => !planted(Mutant::FailureWakesNoTask),
            // Nobody else would write for the others.
            None => !state.driven && !planted(Mutant::TasksLeftBehind),
        };
        let is_done = |waiter: &mut Waiter| all || waiter.sequence <= acknowledged;
        let woken: Vec<Waiter> = state.waiters.extract_if(.., is_done).collect();
        drop(state);
        // Outside of the lock: a waker may run anything.
        woken.into_iter().for_each(|waiter| waiter.waker.wake());
        self.lock()
    }
}

impl<D> State<D> {
    fn check(&self) -> Result<(), Refused> {
        match &self.failure {
            Some(failure) => Err(Refused::Failed(Arc::clone(failure))),
            None => Ok(()),
        }
    }

    fn push(&mut self, record: &[u8]) -> u64 {
        self.appended += 1;
        let full = |group: &Group| {
            group.bytes().len() >= GROUP_HEADER + GROUP_FULL || group.count() == u32::MAX
        };
        if self.pending.last().is_none_or(full) {
            let spare = std::mem::take(&mut self.spare);
            self.pending.push(Group::new(self.appended, spare));
        }
        if let Some(group) = self.pending.last_mut() {
            let before = group.bytes().len();
            group.push(record);
            self.pending_bytes += group.bytes().len() - before;
        }
        self.appended
    }

    fn take_pending(&mut self) -> Vec<Group> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// Keeps a buffer, unless a long record has blown it up.
    fn recycle(&mut self, groups: Vec<Group>) {
        let buffers = groups.into_iter().map(Group::into_buffer);
        if let Some(spare) = buffers.max_by_key(Vec::capacity)
            && spare.capacity() <= 4 * GROUP_FULL
            && spare.capacity() > self.spare.capacity()
        {
            self.spare = spare;
        }
    }
}

/// A leader at work without the lock. If it panics, its device is gone: that is a failure (J1).
struct Leading<'a, D: Device> {
    commit: &'a GroupCommit<D>,
    over: bool,
}

impl<D: Device> Leading<'_, D> {
    fn over(mut self) {
        self.over = true;
    }
}

impl<D: Device> Drop for Leading<'_, D> {
    fn drop(&mut self) {
        if !self.over {
            let mut state = self.commit.lock();
            state.failure = Some(Arc::new(Failure::panicked()));
            drop(self.commit.tell(state));
            self.commit.work.notify_all();
        }
    }
}

impl<D> std::fmt::Debug for GroupCommit<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCommit")
            .field("acknowledge", &self.acknowledge)
            .field("max_pending", &self.max_pending)
            .finish_non_exhaustive()
    }
}
