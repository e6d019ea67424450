//! The slot map in memory: for tests, simulations and single processes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::view::{Change, View};
use super::{CasOp, CasOutcome, SlotMap};
use crate::{Error, NodeInfo, Slot, SlotRecord};

/// A slot map that lives as long as its process. Share it as `Arc<MemMap>`.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::{MemMap, NodeId, Slot, SlotMap, SlotRecord};
///
/// let map = MemMap::new();
/// let slot = Slot::new(7).expect("exists");
/// let record = SlotRecord::first(NodeId::new("a:1").expect("valid"), 1);
/// assert!(map.cas(slot, None, &record)?.is_won());
/// assert!(!map.cas(slot, None, &record)?.is_won());
/// # Ok::<(), whimbrel_migrate::Error>(())
/// ```
#[derive(Debug)]
pub struct MemMap {
    view: Mutex<View>,
    version: watch::Sender<u64>,
}

impl Default for MemMap {
    fn default() -> Self {
        Self { view: Mutex::new(View::new()), version: watch::Sender::new(0) }
    }
}

impl MemMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SlotMap for MemMap {
    fn get(&self, slot: Slot) -> Result<Option<SlotRecord>, Error> {
        Ok(self.lock().get(slot).cloned())
    }

    fn all(&self) -> Result<Vec<(Slot, SlotRecord)>, Error> {
        Ok(self.lock().all())
    }

    fn cas_many(&self, ops: &[CasOp]) -> Result<Vec<CasOutcome>, Error> {
        let mut view = self.lock();
        let (outcomes, changes) = view.decide(ops)?;
        let changed = !changes.is_empty();
        changes.into_iter().for_each(|c| view.apply(c));
        drop(view);
        if changed {
            self.version.send_modify(|v| *v += 1);
        }
        Ok(outcomes)
    }

    fn put_node(&self, node: &NodeInfo) -> Result<(), Error> {
        self.lock().apply(Change::Node(node.clone()));
        self.version.send_modify(|v| *v += 1);
        Ok(())
    }

    fn refresh(&self) -> Result<(), Error> {
        Ok(())
    }

    fn peek(&self, slot: Slot) -> Option<SlotRecord> {
        self.lock().get(slot).cloned()
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        self.lock().nodes()
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
