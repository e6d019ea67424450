//! `whimbrel inspect`: says what a backup consists of.

use std::path::PathBuf;

use clap::Args;
use whimbrel_backup::repository::{RepositoryInspection, inspect_repository};

use crate::Error;
use crate::restore::{find_backup, is_repository};

/// Arguments of `whimbrel inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The backup, a repository of backups (all are listed), or a directory of `whimbrel import` (its newest
    /// checkpoint is taken)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The backup of the repository: its number, or the beginning of its identity
    #[arg(long, value_name = "BACKUP")]
    pub at: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Reads manifest and footers and prints them.
///
/// # Errors
///
/// [`Error::Backup`] when there is no backup, or its manifest or a footer is damaged.
pub fn run(args: InspectArgs) -> Result<(), Error> {
    if args.at.is_none() && is_repository(&args.dir) {
        let found = inspect_repository(&args.dir)?;
        return if args.json { print_json(&found) } else { print_repository(&found) };
    }
    let found = whimbrel_backup::inspect(&find_backup(&args.dir, args.at.as_deref())?)?;
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
    table.set_header(["file", "kind", "store", "blocks", "entries", "removes", "first", "last"]);
    for file in &found.files {
        table.add_row([
            file.file.clone(),
            file.kind.to_owned(),
            file.store.clone(),
            file.blocks.to_string(),
            file.entries.to_string(),
            file.removes.to_string(),
            shorten(&file.first_key),
            shorten(&file.last_key),
        ]);
    }
    println!("{table}");
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
