//! The command line: which subcommands there are, logging, exit codes.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::command;

const EXIT_CODES: &str = "\
Exit codes:
  0    done, and every check passed
  1    the work failed, or a check found something wrong
  2    the command line was wrong
  3    an input cannot be used (missing file, bad CSV line, corrupt backup)
  4    the machine refused (disk full, permission, port in use)
  5    a node could not be reached, or answered with an error
  130  interrupted

Set WHIMBREL_LOG=debug (or info, trace, whimbrel_migrate=trace, ..) for a log on standard error.";

/// An ordered in-memory index that moves between machines while it is being used.
#[derive(Debug, Parser)]
#[command(name = "whimbrel", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See everything at work: indexes, snapshots, backup, restore, a slot moved under load
    Tour(crate::tour::TourArgs),
    /// Serve slots to Redis Cluster clients
    Serve(command::serve::ServeArgs),
    /// Build an engine with indexes from a CSV file
    Import(command::import::ImportArgs),
    /// Ask an index, of an engine or of nodes
    Query(command::query::QueryArgs),
    /// Back up an engine or a node
    Backup(command::backup::BackupArgs),
    /// Rebuild an engine from a backup
    Restore(command::restore::RestoreArgs),
    /// Make a sorted file of lines in any order, to be ingested
    Sort(command::sort::SortArgs),
    /// Bring sorted files into a store of a backup, which makes a new backup
    Ingest(command::ingest::IngestArgs),
    /// Read every byte of a backup and check it
    Verify(command::verify::VerifyArgs),
    /// Say what a backup consists of
    Inspect(command::inspect::InspectArgs),
    /// Remove old chains of a repository of backups
    Prune(command::prune::PruneArgs),
    /// Move a slot to another node while it is being used
    Migrate(command::migrate::MigrateArgs),
    /// Say what a node is doing
    Status(command::status::StatusArgs),
}

/// Parses the command line, runs the subcommand and gives the exit code.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("WHIMBREL_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let outcome = match cli.command {
        Command::Tour(args) => return crate::tour::run(args),
        Command::Serve(args) => command::serve::run(args),
        Command::Import(args) => command::import::run(args),
        Command::Query(args) => command::query::run(args),
        Command::Backup(args) => command::backup::run(args),
        Command::Restore(args) => command::restore::run(args),
        Command::Sort(args) => command::sort::run(args),
        Command::Ingest(args) => command::ingest::run(args),
        Command::Migrate(args) => command::migrate::run(args),
        Command::Verify(args) => command::verify::run(args),
        Command::Inspect(args) => command::inspect::run(args),
        Command::Prune(args) => command::prune::run(args),
        Command::Status(args) => command::status::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("whimbrel: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
