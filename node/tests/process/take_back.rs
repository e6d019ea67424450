//! Goal: a slot whose target is gone for good after a durable grant is served again when an operator
//! says so, and not before; and the operator is told what that costs.
//!
//! Method: a node writes, dies, and finds at its restart a grant of its slot to a node that does not
//! exist: laid into its directory as its own hand would have. Then `--take-back` without and with
//! `--yes`, and the RESP command without its last word.

use tempfile::tempdir;
use whimbrel_migrate::{
    Attempt, FileMap, GrantLog, MigrationId, NodeId, Slot, SlotMap as _, slot_of,
};

use crate::common::{Node, arg, cli, whimbrel_fails, whimbrel_succeeds};

/// Nobody listens there.
const GONE: &str = "127.0.0.1:1";

/// The record and the durable grant of a hand-over that its target never answered.
fn grant_away(map: &std::path::Path, data: &std::path::Path, slot: Slot) -> u64 {
    let map = FileMap::open(map).expect("the map opens");
    let stable = map.get(slot).expect("the map is readable").expect("the slot has an owner");
    let id = MigrationId::from_u64(9);
    let gone = NodeId::new(GONE).expect("a valid name");
    let moving = stable.migrating(gone, id).expect("the slot is stable");
    assert!(map.cas(slot, Some(&stable), &moving).expect("a swap").is_won());
    let grants = GrantLog::open(data.join("grants")).expect("the grants open");
    grants.write(Attempt { id, slot, epoch: moving.epoch }).expect("a durable grant");
    moving.epoch
}

#[test]
fn a_granted_slot_whose_target_is_gone_is_taken_back_by_order_only() {
    let folder = tempdir().expect("a temporary folder");
    let (map, data) = (folder.path().join("slots"), folder.path().join("node"));
    let serve = ["--slot-map", arg(&map), "--data-dir", arg(&data)];
    let mut node = Node::start(&[&serve[..], &["--own", "0-16383"]].concat());
    let address = node.address().to_owned();
    assert_eq!(cli(node.port(), &["SET", "{back}", "1"]), "OK");
    node.kill();
    let slot = slot_of(b"{back}");
    let epoch = grant_away(&map, &data, slot);

    let node = Node::start_at(&address, &serve);
    let read = || cli(node.port(), &["GET", "{back}"]);
    assert!(read().contains("CLUSTERDOWN") && read().contains(GONE), "{}", read());
    let number = slot.to_string();
    let order = ["migrate", "--node", &address, "--slot", &number, "--take-back"];
    let said = whimbrel_fails(2, &order);
    assert!(said.contains("LOST FOR GOOD") && said.contains("--yes") && said.contains(GONE));
    let said = cli(node.port(), &["WMIGRATE", "TAKEBACK", &number]);
    assert!(said.contains("may be lost") && said.contains("FORCE"), "{said}");
    assert!(read().contains("CLUSTERDOWN"), "nothing was ordered yet: {}", read());

    let said = whimbrel_succeeds(&[&order[..], &["--yes"]].concat());
    assert!(said.contains("with 0 entries"), "{said}");
    assert_eq!(read(), "", "what was not restored is gone");
    assert_eq!(cli(node.port(), &["SET", "{back}", "2"]), "OK");
    let record = FileMap::open(&map).expect("the map opens").get(slot).expect("readable");
    let record = record.expect("the slot has an owner");
    assert_eq!((record.owner.as_str(), record.epoch), (address.as_str(), epoch + 1));
    let said = whimbrel_fails(5, &[&order[..], &["--yes"]].concat());
    assert!(said.contains("nothing to take back"), "{said}");
    assert_eq!(read(), "2");
}
