//! Goal: the binary does what it says, seen from outside.
//!
//! Method: each test starts it as a process of its own and talks to it as a user would: with
//! Debian's redis-cli, with plain sockets, with its own subcommands. One scenario per module.

mod chain;
mod common;
mod files;
mod ingest;
mod journal;
mod journey;
mod kill;
mod kill_backup;
mod kill_chain;
mod lifetime;
mod limits;
mod messages;
mod moments;
mod moves;
mod node_ingest;
mod redis_cli;
mod take_back;
