//! Goal: the subcommands fit together: what one writes the next one reads, and nothing changes on
//! the way.
//!
//! Method: a small CSV file is imported, asked, backed up, verified, inspected, restored, asked
//! again, served by nodes, asked there, and moved between them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::common::{Node, arg, cli, whimbrel_fails, whimbrel_succeeds};

struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Towns with a country, a size and other names.
    fn csv(&self) -> PathBuf {
        let mut text = String::from("id,name,country,size,aliases\n");
        for i in 0..600 {
            let country = ["FR", "DE", "PT"][i % 3];
            writeln!(text, "{i},town{i:03},{country},{},old{i}|shared{}", i * 7 % 1000, i % 10)
                .expect("writing to a string");
        }
        let path = self.path("towns.csv");
        fs::write(&path, text).expect("a temporary file can be written");
        path
    }

    fn engine(&self, partitions: &str) -> PathBuf {
        let dir = self.path("engine");
        let said = whimbrel_succeeds(&[
            "import",
            "--data",
            arg(&self.csv()),
            "--dir",
            arg(&dir),
            "--index",
            "by_name=name",
            "--index",
            "by_country=country,size:desc",
            "--index",
            "by_alias=aliases:list",
            "--covering",
            "name",
            "--partitions",
            partitions,
            "--json",
        ]);
        let report: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(report["records"], 600);
        assert_eq!(report["index_entries"], 600 * 4);
        dir
    }
}

/// Asks and gives the rows.
fn ask(place: &[&str], words: &[&str]) -> Vec<Value> {
    let args = [&["query"], place, &["--collection", "towns", "--json"], words].concat();
    let said = whimbrel_succeeds(&args);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    answer["rows"].as_array().expect("rows").clone()
}

/// The same questions wherever the data are; the answers are known.
fn check_answers(place: &[&str]) {
    let rows = ask(place, &["--index", "by_name", "--eq", "town042"]);
    assert_eq!((rows.len(), &rows[0]["id"]), (1, &Value::from("42")));
    let rows = ask(place, &["--index", "by_name", "--prefix", "town05"]);
    assert_eq!(rows.len(), 10);
    assert_eq!(rows[3]["name"], "town053");
    let largest = ask(place, &["--index", "by_country", "--eq", "FR", "--limit", "3"]);
    let sizes: Vec<_> = largest.iter().map(|row| row["size"].as_i64().expect("a size")).collect();
    let mut expected: Vec<i64> = (0..600).filter(|i| i % 3 == 0).map(|i| i * 7 % 1000).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(sizes, expected[..3]);
    let between =
        ask(place, &["--index", "by_country", "--eq", "FR", "--from", "100", "--before", "200"]);
    let count = expected.iter().filter(|size| (100..200).contains(*size)).count();
    assert_eq!(between.len(), count);
    let last = ask(place, &["--index", "by_name", "--rev", "--limit", "2", "--offset", "1"]);
    assert_eq!(last[0]["name"], "town598");
    assert_eq!(ask(place, &["--index", "by_alias", "--eq", "shared7"]).len(), 60);
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("the backup is a folder");
    entries.map(|entry| entry.expect("readable").path()).collect()
}

#[test]
fn an_engine_goes_round_and_stays_what_it_is() {
    let place = Place::new();
    let engine = place.engine("1");
    check_answers(&["--dir", arg(&engine)]);
    let backup = place.path("backup");
    whimbrel_succeeds(&["backup", "--dir", arg(&engine), "--to", arg(&backup)]);
    assert!(whimbrel_succeeds(&["verify", arg(&backup)]).contains("sound"));
    let inspected = whimbrel_succeeds(&["inspect", arg(&backup), "--json"]);
    let inspected: Value = serde_json::from_str(&inspected).expect("JSON");
    assert!(inspected["ratio"].as_f64().expect("a ratio") > 1.0, "{inspected}");
    assert!(whimbrel_succeeds(&["inspect", arg(&backup)]).contains("towns/"));
    looks_entries_up(arg(&backup));
    let again = place.path("again");
    whimbrel_succeeds(&["restore", "--from", arg(&backup), "--to", arg(&again)]);
    check_answers(&["--dir", arg(&again)]);
    let said = whimbrel_fails(3, &["backup", "--dir", arg(&engine), "--to", arg(&backup)]);
    assert!(said.contains("already holds a backup"), "{said}");
}

fn looks_entries_up(backup: &str) {
    let json = |words: &[&str]| -> Value {
        let words = [&["inspect", backup, "--json"], words].concat();
        serde_json::from_str(&whimbrel_succeeds(&words)).expect("JSON")
    };
    let all = json(&["--prefix", "", "--limit", "2"]);
    assert_eq!((all["entries"].as_array().map(Vec::len), &all["more"]), (Some(2), &true.into()));
    let first = &all["entries"][0];
    let (store, key) =
        (first["store"].as_str().expect("text"), first["key"].as_str().expect("text"));
    let one = json(&["--store", store, "--get", key]);
    assert_eq!((&one["entries"][0], &one["more"]), (first, &false.into()));
    assert!(whimbrel_succeeds(&["inspect", backup, "--get", key]).contains(key));
    let none = json(&["--get", "no such key"]);
    assert_eq!(none["entries"].as_array().map(Vec::len), Some(0));
    let said = whimbrel_fails(2, &["inspect", backup, "--get", "\\x"]);
    assert!(said.contains("two hex digits"), "{said}");
    let said = whimbrel_fails(3, &["inspect", backup, "--store", "no such store", "--get", key]);
    assert!(said.contains("no such store"), "{said}");
}

#[test]
fn a_damaged_backup_is_refused_by_name() {
    let place = Place::new();
    let engine = place.engine("1");
    let backup = place.path("backup");
    whimbrel_succeeds(&["backup", "--dir", arg(&engine), "--to", arg(&backup)]);
    let shard = files_of(&backup)
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("shard")))
        .expect("a shard");
    let mut bytes = fs::read(&shard).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&shard, bytes).expect("writable");
    let name = shard.file_name().expect("a file").to_string_lossy().into_owned();
    let said = whimbrel_fails(3, &["verify", arg(&backup)]);
    assert!(said.contains(&name) && said.contains("another copy"), "{said}");
    let to = place.path("to");
    let said = whimbrel_fails(3, &["restore", "--from", arg(&backup), "--to", arg(&to)]);
    assert!(said.contains(&name), "{said}");
    assert!(!to.exists(), "nothing is written from a damaged backup");
    let said = whimbrel_fails(3, &["serve", "--listen", "127.0.0.1:0", "--restore", arg(&backup)]);
    assert!(said.contains(&name), "{said}");
}

#[test]
fn nodes_serve_a_restored_collection_and_answer_the_same() {
    let place = Place::new();
    let engine = place.engine("4");
    let backup = place.path("backup");
    whimbrel_succeeds(&["backup", "--dir", arg(&engine), "--to", arg(&backup)]);
    let map = place.path("slots");
    let first =
        Node::start(&["--slot-map", arg(&map), "--own", "0-16383", "--restore", arg(&backup)]);
    let second = Node::start(&["--slot-map", arg(&map), "--own", "none"]);
    check_answers(&["--node", first.address()]);
    assert_eq!(
        cli(first.port(), &["WQUERY", "towns", "by_name", "EQ", "town042"]),
        "42\ntown042\ntown042"
    );
    assert_eq!(cli(first.port(), &["WQUERY", "towns", "by_alias", "EQ", "shared7", "COUNT"]), "60");

    // Two of the four partitions move; the command line finds them wherever they are.
    for partition in ["towns/00001", "towns/00003"] {
        let said = whimbrel_succeeds(&[
            "migrate",
            "--node",
            first.address(),
            "--key",
            partition,
            "--to",
            second.address(),
            "--json",
        ]);
        let job: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(job["state"], "done", "{job}");
    }
    check_answers(&["--node", first.address()]);
    check_answers(&["--node", second.address()]);
    let said = cli(first.port(), &["WQUERY", "towns", "by_name", "EQ", "town042"]);
    assert!(said.contains("PARTITION"), "{said}");

    let status = whimbrel_succeeds(&["status", "--node", first.address(), "--json"]);
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert!(status["snapshots"].is_array() && status["garbage"]["held_bytes"].is_u64(), "{status}");
    assert!(status["versions"].as_u64() >= Some(600), "{status}");
    let shown = whimbrel_succeeds(&["status", "--node", first.address()]);
    assert!(shown.contains("are held by snapshots"), "{shown}");

    // The backup of a node holds its slots, and a node is restored from it.
    let of_node = place.path("of-node");
    assert_eq!(cli(first.port(), &["-c", "SET", "plain", "key"]), "OK");
    whimbrel_succeeds(&["backup", "--node", first.address(), "--to", arg(&of_node)]);
    whimbrel_succeeds(&["verify", arg(&of_node)]);
    let said = whimbrel_fails(
        2,
        &["restore", "--from", arg(&of_node), "--to", arg(&place.path("nowhere"))],
    );
    assert!(said.contains("serve --restore"), "{said}");
    let third = Node::start(&["--own", "0-16383", "--restore", arg(&of_node)]);
    assert_eq!(cli(third.port(), &["GET", "plain"]), "key");
}
