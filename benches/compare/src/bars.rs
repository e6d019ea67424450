//! The bars: ratios that the store with versions must reach, in one table.

use crate::keys::KeyKind::{self, Random16, Structured32};
use crate::results::{Cell, Field, Results};
use crate::workload::Workload::{
    self, BulkBuild, ChurnedGet, ChurnedScan, Get, GetMany, Insert, Range10, Scan, ScanBulk,
    ShrinkContiguous, ShrinkRandom,
};

/// Entries at which the bars are set.
pub const ENTRIES: usize = 10_000_000;

const OURS: &str = "whimbrel";
const CROSSBEAM: &str = "crossbeam-skiplist";
const STD: &str = "std-btreemap";

/// One figure that a bar needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measure {
    /// The peer.
    pub peer: &'static str,
    /// The workload.
    pub workload: Workload,
    /// The keys.
    pub keys: KeyKind,
    /// Threads at work.
    pub threads: usize,
}

impl Measure {
    /// Where its figures are.
    #[must_use]
    pub fn cell(&self, entries: usize) -> Cell {
        Cell {
            keys: self.keys.name().to_owned(),
            entries,
            threads: self.threads,
            workload: self.workload,
            peer: self.peer,
        }
    }
}

const fn of(peer: &'static str, workload: Workload) -> Measure {
    Measure { peer, workload, keys: Random16, threads: 1 }
}

const fn structured(peer: &'static str, workload: Workload) -> Measure {
    Measure { peer, workload, keys: Structured32, threads: 1 }
}

const fn by_two(workload: Workload) -> Measure {
    Measure { peer: OURS, workload, keys: Random16, threads: 2 }
}

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Ours is so many times as fast as the other.
    Faster(Measure, f64),
    /// Ours gains at most so many bytes an entry.
    Bytes(f64),
    /// The process holds at most so many per cent of its peak.
    Held(f64),
}

/// One bar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// What it says.
    pub what: &'static str,
    /// Our side.
    pub ours: Measure,
    /// What must hold.
    pub rule: Rule,
}

const fn bar(what: &'static str, ours: Measure, rule: Rule) -> Bar {
    Bar { what, ours, rule }
}

/// All of them.
pub const BARS: [Bar; 23] = [
    bar("insert against crossbeam", of(OURS, Insert), Rule::Faster(of(CROSSBEAM, Insert), 3.8)),
    bar("get against crossbeam", of(OURS, Get), Rule::Faster(of(CROSSBEAM, Get), 3.8)),
    bar("insert against BTreeMap", of(OURS, Insert), faster(Insert, 1.1)),
    bar("get against BTreeMap", of(OURS, Get), faster(Get, 1.0)),
    bar(
        "insert, structured keys, against crossbeam",
        structured(OURS, Insert),
        Rule::Faster(structured(CROSSBEAM, Insert), 3.0),
    ),
    bar(
        "get, structured keys, against crossbeam",
        structured(OURS, Get),
        Rule::Faster(structured(CROSSBEAM, Get), 3.0),
    ),
    bar(
        "insert, structured keys, against BTreeMap",
        structured(OURS, Insert),
        Rule::Faster(structured(STD, Insert), 1.0),
    ),
    bar(
        "get, structured keys, against BTreeMap",
        structured(OURS, Get),
        Rule::Faster(structured(STD, Get), 1.0),
    ),
    bar(
        "get_many in groups of 16 against get",
        of(OURS, GetMany),
        Rule::Faster(of(OURS, Get), 2.5),
    ),
    bar("scan against crossbeam", of(OURS, Scan), Rule::Faster(of(CROSSBEAM, Scan), 6.0)),
    bar("scan after random insertion against BTreeMap", of(OURS, Scan), faster(Scan, 0.9)),
    bar("scan_bulk against BTreeMap", of(OURS, ScanBulk), faster(ScanBulk, 0.7)),
    bar("scan_bulk against scan", of(OURS, ScanBulk), Rule::Faster(of(OURS, Scan), 5.0)),
    bar(
        "range of 10 against crossbeam",
        of(OURS, Range10),
        Rule::Faster(of(CROSSBEAM, Range10), 3.0),
    ),
    bar("insert, 2 threads against 1", by_two(Insert), Rule::Faster(of(OURS, Insert), 1.5)),
    bar("get, 2 threads against 1", by_two(Get), Rule::Faster(of(OURS, Get), 1.5)),
    bar("bytes an entry after inserting", of(OURS, Insert), Rule::Bytes(72.0)),
    bar("bytes an entry, wanted", of(OURS, Insert), Rule::Bytes(56.0)),
    bar("bulk_build against insert", of(OURS, BulkBuild), Rule::Faster(of(OURS, Insert), 15.0)),
    bar("churned_get against get", of(OURS, ChurnedGet), Rule::Faster(of(OURS, Get), 0.6)),
    bar("churned_scan against scan", of(OURS, ChurnedScan), Rule::Faster(of(OURS, Scan), 0.6)),
    bar("held after removing 90 %, contiguous", of(OURS, ShrinkContiguous), Rule::Held(20.0)),
    bar("held after removing 90 %, at random", of(OURS, ShrinkRandom), Rule::Held(30.0)),
];

const fn faster(than_std: Workload, times: f64) -> Rule {
    Rule::Faster(of(STD, than_std), times)
}

/// How a bar came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Met,
    /// It does not.
    Missed,
    /// A side has no figure.
    NotMeasured,
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A bar with its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The bar.
    pub bar: Bar,
    /// Our figure, and that of the other side of a ratio.
    pub figures: (Option<f64>, Option<f64>),
    /// The ratio, the bytes or the per cent that were measured.
    pub measured: Option<f64>,
    /// The same ratio of processor time, between runs with as many threads: what it would be if
    /// nobody else had used the machine, more or less. The verdict does not look at it.
    pub by_cpu: Option<f64>,
    /// How it came out.
    pub verdict: Verdict,
}

impl Bar {
    /// Our figure, and that of the other side.
    #[must_use]
    pub fn measures(&self) -> Vec<Measure> {
        match self.rule {
            Rule::Faster(than, _) => vec![self.ours, than],
            _ => vec![self.ours],
        }
    }

    /// Judges it.
    #[must_use]
    pub fn judge(&self, results: &Results, entries: usize) -> Outcome {
        let ours = self.ours.cell(entries);
        let (figures, measured, is_met): (_, _, fn(f64, f64) -> bool) = match self.rule {
            Rule::Faster(than, _) => {
                let than = than.cell(entries);
                let figure = |cell| results.median(cell, Field::Time);
                let ratio = results.ratio(&than, &ours, Field::Time);
                ((figure(&ours), figure(&than)), ratio, |ratio, least| ratio >= least)
            }
            Rule::Bytes(_) => {
                let bytes = results.median(&ours, Field::Bytes);
                ((bytes, None), bytes, |bytes, most| bytes <= most)
            }
            Rule::Held(_) => {
                let held = results.median(&ours, Field::Held);
                ((held, None), held, |held, most| held <= most)
            }
        };
        let by_cpu = match self.rule {
            Rule::Faster(than, _) if than.threads == self.ours.threads => {
                results.ratio(&than.cell(entries), &ours, Field::Cpu)
            }
            _ => None,
        };
        let (Rule::Faster(_, bound) | Rule::Bytes(bound) | Rule::Held(bound)) = self.rule;
        let verdict = match measured {
            None => Verdict::NotMeasured,
            Some(measured) if is_met(measured, bound) => Verdict::Met,
            Some(_) => Verdict::Missed,
        };
        Outcome { bar: *self, figures, measured, by_cpu, verdict }
    }
}
