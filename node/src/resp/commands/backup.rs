//! WBACKUP: backs up what this node serves.

use std::path::PathBuf;

use bytes::Bytes;
use whimbrel_backup::{ExportOptions, Location, export_to};
use whimbrel_mvcc::Store;

use super::Access;
use super::refusal::Refusal;
use crate::command::backup::export_report;
use crate::resp::ReplyWriter;
use crate::restore::slot_store_name;
use crate::server::Node;

/// `WBACKUP place`: every served slot that holds something, at one moment, beside the writers. A
/// directory is on the node's machine, must be given in full, and be new or empty; `s3://bucket/prefix`
/// is reached as the node's environment says.
pub(crate) async fn wbackup(
    node: &Node,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let given = PathBuf::from(std::str::from_utf8(&args[0]).map_err(Refusal::failed)?);
    let location = Location::of(&given).map_err(Refusal::failed)?;
    if matches!(&location, Location::Directory(dir) if !dir.is_absolute()) {
        return Err(Refusal::Unsupported("WBACKUP: give the directory in full, from the root on"));
    }
    let hold = node.hold();
    let mut stores = Vec::new();
    for slot in node.filled() {
        let at_hold = |store: &Store| store.snapshot_at(&hold);
        let snapshot = node.access(slot, Access::Read, at_hold).await.map_err(|refusal| {
            Refusal::Failed(format!("slot {slot} left while the backup began ({refusal}); again"))
        })?;
        stores.push((slot_store_name(slot), snapshot));
    }
    let work = move || {
        let storage = location.create()?;
        export_to(&stores, &*storage, &ExportOptions::default().with_shards_per_store(1))
    };
    let report = tokio::task::spawn_blocking(work)
        .await
        .map_err(Refusal::failed)?
        .map_err(Refusal::failed)?;
    reply.bulk(export_report(&report).to_string().as_bytes());
    Ok(())
}
