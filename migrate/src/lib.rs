//! Live migration of slots between nodes: ownership records, gates, snapshot shipping.

#![forbid(unsafe_code)]

mod codec;
mod error;
mod frame;
mod gate;
mod grant;
mod map;
pub mod protocol;
mod record;
mod report;
mod runtime;
mod server;
mod slot;
mod slots;
mod sync;

pub use error::{Error, FrameError};
pub use frame::{Attempt, Frame, HEADER_LEN, Header, Kind, MAX_CONTENT, MAX_PARTS};
pub use gate::{AccessKind, Gate, GateState, GateView};
pub use grant::GrantLog;
pub use map::{CasOp, CasOutcome, FileMap, MemMap, SlotMap};
pub use record::{
    ForbiddenChange, MAX_NODE_ID_LEN, MigrationId, Mode, NodeId, NodeInfo, SlotRecord,
};
pub use report::{MigrationOptions, MigrationReport, MigrationStatus, Plant};
pub use runtime::outgoing::MigrationHandle;
pub use server::{
    NotServed, ParkTimeout, Parked, ServerOptions, SlotAccess, SlotServer, StartReport,
};
pub use slot::{SLOT_COUNT, Slot, slot_of};
