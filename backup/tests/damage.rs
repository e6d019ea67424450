//! Goal: a backup that is not byte for byte what was written is refused by `verify`, naming the file.
//! Method: every flipped bit and every truncation of every file of a small backup; files exchanged,
//! doubled, missing, added, and taken from another backup.

mod common;

use std::fs;
use std::path::Path;

use whimbrel_backup::manifest::{MANIFEST, Manifest};
use whimbrel_backup::shard::BackupId;
use whimbrel_backup::storage::Directory;
use whimbrel_backup::{Error, Work, inspect, verify, verify_with};

fn check(dir: &Path) -> Result<u64, Error> {
    verify_with(dir, &Work::default().with_threads(1)).map(|report| report.entries)
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused_naming_the_file() {
    let dir = common::fast_dir();
    common::write_backup(dir.path());
    assert_eq!(check(dir.path()).unwrap(), 18);
    let mut damages = 0;
    for (name, _) in common::files(dir.path()) {
        damages += common::damage(&dir.path().join(&name), |damage| {
            let error = check(dir.path()).expect_err(&format!("{name}: {damage}"));
            assert!(error.is_corruption(), "{name}: {damage}: {error}");
            let place = error.place().map(|place| place.file().to_owned());
            assert_eq!(place.as_deref(), Some(name.as_str()), "{damage}: {error}");
        });
    }
    assert!(damages > 20_000, "{damages} is all");
    assert_eq!(check(dir.path()).unwrap(), 18, "whole again");
}

#[test]
fn exchanged_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let files = common::files(dir.path());
    for (a, bytes_a) in &files {
        for (b, bytes_b) in files.iter().filter(|(b, _)| a < b) {
            fs::write(dir.path().join(a), bytes_b).unwrap();
            fs::write(dir.path().join(b), bytes_a).unwrap();
            assert!(check(dir.path()).expect_err("exchanged").is_corruption(), "{a} {b}");
            fs::write(dir.path().join(a), bytes_a).unwrap();
            fs::write(dir.path().join(b), bytes_b).unwrap();
            // One of them twice.
            fs::write(dir.path().join(b), bytes_a).unwrap();
            assert!(check(dir.path()).expect_err("doubled").is_corruption(), "{a} {b}");
            fs::write(dir.path().join(b), bytes_b).unwrap();
        }
    }
}

#[test]
fn missing_and_added_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    for (name, bytes) in common::files(dir.path()) {
        fs::remove_file(dir.path().join(&name)).unwrap();
        let error = check(dir.path()).unwrap_err();
        if name == MANIFEST {
            assert!(matches!(error, Error::NoManifest { .. }), "{error}");
        } else {
            assert!(matches!(&error, Error::MissingFile { file, .. } if *file == name), "{error}");
        }
        fs::write(dir.path().join(&name), bytes).unwrap();
    }
    for foreign in ["notes.txt", "shard-0009"] {
        fs::write(dir.path().join(foreign), b"?").unwrap();
        let error = check(dir.path()).unwrap_err();
        assert!(matches!(&error, Error::ForeignFile { file, .. } if file == foreign), "{error}");
        fs::remove_file(dir.path().join(foreign)).unwrap();
    }
    // The claim of an export that came too late and was killed.
    fs::write(dir.path().join("MANIFEST.json.tmp"), b"?").unwrap();
    assert!(check(dir.path()).is_ok());
}

#[test]
fn a_file_of_another_backup_is_refused_although_its_content_is_the_same() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    common::write_backup(dir.path());
    let storage = Directory::create(other.path()).unwrap();
    common::write_backup_to(&storage, BackupId(*b"another backup!!"));
    for (name, bytes) in common::files(other.path()) {
        let own = fs::read(dir.path().join(&name)).unwrap();
        assert_eq!(own.len(), bytes.len(), "the same content");
        fs::write(dir.path().join(&name), bytes).unwrap();
        let error = check(dir.path()).unwrap_err();
        let what = "the backup's identity";
        assert!(matches!(error, Error::Mismatch { what: found, .. } if found == what));
        fs::write(dir.path().join(&name), own).unwrap();
    }
}

#[test]
fn a_path_that_is_no_backup_gets_a_message_to_act_on() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path()).unwrap_err().to_string();
    assert!(error.contains("it has no MANIFEST.json"), "{error}");
    let error = verify(&dir.path().join("absent")).unwrap_err().to_string();
    assert!(error.contains("cannot open") && error.contains("absent"), "{error}");
    fs::write(dir.path().join("file"), b"").unwrap();
    assert!(matches!(verify(&dir.path().join("file")), Err(Error::Io { .. })));
}

#[test]
fn a_manifest_with_a_right_checksum_is_still_checked() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let good = fs::read(dir.path().join(MANIFEST)).unwrap();
    let manifest = Manifest::decode(&good).unwrap();
    assert_eq!(manifest.encode().unwrap(), good, "one encoding");
    let text = String::from_utf8(good).unwrap();
    let forged = |from: &str, to: &str| {
        let (body, _) = text.rsplit_once("\"crc32c\": ").unwrap();
        let body = body.replacen(from, to, 1);
        assert!(!text.starts_with(&body), "{from} is there");
        let crc = crc32c::crc32c(body.as_bytes());
        Manifest::decode(format!("{body}\"crc32c\": \"{crc:08x}\"\n}}\n").as_bytes())
    };
    assert!(forged("42", "43").is_ok(), "the forger works");
    let version = forged("\"version\": 1", "\"version\": 2");
    assert!(matches!(version, Err(Error::UnsupportedVersion { found: 2, .. })));
    assert!(forged("whimbrel-backup", "something-else").is_err());
    assert!(forged("shard-0001", "../../etc/passwd").is_err());
    assert!(forged("shard-0001", "shard-0000").is_err(), "listed twice");
    assert!(forged("shard-0001", "shard-1").is_err());
    assert!(forged("\"towns\"", "\"birds\"").is_err(), "two stores of one name");
    assert!(forged("\"user\": {", "\"extra\": 1,\n  \"user\": {").is_err());
    assert!(forged("\"first_key\": \"\"", "\"first_key\": \"zz\"").is_err());
    assert!(forged("\"first_key\": \"\"", "\"first_key\": \"ff\"").is_err(), "past the last key");
    let deep = format!("\"user\": {}1{}, \"user\": {{", "[".repeat(100_000), "]".repeat(100_000));
    assert!(forged("\"user\": {", &deep).is_err(), "no overflow of the stack");
}

#[test]
fn inspect_says_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let inspection = inspect(dir.path()).unwrap();
    assert_eq!(inspection.files.len(), 4);
    assert_eq!(inspection.files[2].kind, "change delta");
    assert_eq!(inspection.files[2].removes, 2);
    assert_eq!(inspection.files[1].last_key, "zeros");
    assert!(inspection.files[1].blocks > 1);
    assert_eq!((inspection.files[1].blocks, inspection.files[1].lz4_blocks), (3, 2));
    for file in &inspection.files {
        assert_eq!(file.bytes, fs::metadata(dir.path().join(&file.file)).unwrap().len());
        assert!(file.lz4_blocks <= file.blocks && file.ratio > 0.0);
    }
    let tally = common::tally(&common::towns());
    assert_eq!(inspection.files[3].digest, format!("{:016x}", tally.digest.sum));
    assert_eq!(inspection.files[3].raw_bytes, tally.raw_bytes);
    let json = serde_json::to_value(&inspection).unwrap();
    assert_eq!(json["manifest"]["user"]["resume"], "offset 17");
    assert_eq!(json["manifest"]["stores"][0]["name"], "birds");
}
