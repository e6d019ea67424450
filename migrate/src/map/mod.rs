//! The slot map: who owns each slot, and where nodes listen.

mod codec;
mod file;
mod mem;
mod view;

pub use file::FileMap;
pub use mem::MemMap;

use std::fmt;

use tokio::sync::watch;

use crate::{Error, NodeInfo, Slot, SlotRecord};

/// One compare-and-swap: if the record of `slot` is `expected`, it becomes `new`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CasOp {
    /// The slot.
    pub slot: Slot,
    /// What must be there now; `None`: no record yet.
    pub expected: Option<SlotRecord>,
    /// What is there afterwards.
    pub new: SlotRecord,
}

/// What a compare-and-swap did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CasOutcome {
    /// The record is now the new one, durably.
    Won,
    /// Nothing changed; this is the record that was there instead.
    Lost(Option<SlotRecord>),
}

impl CasOutcome {
    /// Whether the swap took place.
    #[must_use]
    pub fn is_won(&self) -> bool {
        matches!(self, Self::Won)
    }
}

/// The one place that says who owns a slot.
///
/// All methods may do I/O and wait for other processes, so call them on a thread that may block,
/// except [`peek`](Self::peek), [`nodes`](Self::nodes) and [`watch`](Self::watch), which answer
/// from memory.
///
/// # Guarantee
///
/// `get`, `cas` and `cas_many` of all processes that share the map are linearizable. A won swap is
/// durable before it returns. An error of `cas` other than [`Error::Forbidden`],
/// [`Error::DiskFull`] and [`Error::CorruptFile`] leaves open whether it took place: read the
/// record before anything else (rule M6).
pub trait SlotMap: fmt::Debug + Send + Sync + 'static {
    /// The record of the slot now.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    fn get(&self, slot: Slot) -> Result<Option<SlotRecord>, Error>;

    /// All slots that have a record now, ascending.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    fn all(&self) -> Result<Vec<(Slot, SlotRecord)>, Error>;

    /// Swaps each record on its own: some may win while others lose. One durable write for all.
    ///
    /// # Errors
    ///
    /// [`Error::Forbidden`] if an op breaks a rule (then none took place); otherwise see the trait.
    fn cas_many(&self, ops: &[CasOp]) -> Result<Vec<CasOutcome>, Error>;

    /// Swaps one record.
    ///
    /// # Errors
    ///
    /// As [`cas_many`](Self::cas_many).
    fn cas(
        &self,
        slot: Slot,
        expected: Option<&SlotRecord>,
        new: &SlotRecord,
    ) -> Result<CasOutcome, Error> {
        let op = CasOp { slot, expected: expected.cloned(), new: new.clone() };
        let mut outcomes = self.cas_many(std::slice::from_ref(&op))?;
        Ok(outcomes.pop().expect("one outcome per op"))
    }

    /// Tells the map where a node listens.
    ///
    /// # Errors
    ///
    /// If the map cannot be written.
    fn put_node(&self, node: &NodeInfo) -> Result<(), Error>;

    /// Brings what is in memory up to date with what other processes wrote.
    ///
    /// # Errors
    ///
    /// If the map cannot be read.
    fn refresh(&self) -> Result<(), Error>;

    /// The record as last seen by this process: for redirections, never for serving.
    fn peek(&self, slot: Slot) -> Option<SlotRecord>;

    /// The nodes as last seen by this process.
    fn nodes(&self) -> Vec<NodeInfo>;

    /// A number that changes whenever what is in memory changed.
    fn watch(&self) -> watch::Receiver<u64>;
}
