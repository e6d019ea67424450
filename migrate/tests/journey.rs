//! Goal: a slot moves between two nodes over real sockets while clients use it, nothing
//! acknowledged is lost and no read is stale; and the checks notice each planted mistake.
//! Method: two servers in one process, each with its own runtime and clock, 50,000 keys, two
//! writers of increasing numbers and a reader that compares with what was acknowledged before it
//! asked.

#[expect(dead_code, reason = "the failure tests use the rest of it")]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::{Clients, Node, fill, id, the_slot};
use tempfile::tempdir;
use whimbrel_migrate::{Error, FileMap, MigrationOptions, Plant};

const KEYS: usize = 50_000;

#[test]
fn a_slot_moves_under_load_and_back_again() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("map");
    let open = || Arc::new(FileMap::open(&path).expect("the map opens"));
    let a = Node::start("a:1", open(), dir.path());
    let b = Node::start("b:1", open(), dir.path());
    a.claim();
    fill(&a.server, KEYS);
    let servers = [a.server.clone(), b.server.clone()];
    let mut clients = Clients::start(&servers, KEYS);
    for (from, to) in [(&a, "b:1"), (&b, "a:1")] {
        let migration = from.runtime().block_on(async {
            from.server.start_migration(the_slot(), &id(to), MigrationOptions::new())
        });
        let report = from.runtime().block_on(migration.expect("it begins").wait());
        let report = report.expect("the slot moves");
        assert_eq!((report.keys, &report.target), (KEYS as u64, &id(to)));
        assert!(report.bytes > 0 && report.rounds >= 1, "{report:?}");
        println!("{report:?}: {:.0} keys/s", report.keys_per_second());
        std::thread::sleep(Duration::from_millis(100));
    }
    clients.stop();
    let (writes, reads) =
        (clients.writes.load(Ordering::SeqCst), clients.reads.load(Ordering::SeqCst));
    assert!(writes > 1000 && reads > 1000, "{writes} writes, {reads} reads");
    assert_eq!(clients.stale.load(Ordering::SeqCst), 0, "stale reads");
    assert_eq!(clients.lost(&servers), 0, "lost writes");
    let record = a.server.map().get(the_slot()).expect("get").expect("a record");
    assert_eq!((record.owner, record.epoch), (id("a:1"), 3));
}

/// Runs one migration with a planted mistake; answers its end, and lost and stale as clients saw
/// it.
fn planted(plant: Plant) -> (Option<Arc<Error>>, usize, u64) {
    let dir = tempdir().expect("a directory");
    let map = Arc::new(whimbrel_migrate::MemMap::new());
    let a = Node::start("a:1", map.clone(), dir.path());
    let b = Node::start("b:1", map, dir.path());
    a.claim();
    fill(&a.server, 5000);
    let servers = [a.server.clone(), b.server.clone()];
    let mut clients = Clients::start(&servers, 5000);
    let options = MigrationOptions::new().plant(Some(plant));
    let run = async { a.server.start_migration(the_slot(), &id("b:1"), options)?.wait().await };
    let ended = a.runtime().block_on(run).err();
    clients.stop();
    let (lost, stale) = (clients.lost(&servers), clients.stale.load(Ordering::SeqCst));
    if ended.is_some() {
        // The source serves on, nothing is lost, and a sound attempt succeeds.
        assert_eq!((lost, stale), (0, 0));
        let again = async {
            a.server.start_migration(the_slot(), &id("b:1"), MigrationOptions::new())?.wait().await
        };
        a.runtime().block_on(again).expect("a retry moves the slot");
        assert_eq!(clients.lost(&servers), 0);
    }
    (ended, lost, stale)
}

#[test]
fn a_dropped_captured_write_is_found_by_the_digest() {
    let (error, ..) = planted(Plant::DropCapturedWrite);
    let error = error.expect("the migration fails");
    assert!(matches!(*error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_skipped_round_is_found_by_the_digest() {
    let (error, ..) = planted(Plant::SkipDeltaRound);
    let error = error.expect("the migration fails");
    assert!(matches!(*error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_flipped_block_is_refused_and_named() {
    let (error, ..) = planted(Plant::FlipBlock);
    let error = error.expect("the migration fails").to_string();
    assert!(error.contains("range") && error.contains("block"), "{error}");
}

#[test]
fn a_source_that_serves_after_its_grant_is_found_by_the_clients() {
    let (error, lost, stale) = planted(Plant::ServeAfterGrant);
    assert!(error.is_none(), "{error:?}");
    assert!(lost > 0 || stale > 0, "neither a lost write nor a stale read");
}
