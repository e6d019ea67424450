//! The error type of the crate.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::{ForbiddenChange, MigrationId, NodeId, Slot};

/// What can go wrong with slots, their map and their migrations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written. Nothing was changed.
    #[error("{action} {} failed: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was being done to it.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The disk that holds a file is full. Nothing was changed; free space and try again.
    #[error("no space left for {}: nothing was changed; free some space and try again", file.display())]
    DiskFull {
        /// The file.
        file: PathBuf,
    },
    /// A file is not of this kind at all: a wrong path, or the file of another program.
    #[error("{} is not a {expected}: its first bytes are {found:02x?}", file.display())]
    ForeignFile {
        /// The file.
        file: PathBuf,
        /// What was expected.
        expected: &'static str,
        /// Its first bytes.
        found: Vec<u8>,
    },
    /// A file was written by a version of this program with another format.
    #[error("{} has format version {found}, this program reads {supported}", file.display())]
    UnsupportedVersion {
        /// The file.
        file: PathBuf,
        /// The version it names.
        found: u32,
        /// The version read here.
        supported: u32,
    },
    /// Committed bytes of a file are damaged. Restore the file from a copy, or, for the slot map,
    /// remove it when no node runs and assign the slots anew.
    #[error("{} is damaged at byte {offset}: {cause}; restore it from a copy", file.display())]
    CorruptFile {
        /// The file.
        file: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        cause: String,
    },
    /// An earlier sync of the file failed, so what it holds is unknown; start the node again.
    #[error("an earlier sync of {} failed, its state is unknown: start the node again", file.display())]
    UnsyncedFile {
        /// The file.
        file: PathBuf,
    },
    /// A change of a record that the rules forbid.
    #[error("slot {slot}: the record may not change so: {change}")]
    Forbidden {
        /// The slot.
        slot: Slot,
        /// The rule it breaks.
        change: ForbiddenChange,
    },
    /// Bytes from another node are no frame, or a damaged one.
    #[error("bad frame from {peer}: {cause}")]
    BadFrame {
        /// Who sent it.
        peer: String,
        /// What is wrong.
        cause: FrameError,
    },
    /// A connection to another node failed or was closed.
    #[error("connection to {peer} failed while {doing}: {source}")]
    Connection {
        /// The other side.
        peer: String,
        /// What the connection was used for.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The other node was silent for too long.
    #[error("{peer} was silent for {after:?} while {doing}")]
    Silent {
        /// The other side.
        peer: String,
        /// What was waited for.
        doing: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// This node does not own the slot, so it cannot migrate it.
    #[error("slot {slot} is not served by this node: {}", owner_text(owner.as_ref()))]
    NotOwner {
        /// The slot.
        slot: Slot,
        /// Who owns it, if anybody.
        owner: Option<NodeId>,
    },
    /// The slot is being migrated already.
    #[error("slot {slot} is already migrating to {to}")]
    AlreadyMigrating {
        /// The slot.
        slot: Slot,
        /// Its target.
        to: NodeId,
    },
    /// The target would not take the slot. The source goes on serving it.
    #[error("{target} refused slot {slot}: {reason}")]
    Refused {
        /// The slot.
        slot: Slot,
        /// The target.
        target: NodeId,
        /// Its reason.
        reason: String,
    },
    /// At the hand-over the target's copy was not the source's. The source thawed and serves on;
    /// this is a defect of the program or of the memory: report it.
    #[error(
        "slot {slot}: digests differ at the hand-over (source {source_count} entries, sum \
         {source_sum:016x}; target {target_count}, {target_sum:016x}); the source serves on"
    )]
    DigestMismatch {
        /// The slot.
        slot: Slot,
        /// Entries at the source.
        source_count: u64,
        /// Digest of the source.
        source_sum: u64,
        /// Entries at the target.
        target_count: u64,
        /// Digest of the target.
        target_sum: u64,
    },
    /// Bytes of a migration could not be built into the target's copy: damaged on the way.
    #[error("slot {slot}, migration {id}: {place} is damaged: {cause}")]
    DamagedData {
        /// The slot.
        slot: Slot,
        /// The attempt.
        id: MigrationId,
        /// Which range and block, or which round.
        place: String,
        /// What is wrong.
        cause: String,
    },
    /// The migration was cancelled; the source serves on.
    #[error("the migration of slot {slot} was cancelled")]
    Cancelled {
        /// The slot.
        slot: Slot,
    },
    /// The migration ended without a hand-over; the source serves on. Trying again is safe.
    #[error("the migration of slot {slot} to {target} failed while {phase}: {cause}")]
    Failed {
        /// The slot.
        slot: Slot,
        /// The target.
        target: NodeId,
        /// The phase it was in.
        phase: &'static str,
        /// What happened.
        cause: String,
    },
    /// A store refused an operation.
    #[error("slot {slot}: the store refused {action}: {source}")]
    Store {
        /// The slot.
        slot: Slot,
        /// What was being done.
        action: &'static str,
        /// The store's answer.
        source: whimbrel_mvcc::Error,
    },
    /// The slot map knows no bus address of this node: it never started, or the name is wrong.
    #[error("the slot map knows no node {node}: start it first, or check the name")]
    UnknownNode {
        /// The node.
        node: NodeId,
    },
    /// What arrived cannot be made durable, so this node must not own it. Its disk is full, or its journal
    /// has failed; the source serves on.
    #[error("slot {slot} cannot be made durable here: {cause}")]
    NotKept {
        /// The slot.
        slot: Slot,
        /// What the journal said.
        cause: crate::KeepError,
    },
    /// The server is shutting down.
    #[error("the node is shutting down")]
    ShuttingDown,
}

fn owner_text(owner: Option<&NodeId>) -> String {
    owner.map_or_else(|| "nobody owns it".to_owned(), |o| format!("{o} owns it"))
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// It does not begin as a frame does: not a node of this program, or bytes were lost.
    #[error("it begins with {found:02x?}, not with a frame's mark")]
    Magic {
        /// Its first bytes.
        found: [u8; 2],
    },
    /// Another version of the protocol.
    #[error("protocol version {found}, this node speaks {supported}")]
    Version {
        /// The version it names.
        found: u8,
        /// The version spoken here.
        supported: u8,
    },
    /// A kind this version does not know.
    #[error("unknown kind {found}")]
    Kind {
        /// The kind it names.
        found: u8,
    },
    /// No such slot.
    #[error("slot {found} does not exist")]
    SlotNumber {
        /// The number it names.
        found: u16,
    },
    /// Longer than a frame may be.
    #[error("{len} bytes of content, at most {max} are allowed")]
    TooLong {
        /// The length it names.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// Its checksum does not fit.
    #[error("checksum {got:08x}, expected {expected:08x}")]
    Checksum {
        /// What the frame names.
        expected: u32,
        /// What its bytes have.
        got: u32,
    },
    /// Its content does not parse.
    #[error("its content is not a message of its kind")]
    Content,
    /// Parts of one block or delta exceed what one may have.
    #[error("{len} bytes in parts, at most {max} are allowed")]
    PartsTooLong {
        /// The length so far.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl Error {
    /// Whether bytes of a file or from another node were damaged.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::CorruptFile { .. }
                | Self::BadFrame { cause: FrameError::Checksum { .. }, .. }
                | Self::DigestMismatch { .. }
                | Self::DamagedData { .. }
        )
    }

    /// Whether the same call may succeed later without anything being repaired first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Connection { .. }
                | Self::Silent { .. }
                | Self::Failed { .. }
                | Self::Refused { .. }
                | Self::DiskFull { .. }
                | Self::AlreadyMigrating { .. }
                | Self::DamagedData { .. }
        )
    }

    pub(crate) fn file(file: &std::path::Path, action: &'static str, source: io::Error) -> Self {
        let file = file.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { file },
            _ => Self::File { file, action, source },
        }
    }
}
