//! `whimbrel serve`: a node.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use whimbrel_journal::SyncPolicy;
use whimbrel_migrate::{MemoryCheck, Plant, SLOT_COUNT, Slot};

use crate::Error;
use crate::server;

/// Arguments of `whimbrel serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    /// Address for clients; port 0 takes any free port
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:7379")]
    pub listen: String,
    /// Address for other nodes; port 0 takes any free port
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub bus: String,
    /// Host that clients and nodes are told, where it differs from the address listened on
    #[arg(long, value_name = "HOST")]
    pub announce: Option<String>,
    /// File that says which node owns which slot, shared by the nodes of a machine [default: none,
    /// the node is alone]
    #[arg(long, value_name = "FILE")]
    pub slot_map: Option<PathBuf>,
    /// Where the node keeps its promises to other nodes, its journal and its checkpoints [default:
    /// beside the slot map]
    #[arg(long, alias = "data", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Keep a journal of all writes, so that a restart finds them again. `always`: no acknowledged
    /// write is lost, whatever happens. `interval`: synced every 100 ms, or say interval:MS; a killed
    /// process loses nothing, a machine that stops loses that much. `never`: the system syncs
    /// [default: no journal]
    #[arg(long, value_name = "always|interval|never")]
    pub journal: Option<JournalPolicy>,
    /// Make a checkpoint when the journal has grown by this many MiB
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub checkpoint_mib: u64,
    /// Slots to take if nobody has them: 0-16383, 5, 0-99,200-299 or none [default: all without
    /// --slot-map, else none]
    #[arg(long, value_name = "SLOTS")]
    pub own: Option<OwnSlots>,
    /// Load this backup, of a node or of an engine, before serving: a directory or s3://BUCKET/PREFIX; with a
    /// journal only while that is empty
    #[arg(long, value_name = "PLACE")]
    pub restore: Option<PathBuf>,
    /// What slots that come from other nodes may fill: what the system calls available, so many MiB,
    /// or anything
    #[arg(long, value_name = "system|MIB|off", default_value = "system", value_parser = memory_check)]
    pub memory_check: MemoryCheck,
    /// Most clients at a time; more are refused
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub max_clients: usize,
    /// Most bytes of unfinished requests that all clients may have here together, in MiB. A request
    /// above 16 KiB is refused when there is no room for it
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    pub max_input: usize,
    /// Stop when standard input ends too: a node then never outlives the program that started it
    #[arg(long)]
    pub until_stdin_ends: bool,
    /// Make this mistake, so that checks can be seen to notice it
    #[arg(long, value_name = "FAULT", hide = true)]
    pub plant: Option<PlantArg>,
}

/// A mistake that a node makes on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlantArg {
    /// A captured write is forgotten.
    DropCapturedWrite,
    /// The source goes on serving after its grant.
    ServeAfterGrant,
    /// A bit of a block is flipped.
    FlipBlock,
    /// A round of changes is not sent.
    SkipDeltaRound,
}

impl From<PlantArg> for Plant {
    fn from(plant: PlantArg) -> Self {
        match plant {
            PlantArg::DropCapturedWrite => Self::DropCapturedWrite,
            PlantArg::ServeAfterGrant => Self::ServeAfterGrant,
            PlantArg::FlipBlock => Self::FlipBlock,
            PlantArg::SkipDeltaRound => Self::SkipDeltaRound,
        }
    }
}

fn memory_check(text: &str) -> Result<MemoryCheck, String> {
    let bytes = |mib: u64| mib.checked_mul(1 << 20);
    match text {
        "system" => Ok(MemoryCheck::System),
        "off" => Ok(MemoryCheck::Off),
        mib => mib
            .parse()
            .ok()
            .and_then(bytes)
            .map(MemoryCheck::Assume)
            .ok_or_else(|| "say system, off, or a number of MiB".to_owned()),
    }
}

/// How often a journal is synced with `interval`, unless the user says.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);

/// When a node's journal is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPolicy(pub SyncPolicy);

impl std::str::FromStr for JournalPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, time) = text.split_once(':').unwrap_or((text, ""));
        match (name, time) {
            ("always", "") => Ok(Self(SyncPolicy::Always)),
            ("never", "") => Ok(Self(SyncPolicy::Never)),
            ("interval", "") => Ok(Self(SyncPolicy::Interval(SYNC_INTERVAL))),
            ("interval", time) => match time.parse() {
                Ok(time @ 1..=3_600_000) => {
                    Ok(Self(SyncPolicy::Interval(Duration::from_millis(time))))
                }
                _ => Err("an interval is 1 to 3600000 milliseconds".to_owned()),
            },
            _ => Err("say always, interval, interval:MS or never".to_owned()),
        }
    }
}

/// The slots that a node takes at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSlots(Vec<Slot>);

impl OwnSlots {
    /// Every slot.
    #[must_use]
    pub fn all() -> Self {
        Self(Slot::all().collect())
    }

    /// The slots, ascending.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.0
    }
}

impl std::str::FromStr for OwnSlots {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::default());
        }
        let last = SLOT_COUNT - 1;
        let number = |part: &str| {
            let number: Option<u16> = part.trim().parse().ok();
            number
                .filter(|number| *number <= last)
                .ok_or_else(|| format!("\"{part}\" is no slot; slots are numbered 0 to {last}"))
        };
        let mut slots = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part} is empty: write the smaller slot first"));
            }
            slots.extend((first..=last).filter_map(Slot::new));
        }
        slots.sort_unstable();
        slots.dedup();
        Ok(Self(slots))
    }
}

/// Serves until SIGTERM, SIGINT or, if asked for, the end of standard input. Prints one line, `ready` and a JSON object, when it does.
///
/// # Errors
///
/// [`Error::Listen`] when an address cannot be served, [`Error::Migrate`] when the slot map cannot
/// be used, [`Error::Recovery`] when the backup is damaged, [`Error::Journal`] when the journal is,
/// [`Error::NotEmpty`] for `--restore` beside a journal with content, [`Error::SlotTaken`] when a slot of
/// `--own` belongs to another node.
pub fn run(args: ServeArgs) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("whimbrel-node")
        .build()
        .map_err(|source| Error::System { what: "cannot start the runtime", source })?;
    runtime.block_on(server::serve(args))
}
