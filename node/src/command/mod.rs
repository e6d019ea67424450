//! The subcommands, one file each.
//!
//! A subcommand is a struct of arguments and `run(args) -> Result<(), Error>`. What it prints on
//! standard output is its result (with `--json` one JSON object); progress and logs go to standard
//! error.

pub mod backup;
pub mod import;
pub mod ingest;
pub mod inspect;
pub mod migrate;
pub mod prune;
pub mod query;
pub mod restore;
pub mod serve;
pub mod sort;
pub mod status;
pub mod verify;
