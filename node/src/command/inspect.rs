//! `whimbrel inspect`: says what a backup consists of, and looks entries up in it without loading it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use whimbrel_backup::repository::{Repository, RepositoryInspection, inspect_repository_on};
use whimbrel_backup::{Backup, Inspection, Location, inspect_backup};

use crate::Error;
use crate::lookup::{Wanted, look_up, read_bytes};
use crate::restore::{open_backup, open_chain, repository_at};

/// Arguments of `whimbrel inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The backup, a directory or s3://BUCKET/PREFIX, a repository of backups (all are listed), or a directory
    /// of `whimbrel import` (its newest checkpoint is taken)
    #[arg(value_name = "PLACE")]
    pub dir: PathBuf,
    /// The backup of the repository: its number, or the beginning of its identity
    #[arg(long, value_name = "BACKUP")]
    pub at: Option<String>,
    /// Print the entry of this key; `\xNN` stands for any byte, as in what is printed
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub get: Option<String>,
    /// Print the entries whose keys begin so; an empty prefix is all of them
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Look in this store only
    #[arg(long, value_name = "NAME")]
    pub store: Option<String>,
    /// Print so many entries at most
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub limit: usize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Reads manifest and footers and prints them; or opens the backup read-only and prints entries.
///
/// # Errors
///
/// [`Error::Backup`] when there is no backup, or its manifest or a footer is damaged. [`Error::Usage`] for a key
/// that cannot be read, [`Error::Recovery`] naming file and block when an entry cannot be looked up.
pub fn run(args: InspectArgs) -> Result<(), Error> {
    let bytes = |text: &String| {
        read_bytes(text).map_err(|message| Error::Usage { command: "inspect", message })
    };
    let wanted = match (&args.get, &args.prefix) {
        (Some(key), _) => Some(Wanted::Key(bytes(key)?)),
        (None, Some(prefix)) => Some(Wanted::Prefix(bytes(prefix)?)),
        (None, None) => None,
    };
    if let Some(wanted) = wanted {
        return entries(&args, &wanted);
    }
    let location = Location::of(&args.dir)?;
    if args.at.is_none() && repository_at(&location)?.is_some() {
        let found = inspect_repository_on(location.shelf()?)?;
        return if args.json { print_json(&found) } else { print_repository(&found) };
    }
    let found = inspect_one(&location, args.at.as_deref())?;
    if args.json {
        return print_json(&found);
    }
    let manifest = &found.manifest;
    println!("{}", found.dir.display());
    println!(
        "snapshot {}, {} entries in {} stores, {} bytes stored for {} ({:.2} to 1)",
        manifest.snapshot,
        manifest.entries(),
        manifest.stores.len(),
        found.stored_bytes,
        found.raw_bytes,
        found.ratio,
    );
    if let Some(base) = &manifest.base {
        println!("continues backup {}, {} before it in its chain", base.id, base.position);
    }
    if let Some(error) = &found.chain_error {
        println!("its chain is broken: {error}");
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table.set_header([
        "file", "kind", "store", "bytes", "ratio", "blocks", "LZ4", "entries", "removes", "first",
        "last", "digest",
    ]);
    for file in &found.files {
        table.add_row([
            file.file.clone(),
            file.kind.to_owned(),
            file.store.clone(),
            file.bytes.to_string(),
            format!("{:.2}", file.ratio),
            file.blocks.to_string(),
            file.lz4_blocks.to_string(),
            file.entries.to_string(),
            file.removes.to_string(),
            shorten(&file.first_key),
            shorten(&file.last_key),
            file.digest.clone(),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// Looks at one backup, also at one whose chain is broken: which [`open_chain`] refuses.
fn inspect_one(location: &Location, at: Option<&str>) -> Result<Inspection, Error> {
    let backup = match at {
        Some(wanted) => {
            let repository = Repository::open_on(location.shelf()?)?;
            Backup::open_in(Arc::clone(repository.find(wanted)?.storage()))?
        }
        None => open_backup(location)?,
    };
    Ok(inspect_backup(&backup)?)
}

/// Prints what was looked for, from the mapped files where there are any.
fn entries(args: &InspectArgs, wanted: &Wanted) -> Result<(), Error> {
    let chain = open_chain(&args.dir, args.at.as_deref())?;
    let (found, more) = look_up(chain, args.store.as_deref(), wanted, args.limit)?;
    if args.json {
        println!("{}", serde_json::json!({ "entries": found, "more": more }));
        return Ok(());
    }
    for entry in &found {
        println!("{}  {}  {}", entry.store, entry.key, entry.value);
    }
    match (found.is_empty(), more) {
        (true, _) => eprintln!("no such entry"),
        (false, true) => eprintln!("there are more than {}: --limit prints more", args.limit),
        (false, false) => {}
    }
    Ok(())
}

fn print_json(found: &impl serde::Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(found)
        .map_err(|error| Error::System { what: "cannot write JSON", source: error.into() })?;
    println!("{json}");
    Ok(())
}

/// One line for each backup; what continues another stands behind it.
fn print_repository(found: &RepositoryInspection) -> Result<(), Error> {
    println!("{}", found.root.display());
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    table
        .set_header(["number", "identity", "kind", "entries", "puts", "removes", "bytes", "state"]);
    for entry in &found.backups {
        let state = entry.error.as_ref().map_or_else(
            || entry.state.to_owned(),
            |error| {
                format!("{}: {error}", if entry.backup.is_some() { "broken" } else { "damaged" })
            },
        );
        let Some(backup) = &entry.backup else {
            let none = String::new;
            let (number, name) = (entry.number.to_string(), entry.name.clone());
            table.add_row([number, name, none(), none(), none(), none(), none(), state]);
            continue;
        };
        let kind = match backup.position {
            0 => "full".to_owned(),
            position => format!("+{position}"),
        };
        table.add_row([
            entry.number.to_string(),
            backup.id.clone(),
            kind,
            backup.entries.to_string(),
            backup.puts.to_string(),
            backup.removes.to_string(),
            backup.stored_bytes.to_string(),
            state,
        ]);
    }
    println!("{table}");
    for name in &found.foreign {
        println!("not of a repository: {name}");
    }
    Ok(())
}

/// The beginning of a printable key.
fn shorten(key: &str) -> String {
    const SHOWN_MAX: usize = 24;
    match key.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}..", &key[..end]),
        None => key.to_owned(),
    }
}
