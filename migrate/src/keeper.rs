//! What a node with a journal does about slots that come and go.

use std::fmt;

use whimbrel_mvcc::Store;

use crate::Slot;

/// Why something could not be made durable.
pub type KeepError = Box<dyn std::error::Error + Send + Sync>;

/// One key and its newest value; none: removed.
pub type KeptChange = (Vec<u8>, Option<Vec<u8>>);

/// Makes a slot that arrives durable before this node may own it, and forgets one that went.
///
/// A node without a journal has none. All methods but [`gone`](Self::gone), [`installed`](Self::installed)
/// and [`void`](Self::void) run where they may block. A copy is called by the number of its migration; the
/// calls for one come in the order `keep`, `changes`.., `whole`, then `installed` or `void`.
pub trait SlotKeeper: Send + Sync + fmt::Debug {
    /// A copy was built up to here; writes at its source still go on.
    ///
    /// # Errors
    /// Then the migration ends, and the source serves on.
    fn keep(&self, slot: Slot, copy: u64, store: &Store) -> Result<(), KeepError>;

    /// Keys of the copy have changed.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    fn changes(&self, slot: Slot, copy: u64, changes: &[KeptChange]) -> Result<(), KeepError>;

    /// The copy is whole: when this returns it is durable, and what a restart finds if the slot's record
    /// names this node. Writes at the source wait meanwhile.
    ///
    /// # Errors
    /// As [`keep`](Self::keep).
    fn whole(&self, slot: Slot, copy: u64) -> Result<(), KeepError>;

    /// This node owns the slot, and the copy is its content.
    fn installed(&self, slot: Slot, copy: u64);

    /// The copy is void; this node does not own the slot.
    fn void(&self, slot: Slot, copy: u64);

    /// Another node owns the slot: its content here is gone.
    fn gone(&self, slot: Slot);
}
