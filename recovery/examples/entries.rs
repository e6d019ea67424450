//! Prints the entries of a backup, one JSON object a line, keys and values as hex digits.
//!
//! ```sh
//! cargo run -p whimbrel-recovery --example entries -- DIR           # restores it and prints the stores
//! cargo run -p whimbrel-recovery --example entries -- --mapped DIR  # reads it where it is
//! ```

use std::io::{self, BufWriter, Write};
use std::path::Path;

use whimbrel_mvcc::Clock;
use whimbrel_recovery::{BackupView, RestoreOptions, restore};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (mapped, dir) = match args.as_slice() {
        [dir] => (false, Path::new(dir)),
        [flag, dir] if flag == "--mapped" => (true, Path::new(dir)),
        _ => return Err("usage: entries [--mapped] DIR".into()),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if mapped {
        let view = BackupView::open(dir)?;
        for store in view.stores() {
            let mut cursor = store.range(..);
            while let Some((key, value)) = cursor.next_entry()? {
                print(&mut out, store.name(), key, value)?;
            }
        }
    } else {
        let restored = restore(dir, &Clock::new(), &RestoreOptions::default())?;
        for (name, store) in &restored.stores {
            let snapshot = store.snapshot();
            let mut cursor = snapshot.range(..);
            while let Some((key, value)) = cursor.next_entry() {
                print(&mut out, name, key, value)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn print(out: &mut impl Write, store: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
    let name = serde_json::to_string(store)?;
    writeln!(out, "{{\"store\": {name}, \"key\": \"{}\", \"value\": \"{}\"}}", hex(key), hex(value))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
