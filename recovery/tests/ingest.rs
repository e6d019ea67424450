//! Goal: sorted files appear in a store whole and at one moment, the later listed one winning; anything wrong with
//! any of them, a cancellation or a condition that does not hold leave the store as it was; a job that has a record
//! is done once; and memory stays bounded by the blocks at hand.
//! Method: random files against a map; damage of every kind; a counting allocator.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod counting;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::sorted::SortedFileWriter;
use whimbrel_backup::{Cancel, Progress, Work};
use whimbrel_mvcc::{Clock, IngestMode, Store};
use whimbrel_recovery::{Error, IngestOptions, ingest, ingest_into};

type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn file(dir: &Path, name: &str, changes: &Changes) -> PathBuf {
    let path = dir.join(name);
    let options = BlockOptions::default().with_block_bytes(128);
    let mut writer = SortedFileWriter::create_with(&path, options).unwrap();
    for (key, value) in changes {
        match value {
            Some(value) => writer.put(key, value).unwrap(),
            None => writer.remove(key).unwrap(),
        }
    }
    writer.finish().unwrap();
    path
}

fn changes(pairs: &[(&str, Option<&str>)]) -> Changes {
    let owned = |text: &str| text.as_bytes().to_vec();
    pairs.iter().map(|(key, value)| (owned(key), value.map(owned))).collect()
}

fn content(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    store.snapshot().range(..).entries().collect()
}

fn options() -> IngestOptions {
    IngestOptions::default().with_work(Work::default().with_threads(2))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn several_files_are_one_map(
        old in proptest::collection::btree_map(any::<u8>(), any::<u8>(), 0..60),
        files in proptest::collection::vec(
            proptest::collection::btree_map(any::<u8>(), proptest::option::of(any::<u8>()), 0..120),
            0..5,
        ),
        behind in any::<bool>(),
    ) {
        let _turn = counting::turn();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(&Clock::new());
        let mut map = BTreeMap::new();
        for (key, value) in &old {
            store.put(&[b'p', *key], &[*value]).unwrap();
            map.insert(vec![b'p', *key], vec![*value]);
        }
        let mut job = BTreeMap::new();
        let mut paths = Vec::new();
        for (at, changes) in files.iter().enumerate() {
            let bytes = |(key, value): (&u8, &Option<u8>)| (vec![*key], value.map(|value| vec![value; 9]));
            let changes: Changes = changes.iter().map(bytes).collect();
            paths.push(file(dir.path(), &format!("{at}"), &changes));
            job.extend(changes);
        }
        for (key, value) in job {
            let key = [b"p", &key[..]].concat();
            if behind && map.contains_key(&key) {
                continue;
            }
            match value {
                Some(value) => _ = map.insert(key, value),
                None => _ = map.remove(&key),
            }
        }
        let mode = if behind { IngestMode::Behind } else { IngestMode::Over };
        let options = options().with_mode(mode).with_key_prefix(b"p");
        let before = store.snapshot();
        let report = ingest(&store, &paths, &options).unwrap();
        prop_assert_eq!(content(&store), map.clone());
        prop_assert_eq!(before.len(), old.len());
        prop_assert_eq!(report.files, files.len());
        let again = ingest(&store, &paths, &options).unwrap();
        prop_assert_eq!((again.written, again.job), (0, report.job));
        prop_assert_eq!(content(&store), map);
    }
}

#[test]
fn damage_in_any_file_leaves_the_store_as_it_was() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let many: Changes = (0..200_u8).map(|n| (vec![n], Some(vec![n; 5]))).collect();
    let good = file(dir.path(), "good", &many);
    let bad = file(dir.path(), "bad", &many);
    let bytes = fs::read(&bad).unwrap();
    let store = Store::new(&Clock::new());
    store.put(b"here", b"1").unwrap();
    let before = content(&store);
    for at in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&bad, &damaged).unwrap();
        let error = ingest(&store, &[&good, &bad], &options()).unwrap_err();
        assert!(error.to_string().contains("bad"), "{error}");
        assert_eq!(content(&store), before);
    }
    fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    assert!(ingest(&store, &[&good, &bad], &options()).unwrap_err().is_corruption());
    let missing = dir.path().join("missing");
    assert!(ingest(&store, &[&good, &missing], &options()).is_err());
    assert_eq!(content(&store), before);
    assert_eq!(
        ingest(&store, &[&good], &options()).unwrap().written,
        200,
        "and is free for others"
    );
}

#[test]
fn a_job_with_a_record_is_done_once() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let files = [file(dir.path(), "a", &changes(&[("k", Some("1"))]))];
    let store = Store::new(&Clock::new());
    let options = options().with_record(b"~jobs/");
    let first = ingest(&store, &files, &options).unwrap();
    assert!(!first.already && first.number > 0);
    assert_eq!(content(&store).len(), 2);
    store.put(b"k", b"2").unwrap();
    let again = ingest(&store, &files, &options).unwrap();
    assert_eq!((again.already, again.written, again.number), (true, 0, 0));
    assert_eq!(store.get(b"k"), Some(b"2".to_vec()));
    // Other files, or the same under another order, are another job.
    let other = [file(dir.path(), "b", &changes(&[("k", Some("1"))]))];
    assert!(!ingest(&store, &other, &options).unwrap().already);
    // Without a record it wins over what was written since.
    store.put(b"k", b"2").unwrap();
    assert_eq!(ingest(&store, &files, &self::options()).unwrap().written, 1);
    assert_eq!(store.get(b"k"), Some(b"1".to_vec()));
}

#[test]
fn several_stores_at_one_number() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let (one, two) = (Store::new(&clock), Store::new(&clock));
    let a = file(dir.path(), "a", &changes(&[("k", Some("1"))]));
    let b = file(dir.path(), "b", &changes(&[("k", Some("2")), ("gone", None)]));
    let report = ingest_into(&[(&one, vec![a]), (&two, vec![b])], &options()).unwrap();
    assert_eq!((report.written, report.same, report.puts, report.removes), (2, 1, 2, 1));
    assert_eq!((one.get(b"k"), two.get(b"k")), (Some(b"1".to_vec()), Some(b"2".to_vec())));
}

#[test]
fn a_written_range_fails_it() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let files = [file(dir.path(), "a", &changes(&[("k", Some("1"))]))];
    let store = Store::new(&Clock::new());
    let seen = store.snapshot();
    store.put(b"m", b"2").unwrap();
    let within = |range: std::ops::Range<&str>| options().with_unwritten(range, seen.hold());
    let error = ingest(&store, &files, &within("a".."z")).unwrap_err();
    assert!(matches!(error, Error::Ingest(whimbrel_mvcc::Error::WrittenSince { .. })), "{error}");
    assert!(error.is_retryable());
    assert_eq!(store.get(b"k"), None);
    assert_eq!(ingest(&store, &files, &within("a".."m")).unwrap().written, 1);
}

/// Cancels after so many reports.
struct CancelAfter(Cancel, AtomicUsize);

impl Progress for CancelAfter {
    fn add(&self, _: u64, _: u64) {
        if self.1.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.cancel();
        }
    }
}

fn large(dir: &Path, name: &str, entries: u32) -> PathBuf {
    let path = dir.join(name);
    let mut writer = SortedFileWriter::create(&path).unwrap();
    for n in 0..entries {
        writer.put(&n.to_be_bytes(), &n.to_le_bytes().repeat(20)).unwrap();
    }
    writer.finish().unwrap();
    path
}

#[test]
fn cancelled_at_any_time_it_leaves_nothing() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let files = [large(dir.path(), "a", 40_000)];
    let store = Store::new(&Clock::new());
    store.put(&7_u32.to_be_bytes(), b"old").unwrap();
    let mut cancelled = 0;
    for after in (1..80).step_by(6) {
        let cancel = Cancel::new();
        let listener = Arc::new(CancelAfter(cancel.clone(), AtomicUsize::new(after)));
        let work = Work::default().with_threads(2).with_cancel(cancel).with_progress(listener);
        match ingest(&store, &files, &IngestOptions::default().with_work(work)) {
            Ok(_) => break,
            Err(Error::Backup(whimbrel_backup::Error::Cancelled)) => cancelled += 1,
            Err(other) => panic!("{other}"),
        }
        assert_eq!((store.len_estimate(), store.snapshot().len()), (1, 1));
    }
    assert!(cancelled > 5, "{cancelled}");
    for _ in 0..4 {
        store.collect_all();
    }
    assert!(store.stats().dead == 0 && store.stats().versions == store.stats().entries);
}

#[test]
fn memory_is_bounded_by_the_blocks_at_hand() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let entries = 400_000;
    let files: Vec<_> = (0..3).map(|n| large(dir.path(), &format!("{n}"), entries)).collect();
    let store = Store::new(&Clock::new());
    let (peak, report) = counting::most_during(|| ingest(&store, &files, &options()).unwrap());
    assert_eq!(report.written, u64::from(entries));
    // 16 bytes an entry in place, which grow by doubling, and a fixed amount for the blocks.
    let bound = 3 * 16 * entries as usize + (8 << 20);
    assert!(report.raw_bytes > 90 << 20 && peak < bound, "{peak} of {} bytes", report.raw_bytes);
}
