//! `whimbrel status`: what a node is doing.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use crate::Error;
use crate::client::Client;

/// Arguments of `whimbrel status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The node
    #[arg(long, value_name = "HOST:PORT")]
    pub node: String,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Prints what the node says of itself.
///
/// # Errors
///
/// [`Error::Connect`] when it cannot be reached, [`Error::Node`] when it refuses.
pub fn run(args: StatusArgs) -> Result<(), Error> {
    let mut client = Client::connect(&args.node)?;
    let status = client.call_json(&[b"WSTATUS"])?;
    if args.json {
        println!("{status}");
        return Ok(());
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::TableStyle::new());
    for (name, value) in status.as_object().into_iter().flatten() {
        let shown = match value {
            Value::String(text) => text.clone(),
            Value::Array(rows) if rows.is_empty() => "none".to_owned(),
            Value::Array(rows) if name == "snapshots" => {
                rows.iter().map(open_snapshot).collect::<Vec<_>>().join("\n")
            }
            Value::Array(rows) => rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
            Value::Object(_) if name == "garbage" => garbage(value),
            other => other.to_string(),
        };
        table.add_row([name.replace('_', " "), shown]);
    }
    println!("{table}");
    Ok(())
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_default()
}

/// How much garbage there is, and what keeps it.
fn garbage(of: &Value) -> String {
    let mut text = format!(
        "{} versions ({} bytes) can be collected, {} ({} bytes) are held by snapshots, \
         {} bytes wait for readers",
        number(of, "collectable_entries"),
        number(of, "collectable_bytes"),
        number(of, "held_entries"),
        number(of, "held_bytes"),
        number(of, "unreclaimed_bytes"),
    );
    if let Some(age) = of["oldest_reader_ms"].as_u64() {
        let _ = write!(text, "; the oldest reader is inside for at least {age} ms");
    }
    text
}

fn open_snapshot(of: &Value) -> String {
    let name = match of["name"].as_str() {
        None | Some("") => "without a name",
        Some(name) => name,
    };
    format!(
        "{name}: number {}, open for {}.{:03} s, holds {} versions ({} bytes)",
        number(of, "number"),
        number(of, "age_ms") / 1000,
        number(of, "age_ms") % 1000,
        number(of, "held_entries"),
        number(of, "held_bytes"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn open_snapshots_are_told_by_name_and_age() {
        let of = json!({
            "number": 7, "name": "backup", "age_ms": 61_004, "held_entries": 3, "held_bytes": 240,
        });
        let shown = "backup: number 7, open for 61.004 s, holds 3 versions (240 bytes)";
        assert_eq!(open_snapshot(&of), shown);
        assert!(open_snapshot(&json!({ "name": "" })).starts_with("without a name: "));
    }

    #[test]
    fn a_reader_that_stays_is_told() {
        let without = garbage(&json!({ "held_entries": 5, "oldest_reader_ms": null }));
        assert!(without.contains("5 (0 bytes) are held by snapshots"), "{without}");
        assert!(!without.contains("reader is inside"), "{without}");
        let with = garbage(&json!({ "oldest_reader_ms": 1200 }));
        assert!(with.ends_with("the oldest reader is inside for at least 1200 ms"), "{with}");
    }
}
