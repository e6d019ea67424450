//! CLUSTER: which node owns which slot, as Redis Cluster clients ask for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use whimbrel_migrate::{Mode, NodeId, SLOT_COUNT, Slot, SlotMap, SlotRecord, slot_of};

use whimbrel_mvcc::Store;

use super::refusal::Refusal;
use super::{Access, integer, keys};
use crate::resp::ReplyWriter;
use crate::server::Node;

const HELP: &str =
    "CLUSTER SLOTS, SHARDS, NODES, INFO, MYID, KEYSLOT, COUNTKEYSINSLOT, GETKEYSINSLOT";

/// `CLUSTER SLOTS | SHARDS | NODES | INFO | MYID | KEYSLOT key | COUNTKEYSINSLOT slot |
/// GETKEYSINSLOT slot count`
pub(crate) async fn cluster(
    node: &Node,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let (subcommand, rest) = args.split_first().ok_or(Refusal::WrongArity("cluster"))?;
    match (subcommand.to_ascii_uppercase().as_slice(), rest) {
        (b"SLOTS", []) => slots(node.map(), reply),
        (b"SHARDS", []) => shards(node.map(), reply),
        (b"NODES", []) => reply.text(&nodes(node.map(), node.name())),
        (b"INFO", []) => reply.text(&info(node.map())),
        (b"MYID", []) => reply.bulk(cluster_id(node.name()).as_bytes()),
        (b"KEYSLOT", [key]) => reply.integer(i64::from(slot_of(key).number())),
        (b"COUNTKEYSINSLOT", [slot]) => {
            let slot = slot_number(slot)?;
            reply.count(node.access(slot, Access::Read, keys::count_plain).await?);
        }
        (b"GETKEYSINSLOT", [slot, count]) => {
            let slot = slot_number(slot)?;
            let count = usize::try_from(integer(count)?).map_err(|_| Refusal::NotAnInteger)?;
            let snapshot = node.access(slot, Access::Read, Store::snapshot).await?;
            let found = keys::first_plain(&snapshot, count);
            reply.array(found.len());
            found.iter().for_each(|key| reply.bulk(key));
        }
        _ => return Err(Refusal::unknown_subcommand(subcommand, HELP)),
    }
    Ok(())
}

/// A slot's number as an argument.
pub(crate) fn slot_number(text: &[u8]) -> Result<Slot, Refusal> {
    let number = u16::try_from(integer(text)?).ok();
    number.and_then(Slot::new).ok_or(Refusal::Unsupported("Invalid or out of range slot"))
}

/// The forty hexadecimal digits that stand for a node in cluster replies.
///
/// Clients only compare them, so they are a hash of the node's name: three lanes of FNV-1a with
/// different beginnings. Every node computes the same for the same name, and nothing is stored.
pub(crate) fn cluster_id(name: &NodeId) -> String {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    let mut id = String::with_capacity(48);
    for lane in 0..3_u64 {
        let start = OFFSET ^ lane.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = name.as_str().bytes();
        let hash = bytes.fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
        write!(id, "{hash:016x}").expect("writing to a string");
    }
    id.truncate(40);
    id
}

/// Host and port of a node's client address.
fn host_and_port(name: &NodeId) -> (&str, i64) {
    let (host, port) = name.as_str().rsplit_once(':').unwrap_or((name.as_str(), "0"));
    (host.trim_matches(['[', ']']), port.parse().unwrap_or(0))
}

/// A run of slots of one owner.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    first: u16,
    last: u16,
    owner: NodeId,
}

/// The slots that have an owner, as runs, ascending.
fn runs(map: &dyn SlotMap) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for slot in Slot::all() {
        let Some(SlotRecord { owner, .. }) = map.peek(slot) else { continue };
        let number = slot.number();
        match runs.last_mut() {
            Some(run) if run.owner == owner && run.last + 1 == number => run.last = number,
            _ => runs.push(Run { first: number, last: number, owner }),
        }
    }
    runs
}

/// The runs of each node that the map knows, nodes without slots included.
fn runs_by_node(map: &dyn SlotMap) -> BTreeMap<NodeId, Vec<(u16, u16)>> {
    let mut by_node: BTreeMap<_, Vec<_>> =
        map.nodes().into_iter().map(|node| (node.id, Vec::new())).collect();
    for run in runs(map) {
        by_node.entry(run.owner).or_default().push((run.first, run.last));
    }
    by_node
}

fn slots(map: &dyn SlotMap, reply: &mut ReplyWriter) {
    let runs = runs(map);
    reply.array(runs.len());
    for run in runs {
        let (host, port) = host_and_port(&run.owner);
        reply.array(3);
        reply.integer(i64::from(run.first));
        reply.integer(i64::from(run.last));
        reply.array(4);
        reply.bulk(host.as_bytes());
        reply.integer(port);
        reply.bulk(cluster_id(&run.owner).as_bytes());
        reply.array(0);
    }
}

fn shards(map: &dyn SlotMap, reply: &mut ReplyWriter) {
    let by_node = runs_by_node(map);
    reply.array(by_node.len());
    for (name, runs) in by_node {
        let (host, port) = host_and_port(&name);
        reply.map(2);
        reply.bulk(b"slots");
        reply.array(runs.len() * 2);
        for (first, last) in runs {
            reply.integer(i64::from(first));
            reply.integer(i64::from(last));
        }
        reply.bulk(b"nodes");
        reply.array(1);
        reply.map(7);
        reply.bulk(b"id");
        reply.bulk(cluster_id(&name).as_bytes());
        reply.bulk(b"port");
        reply.integer(port);
        reply.bulk(b"ip");
        reply.bulk(host.as_bytes());
        reply.bulk(b"endpoint");
        reply.bulk(host.as_bytes());
        reply.bulk(b"role");
        reply.bulk(b"master");
        reply.bulk(b"replication-offset");
        reply.integer(0);
        reply.bulk(b"health");
        reply.bulk(b"online");
    }
}

fn nodes(map: &dyn SlotMap, own: &NodeId) -> String {
    let buses: BTreeMap<_, _> = map.nodes().into_iter().map(|node| (node.id, node.bus)).collect();
    let epochs = Slot::all().filter_map(|slot| map.peek(slot));
    let mut epoch_of: BTreeMap<NodeId, u64> = BTreeMap::new();
    for record in epochs {
        let epoch = epoch_of.entry(record.owner).or_default();
        *epoch = record.epoch.max(*epoch);
    }
    let mut text = String::new();
    for (name, runs) in runs_by_node(map) {
        let (host, port) = host_and_port(&name);
        let bus = buses.get(&name).map_or(0, |bus| host_and_port(bus).1);
        let flags = if name == *own { "myself,master" } else { "master" };
        let epoch = epoch_of.get(&name).copied().unwrap_or_default();
        let id = cluster_id(&name);
        write!(text, "{id} {host}:{port}@{bus} {flags} - 0 0 {epoch} connected")
            .expect("writing to a string");
        for (first, last) in runs {
            let range =
                if first == last { format!(" {first}") } else { format!(" {first}-{last}") };
            text.push_str(&range);
        }
        if name == *own {
            migrations_out(map, own).iter().for_each(|migration| text.push_str(migration));
        }
        text.push('\n');
    }
    text
}

/// The migrations away from this node, in the form `[slot->-target]`.
fn migrations_out(map: &dyn SlotMap, own: &NodeId) -> Vec<String> {
    let moving = |slot: Slot| match map.peek(slot)? {
        SlotRecord { owner, mode: Mode::Migrating { to, .. }, .. } if owner == *own => {
            Some(format!(" [{slot}->-{}]", cluster_id(&to)))
        }
        _ => None,
    };
    Slot::all().filter_map(moving).collect()
}

fn info(map: &dyn SlotMap) -> String {
    let records: Vec<_> = Slot::all().filter_map(|slot| map.peek(slot)).collect();
    let assigned = records.len();
    let state = if assigned == usize::from(SLOT_COUNT) { "ok" } else { "fail" };
    let mut owners: Vec<_> = records.iter().map(|record| &record.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    let epoch = records.iter().map(|record| record.epoch).max().unwrap_or_default();
    format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{assigned}\r\n\
         cluster_slots_ok:{assigned}\r\ncluster_slots_pfail:0\r\ncluster_slots_fail:0\r\n\
         cluster_known_nodes:{}\r\ncluster_size:{}\r\ncluster_current_epoch:{epoch}\r\n\
         cluster_my_epoch:{epoch}\r\n",
        map.nodes().len(),
        owners.len(),
    )
}
