//! Goal: a backup that is read without loading it answers what a restore of it would answer, and reads no
//! more than it must.
//! Method: random shards and change deltas against a `BTreeMap`, by get, range, prefix, both ways, and scan, with
//! caches of all sizes, from several threads; counts of what was read; every flipped bit of the files.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../backup/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use whimbrel_backup::block::{BlockOptions, Compression};
use whimbrel_backup::manifest::{FileRecord, Manifest, StoreRecord};
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::storage::Directory;
use whimbrel_backup::{Error as BackupError, Part};
use whimbrel_mvcc::KeyRange;
use whimbrel_recovery::{BackupView, Error, StoreView, ViewCursor, ViewOptions};

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn write_shards(
    backup: &BackupWriter<'_>,
    entries: &common::Entries,
    shards: usize,
    options: BlockOptions,
) -> Vec<FileRecord> {
    let all: Vec<_> = entries.iter().collect();
    let chunks = all.chunks(all.len().div_ceil(shards).max(1));
    (0_u32..)
        .zip(chunks)
        .map(|(number, chunk)| {
            let mut writer = backup.shard(0, number, options).unwrap();
            chunk.iter().for_each(|(key, value)| writer.push(key, value).unwrap());
            backup.finish_shard(writer).unwrap()
        })
        .collect()
}

fn write_delta(
    backup: &BackupWriter<'_>,
    number: u32,
    changes: &Changes,
    options: BlockOptions,
) -> FileRecord {
    let mut writer = backup.delta(0, number, options).unwrap();
    for (key, value) in changes {
        match value {
            Some(value) => writer.put(key, value).unwrap(),
            None => writer.remove(key).unwrap(),
        }
    }
    backup.finish_delta(writer).unwrap()
}

/// Writes a backup of one store, `s`, and answers what it has in the end.
fn write(
    dir: &Path,
    entries: &common::Entries,
    deltas: &[Changes],
    shards: usize,
    options: BlockOptions,
) -> common::Entries {
    let storage = Directory::create(dir).unwrap();
    let backup = BackupWriter::begin(&storage, common::ID).unwrap();
    let mut last = entries.clone();
    for (key, value) in deltas.iter().flatten() {
        match value {
            Some(value) => last.insert(key.clone(), value.clone()),
            None => last.remove(key),
        };
    }
    let digest = common::tally(&last).digest;
    let mut manifest = Manifest::new(backup.id(), 0, 1);
    manifest.stores = vec![StoreRecord {
        name: "s".to_owned(),
        entries: digest.count,
        digest: digest.sum,
        shards: write_shards(&backup, entries, shards, options),
        gc_deltas: Vec::new(),
        deltas: (0_u32..)
            .zip(deltas)
            .map(|(number, changes)| write_delta(&backup, number, changes, options))
            .collect(),
    }];
    backup.publish(&manifest).unwrap();
    last
}

fn collect(cursor: ViewCursor<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    cursor.entries().map(Result::unwrap).collect()
}

/// What a scan hands out until it has handed out `most` entries.
fn scanned(store: StoreView<'_>, range: &KeyRange, most: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut got = Vec::new();
    let each = |key: &[u8], value: &[u8]| {
        got.push((key.to_vec(), value.to_vec()));
        if got.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    store.scan(range.clone(), each).unwrap();
    got
}

fn expected(model: &common::Entries, range: &KeyRange) -> Vec<(Vec<u8>, Vec<u8>)> {
    let inside = model.iter().filter(|(key, _)| range.contains(key));
    inside.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn check_range(store: StoreView<'_>, model: &common::Entries, range: &KeyRange) {
    let mut expected = expected(model, range);
    assert_eq!(collect(store.range(range.clone())), expected, "{range:?}");
    assert_eq!(collect(store.range(range.clone()).rev().rev()), expected, "{range:?}");
    assert_eq!(scanned(store, range, usize::MAX), expected, "{range:?} scanned");
    let half = expected.len() / 2 + 1;
    let first = expected.iter().take(half).cloned();
    assert!(scanned(store, range, half).into_iter().eq(first), "{range:?} scanned to {half}");
    expected.reverse();
    assert_eq!(collect(store.range(range.clone()).rev()), expected, "{range:?} backwards");
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::collection::vec(0_u8..3, 0..6),
        3 => (0_u16..300).prop_map(|n| format!("a/long/common/prefix/{n:05}").into_bytes()),
        1 => prop::collection::vec(prop::sample::select(vec![0_u8, 254, 255]), 0..4),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => any::<u8>().prop_map(|byte| vec![byte; 3000]),
    ]
}

fn bounds() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![
        1 => Just(Bound::Unbounded),
        3 => keys().prop_map(Bound::Included),
        3 => keys().prop_map(Bound::Excluded),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_view_answers_what_the_stores_content_is(
        entries in prop::collection::btree_map(keys(), values(), 0..120),
        deltas in prop::collection::vec(
            prop::collection::btree_map(keys(), prop::option::of(values()), 0..40), 0..4),
        shards in 1_usize..5,
        block_bytes in 64_usize..1000,
        restart_interval in 1_u32..20,
        cache_bytes in prop::sample::select(vec![0_usize, 4096, 1 << 20]),
        probes in prop::collection::vec(keys(), 30),
        ranges in prop::collection::vec((bounds(), bounds()), 12),
        parts in 0_usize..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = BlockOptions::default()
            .with_block_bytes(block_bytes)
            .with_restart_interval(restart_interval);
        let model = write(dir.path(), &entries, &deltas, shards, options);
        let view_options = ViewOptions::default().with_cache_bytes(cache_bytes);
        let view = BackupView::open_with(dir.path(), &view_options).unwrap();
        let store = view.store("s").unwrap();
        for key in probes.iter().chain(model.keys()).chain(deltas.iter().flat_map(|d| d.keys())) {
            prop_assert_eq!(store.get(key).unwrap(), model.get(key).cloned(), "{:?}", key);
        }
        for (lo, hi) in ranges {
            check_range(store, &model, &KeyRange { lo, hi });
        }
        for key in &probes {
            let range = KeyRange::prefix(key);
            prop_assert_eq!(collect(store.prefix(key)), expected(&model, &range));
        }
        check_range(store, &model, &KeyRange::all());
        let ranges = store.split(parts).unwrap();
        prop_assert!((1..=parts.max(1)).contains(&ranges.len()));
        let pieces = ranges.iter().flat_map(|range| scanned(store, range, usize::MAX));
        prop_assert!(pieces.eq(model.clone()), "{ranges:?}");
        prop_assert!(view.stats().bytes_cached <= cache_bytes);
    }
}

fn many(n: u32) -> common::Entries {
    (0..n).map(|n| (format!("key-{n:06}").into_bytes(), n.to_le_bytes().to_vec())).collect()
}

fn small_blocks() -> BlockOptions {
    BlockOptions::default().with_block_bytes(512)
}

#[test]
fn only_what_is_asked_for_is_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &many(4000), &[], 4, small_blocks());
    let view = BackupView::open(dir.path()).unwrap();
    let store = view.store("s").unwrap();
    let read = || (view.stats().files_mapped, view.stats().blocks_checked);
    assert_eq!(read(), (0, 0), "opening reads neither index nor block");
    assert_eq!(store.get(b"aaa").unwrap(), None);
    assert_eq!(store.get(b"zzz").unwrap(), None);
    assert_eq!(read(), (0, 0), "outside of all files");
    assert_eq!(store.get(b"key-001500").unwrap(), Some(1500_u32.to_le_bytes().to_vec()));
    assert_eq!(read(), (1, 1), "one file, one block");
    assert_eq!(store.get(b"key-001500").unwrap(), Some(1500_u32.to_le_bytes().to_vec()));
    assert_eq!((read(), view.stats().blocks_cached), ((1, 1), 1));
    let mut cursor = store.range("key-003990"..);
    assert_eq!(cursor.next_entry().unwrap().unwrap().0, b"key-003990");
    assert_eq!(read(), (2, 2));
    assert!(matches!(view.store("t"), Err(Error::UnknownStore { .. })));
}

#[test]
fn the_cache_stays_within_its_bytes_and_a_checked_block_is_not_checked_again() {
    let dir = tempfile::tempdir().unwrap();
    let model = write(dir.path(), &many(4000), &[], 1, small_blocks());
    let options = ViewOptions::default().with_cache_bytes(32 << 10);
    let view = BackupView::open_with(dir.path(), &options).unwrap();
    let store = view.store("s").unwrap();
    for _ in 0..2 {
        assert!(collect(store.range(..)).into_iter().eq(model.clone()));
        let stats = view.stats();
        assert!(stats.bytes_cached <= 32 << 10 && stats.bytes_cached > 20 << 10, "{stats:?}");
        assert!(stats.blocks_checked > 70, "{stats:?}");
        assert!(stats.blocks_cached < stats.blocks_checked, "{stats:?}");
    }
}

#[test]
fn a_scan_checks_what_it_reads_and_leaves_the_cache_alone() {
    let dir = tempfile::tempdir().unwrap();
    for compression in [Compression::Lz4, Compression::None] {
        let target = dir.path().join(format!("{compression:?}"));
        let options = small_blocks().with_compression(compression);
        let model = write(&target, &many(4000), &[], 4, options);
        let view = BackupView::open(&target).unwrap();
        let store = view.store("s").unwrap();
        let range = KeyRange::from("key-000100".."key-000110");
        assert_eq!(scanned(store, &range, usize::MAX), expected(&model, &range));
        let stats = view.stats();
        assert_eq!((stats.files_mapped, stats.blocks_cached), (1, 0), "{stats:?}");
        assert!((1..=2).contains(&stats.blocks_checked), "{stats:?}");
        assert!(scanned(store, &KeyRange::all(), usize::MAX).into_iter().eq(model));
        let blocks = view.manifest().stores[0].shards.iter().map(|shard| shard.blocks as usize);
        assert_eq!(view.stats().blocks_checked, blocks.sum::<usize>());
        assert_eq!((view.stats().files_mapped, view.stats().blocks_cached), (4, 0));
    }
}

#[test]
fn a_split_makes_parts_of_about_as_many_entries() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &many(4000), &[], 3, small_blocks());
    let view = BackupView::open(dir.path()).unwrap();
    let store = view.store("s").unwrap();
    let ranges = store.split(8).unwrap();
    assert_eq!(ranges.len(), 8);
    for range in &ranges {
        let entries = scanned(store, range, usize::MAX).len();
        assert!((400..=600).contains(&entries), "{entries} of 500 in {range:?}");
    }
    assert_eq!(store.split(1).unwrap().len(), 1);
    let most = store.split(usize::MAX).unwrap();
    let blocks = view.manifest().stores[0].shards.iter().map(|shard| shard.blocks as usize);
    assert_eq!(most.len(), blocks.sum::<usize>(), "no range without a block");
}

#[test]
fn threads_share_a_view() {
    let dir = tempfile::tempdir().unwrap();
    let removed = many(4000).into_keys().step_by(3).map(|key| (key, None)).collect();
    let model = write(dir.path(), &many(4000), &[removed], 4, small_blocks());
    let options = ViewOptions::default().with_cache_bytes(16 << 10);
    let view = BackupView::open_with(dir.path(), &options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (view, model) = (&view, &model);
            scope.spawn(move || {
                let store = view.store("s").unwrap();
                for n in 0..3000_u32 {
                    let key = format!("key-{:06}", n.wrapping_mul(7919 + thread) % 4100);
                    let got = store.get(key.as_bytes()).unwrap();
                    assert_eq!(got.as_ref(), model.get(key.as_bytes()), "{key}");
                }
                assert!(collect(store.range(..)).into_iter().eq(model.clone()));
            });
        }
    });
}

#[test]
fn a_damaged_block_is_refused_when_it_is_first_read_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &many(2000), &[], 2, small_blocks());
    let path = dir.path().join("shard-0001");
    let good = fs::read(&path).unwrap();
    // Into the middle of the file, which has more than a hundred bytes of blocks on either side.
    let at = good.len() / 3;
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&[good[at] ^ 4], at as u64)
        .unwrap();
    let view = BackupView::open(dir.path()).unwrap();
    let store = view.store("s").unwrap();
    assert_eq!(store.get(b"key-000001").unwrap(), Some(1_u32.to_le_bytes().to_vec()));
    assert_eq!(store.get(b"key-001001").unwrap(), Some(1001_u32.to_le_bytes().to_vec()));
    assert_eq!(store.get(b"key-001999").unwrap(), Some(1999_u32.to_le_bytes().to_vec()));
    let mut cursor = store.range(..);
    let mut seen = 0_u32;
    let error = loop {
        match cursor.next_entry() {
            Ok(Some((key, _))) => assert_eq!(key, format!("key-{seen:06}").as_bytes()),
            Ok(None) => panic!("the damage was passed over"),
            Err(error) => break error,
        }
        seen += 1;
    };
    assert!((1001..1999).contains(&seen), "{seen} entries came first");
    assert!(error.is_corruption(), "{error}");
    let place = error.place().unwrap().clone();
    assert_eq!(place.file(), "shard-0001");
    assert!(matches!(place.part(), Part::Block(n) if n > 0), "{error}");
    assert!(cursor.next_entry().unwrap().is_none(), "it is over");
    let mut scanned = 0;
    let scan = store.scan(.., |key, _| {
        assert_eq!(key, format!("key-{scanned:06}").as_bytes());
        scanned += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(scan.unwrap_err().place(), Some(&place), "a scan says the same");
    assert_eq!(scanned, seen, "and hands nothing of a damaged block out");
    let key = format!("key-{seen:06}");
    for _ in 0..2 {
        let error = store.get(key.as_bytes()).unwrap_err();
        assert_eq!(error.place(), Some(&place), "again and again");
    }
}

/// Opens and scans everything.
fn scan_all(dir: &Path) -> Result<(), Error> {
    let view = BackupView::open(dir)?;
    view.stores().try_for_each(|store| store.scan(.., |_, _| ControlFlow::Continue(())))
}

/// Opens and reads everything, both ways.
fn read_all(dir: &Path) -> Result<usize, Error> {
    let view = BackupView::open(dir)?;
    let mut entries = 0;
    for store in view.stores() {
        let mut cursor = store.range(..);
        while cursor.next_entry()?.is_some() {
            entries += 1;
        }
    }
    Ok(entries)
}

#[test]
fn every_flipped_bit_and_every_truncation_is_refused_naming_the_file() {
    let dir = common::fast_dir();
    common::write_backup(dir.path());
    assert_eq!(read_all(dir.path()).unwrap(), 16);
    let mut damages = 0;
    for (name, _) in common::files(dir.path()) {
        damages += common::damage(&dir.path().join(&name), |damage| {
            let error = read_all(dir.path()).expect_err(&format!("{name}: {damage}"));
            assert!(error.is_corruption(), "{name}: {damage}: {error}");
            let place = error.place().map(|place| place.file().to_owned());
            assert_eq!(place.as_deref(), Some(name.as_str()), "{damage}: {error}");
            let of_scan = scan_all(dir.path()).expect_err(&format!("{name}: {damage}"));
            let place = of_scan.place().map(|place| place.file().to_owned());
            assert_eq!(place.as_deref(), Some(name.as_str()), "{damage}: {of_scan}");
        });
    }
    assert!(damages > 20_000, "{damages} is all");
}

#[test]
fn the_ends_of_every_file_are_checked_when_the_backup_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    for (name, good) in
        common::files(dir.path()).into_iter().filter(|(name, _)| name != "MANIFEST.json")
    {
        for at in [20, good.len() - 30] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(dir.path().join(&name), bad).unwrap();
            let error = BackupView::open(dir.path()).expect_err("header or footer is damaged");
            assert_eq!(error.place().map(|place| place.file()), Some(name.as_str()), "{error}");
        }
        fs::write(dir.path().join(&name), good).unwrap();
    }
    fs::remove_file(dir.path().join("shard-0001")).unwrap();
    let error = BackupView::open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Backup(BackupError::MissingFile { .. })), "{error}");
}

#[test]
fn stores_and_deltas_of_the_small_backup_are_read() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let view = BackupView::open(dir.path()).unwrap();
    let names: Vec<_> = view.stores().map(|store| store.name()).collect();
    assert_eq!(names, ["birds", "towns", "empty"]);
    for (store, model) in
        view.stores().zip([common::birds(), common::towns(), common::Entries::new()])
    {
        check_range(store, &model, &KeyRange::all());
        assert_eq!(store.digest(), common::tally(&model).digest);
    }
    assert_eq!(view.manifest().user["resume"], "offset 17");
}
