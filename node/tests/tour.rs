//! Goal: the tour passes when everything works, and fails when one mistake is planted.
//!
//! Method: the built binary runs the whole tour on few records. The clean run must report `ok`
//! and every promised key; each `--plant` must exit with code 1 because the check that is meant to
//! find this mistake found it; inputs that cannot be used must be named with place and remedy.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Few, so that each run takes seconds; enough for several blocks and ranges.
const ENTRIES: &str = "4000";

fn tour(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_whimbrel"))
        .arg("tour")
        .args(args)
        .output()
        .expect("the binary starts")
}

fn json(output: &Output) -> Value {
    let text = std::str::from_utf8(&output.stdout).expect("the report is UTF-8");
    assert_eq!(text.lines().count(), 1, "one object on one line, got: {text}");
    serde_json::from_str(text).unwrap_or_else(|error| {
        panic!("{error} in {text:?}; stderr: {}", String::from_utf8_lossy(&output.stderr))
    })
}

#[track_caller]
fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path);
    value.and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is {value:?} in {report}"))
}

#[test]
fn a_clean_run_is_ok_and_reports_every_key() {
    let output = tour(&["--json", "--entries", ENTRIES]);
    let report = json(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["ok"], true);
    assert_eq!(report["snapshot_stable"], true);
    assert_eq!(report["restore"]["equal"], true);
    for path in [
        "/records",
        "/index_entries",
        "/backup/bytes",
        "/backup/ratio",
        "/backup/entries_per_s",
        "/restore/entries_per_s",
        "/migration/keys",
        "/migration/keys_per_s",
        "/migration/mb_per_s",
        "/migration/rounds",
        "/migration/write_blackout_ms",
        "/migration/read_blackout_ms",
        "/migration/acknowledged_writes",
        "/migration/reads",
        "/migration/p99_us_before",
        "/migration/p99_us_during",
        "/migration/max_us_during",
    ] {
        assert!(number(&report, path) > 0.0, "{path} in {report}");
    }
    assert_eq!(number(&report, "/records"), 4000.0);
    assert_eq!(number(&report, "/migration/lost_writes"), 0.0);
    assert_eq!(number(&report, "/migration/stale_reads"), 0.0);
    let queries = report["queries"].as_array().expect("an array of questions");
    assert!(queries.len() >= 5, "exact, prefix, range, reverse with limit, count at least");
    for query in queries {
        assert!(query["name"].is_string(), "{query}");
        assert!(query["rows"].is_u64(), "{query}");
        assert!(query["micros"].is_number(), "{query}");
    }
}

#[track_caller]
fn is_found(plant: &str, checks: &[&str]) {
    let output = tour(&["--json", "--entries", ENTRIES, "--plant", plant]);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert_eq!(report["ok"], false);
    let check = report["failure"]["check"].as_str().unwrap_or("no check");
    assert!(checks.contains(&check), "found by {check:?}, not one of {checks:?}: {report}");
    let message = report["failure"]["message"].as_str().expect("a message");
    assert!(message.contains("expected:") && message.contains("got:"), "{message}");
}

#[test]
fn a_dropped_captured_write_is_found() {
    is_found("dropped-captured-write", &["migration-digest"]);
}

#[test]
fn serving_after_the_grant_is_found() {
    is_found("serving-after-grant", &["lost-writes", "stale-reads"]);
}

#[test]
fn a_flipped_backup_block_is_found() {
    is_found("flipped-backup-block", &["restore"]);
}

#[test]
fn a_moving_snapshot_is_found() {
    is_found("moving-snapshot", &["snapshot-stable"]);
}

#[test]
fn a_skipped_delta_round_is_found() {
    is_found("skipped-delta-round", &["migration-digest"]);
}

fn file(dir: &Path, name: &str, bytes: &[u8]) -> String {
    let path = dir.join(name);
    let mut file = std::fs::File::create(&path).expect("a file in a fresh directory");
    file.write_all(bytes).expect("a small file is written");
    path.to_str().expect("the path is UTF-8").to_owned()
}

#[test]
fn the_users_own_records_travel_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut text = String::from("sku,title,brand,price,tags\n");
    for index in 0..300 {
        let brand = ["Hay", "Muuto", "Vitra"][index % 3];
        let price = 10 + index * 7 % 113;
        text.push_str(&format!("s{index},\"Chair, no. {index}\",{brand},{price},home;t{price}\n"));
    }
    let path = file(dir.path(), "products.csv", text.as_bytes());
    let output = tour(&["--data", &path]);
    let shown = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}\n{errors}");
    for words in ["index by_title: title", "brand, then price descending", "each of tags"] {
        assert!(shown.contains(words), "{words:?} in {shown}");
    }
    assert!(shown.contains("Every check passed."), "{shown}");
}

#[track_caller]
fn is_refused(bytes: &[u8], words: &[&str]) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = file(dir.path(), "bad.csv", bytes);
    let output = tour(&["--data", &path]);
    assert_eq!(output.status.code(), Some(3), "an input that cannot be used");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("bad.csv"), "the file in {errors}");
    for word in words {
        assert!(errors.contains(word), "{word:?} in {errors}");
    }
}

#[test]
fn a_bad_line_is_named_with_cause_and_remedy() {
    is_refused(b"id,name,n\n1,x,2\n2,y\n", &["line 3", "2 fields", "double quotes"]);
    is_refused(b"id,name,n\n1,\xe4\xf6,2\n", &["line 2", "not UTF-8", "iconv"]);
    is_refused(b"id,name,n\n1,x,2\n1,y,4\n", &["line 3", "already used in line 2"]);
    let mut text = String::from("id,name,n\n");
    for index in 0..30 {
        text.push_str(&format!("{index},x{index},{}\n", if index == 7 { "many" } else { "3" }));
    }
    is_refused(text.as_bytes(), &["line 9", "\"many\"", "not a number"]);
}

#[test]
fn a_missing_file_is_named() {
    let output = tour(&["--data", "/nonexistent/places.csv"]);
    assert_eq!(output.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("/nonexistent/places.csv") && errors.contains("check the path"));
}

#[test]
fn an_unknown_fault_is_refused_with_the_known_ones() {
    let output = tour(&["--plant", "gremlins"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("skipped-delta-round"), "{errors}");
}
