//! What the connections of one node share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use whimbrel_migrate::{
    AccessKind, MigrationHandle, NodeId, NotServed, Parked, Plant, Slot, SlotMap, SlotServer,
};
use whimbrel_mvcc::{ClockStats, Hold, Store};

use super::cursors::Cursors;
use super::intake::Intake;
use super::session::Session;
use crate::resp::commands::{self, Access, Refusal};

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    slots: SlotServer,
    plant: Option<Plant>,
    started: Instant,
    cursors: Cursors,
    intake: Intake,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
    /// The newest migration of each slot away from here, running or ended.
    migrations: Mutex<BTreeMap<Slot, MigrationHandle>>,
    next_session: AtomicU64,
    commands: AtomicU64,
}

/// What came of one try to run an operation.
enum Tried<R> {
    Ran(R),
    Wait(Parked),
    Refused(Refusal),
}

impl Node {
    pub(crate) fn new(slots: SlotServer, plant: Option<Plant>, intake: Intake) -> Self {
        Self {
            slots,
            plant,
            started: Instant::now(),
            cursors: Cursors::default(),
            intake,
            sessions: Mutex::default(),
            migrations: Mutex::default(),
            next_session: AtomicU64::new(1),
            commands: AtomicU64::new(0),
        }
    }

    /// Runs `f` on the slot's store inside its gate; waits while the slot is handed over.
    pub(crate) async fn access<R>(
        &self,
        slot: Slot,
        access: Access,
        f: impl FnOnce(&Store) -> R,
    ) -> Result<R, Refusal> {
        let mut f = Some(f);
        let mut refreshed = false;
        loop {
            match self.try_access(slot, access, &mut f) {
                Tried::Ran(result) => return Ok(result),
                // Another node may have taken the slot since this one last looked at the map.
                Tried::Refused(Refusal::NoOwner { .. }) if !refreshed => {
                    self.refresh_map().await;
                    refreshed = true;
                }
                Tried::Refused(refusal) => return Err(refusal),
                Tried::Wait(parked) => {
                    parked.wait().await.map_err(|_| Refusal::TryAgain { slot })?;
                }
            }
        }
    }

    fn try_access<R>(
        &self,
        slot: Slot,
        access: Access,
        f: &mut Option<impl FnOnce(&Store) -> R>,
    ) -> Tried<R> {
        let kind = if access == Access::Write { AccessKind::Write } else { AccessKind::Read };
        let not_served = match self.slots.access(slot, kind) {
            Ok(access) => {
                let f = f.take().expect("an operation runs once");
                return Tried::Ran(f(access.store()));
            }
            Err(not_served) => not_served,
        };
        Tried::Refused(match not_served {
            NotServed::Wait(parked) => return Tried::Wait(parked),
            NotServed::Busy => Refusal::TryAgain { slot },
            NotServed::Moved { owner } => {
                Refusal::Moved { slot, address: owner.as_str().to_owned() }
            }
            NotServed::ClusterDown { owner } => {
                let why = format!("{owner} must answer for it and cannot be reached");
                Refusal::NotServed { slot, why }
            }
            NotServed::Unassigned => Refusal::NoOwner { slot },
            other => Refusal::NotServed { slot, why: format!("{other:?}") },
        })
    }

    /// Looks what other processes wrote into the slot map.
    pub(crate) async fn refresh_map(&self) {
        let map = Arc::clone(self.slots.map());
        match tokio::task::spawn_blocking(move || map.refresh()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the slot map cannot be read"),
            Err(error) => tracing::warn!(%error, "a look at the slot map ended early"),
        }
    }

    /// The slots of this node and their migrations.
    pub(crate) fn slots(&self) -> &SlotServer {
        &self.slots
    }

    /// The mistake that migrations are to make.
    pub(crate) fn plant(&self) -> Option<Plant> {
        self.plant
    }

    /// The slots that are served here.
    pub(crate) fn served(&self) -> Vec<Slot> {
        self.slots.served()
    }

    /// The served slots that hold something.
    pub(crate) fn filled(&self) -> Vec<Slot> {
        let mut slots = self.served();
        slots.retain(|slot| {
            self.slots
                .access(*slot, AccessKind::Read)
                .is_ok_and(|access| access.store().digest().is_none_or(|digest| digest.count > 0))
        });
        slots
    }

    /// Bytes of the records and versions of all served slots.
    pub(crate) fn bytes(&self) -> u64 {
        let of_slot = |slot: Slot| {
            let access = self.slots.access(slot, AccessKind::Read).ok()?;
            let stats = access.store().stats();
            Some(stats.bytes())
        };
        self.filled().into_iter().filter_map(of_slot).sum()
    }

    /// The slot map.
    pub(crate) fn map(&self) -> &dyn SlotMap {
        &**self.slots.map()
    }

    /// The node's name: where clients reach it.
    pub(crate) fn name(&self) -> &NodeId {
        &self.slots.node().id
    }

    /// Where other nodes reach it.
    pub(crate) fn bus(&self) -> &NodeId {
        &self.slots.node().bus
    }

    /// One moment for snapshots of several slots, under the name of what it is for.
    pub(crate) fn hold(&self, name: &str) -> Hold {
        self.slots.clock().hold_named(name)
    }

    /// Figures of all slots, and the open snapshots.
    pub(crate) fn stats(&self) -> ClockStats {
        self.slots.clock().stats()
    }

    /// The unfinished scans.
    pub(crate) fn cursors(&self) -> &Cursors {
        &self.cursors
    }

    /// The bytes of unfinished requests.
    pub(crate) fn intake(&self) -> &Intake {
        &self.intake
    }

    /// How long it has been serving.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The plain keys of all slots that it serves.
    pub(crate) async fn count_keys(&self) -> u64 {
        let mut count = 0;
        for slot in self.filled() {
            // Not served any more: its keys are counted where they are.
            count += self.access(slot, Access::Read, commands::count_plain).await.unwrap_or(0);
        }
        count
    }

    /// Notes a migration that has begun.
    pub(crate) fn note_migration(&self, handle: MigrationHandle) {
        let mut migrations = self.migrations.lock().unwrap_or_else(PoisonError::into_inner);
        migrations.insert(handle.slot(), handle);
    }

    /// The newest migration of each slot away from here.
    pub(crate) fn migrations(&self) -> Vec<MigrationHandle> {
        let migrations = self.migrations.lock().unwrap_or_else(PoisonError::into_inner);
        migrations.values().cloned().collect()
    }

    /// The newest migration of a slot away from here.
    pub(crate) fn migration(&self, slot: Slot) -> Option<MigrationHandle> {
        let migrations = self.migrations.lock().unwrap_or_else(PoisonError::into_inner);
        migrations.get(&slot).cloned()
    }

    /// A connection begins.
    pub(crate) fn connect(&self, peer: SocketAddr) -> Arc<Session> {
        // ORDERING: Relaxed; only uniqueness matters.
        let id = self.next_session.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(id, peer));
        self.sessions().insert(id, Arc::clone(&session));
        session
    }

    /// A connection has ended.
    pub(crate) fn disconnect(&self, session: &Session) {
        self.sessions().remove(&session.id());
    }

    /// The connections there are.
    pub(crate) fn clients(&self) -> Vec<Arc<Session>> {
        self.sessions().values().cloned().collect()
    }

    /// Counts one request.
    pub(crate) fn count_command(&self) {
        // ORDERING: Relaxed; a statistic. Pairs with `commands`.
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests so far.
    pub(crate) fn commands(&self) -> u64 {
        // ORDERING: Relaxed; a statistic. Pairs with `count_command`.
        self.commands.load(Ordering::Relaxed)
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Session>>> {
        // Insert and remove leave the map whole, whatever panics around them.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
