//! Tables: rows are workloads, columns are peers.

use std::fmt::Write as _;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

use crate::bars::{Outcome, Rule};
use crate::peers::PEERS;
use crate::results::{Cell, Field, Results};
use crate::workload::Workload;

const OURS: &str = "whimbrel";
/// Ratios this near to one are within what the machine does by itself.
const NOISE: f64 = 0.1;

/// What is the same over a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The keys.
    pub keys: String,
    /// Entries that were built.
    pub entries: usize,
    /// Threads at work.
    pub threads: usize,
}

impl Part {
    /// The parts that have results.
    #[must_use]
    pub fn all(results: &Results) -> Vec<Self> {
        let part = |cell: &Cell| Self {
            keys: cell.keys.clone(),
            entries: cell.entries,
            threads: cell.threads,
        };
        let mut parts: Vec<Self> = results.cells().map(part).collect();
        parts.dedup();
        parts
    }

    /// A cell of this part.
    #[must_use]
    pub fn cell(&self, workload: Workload, peer: &'static str) -> Cell {
        let Self { keys, entries, threads } = self.clone();
        Cell { keys, entries, threads, workload, peer }
    }

    /// The workloads that have results, in their order.
    #[must_use]
    pub fn workloads(&self, results: &Results) -> Vec<Workload> {
        let mut workloads: Vec<Workload> =
            results.cells().filter(|cell| self.has(cell)).map(|cell| cell.workload).collect();
        workloads.sort();
        workloads.dedup();
        workloads
    }

    /// The peers that have results, in the order of the table of peers.
    #[must_use]
    pub fn peers(&self, results: &Results) -> Vec<&'static str> {
        let has = |name| results.cells().any(|cell| self.has(cell) && cell.peer == name);
        PEERS.iter().map(|peer| peer.name).filter(|name| has(*name)).collect()
    }

    fn has(&self, cell: &Cell) -> bool {
        (&cell.keys, cell.entries, cell.threads) == (&self.keys, self.entries, self.threads)
    }
}

/// A count in short: 10m, 50k.
#[must_use]
pub fn short(count: usize) -> String {
    match count {
        count if count > 0 && count.is_multiple_of(1_000_000) => format!("{}m", count / 1_000_000),
        count if count > 0 && count.is_multiple_of(1_000) => format!("{}k", count / 1_000),
        count => count.to_string(),
    }
}

/// A figure with as many digits as mean something.
#[must_use]
pub fn digits(figure: f64) -> String {
    match figure {
        figure if figure < 10.0 => format!("{figure:.2}"),
        figure if figure < 100.0 => format!("{figure:.1}"),
        figure => format!("{figure:.0}"),
    }
}

/// The tables of one part: time, then bytes and what is held.
#[must_use]
pub fn tables(results: &Results, part: &Part) -> String {
    let mut text = String::new();
    let threads = if part.threads == 1 { "1 thread" } else { "2 threads" };
    let _ = writeln!(text, "## {}, {} entries, {threads}\n", part.keys, short(part.entries));
    let _ = writeln!(text, "{}\n", times(results, part));
    if let Some(table) = memory(results, part) {
        let _ = writeln!(text, "Bytes gained an entry:\n\n{table}\n");
    }
    text + &losses(results, part)
}

fn times(results: &Results, part: &Part) -> Table {
    let peers = part.peers(results);
    let mut table = new_table(&["ns an operation"], &peers);
    for workload in part.workloads(results) {
        let ours = part.cell(workload, OURS);
        let mut row = vec![workload.name()];
        for peer in &peers {
            let cell = part.cell(workload, peer);
            row.push(match results.median(&cell, Field::Time) {
                None => "n/a".to_owned(),
                Some(time) => {
                    let ratio = results.ratio(&cell, &ours, Field::Time);
                    let ratio =
                        ratio.filter(|_| *peer != OURS).map(|ratio| format!(" x{ratio:.2}"));
                    let spread = results.spread(&cell, Field::Time).unwrap_or_default();
                    format!("{}{} ({spread:.0}%)", digits(time), ratio.unwrap_or_default())
                }
            });
        }
        table.add_row(row);
    }
    table
}

/// Bytes after the workloads that end with content, and what the others hold of their peak.
fn memory(results: &Results, part: &Part) -> Option<Table> {
    use Workload::{BulkBuild, ChurnedScan, Insert, InsertAscending, Mix, Remove};
    use Workload::{ShrinkContiguous, ShrinkRandom};
    let shown = [Insert, InsertAscending, BulkBuild, ChurnedScan, Mix, Remove];
    let peers = part.peers(results);
    let mut table = new_table(&["after"], &peers);
    for workload in shown {
        let mut row = vec![workload.name()];
        for peer in &peers {
            let bytes = results.median(&part.cell(workload, peer), Field::Bytes);
            row.push(bytes.map_or("n/a".to_owned(), digits));
        }
        if row.iter().skip(1).any(|field| field != "n/a") {
            table.add_row(row);
        }
    }
    for workload in [ShrinkContiguous, ShrinkRandom] {
        let mut row = vec![workload.name()];
        for peer in &peers {
            let cell = part.cell(workload, peer);
            let bytes = results.median(&cell, Field::Bytes);
            let held = results.median(&cell, Field::Held);
            let both = bytes.zip(held);
            let both = both.map(|(b, held)| format!("{} ({held:.0}% of the peak)", digits(b)));
            row.push(both.unwrap_or("n/a".to_owned()));
        }
        if row.iter().skip(1).any(|field| field != "n/a") {
            table.add_row(row);
        }
    }
    (!table.is_empty()).then_some(table)
}

fn new_table(first: &[&str], peers: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([first, peers].concat());
    table
}

/// Where a peer is faster than the store.
fn losses(results: &Results, part: &Part) -> String {
    let mut losses = Vec::new();
    let mut compared = 0;
    for workload in part.workloads(results) {
        for peer in part.peers(results).into_iter().filter(|peer| *peer != OURS) {
            let (theirs, ours) = (part.cell(workload, peer), part.cell(workload, OURS));
            let Some(ratio) = results.ratio(&theirs, &ours, Field::Time) else { continue };
            compared += 1;
            if ratio < 1.0 {
                losses.push((ratio, workload, peer));
            }
        }
    }
    if compared == 0 {
        return String::new();
    }
    losses.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut text = format!("Where {OURS} loses: {} of {compared} comparisons.\n\n", losses.len());
    for (ratio, workload, peer) in losses {
        let times = 1.0 / ratio;
        let noise = if ratio > 1.0 - NOISE { " (within the noise)" } else { "" };
        let _ = writeln!(text, "- {}: {peer} is {times:.2} times as fast{noise}", workload.name());
    }
    text + "\n"
}

/// The table of the bars.
#[must_use]
pub fn bars(outcomes: &[Outcome]) -> Table {
    let mut table = new_table(
        &["bar"],
        &["wanted", "measured", "by processor time", "ours", "other", "verdict"],
    );
    for Outcome { bar, figures, measured, by_cpu, verdict } in outcomes {
        let unit = match bar.rule {
            Rule::Faster(..) => "x",
            Rule::Bytes(_) => " B",
            Rule::Held(_) => " %",
        };
        let wanted = match bar.rule {
            Rule::Faster(_, least) => format!(">= {least}x"),
            Rule::Bytes(most) | Rule::Held(most) => format!("<= {most}{unit}"),
        };
        let show = |figure: Option<f64>| figure.map_or("-".to_owned(), digits);
        table.add_row([
            bar.what.to_owned(),
            wanted,
            measured.map_or("-".to_owned(), |figure| format!("{}{unit}", digits(figure))),
            by_cpu.map_or("-".to_owned(), |ratio| format!("{}x", digits(ratio))),
            show(figures.0),
            show(figures.1),
            verdict.word().to_owned(),
        ]);
    }
    table
}
