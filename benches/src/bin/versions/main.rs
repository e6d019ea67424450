//! The bars of versions, snapshots and garbage: a table of what is wanted, what was measured, and whether
//! that is met.
//!
//! `cargo run --release -p whimbrel-benches --bin versions -- [--quick] [BAR..]`; benches/README.md says what
//! each bar does. Every bar runs in a process of its own, so that none pays for the memory of another.

mod bars;
mod measure;

use std::process::{Command, ExitCode, Stdio};

use bars::{BARS, Size};

/// The first argument of a child, which runs one bar.
const CHILD: &str = "child";

/// What a bar has measured.
struct Row {
    what: String,
    wanted: String,
    measured: String,
    met: bool,
}

impl Row {
    fn print(&self) {
        let verdict = if self.met { "met" } else { "missed" };
        println!("{}\t{}\t{}\t{verdict}", self.what, self.wanted, self.measured);
    }
}

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let child = args.first().is_some_and(|arg| arg == CHILD);
    let quick = args.iter().any(|arg| arg == "--quick");
    args.retain(|arg| arg != "--quick" && arg != CHILD);
    if args.iter().any(|arg| !BARS.iter().any(|bar| bar.name == arg)) {
        let names: Vec<_> = BARS.iter().map(|bar| bar.name).collect();
        eprintln!("usage: versions [--quick] [BAR..]; bars: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let chosen = BARS.iter().filter(|bar| args.is_empty() || args.iter().any(|a| a == bar.name));
    if child {
        let size = if quick { Size::QUICK } else { Size::FULL };
        chosen.flat_map(|bar| (bar.run)(&size)).for_each(|row| row.print());
        return ExitCode::SUCCESS;
    }
    let mut rows = vec![["what", "wanted", "measured", "verdict"].map(str::to_owned).to_vec()];
    let mut failed = false;
    for bar in chosen {
        eprintln!("{} ..", bar.name);
        match run_child(bar.name, quick) {
            Ok(lines) => rows.extend(lines),
            Err(error) => {
                eprintln!("{}: {error}", bar.name);
                failed = true;
            }
        }
    }
    show(&rows);
    // A bar that is missed is a result, not an error.
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_child(name: &str, quick: bool) -> std::io::Result<Vec<Vec<String>>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([CHILD, name]).args(quick.then_some("--quick")).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(std::io::Error::other(format!("the child ended with {}", output.status)));
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
