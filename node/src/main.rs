//! The `whimbrel` binary: parses the command line and hands over to [`whimbrel_node`].

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    whimbrel_node::run()
}
