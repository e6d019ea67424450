//! `whimbrel restore`: a backup of an engine becomes an engine kept in a directory.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use whimbrel::{Engine, ExportOptions, RestoreOptions, Restored};

use crate::Error;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;
use crate::restore::{is_node_backup, open_backup};

/// Arguments of `whimbrel restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The backup, a directory or s3://BUCKET/PREFIX, or a directory of `whimbrel import` (its newest
    /// checkpoint is taken)
    #[arg(long, value_name = "PLACE")]
    pub from: PathBuf,
    /// Where the engine is kept from now on
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Checks and rebuilds the backup in memory, then writes it as a checkpoint.
///
/// # Errors
///
/// [`Error::Engine`] naming file and block when the backup is damaged; nothing is written then.
/// [`Error::Usage`] for the backup of a node, which a node restores.
pub fn run(args: RestoreArgs) -> Result<(), Error> {
    let started = Instant::now();
    let backup = open_backup(&args.from)?;
    if is_node_backup(&backup) {
        return Err(Error::Usage {
            command: "serve",
            message: format!(
                "{} is the backup of a node; start a node from it: whimbrel serve --restore {}",
                args.from.display(),
                args.from.display(),
            ),
        });
    }
    let interrupt = Interrupt::install()?;
    let bar = BackupBar::new("restore");
    let options = RestoreOptions::default().with_work(bar.work(&interrupt));
    let restored = Engine::restore_from(&backup, &options);
    bar.finish();
    let Restored { engine, resume_token, .. } = restored?;
    let digest = engine.snapshot().digest();
    let rebuilt = started.elapsed();
    let bar = BackupBar::new("write");
    let options = ExportOptions::default().with_work(bar.work(&interrupt));
    let written = engine.checkpoint_with(&args.to, &resume_token, &options);
    bar.finish();
    written?;
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = digest.count as f64 / rebuilt.as_secs_f64();
    if args.json {
        let report = json!({
            "entries": digest.count,
            "collections": engine.collection_names(),
            "rebuild_s": rebuilt.as_secs_f64(),
            "entries_per_s": rate,
            "seconds": seconds,
            "dir": args.to,
        });
        println!("{report}");
    } else {
        println!(
            "{}: {} entries of {} rebuilt in {rebuilt:.2?} ({rate:.0}/s), kept after {seconds:.2} s",
            args.to.display(),
            digest.count,
            engine.collection_names().join(", "),
        );
    }
    Ok(())
}
