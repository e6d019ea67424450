//! `whimbrel status`: what a node is doing.

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
            Value::Array(rows) => rows.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
            other => other.to_string(),
        };
        table.add_row([name.replace('_', " "), shown]);
    }
    println!("{table}");
    Ok(())
}
