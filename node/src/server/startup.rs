//! From arguments to a node that serves: addresses, slot map, backup, slots.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;
use whimbrel_backup::Work;
use whimbrel_migrate::{
    CasOp, CasOutcome, FileMap, MemMap, NodeId, NodeInfo, ServerOptions, Slot, SlotKeeper, SlotMap,
    SlotRecord, SlotServer,
};
use whimbrel_mvcc::Clock;

use super::Node;
use super::checkpoint::{Found, checkpoint, has_journal, load};
use super::durable::Durable;
use super::intake::Intake;
use super::node::Keeping;
use crate::Error;
use crate::command::serve::{JournalPolicy, OwnSlots, ServeArgs};
use crate::restore;

/// A node that is ready, and where it listens.
pub(super) struct Started {
    pub(super) node: Node,
    pub(super) clients: TcpListener,
    pub(super) max_clients: usize,
    pub(super) bus: TcpListener,
    /// Removed at the end where the user named no directory.
    pub(super) _scratch: Option<tempfile::TempDir>,
}

/// Listens, loads and claims, in this order: what fails changes nothing that others see.
pub(super) async fn start(args: ServeArgs) -> Result<Started, Error> {
    let (clients, client_address) = listen(&args.listen).await?;
    let (bus, bus_address) = listen(&args.bus).await?;
    let me = NodeInfo {
        id: name(&args, &args.listen, client_address)?,
        bus: name(&args, &args.bus, bus_address)?,
    };
    let (dir, scratch) = data_dir(&args, &me.id)?;
    let clock = Clock::new();
    if args.journal.is_none() && has_journal(&dir) {
        return Err(Error::JournalIgnored { dir });
    }
    let found = match args.journal {
        Some(JournalPolicy(policy)) => {
            let (dir, clock) = (dir.clone(), clock.clone());
            Some(blocking(move || load(&dir, policy, &clock)).await?)
        }
        None => None,
    };
    let slot_map = args.slot_map.clone();
    let map: Arc<dyn SlotMap> = match slot_map {
        Some(path) => Arc::new(blocking(move || Ok(FileMap::open(path)?)).await?),
        None => Arc::new(MemMap::new()),
    };
    let mut options = ServerOptions::new(me.clone(), &dir).memory(args.memory_check);
    if let Some(Found { durable, .. }) = &found {
        options = options.keeper(Arc::clone(durable) as Arc<dyn SlotKeeper>);
    }
    let server = SlotServer::new(clock.clone(), Arc::clone(&map), options)?;
    let is_new = found.as_ref().is_none_or(|found| found.is_new);
    let durable = found.map(|found| preload(&server, found));
    if let Some(backup) = args.restore.clone() {
        if !is_new {
            return Err(Error::NotEmpty { dir });
        }
        bring_back(backup, &server, durable.clone(), dir.clone()).await?;
    }
    let own = args.own.unwrap_or_else(|| match args.slot_map {
        Some(_) => OwnSlots::default(),
        None => OwnSlots::all(),
    });
    let claimed = (Arc::clone(&map), me.id.clone());
    blocking(move || claim(&*claimed.0, &claimed.1, own.slots())).await?;
    let report = server.start().await?;
    tracing::info!(node = %me.id, bus = %me.bus, ?report, "started");
    let foreign = server.forget_foreign();
    if let Some(durable) = &durable {
        foreign.into_iter().for_each(|slot| durable.gone(slot));
    }
    let intake = Intake::new(args.max_input.saturating_mul(1 << 20));
    let keeping = durable.map(|durable| Keeping {
        durable,
        dir,
        checkpoint_bytes: args.checkpoint_mib.saturating_mul(1 << 20),
        after_last: Arc::default(),
    });
    let node = Node::new(server, keeping, args.plant.map(Into::into), intake);
    for slot in report.offered {
        if let Some(offer) = node.slots().migration(slot) {
            node.note_migration(offer);
        }
    }
    Ok(Started { node, clients, max_clients: args.max_clients, bus, _scratch: scratch })
}

/// Puts what checkpoint and journal gave back into the slots.
fn preload(server: &SlotServer, found: Found) -> Arc<Durable> {
    for (slot, store) in found.stores {
        server.preload(slot, store);
    }
    found.durable
}

/// Loads a backup; with a journal, which does not have what it brings, it becomes the first checkpoint.
async fn bring_back(
    backup: PathBuf,
    server: &SlotServer,
    durable: Option<Arc<Durable>>,
    dir: PathBuf,
) -> Result<(), Error> {
    let clock = server.clock().clone();
    let stores = blocking(move || restore::load(&backup, &clock, Work::default())).await?;
    for (slot, store) in stores {
        server.preload(slot, store);
    }
    if let Some(durable) = durable {
        let server = server.clone();
        blocking(move || checkpoint(&durable, &server, &dir)).await?;
    }
    Ok(())
}

async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// What others are told to connect to.
fn name(args: &ServeArgs, given: &str, bound: SocketAddr) -> Result<NodeId, Error> {
    let usage = |message| Error::Usage { command: "serve", message };
    let text = match &args.announce {
        Some(host) => format!("{host}:{}", bound.port()),
        None if bound.ip().is_unspecified() => {
            return Err(usage(format!(
                "{given} is every address of this machine: say with --announce HOST which one \
                 clients and nodes shall use"
            )));
        }
        None => bound.to_string(),
    };
    NodeId::new(&text).ok_or_else(|| usage(format!("\"{text}\" is no address")))
}

/// Where grants are kept. A node that is alone grants nothing, so its place may vanish with it.
fn data_dir(
    args: &ServeArgs,
    name: &NodeId,
) -> Result<(PathBuf, Option<tempfile::TempDir>), Error> {
    let dir = match (&args.data_dir, &args.slot_map) {
        (Some(dir), _) => dir.clone(),
        (None, Some(map)) => {
            let mut beside = map.clone().into_os_string();
            beside.push(".nodes");
            PathBuf::from(beside).join(name.as_str().replace([':', '/'], "_"))
        }
        (None, None) if args.journal.is_some() => {
            return Err(Error::Usage {
                command: "serve",
                message: "--journal needs a place that stays: say with --data-dir DIR which"
                    .to_owned(),
            });
        }
        (None, None) => {
            let scratch = tempfile::tempdir().map_err(|source| Error::File {
                action: "create a folder in",
                path: std::env::temp_dir(),
                source,
            })?;
            return Ok((scratch.path().to_owned(), Some(scratch)));
        }
    };
    let failed = |source| Error::File { action: "create", path: dir.clone(), source };
    std::fs::create_dir_all(&dir).map_err(failed)?;
    Ok((dir, None))
}

/// Becomes the first owner of `slots`; those that are this node's already stay so.
fn claim(map: &dyn SlotMap, me: &NodeId, slots: &[Slot]) -> Result<(), Error> {
    if slots.is_empty() {
        return Ok(());
    }
    map.refresh()?;
    // Serving begins in the next epoch with the process' own incarnation (rule M5).
    let new = SlotRecord::first(me.clone(), 0);
    let foreign = |slot: Slot, owner: &NodeId| Error::SlotTaken {
        slot: slot.number(),
        owner: owner.to_string(),
    };
    let mut ops = Vec::new();
    for slot in slots {
        match map.peek(*slot) {
            Some(record) if record.owner != *me => return Err(foreign(*slot, &record.owner)),
            Some(_) => {}
            None => ops.push(CasOp { slot: *slot, expected: None, new: new.clone() }),
        }
    }
    for (op, outcome) in ops.iter().zip(map.cas_many(&ops)?) {
        if let CasOutcome::Lost(Some(record)) = outcome
            && record.owner != *me
        {
            return Err(foreign(op.slot, &record.owner));
        }
    }
    Ok(())
}

/// Runs work that waits for files where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let failed = |error: tokio::task::JoinError| Error::System {
        what: "a task ended early",
        source: error.into(),
    };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
