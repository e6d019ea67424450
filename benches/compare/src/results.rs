//! What all rounds found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::child::Sample;
use crate::stats::{median, paired_ratio, spread_percent};
use crate::workload::Workload;

/// What a figure is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// Name of the keys; a stand-in has another than the real ones.
    pub keys: String,
    /// Entries that were built.
    pub entries: usize,
    /// Threads at work.
    pub threads: usize,
    /// The workload.
    pub workload: Workload,
    /// The peer.
    pub peer: &'static str,
}

/// A figure of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Nanoseconds an operation, of wall time.
    Time,
    /// The same of processor time.
    Cpu,
    /// Bytes gained an entry.
    Bytes,
    /// Per cent of the peak that is still held.
    Held,
}

impl Field {
    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Time => Some(sample.ns_per_op),
            Self::Cpu => Some(sample.cpu_ns_per_op),
            Self::Bytes => Some(sample.bytes_per_entry),
            Self::Held => sample.held_percent,
        }
    }
}

/// A row of the JSON file: medians over the rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The peer.
    pub peer: &'static str,
    /// The workload.
    pub workload: Workload,
    /// The keys.
    pub keys: String,
    /// Entries that were built.
    pub entries: usize,
    /// Threads at work.
    pub threads: usize,
    /// Wall time over keys, entries or ranges.
    pub ns_per_op: f64,
    /// Processor time of all threads over the same. Where it is much less than `threads` times the
    /// wall time, the peer waited for a lock or the machine was busy with others.
    pub cpu_ns_per_op: f64,
    /// What the process had gained when the workload ended, by entries built.
    pub bytes_per_entry: f64,
    /// Greatest less least `ns_per_op` in per cent of the median.
    pub spread_percent: f64,
    /// Rounds that these are medians of.
    pub rounds: usize,
    /// Per cent of the peak that the process still holds; of the workloads that shrink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_percent: Option<f64>,
}

/// All samples, by cell and round.
#[derive(Debug, Default)]
pub struct Results {
    cells: BTreeMap<Cell, Vec<(usize, Sample)>>,
}

impl Results {
    /// Adds a sample of a round.
    pub fn add(&mut self, cell: Cell, round: usize, sample: Sample) {
        self.cells.entry(cell).or_default().push((round, sample));
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// All cells, in order.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.keys()
    }

    /// A figure of a cell, round by round.
    #[must_use]
    pub fn series(&self, cell: &Cell, field: Field) -> Vec<(usize, f64)> {
        let samples = self.cells.get(cell).into_iter().flatten();
        samples.filter_map(|(round, sample)| Some((*round, field.of(sample)?))).collect()
    }

    /// The median of a figure.
    #[must_use]
    pub fn median(&self, cell: &Cell, field: Field) -> Option<f64> {
        median(&self.figures(cell, field))
    }

    /// How far a figure lies apart.
    #[must_use]
    pub fn spread(&self, cell: &Cell, field: Field) -> Option<f64> {
        spread_percent(&self.figures(cell, field))
    }

    /// The median of the ratios of the rounds, `above` over `below`.
    #[must_use]
    pub fn ratio(&self, above: &Cell, below: &Cell, field: Field) -> Option<f64> {
        paired_ratio(&self.series(above, field), &self.series(below, field))
    }

    /// The share of the wall time in which children with one thread had a processor; the median of
    /// all samples. Much below one: others had the machine, and wall times mean little.
    #[must_use]
    pub fn share_of_processor(&self) -> Option<f64> {
        let alone = self.cells.iter().filter(|(cell, _)| cell.threads == 1);
        let samples = alone.flat_map(|(_, samples)| samples);
        let shares: Vec<f64> =
            samples.map(|(_, sample)| (sample.cpu_ns_per_op / sample.ns_per_op).min(1.0)).collect();
        median(&shares)
    }

    fn figures(&self, cell: &Cell, field: Field) -> Vec<f64> {
        self.series(cell, field).into_iter().map(|(_, figure)| figure).collect()
    }

    /// The rows of the JSON file.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |(cell, samples): (&Cell, &Vec<(usize, Sample)>)| {
            Some(Row {
                peer: cell.peer,
                workload: cell.workload,
                keys: cell.keys.clone(),
                entries: cell.entries,
                threads: cell.threads,
                ns_per_op: self.median(cell, Field::Time)?,
                cpu_ns_per_op: self.median(cell, Field::Cpu)?,
                bytes_per_entry: self.median(cell, Field::Bytes)?,
                spread_percent: self.spread(cell, Field::Time)?,
                rounds: samples.len(),
                held_percent: self.median(cell, Field::Held),
            })
        };
        self.cells.iter().filter_map(row).collect()
    }

    /// Samples whose checksum differs from that of another peer or round with the same work.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut first: BTreeMap<_, (&Cell, u64)> = BTreeMap::new();
        let mut found = Vec::new();
        for (cell, samples) in &self.cells {
            let work = (&cell.keys, cell.entries, cell.threads, cell.workload);
            for (round, sample) in samples {
                let (other, expected) = *first.entry(work).or_insert((cell, sample.checksum));
                if expected != sample.checksum {
                    found.push(format!(
                        "{} of {} read something else than {} (keys {}, {} threads, round {})",
                        cell.workload.name(),
                        cell.peer,
                        other.peer,
                        cell.keys,
                        cell.threads,
                        round + 1,
                    ));
                }
            }
        }
        found
    }
}
