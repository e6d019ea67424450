//! WBACKUP: backs up what this node serves.

use std::path::PathBuf;

use bytes::Bytes;
use whimbrel_backup::repository::{Kind, back_up_on};
use whimbrel_backup::{ExportOptions, Location, Tracker, Work, export_non_intrusive_to, export_to};
use whimbrel_mvcc::{Snapshot, Store};

use super::Access;
use super::refusal::Refusal;
use crate::command::backup::{export_report, repository_report, with_rate};
use crate::resp::ReplyWriter;
use crate::restore::slot_store_name;
use crate::server::Node;

/// `WBACKUP place [FULL | INCREMENTAL | NONINTRUSIVE] [RATE mib]`: every served slot that holds something, at one moment,
/// beside the writers. A directory is on the node's machine and must be given in full; `s3://bucket/prefix`
/// is reached as the node's environment says. Alone the place gets one backup and must be new or empty; with
/// FULL or INCREMENTAL it is a repository of backups. NONINTRUSIVE makes one backup and gives the snapshots up at its
/// beginning, so that what is overwritten and removed meanwhile can be collected.
///
/// After a backup into a repository the node follows what is written, so that the next incremental one
/// is fast; it keeps what the last one saw until then, or until `WBACKUP FORGET`.
pub(crate) async fn wbackup(
    node: &Node,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let busy = |_| Refusal::Failed("a backup of this node is running".to_owned());
    if args.len() == 1 && args[0].eq_ignore_ascii_case(b"FORGET") {
        *node.tracker().try_lock_owned().map_err(busy)? = Tracker::default();
        reply.simple("OK");
        return Ok(());
    }
    let Request { location, kind, non_intrusive, rate } = Request::parse(args)?;
    let options = ExportOptions::default()
        .with_shards_per_store(1)
        .with_work(with_rate(Work::default(), rate));
    let Some(kind) = kind else {
        let stores = snapshots(node).await?;
        let made = blocking(move || {
            let storage = location.create().map_err(Refusal::failed)?;
            let exported = match non_intrusive {
                true => export_non_intrusive_to(stores, &*storage, &options),
                false => export_to(&stores, &*storage, &options),
            };
            exported.map_err(Refusal::failed)
        });
        reply.bulk(export_report(&made.await?).to_string().as_bytes());
        return Ok(());
    };
    let mut tracker = node.tracker().try_lock_owned().map_err(busy)?;
    let stores = stores(node).await?;
    let tracker = blocking(move || {
        tracker.watch(&stores);
        Ok(tracker)
    });
    let mut tracker = tracker.await?;
    let stores = snapshots(node).await?;
    let made = blocking(move || {
        let tracker: &mut Tracker = &mut tracker;
        let shelf = location.create_shelf().map_err(Refusal::failed)?;
        back_up_on(&shelf, &stores, kind, &options, Some(tracker)).map_err(Refusal::failed)
    });
    reply.bulk(repository_report(&made.await?).to_string().as_bytes());
    Ok(())
}

/// What is asked for.
struct Request {
    location: Location,
    kind: Option<Kind>,
    /// Without a kind only.
    non_intrusive: bool,
    rate: Option<u64>,
}

impl Request {
    fn parse(args: &[Bytes]) -> Result<Self, Refusal> {
        let given = PathBuf::from(std::str::from_utf8(&args[0]).map_err(Refusal::failed)?);
        let location = Location::of(&given).map_err(Refusal::failed)?;
        if matches!(&location, Location::Directory(dir) if !dir.is_absolute()) {
            let why = "WBACKUP: give the directory in full, from the root on";
            return Err(Refusal::Unsupported(why));
        }
        let mut request = Self { location, kind: None, non_intrusive: false, rate: None };
        let mut words = args[1..].iter();
        while let Some(word) = words.next() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let is_open = request.kind.is_none() && !request.non_intrusive;
            if is(b"FULL") && is_open {
                request.kind = Some(Kind::Full);
            } else if is(b"INCREMENTAL") && is_open {
                request.kind = Some(Kind::Incremental);
            } else if is(b"NONINTRUSIVE") && is_open {
                request.non_intrusive = true;
            } else if is(b"RATE") && request.rate.is_none() {
                let mib = words.next().and_then(|mib| std::str::from_utf8(mib).ok());
                let mib = mib.and_then(|mib| mib.parse().ok()).ok_or(Refusal::NotAnInteger)?;
                request.rate = Some(mib);
            } else {
                return Err(Refusal::Syntax(
                    ": WBACKUP place [FULL | INCREMENTAL | NONINTRUSIVE] [RATE mib]",
                ));
            }
        }
        Ok(request)
    }
}

/// The stores of all filled slots.
async fn stores(node: &Node) -> Result<Vec<(String, Store)>, Refusal> {
    let mut stores = Vec::new();
    for slot in node.filled() {
        // A slot that leaves now is not followed, and not in the snapshots either.
        if let Ok(store) = node.access(slot, Access::Read, Store::clone).await {
            stores.push((slot_store_name(slot), store));
        }
    }
    Ok(stores)
}

/// All filled slots at one moment.
async fn snapshots(node: &Node) -> Result<Vec<(String, Snapshot)>, Refusal> {
    let hold = node.hold("backup");
    let mut stores = Vec::new();
    for slot in node.filled() {
        let at_hold = |store: &Store| store.snapshot_at(&hold);
        let snapshot = node.access(slot, Access::Read, at_hold).await.map_err(|refusal| {
            Refusal::Failed(format!("slot {slot} left while the backup began ({refusal}); again"))
        })?;
        stores.push((slot_store_name(slot), snapshot));
    }
    Ok(stores)
}

/// Runs work that takes long or waits.
async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, Refusal> + Send + 'static,
) -> Result<R, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(Refusal::failed)?
}
