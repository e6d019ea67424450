//! What can go wrong in a command, said so that a person can act on it.

use std::io;
use std::path::PathBuf;

/// Exit codes of the binary; the crate's page explains them.
pub mod exit_code {
    /// The work failed, or a check found something wrong.
    pub const FAILED: u8 = 1;
    /// The command line was wrong.
    pub const USAGE: u8 = 2;
    /// An input cannot be used.
    pub const INPUT: u8 = 3;
    /// The machine refused.
    pub const MACHINE: u8 = 4;
    /// A node could not be reached, or answered with an error.
    pub const NODE: u8 = 5;
    /// Interrupted by the user.
    pub const INTERRUPTED: u8 = 130;
}

/// An error of a command; its text names the place, the cause and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Flags that do not go together, or a value out of range.
    #[error("{message}\n  try: whimbrel {command} --help")]
    Usage {
        /// The subcommand.
        command: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {}", path.display(), io_remedy(source))]
    File {
        /// What was to be done: "read", "create", ..
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a CSV file cannot be used.
    #[error("{}, line {line}: {what}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An address cannot be served.
    #[error("cannot listen on {address}: {}", listen_remedy(source))]
    Listen {
        /// The address as given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node cannot be talked to.
    #[error(
        "cannot reach the node at {address}: {source}\n  is it running? start one with: whimbrel serve --listen {address}"
    )]
    Connect {
        /// The node's address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// A node answered with an error.
    #[error("the node at {address} refused {request}: {reply}")]
    Node {
        /// The node's address.
        address: String,
        /// The command that was sent.
        request: String,
        /// The error that came back.
        reply: String,
    },
    /// A backup cannot be read or written.
    #[error("{source}{}", backup_remedy(source))]
    Backup {
        /// What the backup's reader or writer said.
        #[from]
        source: whimbrel_backup::Error,
    },
    /// An engine refuses, or what is kept of it cannot be used.
    #[error("{source}{}", engine_remedy(source))]
    Engine {
        /// What the engine said.
        #[from]
        source: whimbrel::Error,
    },
    /// A backup cannot be loaded.
    #[error("{source}{}", recovery_remedy(source))]
    Recovery {
        /// What the rebuild said.
        #[from]
        source: whimbrel_recovery::Error,
    },
    /// The journal cannot be opened, written or cut.
    #[error("{source}{}", journal_remedy(source))]
    Journal {
        /// What the journal said.
        #[from]
        source: whimbrel_journal::Error,
    },
    /// A node is started without a journal where it has kept one: what it writes would be missing there.
    #[error(
        "{} holds a journal: go on with it (--journal always, interval or never), or choose another \
         --data-dir",
        dir.display()
    )]
    JournalIgnored {
        /// The node's directory.
        dir: PathBuf,
    },
    /// A backup is to be loaded into a node whose journal or checkpoint has content already.
    #[error(
        "{} holds what a node has kept; leave --restore out to go on with it, or choose an empty \
         --data-dir",
        dir.display()
    )]
    NotEmpty {
        /// The node's directory.
        dir: PathBuf,
    },
    /// A checkpoint of a node does not say which part of the journal it covers.
    #[error(
        "{} is no checkpoint of a node with a journal; move it elsewhere, or load it with --restore \
         into an empty --data-dir",
        path.display()
    )]
    NoMark {
        /// The checkpoint.
        path: PathBuf,
    },
    /// The slot map, the grants, or the talk between nodes failed.
    #[error("{source}")]
    Migrate {
        /// What it said.
        #[from]
        source: whimbrel_migrate::Error,
    },
    /// A backup holds a store that belongs into no slot.
    #[error(
        "{}: the store \"{name}\" is neither a slot nor a partition of a collection; is this \
         the backup of something else?",
        dir.display()
    )]
    ForeignStore {
        /// The backup.
        dir: PathBuf,
        /// The store's name.
        name: String,
    },
    /// A slot's store refuses an entry of a backup.
    #[error("slot {slot}: {source}")]
    Store {
        /// The slot.
        slot: u16,
        /// What the store said.
        source: whimbrel_mvcc::Error,
    },
    /// An ingest has a key whose slot is not served here from its beginning to its end. Nothing of it is there.
    #[error(
        "{}: give the node's own keys only (`slot_of` says where a key belongs), and try again when no slot is \
         being moved; nothing was ingested",
        slot.map_or_else(
            || "this node serves no slot".to_owned(),
            |slot| format!("slot {slot} is not served here, or was not all the time"),
        )
    )]
    IngestSlot {
        /// The slot; none where no slot is served at all.
        slot: Option<whimbrel_migrate::Slot>,
    },
    /// The journal of a node takes nothing more.
    #[error("{source}")]
    JournalRefused {
        /// What it said.
        #[from]
        source: whimbrel_journal::Refused,
    },
    /// A slot that the node shall own is another node's.
    #[error(
        "slot {slot} belongs to {owner}: leave it out of --own, and move it with: whimbrel migrate \
         --node {owner} --slot {slot} --to THIS_NODE"
    )]
    SlotTaken {
        /// The slot.
        slot: u16,
        /// Its owner.
        owner: String,
    },
    /// A migration ended without a hand-over.
    #[error("slot {slot} was not moved to {to}: {reason}")]
    Migration {
        /// The slot.
        slot: u16,
        /// The node that was to own it.
        to: String,
        /// What its owner said.
        reason: String,
    },
    /// Stopped by the user.
    #[error("interrupted: {left}")]
    Interrupted {
        /// What is left behind.
        left: String,
    },
    /// The runtime of a long-running command did not start, or standard output is closed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// The exit code that tells a script what kind of error this is.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => exit_code::USAGE,
            Self::File { source, .. } => io_code(source),
            Self::Csv { .. } => exit_code::INPUT,
            Self::Backup { source } => backup_code(source),
            Self::Engine { source } => engine_code(source),
            Self::Recovery { source } => recovery_code(source),
            Self::Journal { source } => journal_code(source),
            Self::Migrate { source } => match source {
                whimbrel_migrate::Error::File { source, .. } => io_code(source),
                whimbrel_migrate::Error::DiskFull { .. } => exit_code::MACHINE,
                _ => exit_code::INPUT,
            },
            Self::ForeignStore { .. }
            | Self::Store { .. }
            | Self::SlotTaken { .. }
            | Self::IngestSlot { .. }
            | Self::NotEmpty { .. }
            | Self::JournalIgnored { .. }
            | Self::NoMark { .. } => exit_code::INPUT,
            Self::Listen { .. } | Self::System { .. } | Self::JournalRefused { .. } => {
                exit_code::MACHINE
            }
            Self::Connect { .. } | Self::Node { .. } => exit_code::NODE,
            Self::Migration { .. } => exit_code::FAILED,
            Self::Interrupted { .. } => exit_code::INTERRUPTED,
        }
    }
}

/// Whether the machine refused, or the input is at fault.
fn io_code(source: &io::Error) -> u8 {
    match source.kind() {
        io::ErrorKind::StorageFull
        | io::ErrorKind::QuotaExceeded
        | io::ErrorKind::FileTooLarge
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::OutOfMemory => exit_code::MACHINE,
        _ => exit_code::INPUT,
    }
}

fn backup_code(error: &whimbrel_backup::Error) -> u8 {
    match error {
        whimbrel_backup::Error::Io { source, .. } => io_code(source),
        whimbrel_backup::Error::Cancelled => exit_code::INTERRUPTED,
        whimbrel_backup::Error::BadLocation { .. }
        | whimbrel_backup::Error::NoObjectStores { .. } => exit_code::USAGE,
        whimbrel_backup::Error::InBackup { source, .. } => backup_code(source),
        whimbrel_backup::Error::RepositoryBusy { .. } => exit_code::MACHINE,
        _ => exit_code::INPUT,
    }
}

fn recovery_code(error: &whimbrel_recovery::Error) -> u8 {
    match error {
        whimbrel_recovery::Error::Backup(source) => backup_code(source),
        whimbrel_recovery::Error::MemoryLimit { .. } => exit_code::MACHINE,
        _ => exit_code::INPUT,
    }
}

fn journal_code(error: &whimbrel_journal::Error) -> u8 {
    match error {
        whimbrel_journal::Error::Io { source, .. } => io_code(source),
        whimbrel_journal::Error::InUse { .. } | whimbrel_journal::Error::Refused(_) => {
            exit_code::MACHINE
        }
        _ => exit_code::INPUT,
    }
}

fn journal_remedy(error: &whimbrel_journal::Error) -> String {
    match error {
        whimbrel_journal::Error::Io { source, .. } => {
            remedy(source).map(|remedy| format!("; {remedy}")).unwrap_or_default()
        }
        damaged if damaged.is_corruption() => {
            "\n  nothing was loaded or changed: put the file back from a copy, or load the newest \
             backup into an empty --data-dir with --restore"
                .to_owned()
        }
        _ => String::new(),
    }
}

fn engine_code(error: &whimbrel::Error) -> u8 {
    match error {
        whimbrel::Error::Backup { source, .. } => backup_code(source),
        whimbrel::Error::Restore { source, .. } => recovery_code(source),
        whimbrel::Error::Io { source, .. } => io_code(source),
        whimbrel::Error::BadQuery { .. }
        | whimbrel::Error::NoSuchIndex { .. }
        | whimbrel::Error::NoSuchCollection { .. }
        | whimbrel::Error::BadDefinition { .. } => exit_code::USAGE,
        _ => exit_code::INPUT,
    }
}

fn recovery_remedy(error: &whimbrel_recovery::Error) -> String {
    match error {
        whimbrel_recovery::Error::Backup(source) => backup_remedy(source),
        _ => String::new(),
    }
}

fn engine_remedy(error: &whimbrel::Error) -> String {
    match error {
        whimbrel::Error::Backup { source, .. } => backup_remedy(source),
        whimbrel::Error::Restore { source, .. } => recovery_remedy(source),
        whimbrel::Error::Io { source, .. } => {
            remedy(source).map(|remedy| format!("; {remedy}")).unwrap_or_default()
        }
        whimbrel::Error::NoCheckpoint { .. } => {
            "; make one with: whimbrel import --data FILE.csv --dir DIR".to_owned()
        }
        _ => String::new(),
    }
}

/// What a person can do about a backup's error, where its own text does not say.
fn backup_remedy(error: &whimbrel_backup::Error) -> String {
    match error {
        // What an object store says comes with its remedy.
        whimbrel_backup::Error::Io { path, .. } if path.starts_with("s3:") => String::new(),
        whimbrel_backup::Error::Io { source, .. } => {
            remedy(source).map(|remedy| format!("; {remedy}")).unwrap_or_default()
        }
        whimbrel_backup::Error::BrokenChain { .. } => {
            "\n  nothing was loaded: restore a backup before it in the chain (--at), or from another copy"
                .to_owned()
        }
        damaged if damaged.is_corruption() => {
            "\n  the backup is damaged and nothing was loaded: restore from another copy".to_owned()
        }
        _ => String::new(),
    }
}

/// The system's words and what a person can do about them.
fn io_remedy(source: &io::Error) -> String {
    match remedy(source) {
        Some(remedy) => format!("{source}; {remedy}"),
        None => source.to_string(),
    }
}

fn remedy(source: &io::Error) -> Option<&'static str> {
    Some(match source.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "check who owns it, or choose another place",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space or choose another disk; what was written so far is not usable"
        }
        io::ErrorKind::FileTooLarge => "the limit on file sizes is too small (ulimit -f)",
        io::ErrorKind::ReadOnlyFilesystem => "choose a place that can be written",
        _ => return None,
    })
}

fn listen_remedy(source: &io::Error) -> String {
    let remedy = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process serves this port: stop it, or choose another port (0 takes any free one)"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose a higher one",
        _ => return source.to_string(),
    };
    format!("{source}; {remedy}")
}
