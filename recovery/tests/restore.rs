//! Goal: what comes back is what was there, entry for entry.
//! Method: random contents out and in again; a backup with a delta; options; an export that runs beside
//! writers of batches compared with its snapshot.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../backup/tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::{Cancel, Digest, ExportOptions, Work, export};
use whimbrel_mvcc::{Batch, Clock, Snapshot, Store, StoreOptions};
use whimbrel_recovery::{Error, RestoreOptions, Restored, apply_delta, restore};

fn content(snapshot: &Snapshot) -> common::Entries {
    snapshot.range(..).entries().collect()
}

fn store_of(entries: &common::Entries) -> Store {
    let store = Store::new(&Clock::new());
    for (key, value) in entries {
        store.put(key, value).unwrap();
    }
    store
}

fn back(dir: &Path) -> Result<Restored, Error> {
    restore(dir, &Clock::new(), &RestoreOptions::default())
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(0_u8..4, 0..8),
        4 => any::<u16>().prop_map(|n| format!("a/long/common/prefix/{n:05}").into_bytes()),
        1 => any::<u8>().prop_map(|byte| vec![byte; 65_535]),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..100),
        1 => any::<u8>().prop_map(|byte| vec![byte; 100_000]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn random_content_comes_back(
        entries in prop::collection::btree_map(keys(), values(), 0..150),
        shards in 1_usize..5,
        block_bytes in 64_usize..5000,
    ) {
        let store = store_of(&entries);
        let dir = tempfile::tempdir().unwrap();
        let options = ExportOptions::default()
            .with_shards_per_store(shards)
            .with_blocks(BlockOptions::default().with_block_bytes(block_bytes));
        export(&[("s".to_owned(), store.snapshot())], dir.path(), &options).unwrap();
        let restored = back(dir.path()).unwrap();
        prop_assert_eq!(content(&restored.stores[0].1.snapshot()), entries);
    }
}

#[test]
fn stores_deltas_and_user_data_come_back() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    for threads in [1, 3] {
        let options = RestoreOptions::default()
            .with_work(Work::default().with_threads(threads))
            .with_store_options(StoreOptions::new().with_running_digest());
        let restored = restore(dir.path(), &Clock::new(), &options).unwrap();
        let expected = [common::birds(), common::towns(), common::Entries::new()];
        assert_eq!(restored.stores.len(), 3);
        for ((name, store), expected) in restored.stores.iter().zip(&expected) {
            assert_eq!(&content(&store.snapshot()), expected, "{name}");
            assert_eq!(store.digest(), Some(common::tally(expected).digest), "{name}");
        }
        assert_eq!(restored.manifest.user["resume"], "offset 17");
        assert_eq!((restored.report.shards, restored.report.deltas), (3, 1));
        // A restored store is a store like any other.
        let (_, birds) = &restored.stores[0];
        birds.put(b"bird/00", b"back").unwrap();
        assert_eq!(birds.remove(b"zeros").unwrap(), Some(vec![0; 200]));
        assert_eq!(birds.snapshot().len(), expected[0].len());
    }
}

#[test]
fn a_delta_replayed_twice_changes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let bytes = std::fs::read(dir.path().join("delta-0000")).unwrap();
    let store = store_of(&common::birds_in_shards());
    let mut digest: Digest = common::tally(&common::birds_in_shards()).digest;
    let applied = apply_delta(&store, &bytes, "delta-0000").unwrap();
    assert_eq!((applied.puts, applied.removes), (2, 2));
    digest.merge(&applied.digest);
    assert_eq!(content(&store.snapshot()), common::birds());
    assert_eq!(digest, common::tally(&common::birds()).digest);
    let again = apply_delta(&store, &bytes, "delta-0000").unwrap();
    assert_eq!(again.digest, Digest::default());
    assert_eq!(content(&store.snapshot()), common::birds());
}

#[test]
fn a_damaged_delta_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let mut bytes = std::fs::read(dir.path().join("delta-0000")).unwrap();
    bytes[100] ^= 1;
    let store = store_of(&common::birds_in_shards());
    let error = apply_delta(&store, &bytes, "delta-0000").unwrap_err();
    assert!(error.to_string().starts_with("delta-0000, block 0: "), "{error}");
    assert_eq!(content(&store.snapshot()), common::birds_in_shards());
}

#[test]
fn a_key_prefix_is_put_before_every_key() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let options = RestoreOptions::default().with_key_prefix("birds", b"c/");
    let restored = restore(dir.path(), &Clock::new(), &options).unwrap();
    let prefixed: common::Entries =
        common::birds().into_iter().map(|(key, v)| ([b"c/", &key[..]].concat(), v)).collect();
    assert_eq!(content(&restored.stores[0].1.snapshot()), prefixed);
    assert_eq!(content(&restored.stores[1].1.snapshot()), common::towns());
    let options = RestoreOptions::default().with_key_prefix("fish", b"c/");
    let error = restore(dir.path(), &Clock::new(), &options).unwrap_err();
    assert!(matches!(error, Error::UnknownStore { .. }), "{error}");
}

#[test]
fn memory_and_cancellation_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let options = RestoreOptions::default().with_max_memory(1000);
    let error = restore(dir.path(), &Clock::new(), &options).unwrap_err();
    assert!(matches!(error, Error::MemoryLimit { limit: 1000, .. }), "{error}");
    let cancel = Cancel::new();
    cancel.cancel();
    let options = RestoreOptions::default().with_work(Work::default().with_cancel(cancel));
    let error = restore(dir.path(), &Clock::new(), &options).unwrap_err();
    assert!(matches!(error, Error::Backup(whimbrel_backup::Error::Cancelled)), "{error}");
}

#[test]
fn an_export_beside_running_writers_is_the_snapshot() {
    const GROUPS: u32 = 200;
    let clock = Clock::new();
    let (a, b) = (Store::new(&clock), Store::new(&clock));
    let key = |group: u32, n: u32| format!("group/{group:04}/{n}").into_bytes();
    let write = |group: u32, number: u64| {
        // Ten keys of two stores change together, and one comes and goes.
        let mut batch = Batch::new();
        for n in 0..5 {
            batch.put(&a, key(group, n), number.to_le_bytes());
            batch.put(&b, key(group, n), number.to_le_bytes());
        }
        if number.is_multiple_of(2) {
            batch.put(&a, key(group, 9), number.to_le_bytes());
        } else {
            batch.remove(&a, key(group, 9));
        }
        batch.commit().unwrap();
    };
    (0..GROUPS).for_each(|group| write(group, 0));
    let stop = AtomicBool::new(false);
    // ORDERING: Relaxed; the flag only ends the loops.
    let stopped = || stop.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        for writer in 0..2_u32 {
            let (write, stopped) = (&write, &stopped);
            scope.spawn(move || {
                let mut number = 1;
                while !stopped() {
                    (0..GROUPS).filter(|group| group % 2 == writer).for_each(|g| write(g, number));
                    number += 1;
                }
            });
        }
        // A failed assertion below must end the writers as well.
        let _stop = StopOnDrop(&stop);
        for _ in 0..5 {
            let hold = clock.hold();
            let stores =
                [("a".to_owned(), a.snapshot_at(&hold)), ("b".to_owned(), b.snapshot_at(&hold))];
            let dir = tempfile::tempdir().unwrap();
            let options = ExportOptions::default().with_shards_per_store(3);
            export(&stores, dir.path(), &options).unwrap();
            let restored = back(dir.path()).unwrap();
            let found: Vec<_> =
                restored.stores.iter().map(|(_, store)| content(&store.snapshot())).collect();
            for ((_, snapshot), found) in stores.iter().zip(&found) {
                assert!(&content(snapshot) == found, "the backup is not the snapshot");
            }
            check_groups(&found[0], &found[1], GROUPS, key);
        }
    });
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        // ORDERING: Relaxed; the flag only ends the loops.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All keys of a group have one number: no batch was cut.
fn check_groups(
    a: &common::Entries,
    b: &common::Entries,
    groups: u32,
    key: impl Fn(u32, u32) -> Vec<u8>,
) {
    for group in 0..groups {
        let number = &a[&key(group, 0)];
        for n in 0..5 {
            assert_eq!((&a[&key(group, n)], &b[&key(group, n)]), (number, number));
        }
        let extra = a.get(&key(group, 9));
        let even = number[0].is_multiple_of(2);
        assert_eq!(extra, even.then_some(number));
    }
}
