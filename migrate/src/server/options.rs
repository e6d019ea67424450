//! Options of a server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::{MemoryCheck, NodeInfo, SlotKeeper};

/// How a [`crate::SlotServer`] behaves. Builder.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    pub(crate) node: NodeInfo,
    pub(crate) dir: PathBuf,
    pub(crate) io_timeout: Duration,
    pub(crate) freeze_timeout: Duration,
    pub(crate) park_timeout: Duration,
    pub(crate) max_parked: usize,
    pub(crate) probe_interval: Duration,
    pub(crate) lineage: Duration,
    pub(crate) memory: MemoryCheck,
    pub(crate) keeper: Option<Arc<dyn SlotKeeper>>,
}

impl ServerOptions {
    /// A node with this name and bus address that keeps its durable grants under `dir`.
    #[must_use]
    pub fn new(node: NodeInfo, dir: impl AsRef<Path>) -> Self {
        Self {
            node,
            dir: dir.as_ref().to_path_buf(),
            io_timeout: Duration::from_secs(5),
            freeze_timeout: Duration::from_secs(2),
            park_timeout: Duration::from_secs(10),
            max_parked: 4096,
            probe_interval: Duration::from_millis(500),
            lineage: Duration::from_secs(5),
            memory: MemoryCheck::System,
            keeper: None,
        }
    }

    /// Silence of another node after which a connection counts as lost. Default 5 s.
    #[must_use]
    pub fn io_timeout(mut self, timeout: Duration) -> Self {
        self.io_timeout = timeout;
        self
    }

    /// Silence of the target during the hand-over after which the source thaws, or takes the slot
    /// back. Default 2 s; writes wait that long when a target dies at the worst moment.
    #[must_use]
    pub fn freeze_timeout(mut self, timeout: Duration) -> Self {
        self.freeze_timeout = timeout;
        self
    }

    /// How long a parked operation waits before it is answered with an error. Default 10 s.
    #[must_use]
    pub fn park_timeout(mut self, timeout: Duration) -> Self {
        self.park_timeout = timeout;
        self
    }

    /// Operations that may be parked per slot; more are answered [`crate::NotServed::Busy`].
    /// Default 4096.
    #[must_use]
    pub fn max_parked(mut self, operations: usize) -> Self {
        self.max_parked = operations;
        self
    }

    /// How often the map is read again and other nodes are asked whether they live. Default 500 ms.
    #[must_use]
    pub fn probe_interval(mut self, interval: Duration) -> Self {
        self.probe_interval = interval;
        self
    }

    /// How the node finds out whether it has room for a slot that is offered to it. Default: it
    /// asks the system.
    #[must_use]
    pub fn memory(mut self, check: MemoryCheck) -> Self {
        self.memory = check;
        self
    }

    /// Who makes slots that arrive durable. Default: nobody, they live as long as the process.
    #[must_use]
    pub fn keeper(mut self, keeper: Arc<dyn SlotKeeper>) -> Self {
        self.keeper = Some(keeper);
        self
    }

    /// How long a slot's list is kept after it moved away. Default 5 s; costs its memory.
    #[must_use]
    pub fn lineage(mut self, kept: Duration) -> Self {
        self.lineage = kept;
        self
    }
}
