//! Goal: the program as a user starts it: children, checksums, tables, plots and JSON.
//! Method: a few entries; looks at what is written, not at how fast anything is.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn compare(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_whimbrel-compare");
    let mut command = Command::new(program);
    command.args(arguments).arg("--out").arg(folder).output().expect("the program starts")
}

fn rows(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the JSON file");
    serde_json::from_str(&text).expect("an array of rows")
}

#[test]
fn a_quick_run_of_two_peers_leaves_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("rows.json");
    let json_argument = json.to_str().expect("a path of UTF-8");
    let line = ["--quick", "--only", "whimbrel,std-btreemap", "--entries", "3000"];
    let output =
        compare(folder.path(), &[&line[..], &["--rounds", "1", "--json", json_argument]].concat());
    let (said, complained) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complained}");

    let rows = rows(&json);
    let has = |peer: &str, workload: &str, threads: u64| {
        rows.iter().any(|row| {
            row["peer"] == peer && row["workload"] == workload && row["threads"] == threads
        })
    };
    for workload in ["insert", "get", "range100", "bulk_build", "churned_scan", "shrink_random"] {
        assert!(has("whimbrel", workload, 1) && has("std-btreemap", workload, 1), "{workload}");
    }
    assert!(has("whimbrel", "mix", 2) && has("whimbrel", "get_snapshot", 2));
    assert!(!has("std-btreemap", "mix", 1) && !has("std-btreemap", "get", 2));
    for row in &rows {
        assert_eq!((&row["keys"], &row["entries"]), (&Value::from("random16"), &Value::from(3000)));
        assert!(row["ns_per_op"].as_f64().is_some_and(|time| time > 0.0), "{row}");
        assert!(row["bytes_per_entry"].is_number(), "{row}");
        let shrinks = row["workload"].as_str().is_some_and(|name| name.starts_with("shrink"));
        assert_eq!(row["held_percent"].is_number(), shrinks, "{row}");
    }

    let table = std::fs::read_to_string(folder.path().join("random16-3k.md")).expect("the table");
    assert!(table.is_ascii() && table.contains("| churned_get "), "{table}");
    assert!(String::from_utf8_lossy(said).contains("Where whimbrel loses"));
    for plot in ["random16-3k-1t.svg", "random16-3k-2t.svg", "random16-3k-memory.svg"] {
        let plot = std::fs::read_to_string(folder.path().join(plot)).expect("a plot");
        assert!(plot.starts_with("<svg") && plot.contains("whimbrel"), "{plot}");
    }
}

#[test]
fn bars_at_few_entries_are_judged_and_missing_ones_are_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = compare(folder.path(), &["--bars", "--entries", "2000", "--rounds", "1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("insert against crossbeam") && !said.contains("not measured"), "{said}");
    assert!(said.contains("missed"), "so few entries cannot meet all bars: {said}");
    assert!(folder.path().join("bars-2k.md").exists());
}

#[test]
fn a_peer_that_reads_wrongly_makes_the_run_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = ["--only", "whimbrel,std-btreemap", "--workload", "get", "--threads", "1"];
    let few = ["--entries", "500", "--rounds", "1", "--plant", "std-btreemap"];
    let output = compare(folder.path(), &[&line[..], &few[..]].concat());
    assert!(!output.status.success(), "a planted wrong value went unnoticed");
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(complained.contains("read something else"), "{complained}");
}

#[test]
fn a_restart_is_measured_in_all_its_phases_and_all_read_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let ours = "whimbrel,whimbrel-view,whimbrel-raw";
    let line = ["restart", "--only", ours, "--entries", "3000", "--rounds", "1", "--threads", "3"];
    let files = folder.path().to_str().expect("a path of UTF-8");
    let output = compare(folder.path(), &[&line[..], &["--files", files]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = folder.path().join("restart-random16-3k.md");
    let table = std::fs::read_to_string(file).expect("the table");
    assert!(table.is_ascii() && table.contains("read by 3 threads"), "{table}");
    assert!(table.contains("| contender | backup | start | open | scan | end |"), "{table}");
    for name in ours.split(',') {
        let rows: Vec<_> = table.lines().filter(|line| line.contains(name)).collect();
        let of_phases = rows.iter().filter(|row| row.starts_with(&format!("| {name} |"))).count();
        let of_totals = rows.iter().filter(|row| row.starts_with(&format!("| {name}: "))).count();
        assert_eq!((of_totals, of_phases), (1, 1), "{table}");
    }
}
