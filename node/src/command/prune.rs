//! `whimbrel prune`: removes old chains of a repository of backups.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use whimbrel_backup::Location;
use whimbrel_backup::repository::{prune, prune_on};

use crate::Error;

/// Arguments of `whimbrel prune`.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// The repository of backups, a directory or s3://BUCKET/PREFIX
    #[arg(value_name = "PLACE")]
    pub dir: PathBuf,
    /// How many chains are kept, the newest ones: full backups with all that continue them
    #[arg(long, value_name = "N")]
    pub keep: NonZeroUsize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prunes and says what went and what stayed. What is incomplete, damaged or foreign is left alone.
///
/// Interrupted at any point it leaves whole chains; the next prune removes the rest.
///
/// # Errors
///
/// [`Error::Backup`] while a backup or another prune works on the repository, or when a file cannot be
/// removed.
pub fn run(args: PruneArgs) -> Result<(), Error> {
    let report = match Location::of(&args.dir)? {
        // A directory that is not there is an error.
        Location::Directory(dir) => prune(&dir, args.keep)?,
        elsewhere => prune_on(&elsewhere.shelf()?, args.keep)?,
    };
    if args.json {
        println!("{}", serde_json::json!(report));
        return Ok(());
    }
    println!(
        "{}: removed {} backups of {} bytes, kept {} of {} chains",
        args.dir.display(),
        report.removed.len(),
        report.removed_bytes,
        report.kept.iter().map(|chain| chain.backups.len()).sum::<usize>(),
        report.kept.len(),
    );
    for left in &report.left {
        println!("left alone: {}: {}", left.name, left.why);
    }
    Ok(())
}
