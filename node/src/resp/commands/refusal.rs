//! Why a command was not executed, in the words that Redis clients know.

use whimbrel_migrate::Slot;

/// An error reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// No such command.
    #[error("ERR unknown command '{0}'")]
    UnknownCommand(String),
    /// No such subcommand.
    #[error("ERR unknown subcommand or wrong number of arguments for '{subcommand}'. Try {help}.")]
    UnknownSubcommand { subcommand: String, help: &'static str },
    /// Too few or too many arguments.
    #[error("ERR wrong number of arguments for '{0}' command")]
    WrongArity(&'static str),
    /// An option is unknown or options contradict each other.
    #[error("ERR syntax error{0}")]
    Syntax(&'static str),
    /// A number is none, or out of range.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// Something that this server does not do, said clearly.
    #[error("ERR {0}")]
    Unsupported(&'static str),
    /// A protocol that nobody speaks.
    #[error("NOPROTO unsupported protocol version; this node speaks 2 and 3")]
    Hello,
    /// The keys of one request are in several slots.
    #[error("CROSSSLOT Keys in request don't hash to the same slot")]
    CrossSlot,
    /// Another node owns the slot.
    #[error("MOVED {slot} {address}")]
    Moved { slot: Slot, address: String },
    /// Its owner does not answer, and nobody else may serve the slot.
    #[error("CLUSTERDOWN Hash slot {slot} not served: {why}")]
    NotServed { slot: Slot, why: String },
    /// Nobody owns the slot.
    #[error("CLUSTERDOWN Hash slot {slot} not served: it has no owner")]
    NoOwner { slot: Slot },
    /// The slot is being handed over and stayed so for too long.
    #[error("TRYAGAIN Hash slot {slot} is being handed over")]
    TryAgain { slot: Slot },
    /// The journal has failed: what was written or seen may not be durable.
    #[error("MISCONF {0}")]
    Journal(#[from] whimbrel_journal::Refused),
    /// The work failed.
    #[error("ERR {0}")]
    Failed(String),
}

impl Refusal {
    /// A command that is not known.
    pub(crate) fn unknown_command(name: &[u8]) -> Self {
        const SHOWN_MAX: usize = 64;
        Self::UnknownCommand(name[..name.len().min(SHOWN_MAX)].escape_ascii().to_string())
    }

    /// A subcommand that is not known, and those that are.
    pub(crate) fn unknown_subcommand(subcommand: &[u8], help: &'static str) -> Self {
        let subcommand = subcommand.escape_ascii().to_string();
        Self::UnknownSubcommand { subcommand, help }
    }

    /// A failure of a lower layer.
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}
