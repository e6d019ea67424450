//! `whimbrel backup`: of an engine kept in a directory, or of a node that serves.

use std::path::{Path, PathBuf};

use clap::Args;
use whimbrel_backup::repository::{BackupReport, Kind};
use whimbrel_backup::{Location, Work};

use crate::Error;
use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;

/// Arguments of `whimbrel backup`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("place").required(true))]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub struct BackupArgs {
    /// An engine kept by `whimbrel import`
    #[arg(long, value_name = "DIR", group = "place")]
    pub dir: Option<PathBuf>,
    /// A node; it writes the backup on its own machine, beside its clients' writes
    #[arg(long, value_name = "HOST:PORT", group = "place")]
    pub node: Option<String>,
    /// Where a single backup goes: a new or empty directory, or s3://BUCKET/PREFIX with nothing there
    #[arg(long, value_name = "PLACE", group = "target")]
    pub to: Option<PathBuf>,
    /// The repository of backups that it goes into, a directory or s3://BUCKET/PREFIX: a full backup, which begins
    /// a chain
    #[arg(long, value_name = "PLACE", group = "target")]
    pub into: Option<PathBuf>,
    /// Only what changed since the newest backup of the repository; everything where there is none
    #[arg(long, requires = "into", conflicts_with = "to")]
    pub incremental: bool,
    /// Give the node's snapshot up at the beginning: what is overwritten and removed meanwhile can be collected, and
    /// the backup has what it lost to that in files of its own
    #[arg(long, requires = "node", conflicts_with = "into")]
    pub non_intrusive: bool,
    /// Most MiB of files that are written in a second
    #[arg(long, value_name = "MIB")]
    pub rate: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Where the backup goes.
enum Target<'a> {
    Single(&'a Path),
    Repository(&'a Path, Kind),
}

impl Target<'_> {
    /// What was given.
    fn given(&self) -> &Path {
        match self {
            Self::Single(place) | Self::Repository(place, _) => place,
        }
    }
}

/// Backs up and says how much and how fast.
///
/// # Errors
///
/// [`Error::Engine`] and [`Error::Backup`] for a directory, [`Error::Connect`] and [`Error::Node`]
/// for a node.
pub fn run(args: BackupArgs) -> Result<(), Error> {
    let kind = if args.incremental { Kind::Incremental } else { Kind::Full };
    let target = match (&args.to, &args.into) {
        (Some(to), _) => Target::Single(to),
        (None, Some(root)) => Target::Repository(root, kind),
        (None, None) => unreachable!("one of the group is required"),
    };
    let report = match (&args.dir, &args.node) {
        (Some(dir), _) => of_engine(dir, &target, args.rate)?,
        (None, Some(node)) => of_node(node, &target, &args)?,
        (None, None) => unreachable!("one of the group is required"),
    };
    if args.json {
        println!("{report}");
    } else {
        print(&target, &report);
    }
    Ok(())
}

fn print(target: &Target<'_>, report: &serde_json::Value) {
    let number = |name: &str| report[name].as_f64().unwrap_or_default();
    let (stored, raw, seconds) = (number("stored_bytes"), number("raw_bytes"), number("seconds"));
    match target {
        Target::Single(to) => println!(
            "{}: {} entries, {stored} bytes stored for {raw} ({:.2} to 1) in {seconds:.2} s",
            to.display(),
            number("entries"),
            number("ratio"),
        ),
        Target::Repository(..) => println!(
            "{}: {}, {} entries, of which {} written and {} removes, {stored} bytes stored for {raw} \
             in {seconds:.2} s",
            report["dir"].as_str().unwrap_or_default(),
            match number("position") {
                0.0 => "a full backup".to_owned(),
                position => format!("backup {position} after a full one"),
            },
            number("entries"),
            number("puts"),
            number("removes"),
        ),
    }
}

fn of_engine(
    dir: &Path,
    target: &Target<'_>,
    rate: Option<u64>,
) -> Result<serde_json::Value, Error> {
    let interrupt = Interrupt::install()?;
    // A name that cannot be used is refused before the engine is loaded; the directory is made after.
    let location = Location::of(target.given())?;
    location.storage()?;
    let spinner = crate::progress::counter("load");
    let engine = whimbrel::Engine::open(dir)?.engine;
    spinner.finish_and_clear();
    let bar = BackupBar::new("backup");
    let work = with_rate(bar.work(&interrupt), rate);
    let options = whimbrel_backup::ExportOptions::default().with_work(work);
    let report = match target {
        Target::Single(_) => {
            let storage = location.create()?;
            let made = engine.snapshot_named("backup").backup_to(&*storage, &options);
            made.map(|report| export_report(&report))
        }
        Target::Repository(_, kind) => {
            let (shelf, snapshot) = (location.create_shelf()?, engine.snapshot_named("backup"));
            let made = snapshot.back_up_on(&shelf, *kind, &options, None);
            made.map(|report| repository_report(&report))
        }
    };
    bar.finish();
    Ok(report?)
}

/// The work, with a limit of MiB a second.
pub(crate) fn with_rate(work: Work, mib_per_second: Option<u64>) -> Work {
    match mib_per_second {
        Some(mib) => work.with_bytes_per_second(mib.saturating_mul(1 << 20)),
        None => work,
    }
}

fn of_node(node: &str, target: &Target<'_>, args: &BackupArgs) -> Result<serde_json::Value, Error> {
    let mut client = Client::connect(node)?;
    let words: &[&[u8]] = match target {
        Target::Single(_) if args.non_intrusive => &[b"NONINTRUSIVE"],
        Target::Single(_) => &[],
        Target::Repository(_, Kind::Incremental) => &[b"INCREMENTAL"],
        Target::Repository(..) => &[b"FULL"],
    };
    let to =
        match Location::of(target.given())? {
            // The node resolves relative names against its own working directory: say where we mean.
            Location::Directory(dir) => std::path::absolute(&dir)
                .map_err(|source| Error::File { action: "resolve", path: dir, source })?,
            _ => target.given().to_owned(),
        };
    let rate = args.rate.map(|rate| rate.to_string());
    let mut call: Vec<&[u8]> = vec![b"WBACKUP", to.as_os_str().as_encoded_bytes()];
    call.extend(words);
    if let Some(rate) = &rate {
        call.extend([&b"RATE"[..], rate.as_bytes()]);
    }
    let spinner = crate::progress::counter("backup");
    let report = client.call_json(&call);
    spinner.finish_and_clear();
    report
}

/// The figures of a backup into a repository, as `whimbrel backup` and `WBACKUP` give them.
pub(crate) fn repository_report(report: &BackupReport) -> serde_json::Value {
    serde_json::json!(report)
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
