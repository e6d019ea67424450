//! The command line.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::bars;
use crate::child::Task;
use crate::keys::KeyKind;
use crate::peer::Facts;
use crate::peers::{PEERS, find};
use crate::restart::RestartArgs;
use crate::workload::{Set, Workload};

/// Runs Whimbrel and its peers in turn, each in a process of its own, and compares them.
#[derive(Debug, Parser)]
#[command(name = "whimbrel-compare", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) other: Option<Other>,
    /// Fewer entries (50,000) and rounds (3): shows that all works, not how fast.
    #[arg(long)]
    pub quick: bool,
    /// Entries to build [default: 1000000; with --bars 10000000].
    #[arg(long, value_name = "N")]
    pub entries: Option<usize>,
    /// Keys.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [KeyKind::Random16])]
    pub keys: Vec<KeyKind>,
    /// Only these peers [default: all; from 5,000,000 entries on three of them].
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these workloads [default: all].
    #[arg(long, value_name = "W", value_enum, value_delimiter = ',')]
    pub workload: Vec<Workload>,
    /// Threads at work.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    pub threads: Vec<usize>,
    /// Rounds [default: 5; 3 from 5,000,000 entries on, and with --quick].
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Seed of all keys and orders.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Also writes the rows to this file, as a JSON array.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Folder for the table and the plots [default: docs/benchmarks of the workspace].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Measures what the bars need, at 10 million entries, and says which are met.
    #[arg(long, conflicts_with_all = ["keys", "only", "workload", "threads"])]
    pub bars: bool,
    /// Lets this peer read one wrong value, which the run must find.
    #[arg(long, value_name = "PEER", hide = true)]
    pub plant: Option<String>,
    /// Names the peers, the workloads and the bars, and ends.
    #[arg(long)]
    pub list: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Other {
    /// Measures one set of one peer; started by the program itself.
    #[command(hide = true)]
    Child(ChildArgs),
    Restart(RestartArgs),
    /// One contender of `restart`; started by the program itself.
    #[command(hide = true)]
    RestartChild(crate::restart::ChildArgs),
    /// Reads what a contender of `restart` wrote; started by the program itself.
    #[command(hide = true)]
    RestartFresh(crate::restart::FreshArgs),
}

/// What the parent tells a child.
#[derive(Debug, ClapArgs)]
pub(crate) struct ChildArgs {
    #[arg(long)]
    peer: String,
    #[arg(long)]
    set: Set,
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,
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
    #[arg(long)]
    plant: bool,
}

impl ChildArgs {
    pub(crate) fn task(self) -> anyhow::Result<Task> {
        let Self { peer, set, workloads, keys, entries, threads, seed, paths, scratch, plant } =
            self;
        let peer = find(&peer).context("no such peer")?.name;
        Ok(Task { peer, set, workloads, keys, entries, threads, seed, paths, scratch, plant })
    }
}

/// The arguments that make a child do a task.
#[must_use]
pub fn child_arguments(task: &Task) -> Vec<std::ffi::OsString> {
    let workloads: Vec<String> = task.workloads.iter().map(|workload| workload.name()).collect();
    let set = clap::ValueEnum::to_possible_value(&task.set);
    let set = set.map(|set| set.get_name().to_owned()).unwrap_or_default();
    let mut arguments: Vec<std::ffi::OsString> = vec!["child".into()];
    let mut add = |name: &str, value: std::ffi::OsString| {
        arguments.extend([format!("--{name}").into(), value]);
    };
    add("peer", task.peer.into());
    add("set", set.into());
    add("workloads", workloads.join(",").into());
    add("keys", task.keys.name().into());
    add("entries", task.entries.to_string().into());
    add("threads", task.threads.to_string().into());
    add("seed", task.seed.to_string().into());
    add("scratch", task.scratch.clone().into());
    if let Some(paths) = &task.paths {
        add("paths", paths.clone().into());
    }
    if task.plant {
        arguments.push("--plant".into());
    }
    arguments
}

/// From so many entries on the defaults are those of large runs.
const LARGE: usize = 5_000_000;
/// What runs at that size unless peers are named.
const AT_LARGE: [&str; 3] = ["whimbrel", "crossbeam-skiplist", "std-btreemap"];

impl Args {
    /// Entries to build.
    #[must_use]
    pub fn entries(&self) -> usize {
        let default = match (self.quick, self.bars) {
            (true, _) => 50_000,
            (false, true) => bars::ENTRIES,
            (false, false) => 1_000_000,
        };
        self.entries.unwrap_or(default)
    }

    /// Rounds to run.
    #[must_use]
    pub fn rounds(&self) -> usize {
        let few = self.quick || self.entries() >= LARGE;
        self.rounds.unwrap_or(if few { 3 } else { 5 }).max(1)
    }

    /// The peers that are wanted and in this build, in the order of the table.
    ///
    /// # Errors
    ///
    /// When a name is unknown, or named and not in this build.
    pub fn peers(&self) -> anyhow::Result<Vec<Facts>> {
        for name in &self.only {
            let Some(peer) = find(name) else {
                let names: Vec<&str> = PEERS.iter().map(|peer| peer.name).collect();
                bail!("no peer is called {name}; there are {}", names.join(", "));
            };
            ensure!(
                peer.make.is_some(),
                "{name} is not in this build: a feature of the crate is off"
            );
        }
        let is_wanted = |peer: &Facts| match self.only.is_empty() {
            false => self.only.iter().any(|name| name == peer.name),
            true => self.entries() < LARGE || AT_LARGE.contains(&peer.name),
        };
        Ok(PEERS.into_iter().filter(|peer| peer.make.is_some() && is_wanted(peer)).collect())
    }

    /// The workloads that are wanted.
    #[must_use]
    pub fn workloads(&self) -> Vec<Workload> {
        match self.workload.is_empty() {
            true => <Workload as clap::ValueEnum>::value_variants().to_vec(),
            false => self.workload.clone(),
        }
    }
}
