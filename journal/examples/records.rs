//! Prints the records of journals as they are replayed: for each journal a line with its directory, then sequence and
//! bytes of each record, in hex digits, or the name of the file for which it is refused.
//!
//! ```sh
//! cargo run -p whimbrel-journal --example records -- DIR..
//! ```
//!
//! Opening a journal makes its next segment, so give it copies.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use whimbrel_journal::{Error, Journal, JournalOptions, SyncPolicy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(io::stdout().lock());
    for dir in std::env::args().skip(1) {
        writeln!(out, "journal {dir}")?;
        match records(Path::new(&dir)) {
            Ok(records) => out.write_all(records.as_bytes())?,
            Err(Error::Damaged { path, .. } | Error::UnsupportedVersion { path, .. }) => {
                let name = path.file_name().unwrap_or_default();
                writeln!(out, "refused {}", name.to_string_lossy())?;
            }
            Err(error) => writeln!(out, "refused: {error}")?,
        }
    }
    out.flush()?;
    Ok(())
}

/// One line for each record, all of them or none.
fn records(dir: &Path) -> Result<String, Error> {
    let mut lines = String::new();
    let options = JournalOptions::new(SyncPolicy::Always);
    Journal::open(dir, &options, None, |sequence, record| {
        let hex: String = record.iter().map(|byte| format!("{byte:02x}")).collect();
        lines.push_str(&format!("{sequence} {hex}\n"));
        Ok(())
    })?;
    Ok(lines)
}
