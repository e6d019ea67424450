//! Goal: every command that takes a directory of backups takes `s3://bucket/prefix`, and means the same.
//!
//! Method: `ci/s3.sh` starts a server that speaks S3 and says in the environment where it is; the binary backs an
//! engine and a node up to it, verifies, looks up, restores, ingests, prunes, and is killed and interrupted while it
//! writes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::tempdir;
use whimbrel_backup::Location;

#[allow(dead_code, clippy::allow_attributes, reason = "every test binary uses a part of it")]
#[path = "process/common.rs"]
mod common;

use common::{Node, PATIENCE, WHIMBREL, arg, cli, whimbrel_fails, whimbrel_succeeds};

/// A place that no other test uses.
fn place(name: &str) -> String {
    let bucket = std::env::var("WHIMBREL_S3_BUCKET").expect("run ci/s3.sh: it starts a server");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("a clock after 1970").as_nanos();
    format!("s3://{bucket}/node/{name}-{}-{now}", std::process::id())
}

fn json(args: &[&str]) -> Value {
    let said = whimbrel_succeeds(&[args, &["--json"]].concat());
    serde_json::from_str(&said).expect("JSON")
}

/// An engine of so many towns.
fn engine(folder: &Path, towns: usize) -> PathBuf {
    let mut text = String::from("id,name\n");
    for i in 0..towns {
        let name = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(text, "{i},{name:016x}").expect("to a string");
    }
    let (csv, dir) = (folder.join("towns.csv"), folder.join("engine"));
    fs::write(&csv, text).expect("a temporary file can be written");
    let import = ["import", "--data", arg(&csv), "--dir", arg(&dir), "--index", "by_name=name"];
    whimbrel_succeeds(&import);
    dir
}

#[test]
fn an_engine_goes_there_and_comes_back() {
    let folder = tempdir().expect("a temporary folder");
    let (engine, place) = (engine(folder.path(), 2000), place("engine"));
    let made = json(&["backup", "--dir", arg(&engine), "--to", &place]);
    assert!(made["entries"].as_u64().expect("a number") >= 4000, "{made}");
    assert!(whimbrel_succeeds(&["verify", &place]).contains("sound"));
    assert!(whimbrel_succeeds(&["inspect", &place]).contains(&place));
    let to = folder.path().join("restored");
    let back = json(&["restore", "--from", &place, "--to", arg(&to)]);
    assert_eq!(back["entries"], made["entries"]);
    let query = ["query", "--collection", "towns", "--index", "by_name", "--limit", "5"];
    let asked = |dir: &Path| json(&[&query[..], &["--dir", arg(dir)]].concat())["rows"].clone();
    assert_eq!(asked(&to), asked(&engine));
    let said = whimbrel_fails(3, &["backup", "--dir", arg(&engine), "--to", &place]);
    assert!(said.contains(&place), "{said}");
    whimbrel_fails(3, &["verify", &format!("{place}-elsewhere")]);
}

#[test]
fn a_node_backs_up_into_a_repository_there_and_is_started_from_it() {
    let root = place("node");
    let node = Node::start(&["--own", "0-16383"]);
    for key in 0..200 {
        assert_eq!(cli(node.port(), &["SET", &format!("{{t}}:{key:04}"), "first"]), "OK");
    }
    let back_up = ["backup", "--node", node.address(), "--into", &root, "--incremental"];
    assert_eq!(json(&back_up)["position"], 0);
    assert_eq!(cli(node.port(), &["SET", "{t}:0007", "second"]), "OK");
    let second = json(&back_up);
    assert_eq!((&second["position"], &second["puts"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(second["stores"]["followed"], 1);
    assert!(whimbrel_succeeds(&["inspect", &root]).contains("+1"));
    assert_eq!(json(&["verify", &root])["report"]["backups"], 2);
    for (at, expected) in [("1", "first"), ("2", "second")] {
        let found = json(&["inspect", &root, "--at", at, "--get", "k{t}:0007"]);
        assert_eq!(found["entries"][0]["value"], expected, "{found}");
    }
    let again = Node::start(&["--own", "0-16383", "--restore", &root]);
    assert_eq!(cli(again.port(), &["GET", "{t}:0007"]), "second");
    assert_eq!(cli(again.port(), &["GET", "{t}:0199"]), "first");
    // The second backup by itself, with what it continues.
    let dir = second["dir"].as_str().expect("a place");
    assert!(whimbrel_succeeds(&["verify", dir]).contains("of 2 backups"));
    json(&["backup", "--node", node.address(), "--into", &root]);
    let pruned = json(&["prune", &root, "--keep", "1"]);
    assert_eq!(pruned["removed"].as_array().map(Vec::len), Some(2), "{pruned}");
    assert_eq!(json(&["inspect", &root])["backups"].as_array().map(Vec::len), Some(1));
}

#[test]
fn sorted_files_are_ingested_from_there_to_there() {
    let folder = tempdir().expect("a temporary folder");
    let (from, to) = (place("from"), place("to"));
    let node = Node::start(&["--own", "0-16383"]);
    assert_eq!(cli(node.port(), &["SET", "{t}:1", "old"]), "OK");
    json(&["backup", "--node", node.address(), "--to", &from]);
    let (input, sorted) = (folder.path().join("input"), folder.path().join("sorted"));
    fs::write(&input, "k{t}:1\tnew\nk{t}:2\tnew\n").expect("a temporary file can be written");
    whimbrel_succeeds(&["sort", arg(&input), "--to", arg(&sorted)]);
    let done = json(&["ingest", "--from", &from, "--to", &to, arg(&sorted)]);
    assert_eq!(done["puts"], 2, "{done}");
    let found = json(&["inspect", &to, "--prefix", "k{t}:"]);
    assert_eq!(found["entries"].as_array().map(Vec::len), Some(2), "{found}");
}

#[test]
fn one_that_is_killed_or_interrupted_leaves_no_backup() {
    let folder = tempdir().expect("a temporary folder");
    let engine = engine(folder.path(), 60_000);
    for (round, signal) in (0..).zip(["-KILL", "-INT", "-KILL", "-INT"]) {
        let place = place("killed");
        let storage = Location::of(Path::new(&place)).and_then(|it| it.storage()).expect("a place");
        let child = Command::new(WHIMBREL)
            .args(["backup", "--dir", arg(&engine), "--to", &place, "--rate", "1"])
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut child = child.expect("the binary starts");
        let began = Instant::now();
        while storage.list().expect("the server answers").is_empty() {
            assert!(began.elapsed() < PATIENCE, "it does not begin");
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(50 * round));
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill runs").success());
        let status = child.wait().expect("it ends");
        assert!(!status.success(), "it was stopped before it was done");
        let said = whimbrel_fails(3, &["verify", &place]);
        assert!(said.contains(&place), "{said}");
        if signal == "-INT" {
            // What it had begun is gone: the place can be used.
            json(&["backup", "--dir", arg(&engine), "--to", &place]);
        } else {
            let said = whimbrel_fails(3, &["backup", "--dir", arg(&engine), "--to", &place]);
            assert!(said.contains(&place), "{said}");
        }
    }
}
