//! Goal: an unmodified redis-cli works against a node, and against a cluster of two.
//!
//! Method: Debian's redis-cli runs commands, follows redirections, scans and pipes.

use std::fmt::Write as _;

use tempfile::tempdir;

use crate::common::{Node, arg, cli, cli_with_input};

fn one_node() -> Node {
    Node::start(&["--own", "0-16383"])
}

#[test]
fn plain_commands_answer_as_redis_does() {
    let node = one_node();
    let run = |args: &[&str]| cli(node.port(), args);
    assert_eq!(run(&["PING"]), "PONG");
    assert_eq!(run(&["PING", "hello"]), "hello");
    assert_eq!(run(&["ECHO", "a b"]), "a b");
    assert_eq!(run(&["SET", "city", "Porto"]), "OK");
    assert_eq!(run(&["GET", "city"]), "Porto");
    assert_eq!(run(&["GET", "nowhere"]), "");
    assert_eq!(run(&["SET", "city", "Braga", "NX"]), "");
    assert_eq!(run(&["SET", "city", "Braga", "XX", "GET"]), "Porto");
    assert_eq!(run(&["SET", "town", "Faro", "XX"]), "");
    assert_eq!(run(&["EXISTS", "city"]), "1");
    assert_eq!(run(&["MSET", "{t}a", "1", "{t}b", "2", "{t}c", "3"]), "OK");
    assert_eq!(run(&["MGET", "{t}a", "{t}x", "{t}c"]), "1\n\n3");
    assert_eq!(run(&["DBSIZE"]), "4");
    assert_eq!(run(&["DEL", "{t}a", "{t}x"]), "1");
    assert_eq!(run(&["EXISTS", "{t}a", "{t}b", "{t}b"]), "2");
    assert_eq!(run(&["SELECT", "0"]), "OK");
    assert_eq!(run(&["CLIENT", "SETNAME", "tester"]), "OK");
    assert!(run(&["CLIENT", "LIST"]).contains("cmd=client"));
    assert!(run(&["INFO"]).contains("cluster_enabled:1"));
    node.stop();
}

#[test]
fn refusals_say_what_is_wrong() {
    let node = one_node();
    let run = |args: &[&str]| cli(node.port(), args);
    assert!(run(&["MGET", "a", "b"]).contains("CROSSSLOT"));
    assert!(run(&["MSET", "a", "1", "b", "2"]).contains("CROSSSLOT"));
    assert_eq!(run(&["EXISTS", "a"]), "0", "a refused request changes nothing");
    assert!(run(&["SET", "a", "1", "EX", "10"]).contains("do not expire"));
    assert!(run(&["SET", "a"]).contains("wrong number of arguments for 'set'"));
    assert!(run(&["FLY"]).contains("unknown command 'FLY'"));
    assert!(run(&["SELECT", "1"]).contains("cluster mode"));
    assert!(run(&["HELLO", "4"]).contains("NOPROTO"));
    assert!(run(&["HELLO", "3", "AUTH", "me", "secret"]).contains("no passwords"));
    assert!(run(&["SCAN", "99999999999999999999"]).contains("invalid cursor"));
    assert!(run(&["CLUSTER", "COUNTKEYSINSLOT", "16384"]).contains("out of range slot"));
}

#[test]
fn an_ordered_range_comes_in_order_both_ways() {
    let node = one_node();
    let run = |args: &[&str]| cli(node.port(), args);
    for key in ["{u}c", "{u}a", "{u}e", "{u}b", "{u}d"] {
        assert_eq!(run(&["SET", key, &key.to_uppercase()]), "OK");
    }
    assert_eq!(run(&["WRANGE", "{u}b", "{u}e"]), "{u}b\n{u}c\n{u}d");
    assert_eq!(run(&["WRANGE", "{u}b", "{u}e", "REV", "LIMIT", "2"]), "{u}d\n{u}c");
    assert_eq!(run(&["WRANGE", "{u}d", "+", "WITHVALUES"]), "{u}d\n{U}D\n{u}e\n{U}E");
    assert_eq!(run(&["WRANGE", "{u}e", "{u}a"]), "");
    assert!(run(&["WRANGE", "{u}a", "{v}b"]).contains("CROSSSLOT"));
    assert!(run(&["WRANGE", "{u}a", "{u}b", "LIMIT"]).contains("syntax error"));
}

#[test]
fn resp3_is_spoken_when_asked_for() {
    let node = one_node();
    let run = |args: &[&str]| cli(node.port(), &[&["-3"], args].concat());
    assert_eq!(run(&["SET", "k", "v"]), "OK");
    assert_eq!(run(&["GET", "k"]), "v");
    // A null is a null, and a map is shown as pairs.
    let hello = run(&["--no-raw", "HELLO"]);
    assert!(hello.contains("1# \"server\" => \"whimbrel\""), "{hello}");
    assert!(hello.contains("\"proto\" => (integer) 3"), "{hello}");
    assert_eq!(run(&["--no-raw", "GET", "nothing"]), "(nil)");
    let spec = run(&["--no-raw", "COMMAND", "INFO", "get"]);
    assert!(spec.contains("begin_search"), "{spec}");
}

#[test]
fn scan_finds_every_key_once_the_node_is_quiet() {
    let node = one_node();
    let mut input = String::new();
    for i in 0..500 {
        // Many keys of one slot and many of others: both ways of continuing are walked.
        let tag = if i % 2 == 0 { "{one}".to_owned() } else { format!("{{{i}}}") };
        writeln!(input, "SET {tag}:{i} {i}").expect("writing to a string");
    }
    let answers = cli_with_input(node.port(), &[], &input);
    assert_eq!(answers.lines().filter(|line| *line == "OK").count(), 500);
    let check = |found: &str, how: &str| {
        let mut keys: Vec<_> = found.lines().collect();
        assert_eq!(keys.len(), 500, "{how}");
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 500, "{how}");
    };
    check(&cli(node.port(), &["--scan"]), "--scan");
    for count in ["7", "333", "1000"] {
        check(&scan(node.port(), &["COUNT", count]), count);
    }
    let some = cli(node.port(), &["--scan", "--pattern", "{one}:1*8"]);
    assert_eq!(some.lines().count(), 11, "18 and 108, 118, .. 198: {some}");
    assert_eq!(scan(node.port(), &["TYPE", "hash"]), "");
}

/// Scans to the end, cursor by cursor.
fn scan(port: &str, options: &[&str]) -> String {
    let mut found = String::new();
    let mut cursor = "0".to_owned();
    loop {
        let answer = cli(port, &[&["SCAN", &cursor], options].concat());
        let (next, keys) = answer.split_once('\n').unwrap_or((&answer, ""));
        if !keys.is_empty() {
            found.push_str(keys);
            found.push('\n');
        }
        if next == "0" {
            return found;
        }
        cursor = next.to_owned();
    }
}

#[test]
fn a_pipe_of_many_commands_is_answered_in_full() {
    let node = one_node();
    let mut input = String::new();
    for i in 0..20_000 {
        let (key, value) = (format!("key:{i}"), "x".repeat(i % 300));
        write!(
            input,
            "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n",
            key.len(),
            value.len()
        )
        .expect("writing to a string");
    }
    let answer = cli_with_input(node.port(), &["--pipe"], &input);
    assert!(answer.contains("errors: 0, replies: 20000"), "{answer}");
    assert_eq!(cli(node.port(), &["DBSIZE"]), "20000");
}

#[test]
fn cluster_commands_describe_the_cluster() {
    let node = one_node();
    let run = |args: &[&str]| cli(node.port(), args);
    assert_eq!(run(&["CLUSTER", "KEYSLOT", "foo"]), "12182");
    assert_eq!(run(&["CLUSTER", "KEYSLOT", "{foo}bar"]), "12182");
    let slots = run(&["CLUSTER", "SLOTS"]);
    let lines: Vec<_> = slots.lines().collect();
    assert_eq!(lines[..4], ["0", "16383", "127.0.0.1", node.port()]);
    let id = run(&["CLUSTER", "MYID"]);
    assert_eq!(id.len(), 40);
    let nodes = run(&["CLUSTER", "NODES"]);
    assert!(nodes.contains(&id) && nodes.contains("myself,master"), "{nodes}");
    assert!(run(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    assert!(run(&["CLUSTER", "SHARDS"]).contains("online"));
    assert_eq!(run(&["SET", "foo", "1"]), "OK");
    assert_eq!(run(&["CLUSTER", "COUNTKEYSINSLOT", "12182"]), "1");
    assert_eq!(run(&["CLUSTER", "GETKEYSINSLOT", "12182", "10"]), "foo");
    assert_eq!(run(&["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"]), "a\nb");
    assert_eq!(run(&["COMMAND", "COUNT"]), run(&["COMMAND", "LIST"]).lines().count().to_string());
}

#[test]
fn redirections_lead_to_the_owner() {
    let folder = tempdir().expect("a temporary folder");
    let map = folder.path().join("slots");
    let first = Node::start(&["--slot-map", arg(&map), "--own", "0-8191"]);
    let second = Node::start(&["--slot-map", arg(&map), "--own", "8192-16383"]);
    // foo is in slot 12182, bar in 5061.
    let moved = cli(first.port(), &["SET", "foo", "1"]);
    assert_eq!(moved.trim(), format!("MOVED 12182 {}", second.address()));
    assert_eq!(cli(first.port(), &["-c", "SET", "foo", "1"]), "OK");
    assert_eq!(cli(first.port(), &["-c", "GET", "foo"]), "1");
    assert_eq!(cli(second.port(), &["GET", "foo"]), "1");
    assert_eq!(cli(second.port(), &["-c", "SET", "bar", "2"]), "OK");
    assert_eq!(cli(first.port(), &["GET", "bar"]), "2");
    let slots = cli(second.port(), &["CLUSTER", "SLOTS"]);
    assert!(slots.contains("8191") && slots.contains(first.port()), "{slots}");
    // Both nodes answer for the whole cluster with the same ids.
    let ids = |port| {
        let nodes = cli(port, &["CLUSTER", "NODES"]);
        let mut ids: Vec<_> = nodes
            .lines()
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(first.port()), ids(second.port()));
}

#[test]
fn a_slot_without_an_owner_is_refused_clearly() {
    let node = Node::start(&["--own", "0-100"]);
    let answer = cli(node.port(), &["GET", "foo"]);
    assert!(answer.contains("CLUSTERDOWN Hash slot 12182 not served"), "{answer}");
}
