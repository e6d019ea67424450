//! A node's slots: serving them, moving them out, taking them in.

mod access;
mod options;
mod start;

pub(crate) use access::THROTTLE_TICK;
pub use access::{NotServed, ParkTimeout, Parked, SlotAccess};
pub use options::ServerOptions;
pub use start::StartReport;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::net::TcpListener;
use whimbrel_mvcc::{Clock, Hold, Snapshot, Store, StoreOptions};

use crate::record::random_u64;
use crate::runtime::bus;
use crate::runtime::outgoing::{Outgoing, begin};
use crate::runtime::target::Incoming;
use crate::slots::Slots;
use crate::{
    Error, GateState, GrantLog, MigrationHandle, MigrationOptions, NodeId, NodeInfo, Slot, SlotMap,
    SlotRecord,
};

/// The slots of one node: serves operations on them, and moves them to and from other nodes.
///
/// Clones are handles to the same server. A slot is served exactly while this node read or wrote
/// the slot's record as its own (rule M3); see [`crate::protocol`] for how it moves.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use whimbrel_migrate::{AccessKind, MemMap, NodeInfo, NodeId, ServerOptions, SlotServer, slot_of};
/// use whimbrel_mvcc::Clock;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # runtime.block_on(async {
/// let dir = tempfile::tempdir()?;
/// let name = |s| NodeId::new(s).expect("a valid name");
/// let me = NodeInfo { id: name("127.0.0.1:7000"), bus: name("127.0.0.1:17000") };
/// let options = ServerOptions::new(me, dir.path());
/// let server = SlotServer::new(Clock::new(), Arc::new(MemMap::new()), options)?;
/// server.start().await?;
/// server.claim_unassigned().await?;
///
/// let access = server.access(slot_of(b"knot"), AccessKind::Write).expect("this node serves it");
/// access.store().put(b"knot", b"7")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SlotServer(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) me: NodeInfo,
    pub(crate) options: ServerOptions,
    pub(crate) clock: Clock,
    pub(crate) map: Arc<dyn SlotMap>,
    pub(crate) slots: Slots,
    pub(crate) grants: GrantLog,
    /// Random number of this process (rule M5).
    pub(crate) incarnation: u64,
    outgoing: Mutex<HashMap<Slot, Arc<Outgoing>>>,
    incoming: Mutex<HashMap<Slot, Arc<Incoming>>>,
    /// Nodes that did not answer lately.
    silent: RwLock<HashSet<NodeId>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SlotServer {
    /// A server that serves nothing yet: [`start`](Self::start) it.
    ///
    /// # Errors
    ///
    /// If the directory of the grants cannot be made.
    pub fn new(clock: Clock, map: Arc<dyn SlotMap>, options: ServerOptions) -> Result<Self, Error> {
        let grants = GrantLog::open(options.dir.join("grants"))?;
        Ok(Self(Arc::new(Inner {
            me: options.node.clone(),
            options,
            clock,
            map,
            slots: Slots::new(),
            grants,
            incarnation: random_u64(),
            outgoing: Mutex::default(),
            incoming: Mutex::default(),
            silent: RwLock::default(),
        })))
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> &NodeInfo {
        &self.0.me
    }

    /// The clock of all stores of this node.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The slot map.
    #[must_use]
    pub fn map(&self) -> &Arc<dyn SlotMap> {
        &self.0.map
    }

    /// The slots that are served here now, writes included, ascending.
    #[must_use]
    pub fn served(&self) -> Vec<Slot> {
        let serves = |slot: &Slot| {
            let cell = self.0.slots.get(*slot);
            cell.is_some_and(|c| c.gate.view().state == GateState::Serve)
        };
        Slot::all().filter(serves).collect()
    }

    /// Puts restored content into a slot before [`start`](Self::start): what a journal or backup
    /// gave back. Make the store with [`slot_store_options`](Self::slot_store_options) and this
    /// node's clock.
    ///
    /// Ignored for a slot that is served already.
    pub fn preload(&self, slot: Slot, store: Store) {
        let cell = self.0.slots.get_or_make(slot);
        if cell.gate.view().state == GateState::NotMine {
            cell.replace_store(Some(store));
        }
    }

    /// What every slot of this node holds at the hold's moment, served or not: a slot that is being
    /// handed over, or waits for the answer to an offer, counts. Slots that hold nothing are left out.
    #[must_use]
    pub fn contents(&self, hold: &Hold) -> Vec<(Slot, Snapshot)> {
        let content = |slot: Slot| {
            let store = self.0.slots.get(slot)?.store();
            let snapshot = store.as_ref()?.snapshot_at(hold);
            (!snapshot.is_empty()).then_some((slot, snapshot))
        };
        Slot::all().filter_map(content).collect()
    }

    /// Lets go of [preloaded](Self::preload) content whose slot another node owns: what a restart found
    /// of slots that have moved away. Call it after [`start`](Self::start); answers which slots.
    #[must_use = "what keeps the content must forget it too"]
    pub fn forget_foreign(&self) -> Vec<Slot> {
        let is_foreign = |slot: &Slot| {
            let record = self.0.map.peek(*slot);
            let elsewhere = record.is_some_and(|record| record.owner != self.0.me.id);
            let Some(cell) = self.0.slots.get(*slot).filter(|_| elsewhere) else { return false };
            cell.gate.view().state == GateState::NotMine && cell.store().is_some()
        };
        let foreign: Vec<Slot> = Slot::all().filter(is_foreign).collect();
        for slot in &foreign {
            drop(self.0.slots.get(*slot).and_then(|cell| cell.replace_store(None)));
        }
        foreign
    }

    /// How the store of a slot must be made: with a running digest.
    #[must_use]
    pub fn slot_store_options() -> StoreOptions {
        StoreOptions::new().with_running_digest()
    }

    /// Begins to move a slot to another node, as a task of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::NotOwner`], [`Error::AlreadyMigrating`], [`Error::UnknownNode`]; everything later
    /// is the result of [`MigrationHandle::wait`].
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime.
    pub fn start_migration(
        &self,
        slot: Slot,
        target: &NodeId,
        options: MigrationOptions,
    ) -> Result<MigrationHandle, Error> {
        begin(&self.0, slot, target, options)
    }

    /// The running migration of a slot away from this node.
    #[must_use]
    pub fn migration(&self, slot: Slot) -> Option<MigrationHandle> {
        let outgoing = lock(&self.0.outgoing).get(&slot).cloned()?;
        Some(MigrationHandle::new(outgoing))
    }

    /// Serves other nodes on this listener, and watches which of them are alive, until dropped.
    ///
    /// # Errors
    ///
    /// If the listener fails for good.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends the listener, not the migrations under way.
    pub async fn run_bus(&self, listener: TcpListener) -> Result<(), Error> {
        bus::run(self.0.clone(), listener).await
    }
}

impl Inner {
    pub(crate) fn silent_nodes(&self) -> HashSet<NodeId> {
        self.silent.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_silent(&self, silent: HashSet<NodeId>) {
        *self.silent.write().unwrap_or_else(PoisonError::into_inner) = silent;
    }

    pub(crate) fn is_silent(&self, node: &NodeId) -> bool {
        self.silent.read().unwrap_or_else(PoisonError::into_inner).contains(node)
    }

    pub(crate) fn bus_of(&self, node: &NodeId) -> Result<NodeId, Error> {
        let info = self.map.nodes().into_iter().find(|n| n.id == *node);
        info.map(|n| n.bus).ok_or_else(|| Error::UnknownNode { node: node.clone() })
    }

    /// Registers a migration, unless the slot has one.
    pub(crate) fn add_outgoing(&self, outgoing: &Arc<Outgoing>) -> Result<(), Error> {
        let slot = outgoing.slot();
        let mut all = lock(&self.outgoing);
        if let Some(other) = all.get(&slot) {
            return Err(Error::AlreadyMigrating { slot, to: other.target().clone() });
        }
        all.insert(slot, outgoing.clone());
        Ok(())
    }

    pub(crate) fn outgoing(&self, slot: Slot) -> Option<Arc<Outgoing>> {
        lock(&self.outgoing).get(&slot).cloned()
    }

    pub(crate) fn remove_outgoing(&self, slot: Slot) {
        lock(&self.outgoing).remove(&slot);
    }

    pub(crate) fn incoming(&self, slot: Slot) -> Option<Arc<Incoming>> {
        lock(&self.incoming).get(&slot).cloned()
    }

    /// Bytes of the slots, other than this one, that are being copied to this node.
    pub(crate) fn arriving_beside(&self, slot: Slot) -> u64 {
        let incoming = lock(&self.incoming);
        let others = incoming.iter().filter(|(other, _)| **other != slot);
        others.map(|(_, incoming)| incoming.bytes).fold(0, u64::saturating_add)
    }

    pub(crate) fn set_incoming(&self, slot: Slot, incoming: Arc<Incoming>) {
        lock(&self.incoming).insert(slot, incoming);
    }

    pub(crate) fn remove_incoming(&self, slot: Slot, incoming: &Arc<Incoming>) {
        let mut all = lock(&self.incoming);
        if all.get(&slot).is_some_and(|i| Arc::ptr_eq(i, incoming)) {
            all.remove(&slot);
        }
    }

    /// Runs blocking work of the map or the disk on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.unwrap_or(Err(Error::ShuttingDown))
    }

    pub(crate) async fn read_record(
        self: &Arc<Self>,
        slot: Slot,
    ) -> Result<Option<SlotRecord>, Error> {
        self.blocking(move |inner| inner.map.get(slot)).await
    }

    /// An empty store for a slot.
    pub(crate) fn empty_store(&self) -> Store {
        Store::with_options(&self.clock, SlotServer::slot_store_options())
    }
}
