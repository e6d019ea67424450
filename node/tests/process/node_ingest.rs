//! Goal: sorted files that are ingested into a node appear in all slots at one moment, lose to what clients write
//! meanwhile, and with a journal are there as a whole or not at all after a kill at any moment: all of them when the
//! command had succeeded.
//!
//! Method: the binary as processes of their own; clients write while the ingest runs; SIGKILL at random moments of
//! it, and the node starts again in the same directory.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use redis_protocol::resp2::types::OwnedFrame;
use tempfile::tempdir;
use whimbrel_backup::sorted::SortedFileWriter;
use whimbrel_node::client::Client;

use crate::common::{Node, WHIMBREL, arg, cli, whimbrel_fails, whimbrel_succeeds};

/// Entries of a file.
const KEYS: u64 = 10_000;
/// Rounds, each with one death.
const ROUNDS: u64 = 6;

fn key(number: u64) -> String {
    format!("key {number:06}")
}

/// A sorted file with a value for every key.
fn sorted(path: &Path, value: &str) {
    let mut writer = SortedFileWriter::create(path).expect("a new file");
    for number in 0..KEYS {
        writer.put(key(number).as_bytes(), value.as_bytes()).expect("ascending");
    }
    writer.finish().expect("it is written");
}

fn json(args: &[&str]) -> serde_json::Value {
    let said = whimbrel_succeeds(&[args, &["--json"]].concat());
    serde_json::from_str(&said).expect("one JSON object")
}

/// How many keys have each value; no value counts under an empty name.
fn values(node: &Node) -> BTreeMap<String, u64> {
    let mut client = Client::connect(node.address()).expect("it serves");
    let mut found = BTreeMap::new();
    for number in 0..KEYS {
        let value = match client.call(&[b"GET", key(number).as_bytes()]).expect("it answers") {
            OwnedFrame::BulkString(value) => String::from_utf8(value).expect("as it was written"),
            _ => String::new(),
        };
        *found.entry(value).or_default() += 1;
    }
    found
}

#[test]
fn files_go_into_all_slots_beside_clients_and_behind_them() {
    let dir = tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    sorted(&at("first"), "first");
    let node = Node::start(&["--own", "0-16383"]);
    assert_eq!(cli(node.port(), &["SET", &key(7), "client"]), "OK");
    let ingest = ["ingest", "--node", node.address()];
    let behind = json(&[&ingest[..], &["--behind", arg(&at("first"))]].concat());
    assert_eq!((&behind["written"], &behind["lost"]), (&(KEYS - 1).into(), &1.into()), "{behind}");
    assert!(behind["slots"].as_u64().expect("a number") > 5000, "{behind}");
    assert_eq!(cli(node.port(), &["GET", &key(7)]), "client");
    // The same again changes nothing; over it wins, and a later file wins over an earlier one.
    let again = json(&[&ingest[..], &["--behind", arg(&at("first"))]].concat());
    assert_eq!(again["written"], 0, "{again}");
    sorted(&at("second"), "second");
    let over = json(&[&ingest[..], &[arg(&at("first")), arg(&at("second"))]].concat());
    assert_eq!(over["written"], KEYS, "{over}");
    assert_eq!(values(&node), BTreeMap::from([("second".to_owned(), KEYS)]));
    // A removal, and what cannot be.
    let mut writer = SortedFileWriter::create(&at("third")).expect("a new file");
    writer.remove(key(3).as_bytes()).expect("ascending");
    writer.finish().expect("it is written");
    json(&[&ingest[..], &[arg(&at("third"))]].concat());
    assert_eq!(cli(node.port(), &["GET", &key(3)]), "");
    let said = whimbrel_fails(5, &[&ingest[..], &[arg(&at("nothing"))]].concat());
    assert!(said.contains("nothing"), "{said}");
    let mut bytes = fs::read(at("second")).expect("it is there");
    bytes[100] ^= 1;
    fs::write(at("second"), bytes).expect("writable");
    let said = whimbrel_fails(5, &[&ingest[..], &[arg(&at("second"))]].concat());
    assert!(said.contains("second, block 0"), "{said}");
    whimbrel_fails(2, &["ingest", "--node", node.address(), "--to", "x", "y"]);
    let said = cli(node.port(), &["WINGEST", "SOMETIMES", "/tmp/x"]);
    assert!(said.contains("syntax error"), "{said}");
}

#[test]
fn a_key_of_a_slot_that_is_elsewhere_makes_it_fail_as_a_whole() {
    let dir = tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    sorted(&file, "value");
    let node = Node::start(&["--own", "0-8191"]);
    let said = whimbrel_fails(5, &["ingest", "--node", node.address(), arg(&file)]);
    assert!(said.contains("nothing was ingested"), "{said}");
    assert_eq!(cli(node.port(), &["DBSIZE"]), "0");
}

#[test]
fn what_clients_write_meanwhile_wins_and_all_appears_at_one_moment() {
    let dir = tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    sorted(&file, "ingested");
    let data = dir.path().join("node");
    let node =
        Node::start(&["--own", "0-16383", "--journal", "interval", "--data-dir", arg(&data)]);
    let (stop, mut written) = (AtomicBool::new(false), 0);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut client = Client::connect(node.address()).expect("it serves");
            let mut rounds = 0_u64;
            // Every hundredth key, again and again.
            // ORDERING: Relaxed; the flag ends the loops, and publishes nothing.
            while !stop.load(Ordering::Relaxed) {
                for number in (0..KEYS).step_by(100) {
                    let key = key(number);
                    client.call(&[b"SET", key.as_bytes(), b"client"]).expect("it answers");
                }
                rounds += 1;
            }
            rounds
        });
        let reader = scope.spawn(|| {
            let mut client = Client::connect(node.address()).expect("it serves");
            let mut get = |number: u64| {
                let reply = client.call(&[b"GET", key(number).as_bytes()]).expect("it answers");
                matches!(reply, OwnedFrame::BulkString(_))
            };
            // Whoever has read one entry finds the others.
            // ORDERING: Relaxed; as in the writer.
            while !stop.load(Ordering::Relaxed) {
                let numbers = [1, KEYS - 1, KEYS / 2 + 1, 2];
                let found: Vec<bool> = numbers.iter().map(|number| get(*number)).collect();
                assert!(found.is_sorted(), "{found:?}: a part of it was there before the rest");
            }
        });
        thread::sleep(Duration::from_millis(100));
        json(&["ingest", "--node", node.address(), arg(&file)]);
        // ORDERING: Relaxed; as in the writer.
        stop.store(true, Ordering::Relaxed);
        written = writer.join().expect("it ends");
        reader.join().expect("it ends");
    });
    assert!(written > 0);
    let expected = BTreeMap::from([
        ("client".to_owned(), KEYS / 100),
        ("ingested".to_owned(), KEYS - KEYS / 100),
    ]);
    assert_eq!(values(&node), expected);
    assert!(cli(node.port(), &["WCHECKPOINT"]).contains("journal_bytes"));
}

fn durable(data: &Path) -> Node {
    Node::start(&["--own", "0-16383", "--journal", "always", "--data-dir", arg(data)])
}

#[test]
fn killed_at_any_moment_all_of_it_is_there_or_nothing() {
    let dir = tempdir().expect("a temporary directory");
    let data = dir.path().join("node");
    let file = |round: u64| -> PathBuf { dir.path().join(format!("file {round}")) };
    let mut node = durable(&data);
    sorted(&file(0), "value 0");
    let begin = Instant::now();
    json(&["ingest", "--node", node.address(), arg(&file(0))]);
    let all = begin.elapsed();
    let random = RandomState::new();
    let (mut there, mut counts) = ("value 0".to_owned(), [0; 2]);
    for round in 1..=ROUNDS {
        let next = format!("value {round}");
        sorted(&file(round), &next);
        let mut child = Command::new(WHIMBREL)
            .args(["ingest", "--node", node.address(), arg(&file(round))])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let part = u32::try_from(random.hash_one(round) % 1200).expect("small");
        thread::sleep(all * part / 1000);
        node.kill();
        let said = child.wait().expect("it ends");
        node = durable(&data);
        let found = values(&node);
        assert_eq!(found.len(), 1, "round {round}: {found:?}: a part of it is there");
        if found.contains_key(&next) {
            there = next;
            counts[1] += 1;
        } else {
            assert!(found.contains_key(&there), "round {round}: {found:?} after {there}");
            assert!(!said.success(), "it said that it was done");
            counts[0] += 1;
        }
    }
    println!("{ROUNDS} deaths: {} before it was there, {} after", counts[0], counts[1]);
    // What was ingested stays when a checkpoint has taken its records' place.
    assert!(cli(node.port(), &["WCHECKPOINT"]).contains("journal_bytes"));
    node.kill();
    let node = durable(&data);
    assert_eq!(values(&node), BTreeMap::from([(there, KEYS)]));
}
