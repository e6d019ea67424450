//! The bars of backup and recovery: a table of what is wanted, what was measured, and whether that is met.
//!
//! `cargo run --release -p whimbrel-benches --bin backups -- [--quick] [--entries N] [--rounds N] [BAR..]`;
//! benches/README.md says what each bar does. Every bar runs in a process of its own.

mod bars;
mod raw;
mod strings;

use std::process::ExitCode;

use bars::BARS;
use whimbrel_benches::bars::{CHILD, print_rows, run_each};

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Size {
    entries: usize,
    rounds: usize,
    threads: usize,
}

impl Size {
    fn words(&self) -> Vec<String> {
        [("--entries", self.entries), ("--rounds", self.rounds), ("--threads", self.threads)]
            .into_iter()
            .flat_map(|(name, n)| [name.to_owned(), n.to_string()])
            .collect()
    }
}

struct Args {
    size: Size,
    child: bool,
    bars: Vec<String>,
}

fn parse(words: Vec<String>) -> Option<Args> {
    let mut size = Size { entries: 10_000_000, rounds: 5, threads: 2 };
    let (mut child, mut bars) = (false, Vec::new());
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut number = || words.next()?.parse::<usize>().ok().filter(|&n| n > 0);
        match word.as_str() {
            CHILD => child = true,
            "--quick" => (size.entries, size.rounds) = (200_000, 3),
            "--entries" => size.entries = number()?,
            "--rounds" => size.rounds = number()?,
            "--threads" => size.threads = number()?,
            bar if BARS.iter().any(|known| known.name == bar) => bars.push(word),
            _ => return None,
        }
    }
    Some(Args { size, child, bars })
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // The process that restores and scans what another one wrote.
    if let [bars::FRESH, dir] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return bars::fresh(std::path::Path::new(dir));
    }
    let Some(args) = parse(words) else {
        let names: Vec<_> = BARS.iter().map(|bar| bar.name).collect();
        eprintln!("usage: backups [--quick] [--entries N] [--rounds N] [--threads N] [BAR..]");
        eprintln!("bars: {}", names.join(", "));
        return ExitCode::from(2);
    };
    let wanted = |bar: &&bars::Bar| args.bars.is_empty() || args.bars.iter().any(|b| b == bar.name);
    let chosen = BARS.iter().filter(wanted);
    if args.child {
        chosen.for_each(|bar| print_rows(&(bar.run)(&args.size)));
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = chosen.map(|bar| bar.name).collect();
    run_each(&names, &args.size.words())
}
