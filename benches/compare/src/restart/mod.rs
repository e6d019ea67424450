//! From the start of a backup to a fresh process that has read every entry.
//!
//! The parent starts a child for each contender and round. The child fills the contender from sorted keys, and then,
//! measured: backs it up into an empty folder, starts a fresh process that opens what is there and reads all of it,
//! each thread a range in order, and waits for its end. The sums of what was read must be the same.
//!
//! The keys at which the ranges begin are handed to every contender alike, for nothing.

mod contenders;
mod table;

use std::fs;
use std::io::Write as _;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Args as ClapArgs;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use whimbrel_mvcc::KeyRange;

use crate::keys::{KeyKind, Keys};
use crate::output::default_folder;
use crate::random::mix;
use crate::report::short;
use crate::sum::Sum;
use contenders::{CONTENDERS, Contender, Opened};

/// A file system in memory, where the system has one.
const IN_MEMORY: &str = "/dev/shm";

/// Bytes an entry of fresh memory that a child touches before it is measured: see [`crate::system::warm`].
const WARM_BYTES: usize = 160;

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
    /// Threads of the fresh process, each of which reads a range [default: as many as the machine runs at once].
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Folder in which files are written and read [default: one of a file system in memory].
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Seed of the keys.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder for the table [default: docs/benchmarks of the workspace].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl RestartArgs {
    fn threads(&self) -> usize {
        let many = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.threads.unwrap_or_else(many).max(1)
    }
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
    threads: usize,
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
    /// A key at which a range begins, in hexadecimal digits; once for each range but the first.
    #[arg(long)]
    cut: Vec<String>,
}

/// What one child found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sample {
    /// All of it.
    seconds: f64,
    /// Of it: the backup, until it is durable.
    backup_seconds: f64,
    /// The fresh process, until it does its work.
    start_seconds: f64,
    /// Until any key can be looked up: a restore restores.
    open_seconds: f64,
    /// Reading everything.
    scan_seconds: f64,
    /// Until the fresh process is gone.
    end_seconds: f64,
    /// Bytes of the backup's files.
    file_bytes: u64,
    /// Bytes of all keys.
    key_bytes: u64,
    /// Sum of what was read.
    checksum: u64,
}

/// What the fresh process tells.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Told {
    /// When it began, since 1970.
    began: Duration,
    open_seconds: f64,
    scan_seconds: f64,
    /// When it had read everything.
    ended: Duration,
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
    let out = args.out.clone().unwrap_or_else(default_folder);
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let folder = match &args.files {
        Some(files) => TempDir::new_in(files)?,
        None if Path::new(IN_MEMORY).is_dir() => TempDir::new_in(IN_MEMORY)?,
        None => TempDir::new()?,
    };
    let mut paths = None;
    if args.keys == KeyKind::Paths {
        let file = folder.path().join("names");
        if crate::debian::write_names(&file, args.entries, args.seed)? {
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
    let table = table::table(args, keys, &contenders, &samples);
    print!("{table}");
    let file = out.join(format!("restart-{keys}-{}.md", short(args.entries)));
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
    command.args(["--threads", &args.threads().to_string()]);
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
    let keys = Keys::ascending(args.keys, args.entries, args.seed, args.paths.as_deref())?;
    let key_bytes = keys.iter().map(|key| key.len() as u64).sum();
    let (live, backup) = (args.scratch.join("live"), args.scratch.join("backup"));
    fs::create_dir(&live)?;
    let filled = (contender.fill)(&keys, &live)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["restart-fresh", "--contender", contender.name, "--from"]).arg(&backup);
    for cut in (1..args.threads).map(|part| keys.get(keys.len() / args.threads * part)) {
        let digits: String = cut.iter().map(|byte| format!("{byte:02x}")).collect();
        command.args(["--cut", &digits]);
    }
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    drop(keys);
    crate::system::warm(WARM_BYTES * args.entries)?;
    let begin = Instant::now();
    filled.back_up(&backup)?;
    let (backed_up, started) = (begin.elapsed(), since_1970());
    let output = command.output()?;
    let (whole, gone) = (begin.elapsed(), since_1970());
    ensure!(output.status.success(), "the fresh process ended with {}", output.status);
    let told: Told = serde_json::from_slice(&output.stdout)?;
    let sample = Sample {
        seconds: whole.as_secs_f64(),
        backup_seconds: backed_up.as_secs_f64(),
        start_seconds: told.began.saturating_sub(started).as_secs_f64(),
        open_seconds: told.open_seconds,
        scan_seconds: told.scan_seconds,
        end_seconds: gone.saturating_sub(told.ended).as_secs_f64(),
        file_bytes: bytes_in(&backup)?,
        key_bytes,
        checksum: told.checksum,
    };
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

/// The clock that two processes share.
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The fresh process.
///
/// # Errors
///
/// When the backup cannot be opened or read.
pub fn run_fresh(args: &FreshArgs) -> anyhow::Result<()> {
    let began = since_1970();
    let ranges = ranges(&args.cut)?;
    let begin = Instant::now();
    let opened = (find(&args.contender)?.open)(&args.from)?;
    let open = begin.elapsed();
    let sum = scan(&*opened, &ranges)?;
    let scan_seconds = (begin.elapsed() - open).as_secs_f64();
    let (ended, checksum) = (since_1970(), mix(sum.finish()));
    let told = Told { began, open_seconds: open.as_secs_f64(), scan_seconds, ended, checksum };
    let mut out = std::io::stdout();
    writeln!(out, "{}", serde_json::to_string(&told)?)?;
    out.flush()?;
    // What it holds in memory goes with the process.
    std::process::exit(0)
}

/// The ranges that begin at the cuts, and the one before them.
fn ranges(cuts: &[String]) -> anyhow::Result<Vec<KeyRange>> {
    let byte = |digits: &[u8]| -> anyhow::Result<u8> {
        Ok(u8::from_str_radix(std::str::from_utf8(digits)?, 16)?)
    };
    let mut lo = Bound::Unbounded;
    let mut ranges = Vec::with_capacity(cuts.len() + 1);
    for digits in cuts {
        let cut: Vec<u8> = digits.as_bytes().chunks(2).map(byte).collect::<anyhow::Result<_>>()?;
        let hi = Bound::Excluded(cut.clone());
        ranges.push(KeyRange { lo: std::mem::replace(&mut lo, Bound::Included(cut)), hi });
    }
    ranges.push(KeyRange { lo, hi: Bound::Unbounded });
    Ok(ranges)
}

/// Reads all ranges, each on a thread of its own, the last on this one.
fn scan(opened: &dyn Opened, ranges: &[KeyRange]) -> anyhow::Result<Sum> {
    let Some((last, others)) = ranges.split_last() else { return Ok(Sum::default()) };
    std::thread::scope(|scope| {
        let others: Vec<_> =
            others.iter().map(|range| scope.spawn(move || opened.scan(range))).collect();
        let mut sum = opened.scan(last)?;
        for other in others {
            sum.join(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(sum)
    })
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
