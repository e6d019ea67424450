//! Goal: a process that dies at any moment of a migration costs nothing that it would not have cost
//! without one, and never makes two owners or a stale read.
//!
//! Method: two nodes, clients that write increasing numbers to keys of one slot, a migration of that
//! slot, and SIGKILL for target and source by turns at random moments of it. Then: the slot map's
//! record names exactly one owner; an owner that lives serves at least the last acknowledged number
//! of every key; where the owner died, the survivor says so and answers with no value at all. Then
//! the dead node starts again under its name: the slot is served by exactly the record's owner, and
//! whoever that is serves all that was acknowledged or, where it died with the only copy, nothing;
//! never something in between.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis_protocol::resp2::types::OwnedFrame;
use tempfile::tempdir;
use whimbrel_migrate::{FileMap, SlotMap as _, slot_of};
use whimbrel_node::Error;
use whimbrel_node::client::Client;

use crate::common::{Node, PATIENCE, arg};

/// Keys of the slot that are there before the migration.
const KEYS: usize = 4_000;
/// Keys that each client writes, in turn.
const HOT_KEYS: usize = 50;
/// Clients.
const WRITERS: usize = 2;
/// Rounds, each with one death.
const ROUNDS: u64 = 20;
/// Rounds with journals, where nothing at all may be lost.
const JOURNALED_ROUNDS: u64 = 8;

fn key(i: usize) -> String {
    format!("{{kill}}:{i:06}")
}

/// The last acknowledged number of each key; one client writes a key, so numbers only grow.
type Acknowledged = Arc<Mutex<HashMap<usize, u64>>>;

fn set(client: &mut Client, i: usize, number: u64) -> Result<(), Error> {
    client.call_following(&[b"SET", key(i).as_bytes(), number.to_string().as_bytes()]).map(|_| ())
}

/// Gives every key its first number, many at a time: with a journal each reply waits for a sync.
fn fill(client: &mut Client) {
    for first in (0..KEYS).step_by(1000) {
        let keys: Vec<String> = (first..first + 1000).map(key).collect();
        let mut request: Vec<&[u8]> = vec![b"MSET"];
        keys.iter().for_each(|key| request.extend([key.as_bytes(), b"1"]));
        client.call(&request).expect("the source serves");
    }
}

fn get(client: &mut Client, i: usize) -> Result<Option<u64>, Error> {
    match client.call(&[b"GET", key(i).as_bytes()])? {
        OwnedFrame::BulkString(bytes) => {
            let text = String::from_utf8(bytes).expect("a number was written");
            Ok(Some(text.parse().expect("a number was written")))
        }
        _ => Ok(None),
    }
}

/// Writes growing numbers to its keys until told to stop; reconnects to whoever answers.
fn write(writer: usize, nodes: &[String], stop: &AtomicBool, acknowledged: &Acknowledged) {
    let mut client: Option<Client> = None;
    let mut number = 1;
    // ORDERING: Relaxed; a lone flag.
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let i = writer + WRITERS * (usize::try_from(number).expect("small") % HOT_KEYS);
        let connected = client.take().or_else(|| {
            nodes.iter().find_map(|node| {
                let client = Client::connect(node).ok()?;
                client.set_timeout(Some(Duration::from_millis(500))).ok()?;
                Some(client)
            })
        });
        let Some(mut connected) = connected else {
            thread::sleep(Duration::from_millis(5));
            continue;
        };
        match set(&mut connected, i, number) {
            Ok(()) => {
                acknowledged.lock().expect("no writer panics").insert(i, number);
                client = Some(connected);
            }
            // Dead, or frozen for too long: begin again with whoever answers.
            Err(_) => thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// Small numbers that look random, the same in every run of a seed.
fn scramble(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What a round came to, for the test's own account of what it covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    TargetDiedSourceOwns,
    TargetDiedAsOwner,
    SourceDiedTargetOwns,
    SourceDiedAsOwner,
}

struct Cluster {
    folder: std::path::PathBuf,
    map: std::path::PathBuf,
    source: Node,
    target: Node,
    journal: &'static [&'static str],
}

impl Cluster {
    fn start(folder: &Path, journal: &'static [&'static str]) -> Self {
        let map = folder.join("slots");
        let node = |name: &str, own: &str| {
            let data = folder.join(name);
            let args = ["--slot-map", arg(&map), "--data-dir", arg(&data), "--own", own];
            Node::start(&[&args[..], journal].concat())
        };
        let source = node("source", "0-16383");
        let target = node("target", "none");
        Self { folder: folder.to_owned(), map, source, target, journal }
    }

    /// Starts the dead node again: same name, same directory, and in memory what the journal gives.
    fn revive(&mut self, target: bool) {
        let (node, name) =
            if target { (&mut self.target, "target") } else { (&mut self.source, "source") };
        let (data, listen) = (self.folder.join(name), node.address().to_owned());
        let args = ["--slot-map", arg(&self.map), "--data-dir", arg(&data)];
        *node = Node::start_at(&listen, &[&args[..], self.journal].concat());
    }

    /// The owner that the record names.
    fn owner(&self) -> String {
        let map = FileMap::open(&self.map).expect("the slot map outlives every node");
        let record = map.get(slot_of(key(0).as_bytes())).expect("the map is readable");
        record.expect("the slot has a record").owner.as_str().to_owned()
    }
}

fn round(seed: u64, kill_target: bool, journal: &'static [&'static str]) -> End {
    let folder = tempdir().expect("a temporary folder");
    let mut cluster = Cluster::start(folder.path(), journal);
    let names = [cluster.source.address().to_owned(), cluster.target.address().to_owned()];
    let acknowledged = Acknowledged::default();
    let mut client = Client::connect(&names[0]).expect("the source serves");
    fill(&mut client);
    acknowledged.lock().expect("no writer panics").extend((0..KEYS).map(|i| (i, 1)));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (names, stop, acknowledged) =
                (names.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
            thread::spawn(move || write(writer, &names, &stop, &acknowledged))
        })
        .collect();
    let slot = slot_of(key(0).as_bytes()).to_string();
    let start: [&[u8]; 4] = [b"WMIGRATE", b"START", slot.as_bytes(), names[1].as_bytes()];
    client.call(&start).expect("the migration begins");
    thread::sleep(Duration::from_micros(scramble(seed) % 60_000));
    let victim = if kill_target { &mut cluster.target } else { &mut cluster.source };
    victim.kill();
    thread::sleep(Duration::from_millis(100));
    // ORDERING: Relaxed; a lone flag.
    stop.store(true, Ordering::Relaxed);
    writers.into_iter().for_each(|writer| writer.join().expect("a writer does not panic"));
    let acknowledged = acknowledged.lock().expect("no writer panics").clone();
    let end = judge(&cluster, &names, kill_target, &acknowledged);
    cluster.revive(kill_target);
    let copy_lives =
        !journal.is_empty() || matches!(end, End::TargetDiedSourceOwns | End::SourceDiedTargetOwns);
    judge_revived(&cluster, &names, copy_lives, &acknowledged);
    end
}

/// After the dead node has come back.
fn judge_revived(
    cluster: &Cluster,
    names: &[String; 2],
    copy_lives: bool,
    acknowledged: &HashMap<usize, u64>,
) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let owner = cluster.owner();
        let other = if owner == names[0] { &names[1] } else { &names[0] };
        let answers = |name: &str| {
            let mut client = Client::connect(name).expect("both nodes live");
            client.set_timeout(Some(PATIENCE)).expect("a timeout");
            get(&mut client, 0).map(|_| client)
        };
        let (owners, others) = (answers(&owner), answers(other));
        if cluster.owner() == owner {
            assert!(others.is_err(), "{other} serves a slot of {owner}");
            if let Ok(mut client) = owners {
                let mut served = |i| get(&mut client, i).expect("the owner serves").unwrap_or(0);
                let lost = acknowledged.iter().filter(|(i, number)| served(**i) < **number).count();
                let gone = acknowledged.keys().filter(|i| served(**i) == 0).count();
                let whole = lost == 0 || (!copy_lives && gone == acknowledged.len());
                assert!(whole, "{lost} of {} lost, {gone} gone, at {owner}", acknowledged.len());
                return;
            }
        }
        assert!(Instant::now() < deadline, "{owner} owns the slot and does not serve it");
        thread::sleep(Duration::from_millis(20));
    }
}

fn judge(
    cluster: &Cluster,
    names: &[String; 2],
    kill_target: bool,
    acknowledged: &HashMap<usize, u64>,
) -> End {
    let (dead, survivor) = if kill_target { (1, 0) } else { (0, 1) };
    let deadline = Instant::now() + PATIENCE;
    let mut client = Client::connect(&names[survivor]).expect("the survivor answers");
    client.set_timeout(Some(PATIENCE)).expect("a timeout");
    // The survivor needs a moment to notice: a grant may be on its way, a swap under way.
    loop {
        let owner = cluster.owner();
        assert!(names.contains(&owner), "the record names {owner}, who is none of {names:?}");
        match get(&mut client, 0) {
            Ok(_) if owner == names[survivor] => break,
            Ok(value) => {
                // The record may have changed between the two looks.
                assert_eq!(
                    cluster.owner(),
                    names[survivor],
                    "the survivor answered {value:?} for a slot of {owner}"
                );
            }
            Err(error) if owner == names[dead] => {
                let said = error.to_string();
                let clear = said.contains("MOVED") || said.contains("CLUSTERDOWN");
                if clear && settled(cluster, &mut client, &owner) {
                    return if kill_target {
                        End::TargetDiedAsOwner
                    } else {
                        End::SourceDiedAsOwner
                    };
                }
                assert!(Instant::now() < deadline, "the survivor says: {said}");
            }
            Err(error) => {
                assert!(Instant::now() < deadline, "the owner lives and refuses: {error}");
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    for (i, number) in acknowledged {
        let served = get(&mut client, *i).expect("the owner serves").unwrap_or(0);
        assert!(
            served >= *number,
            "{} of key {i} was acknowledged, the owner serves {served}",
            number
        );
    }
    if kill_target { End::TargetDiedSourceOwns } else { End::SourceDiedTargetOwns }
}

/// Whether owner and refusal stay the same for a while.
fn settled(cluster: &Cluster, client: &mut Client, owner: &str) -> bool {
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        if cluster.owner() != owner || get(client, 0).is_ok() {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

#[test]
fn death_at_any_moment_of_a_migration_costs_nothing_more_than_itself() {
    deaths(ROUNDS, &[]);
}

#[test]
fn death_at_any_moment_of_a_migration_costs_nothing_with_journals() {
    deaths(JOURNALED_ROUNDS, &["--journal", "always"]);
}

fn deaths(rounds: u64, journal: &'static [&'static str]) {
    let mut ends: HashMap<End, u32> = HashMap::new();
    for seed in 0..rounds {
        let end = round(seed, seed % 2 == 0, journal);
        println!("round {seed}: {end:?}");
        *ends.entry(end).or_default() += 1;
    }
    println!("{ends:?}");
}
