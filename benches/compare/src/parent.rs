//! The parent: runs children one at a time, round by round, and gathers what they print.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use crate::args::{Args, child_arguments};
use crate::child::{Sample, Task};
use crate::keys::KeyKind;
use crate::plan::{Group, Item};
use crate::results::{Cell, Results};

/// A file system in memory, where the system has one.
const IN_MEMORY: &str = "/dev/shm";
/// How long the parent sleeps between two looks at its child.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a run brought.
#[derive(Debug)]
pub struct Run {
    /// All samples.
    pub results: Results,
    /// What went wrong, one line each.
    pub failures: Vec<String>,
    /// Whether it was interrupted.
    pub interrupted: bool,
    /// Rounds that were asked for.
    pub rounds: usize,
}

/// Runs a plan.
///
/// # Errors
///
/// When the parent itself cannot go on; what a child fails at is in [`Run::failures`].
pub fn run(args: &Args, groups: &[Group]) -> anyhow::Result<Run> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    // ORDERING: Relaxed; a flag that leads to nothing.
    ctrlc::set_handler(move || asked.store(true, Ordering::Relaxed)).context("SIGINT")?;
    let folder = match Path::new(IN_MEMORY).is_dir() {
        true => TempDir::new_in(IN_MEMORY)?,
        false => TempDir::new()?,
    };
    let mut parent = Parent::new(args, groups, folder, stop)?;
    for round in 0..args.rounds() {
        for (at, group) in groups.iter().enumerate() {
            // Each round begins with another peer.
            let count = group.items.len();
            for item in group.items.iter().cycle().skip(round % count).take(count) {
                if !parent.one(round, at, group, item)? {
                    parent.run.interrupted = true;
                    return Ok(parent.finish());
                }
            }
        }
    }
    Ok(parent.finish())
}

struct Parent<'a> {
    args: &'a Args,
    groups: &'a [Group],
    folder: TempDir,
    /// Real paths, if there are any.
    paths: Option<PathBuf>,
    stop: Arc<AtomicBool>,
    bar: ProgressBar,
    /// How long each child took, by group and peer.
    took: BTreeMap<(usize, &'static str), Duration>,
    done: usize,
    run: Run,
}

impl<'a> Parent<'a> {
    fn new(
        args: &'a Args,
        groups: &'a [Group],
        folder: TempDir,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let children: usize = groups.iter().map(|group| group.items.len()).sum();
        let bar = ProgressBar::new((children * args.rounds()) as u64);
        let style = "{bar:30} {pos}/{len} children, {elapsed} gone, {msg}";
        bar.set_style(ProgressStyle::with_template(style)?);
        let mut paths = None;
        if groups.iter().any(|group| group.keys == KeyKind::Paths) {
            bar.set_message("reading Debian's lists of files");
            let file = folder.path().join("names");
            if crate::debian::write_names(&file, 2 * args.entries(), args.seed)? {
                paths = Some(file);
            } else {
                bar.println("too few names in Debian's lists of files (ci/compare-deps.sh fetches");
                bar.println("them): a generated stand-in takes their place and says so");
            }
        }
        let rounds = args.rounds();
        let (results, failures, interrupted) = (Results::default(), Vec::new(), false);
        let run = Run { results, failures, interrupted, rounds };
        let (took, done) = (BTreeMap::new(), 0);
        Ok(Self { args, groups, folder, paths, stop, bar, took, done, run })
    }

    /// Runs one child; false when it was interrupted.
    fn one(&mut self, round: usize, at: usize, group: &Group, item: &Item) -> anyhow::Result<bool> {
        let left = self.time_left().map(|left| format!(", {} left", words(left)));
        let what = format!("{} {:?}", item.peer, group.set).to_lowercase();
        self.bar.set_message(format!("{what}{}", left.unwrap_or_default()));
        let scratch = TempDir::new_in(self.folder.path())?;
        let task = Task {
            peer: item.peer,
            set: group.set,
            workloads: item.workloads.clone(),
            keys: group.keys,
            entries: self.args.entries(),
            threads: group.threads,
            seed: self.args.seed,
            paths: self.paths.clone(),
            scratch: scratch.path().to_owned(),
            plant: self.args.plant.as_deref() == Some(item.peer),
        };
        let start = Instant::now();
        match self.child(&task) {
            Ok(None) => return Ok(false),
            Ok(Some(samples)) => self.keep(round, &task, samples),
            Err(error) => {
                let failure = format!("{what}, {} threads: {error:#}", group.threads);
                self.bar.println(format!("failed: {failure}"));
                self.run.failures.push(failure);
            }
        }
        self.took.insert((at, item.peer), start.elapsed());
        self.done += 1;
        self.bar.inc(1);
        Ok(true)
    }

    fn keep(&mut self, round: usize, task: &Task, samples: Vec<Sample>) {
        for sample in samples {
            let keys = match (task.keys, &task.paths) {
                (KeyKind::Paths, None) => "paths-stand-in".to_owned(),
                (keys, _) => keys.name().to_owned(),
            };
            let cell = Cell {
                keys,
                entries: task.entries,
                threads: task.threads,
                workload: sample.workload,
                peer: task.peer,
            };
            self.run.results.add(cell, round, sample);
        }
    }

    /// Starts this program again and waits for its end; none when the user interrupted.
    fn child(&self, task: &Task) -> anyhow::Result<Option<Vec<Sample>>> {
        let program = std::env::current_exe().context("the path of this program")?;
        let complaints = self.folder.path().join("complaints");
        let mut child = Command::new(program)
            .args(child_arguments(task))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&complaints)?)
            .spawn()
            .context("starting a child")?;
        let waited = self.wait(&mut child);
        if !matches!(waited, Ok(Some(_))) {
            // It may have ended by itself: the terminal interrupts both.
            let _ = child.kill();
            child.wait()?;
        }
        let Some(status) = waited? else { return Ok(None) };
        // A child prints less than a pipe holds, so it never waited for a reader.
        let mut text = String::new();
        child.stdout.take().context("the child's output")?.read_to_string(&mut text)?;
        let complaints = std::fs::read(&complaints)?;
        let complaints = String::from_utf8_lossy(&complaints);
        ensure!(status.success(), "{status}: {}", complaints.trim());
        let samples = text.lines().map(serde_json::from_str).collect::<Result<Vec<Sample>, _>>()?;
        for workload in &task.workloads {
            if !samples.iter().any(|sample| sample.workload == *workload) {
                bail!("the child says nothing about {}", workload.name());
            }
        }
        Ok(Some(samples))
    }

    fn wait(&self, child: &mut Child) -> anyhow::Result<Option<std::process::ExitStatus>> {
        loop {
            // ORDERING: Relaxed; as in the handler.
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            self.bar.tick();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What the children to come will take if each takes as long as in the round before; those that
    /// have not run yet count as the mean of those that have.
    fn time_left(&self) -> Option<Duration> {
        let known: Duration = self.took.values().sum();
        let mean = known.checked_div(u32::try_from(self.took.len()).ok()?)?;
        let per_round: Duration = (0..)
            .zip(self.groups)
            .flat_map(|(at, group)| group.items.iter().map(move |item| (at, item.peer)))
            .map(|child| self.took.get(&child).copied().unwrap_or(mean))
            .sum();
        let children: usize = self.groups.iter().map(|group| group.items.len()).sum();
        let rounds_left = self.run.rounds as f64 - self.done as f64 / children as f64;
        Some(per_round.mul_f64(rounds_left.max(0.0)))
    }

    fn finish(mut self) -> Run {
        self.bar.finish_and_clear();
        self.run.failures.extend(self.run.results.disagreements());
        self.run
    }
}

fn words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..100 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}
