//! Live migration of slots between nodes: ownership records, gates, snapshot shipping.
//!
//! A *slot* is the hash class of a key ([`slot_of`]) and one ordered store. Exactly one node serves
//! it: the one that the slot's record in the [`SlotMap`] names. This crate keeps the map, guards
//! each slot with a [`Gate`], and moves slots to other nodes while clients use them. [`SlotServer`]
//! is the door.
//!
//! # What you may rely on
//!
//! - Operations on a slot are linearizable across a migration: no acknowledged write is lost, no
//!   read returns less than what was acknowledged before it was sent.
//! - Ownership changes by compare-and-swap on the record only, never by a timer. A source whose
//!   target falls silent after the grant serves again only by winning the swap to the next epoch.
//! - The copy is compared by digest and count before it is handed over. A mismatch thaws the
//!   source.
//! - Memory is as durable as its process: without a journal, the acknowledged writes of a node that
//!   dies as the only owner are gone; the others say so ([`NotServed::ClusterDown`]) and serve
//!   nothing stale. With a [`SlotKeeper`] a slot that arrives is durable before this node takes it.
//!
//! # How a slot moves
//!
//! The source captures what is written, waits for operations under way, takes a snapshot, and
//! splits it into ranges. The target pulls those in parallel under credits and rebuilds each in
//! linear time into a staging store. Rounds of change deltas follow until what is left fits the
//! blackout budget. Then writes freeze, the last round and the digest go over, the source closes
//! the gate, makes its grant durable and sends it; the target swaps the record and serves.
//! `docs/migration.md` has states, frames and failures.
//!
//! The protocol itself is in [`protocol`]: two pure state machines, which the runtime here, and an
//! exploration of all interleavings in the tests, drive alike.
//!
//! # Examples
//!
//! See [`SlotServer`] for serving and [`SlotServer::start_migration`] for moving.

#![forbid(unsafe_code)]

mod codec;
mod error;
mod frame;
mod gate;
mod grant;
mod keeper;
mod map;
mod memory;
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
pub use keeper::{KeepError, KeptChange, SlotKeeper};
pub use map::{CasOp, CasOutcome, FileMap, MemMap, SlotMap};
pub use memory::MemoryCheck;
pub use record::{
    ForbiddenChange, MAX_NODE_ID_LEN, MigrationId, Mode, NodeId, NodeInfo, SlotRecord,
};
pub use report::{MigrationOptions, MigrationReport, MigrationStatus, Plant};
pub use runtime::outgoing::MigrationHandle;
pub use server::{
    NotServed, ParkTimeout, Parked, ServerOptions, SlotAccess, SlotServer, StartReport,
};
pub use slot::{SLOT_COUNT, Slot, slot_of};
