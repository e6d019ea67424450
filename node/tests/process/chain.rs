//! Goal: chains of backups from the command line: what each shows is what there was, a prune keeps the newest,
//! and an interrupted backup leaves the old state.
//!
//! Method: a node and an engine are backed up into repositories, changed in between, restored at each
//! backup, pruned, and interrupted.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::tempdir;

use crate::common::{Node, PATIENCE, WHIMBREL, arg, cli, whimbrel_fails, whimbrel_succeeds};

fn json(args: &[&str]) -> Value {
    let said = whimbrel_succeeds(&[args, &["--json"]].concat());
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn a_nodes_increments_are_followed_and_each_can_be_served() {
    let folder = tempdir().expect("a temporary folder");
    let root = folder.path().join("backups");
    let node = Node::start(&["--own", "0-16383"]);
    let set = |key: usize, value: &str| {
        assert_eq!(cli(node.port(), &["SET", &format!("{{t}}:{key:04}"), value]), "OK");
    };
    for key in 0..300 {
        let value = format!("value {key} of the first backup");
        set(key, &value);
    }
    let back_up = ["backup", "--node", node.address(), "--into", arg(&root), "--incremental"];
    let full = json(&back_up);
    assert_eq!((&full["position"], &full["puts"]), (&Value::from(0), &Value::from(300)));
    set(7, "second");
    assert_eq!(cli(node.port(), &["DEL", "{t}:0008"]), "1");
    set(1000, "other");
    let second = json(&[&back_up[..], &["--rate", "100"]].concat());
    assert_eq!((&second["position"], &second["puts"]), (&Value::from(1), &Value::from(2)));
    assert_eq!((&second["removes"], &second["stores"]["followed"]), (&1.into(), &1.into()));
    let bytes = |report: &Value| report["stored_bytes"].as_u64().expect("a number");
    assert!(bytes(&second) * 4 < bytes(&full), "{second} after {full}");
    set(7, "third");
    json(&back_up);
    let listed = json(&["inspect", arg(&root)]);
    assert_eq!(listed["backups"].as_array().map(Vec::len), Some(3), "{listed}");
    assert_eq!(listed["backups"][2]["backup"]["position"], 2);
    assert!(whimbrel_succeeds(&["inspect", arg(&root)]).contains("+2"));
    assert!(whimbrel_succeeds(&["verify", arg(&root)]).contains("of 3 backups"));
    let verified = json(&["verify", arg(&root), "--at", "2"]);
    assert_eq!(verified["report"]["backups"], 2);
    let dir = second["dir"].as_str().expect("a path");
    for (place, expected, gone) in [(arg(&root), "third", ""), (dir, "second", "")] {
        let again = Node::start(&["--own", "0-16383", "--restore", place]);
        assert_eq!(cli(again.port(), &["GET", "{t}:0007"]), expected);
        assert_eq!(cli(again.port(), &["GET", "{t}:0008"]), gone);
        assert_eq!(cli(again.port(), &["GET", "{t}:1000"]), "other");
        // It has not followed the backup, so it compares.
        let into = ["backup", "--node", again.address(), "--into", arg(&root), "--incremental"];
        assert_eq!(json(&into)["stores"]["compared"], 1);
    }
    // The chain goes when a newer one is there.
    json(&["backup", "--node", node.address(), "--into", arg(&root)]);
    let pruned = json(&["prune", arg(&root), "--keep", "1"]);
    assert_eq!(pruned["removed"].as_array().map(Vec::len), Some(5), "{pruned}");
    assert_eq!(json(&["inspect", arg(&root)])["backups"].as_array().map(Vec::len), Some(1));
    let said = whimbrel_fails(3, &["verify", arg(&root), "--at", "2"]);
    assert!(said.contains("holds no backup `2`"), "{said}");
    whimbrel_fails(2, &["prune", arg(&root), "--keep", "0"]);
    whimbrel_fails(2, &["backup", "--node", node.address(), "--to", "x", "--incremental"]);
    // One that holds no snapshot shows the same.
    let single = folder.path().join("single");
    let made = json(&["backup", "--node", node.address(), "--to", arg(&single), "--non-intrusive"]);
    assert_eq!(made["entries"], 300, "{made}");
    assert!(whimbrel_succeeds(&["verify", arg(&single)]).contains("sound; 300 entries"));
    whimbrel_fails(2, &[&back_up[..], &["--non-intrusive"]].concat());
    let said = cli(node.port(), &["WBACKUP", "/tmp/x", "SOMETIMES"]);
    assert!(said.contains("syntax error"), "{said}");
}

/// An engine of some thousand records in three collections' worth of indexes.
fn engine(folder: &Path, records: usize) -> std::path::PathBuf {
    let mut text = String::from("id,name,country\n");
    for i in 0..records {
        let name = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(text, "{i},{name:016x},{}", ["FR", "DE", "PT"][i % 3]).expect("to a string");
    }
    let (csv, dir) = (folder.join("towns.csv"), folder.join("engine"));
    fs::write(&csv, text).expect("a temporary file can be written");
    let import = ["import", "--data", arg(&csv), "--dir", arg(&dir), "--index", "by_name=name"];
    whimbrel_succeeds(&import);
    dir
}

#[test]
fn an_engines_backups_are_restored_at_each_point_and_a_broken_chain_is_named() {
    let folder = tempdir().expect("a temporary folder");
    let (root, engine) = (folder.path().join("backups"), engine(folder.path(), 500));
    let back_up = ["backup", "--dir", arg(&engine), "--into", arg(&root)];
    assert_eq!(json(&back_up)["position"], 0);
    let second = json(&[&back_up[..], &["--incremental"]].concat());
    assert_eq!((&second["position"], &second["puts"]), (&Value::from(1), &Value::from(0)));
    assert_eq!(second["stores"]["compared"], 1);
    for at in ["1", "2"] {
        let to = folder.path().join(at);
        let restore = ["restore", "--from", arg(&root), "--at", at, "--to", arg(&to)];
        let report = json(&[&restore[..], &["--collection", "towns"]].concat());
        assert!(report["entries"].as_u64().expect("a number") >= 500, "{report}");
        let count = ["query", "--dir", arg(&to), "--collection", "towns", "--index", "by_name"];
        let rows = json(&[&count[..], &["--limit", "3"]].concat());
        assert_eq!(rows["rows"].as_array().map(Vec::len), Some(3), "{rows}");
    }
    let to = folder.path().join("nowhere");
    let restore = ["restore", "--from", arg(&root), "--to", arg(&to)];
    let said = whimbrel_fails(2, &[&restore[..], &["--collection", "cats"]].concat());
    assert!(said.contains("no collection `cats`"), "{said}");
    let said = whimbrel_fails(4, &[&restore[..], &["--max-memory", "0"]].concat());
    assert!(said.contains("bytes of memory"), "{said}");
    let listed = json(&["inspect", arg(&root)]);
    let first = listed["backups"][0]["name"].as_str().expect("a name");
    fs::remove_dir_all(root.join(first)).expect("it can be removed");
    for command in [&restore[..], &["verify", arg(&root)]] {
        let said = whimbrel_fails(3, command);
        assert!(said.contains("which is missing"), "{said}");
    }
    assert!(!to.exists());
    assert!(whimbrel_succeeds(&["inspect", arg(&root)]).contains("broken"));
}

#[test]
fn an_interrupted_backup_leaves_the_old_state() {
    let folder = tempdir().expect("a temporary folder");
    let (root, engine) = (folder.path().join("backups"), engine(folder.path(), 60_000));
    let back_up = ["backup", "--dir", arg(&engine), "--into", arg(&root)];
    whimbrel_succeeds(&back_up);
    let before = fs::read_dir(&root).expect("the repository").count();
    let mut child = Command::new(WHIMBREL)
        .args(back_up)
        .args(["--rate", "1"])
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    // Until it has begun to write.
    let deadline = Instant::now() + PATIENCE;
    while fs::read_dir(&root).expect("the repository").count() == before {
        assert!(Instant::now() < deadline, "it does not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().expect("kill runs");
    assert!(sent.success(), "SIGINT was not sent");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert_eq!(fs::read_dir(&root).expect("the repository").count(), before, "nothing is left");
    assert!(whimbrel_succeeds(&["verify", arg(&root)]).contains("sound"));
}
