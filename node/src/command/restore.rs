//! `whimbrel restore`: a backup of an engine becomes an engine kept in a directory.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use whimbrel::{Engine, ExportOptions, RestoreOptions, Restored};
use whimbrel_backup::repository::Chain;

use crate::Error;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;
use crate::restore::{is_node_backup, open_chain};

/// Arguments of `whimbrel restore`.
#[derive(Args, Debug)]
pub struct RestoreArgs {
    /// The backup, a directory or s3://BUCKET/PREFIX, or a repository of backups (the newest is taken)
    #[arg(long, value_name = "PLACE")]
    pub from: PathBuf,
    /// The backup of the repository: its number, or the beginning of its identity
    #[arg(long, value_name = "BACKUP")]
    pub at: Option<String>,
    /// Most memory that the entries may take [default: what the machine has available]
    #[arg(long, value_name = "MIB")]
    pub max_memory: Option<u64>,
    /// Restore this collection and no others; may be given several times
    #[arg(long, value_name = "NAME")]
    pub collection: Vec<String>,
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
    let chain = open_chain(&args.from, args.at.as_deref())?;
    if is_node_backup(&chain) {
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
    let mut options = restore_options(&args, &chain)?.with_work(bar.work(&interrupt));
    if let Some(mib) = args.max_memory {
        options = options.with_max_memory(mib.saturating_mul(1 << 20));
    }
    let restored = Engine::restore_from(&chain, &options);
    bar.finish();
    let Restored { engine, resume_token, .. } = restored?;
    let digest = engine.snapshot_named("restore").digest();
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

/// Options that name the stores of the chosen collections; all stores where none is chosen.
fn restore_options(args: &RestoreArgs, chain: &Chain) -> Result<RestoreOptions, Error> {
    let mut options = RestoreOptions::default();
    if args.collection.is_empty() {
        return Ok(options);
    }
    let backup = chain.newest();
    for name in &args.collection {
        let of = |store: &&str| store.rsplit_once('/').is_some_and(|(of, _)| of == name);
        let stores = backup.manifest().stores.iter().map(|store| store.name.as_str());
        let mut found = stores.filter(of).peekable();
        if found.peek().is_none() {
            let message = format!("{} has no collection `{name}`", backup.dir().display());
            return Err(Error::Usage { command: "restore", message });
        }
        options = found.fold(options, RestoreOptions::with_store);
    }
    Ok(options)
}
