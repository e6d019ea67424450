//! Goal: every row of the failure table of mode (a) that two nodes of one process can show.
//! Method: connections are cut by a proxy, nodes die with their runtimes, the map holds up the
//! target's swap; then exactly one node serves, and it has every acknowledged write.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use support::{Clients, Node, Proxy, StallingMap, eventually, fill, id, the_slot};
use tempfile::{TempDir, tempdir};
use whimbrel_migrate::{
    AccessKind, Attempt, Error, GrantLog, MemMap, MemoryCheck, MigrationHandle, MigrationId,
    MigrationOptions, MigrationReport, NotServed, SlotMap, SlotServer,
};

type Ended = Result<MigrationReport, Arc<Error>>;

fn begin(node: &Node, to: &str) -> MigrationHandle {
    let options = MigrationOptions::new().credit_bytes(64 << 10);
    let begun = async { node.server.start_migration(the_slot(), &id(to), options) };
    node.runtime().block_on(begun).expect("it begins")
}

fn wait(node: &Node, migration: &MigrationHandle) -> Ended {
    node.runtime().block_on(migration.wait())
}

fn serves(server: &SlotServer) -> bool {
    server.access(the_slot(), AccessKind::Write).is_ok()
}

struct Pair {
    dir: TempDir,
    map: Arc<MemMap>,
    a: Node,
    b: Node,
}

fn pair(keys: usize) -> Pair {
    let (dir, map) = (tempdir().expect("a directory"), Arc::new(MemMap::new()));
    let a = Node::start("a:1", map.clone(), dir.path());
    let b = Node::start("b:1", map.clone(), dir.path());
    a.claim();
    fill(&a.server, keys);
    Pair { dir, map, a, b }
}

#[test]
fn a_cut_at_half_leaves_the_source_serving_and_a_retry_succeeds() {
    let (dir, map) = (tempdir().expect("a directory"), Arc::new(MemMap::new()));
    let proxy = Proxy::start();
    let a = Node::start_behind("a:1", map.clone(), dir.path(), Some(&proxy));
    let b = Node::start("b:1", map, dir.path());
    a.claim();
    fill(&a.server, 20_000);
    let servers = [a.server.clone(), b.server.clone()];
    let mut clients = Clients::start(&servers, 20_000);
    // The copy passes the proxy: about 50 kB of it.
    proxy.cut_after(20_000);
    let ended = wait(&a, &begin(&a, "b:1"));
    let error = ended.expect_err("half of the bytes cannot be enough");
    assert!(error.is_retryable(), "{error}");
    assert!(serves(&a.server) && !serves(&b.server));
    proxy.heal();
    wait(&a, &begin(&a, "b:1")).expect("the retry moves the slot");
    clients.stop();
    assert!(proxy.passed.load(Ordering::SeqCst) > 20_000);
    assert_eq!((clients.lost(&servers), clients.stale.load(Ordering::SeqCst)), (0, 0));
    assert!(!serves(&a.server) && serves(&b.server));
}

#[test]
fn a_cancel_at_any_moment_leaves_exactly_one_server() {
    let mut pair = pair(3000);
    let mut moved = 0;
    for step in 0..24u64 {
        let (from, to) = if serves(&pair.a.server) { (&pair.a, "b:1") } else { (&pair.b, "a:1") };
        let servers = [pair.a.server.clone(), pair.b.server.clone()];
        let mut clients = Clients::start(&servers, 3000);
        let migration = begin(from, to);
        thread::sleep(Duration::from_micros(700 * step));
        migration.cancel();
        match wait(from, &migration) {
            Ok(_) => moved += 1,
            Err(error) => assert!(matches!(*error, Error::Cancelled { .. }), "{error}"),
        }
        assert!(serves(&pair.a.server) != serves(&pair.b.server), "step {step}: one server");
        clients.stop();
        assert_eq!((clients.lost(&servers), clients.stale.load(Ordering::SeqCst)), (0, 0));
        // The next clients begin with 0 again.
        let owner = if serves(&pair.a.server) { &pair.a } else { &pair.b };
        fill(&owner.server, 3000);
    }
    println!("{moved} of 24 moved before the cancel");
    pair.b.kill();
    let _ = (&pair.dir, &pair.map);
}

#[test]
fn a_target_that_dies_before_the_hand_over_costs_nothing() {
    let mut pair = pair(30_000);
    let servers = [pair.a.server.clone()];
    let mut clients = Clients::start(&servers, 30_000);
    let migration = begin(&pair.a, "b:1");
    eventually("the copy has begun", || migration.status().bytes_sent > 0);
    pair.b.kill();
    let error = wait(&pair.a, &migration).expect_err("the target is dead");
    assert!(error.is_retryable(), "{error}");
    assert!(serves(&pair.a.server));
    clients.stop();
    assert_eq!((clients.lost(&servers), clients.stale.load(Ordering::SeqCst)), (0, 0));
    let record = pair.map.get(the_slot()).expect("get").expect("a record");
    assert_eq!((record.owner, record.epoch), (id("a:1"), 1), "no grant, no new epoch");
}

#[test]
fn a_target_with_too_little_memory_refuses_and_one_with_enough_does_not() {
    let (dir, map) = (tempdir().expect("a directory"), Arc::new(MemMap::new()));
    let a = Node::start("a:1", map.clone(), dir.path());
    let node = |name, mib: u64| {
        let memory = MemoryCheck::Assume(mib << 20);
        Node::start_with(name, map.clone(), dir.path(), None, memory)
    };
    // The slot has more than 2 MiB; the margin alone is 16 MiB.
    let (small, enough) = (node("b:1", 18), node("c:1", 64));
    a.claim();
    fill(&a.server, 60_000);
    let error = wait(&a, &begin(&a, "b:1")).expect_err("it has no room");
    assert!(matches!(&*error, Error::Refused { reason, .. } if reason.contains("18 MiB are")));
    assert!(error.to_string().contains("too little memory"), "{error}");
    assert!(serves(&a.server) && !serves(&small.server));
    wait(&a, &begin(&a, "c:1")).expect("there is room");
    assert!(!serves(&a.server) && serves(&enough.server));
}

/// Two nodes of which the target's swap is held up.
fn stalled() -> (TempDir, Arc<MemMap>, Arc<StallingMap>, Node, Node) {
    let (dir, map) = (tempdir().expect("a directory"), Arc::new(MemMap::new()));
    let slow = StallingMap::new(map.clone(), "b:1");
    let a = Node::start("a:1", map.clone(), dir.path());
    let b = Node::start("b:1", slow.clone(), dir.path());
    a.claim();
    fill(&a.server, 5000);
    (dir, map, slow, a, b)
}

#[test]
fn a_source_that_dies_after_its_grant_costs_nothing() {
    let (dir, map, slow, mut a, b) = stalled();
    let servers = [a.server.clone(), b.server.clone()];
    let mut clients = Clients::start(&servers, 5000);
    let _migration = begin(&a, "b:1");
    eventually("the target got the grant", || slow.waiting.load(Ordering::SeqCst));
    a.kill();
    slow.stalled.store(false, Ordering::SeqCst);
    clients.stop();
    eventually("the target serves", || serves(&b.server));
    assert_eq!(
        clients.lost(std::slice::from_ref(&b.server)),
        0,
        "the copy has every acknowledged write"
    );
    // The source comes back, finds its grant used, and sends clients to the new owner.
    let again = Node::start("a:1", map, dir.path());
    assert!(again.started.offered.is_empty() && !serves(&again.server));
    match again.server.access(the_slot(), AccessKind::Read) {
        Err(NotServed::Moved { owner }) => assert_eq!(owner, id("b:1")),
        other => panic!("{other:?}"),
    }
    // Where the only owner is dead, the survivor says so and serves nothing.
    let mut b = b;
    b.kill();
    eventually("the survivor names the dead owner", || {
        matches!(again.server.access(the_slot(), AccessKind::Read),
            Err(NotServed::ClusterDown { owner }) if owner == id("b:1"))
    });
}

#[test]
fn a_source_whose_target_stops_after_the_grant_serves_only_by_winning_the_swap() {
    let (_dir, map, slow, a, b) = stalled();
    let servers = [a.server.clone(), b.server.clone()];
    let mut clients = Clients::start(&servers, 5000);
    let migration = begin(&a, "b:1");
    eventually("the target got the grant", || slow.waiting.load(Ordering::SeqCst));
    assert!(!serves(&a.server), "a grant is out");
    let error = wait(&a, &migration).expect_err("the target took too long");
    assert!(matches!(*error, Error::Failed { .. }), "{error}");
    let record = map.get(the_slot()).expect("get").expect("a record");
    assert_eq!((record.owner, record.epoch), (id("a:1"), 2), "won at the next epoch");
    eventually("the source serves", || serves(&a.server));
    // The late swap of the target loses.
    slow.stalled.store(false, Ordering::SeqCst);
    thread::sleep(Duration::from_millis(100));
    assert!(serves(&a.server) && !serves(&b.server));
    clients.stop();
    assert_eq!((clients.lost(&servers), clients.stale.load(Ordering::SeqCst)), (0, 0));
}

#[test]
fn a_restarted_source_with_a_grant_waits_for_the_target() {
    let (dir, map) = (tempdir().expect("a directory"), Arc::new(MemMap::new()));
    let mut b = Node::start("b:1", map.clone(), dir.path());
    let mut a = Node::start("a:1", map.clone(), dir.path());
    a.claim();
    a.kill();
    b.kill();
    // As if it had died between the durable grant and the answer of the target.
    let stable = map.get(the_slot()).expect("get").expect("a record");
    let moving = stable.migrating(id("b:1"), MigrationId::from_u64(9)).expect("stable");
    assert!(map.cas(the_slot(), Some(&stable), &moving).expect("cas").is_won());
    let grants = GrantLog::open(dir.path().join("a-1").join("grants")).expect("open");
    let attempt = Attempt { id: MigrationId::from_u64(9), slot: the_slot(), epoch: 1 };
    grants.write(attempt).expect("write");

    let a = Node::start("a:1", map.clone(), dir.path());
    assert_eq!(a.started.offered, [the_slot()]);
    match a.server.access(the_slot(), AccessKind::Write) {
        Err(NotServed::ClusterDown { owner }) => assert_eq!(owner, id("b:1")),
        other => panic!("{other:?}"),
    }
    thread::sleep(Duration::from_millis(300));
    assert!(!serves(&a.server), "the target may have taken it: nobody decides by a timer");
    // The target comes back without a copy and says so; the source takes the slot in the next
    // epoch.
    let _b = Node::start("b:1", map.clone(), dir.path());
    eventually("the source serves", || serves(&a.server));
    let record = map.get(the_slot()).expect("get").expect("a record");
    assert_eq!((record.owner, record.epoch), (id("a:1"), 2));
    // The epoch has made the grant void; its file is erased after the slot is served.
    eventually("the grant is erased", || grants.read(the_slot()).expect("read").is_none());
}

#[test]
fn an_operator_may_take_a_granted_slot_back() {
    let (dir, map) = (tempdir().expect("a directory"), Arc::new(MemMap::new()));
    let mut a = Node::start("a:1", map.clone(), dir.path());
    a.claim();
    a.kill();
    let stable = map.get(the_slot()).expect("get").expect("a record");
    let moving = stable.migrating(id("b:1"), MigrationId::from_u64(9)).expect("stable");
    assert!(map.cas(the_slot(), Some(&stable), &moving).expect("cas").is_won());
    let grants = GrantLog::open(dir.path().join("a-1").join("grants")).expect("open");
    let attempt = Attempt { id: MigrationId::from_u64(9), slot: the_slot(), epoch: 1 };
    grants.write(attempt).expect("write");
    let a = Node::start("a:1", map, dir.path());
    let offer = a.server.migration(the_slot()).expect("the offer is under way");
    offer.cancel();
    thread::sleep(Duration::from_millis(50));
    assert!(!serves(&a.server), "a cancel is no such order");
    assert!(offer.waits_for_target());
    offer.force_take_back();
    eventually("the source serves", || serves(&a.server));
    eventually("the offer has ended", || !offer.waits_for_target());
}

#[test]
fn migrations_that_cannot_be_are_refused() {
    let pair = pair(10);
    let begin = |to: &str| {
        let begun =
            async { pair.a.server.start_migration(the_slot(), &id(to), MigrationOptions::new()) };
        pair.a.runtime().block_on(begun)
    };
    assert!(matches!(begin("c:1"), Err(Error::UnknownNode { .. })));
    assert!(matches!(begin("a:1"), Err(Error::Forbidden { .. })));
    let foreign =
        async { pair.b.server.start_migration(the_slot(), &id("a:1"), MigrationOptions::new()) };
    let refused = pair.b.runtime().block_on(foreign);
    assert!(matches!(refused, Err(Error::NotOwner { owner: Some(_), .. })), "{refused:?}");
    let first = begin("b:1").expect("it begins");
    let second = begin("b:1");
    if !first.status().ended {
        assert!(matches!(second, Err(Error::AlreadyMigrating { .. })), "{second:?}");
    }
    wait(&pair.a, &first).expect("the first one moves the slot");
    assert!(pair.b.is_alive());
}
