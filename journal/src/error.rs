//! What can go wrong with a journal, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::Identity;

/// The write or sync that stopped a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    action: &'static str,
    path: PathBuf,
    kind: io::ErrorKind,
    reason: String,
}

impl Failure {
    /// What was tried (a verb), on what, and what the system said.
    #[must_use]
    pub fn new(action: &'static str, path: PathBuf, source: &io::Error) -> Self {
        Self { action, path, kind: source.kind(), reason: source.to_string() }
    }

    /// The thread that wrote has panicked.
    pub(crate) fn panicked() -> Self {
        let reason = "the thread that wrote has panicked".to_owned();
        Self { action: "write", path: PathBuf::new(), kind: io::ErrorKind::Other, reason }
    }

    /// The kind of what the system said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.action, self.path.display(), self.reason)
    }
}

/// Why a journal did not take a record, or cannot vouch for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A write or a sync failed, now or earlier. Nothing is written any more, because the system may
    /// have dropped what it could not write. Remedy: see to the disk, start again; what was
    /// acknowledged is replayed. A record that was not acknowledged may be found again or not.
    #[error("the journal has failed and takes no more writes: {0}; see to the disk, then restart")]
    Failed(Arc<Failure>),
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The record is longer than a journal takes. Remedy: several records.
    #[error("a record of {len} bytes is longer than the limit of {limit} bytes")]
    RecordTooLong {
        /// Its length.
        len: usize,
        /// The limit.
        limit: usize,
    },
}

/// What is wrong with bytes of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The segment does not begin as segments do: another kind of file.
    Magic,
    /// The checksum of the segment's header does not fit.
    Header,
    /// A field that must be zero is not.
    Reserved,
    /// The segment ends inside its header.
    HeaderCut,
    /// The header states another number than the segment's name.
    Number {
        /// By its name.
        expected: u64,
        /// By its header.
        got: u64,
    },
    /// The segment does not go on where the one before ends: another was put in its place.
    Chain {
        /// Sequence that must come next.
        expected: u64,
        /// Sequence that the header or the group states.
        got: u64,
    },
    /// No group begins here, or the checksum of its header does not fit, and a later group says that
    /// what is missing was durable.
    Group,
    /// The checksum of a group's records does not fit, and a later group says that they were durable.
    Payload {
        /// The checksum that was stored.
        expected: u32,
        /// The checksum of the bytes found.
        got: u32,
    },
    /// The segment ends before the end that the next one states.
    Cut {
        /// The end that is stated.
        expected: u64,
    },
    /// A length or count exceeds what the format allows; no memory was taken for it.
    Limit {
        /// The largest value allowed.
        limit: u64,
        /// The value found.
        got: u64,
    },
    /// The checksum is right and the content is not: a writer's defect, or a forged file.
    Malformed(&'static str),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("not a segment of a journal"),
            Self::Header => f.write_str("the checksum of the header does not fit"),
            Self::Reserved => f.write_str("a field that must be zero is not"),
            Self::HeaderCut => f.write_str("the file ends inside its header"),
            Self::Number { expected, got } => {
                write!(f, "the header says segment {got}, the name says {expected}")
            }
            Self::Chain { expected, got } => {
                write!(f, "record {got} stands where record {expected} must follow")
            }
            Self::Group => f.write_str("no whole group begins here, and later ones do"),
            Self::Payload { expected, got } => {
                write!(f, "checksum mismatch (expected {expected:08x}, got {got:08x})")
            }
            Self::Cut { expected } => write!(f, "the file is cut: it ended at byte {expected}"),
            Self::Limit { limit, got } => write!(f, "a length is {got}, the limit is {limit}"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
        }
    }
}

/// Why a journal cannot be opened, or cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused. Nothing was changed that matters; try again.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the journal open. Stop it first: two writers would destroy it.
    #[error("the journal in {} is in use by another process", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// Bytes that were durable are not what was written. What follows them cannot be trusted to
    /// follow: restore the file from a copy, or the whole from a backup.
    #[error("{}, byte {offset}: {damage}", path.display())]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// Written by a later version of the format. Use a newer release.
    #[error(
        "{}: format version {found} is not supported (this release reads {supported})",
        path.display()
    )]
    UnsupportedVersion {
        /// The segment.
        path: PathBuf,
        /// The version found.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// The directory holds a file whose name is no segment's. Move it elsewhere.
    #[error("{} holds `{file}`, which does not belong to a journal", dir.display())]
    ForeignFile {
        /// The directory.
        dir: PathBuf,
        /// Name of the file.
        file: String,
    },
    /// Records that the checkpoint does not cover are not there: a segment is missing, or the
    /// checkpoint is an old one. Put back what was removed, or use the newest checkpoint.
    #[error("the journal in {} lacks records from {needed} on: {found}", dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
        /// Sequence of the first record that is needed.
        needed: u64,
        /// What is there instead.
        found: Found,
    },
    /// The segments belong to another journal than the checkpoint.
    #[error(
        "{} belongs to journal {found}, not to journal {expected} that the checkpoint names",
        path.display()
    )]
    OtherJournal {
        /// The segment.
        path: PathBuf,
        /// The identity that the checkpoint or the segment before names.
        expected: Identity,
        /// The identity found.
        found: Identity,
    },
    /// Whoever replays refused a record.
    #[error("{}: record {sequence} cannot be replayed: {source}", path.display())]
    Replay {
        /// The segment.
        path: PathBuf,
        /// Sequence of the record.
        sequence: u64,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The journal has failed, or was closed.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What is there in place of the records that are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The first record is a later one.
    Later(u64),
    /// The journal ends before.
    End(u64),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("it has no segment"),
            Self::Later(first) => write!(f, "its oldest record is {first}"),
            Self::End(next) => write!(f, "it ends before record {next}"),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let source = io::Error::new(failure.kind, failure.reason);
        Self::Io { action: failure.action, path: failure.path, source }
    }
}

impl Error {
    /// True when bytes or files are damaged, foreign or missing: another copy is needed.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. }
                | Self::ForeignFile { .. }
                | Self::Missing { .. }
                | Self::OtherJournal { .. }
        )
    }

    /// True when the same call may succeed later without any change.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::InUse { .. })
    }
}
