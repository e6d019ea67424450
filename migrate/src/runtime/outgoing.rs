//! A migration away from this node, as everybody but its own task sees it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use whimbrel_mvcc::{KeyRange, Snapshot};

use super::source::SourceRun;
use crate::protocol::Job;
use crate::protocol::source::{SourcePhase, SourceState};
use crate::report::per_second;
use crate::server::Inner;
use crate::{
    Attempt, Error, MigrationId, MigrationOptions, MigrationReport, MigrationStatus, Mode, NodeId,
    Plant, Slot,
};

pub(crate) type Ended = Result<MigrationReport, Arc<Error>>;

/// What is shared with the connections that pull and with the handles.
#[derive(Debug)]
pub(crate) struct Outgoing {
    attempt: Attempt,
    target: NodeId,
    pub(crate) options: MigrationOptions,
    /// Begun after a restart, to offer what a durable grant gave away.
    offered: bool,
    pub(crate) started: Instant,
    /// The snapshot and its ranges, while they may be pulled.
    shipment: Mutex<Option<(Snapshot, Vec<KeyRange>)>>,
    status: Mutex<MigrationStatus>,
    copied_keys: AtomicU64,
    bytes: AtomicU64,
    flip: AtomicBool,
    pub(crate) cancelled: watch::Sender<bool>,
    pub(crate) forced: watch::Sender<bool>,
    ended: watch::Sender<Option<Ended>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outgoing {
    fn new(job: &Job, offered: bool, options: MigrationOptions) -> Arc<Self> {
        Arc::new(Self {
            attempt: job.attempt,
            target: job.target.clone(),
            offered,
            started: Instant::now(),
            shipment: Mutex::default(),
            status: Mutex::default(),
            copied_keys: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            flip: AtomicBool::new(options.plant == Some(Plant::FlipBlock)),
            options,
            cancelled: watch::Sender::new(false),
            forced: watch::Sender::new(false),
            ended: watch::Sender::new(None),
        })
    }

    pub(crate) fn attempt(&self) -> Attempt {
        self.attempt
    }

    pub(crate) fn slot(&self) -> Slot {
        self.attempt.slot
    }

    pub(crate) fn target(&self) -> &NodeId {
        &self.target
    }

    /// One range of the shipment.
    pub(crate) fn range(&self, index: u64) -> Option<(Snapshot, KeyRange)> {
        let shipment = lock(&self.shipment);
        let (snapshot, ranges) = shipment.as_ref()?;
        Some((snapshot.clone(), ranges.get(usize::try_from(index).ok()?)?.clone()))
    }

    pub(crate) fn set_shipment(&self, shipment: Option<(Snapshot, Vec<KeyRange>)>) {
        *lock(&self.shipment) = shipment;
    }

    pub(crate) fn note_copied(&self, keys: u64, bytes: u64) {
        // ORDERING: Relaxed, both; progress figures.
        self.copied_keys.fetch_add(keys, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of the copy.
    pub(crate) fn copied_bytes(&self) -> u64 {
        // ORDERING: Relaxed; a progress figure.
        self.bytes.load(Ordering::Relaxed)
    }

    /// True once, when the plant says so.
    pub(crate) fn flips_a_block(&self) -> bool {
        // ORDERING: Relaxed; a test's switch.
        self.flip.load(Ordering::Relaxed) && self.flip.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    fn has_ended(&self) -> bool {
        self.ended.borrow().is_some()
    }

    pub(crate) fn damaged(&self, place: &str, cause: &impl ToString) -> Error {
        let Attempt { id, slot, .. } = self.attempt;
        Error::DamagedData { slot, id, place: place.to_owned(), cause: cause.to_string() }
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut MigrationStatus)) {
        change(&mut lock(&self.status));
    }

    pub(crate) fn end(&self, ended: Ended) {
        self.set_shipment(None);
        self.update(|s| {
            s.ended = true;
            s.phase = if ended.is_ok() { "moved" } else { "failed" };
        });
        self.ended.send_replace(Some(ended));
    }

    #[expect(clippy::cast_precision_loss, reason = "percentages for people")]
    fn status(&self) -> MigrationStatus {
        let mut status = lock(&self.status).clone();
        let elapsed = self.started.elapsed();
        status.bytes_sent = status.bytes_sent.max(self.copied_bytes());
        let done = status.keys_done.min(status.keys_total);
        status.keys_per_second = per_second(status.keys_done, elapsed);
        status.percent = match (status.ended && status.phase == "moved", status.keys_total) {
            (true, _) => 100.0,
            (false, 0) => 0.0,
            (false, total) => 95.0 * done as f64 / total as f64,
        };
        let left = (status.keys_total - done) as f64;
        status.eta = (status.keys_per_second > 0.0 && !status.ended).then(|| {
            Duration::from_secs_f64((left / status.keys_per_second).min(1e9))
                + status.blackout_estimate
        });
        status
    }
}

/// A migration that is under way. Dropping the handle does not end it.
#[derive(Clone, Debug)]
pub struct MigrationHandle(Arc<Outgoing>);

impl MigrationHandle {
    pub(crate) fn new(outgoing: Arc<Outgoing>) -> Self {
        Self(outgoing)
    }

    /// The attempt.
    #[must_use]
    pub fn id(&self) -> MigrationId {
        self.0.attempt.id
    }

    /// The slot.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.0.slot()
    }

    /// Where it is going.
    #[must_use]
    pub fn target(&self) -> &NodeId {
        self.0.target()
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> MigrationStatus {
        self.0.status()
    }

    /// Asks it to stop. Before the grant the source thaws at once; after it whoever wins the swap
    /// of the record serves the slot, so [`wait`](Self::wait) may still say that it moved.
    pub fn cancel(&self) {
        self.0.cancelled.send_replace(true);
    }

    /// Whether this is an offer after a restart that the target has not answered: the slot is
    /// served by nobody, and [`force_take_back`](Self::force_take_back) is listened to.
    #[must_use]
    pub fn waits_for_target(&self) -> bool {
        self.0.offered && !self.0.has_ended()
    }

    /// For an offer after a restart whose target cannot be asked: orders this node to take the slot
    /// back. What the target acknowledged, if it took the slot, is not here: the swap fails then;
    /// and what this node did not restore is lost.
    pub fn force_take_back(&self) {
        self.0.forced.send_replace(true);
    }

    /// Waits for the end.
    ///
    /// # Errors
    ///
    /// Why the slot did not move. Unless the error says otherwise, this node serves on.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again at any time.
    pub async fn wait(&self) -> Result<MigrationReport, Arc<Error>> {
        let mut ended = self.0.ended.subscribe();
        let value = ended.wait_for(Option::is_some).await.map(|v| v.clone());
        value.ok().flatten().unwrap_or_else(|| Err(Arc::new(Error::ShuttingDown)))
    }
}

/// Starts the task of a migration.
pub(crate) fn begin(
    inner: &Arc<Inner>,
    slot: Slot,
    target: &NodeId,
    options: MigrationOptions,
) -> Result<MigrationHandle, Error> {
    let record = inner.map.peek(slot);
    let Some(record) = record.filter(|r| r.owner == inner.me.id) else {
        let owner = inner.map.peek(slot).map(|r| r.owner);
        return Err(Error::NotOwner { slot, owner });
    };
    if let Mode::Migrating { to, .. } = record.mode {
        return Err(Error::AlreadyMigrating { slot, to });
    }
    inner.bus_of(target)?;
    let id = MigrationId::random();
    let epoch = record.epoch;
    let record =
        record.migrating(target.clone(), id).map_err(|change| Error::Forbidden { slot, change })?;
    let job = Job {
        attempt: Attempt { id, slot, epoch },
        source: inner.me.id.clone(),
        target: target.clone(),
        record,
        incarnation: inner.incarnation,
    };
    spawn(inner, SourceState::new(job), options)
}

/// Starts the task that offers a granted slot after a restart (rule M5).
pub(crate) fn offer(inner: &Arc<Inner>, job: Job) -> Result<MigrationHandle, Error> {
    spawn(inner, SourceState::restarted(job), MigrationOptions::default())
}

fn spawn(
    inner: &Arc<Inner>,
    state: SourceState,
    options: MigrationOptions,
) -> Result<MigrationHandle, Error> {
    let offered = state.phase == SourcePhase::Offering;
    let outgoing = Outgoing::new(&state.job, offered, options);
    inner.add_outgoing(&outgoing)?;
    tokio::spawn(SourceRun::new(inner.clone(), outgoing.clone(), state).run());
    Ok(MigrationHandle::new(outgoing))
}
