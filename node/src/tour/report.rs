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
    /// The backup.
    pub backup: Option<Backup>,
    /// The restore.
    pub restore: Option<Restore>,
    /// The migration.
    pub migration: Option<Migration>,
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

/// Step 4, first half.
#[derive(Debug, Serialize)]
pub(super) struct Backup {
    /// Bytes of all files.
    pub bytes: u64,
    /// Plain bytes of keys and values by bytes on disk.
    pub ratio: f64,
    /// Ordered entries (index entries and back-index) in it.
    pub entries: u64,
    /// Entries written in a second.
    pub entries_per_s: u64,
    /// Document updates made while it was written.
    pub updates_meanwhile: u64,
}

/// Step 4, second half.
#[derive(Debug, Serialize)]
pub(super) struct Restore {
    /// Entries rebuilt in a second.
    pub entries_per_s: u64,
    /// Whether count and digest equal the snapshot that was backed up.
    pub equal: bool,
}

/// Step 5.
#[derive(Debug, Default, Serialize)]
pub(super) struct Migration {
    /// Keys of the slot.
    pub keys: u64,
    /// Keys moved in a second.
    pub keys_per_s: u64,
    /// Megabytes on the wire in a second.
    pub mb_per_s: f64,
    /// Catch-up rounds.
    pub rounds: u64,
    /// Milliseconds from the request to the hand-over.
    pub millis: f64,
    /// Longest gap between two successful writes that a client saw.
    pub write_blackout_ms: f64,
    /// Longest gap between two successful reads that a client saw.
    pub read_blackout_ms: f64,
    /// From freezing the slot to serving it on the target, by the source's clock.
    pub server_blackout_ms: f64,
    /// Writes that were acknowledged to clients.
    pub acknowledged_writes: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Acknowledged writes that the target does not serve.
    pub lost_writes: u64,
    /// Reads that returned less than what was acknowledged before they were sent.
    pub stale_reads: u64,
    /// Searches of the moving partition; each answer was compared with the records.
    pub searches: u64,
    /// Redirections that clients followed.
    pub moved: u64,
    /// Retries after CLUSTERDOWN, TRYAGAIN or a lost connection.
    pub retries: u64,
    /// Latency of reads and writes together, in microseconds.
    pub p50_us_before: u64,
    /// See above.
    pub p99_us_before: u64,
    /// See above.
    pub max_us_before: u64,
    /// See above.
    pub p50_us_during: u64,
    /// See above.
    pub p99_us_during: u64,
    /// See above.
    pub max_us_during: u64,
    /// See above.
    pub p50_us_after: u64,
    /// See above.
    pub p99_us_after: u64,
    /// See above.
    pub max_us_after: u64,
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
                    "{} compared, {}, {} updates/s beside",
                    snapshots.compared,
                    if self.snapshot_stable { "stable" } else { "NOT stable" },
                    grouped(snapshots.updates_per_s)
                ),
            ));
        }
        if let Some(backup) = &self.backup {
            rows.push(line(
                "backup",
                format!(
                    "{:.1} MB, ratio {:.2}, {} entries/s",
                    megabytes(backup.bytes),
                    backup.ratio,
                    grouped(backup.entries_per_s)
                ),
            ));
        }
        if let Some(restore) = &self.restore {
            let equal = if restore.equal { "equal" } else { "NOT equal" };
            let rate = grouped(restore.entries_per_s);
            rows.push(line("restore", format!("{rate} entries/s, {equal}")));
        }
        if let Some(migration) = &self.migration {
            rows.extend(migration.lines());
        }
        rows.push(line("time", format!("{:.1} s", self.seconds)));
        screen.say("");
        screen.table(&["summary", ""], rows);
    }
}

impl Migration {
    fn lines(&self) -> Vec<Vec<String>> {
        vec![
            line(
                "migration",
                format!("{} keys, {} keys/s", grouped(self.keys), grouped(self.keys_per_s)),
            ),
            line("on the wire", format!("{:.1} MB/s", self.mb_per_s)),
            line("catch-up rounds", self.rounds.to_string()),
            line("blackout, writes", format!("{:.1} ms", self.write_blackout_ms)),
            line("blackout, reads", format!("{:.1} ms", self.read_blackout_ms)),
            line("blackout, server's figure", format!("{:.1} ms", self.server_blackout_ms)),
            line("acknowledged writes", grouped(self.acknowledged_writes)),
            line("lost writes", self.lost_writes.to_string()),
            line("reads", grouped(self.reads)),
            line("stale reads", self.stale_reads.to_string()),
            line("searches while moving", format!("{}, all right", grouped(self.searches))),
        ]
    }

    /// The clients' latency before, during and after the move.
    pub(super) fn latency(&self, screen: Screen) {
        let row = |phase: &str, p50: u64, p99: u64, max: u64| {
            vec![phase.to_owned(), grouped(p50), grouped(p99), grouped(max)]
        };
        screen.table(
            &["clients' latency, us", "p50", "p99", "max"],
            [
                row("before", self.p50_us_before, self.p99_us_before, self.max_us_before),
                row("during", self.p50_us_during, self.p99_us_during, self.max_us_during),
                row("after", self.p50_us_after, self.p99_us_after, self.max_us_after),
            ],
        );
    }
}

fn line(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

/// Bytes as megabytes of 10^6 bytes.
#[expect(clippy::cast_precision_loss, reason = "a size for a person")]
pub(super) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
