//! `whimbrel backup`: of an engine kept in a directory, or of a node that serves.

use std::path::{Path, PathBuf};

use clap::Args;
use whimbrel_backup::Location;

use crate::Error;
use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;

/// Arguments of `whimbrel backup`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("place").required(true))]
pub struct BackupArgs {
    /// An engine kept by `whimbrel import`
    #[arg(long, value_name = "DIR", group = "place")]
    pub dir: Option<PathBuf>,
    /// A node; it writes the backup on its own machine, beside its clients' writes
    #[arg(long, value_name = "HOST:PORT", group = "place")]
    pub node: Option<String>,
    /// Where the backup goes: a new or empty directory, or s3://BUCKET/PREFIX with nothing there
    #[arg(long, value_name = "PLACE")]
    pub to: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Backs up and says how much and how fast.
///
/// # Errors
///
/// [`Error::Engine`] and [`Error::Backup`] for a directory, [`Error::Connect`] and [`Error::Node`]
/// for a node.
pub fn run(args: BackupArgs) -> Result<(), Error> {
    let report = match (&args.dir, &args.node) {
        (Some(dir), _) => of_engine(dir, &args.to)?,
        (None, Some(node)) => of_node(node, &args.to)?,
        (None, None) => unreachable!("one of the group is required"),
    };
    if args.json {
        println!("{report}");
        return Ok(());
    }
    let number = |name: &str| report[name].as_f64().unwrap_or_default();
    println!(
        "{}: {} entries, {} bytes stored for {} ({:.2} to 1) in {:.2} s",
        args.to.display(),
        number("entries"),
        number("stored_bytes"),
        number("raw_bytes"),
        number("ratio"),
        number("seconds"),
    );
    Ok(())
}

fn of_engine(dir: &Path, to: &Path) -> Result<serde_json::Value, Error> {
    let interrupt = Interrupt::install()?;
    // A name that cannot be used is refused before the engine is loaded; the directory is made after.
    let location = Location::of(to)?;
    location.storage()?;
    let spinner = crate::progress::counter("load");
    let engine = whimbrel::Engine::open(dir)?.engine;
    spinner.finish_and_clear();
    let storage = location.create()?;
    let bar = BackupBar::new("backup");
    let options = whimbrel_backup::ExportOptions::default().with_work(bar.work(&interrupt));
    let report = engine.snapshot().backup_to(&*storage, &options);
    bar.finish();
    Ok(export_report(&report?))
}

fn of_node(node: &str, to: &Path) -> Result<serde_json::Value, Error> {
    let mut client = Client::connect(node)?;
    let to =
        match Location::of(to)? {
            // The node resolves relative names against its own working directory: say where we mean.
            Location::Directory(dir) => std::path::absolute(&dir)
                .map_err(|source| Error::File { action: "resolve", path: dir, source })?,
            _ => to.to_owned(),
        };
    let spinner = crate::progress::counter("backup");
    let report = client.call_json(&[b"WBACKUP", to.as_os_str().as_encoded_bytes()]);
    spinner.finish_and_clear();
    report
}

/// The figures of an export, as `whimbrel backup` and `WBACKUP` give them.
pub(crate) fn export_report(report: &whimbrel_backup::ExportReport) -> serde_json::Value {
    serde_json::json!({
        "entries": report.entries,
        "raw_bytes": report.raw_bytes,
        "stored_bytes": report.stored_bytes,
        "ratio": report.ratio(),
        "seconds": report.seconds,
        "entries_per_s": report.entries_per_second(),
    })
}
