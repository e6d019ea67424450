//! From the start of a backup to a fresh process that has read every entry.
//!
//! The parent starts a child for each contender and round. The child fills the contender from sorted keys, and then,
//! measured: backs it up into an empty folder of a file system in memory, starts a fresh process that opens what
//! is there and reads all of it in order, and waits for its end. The sums of what was read must be the same.

mod contenders;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::keys::{Input, KeyKind};
use crate::random::mix;
use crate::report::short;
use crate::stats::{median, paired_ratio, spread_percent};
use crate::sum::Sum;
use contenders::{CONTENDERS, Contender};

/// A file system in memory, where the system has one.
const IN_MEMORY: &str = "/dev/shm";

/// Whom the others are compared with.
const OURS: &str = "whimbrel";

/// Backs up, and reads all of it in a fresh process: ours beside snapshots, copies and checkpoints of others.
#[derive(Debug, ClapArgs)]
pub struct RestartArgs {
    /// Entries.
    #[arg(long, default_value_t = 10_000_000)]
    entries: usize,
    /// Keys.
    #[arg(long, value_enum, default_value_t = KeyKind::Random16)]
    keys: KeyKind,
    /// Only these [default: all that are in this build].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds, of which medians are taken.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seed of the keys.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder for the table [default: docs/benchmarks of the workspace].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What the parent tells a child.
#[derive(Debug, ClapArgs)]
pub struct ChildArgs {
    #[arg(long)]
    contender: String,
    #[arg(long)]
    keys: KeyKind,
    #[arg(long)]
    entries: usize,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    paths: Option<PathBuf>,
    #[arg(long)]
    scratch: PathBuf,
}

/// What a child tells the fresh process.
#[derive(Debug, ClapArgs)]
pub struct FreshArgs {
    #[arg(long)]
    contender: String,
    #[arg(long)]
    from: PathBuf,
}

/// What one child found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sample {
    /// All of it.
    seconds: f64,
    /// The backup alone.
    backup_seconds: f64,
    /// Bytes of the backup's files.
    file_bytes: u64,
    /// Bytes of all keys and values.
    raw_bytes: u64,
    /// Sum of what was read.
    checksum: u64,
}

fn find(name: &str) -> anyhow::Result<&'static Contender> {
    let names = || CONTENDERS.iter().map(|it| it.name).collect::<Vec<_>>().join(", ");
    let found = CONTENDERS.iter().find(|it| it.name == name);
    found.with_context(|| format!("{name} is none of {}", names()))
}

/// The parent.
///
/// # Errors
///
/// When a child fails, or read something else than the others.
pub fn run(args: &RestartArgs) -> anyhow::Result<()> {
    ensure!(args.rounds > 0 && args.entries > 0, "nothing is to be done");
    let contenders: Vec<&Contender> = match args.only.is_empty() {
        true => CONTENDERS.iter().collect(),
        false => args.only.iter().map(|name| find(name)).collect::<anyhow::Result<_>>()?,
    };
    let folder = match Path::new(IN_MEMORY).is_dir() {
        true => TempDir::new_in(IN_MEMORY)?,
        false => TempDir::new()?,
    };
    let mut paths = None;
    if args.keys == KeyKind::Paths {
        let file = folder.path().join("names");
        if crate::debian::write_names(&file, 2 * args.entries, args.seed)? {
            paths = Some(file);
        }
    }
    let mut samples: Vec<Vec<(usize, Sample)>> = vec![Vec::new(); contenders.len()];
    for round in 0..args.rounds {
        // Each round begins with another one.
        for at in (0..contenders.len()).map(|at| (at + round) % contenders.len()) {
            let name = contenders[at].name;
            eprintln!("round {} of {}: {name}", round + 1, args.rounds);
            let sample = child(args, name, paths.as_deref(), folder.path());
            samples[at].push((round, sample.with_context(|| name.to_owned())?));
        }
    }
    let first = samples[0][0].1.checksum;
    for (contender, samples) in contenders.iter().zip(&samples) {
        let same = samples.iter().all(|(_, sample)| sample.checksum == first);
        ensure!(same, "{} read something else than {}", contender.name, contenders[0].name);
    }
    let keys = match (args.keys, &paths) {
        (KeyKind::Paths, None) => "paths-stand-in",
        (keys, _) => keys.name(),
    };
    let table = table(args, keys, &contenders, &samples);
    print!("{table}");
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks");
    let file = args.out.clone().unwrap_or_else(default);
    let file = file.join(format!("restart-{keys}-{}.md", short(args.entries)));
    fs::write(&file, table).with_context(|| file.display().to_string())
}

fn child(
    args: &RestartArgs,
    name: &str,
    paths: Option<&Path>,
    folder: &Path,
) -> anyhow::Result<Sample> {
    let scratch = TempDir::new_in(folder)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["restart-child", "--contender", name, "--keys", args.keys.name()]);
    command.args(["--entries", &args.entries.to_string(), "--seed", &args.seed.to_string()]);
    command.arg("--scratch").arg(scratch.path()).stdin(Stdio::null()).stderr(Stdio::inherit());
    if let Some(paths) = paths {
        command.arg("--paths").arg(paths);
    }
    let output = command.output()?;
    ensure!(output.status.success(), "the child ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The child.
///
/// # Errors
///
/// When the contender cannot be filled, backed up, or read.
pub fn run_child(args: &ChildArgs) -> anyhow::Result<()> {
    let contender = find(&args.contender)?;
    let input = Input::new(args.keys, args.entries, args.seed, args.paths.as_deref())?;
    let keys = input.sorted;
    let raw_bytes = keys.iter().map(|key| key.len() as u64 + 8).sum();
    let (live, backup) = (args.scratch.join("live"), args.scratch.join("backup"));
    fs::create_dir(&live)?;
    let filled = (contender.fill)(&keys, &live)?;
    drop(keys);
    let begin = Instant::now();
    filled.back_up(&backup)?;
    let backup_seconds = begin.elapsed().as_secs_f64();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["restart-fresh", "--contender", contender.name, "--from"]).arg(&backup);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(output.status.success(), "the fresh process ended with {}", output.status);
    let checksum = String::from_utf8(output.stdout)?.trim().parse()?;
    let sample =
        Sample { seconds, backup_seconds, file_bytes: bytes_in(&backup)?, raw_bytes, checksum };
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// The fresh process.
///
/// # Errors
///
/// When the backup cannot be opened or read.
pub fn run_fresh(args: &FreshArgs) -> anyhow::Result<()> {
    let sum: Sum = (find(&args.contender)?.read)(&args.from)?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", mix(sum.finish()))?;
    out.flush()?;
    // What it holds in memory goes with the process.
    std::process::exit(0)
}

fn bytes_in(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { bytes_in(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

fn table(
    args: &RestartArgs,
    keys: &str,
    contenders: &[&Contender],
    samples: &[Vec<(usize, Sample)>],
) -> String {
    let mut text = format!(
        "# From a backup to a fresh process that has read it\n\n\
         Written by `whimbrel-compare restart`; [its README](../../benches/compare/README.md) says what is done. {} entries of \
         {keys} with values of 8 bytes, {} rounds, medians; `xR`: the time over whimbrel's of the same round, below x1 \
         whimbrel loses; `(S%)`: greatest less least time, over the median. Files are on a file system in memory.\n\n\
         | contender | all of it, s | | of it the backup, s | bytes an entry | of keys and values |\n|---|---|---|---|---|---|\n",
        args.entries, args.rounds,
    );
    let seconds = |samples: &[(usize, Sample)]| -> Vec<(usize, f64)> {
        samples.iter().map(|(round, sample)| (*round, sample.seconds)).collect()
    };
    let ours = contenders.iter().position(|it| it.name == OURS).map(|at| seconds(&samples[at]));
    for (contender, samples) in contenders.iter().zip(samples) {
        let all: Vec<f64> = seconds(samples).into_iter().map(|(_, seconds)| seconds).collect();
        let backups: Vec<f64> = samples.iter().map(|(_, sample)| sample.backup_seconds).collect();
        let ratio = ours.as_ref().and_then(|ours| paired_ratio(&seconds(samples), ours));
        let Sample { file_bytes, raw_bytes, .. } = samples[0].1;
        let _ = writeln!(
            text,
            "| {}: {} | {:.2} ({:.0}%) | {} | {:.2} | {:.1} | {:.0}% |",
            contender.name,
            contender.about,
            median(&all).unwrap_or_default(),
            spread_percent(&all).unwrap_or_default(),
            ratio.map_or_else(String::new, |ratio| format!("x{ratio:.2}")),
            median(&backups).unwrap_or_default(),
            file_bytes as f64 / args.entries as f64,
            100.0 * file_bytes as f64 / raw_bytes as f64,
        );
    }
    text
}
