//! Goal: a slot moves while clients write to it, without a lost write, a stale read or a request
//! that fails; and a migration that is not wanted any more leaves everything as it was.
//!
//! Method: clients write increasing numbers and read them back at once, following redirections,
//! while `whimbrel migrate` moves their slot back and forth; `whimbrel migrate` gets a SIGINT.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use redis_protocol::resp2::types::OwnedFrame;
use serde_json::Value;
use tempfile::tempdir;
use whimbrel_node::client::Client;

use crate::common::{Node, WHIMBREL, arg, cli, whimbrel_succeeds};

fn two_nodes(folder: &std::path::Path) -> (Node, Node) {
    let map = folder.join("slots");
    let first = Node::start(&["--slot-map", arg(&map), "--own", "0-16383"]);
    let second = Node::start(&["--slot-map", arg(&map), "--own", "none"]);
    (first, second)
}

/// Writes numbers to one key and reads each back, until told to stop; gives the last one.
fn write_and_read(node: &str, key: &str, stop: &AtomicBool) -> u64 {
    let mut client = Client::connect(node).expect("a node serves");
    let mut number = 0;
    // ORDERING: Relaxed; a lone flag.
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let text = number.to_string();
        client
            .call_following(&[b"SET", key.as_bytes(), text.as_bytes()])
            .expect("no request fails while the slot moves");
        let read = client
            .call_following(&[b"GET", key.as_bytes()])
            .expect("no request fails while the slot moves");
        assert_eq!(read, OwnedFrame::BulkString(text.into_bytes()), "a read is stale");
    }
    number
}

#[test]
fn a_slot_moves_back_and_forth_under_its_clients() {
    let folder = tempdir().expect("a temporary folder");
    let (first, second) = two_nodes(folder.path());
    let mut client = Client::connect(first.address()).expect("the node serves");
    for i in 0..3_000 {
        let key = format!("{{move}}:filler:{i:05}");
        client.call(&[b"SET", key.as_bytes(), &[b'x'; 100]]).expect("the node serves");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let keys = ["{move}:a", "{move}:b", "{move}:c"];
    let clients = keys.map(|key| {
        let (node, stop) = (first.address().to_owned(), Arc::clone(&stop));
        thread::spawn(move || write_and_read(&node, key, &stop))
    });
    for round in 0..6 {
        let (from, to) = if round % 2 == 0 { (&first, &second) } else { (&second, &first) };
        thread::sleep(Duration::from_millis(50));
        let said = whimbrel_succeeds(&[
            "migrate",
            "--node",
            from.address(),
            "--key",
            "{move}",
            "--to",
            to.address(),
            "--json",
        ]);
        let job: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(job["state"], "done", "{job}");
        assert_eq!(job["report"]["keys"], 3_003, "{job}");
    }
    thread::sleep(Duration::from_millis(50));
    // ORDERING: Relaxed; a lone flag.
    stop.store(true, Ordering::Relaxed);
    for (key, client) in keys.into_iter().zip(clients) {
        let number = client.join().expect("the client saw nothing wrong");
        assert!(number > 100, "{key} was written {number} times only");
        assert_eq!(cli(first.port(), &["GET", key]), number.to_string());
    }
    assert_eq!(cli(second.port(), &["DBSIZE"]), "0");
    let answer = cli(second.port(), &["GET", "{move}:a"]);
    assert!(answer.contains("MOVED"), "{answer}");
}

#[test]
fn ctrl_c_leaves_the_slot_where_it_was() {
    let folder = tempdir().expect("a temporary folder");
    let (first, second) = two_nodes(folder.path());
    let mut client = Client::connect(first.address()).expect("the node serves");
    // Random enough not to compress: the copy takes longer than it takes to stop it.
    let mut value = vec![0_u8; 200_000];
    let mut state = 1_u64;
    for i in 0..400 {
        for byte in &mut value {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = state.to_be_bytes()[0];
        }
        let key = format!("{{big}}:{i:04}");
        client.call(&[b"SET", key.as_bytes(), &value]).expect("the node serves");
    }
    let migrate = Command::new(WHIMBREL)
        .args(["migrate", "--node", first.address(), "--key", "{big}", "--to", second.address()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    thread::sleep(Duration::from_millis(60));
    let pid = migrate.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    let output = migrate.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        // The machine was faster than the signal: the slot has moved as asked.
        assert_eq!(cli(second.port(), &["EXISTS", "{big}:0000"]), "1");
        return;
    }
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("stays where it was"), "{said}");
    assert_eq!(cli(first.port(), &["DBSIZE"]), "400");
    assert_eq!(cli(second.port(), &["DBSIZE"]), "0");
    whimbrel_succeeds(&[
        "migrate",
        "--node",
        first.address(),
        "--key",
        "{big}",
        "--to",
        second.address(),
    ]);
    assert_eq!(cli(second.port(), &["DBSIZE"]), "400");
}
