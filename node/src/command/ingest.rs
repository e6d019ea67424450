//! `whimbrel ingest`: sorted files into a node that serves; or into a store of a backup, and the result is a backup
//! of its own.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::json;
use whimbrel_backup::{ExportOptions, Location, export_to};
use whimbrel_mvcc::{Clock, IngestMode, Store};
use whimbrel_recovery::{IngestOptions, RestoreOptions, ingest, restore_chain};

use crate::Error;
use crate::client::Client;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;
use crate::restore::open_chain;

/// Arguments of `whimbrel ingest`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("into").required(true))]
pub struct IngestArgs {
    /// A node; it reads the files on its own machine, and all entries appear at one moment beside its clients
    #[arg(long, value_name = "HOST:PORT", group = "into", conflicts_with_all = ["to", "store", "record"])]
    pub node: Option<String>,
    /// The backup to begin with, a directory or s3://BUCKET/PREFIX, a repository of backups (the newest is
    /// taken), or a directory of `whimbrel import` (its newest checkpoint is taken)
    #[arg(long, value_name = "PLACE", group = "into", requires = "to")]
    pub from: Option<PathBuf>,
    /// Where the result goes, a backup: a new or empty directory, or s3://BUCKET/PREFIX with nothing there
    #[arg(long, value_name = "PLACE")]
    pub to: Option<PathBuf>,
    /// The store that the entries go into [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Lose to whatever is there [default: win over it]
    #[arg(long)]
    pub behind: bool,
    /// Keep a record of the job under this key and its identity; where it is there already, change nothing
    #[arg(long, value_name = "KEY")]
    pub record: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Sorted files (`whimbrel sort` makes them); of those with a key in common the later one wins
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Has the node ingest them; or loads the backup, ingests, and writes everything as a new backup, which is there as a
/// whole or not at all. The old one stays as it is.
///
/// # Errors
///
/// [`Error::Connect`] and [`Error::Node`] for a node. [`Error::Recovery`] naming file and block when the backup or a sorted file is damaged, [`Error::Usage`]
/// when the backup has no such store, [`Error::Backup`] when the result cannot be written. There is no
/// new backup then.
pub fn run(args: IngestArgs) -> Result<(), Error> {
    match (&args.node, &args.from, &args.to) {
        (Some(node), _, _) => of_node(node, &args),
        (None, Some(from), Some(to)) => of_backup(from, to, &args),
        _ => unreachable!("one of the group is required, and `from` requires `to`"),
    }
}

fn of_node(node: &str, args: &IngestArgs) -> Result<(), Error> {
    let mut client = Client::connect(node)?;
    // The node resolves relative names against its own working directory: say where we mean.
    let absolute = |path: &PathBuf| {
        let resolved = std::path::absolute(path);
        resolved.map_err(|source| Error::File { action: "resolve", path: path.clone(), source })
    };
    let files = args.files.iter().map(absolute).collect::<Result<Vec<_>, _>>()?;
    let mode: &[u8] = if args.behind { b"BEHIND" } else { b"OVER" };
    let mut call: Vec<&[u8]> = vec![b"WINGEST", mode];
    call.extend(files.iter().map(|path| path.as_os_str().as_encoded_bytes()));
    let spinner = crate::progress::counter("ingest");
    let report = client.call_json(&call);
    spinner.finish_and_clear();
    let report = report?;
    if args.json {
        println!("{report}");
        return Ok(());
    }
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    println!(
        "{node}: {} puts and {} removes of {} files into {} slots: {} written, {} there already, {} lost, in {:.2} s",
        number("puts"),
        number("removes"),
        number("files"),
        number("slots"),
        number("written"),
        number("same"),
        number("lost"),
        report["seconds"].as_f64().unwrap_or_default(),
    );
    Ok(())
}

fn of_backup(from: &Path, to: &Path, args: &IngestArgs) -> Result<(), Error> {
    let started = Instant::now();
    let interrupt = Interrupt::install()?;
    let clock = Clock::new();
    let chain = open_chain(from, None)?;
    // A name that cannot be used is refused before anything is loaded; a directory is made after.
    let to = Location::of(to)?;
    to.storage()?;
    let bar = BackupBar::new("load");
    let options = RestoreOptions::default().with_work(bar.work(&interrupt));
    let restored = restore_chain(&chain, &clock, &options);
    bar.finish();
    let restored = restored?;
    let store = find(&restored.stores, args.store.as_deref())?;
    let bar = BackupBar::new("ingest");
    let mode = if args.behind { IngestMode::Behind } else { IngestMode::Over };
    let mut options = IngestOptions::default().with_work(bar.work(&interrupt)).with_mode(mode);
    if let Some(record) = &args.record {
        options = options.with_record(record.as_bytes());
    }
    let done = ingest(store, &args.files, &options);
    bar.finish();
    let done = done?;
    let bar = BackupBar::new("write");
    let hold = clock.hold_named("backup");
    let snapshots: Vec<_> = restored
        .stores
        .iter()
        .map(|(name, store)| (name.clone(), store.snapshot_at(&hold)))
        .collect();
    let options = ExportOptions::default()
        .with_work(bar.work(&interrupt))
        .with_user(restored.manifest.user.clone());
    let written = export_to(&snapshots, &*to.create()?, &options);
    bar.finish();
    let written = written?;
    let seconds = started.elapsed().as_secs_f64();
    if args.json {
        let report = json!({
            "job": done.job.to_string(),
            "already": done.already,
            "files": done.files,
            "puts": done.puts,
            "removes": done.removes,
            "written": done.written,
            "same": done.same,
            "lost": done.lost,
            "ingest_s": done.seconds,
            "entries": written.entries,
            "stored_bytes": written.stored_bytes,
            "seconds": seconds,
            "dir": to.to_string(),
        });
        println!("{report}");
    } else if done.already {
        println!("{to}: job {} was done before; nothing changed", done.job);
    } else {
        println!(
            "{to}: {} entries after {} were written, {} were there and {} lost, of {} files; {seconds:.2} s",
            written.entries, done.written, done.same, done.lost, done.files,
        );
    }
    Ok(())
}

/// The store of this name, or the only one.
fn find<'s>(stores: &'s [(String, Store)], name: Option<&str>) -> Result<&'s Store, Error> {
    let found = match name {
        Some(name) => stores.iter().find(|(other, _)| other == name),
        None => stores.first().filter(|_| stores.len() == 1),
    };
    found.map(|(_, store)| store).ok_or_else(|| {
        let some: Vec<&str> = stores.iter().take(10).map(|(name, _)| name.as_str()).collect();
        let more = if stores.len() > some.len() { ", .." } else { "" };
        let what = match name {
            Some(name) => format!("the backup has no store `{name}`"),
            None => "the backup has several stores, or none: say which one with --store".to_owned(),
        };
        let message = format!("{what}; it has {}: {}{more}", stores.len(), some.join(", "));
        Error::Usage { command: "ingest", message }
    })
}
