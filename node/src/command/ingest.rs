//! `whimbrel ingest`: sorted files into a store of a backup; the result is a backup of its own.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use whimbrel_backup::{ExportOptions, export};
use whimbrel_mvcc::{Clock, IngestMode, Store};
use whimbrel_recovery::{IngestOptions, RestoreOptions, ingest, restore};

use crate::Error;
use crate::interrupt::Interrupt;
use crate::progress::BackupBar;
use crate::restore::newest_backup;

/// Arguments of `whimbrel ingest`.
#[derive(Args, Debug)]
pub struct IngestArgs {
    /// The backup to begin with, or a directory of `whimbrel import` (its newest checkpoint is taken)
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,
    /// Where the result goes, a backup: a new or empty directory
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
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

/// Loads the backup, ingests, and writes everything as a new backup, which is there as a whole or not at
/// all. The old one stays as it is.
///
/// # Errors
///
/// [`Error::Recovery`] naming file and block when the backup or a sorted file is damaged, [`Error::Usage`]
/// when the backup has no such store, [`Error::Backup`] when the result cannot be written. There is no
/// new backup then.
pub fn run(args: IngestArgs) -> Result<(), Error> {
    let started = Instant::now();
    let interrupt = Interrupt::install()?;
    let clock = Clock::new();
    let bar = BackupBar::new("load");
    let options = RestoreOptions::default().with_work(bar.work(&interrupt));
    let restored = restore(&newest_backup(&args.from), &clock, &options);
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
    let written = export(&snapshots, &args.to, &options);
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
            "dir": args.to,
        });
        println!("{report}");
    } else if done.already {
        println!("{}: job {} was done before; nothing changed", args.to.display(), done.job);
    } else {
        println!(
            "{}: {} entries after {} were written, {} were there and {} lost, of {} files; {seconds:.2} s",
            args.to.display(),
            written.entries,
            done.written,
            done.same,
            done.lost,
            done.files,
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
