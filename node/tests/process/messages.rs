//! Goal: what goes wrong gets a message that a person can act on, and the exit code that
//! the help text promises.
//!
//! Method: each mistake is made, and the words that matter are looked for.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::common::{WHIMBREL, arg, whimbrel_fails, whimbrel_succeeds};

fn write(path: &Path, content: &str) {
    fs::write(path, content).expect("a temporary file can be written");
}

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let said = whimbrel_fails(2, &["serve", "--lisen", "127.0.0.1:0"]);
    assert!(said.contains("--listen"), "the nearest flag is offered: {said}");
    let said = whimbrel_fails(2, &["fly"]);
    assert!(said.contains("fly"), "{said}");
    let said = whimbrel_fails(2, &["serve", "--own", "5-99999"]);
    assert!(said.contains("16383"), "{said}");
    let said = whimbrel_fails(2, &["serve", "--own", "9-5"]);
    assert!(said.contains("9-5"), "{said}");
    let said = whimbrel_fails(2, &[]);
    assert!(said.contains("serve") && said.contains("restore"), "{said}");
}

#[test]
fn help_documents_the_exit_codes() {
    let help = whimbrel_succeeds(&["--help"]);
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "5 ", "130 "] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(code)), "{code}: {help}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let said =
        whimbrel_fails(3, &["import", "--data", "/nowhere/cities.csv", "--dir", "/tmp/unused"]);
    assert!(said.contains("/nowhere/cities.csv"), "{said}");
    assert!(said.contains("check the path"), "{said}");
    for command in ["verify", "inspect"] {
        let said = whimbrel_fails(3, &[command, "/nowhere/backup"]);
        assert!(said.contains("/nowhere/backup"), "{said}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound").to_string();
    let said = whimbrel_fails(4, &["serve", "--listen", &address, "--bus", "127.0.0.1:0"]);
    assert!(said.contains(&address) && said.contains("another process"), "{said}");
    let said = whimbrel_fails(4, &["serve", "--listen", "127.0.0.1:0", "--bus", &address]);
    assert!(said.contains(&address) && said.contains("another process"), "{said}");
}

#[test]
fn a_bad_csv_line_is_named_by_its_number() {
    let folder = tempdir().expect("a temporary folder");
    let data = folder.path().join("data.csv");
    let dir = folder.path().join("engine");
    let import = ["import", "--data", arg(&data), "--dir", arg(&dir)];

    write(&data, "id,name\n1,a\n2,b,c\n3,d\n");
    let said = whimbrel_fails(3, &import);
    assert!(said.contains("data.csv, line 3") && said.contains("3 cells"), "{said}");

    fs::write(&data, b"id,name\n1,a\n2,\xff\xfe\n").expect("a temporary file can be written");
    let said = whimbrel_fails(3, &import);
    assert!(said.contains("line 3") && said.contains("UTF-8"), "{said}");

    write(&data, "id,name\n1,a\n2,b\n1,c\n");
    let said = whimbrel_fails(3, &import);
    assert!(said.contains("line 4") && said.contains("line 2") && said.contains('1'), "{said}");

    write(&data, "id,name\n1,a\n,b\n");
    let said = whimbrel_fails(3, &import);
    assert!(said.contains("line 3") && said.contains("id"), "{said}");

    write(&data, "");
    let said = whimbrel_fails(3, &import);
    assert!(said.contains("name the columns"), "{said}");
    assert!(!dir.exists(), "a refused import leaves nothing behind");
}

#[test]
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let folder = tempdir().expect("a temporary folder");
    let data = folder.path().join("data.csv");
    let dir = folder.path().join("engine");
    write(&data, "id,name\n1,a\n");
    let said = whimbrel_fails(
        2,
        &["import", "--data", arg(&data), "--dir", arg(&dir), "--index", "by=town"],
    );
    assert!(said.contains("town") && said.contains("id, name"), "{said}");
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let said = whimbrel_fails(5, &["status", "--node", &address]);
    assert!(said.contains(&address) && said.contains("whimbrel serve"), "{said}");
    let said =
        whimbrel_fails(5, &["migrate", "--node", &address, "--slot", "1", "--to", "127.0.0.1:1"]);
    assert!(said.contains(&address), "{said}");
}

#[test]
fn a_full_disk_is_said_and_nothing_passes_for_done() {
    let folder = tempdir().expect("a temporary folder");
    let data = folder.path().join("data.csv");
    let dir = folder.path().join("engine");
    let rows: String = (0..20_000).map(|i| format!("{i},name{}\n", i * 7919 % 20_011)).collect();
    write(&data, &format!("id,name\n{rows}"));
    whimbrel_succeeds(&["import", "--data", arg(&data), "--dir", arg(&dir)]);
    let full = folder.path().join("full");
    fs::create_dir(&full).expect("a temporary folder can be made");
    let to = full.join("backup");

    // A file system of 64 KiB, in a mount name space of its own where the system allows one; else
    // a limit on file sizes, which fails in the same places.
    let in_name_space = |script: &str| {
        let command = Command::new("unshare").args(["-rm", "sh", "-ec", script]).output();
        command.ok().filter(|output| !String::from_utf8_lossy(&output.stderr).contains("unshare:"))
    };
    let mount = format!("mount -t tmpfs -o size=64k tmpfs '{}'", arg(&full));
    let backup = format!("'{WHIMBREL}' backup --dir '{}' --to '{}'", arg(&dir), arg(&to));
    let mounted = in_name_space(&mount).is_some_and(|output| output.status.success());
    let (output, word) = if mounted {
        let script =
            format!("{mount}; {backup} || code=$?; ls -A '{}'; exit ${{code:-0}}", arg(&to));
        (in_name_space(&script).expect("it worked a moment ago"), "free some space")
    } else {
        let script = format!("trap '' XFSZ; ulimit -f 16; {backup}");
        let output = Command::new("sh").args(["-ec", &script]).output().expect("sh runs");
        (output, "ulimit")
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains(word) && said.contains(arg(&to)), "{said}");
    let left = String::from_utf8_lossy(&output.stdout);
    assert!(!left.contains("MANIFEST.json"), "a part passes for a backup: {left}");
    whimbrel_fails(3, &["verify", arg(&to)]);
}
