//! Goal: a process that is killed at any moment of a backup or of a restore leaves the old complete state or
//! the new one.
//!
//! Method: SIGKILL at random moments, half of them anywhere in the process's life, half from the moment on at which
//! it has begun to write. In odd rounds a backup into a new directory is killed: `verify` finds either all of it
//! or no backup, and what comes next is not written over remains. In even rounds a restore into the directory of
//! an engine is killed, which replaces the checkpoint there: the engine opens with all its entries. The moments
//! come from a seed. `WHIMBREL_KILLS` says how many; `ci/kill-backup.sh` kills 1,000.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::common::{arg, whimbrel, whimbrel_fails, whimbrel_succeeds};
use crate::moments::{Moments, Signal, Victim, kills};

/// Kills unless told otherwise.
const KILLS: u64 = 16;
/// Rows of the engine: two entries each, some tens of milliseconds of writing.
const ROWS: u32 = 40_000;

fn entries(place: &Path) -> u64 {
    let said = whimbrel_succeeds(&["verify", arg(place), "--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("--json prints JSON");
    said["report"]["entries"].as_u64().expect("a number of entries")
}

/// Number of checkpoints in the directory of an engine, complete or not.
fn checkpoints(dir: &Path) -> usize {
    let is_one =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with("checkpoint-");
    fs::read_dir(dir).map_or(0, |all| all.flatten().filter(is_one).count())
}

fn backup<'a>(engine: &'a Path, to: &'a Path) -> [&'a str; 5] {
    ["backup", "--dir", arg(engine), "--to", arg(to)]
}

#[test]
fn a_kill_at_any_moment_leaves_the_old_complete_state_or_the_new() {
    let (kills, mut moments) = (kills(KILLS), Moments::new());
    let folder = tempdir().expect("a temporary folder");
    let [data, engine, kept] = ["data.csv", "engine", "kept"].map(|name| folder.path().join(name));
    let rows: String = (0..ROWS).map(|i| format!("{i},name{}\n", i * 7919 % 40_009)).collect();
    fs::write(&data, format!("id,name\n{rows}")).expect("a temporary file can be written");
    whimbrel_succeeds(&["import", "--data", arg(&data), "--dir", arg(&engine)]);
    let whole = entries(&engine);

    let first = folder.path().join("first");
    let restore = ["restore", "--from", arg(&first), "--to", arg(&kept)];
    let backing_up = Victim::measure(&backup(&engine, &first), &|| first.exists());
    let restoring = Victim::measure(&restore, &|| kept.exists());

    let (mut none, mut torn, mut complete, mut replaced) = (0, 0, 0, 0);
    for round in 1..=kills {
        let from_begin = round % 4 < 2;
        if round % 2 == 1 {
            let to = folder.path().join(format!("backup-{round}"));
            let begun = || to.exists();
            let args = backup(&engine, &to);
            let begun = from_begin.then_some(&begun as &dyn Fn() -> bool);
            backing_up.end(&args, Signal::Kill, &mut moments, begun);
            let output = whimbrel(&["verify", arg(&to)]);
            if output.status.success() {
                assert_eq!(entries(&to), whole, "round {round}");
                complete += 1;
            } else if to.exists() {
                let said = whimbrel_fails(3, &["verify", arg(&to)]);
                assert!(said.contains("holds no backup"), "round {round}: {said}");
                torn += 1;
            } else {
                none += 1;
            }
            let empty = fs::read_dir(&to).map_or(true, |mut all| all.next().is_none());
            let again = whimbrel(&args);
            assert_eq!(again.status.success(), empty, "round {round}: written over remains");
            if to.exists() {
                fs::remove_dir_all(&to).expect("it can be removed");
            }
        } else {
            let before = checkpoints(&kept);
            let begun = || checkpoints(&kept) != before;
            let begun = from_begin.then_some(&begun as &dyn Fn() -> bool);
            restoring.end(&restore, Signal::Kill, &mut moments, begun);
            // `verify` takes the newest complete checkpoint.
            assert_eq!(entries(&kept), whole, "round {round}");
            replaced += u64::from(checkpoints(&kept) != before);
            whimbrel_succeeds(&restore);
            assert_eq!(checkpoints(&kept), 1, "round {round}: the next one cleans up");
        }
    }
    println!(
        "{kills} kills: backups {none} not begun, {torn} without a manifest, {complete} whole; \
         {replaced} restores were cut between old and new"
    );
    if kills >= 200 {
        assert!(torn > 0 && complete > 0 && replaced > 0, "{torn}, {complete}, {replaced}");
    }
}
