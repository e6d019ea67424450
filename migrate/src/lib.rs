//! Live migration of slots between nodes: ownership records, gates, snapshot shipping.

#![forbid(unsafe_code)]

mod codec;
mod error;
mod frame;
mod map;
pub mod protocol;
mod record;
mod slot;

pub use error::{Error, FrameError};
pub use frame::{Attempt, Frame, HEADER_LEN, Header, Kind, MAX_CONTENT, MAX_PARTS};
pub use map::{CasOp, CasOutcome, FileMap, MemMap, SlotMap};
pub use record::{
    ForbiddenChange, MAX_NODE_ID_LEN, MigrationId, Mode, NodeId, NodeInfo, SlotRecord,
};
pub use slot::{SLOT_COUNT, Slot, slot_of};
