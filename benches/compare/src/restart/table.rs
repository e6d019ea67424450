//! What was measured, for people to read.

use std::fmt::Write as _;
use std::path::Path;

use super::contenders::Contender;
use super::{RestartArgs, Sample};
use crate::stats::{median, paired_ratio, spread_percent};

/// Names of ours begin so; the others are compared with each of them.
const OURS: &str = "whimbrel";

/// A phase: its name, and the seconds that it took.
type Phase = (&'static str, fn(&Sample) -> f64);

/// In their order; together they are all of the time.
const PHASES: [Phase; 5] = [
    ("backup", |sample| sample.backup_seconds),
    ("start", |sample| sample.start_seconds),
    ("open", |sample| sample.open_seconds),
    ("scan", |sample| sample.scan_seconds),
    ("end", |sample| sample.end_seconds),
];

pub(super) fn table(
    args: &RestartArgs,
    keys: &str,
    contenders: &[&Contender],
    samples: &[Vec<(usize, Sample)>],
) -> String {
    let files = args.files.as_deref().map_or("a file system in memory".to_owned(), show);
    let mut text = format!(
        "# From a backup to a fresh process that has read it\n\n\
         Written by `whimbrel-compare restart`; [its README](../../benches/compare/README.md) says what is done. {} \
         entries of {keys} with values of 8 bytes, read by {} threads, {} rounds, medians; files are on {files}. `xR`: the \
         time over that of ours in the same round, below x1 ours loses; `(S%)`: greatest less least time, over the median.\n\n",
        args.entries,
        args.threads(),
        args.rounds,
    );
    totals(&mut text, args.entries, contenders, samples);
    phases(&mut text, contenders, samples);
    text
}

fn show(folder: &Path) -> String {
    format!("the file system of {}", folder.display())
}

fn totals(
    text: &mut String,
    entries: usize,
    contenders: &[&Contender],
    samples: &[Vec<(usize, Sample)>],
) {
    let seconds = |samples: &[(usize, Sample)]| -> Vec<(usize, f64)> {
        samples.iter().map(|(round, sample)| (*round, sample.seconds)).collect()
    };
    let ours = contenders.iter().zip(samples);
    let ours: Vec<_> = ours.filter(|(it, _)| it.name.starts_with(OURS)).collect();
    let over = ours.iter().fold(String::new(), |all, (it, _)| all + " over " + it.name + " |");
    let _ = writeln!(
        text,
        "| contender | all of it, s |{over} bytes an entry | of the keys | of keys and values |\n|---|---|{}---|---|---|",
        "---|".repeat(ours.len()),
    );
    for (contender, samples) in contenders.iter().zip(samples) {
        let all: Vec<f64> = seconds(samples).into_iter().map(|(_, seconds)| seconds).collect();
        let (middle, spread) = (median(&all), spread_percent(&all).unwrap_or_default());
        let _ = write!(
            text,
            "| {}: {} | {:.3} ({spread:.0}%) |",
            contender.name,
            contender.about,
            middle.unwrap_or_default(),
        );
        for (_, ours) in &ours {
            let ratio = paired_ratio(&seconds(samples), &seconds(ours));
            let _ = write!(text, " {} |", ratio.map_or_else(String::new, |it| format!("x{it:.2}")));
        }
        let Sample { file_bytes, key_bytes, .. } = samples[0].1;
        let (files, keys) = (file_bytes as f64, key_bytes as f64);
        let _ = writeln!(
            text,
            " {:.1} | {:.0}% | {:.0}% |",
            files / entries as f64,
            100.0 * files / keys,
            100.0 * files / (keys + 8.0 * entries as f64),
        );
    }
}

fn phases(text: &mut String, contenders: &[&Contender], samples: &[Vec<(usize, Sample)>]) {
    let names = PHASES.iter().fold(String::new(), |all, (name, _)| all + " " + name + " |");
    let _ = writeln!(
        text,
        "\nWhere the time goes, medians in ms: the backup until it is durable; the start of the fresh process; opening, \
         after which any key can be looked up; reading everything; the end of the process.\n\n\
         | contender |{names}\n|---|{}",
        "---|".repeat(PHASES.len()),
    );
    for (contender, samples) in contenders.iter().zip(samples) {
        let _ = write!(text, "| {} |", contender.name);
        for (_, seconds) in PHASES {
            let all: Vec<f64> = samples.iter().map(|(_, sample)| seconds(sample)).collect();
            let _ = write!(text, " {:.1} |", 1000.0 * median(&all).unwrap_or_default());
        }
        text.push('\n');
    }
}
