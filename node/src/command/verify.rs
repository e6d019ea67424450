//! `whimbrel verify`: reads every byte of a backup and checks it.

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;
use crate::restore::open_chain;

/// Arguments of `whimbrel verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The backup, a directory or s3://BUCKET/PREFIX, a repository of backups (the newest is taken), or a
    /// directory of `whimbrel import` (its newest checkpoint is taken)
    #[arg(value_name = "PLACE")]
    pub dir: PathBuf,
    /// The backup of the repository: its number, or the beginning of its identity
    #[arg(long, value_name = "BACKUP")]
    pub at: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Verifies and says what was read. For an incremental backup that is its whole chain.
///
/// # Errors
///
/// [`Error::Backup`] naming file and block of the first damage found.
pub fn run(args: VerifyArgs) -> Result<(), Error> {
    let interrupt = Interrupt::install()?;
    let chain = open_chain(&args.dir, args.at.as_deref())?;
    let bar = BackupBar::new("verify");
    let report = whimbrel_backup::verify_chain(&chain, &bar.work(&interrupt));
    bar.finish();
    let report = report?;
    if args.json {
        println!("{}", serde_json::json!({ "ok": true, "report": report }));
    } else {
        println!(
            "{}: sound; {} entries of {} stores in {} blocks of {} files{}, {} bytes read in {:.2} s",
            chain.newest().dir().display(),
            report.entries,
            report.stores,
            report.blocks,
            report.files,
            if report.backups > 1 {
                format!(" of {} backups", report.backups)
            } else {
                String::new()
            },
            report.stored_bytes,
            report.seconds,
        );
    }
    Ok(())
}
