//! Waiting for a record in a task of an async runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Device, GroupCommit, Task, Waiter};
use crate::error::Refused;
use crate::mutant::{Mutant, planted};

/// A future that ends when a record is acknowledged.
///
/// # Cancel safety
/// May be dropped at any time; the record stays appended.
#[must_use = "a ticket waits when it is polled"]
pub struct Ticket<D: Device> {
    commit: Arc<GroupCommit<D>>,
    sequence: u64,
    /// The number under which a waker waits, once one does.
    number: Option<u64>,
}

impl<D: Device> Ticket<D> {
    pub(super) fn new(commit: &Arc<GroupCommit<D>>, sequence: u64) -> Self {
        Self { commit: Arc::clone(commit), sequence, number: None }
    }

    fn look(&mut self, waker: &Waker) -> Poll<Result<(), Refused>> {
        let commit = &*self.commit;
        let mut state = commit.lock();
        self.sequence = self.sequence.min(state.appended);
        loop {
            if commit.acknowledged(&state) >= self.sequence {
                return Poll::Ready(Ok(()));
            }
            state.check()?;
            if state.driven || state.device.is_none() {
                break;
            }
            state = commit.lead_or_sleep(state, Task::Commit);
        }
        if planted(Mutant::TaskRegistersLate) {
            drop(state);
            state = commit.lock();
        }
        let sequence = self.sequence;
        let known = self
            .number
            .and_then(|number| state.waiters.iter_mut().find(|waiter| waiter.ticket == number));
        if let Some(waiter) = known {
            let before = std::mem::replace(&mut waiter.waker, waker.clone());
            // Dropping a waker may run anything: not under the lock.
            drop(state);
            drop(before);
            return Poll::Pending;
        }
        state.tickets += 1;
        let ticket = state.tickets;
        state.waiters.push(Waiter { sequence, ticket, waker: waker.clone() });
        self.number = Some(ticket);
        Poll::Pending
    }
}

impl<D: Device> Future for Ticket<D> {
    type Output = Result<(), Refused>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = self.get_mut();
        let looked = ticket.look(context.waker());
        if looked.is_ready() {
            ticket.number = None;
        }
        looked
    }
}

impl<D: Device> Drop for Ticket<D> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = self.commit.lock();
        let at = state.waiters.iter().position(|waiter| waiter.ticket == number);
        let waiter = at.map(|at| state.waiters.swap_remove(at));
        // Dropping a waker may run anything: not under the lock.
        drop(state);
        drop(waiter);
    }
}

impl<D: Device> std::fmt::Debug for Ticket<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}
