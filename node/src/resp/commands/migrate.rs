//! WMIGRATE: moves a slot to another node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use whimbrel_migrate::{Error, MigrationHandle, MigrationOptions, MigrationReport, NodeId};

use super::Access;
use super::cluster::slot_number;
use super::refusal::Refusal;
use crate::resp::ReplyWriter;
use crate::server::Node;

const HELP: &str = "WMIGRATE START slot node, STATUS [slot], CANCEL slot, TAKEBACK slot FORCE";

/// How long `TAKEBACK` waits for the slot map's answer.
const TAKE_BACK_PATIENCE: Duration = Duration::from_secs(20);

/// `WMIGRATE START slot node | STATUS [slot] | CANCEL slot | TAKEBACK slot FORCE`
///
/// `START` answers when the migration has begun; `STATUS` gives a JSON object for one slot, an array
/// for all that were moved from here since the node started. `TAKEBACK` is an operator's word for a
/// slot that this node granted away before a restart and whose target does not answer: this node
/// takes it, with what it restored, unless the target has it already.
pub(crate) async fn wmigrate(
    node: &Node,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let (subcommand, rest) = args.split_first().ok_or(Refusal::WrongArity("wmigrate"))?;
    match (subcommand.to_ascii_uppercase().as_slice(), rest) {
        (b"START", [slot, target]) => start(node, slot, target, reply),
        (b"STATUS", []) => {
            let mut all = Vec::new();
            for handle in node.migrations() {
                all.push(describe(&handle).await);
            }
            reply.bulk(Value::from(all).to_string().as_bytes());
            Ok(())
        }
        (b"STATUS", [slot]) => {
            let slot = slot_number(slot)?;
            let handle = node.migration(slot).ok_or(NEVER)?;
            reply.bulk(describe(&handle).await.to_string().as_bytes());
            Ok(())
        }
        (b"CANCEL", [slot]) => {
            let slot = slot_number(slot)?;
            node.migration(slot).ok_or(NEVER)?.cancel();
            reply.ok();
            Ok(())
        }
        (b"TAKEBACK", [slot, word]) if word.eq_ignore_ascii_case(b"FORCE") => {
            take_back(node, slot, reply).await
        }
        (b"TAKEBACK", [_]) => Err(Refusal::Unsupported(
            "writes that were acknowledged before the restart may be lost; if so be it, add FORCE",
        )),
        _ => Err(Refusal::unknown_subcommand(subcommand, HELP)),
    }
}

const NEVER: Refusal = Refusal::Unsupported("this slot was not moved from here");

async fn take_back(node: &Node, slot: &[u8], reply: &mut ReplyWriter) -> Result<(), Refusal> {
    let slot = slot_number(slot)?;
    let offer = node.migration(slot).filter(MigrationHandle::waits_for_target);
    let offer = offer.ok_or(Refusal::Unsupported(
        "this node does not wait for anybody to take this slot; there is nothing to take back",
    ))?;
    tracing::warn!(%slot, from = %offer.target(), "an operator takes the slot back");
    offer.force_take_back();
    if tokio::time::timeout(TAKE_BACK_PATIENCE, offer.wait()).await.is_err() {
        return Err(Refusal::Unsupported(
            "the order stands, but the slot map has not answered yet; see WMIGRATE STATUS",
        ));
    }
    // Answers MOVED where the target has taken the slot after all.
    let entries = node.access(slot, Access::Read, |store| store.len_estimate()).await?;
    let epoch = node.map().peek(slot).map(|record| record.epoch);
    let taken = json!({
        "slot": slot.number(),
        "owner": node.name().as_str(),
        "epoch": epoch,
        "entries": entries,
    });
    reply.bulk(taken.to_string().as_bytes());
    Ok(())
}

fn start(
    node: &Node,
    slot: &Bytes,
    target: &Bytes,
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let slot = slot_number(slot)?;
    let name = std::str::from_utf8(target).ok().and_then(NodeId::new);
    let target = name.ok_or(Refusal::Unsupported("the target is a node's client address"))?;
    // The target may have joined a moment ago.
    node.map().refresh().map_err(Refusal::failed)?;
    let options = MigrationOptions::new().plant(node.plant());
    match node.slots().start_migration(slot, &target, options) {
        Ok(handle) => {
            reply.bulk(handle.id().to_string().as_bytes());
            node.note_migration(handle);
            Ok(())
        }
        Err(Error::NotOwner { owner: Some(owner), .. }) => {
            Err(Refusal::Moved { slot, address: owner.as_str().to_owned() })
        }
        Err(error) => Err(Refusal::failed(error)),
    }
}

/// A migration as one JSON object.
pub(crate) async fn describe(handle: &MigrationHandle) -> Value {
    let status = handle.status();
    let mut object = json!({
        "slot": handle.slot().number(),
        "id": handle.id().to_string(),
        "to": handle.target().as_str(),
        "state": "running",
        "phase": status.phase,
        "waits_for_target": handle.waits_for_target(),
        "percent": status.percent,
        "entries_done": status.keys_done,
        "entries_total": status.keys_total,
        "bytes": status.bytes_sent,
        "entries_per_s": status.keys_per_second,
        "eta_s": status.eta.map(|eta| eta.as_secs_f64()),
        "blackout_estimate_ms": milliseconds(status.blackout_estimate),
        "rounds": status.rounds,
    });
    if status.ended {
        let outcome = handle.wait().await;
        add_outcome(&mut object, &outcome);
    }
    object
}

fn add_outcome(object: &mut Value, outcome: &Result<MigrationReport, Arc<Error>>) {
    match outcome {
        Ok(report) => {
            object["state"] = "done".into();
            object["report"] = json!({
                "keys": report.keys,
                "delta_keys": report.delta_keys,
                "bytes": report.bytes,
                "rounds": report.rounds,
                "seconds": report.elapsed.as_secs_f64(),
                "keys_per_s": report.keys_per_second(),
                "bytes_per_s": report.bytes_per_second(),
                "write_blackout_ms": milliseconds(report.write_blackout),
                "read_blackout_ms": milliseconds(report.read_blackout),
                "throttled": report.throttled,
            });
        }
        Err(error) => {
            object["state"] = "failed".into();
            object["error"] = error.to_string().into();
        }
    }
}

fn milliseconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
