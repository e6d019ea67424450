//! `whimbrel verify`: reads every byte of a backup and checks it.

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;
use crate::restore::open_backup;

/// Arguments of `whimbrel verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The backup, a directory or s3://BUCKET/PREFIX, or a directory of `whimbrel import` (its newest
    /// checkpoint is taken)
    #[arg(value_name = "PLACE")]
    pub dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Verifies and says what was read.
///
/// # Errors
///
/// [`Error::Backup`] naming file and block of the first damage found.
pub fn run(args: VerifyArgs) -> Result<(), Error> {
    let interrupt = Interrupt::install()?;
    let backup = open_backup(&args.dir)?;
    let bar = BackupBar::new("verify");
    let report = whimbrel_backup::verify_backup(&backup, &bar.work(&interrupt));
    bar.finish();
    let report = report?;
    if args.json {
        println!("{}", serde_json::json!({ "ok": true, "report": report }));
    } else {
        println!(
            "{}: sound; {} entries of {} stores in {} blocks of {} files, {} bytes read in {:.2} s",
            args.dir.display(),
            report.entries,
            report.stores,
            report.blocks,
            report.files,
            report.stored_bytes,
            report.seconds,
        );
    }
    Ok(())
}
