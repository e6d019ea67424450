//! Goal: what the tests of `objects` show of a store in memory holds of a server that speaks S3.
//!
//! Method: `ci/s3.sh` starts a server, makes a bucket, says in the environment where it is, and runs this.

#![allow(
    clippy::unwrap_used,
    clippy::allow_attributes,
    reason = "a test stops at the first surprise"
)]

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use whimbrel_backup::repository::{Kind, Repository, back_up_on, prune_on};
use whimbrel_backup::shard::BackupId;
use whimbrel_backup::{
    Error, ExportOptions, Location, Work, export_to, inspect_backup, verify_backup, verify_chain,
};
use whimbrel_mvcc::{Clock, Snapshot, Store};

/// A place that nobody else has used.
fn place(name: &str) -> Location {
    let bucket = std::env::var("WHIMBREL_S3_BUCKET").expect("run ci/s3.sh: it starts a server");
    Location::of(&PathBuf::from(format!("s3://{bucket}/{name}/{}", BackupId::generate()))).unwrap()
}

fn options() -> ExportOptions {
    ExportOptions::default().with_shards_per_store(4)
}

/// Values that do not compress.
fn fill(store: &Store, keys: u64, value_len: usize, seed: u64) {
    let mut state = seed;
    for key in 0..keys {
        let value: Vec<u8> = (0..value_len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        store.put(key.to_be_bytes(), value).unwrap();
    }
}

fn shown(store: &Store) -> Vec<(String, Snapshot)> {
    vec![("birds".to_owned(), store.snapshot())]
}

#[test]
fn a_backup_of_several_parts_a_file_comes_back() {
    let (place, store) = (place("parts"), Store::new(&Clock::new()));
    fill(&store, 2000, 50_000, 1);
    let report = export_to(&shown(&store), &*place.create().unwrap(), &options()).unwrap();
    assert!(report.stored_bytes > 100_000_000);
    let backup = place.open().unwrap();
    let verified = verify_backup(&backup, &Work::default()).unwrap();
    assert_eq!((verified.entries, verified.files), (2000, 4));
    assert_eq!(inspect_backup(&backup).unwrap().files.len(), 4);
    let again = export_to(&shown(&store), &*place.create().unwrap(), &options());
    assert!(matches!(again, Err(Error::AlreadyABackup { .. })), "{again:?}");
}

#[test]
fn of_two_who_claim_a_place_at_once_one_gets_it() {
    for _ in 0..5 {
        let place = place("claims");
        let store = Store::new(&Clock::new());
        fill(&store, 100, 10, 2);
        let done = thread::scope(|scope| {
            let export = || {
                let storage = place.create().unwrap();
                export_to(&shown(&store), &*storage, &options())
            };
            let writers: Vec<_> = (0..4).map(|_| scope.spawn(export)).collect();
            let ends = writers.into_iter().map(|writer| writer.join().unwrap());
            ends.filter_map(Result::err).collect::<Vec<Error>>()
        });
        assert_eq!(done.len(), 3, "{done:?}");
        let refused = |error: &Error| {
            matches!(
                error,
                Error::Unfinished { .. } | Error::AlreadyABackup { .. } | Error::ForeignFile { .. }
            )
        };
        assert!(done.iter().all(refused), "{done:?}");
        assert_eq!(verify_backup(&place.open().unwrap(), &Work::default()).unwrap().entries, 100);
    }
}

#[test]
fn names_are_conditional_puts() {
    let storage = place("names").storage().unwrap();
    let mut file = storage.create_new("old").unwrap();
    assert_eq!(
        storage.create_new("old").err().map(|error| error.kind()),
        Some(io::ErrorKind::AlreadyExists)
    );
    file.write_all(b"bytes").unwrap();
    file.sync().unwrap();
    drop(storage.create_new("new").unwrap());
    assert_eq!(storage.rename("old", "new").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    storage.remove("new").unwrap();
    storage.rename("old", "new").unwrap();
    let names: Vec<_> = storage.list().unwrap().into_iter().map(|it| (it.name, it.bytes)).collect();
    assert_eq!(names, [("new".to_owned(), 5)]);
    assert_eq!(storage.open("old").err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
}

#[test]
fn a_chain_grows_and_is_pruned() {
    let (shelf, store) = (place("chain").create_shelf().unwrap(), Store::new(&Clock::new()));
    for (round, kind) in (1..).zip([Kind::Full, Kind::Incremental, Kind::Incremental, Kind::Full]) {
        fill(&store, 100 * round, 20, round);
        let report = back_up_on(&shelf, &shown(&store), kind, &options(), None).unwrap();
        assert_eq!((report.number, report.entries), (round, 100 * round));
    }
    let repository = Repository::open_on(Arc::clone(&shelf)).unwrap();
    let chain = repository.chain(repository.find("3").unwrap()).unwrap();
    assert_eq!(verify_chain(&chain, &Work::default()).unwrap().backups, 3);
    let report = prune_on(&shelf, NonZeroUsize::MIN).unwrap();
    assert_eq!((report.removed.len(), report.left.len()), (3, 0));
    assert_eq!(shelf.list().unwrap().len(), 1);
}

#[test]
fn a_bucket_that_is_not_there_is_told() {
    let nowhere = Location::of(&PathBuf::from("s3://no-such-bucket/backup")).unwrap();
    let error = nowhere.open().unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("s3://no-such-bucket/backup"), "{error}");
}
