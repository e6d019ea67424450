//! Passing the gate, and what an operation is told that may not.

use std::fmt;
use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;

use whimbrel_mvcc::{Guard, Store};

use super::{Inner, SlotServer};
use crate::slots::SlotCell;
use crate::{AccessKind, GateState, GateView, Mode, NodeId, Slot};

/// A throttled write asks again after at most this time.
pub(crate) const THROTTLE_TICK: Duration = Duration::from_millis(1);

/// Permission to run one short operation on a slot's store.
///
/// Holds the barrier session in which the gate was read (invariant G1), so it must be dropped
/// before any wait: the compiler refuses to keep it across an await of a task that moves between
/// threads.
pub struct SlotAccess<'a> {
    /// Some; see `access`.
    store: RwLockReadGuard<'a, Option<Store>>,
    epoch: u64,
    _session: Guard<'a>,
}

impl SlotAccess<'_> {
    /// The slot's content.
    ///
    /// # Panics
    ///
    /// Never: an access exists only for a slot that has a store.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("an access is made only where there is a store")
    }

    /// The epoch in which the operation is executed.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl fmt::Debug for SlotAccess<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotAccess").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

/// Why an operation was not executed here.
#[derive(Debug)]
#[non_exhaustive]
pub enum NotServed {
    /// Another node owns the slot: ask there.
    Moved {
        /// The owner as last seen in the map.
        owner: NodeId,
    },
    /// The slot is being handed over, or its writers are throttled: wait, then ask again.
    Wait(Parked),
    /// Too many operations are waiting for this slot: let the client try again.
    Busy,
    /// The node that must answer for the slot cannot be reached. Nobody else serves it, because
    /// its acknowledged writes may be there only.
    ClusterDown {
        /// The node that must answer.
        owner: NodeId,
    },
    /// Nobody owns the slot.
    Unassigned,
}

/// An operation that waits for its slot's gate to move. Counted against the slot's bound until
/// dropped.
pub struct Parked {
    cell: Arc<SlotCell>,
    timeout: Duration,
    throttled: bool,
}

/// A parked operation waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the slot was frozen for more than {0:?}")]
pub struct ParkTimeout(
    /// How long it waited.
    pub Duration,
);

impl Parked {
    /// Waits until the slot thaws or has moved; then ask for access again.
    ///
    /// # Errors
    ///
    /// [`ParkTimeout`] if that takes too long. The operation was not executed.
    ///
    /// # Cancel safety
    ///
    /// May be dropped at any time.
    pub async fn wait(self) -> Result<(), ParkTimeout> {
        let waiting = async {
            loop {
                // Made before the look, so a wake-up between the two is not lost.
                let moved = self.cell.moved.notified();
                let state = self.cell.gate.view().state;
                let frozen = matches!(state, GateState::FreezeWrites | GateState::Frozen);
                if frozen {
                    moved.await;
                } else if self.throttled {
                    let _ = tokio::time::timeout(THROTTLE_TICK, moved).await;
                    return;
                } else {
                    return;
                }
            }
        };
        let done = tokio::time::timeout(self.timeout, waiting).await;
        done.map_err(|_| ParkTimeout(self.timeout))
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.cell.unpark();
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl SlotServer {
    /// Asks to run an operation on a slot. The operation must be short and must not wait.
    ///
    /// # Guarantee
    ///
    /// While the access lives, this node owns the slot in [`SlotAccess::epoch`], and no hand-over
    /// completes. Write operations must be asked for as [`AccessKind::Write`].
    ///
    /// # Complexity
    ///
    /// O(1): a barrier session, one load, and a shared lock that nobody ever waits for.
    ///
    /// # Errors
    ///
    /// [`NotServed`] says what to answer or to wait for.
    pub fn access(&self, slot: Slot, kind: AccessKind) -> Result<SlotAccess<'_>, NotServed> {
        let inner = &*self.0;
        let Some(cell) = inner.slots.get(slot) else { return Err(inner.elsewhere(slot)) };
        let session = inner.clock.pin();
        match cell.gate.enter(&session, kind) {
            Ok(epoch) => {
                if kind == AccessKind::Write && !cell.admit_write() {
                    return Err(inner.park(cell, true));
                }
                let store = cell.store();
                if store.is_none() {
                    return Err(NotServed::Unassigned);
                }
                Ok(SlotAccess { store, epoch, _session: session })
            }
            Err(GateView { state: GateState::FreezeWrites | GateState::Frozen, .. }) => {
                Err(inner.park(cell, false))
            }
            Err(_) => Err(inner.elsewhere(slot)),
        }
    }
}

impl Inner {
    fn park(&self, cell: &Arc<SlotCell>, throttled: bool) -> NotServed {
        if !cell.park(self.options.max_parked) {
            return NotServed::Busy;
        }
        let timeout = self.options.park_timeout;
        NotServed::Wait(Parked { cell: cell.clone(), timeout, throttled })
    }

    /// Who serves the slot, as far as this process has seen.
    fn elsewhere(&self, slot: Slot) -> NotServed {
        let Some(record) = self.map.peek(slot) else { return NotServed::Unassigned };
        if record.owner != self.me.id {
            let owner = record.owner;
            return if self.is_silent(&owner) {
                NotServed::ClusterDown { owner }
            } else {
                NotServed::Moved { owner }
            };
        }
        // Ours, but not served: an offer is out, and the other node must answer first.
        match record.mode {
            Mode::Migrating { to, .. } => NotServed::ClusterDown { owner: to },
            Mode::Stable => NotServed::ClusterDown { owner: record.owner },
        }
    }
}
