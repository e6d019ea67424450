//! `whimbrel migrate`: moves one slot to another node, or takes one back that nobody serves.

use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use serde_json::Value;
use whimbrel_migrate::{SLOT_COUNT, slot_of};

use crate::Error;
use crate::client::Client;
use crate::interrupt::Interrupt;

/// How often the source is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Arguments of `whimbrel migrate`.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct MigrateArgs {
    /// Any node of the cluster; it names the slot's owner, which does the work. With --take-back
    /// the node that waits
    #[arg(long, value_name = "HOST:PORT")]
    pub node: String,
    /// The slot, by its number
    #[arg(long, value_name = "N", group = "what",
          value_parser = clap::value_parser!(u16).range(..i64::from(SLOT_COUNT)))]
    pub slot: Option<u16>,
    /// The slot of this key (or collection/partition)
    #[arg(long, value_name = "KEY", group = "what")]
    pub key: Option<String>,
    /// The node that is to own the slot
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "take_back")]
    pub to: Option<String>,
    /// In place of moving: make --node serve a slot that it granted to a node that is gone for good.
    /// Loses what only that node has; needs --yes
    #[arg(long, conflicts_with = "to")]
    pub take_back: bool,
    /// With --take-back: do it
    #[arg(long, requires = "take_back")]
    pub yes: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Starts the migration, shows its progress, and reports. Ctrl-C cancels it: up to the hand-over
/// the slot stays where it is.
///
/// # Errors
///
/// [`Error::Connect`] and [`Error::Node`] when a node cannot be reached or refuses,
/// [`Error::Migration`] when it failed, [`Error::Interrupted`] when it was cancelled,
/// [`Error::Usage`] for `--take-back` without `--yes`.
pub fn run(args: MigrateArgs) -> Result<(), Error> {
    let slot = match (&args.key, args.slot) {
        (Some(key), _) => slot_of(key.as_bytes()).number(),
        (None, Some(slot)) => slot,
        (None, None) => unreachable!("one of the group is required"),
    };
    let Some(to) = &args.to else { return take_back(&args, slot) };
    let interrupt = Interrupt::install()?;
    let mut client = Client::connect(&args.node)?;
    let number = slot.to_string();
    let start: [&[u8]; 4] = [b"WMIGRATE", b"START", number.as_bytes(), to.as_bytes()];
    client.call_following(&start)?;
    let bar = crate::progress::bar("migrate", 0);
    let mut cancelled = false;
    let job = loop {
        let job = client.call_json(&[b"WMIGRATE", b"STATUS", number.as_bytes()])?;
        bar.set_length(job["entries_total"].as_u64().unwrap_or(0));
        bar.set_position(job["entries_done"].as_u64().unwrap_or(0));
        bar.set_message(job["phase"].as_str().unwrap_or_default().to_owned());
        if job["state"] != "running" {
            break job;
        }
        if interrupt.is_raised() && !cancelled {
            client.call(&[b"WMIGRATE", b"CANCEL", number.as_bytes()])?;
            cancelled = true;
        }
        std::thread::sleep(ASK_EVERY);
    };
    bar.finish_and_clear();
    report(&args, to, slot, &job, cancelled)
}

/// Says what may be lost, and takes the slot back when that was accepted.
fn take_back(args: &MigrateArgs, slot: u16) -> Result<(), Error> {
    let mut client = Client::connect(&args.node)?;
    let number = slot.to_string();
    if !args.yes {
        let job = client.call_json(&[b"WMIGRATE", b"STATUS", number.as_bytes()])?;
        if job["waits_for_target"] != true {
            let message = format!("slot {slot} waits for nobody; there is nothing to take back");
            return Err(Error::Usage { command: "migrate", message });
        }
        let (node, to) = (&args.node, job["to"].as_str().unwrap_or("its target"));
        let message = format!(
            "slot {slot} was granted to {to} before {node} stopped, and {to} holds the complete \
             copy.\n  Start {to} again if you can: then the slot goes on without a loss.\n  Taken \
             back, {node} serves only what --restore gave it, or nothing: every other write to \
             the slot is LOST FOR GOOD, acknowledged or not, also when {to} comes back.\n  If {to} \
             has taken the slot already, nothing changes. To go on, add --yes"
        );
        return Err(Error::Usage { command: "migrate", message });
    }
    let taken = client.call_json(&[b"WMIGRATE", b"TAKEBACK", number.as_bytes(), b"FORCE"])?;
    if args.json {
        println!("{taken}");
    } else {
        let (node, entries) = (&args.node, &taken["entries"]);
        println!("slot {slot} is served by {node} again, with {entries} entries");
    }
    Ok(())
}

fn report(
    args: &MigrateArgs,
    to: &str,
    slot: u16,
    job: &Value,
    cancelled: bool,
) -> Result<(), Error> {
    if args.json {
        println!("{job}");
    }
    if job["state"] != "done" {
        let reason = job["error"].as_str().unwrap_or("it ended without saying why").to_owned();
        return Err(if cancelled {
            Error::Interrupted { left: format!("slot {slot} stays where it was ({reason})") }
        } else {
            Error::Migration { slot, to: to.to_owned(), reason }
        });
    }
    if !args.json {
        println!("slot {slot} is at {to} now");
        for (name, figure) in figures(&job["report"]) {
            println!("{name:>24}  {figure}");
        }
    }
    Ok(())
}

/// A report for people: units, and no more digits than anybody reads.
fn figures(report: &Value) -> Vec<(&'static str, String)> {
    let float = |name: &str| report[name].as_f64().unwrap_or(0.0);
    let count = |name: &str| HumanCount(report[name].as_u64().unwrap_or(0)).to_string();
    let seconds = float("seconds");
    let bytes_per_s = HumanBytes(whole(float("bytes_per_s")));
    let mut figures = vec![
        ("entries", count("keys")),
        ("changed meanwhile", count("delta_keys")),
        ("sent", HumanBytes(report["bytes"].as_u64().unwrap_or(0)).to_string()),
        ("rounds", count("rounds")),
        ("took", span(seconds * 1e3)),
        ("rate", format!("{} entries/s, {bytes_per_s}/s", HumanCount(whole(float("keys_per_s"))))),
        ("write blackout", span(float("write_blackout_ms"))),
        ("read blackout", span(float("read_blackout_ms"))),
    ];
    if report["throttled"] == true {
        figures.push(("writers", "were slowed so that the copy could catch up".to_owned()));
    }
    figures
}

/// A time in the unit that fits it.
fn span(milliseconds: f64) -> String {
    match milliseconds {
        short if short < 1.0 => format!("{:.0} us", short * 1e3),
        middle if middle < 1e3 => format!("{middle:.1} ms"),
        long => format!("{:.2} s", long / 1e3),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded figure for people; the cast saturates"
)]
fn whole(figure: f64) -> u64 {
    figure.round() as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_have_units_and_few_digits() {
        let report = json!({
            "keys": 3003, "delta_keys": 12, "bytes": 1_500_000, "rounds": 2,
            "seconds": 1.234_567, "keys_per_s": 2_432.4, "bytes_per_s": 1_257.028_405_062,
            "write_blackout_ms": 2.345_678, "read_blackout_ms": 0.123_456, "throttled": true,
        });
        let shown: Vec<String> = figures(&report)
            .into_iter()
            .map(|(name, figure)| format!("{name}: {figure}"))
            .collect();
        assert_eq!(
            shown,
            [
                "entries: 3,003",
                "changed meanwhile: 12",
                "sent: 1.43 MiB",
                "rounds: 2",
                "took: 1.23 s",
                "rate: 2,432 entries/s, 1.23 KiB/s",
                "write blackout: 2.3 ms",
                "read blackout: 123 us",
                "writers: were slowed so that the copy could catch up",
            ]
        );
    }
}
