//! Goal: a place that may not be written, files that may not be read, and places that this build does not
//! know are said as what they are, and nothing is left behind.
//!
//! Method: root may do everything, so where the tests run as root the binary is started as a user who may not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::tempdir;

use crate::common::{WHIMBREL, arg, whimbrel_fails, whimbrel_succeeds};

/// Debian's user `nobody`.
const NOBODY: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// Runs a copy of the binary that everybody may run, as somebody who may not do everything.
fn as_nobody(binary: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary);
    command.args(args).current_dir("/");
    let is_root = fs::metadata("/proc/self").is_ok_and(|it| {
        use std::os::unix::fs::MetadataExt as _;
        it.uid() == 0
    });
    if is_root {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("the binary starts")
}

fn fails(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

#[test]
fn what_may_not_be_read_or_written_is_named() {
    let folder = tempdir().expect("a temporary folder");
    set_mode(folder.path(), 0o755);
    let [data, engine, backup, closed, binary] =
        ["data.csv", "engine", "backup", "closed", "whimbrel"].map(|name| folder.path().join(name));
    fs::copy(WHIMBREL, &binary).expect("it can be copied");
    set_mode(&binary, 0o755);
    fs::write(&data, "id,name\n1,a\n2,b\n").expect("a temporary file can be written");
    whimbrel_succeeds(&["import", "--data", arg(&data), "--dir", arg(&engine)]);
    whimbrel_succeeds(&["backup", "--dir", arg(&engine), "--to", arg(&backup)]);
    fs::create_dir(&closed).expect("a temporary folder can be made");

    set_mode(&closed, 0o555);
    let inside = closed.join("backup");
    for to in [&closed, &inside] {
        let node_backup = ["restore", "--from", arg(&backup), "--to", arg(to)];
        let said = fails(&as_nobody(&binary, &node_backup), 4);
        assert!(said.contains(arg(to)) && said.contains("check who owns it"), "{said}");
    }
    assert_eq!(fs::read_dir(&closed).expect("it is ours").count(), 0, "nothing is left");

    for name in ["MANIFEST.json", "shard-0000"] {
        let file = backup.join(name);
        set_mode(&file, 0o000);
        let said = fails(&as_nobody(&binary, &["verify", arg(&backup)]), 4);
        assert!(said.contains(name) && said.contains("check who owns it"), "{said}");
        set_mode(&file, 0o444);
        let output = as_nobody(&binary, &["verify", arg(&backup)]);
        assert!(output.status.success(), "read-only files are read: {}", fails(&output, 0));
    }
    set_mode(&backup, 0o000);
    let said = fails(&as_nobody(&binary, &["inspect", arg(&backup)]), 4);
    assert!(said.contains(arg(&backup)) && said.contains("check who owns it"), "{said}");
    set_mode(&backup, 0o755);
}

#[test]
fn a_place_that_is_none_is_a_usage_error() {
    for place in ["s3://", "s3:///monday", "s3://bucket/a//b", "s3://bucket/../b"] {
        let said = whimbrel_fails(2, &["verify", place]);
        assert!(said.contains(place), "{said}");
    }
    for args in [["verify", "s3://bucket/monday"], ["inspect", "s3://bucket/monday"]] {
        let said = whimbrel_fails(2, &args);
        assert!(said.contains("s3://bucket/monday") && said.contains("directories only"), "{said}");
    }
    let to = ["backup", "--dir", "/nowhere", "--to", "s3://bucket/monday"];
    assert!(whimbrel_fails(2, &to).contains("directories only"));
}
