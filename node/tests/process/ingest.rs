//! Goal: `whimbrel sort` and `whimbrel ingest` bring lines of text into a backup, say what cannot be used, and
//! leave the old state or the new one, whole, whatever moment they are killed or interrupted at.
//!
//! Method: the binary as a process of its own, against backups that the test writes; SIGKILL and SIGINT at random
//! moments, half of them from the moment on at which it has begun to write, after which the source is what it was and
//! the target is a whole backup of the new state or none. `WHIMBREL_KILLS` and `WHIMBREL_SEED` are the deaths and the
//! seed of their moments; `ci/kill-backup.sh` kills 1,000.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::tempdir;
use whimbrel_backup::{Error, ExportOptions, export, verify};
use whimbrel_mvcc::{Clock, Store};
use whimbrel_recovery::{RestoreOptions, restore};

use crate::common::{arg, whimbrel_fails, whimbrel_succeeds};
use crate::moments::{Moments, Signal, Victim, kills};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// Deaths unless told otherwise, one in four an interruption.
const DEATHS: u64 = 24;

/// A backup of stores of these names, each with the same content.
fn backup(dir: &Path, names: &[&str], content: &Content) {
    let clock = Clock::new();
    let stores: Vec<Store> = names.iter().map(|_| Store::new(&clock)).collect();
    for (key, value) in content {
        stores.iter().for_each(|store| store.put(key, value).expect("short"));
    }
    let hold = clock.hold();
    let named = names.iter().zip(&stores).map(|(name, store)| ((*name).to_owned(), store));
    let snapshots: Vec<_> = named.map(|(name, store)| (name, store.snapshot_at(&hold))).collect();
    let options = ExportOptions::default().with_user(serde_json::json!({ "kept": 17 }));
    export(&snapshots, dir, &options).expect("a new directory");
}

fn content(dir: &Path, name: &str) -> Content {
    let restored = restore(dir, &Clock::new(), &RestoreOptions::default()).expect("a whole backup");
    assert_eq!(restored.manifest.user["kept"], 17);
    let (_, store) = restored.stores.iter().find(|(other, _)| other == name).expect("it is there");
    store.snapshot().range(..).entries().collect()
}

fn numbered(entries: u32, value: &str) -> Content {
    let entry = |n: u32| (format!("key {n:06}").into_bytes(), format!("{value} {n}").into_bytes());
    (0..entries).map(entry).collect()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("one JSON object")
}

#[test]
fn lines_become_a_sorted_file_and_that_a_part_of_a_backup() {
    let dir = tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    backup(&at("monday"), &["birds", "towns"], &numbered(10, "old"));
    let lines = "key 000003\tnew\nz\\tz\t\\x00\nkey 000004\nkey 000003\tnewer\n";
    fs::write(at("lines"), lines).expect("writable");
    let (input, sorted) = (at("lines"), at("one.sorted"));
    let said = whimbrel_succeeds(&["sort", arg(&input), "--to", arg(&sorted), "--json"]);
    let said = json(&said);
    assert_eq!(
        (&said["lines"], &said["entries"], &said["runs"]),
        (&4.into(), &3.into(), &0.into())
    );
    let (from, to) = (at("monday"), at("tuesday"));
    let to_birds = ["--store", "birds", "--record", "~jobs/"];
    let base = ["ingest", "--json", "--from", arg(&from), "--to", arg(&to)];
    let said = whimbrel_succeeds(&[&base[..], &to_birds, &[arg(&sorted)]].concat());
    assert_eq!((&json(&said)["written"], &json(&said)["entries"]), (&4.into(), &21.into()));
    let mut wanted = numbered(10, "old");
    wanted.insert(b"key 000003".to_vec(), b"newer".to_vec());
    wanted.insert(b"z\tz".to_vec(), vec![0]);
    wanted.remove(&b"key 000004"[..]);
    let mut got = content(&to, "birds");
    let records: Vec<_> = got.extract_if(.., |key, _| key.starts_with(b"~jobs/")).collect();
    assert_eq!((got, records.len()), (wanted, 1));
    assert_eq!(content(&to, "towns"), numbered(10, "old"));
    assert_eq!(content(&from, "birds"), numbered(10, "old"), "the old backup is as it was");
    // The same job again changes nothing.
    let again = at("wednesday");
    let base = ["ingest", "--json", "--from", arg(&to), "--to", arg(&again)];
    let said = whimbrel_succeeds(&[&base[..], &to_birds, &[arg(&sorted)]].concat());
    assert_eq!(json(&said)["already"], true);
    assert_eq!(content(&again, "birds"), content(&to, "birds"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let dir = tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    backup(&at("monday"), &["birds", "towns"], &numbered(3, "old"));
    let (input, sorted, from, to) = (at("lines"), at("one.sorted"), at("monday"), at("tuesday"));
    fs::write(&input, "a\tb\nc\t\\q\n").expect("writable");
    let said = whimbrel_fails(3, &["sort", arg(&input), "--to", arg(&sorted)]);
    assert!(said.contains("line 2") && said.contains("backslash"), "{said}");
    assert!(!sorted.exists());
    fs::write(&input, "a\tb\n").expect("writable");
    whimbrel_succeeds(&["sort", arg(&input), "--to", arg(&sorted)]);
    let said = whimbrel_fails(3, &["sort", arg(&input), "--to", arg(&sorted)]);
    assert!(said.contains("one.sorted"), "what is there is not replaced: {said}");
    let ingest = |store: &[&str]| {
        let args = ["ingest", "--from", arg(&from), "--to", arg(&to), arg(&sorted)];
        [&args[..], store].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let fails = |code, args: Vec<String>| {
        whimbrel_fails(code, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = fails(2, ingest(&[]));
    assert!(said.contains("--store") && said.contains("birds, towns"), "{said}");
    let said = fails(2, ingest(&["--store", "bird"]));
    assert!(said.contains("`bird`") && said.contains("birds, towns"), "{said}");
    let mut bytes = fs::read(&sorted).expect("it is there");
    bytes[60] ^= 1;
    fs::write(&sorted, bytes).expect("writable");
    let said = fails(3, ingest(&["--store", "birds"]));
    assert!(said.contains("one.sorted, block 0"), "{said}");
    assert!(!to.exists(), "nothing was written");
}

fn ingest_args<'a>(from: &'a Path, to: &'a Path, sorted: &'a Path) -> [&'a str; 6] {
    ["ingest", "--from", arg(from), "--to", arg(to), arg(sorted)]
}

#[test]
fn killed_at_any_moment_there_is_the_old_state_or_the_new_one() {
    let (deaths, mut moments) = (kills(DEATHS), Moments::new());
    let dir = tempdir().expect("a temporary directory");
    let at = |name: &str| dir.path().join(name);
    let (old, new) = (numbered(20_000, "old"), numbered(30_000, "new"));
    let (from, input, sorted) = (at("monday"), at("lines"), at("one.sorted"));
    backup(&from, &["birds"], &old);
    let mut lines = Vec::new();
    for (key, value) in new.iter().rev() {
        lines.extend_from_slice(&[&key[..], b"\t", value, b"\n"].concat());
    }
    fs::write(&input, lines).expect("writable");
    whimbrel_succeeds(&["sort", arg(&input), "--to", arg(&sorted), "--memory", "1"]);
    let first = at("0");
    let victim = Victim::measure(&ingest_args(&from, &first, &sorted), &|| first.exists());
    assert_eq!(content(&first, "birds"), new);
    let (mut whole, mut none, mut torn) = (0, 0, 0);
    for round in 1..=deaths {
        let to = at(&round.to_string());
        let begun = || to.exists();
        let begun = (round % 8 < 4).then_some(&begun as &dyn Fn() -> bool);
        let interrupted = round % 4 == 0;
        let signal = if interrupted { Signal::Interrupt } else { Signal::Kill };
        let status = victim.end(&ingest_args(&from, &to, &sorted), signal, &mut moments, begun);
        match verify(&to) {
            Ok(report) => {
                assert_eq!(report.entries, new.len() as u64);
                assert_eq!(content(&to, "birds"), new);
                whole += 1;
            }
            Err(Error::NoManifest { .. } | Error::Io { .. }) => {
                assert!(!status.success(), "it said that it was done");
                if to.exists() { torn += 1 } else { none += 1 }
            }
            Err(error) => panic!("round {round}: {error}"),
        }
        if interrupted && to.exists() && status.code() == Some(130) {
            assert_eq!(fs::read_dir(&to).expect("readable").count(), 0, "files were left behind");
        }
        if to.exists() {
            fs::remove_dir_all(&to).expect("it can be removed");
        }
    }
    assert_eq!(verify(&from).expect("the old one is whole").entries, old.len() as u64);
    println!("{deaths} deaths: {none} not begun, {torn} without a manifest, {whole} whole");
    assert!(none + torn > 0);
    if deaths >= 200 {
        assert!(torn > 0 && whole > 0, "{torn} torn, {whole} whole");
    }
}
