//! The whimbrel server and command line.
//!
//! One binary, `whimbrel`, with one subcommand per task: [`command`] holds them, one file each.
//! `whimbrel serve` speaks RESP2 and RESP3 with Redis Cluster redirections; [`resp`] holds the
//! protocol and one file per group of commands, [`server`] the listener and the connections.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done, and every check passed |
//! | 1 | the work failed, or a check found something wrong |
//! | 2 | the command line was wrong: flag, value or combination |
//! | 3 | an input cannot be used: missing file, bad CSV line, unreadable or corrupt backup |
//! | 4 | the machine refused: disk full, permission, port in use, too little memory |
//! | 5 | a node could not be reached, or answered with an error |
//! | 130 | interrupted by the user; nothing half-done is left that could be mistaken for done |

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod command;
pub mod csv_input;
pub mod error;
pub mod index_spec;
pub mod interrupt;
pub mod lookup;
pub mod progress;
pub mod query_spec;
pub mod resp;
pub mod restore;
pub mod server;
pub mod tour;

pub use cli::run;
pub use error::{Error, exit_code};
