//! The report of a tour: what `--json` prints, and the summary a person reads.

use serde::Serialize;

use super::error::TourError;
use super::screen::{Screen, grouped};

/// Everything the tour measured. Parts that were not reached are `null`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether every check passed.
    pub ok: bool,
    /// What failed, if something did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Where the records came from.
    pub data: String,
    /// Records loaded.
    pub records: u64,
    /// Entries of all secondary indexes.
    pub index_entries: u64,
    /// The initial build of the indexes.
    pub build: Option<Build>,
    /// The questions, each checked against a scan of the records.
    pub queries: Vec<Query>,
    /// Whether snapshots gave the same answers while two writers changed the index.
    pub snapshot_stable: bool,
    /// What the snapshots were checked against.
    pub snapshots: Option<Snapshots>,
    /// Seconds from start to end.
    pub seconds: f64,
}

/// What made the tour stop.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    /// The failed check; `null` when it was not a check but the machine, an input or a node.
    pub check: Option<&'static str>,
    /// Expected and got, in words.
    pub message: String,
}

impl Failure {
    /// The failure that an error tells of.
    pub(super) fn of(error: &TourError) -> Self {
        let check = match error {
            TourError::Check { check, .. } => Some(*check),
            _ => None,
        };
        Self { check, message: error.to_string() }
    }
}

/// The initial build.
#[derive(Debug, Serialize)]
pub(super) struct Build {
    /// Index entries built in a second.
    pub entries_per_s: u64,
    /// Milliseconds it took.
    pub millis: u64,
}

/// One question.
#[derive(Debug, Serialize)]
pub(super) struct Query {
    /// Its short name.
    pub name: &'static str,
    /// The question in words.
    pub question: String,
    /// How many rows matched.
    pub rows: usize,
    /// Microseconds, the median of several runs.
    pub micros: f64,
}

/// Step 3.
#[derive(Debug, Serialize)]
pub(super) struct Snapshots {
    /// Snapshots whose full content was compared.
    pub compared: u64,
    /// Document updates that the writers made in the meantime.
    pub updates: u64,
    /// Updates in a second, both writers together, beside the checks.
    pub updates_per_s: u64,
}

impl Report {
    /// Prints the summary.
    pub(super) fn summary(&self, screen: Screen) {
        let mut rows = vec![
            line("records", grouped(self.records)),
            line("index entries", grouped(self.index_entries)),
        ];
        if let Some(build) = &self.build {
            rows.push(line("build", format!("{} entries/s", grouped(build.entries_per_s))));
        }
        rows.push(line("questions checked", self.queries.len().to_string()));
        if let Some(snapshots) = &self.snapshots {
            rows.push(line(
                "snapshots",
                format!(
                    "{} compared, {}, beside {} updates/s",
                    snapshots.compared,
                    if self.snapshot_stable { "stable" } else { "NOT stable" },
                    grouped(snapshots.updates_per_s)
                ),
            ));
        }
        rows.push(line("time", format!("{:.1} s", self.seconds)));
        screen.say("");
        screen.table(&["summary", ""], rows);
    }
}

fn line(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}
