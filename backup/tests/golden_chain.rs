//! Goal: a chain of format version 1 stays what it is: read for ever, and written as the same bytes.
//! Method: a repository of two small backups, checked in, is verified, and written again.
//! `WHIMBREL_WRITE_GOLDEN=1 cargo test -p whimbrel-backup --test golden_chain` writes it anew, for a change
//! of the format before its release.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::path::{Path, PathBuf};

use common::Entries;
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::manifest::{Base, Manifest, StoreRecord};
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::repository::{Chain, Repository};
use whimbrel_backup::shard::BackupId;
use whimbrel_backup::storage::Directory;
use whimbrel_backup::{Backup, inspect, verify};

const SECOND: BackupId = BackupId(*b"golden increment");

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1-chain")
}

fn dirs(root: &Path) -> [PathBuf; 2] {
    [(1, common::ID), (2, SECOND)].map(|(number, id)| root.join(format!("{number:08}-{id}")))
}

/// Store `birds` goes on with a delta, `towns` unchanged; `fish` is new; `empty` is gone.
fn write(root: &Path) {
    let [first, second] = dirs(root);
    common::write_backup(&first);
    let base = Backup::open(&first).unwrap();
    let storage = Directory::create(&second).unwrap();
    let backup = BackupWriter::begin(&storage, SECOND).unwrap();
    let mut delta = backup.delta(0, 0, BlockOptions::default()).unwrap();
    delta.remove(b"bird/02").unwrap();
    delta.put(b"bird/03", b"changed again").unwrap();
    let delta = backup.finish_delta(delta).unwrap();
    let mut shard = backup.shard(1, 1, BlockOptions::default()).unwrap();
    shard.push(b"eel", b"long").unwrap();
    let shard = backup.finish_shard(shard).unwrap();
    let mut manifest = Manifest::new(SECOND, 1_700_000_060_000, 43);
    let link = base.link();
    let stores = vec!["birds".to_owned(), "towns".to_owned()];
    manifest.base = Some(Base { id: link.id, crc32c: link.crc32c, position: 1, stores });
    let store = |record: &StoreRecord, entries: &Entries| {
        let digest = common::tally(entries).digest;
        let (entries, digest) = (digest.count, digest.sum);
        StoreRecord { entries, digest, ..record.clone() }
    };
    // Made from records of the first one, which have every member there is.
    let [birds, towns, empty] = base.manifest().stores.as_slice() else { panic!("three stores") };
    let mut records = [
        store(birds, &second_birds()),
        store(empty, &Entries::from([(b"eel".to_vec(), b"long".to_vec())])),
        store(towns, &common::towns()),
    ];
    records[1].name = "fish".to_owned();
    for record in &mut records {
        record.shards.clear();
        record.deltas.clear();
    }
    records[0].deltas.push(delta);
    records[1].shards.push(shard);
    manifest.stores = records.to_vec();
    backup.publish(&manifest).unwrap();
}

fn second_birds() -> Entries {
    let mut birds = common::birds();
    birds.remove(&b"bird/02"[..]);
    birds.insert(b"bird/03".to_vec(), b"changed again".to_vec());
    birds
}

#[test]
fn a_chain_of_version_1_is_read_as_it_was_written() {
    if std::env::var_os("WHIMBREL_WRITE_GOLDEN").is_some() {
        let _ = std::fs::remove_dir_all(golden());
        write(&golden());
    }
    let repository = Repository::open(&golden()).unwrap();
    assert_eq!(repository.backups().count(), 2);
    let chain = Chain::newest_in(&golden()).unwrap();
    let newest = chain.newest().manifest();
    assert_eq!((newest.position(), newest.snapshot, newest.entries()), (1, 43, 16));
    assert_eq!(chain.layers("birds").unwrap().len(), 2);
    assert_eq!(chain.layers("fish").unwrap().len(), 1);
    assert!(chain.layers("empty").is_err(), "it is gone");
    let [_, second] = dirs(&golden());
    let report = verify(&second).unwrap();
    assert_eq!((report.backups, report.stores, report.files), (2, 3, 6));
    assert_eq!(inspect(&second).unwrap().chain.map(|chain| chain.len()), Some(2));
}

#[test]
fn what_is_written_today_is_the_same_chain_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    for (today, golden) in dirs(dir.path()).iter().zip(dirs(&golden())) {
        assert!(common::files(today) == common::files(&golden), "{} differs", golden.display());
    }
}

#[test]
fn contradictions_about_the_base_are_refused() {
    let [_, second] = dirs(&golden());
    let good = Backup::open(&second).unwrap().manifest().clone();
    let refused = |change: fn(&mut Manifest)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad.encode().unwrap_err().to_string()
    };
    let base = |change: fn(&mut Base)| {
        let mut bad = good.clone();
        bad.base.iter_mut().for_each(change);
        bad.encode().unwrap_err().to_string()
    };
    assert!(base(|base| base.position = 0).contains("first place"));
    assert!(base(|base| base.id = SECOND).contains("continues itself"));
    assert!(base(|base| base.stores.push("birds".to_owned())).contains("twice"));
    assert!(base(|base| base.stores.push("cats".to_owned())).contains("not listed"));
    assert!(base(|base| base.stores.push("fish".to_owned())).contains("has shards"));
    assert!(refused(|manifest| manifest.base = None).contains("sum of a store's shards"));
}
