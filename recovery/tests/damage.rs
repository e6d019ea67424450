//! Goal: a backup that is not byte for byte what was written is never restored, wholly or in part.
//! Method: every flipped bit and every truncation of every file of a small backup (manifest, shards,
//! delta); files missing and added; manifests that state something else than the files hold.

#[path = "../../backup/tests/common/mod.rs"]
mod common;

use std::fs;
use std::path::Path;

use whimbrel_backup::Work;
use whimbrel_backup::manifest::{MANIFEST, Manifest};
use whimbrel_mvcc::Clock;
use whimbrel_recovery::{Error, RestoreOptions, restore};

fn check(dir: &Path, clock: &Clock) -> Result<u64, Error> {
    let options = RestoreOptions::default().with_work(Work::default().with_threads(1));
    restore(dir, clock, &options).map(|restored| restored.report.entries)
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused_naming_the_file() {
    let dir = common::fast_dir();
    common::write_backup(dir.path());
    let clock = Clock::new();
    assert_eq!(check(dir.path(), &clock).unwrap(), 16);
    let mut damages = 0;
    for (name, _) in common::files(dir.path()) {
        damages += common::damage(&dir.path().join(&name), |damage| {
            let error = check(dir.path(), &clock).expect_err(&format!("{name}: {damage}"));
            assert!(error.is_corruption(), "{name}: {damage}: {error}");
            let place = error.place().map(|place| place.file().to_owned());
            assert_eq!(place.as_deref(), Some(name.as_str()), "{damage}: {error}");
        });
    }
    assert!(damages > 20_000, "{damages} is all");
    assert_eq!(check(dir.path(), &clock).unwrap(), 16, "whole again");
    assert_eq!(clock.open_holds(), 0, "nothing is left of what was refused");
}

#[test]
fn missing_and_added_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let clock = Clock::new();
    for (name, bytes) in common::files(dir.path()) {
        fs::remove_file(dir.path().join(&name)).unwrap();
        let error = check(dir.path(), &clock).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
        fs::write(dir.path().join(&name), bytes).unwrap();
    }
    fs::write(dir.path().join("shard-0007"), "?").unwrap();
    assert!(check(dir.path(), &clock).unwrap_err().is_corruption());
}

#[test]
fn a_manifest_that_states_another_result_is_refused_although_every_file_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let path = dir.path().join(MANIFEST);
    let good = Manifest::decode(&fs::read(&path).unwrap()).unwrap();
    let clock = Clock::new();
    let refuse = |change: fn(&mut Manifest)| {
        let mut bad = good.clone();
        change(&mut bad);
        fs::write(&path, bad.encode().unwrap()).unwrap();
        let error = check(dir.path(), &clock).expect_err("a manifest that lies");
        assert!(error.is_corruption(), "{error}");
        error
    };
    let error = refuse(|manifest| manifest.stores[0].entries += 1);
    assert!(matches!(error, Error::WrongContent { .. }), "{error}");
    let error = refuse(|manifest| manifest.stores[0].digest ^= 1);
    assert!(matches!(error, Error::WrongContent { .. }), "{error}");
    refuse(|manifest| manifest.stores[0].shards[0].crc32c ^= 1);
    refuse(|manifest| manifest.stores[0].shards[0].blocks += 1);
    refuse(|manifest| manifest.stores[0].shards[0].raw_bytes += 1);
    refuse(|manifest| manifest.stores[0].shards[1].last_key.push(0));
    refuse(|manifest| manifest.stores[0].deltas[0].removes += 1);
    refuse(|manifest| manifest.id.0[0] ^= 1);
    refuse(|manifest| {
        // The delta is left out of the list: its file is foreign then.
        manifest.stores[0].deltas.clear();
        let digest = common::tally(&common::birds_in_shards()).digest;
        (manifest.stores[0].entries, manifest.stores[0].digest) = (digest.count, digest.sum);
    });
    refuse(|manifest| manifest.stores.swap(0, 1));
}
