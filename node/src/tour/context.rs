//! What all steps of the tour share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;

use super::error::TourError;
use super::question::{self, Question};
use super::report::Report;
use super::screen::Screen;
use super::table::Table;
use super::{Fault, TourArgs, load};
use crate::interrupt::Interrupt;

/// The tour under way.
#[derive(Debug)]
pub(super) struct Tour {
    /// The records.
    pub table: Arc<Table>,
    /// Where each document id is in the table.
    pub ids: HashMap<String, usize>,
    /// The questions that are asked.
    pub questions: Vec<Question>,
    /// The mistake to make, if any.
    pub plant: Option<Fault>,
    /// Start of the random numbers.
    pub seed: u64,
    /// Where the tour speaks to.
    pub screen: Screen,
    /// What it found so far.
    pub report: Report,
    /// Set when the user asks to stop.
    pub interrupt: Interrupt,
    dir: TempDir,
}

impl Tour {
    /// Loads the records.
    pub(super) fn new(
        args: &TourArgs,
        screen: Screen,
        interrupt: Interrupt,
    ) -> Result<Self, TourError> {
        let entries = args.entries.and_then(|count| usize::try_from(count).ok());
        let bar = screen.spinner("loading the records");
        let table = load::load(args.data.as_deref(), entries)?;
        bar.finish_and_clear();
        let ids = table.rows.iter().enumerate().map(|(at, row)| (row.id.clone(), at)).collect();
        let questions = question::questions(&table);
        let report = Report {
            data: table.origin.clone(),
            records: table.rows.len() as u64,
            ..Report::default()
        };
        let dir = tempfile::Builder::new()
            .prefix("whimbrel-tour-")
            .tempdir()
            .map_err(TourError::file("create a directory in", &std::env::temp_dir()))?;
        Ok(Self {
            table: Arc::new(table),
            ids,
            questions,
            plant: args.plant,
            seed: args.seed,
            screen,
            report,
            interrupt,
            dir,
        })
    }

    /// Where the tour keeps its files; removed at the end.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Fails when the user asked to stop.
    pub(super) fn go_on(&self) -> Result<(), TourError> {
        if self.interrupt.is_raised() { Err(TourError::Interrupted) } else { Ok(()) }
    }

    /// Whether this mistake is to be made.
    pub(super) fn plants(&self, fault: Fault) -> bool {
        self.plant == Some(fault)
    }
}
