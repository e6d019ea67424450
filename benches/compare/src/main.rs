//! Whimbrel beside its peers. The crate page and the README say how to use it.

use std::process::ExitCode;

fn main() -> ExitCode {
    whimbrel_compare::run()
}
