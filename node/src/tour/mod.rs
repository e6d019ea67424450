//! `whimbrel tour`: one slot's whole journey, on real data, in one command.
//!
//! Five steps, one file each: build the indexes (`build`), answer questions (`queries`), hold
//! snapshots beside writers (`snapshots`), back up and restore (`backups`), move the slot
//! between two nodes under load (`migration`). Every step checks its result against something
//! independent of the engine: a scan of the plain records (`scan`), or the numbers that the
//! clients wrote (`clients`). The first check that fails ends the tour with exit code 1 and
//! says what was expected and what came.
//!
//! `--plant` makes one of five mistakes on purpose, to show that the checks can fail.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};

use self::context::Tour;
use self::error::TourError;
use self::report::{Failure, Report};
use self::screen::Screen;
use crate::interrupt::Interrupt;

mod backups;
mod board;
mod build;
mod clients;
mod context;
mod control;
mod engine;
mod error;
mod load;
mod migration;
mod nodes;
mod plan;
mod queries;
mod question;
mod random;
mod remote;
mod report;
mod resp;
mod router;
mod scan;
mod screen;
mod searcher;
mod snapshots;
mod states;
mod table;
mod writers;

/// Arguments of `whimbrel tour`.
#[derive(Debug, Args)]
pub struct TourArgs {
    /// Your own records instead of the cities: a CSV file with a header row (.gz is unpacked)
    #[arg(long, value_name = "FILE.csv")]
    pub data: Option<PathBuf>,
    /// How many records: fewer cuts the data down, more adds derived ones
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(10..=50_000_000))]
    pub entries: Option<u32>,
    /// Make one mistake on purpose; the tour must find it and exit with code 1
    #[arg(long, value_name = "FAULT")]
    pub plant: Option<Fault>,
    /// Print one JSON object on standard output and nothing else
    #[arg(long)]
    pub json: bool,
    /// Start of the random numbers: which documents are updated, which keys are written
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// A mistake that the tour can make on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Fault {
    /// The source forgets a write that it captured while it ships its snapshot
    DroppedCapturedWrite,
    /// The source goes on serving the slot after it has granted it away
    ServingAfterGrant,
    /// One bit of the backup is flipped before it is restored
    FlippedBackupBlock,
    /// What is compared as one snapshot is taken anew each time
    MovingSnapshot,
    /// The target leaves out one round of changes
    SkippedDeltaRound,
}

/// Runs the tour and reports: exit code 0 only when every check passed.
#[must_use]
pub fn run(args: TourArgs) -> ExitCode {
    let start = Instant::now();
    let screen = if args.json { Screen::Json } else { Screen::Human };
    let mut report = Report::default();
    let interrupt = match Interrupt::install() {
        Ok(interrupt) => interrupt,
        Err(error) => {
            eprintln!("whimbrel tour: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let mut outcome = travel(&args, screen, &interrupt, &mut report);
    if outcome.is_err() && interrupt.is_raised() {
        // Whatever broke on the way out, broke because of it.
        outcome = Err(TourError::Interrupted);
    }
    report.seconds = (start.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    report.ok = outcome.is_ok();
    if let Err(error) = &outcome {
        report.failure = Some(Failure::of(error));
    }
    if args.json {
        match serde_json::to_string(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("whimbrel tour: cannot print the report: {error}"),
        }
    } else {
        report.summary(screen);
    }
    match outcome {
        Ok(()) => {
            screen.say("\nEvery check passed.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("whimbrel tour: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// All steps in turn. What was found until an error stays in `report`.
fn travel(
    args: &TourArgs,
    screen: Screen,
    interrupt: &Interrupt,
    report: &mut Report,
) -> Result<(), TourError> {
    let mut tour = Tour::new(args, screen, interrupt.clone())?;
    let outcome = steps(&mut tour);
    *report = std::mem::take(&mut tour.report);
    outcome
}

fn steps(tour: &mut Tour) -> Result<(), TourError> {
    let db = build::step(tour)?;
    tour.go_on()?;
    queries::step(tour, &db)?;
    tour.go_on()?;
    let writers = snapshots::step(tour, &db)?;
    let backed_up = backups::step(tour, db, writers)?;
    tour.go_on()?;
    migration::step(tour, &backed_up)
}
