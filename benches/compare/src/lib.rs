//! Whimbrel beside its peers: one program that runs all of them in turn, each in a process of its
//! own.
//!
//! `cargo run --release -p whimbrel-compare -- --help` says how; the README says what each workload
//! does.
//!
//! The parent ([`parent`]) starts itself again for each peer, state and round ([`child`]),
//! interleaves the peers within a round, and compares medians and the ratios of each round
//! ([`results`]). A child makes its keys ([`keys`]), builds its peer ([`peers`]) and prints one
//! line a workload.
//!
//! **Architecture Invariant:** nothing of the product depends on this crate, and it is outside of
//! the default members: who uses Whimbrel never builds its peers.

pub mod args;
pub mod bars;
pub mod child;
pub mod debian;
pub mod keys;
mod output;
pub mod parent;
pub mod peer;
pub mod peers;
pub mod plan;
pub mod plot;
pub mod random;
pub mod report;
pub mod restart;
pub mod results;
pub mod stats;
pub mod sum;
mod system;
pub mod towers;
pub mod workload;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::args::{Args, Other};

/// The program. Fails on errors only, not on bars that are missed.
#[must_use]
pub fn run() -> ExitCode {
    match main(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn main(mut args: Args) -> anyhow::Result<ExitCode> {
    if let Some(other) = args.other.take() {
        match other {
            Other::Child(child) => {
                for sample in child::run(&child.task()?)? {
                    println!("{}", serde_json::to_string(&sample)?);
                }
            }
            Other::Restart(args) => restart::run(&args)?,
            Other::RestartChild(args) => restart::run_child(&args)?,
            Other::RestartFresh(args) => restart::run_fresh(&args)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        list();
        return Ok(ExitCode::SUCCESS);
    }
    let groups = plan::plan(&args)?;
    anyhow::ensure!(!groups.is_empty(), "no peer can do what is asked for");
    let run = parent::run(&args, &groups)?;
    output::write(&args, &run)?;
    for failure in &run.failures {
        eprintln!("error: {failure}");
    }
    let is_done = run.failures.is_empty() && !run.interrupted;
    Ok(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn list() {
    println!("peers:");
    for peer in peers::PEERS {
        let built = if peer.make.is_some() { "" } else { " (not in this build)" };
        println!("  {:<20}{}{built}", peer.name, peer.about);
    }
    println!("workloads:");
    for workload in workload::Workload::value_variants() {
        let help = workload.to_possible_value().and_then(|value| value.get_help().cloned());
        println!("  {:<20}{}", workload.name(), help.unwrap_or_default());
    }
    println!("bars:");
    for bar in bars::BARS {
        println!("  {}", bar.what);
    }
}
