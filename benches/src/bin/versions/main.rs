//! The bars of versions, snapshots and garbage: a table of what is wanted, what was measured, and whether
//! that is met.
//!
//! `cargo run --release -p whimbrel-benches --bin versions -- [--quick] [BAR..]`; benches/README.md says what
//! each bar does. Every bar runs in a process of its own, so that none pays for the memory of another.

mod bars;
mod measure;

use std::process::ExitCode;

use bars::{BARS, Size};
use whimbrel_benches::bars::{CHILD, print_rows, run_each};

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
        chosen.for_each(|bar| print_rows(&(bar.run)(&size)));
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> = chosen.map(|bar| bar.name).collect();
    let options: Vec<String> = quick.then(|| "--quick".to_owned()).into_iter().collect();
    run_each(&names, &options)
}
