//! A table of bars: what is wanted, what was measured, and whether that is met. Each bar runs in a process
//! of its own, so that none pays for the memory of another.

use std::io;
use std::process::{Command, ExitCode, Stdio};

/// The first argument of a child, which runs one bar.
pub const CHILD: &str = "child";

/// What a bar has measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The bar; empty for a figure that stands beside others.
    pub wanted: String,
    /// The figure.
    pub measured: String,
    /// Whether it is met; none for a figure without a bar.
    pub met: Option<bool>,
}

impl Row {
    /// A figure that may be `wanted` at most.
    #[must_use]
    pub fn at_most(what: impl Into<String>, wanted: f64, measured: f64, unit: &str) -> Self {
        Self::new(what.into(), format!("<= {wanted} {unit}"), measured, unit, measured <= wanted)
    }

    /// A figure that must be `wanted` at least.
    #[must_use]
    pub fn at_least(what: impl Into<String>, wanted: f64, measured: f64, unit: &str) -> Self {
        Self::new(what.into(), format!(">= {wanted} {unit}"), measured, unit, measured >= wanted)
    }

    /// A figure without a bar.
    #[must_use]
    pub fn figure(what: impl Into<String>, measured: f64, unit: &str) -> Self {
        let row = Self::new(what.into(), String::new(), measured, unit, true);
        Self { met: None, ..row }
    }

    fn new(what: String, wanted: String, measured: f64, unit: &str, met: bool) -> Self {
        Self { what, wanted, measured: format!("{measured:.2} {unit}"), met: Some(met) }
    }

    fn print(&self) {
        let verdict = match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        println!("{}\t{}\t{}\t{verdict}", self.what, self.wanted, self.measured);
    }
}

/// What a child does with the rows of its bar.
pub fn print_rows(rows: &[Row]) {
    rows.iter().for_each(Row::print);
}

/// Runs each of the bars in a process of its own, with the options, and prints the table. A bar that is missed
/// is a result; a bar that could not be measured makes the program fail.
#[must_use]
pub fn run_each(bars: &[&str], options: &[String]) -> ExitCode {
    let mut rows = vec![["what", "wanted", "measured", "verdict"].map(str::to_owned).to_vec()];
    let mut failed = false;
    for bar in bars {
        eprintln!("{bar} ..");
        match run_child(bar, options) {
            Ok(lines) => rows.extend(lines),
            Err(error) => {
                eprintln!("{bar}: {error}");
                failed = true;
            }
        }
    }
    show(&rows);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_child(bar: &str, options: &[String]) -> io::Result<Vec<Vec<String>>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, bar]).args(options).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("the child ended with {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect())
}

fn show(rows: &[Vec<String>]) {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..4).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
