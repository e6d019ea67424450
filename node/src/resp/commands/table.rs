//! Every command that the node knows: how it is called and where its keys are.
//!
//! `COMMAND` shows this table to clients, so a cluster client finds the keys of each command, and
//! the dispatcher checks the number of arguments against it.

/// Where a command's keys are among its arguments, the name being argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// It has none.
    None,
    /// One key, the first argument.
    One,
    /// All arguments are keys.
    All,
    /// Keys and values by turns.
    Pairs,
}

impl Keys {
    /// First key, last key (negative: from the end), step; as `COMMAND` reports them.
    pub(crate) fn range(self) -> (i64, i64, i64) {
        match self {
            Self::None => (0, 0, 0),
            Self::One => (1, 1, 1),
            Self::All => (1, -1, 1),
            Self::Pairs => (1, -1, 2),
        }
    }
}

/// What a command does to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing: it speaks of the connection or the node.
    None,
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Changes the node or the cluster.
    Admin,
}

/// One command.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Lower-case name.
    pub(crate) name: &'static str,
    /// Which code runs it.
    pub(crate) run: Run,
    /// Number of arguments with the name; negative: at least so many.
    pub(crate) arity: i64,
    /// Where its keys are.
    pub(crate) keys: Keys,
    /// What it does to them.
    pub(crate) access: Access,
    /// Group as in Redis' documentation.
    pub(crate) group: &'static str,
    /// One line for people.
    pub(crate) summary: &'static str,
}

/// Names the code of a command; `super::dispatch` has one arm for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Client,
    Cluster,
    Command,
    Dbsize,
    Del,
    Echo,
    Exists,
    Get,
    Hello,
    Info,
    Mget,
    Mset,
    Ping,
    Quit,
    Readonly,
    Scan,
    Select,
    Set,
    Wbackup,
    Wcheckpoint,
    Wingest,
    Wmigrate,
    Wquery,
    Wrange,
    Wstatus,
}

const fn spec(
    name: &'static str,
    run: Run,
    arity: i64,
    keys: Keys,
    access: Access,
    group: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { name, run, arity, keys, access, group, summary }
}

/// The table, ordered by name.
#[rustfmt::skip]
pub(crate) static TABLE: &[Spec] = &[
    spec("client", Run::Client, -2, Keys::None, Access::None, "connection", "Names and lists connections."),
    spec("cluster", Run::Cluster, -2, Keys::None, Access::None, "cluster", "Tells which node owns which slot."),
    spec("command", Run::Command, -1, Keys::None, Access::None, "server", "Describes the commands of this node."),
    spec("dbsize", Run::Dbsize, 1, Keys::None, Access::Read, "server", "Counts the keys that this node serves."),
    spec("del", Run::Del, -2, Keys::All, Access::Write, "generic", "Removes keys of one slot."),
    spec("echo", Run::Echo, 2, Keys::None, Access::None, "connection", "Returns its argument."),
    spec("exists", Run::Exists, -2, Keys::All, Access::Read, "generic", "Counts which keys of one slot exist."),
    spec("get", Run::Get, 2, Keys::One, Access::Read, "string", "Returns a key's value."),
    spec("hello", Run::Hello, -1, Keys::None, Access::None, "connection", "Chooses the protocol."),
    spec("info", Run::Info, -1, Keys::None, Access::None, "server", "Describes the node for people and monitors."),
    spec("mget", Run::Mget, -2, Keys::All, Access::Read, "string", "Returns the values of keys of one slot."),
    spec("mset", Run::Mset, -3, Keys::Pairs, Access::Write, "string", "Sets keys of one slot, all or none."),
    spec("ping", Run::Ping, -1, Keys::None, Access::None, "connection", "Returns PONG or its argument."),
    spec("quit", Run::Quit, -1, Keys::None, Access::None, "connection", "Ends the connection."),
    spec("readonly", Run::Readonly, 1, Keys::None, Access::None, "cluster", "Accepted; there are no replicas to read from."),
    spec("readwrite", Run::Readonly, 1, Keys::None, Access::None, "cluster", "Accepted; there are no replicas to read from."),
    spec("scan", Run::Scan, -2, Keys::None, Access::Read, "generic", "Walks the keys that this node serves."),
    spec("select", Run::Select, 2, Keys::None, Access::None, "connection", "Accepts database 0, the only one."),
    spec("set", Run::Set, -3, Keys::One, Access::Write, "string", "Sets a key."),
    spec("wbackup", Run::Wbackup, -2, Keys::None, Access::Admin, "whimbrel", "Backs up every slot of this node."),
    spec("wcheckpoint", Run::Wcheckpoint, 1, Keys::None, Access::Admin, "whimbrel", "Makes a checkpoint and cuts the journal."),
    spec("wingest", Run::Wingest, -3, Keys::None, Access::Admin, "whimbrel", "Ingests sorted files into the slots of this node."),
    spec("wmigrate", Run::Wmigrate, -2, Keys::None, Access::Admin, "whimbrel", "Moves a slot to another node."),
    spec("wquery", Run::Wquery, -3, Keys::None, Access::Read, "whimbrel", "Searches an index of a collection."),
    spec("wrange", Run::Wrange, -3, Keys::One, Access::Read, "whimbrel", "Returns the keys between two keys of one slot, in order."),
    spec("wstatus", Run::Wstatus, 1, Keys::None, Access::None, "whimbrel", "Describes the node as one JSON object."),
];

/// Finds a command by its name, in any case.
pub(crate) fn find(name: &[u8]) -> Option<&'static Spec> {
    // 26 names: comparing a length and a few bytes each is as fast as hashing the name.
    TABLE.iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

impl Spec {
    /// Whether the command can be called with so many arguments, its name counted.
    pub(crate) fn takes(&self, count: usize) -> bool {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if self.arity >= 0 { count == self.arity } else { count >= -self.arity }
    }
}
