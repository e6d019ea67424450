//! What the connections of one node share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use whimbrel_backup::{Tracker, Work};
use whimbrel_migrate::{
    AccessKind, MigrationHandle, NodeId, NotServed, Parked, Plant, Slot, SlotMap, SlotServer,
};
use whimbrel_mvcc::{ClockStats, Hold, IngestMode, Store};

use super::checkpoint::{CheckpointReport, checkpoint};
use super::cursors::Cursors;
use super::durable::{Durable, Writes};
use super::ingest::{NodeIngest, ingest};
use super::intake::Intake;
use super::session::Session;
use crate::resp::commands::{self, Access, Refusal};

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    slots: SlotServer,
    keeping: Option<Keeping>,
    plant: Option<Plant>,
    started: Instant,
    cursors: Cursors,
    intake: Intake,
    sessions: Mutex<BTreeMap<u64, Arc<Session>>>,
    /// The newest migration of each slot away from here, running or ended.
    migrations: Mutex<BTreeMap<Slot, MigrationHandle>>,
    next_session: AtomicU64,
    commands: AtomicU64,
    tracker: Arc<tokio::sync::Mutex<Tracker>>,
}

/// The journal of a node, and where its checkpoints go.
#[derive(Debug)]
pub(crate) struct Keeping {
    pub(crate) durable: Arc<Durable>,
    pub(crate) dir: PathBuf,
    /// Bytes by which the journal may grow before a checkpoint is made.
    pub(crate) checkpoint_bytes: u64,
    /// Held while a checkpoint is made, or an ingest runs, which no checkpoint may cut in two: the bytes that the
    /// journal had after the last checkpoint.
    pub(crate) after_last: Arc<tokio::sync::Mutex<u64>>,
}

/// What came of one try to run an operation.
enum Tried<R> {
    Ran(R),
    Wait(Parked),
    Refused(Refusal),
}

impl Node {
    pub(crate) fn new(
        slots: SlotServer,
        keeping: Option<Keeping>,
        plant: Option<Plant>,
        intake: Intake,
    ) -> Self {
        Self {
            slots,
            keeping,
            plant,
            started: Instant::now(),
            cursors: Cursors::default(),
            intake,
            sessions: Mutex::default(),
            migrations: Mutex::default(),
            next_session: AtomicU64::new(1),
            commands: AtomicU64::new(0),
            tracker: Arc::default(),
        }
    }

    /// Runs a command that writes. Its reply is sent when what it wrote is acknowledged.
    pub(crate) async fn write<R>(
        &self,
        session: &Session,
        slot: Slot,
        f: impl FnOnce(&mut Writes<'_>) -> R,
    ) -> Result<R, Refusal> {
        let Some(Keeping { durable, .. }) = &self.keeping else {
            let f = |store: &Store| f(&mut Writes::unjournaled(store));
            return self.access(slot, Access::Write, f).await;
        };
        durable.room().await?;
        let run = |store: &Store| durable.write(slot, store, f);
        let (result, sequence) = self.access(slot, Access::Write, run).await??;
        session.owe(sequence);
        Ok(result)
    }

    /// Runs a command that reads. Its reply is sent when all that it can have seen is acknowledged.
    pub(crate) async fn read<R>(
        &self,
        session: &Session,
        slot: Slot,
        f: impl FnOnce(&Store) -> R,
    ) -> Result<R, Refusal> {
        let result = self.access(slot, Access::Read, f).await?;
        if let Some(Keeping { durable, .. }) = &self.keeping {
            session.owe(durable.newest(slot)?);
        }
        Ok(result)
    }

    /// Waits until the replies of a session may be sent.
    pub(crate) async fn settle(&self, session: &Session) -> Result<(), Refusal> {
        match (&self.keeping, session.owed()) {
            (None, _) | (_, 0) => Ok(()),
            (Some(Keeping { durable, .. }), owed) => {
                Ok(durable.journal().acknowledged(owed).await?)
            }
        }
    }

    /// The journal, if there is one.
    pub(crate) fn durable(&self) -> Option<&Durable> {
        self.keeping.as_ref().map(|keeping| &*keeping.durable)
    }

    /// Whether the journal has grown enough for a checkpoint.
    pub(crate) fn wants_checkpoint(&self) -> bool {
        let Some(keeping) = &self.keeping else { return false };
        let Ok(after_last) = keeping.after_last.try_lock() else { return false };
        let journal = keeping.durable.journal();
        let grown = journal.bytes().saturating_sub(*after_last);
        grown > keeping.checkpoint_bytes
            && journal.failure().is_none()
            && !keeping.durable.is_receiving()
    }

    /// Makes a checkpoint beside the writers.
    pub(crate) async fn checkpoint(&self) -> Result<CheckpointReport, Refusal> {
        let Some(keeping) = &self.keeping else {
            return Err(Refusal::Unsupported(
                "this node has no journal: start it with --journal, or use WBACKUP",
            ));
        };
        let Ok(mut after_last) = Arc::clone(&keeping.after_last).try_lock_owned() else {
            return Err(Refusal::Unsupported("a checkpoint is being made, or an ingest runs"));
        };
        let (durable, slots) = (Arc::clone(&keeping.durable), self.slots.clone());
        let dir = keeping.dir.clone();
        // Goes on when its client leaves, and so does the lock.
        let work = move || {
            let report = checkpoint(&durable, &slots, &dir)?;
            *after_last = durable.journal().bytes();
            Ok::<_, crate::Error>(report)
        };
        let made = tokio::task::spawn_blocking(work).await.map_err(Refusal::failed)?;
        made.map_err(Refusal::failed)
    }

    /// Ingests sorted files of this machine, beside the clients. Its reply is sent when all of it is
    /// acknowledged.
    pub(crate) async fn ingest(
        &self,
        paths: Vec<PathBuf>,
        mode: IngestMode,
    ) -> Result<NodeIngest, Refusal> {
        let kept = match &self.keeping {
            None => None,
            Some(keeping) => {
                let quiet = Arc::clone(&keeping.after_last).lock_owned().await;
                Some((Arc::clone(&keeping.durable), quiet))
            }
        };
        let slots = self.slots.clone();
        // Goes on when its client leaves, and so does the lock.
        let work = move || {
            let durable = kept.as_ref().map(|(durable, _)| &**durable);
            ingest(&slots, durable, &paths, mode, &Work::default())
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(Refusal::failed)?;
        done.map_err(Refusal::failed)
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

    /// One moment for snapshots of several slots, named in warnings about those that stay open for long.
    pub(crate) fn hold(&self, name: &str) -> Hold {
        self.slots.clock().hold_named(name)
    }

    /// Figures of all slots, and the open snapshots.
    pub(crate) fn stats(&self) -> ClockStats {
        self.slots.clock().stats()
    }

    /// What follows the slots from one backup into a repository to the next.
    pub(crate) fn tracker(&self) -> Arc<tokio::sync::Mutex<Tracker>> {
        Arc::clone(&self.tracker)
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
