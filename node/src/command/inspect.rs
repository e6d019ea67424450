//! `whimbrel inspect`: says what a backup consists of.

use std::path::PathBuf;

use clap::Args;

use crate::Error;
use crate::restore::open_backup;

/// Arguments of `whimbrel inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The backup, a directory or s3://BUCKET/PREFIX, or a directory of `whimbrel import` (its newest
    /// checkpoint is taken)
    #[arg(value_name = "PLACE")]
    pub dir: PathBuf,
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
    let found = whimbrel_backup::inspect_backup(&open_backup(&args.dir)?)?;
    if args.json {
        let json = serde_json::to_string(&found)
            .map_err(|error| Error::System { what: "cannot write JSON", source: error.into() })?;
        println!("{json}");
        return Ok(());
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

/// The beginning of a printable key.
fn shorten(key: &str) -> String {
    const SHOWN_MAX: usize = 24;
    match key.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}..", &key[..end]),
        None => key.to_owned(),
    }
}
