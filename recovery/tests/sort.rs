//! Goal: a sorter makes the store that a map would hold, in memory or spilled, in little more memory than it was
//! allowed, and leaves no file behind.
//! Method: random entries with small bounds, so that runs are written and merged; a counting allocator; a look at
//! the temporary directory.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod counting;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use whimbrel_backup::sorted::SortedFileWriter;
use whimbrel_backup::{Cancel, Work};
use whimbrel_mvcc::{Clock, Store, StoreOptions};
use whimbrel_recovery::{Error, IngestOptions, SortOptions, Sorter, ingest};

fn options(dir: &Path, memory: usize) -> SortOptions {
    let work = Work::default().with_threads(2);
    SortOptions::default().with_work(work).with_directory(dir).with_max_memory(memory)
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

fn content(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    store.snapshot().range(..).entries().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn what_comes_last_is_there_in_order(
        entries in proptest::collection::vec(
            (
                proptest::collection::vec(0_u8..4, 0..5),
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..6)),
            ),
            0..500,
        ),
        memory in prop_oneof![Just(1_usize << 20), Just(4000), Just(1)],
    ) {
        let _turn = counting::turn();
        let dir = tempfile::tempdir().unwrap();
        let sorter = || {
            let mut sorter = Sorter::new(options(dir.path(), memory));
            for (key, value) in &entries {
                match value {
                    Some(value) => sorter.put(key, value).unwrap(),
                    None => sorter.remove(key).unwrap(),
                }
            }
            sorter
        };
        let map: BTreeMap<_, _> = entries.iter().cloned().collect();
        let puts = map.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        let puts: BTreeMap<_, _> = puts.collect();
        let (store, report) = sorter().into_store(&Clock::new(), StoreOptions::new()).unwrap();
        prop_assert_eq!(content(&store), puts.clone());
        prop_assert_eq!((report.came, report.entries), (entries.len() as u64, puts.len() as u64));
        prop_assert!(memory > 1 || entries.len() < 2 || report.runs > 0);
        prop_assert!(memory < 1 << 20 || report.runs == 0);
        // As a file, removes included, over a store that has everything.
        let path = dir.path().join("file");
        let report = sorter().into_file(SortedFileWriter::create(&path).unwrap()).unwrap();
        prop_assert_eq!(report.entries, map.len() as u64);
        let store = Store::new(&Clock::new());
        map.keys().for_each(|key| store.put(key, b"old value").unwrap());
        ingest(&store, &[&path], &IngestOptions::default()).unwrap();
        prop_assert_eq!(content(&store), puts);
        fs::remove_file(path).unwrap();
        prop_assert!(is_empty(dir.path()), "runs were left behind");
    }
}

/// Entries in a random order, each key once.
fn fill(sorter: &mut Sorter, entries: u64) {
    for n in 0..entries {
        // An odd multiplier: a permutation.
        let key = n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        sorter.put(&key, &n.to_le_bytes().repeat(4)).unwrap();
    }
}

#[test]
fn memory_stays_near_the_bound() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let (entries, bound) = (600_000, 4 << 20);
    let measured = counting::Measured::begin();
    let mut sorter = Sorter::new(options(dir.path(), bound));
    fill(&mut sorter, entries);
    assert!(sorter.runs() > 2 * 64 / 10, "{}", sorter.runs());
    let gathered = measured.most();
    let (store, report) = sorter.into_store(&Clock::new(), StoreOptions::new()).unwrap();
    let peak = measured.most();
    assert_eq!((report.entries, store.snapshot().len() as u64), (entries, entries));
    // What was gathered, and a block of each run with what it decodes to for each of two threads.
    assert!(gathered < 2 * bound + (16 << 20), "{gathered}");
    assert!(peak < 2 * bound + (48 << 20), "{peak} for {} runs", report.runs);
    assert!(is_empty(dir.path()));
}

#[test]
fn many_runs_are_merged_before() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(options(dir.path(), 80 * 100));
    for n in 0..20_000_u32 {
        sorter.put(&(n % 5000).to_be_bytes(), &n.to_be_bytes()).unwrap();
    }
    assert!(sorter.runs() > 128, "{}", sorter.runs());
    let inside = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read_dir(inside).unwrap().count() < 70);
    let (store, report) = sorter.into_store(&Clock::new(), StoreOptions::new()).unwrap();
    assert_eq!(report.entries, 5000);
    for key in 0..5000_u32 {
        assert_eq!(store.get(&key.to_be_bytes()), Some((15_000 + key).to_be_bytes().to_vec()));
    }
}

#[test]
fn nothing_is_left_after_a_cancellation_an_error_or_a_drop() {
    let _turn = counting::turn();
    let dir = tempfile::tempdir().unwrap();
    let cancel = Cancel::new();
    let work = Work::default().with_threads(2).with_cancel(cancel.clone());
    let mut sorter = Sorter::new(options(dir.path(), 1 << 16).with_work(work));
    fill(&mut sorter, 5000);
    assert!(sorter.runs() > 0);
    cancel.cancel();
    let cancelled = sorter.into_segments().unwrap_err();
    assert!(matches!(cancelled, Error::Backup(whimbrel_backup::Error::Cancelled)), "{cancelled}");
    assert!(is_empty(dir.path()));
    let mut sorter = Sorter::new(options(dir.path(), 1 << 16));
    fill(&mut sorter, 5000);
    // A run that somebody has damaged.
    let inside = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let run = fs::read_dir(inside).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&run).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&run, bytes).unwrap();
    assert!(sorter.into_segments().unwrap_err().is_corruption());
    assert!(is_empty(dir.path()));
    let mut sorter = Sorter::new(options(dir.path(), 1 << 16));
    fill(&mut sorter, 5000);
    drop(sorter);
    assert!(is_empty(dir.path()));
    let missing = dir.path().join("missing");
    let mut sorter = Sorter::new(options(&missing, 1));
    sorter.put(b"a", b"").unwrap();
    let error = sorter.put(b"b", b"").unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    assert!(matches!(sorter.put(&[0; 1 << 16], b""), Err(Error::Backup(_))));
}
