//! Goal: an export writes exactly what its snapshots see, or nothing.
//! Method: small stores; counts against the stores, refusals, cancellation, progress, a failing disk.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::{
    Backup, Cancel, Error, ExportOptions, Progress, Work, export, inspect, verify,
};
use whimbrel_mvcc::{Clock, Snapshot, Store};

fn store(clock: &Clock, entries: u32) -> Store {
    let store = Store::new(clock);
    for n in 0..entries {
        let key = format!("key/{:08}", n.wrapping_mul(2_654_435_761) % 100_000_007);
        store.put(key.as_bytes(), &n.to_le_bytes()).expect("the store takes it");
    }
    store
}

fn one(name: &str, snapshot: Snapshot) -> Vec<(String, Snapshot)> {
    vec![(name.to_owned(), snapshot)]
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).expect("the directory is there").next().is_none()
}

#[derive(Default)]
struct Counter {
    begun: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    cancel_at: u64,
    cancel: Cancel,
}

impl Progress for Counter {
    fn begin(&self, entries: u64) {
        // ORDERING: Relaxed; counters of a test, read after the work has joined its threads.
        self.begun.store(entries, Ordering::Relaxed);
    }

    fn add(&self, entries: u64, bytes: u64) {
        // ORDERING: Relaxed; see `begin`.
        let before = self.entries.fetch_add(entries, Ordering::Relaxed);
        // ORDERING: Relaxed; see `begin`.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + entries >= self.cancel_at && self.cancel_at > 0 {
            self.cancel.cancel();
        }
    }
}

#[test]
fn the_report_the_manifest_and_the_progress_agree() {
    let clock = Clock::new();
    let (full, empty) = (store(&clock, 20_000), Store::new(&clock));
    let hold = clock.hold();
    let stores = vec![
        ("full".to_owned(), full.snapshot_at(&hold)),
        ("empty".to_owned(), empty.snapshot_at(&hold)),
    ];
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("a/b");
    let counter = Arc::new(Counter::default());
    let work = Work::default().with_threads(2).with_progress(counter.clone());
    let options = ExportOptions::default()
        .with_work(work)
        .with_shards_per_store(5)
        .with_user(serde_json::json!([1, "two"]));
    let report = export(&stores, &target, &options).unwrap();
    assert_eq!((report.entries, report.snapshot), (20_000, hold.number()));
    assert_eq!(report.raw_bytes, 20_000 * (12 + 4));
    assert!((2..=5).contains(&report.shards.len()), "{} shards", report.shards.len());
    assert!(report.ratio() > 1.0 && report.entries_per_second() > 0.0);
    // ORDERING: Relaxed; the work has joined its threads.
    assert_eq!(counter.entries.load(Ordering::Relaxed), 20_000);
    // ORDERING: Relaxed; see above.
    assert_eq!(counter.bytes.load(Ordering::Relaxed), report.raw_bytes);
    // ORDERING: Relaxed; see above.
    assert_eq!(counter.begun.load(Ordering::Relaxed), 20_000);
    let manifest = Backup::open(&target).unwrap().manifest().clone();
    assert_eq!(manifest.user, serde_json::json!([1, "two"]));
    assert_eq!(manifest.stores[0].entries, 20_000);
    assert!(manifest.stores[1].shards.is_empty(), "an empty store has no file");
    let verified = verify(&target).unwrap();
    assert_eq!((verified.entries, verified.stored_bytes), (20_000, report.stored_bytes));
    assert_eq!(inspect(&target).unwrap().files.len(), report.shards.len());
}

#[test]
fn a_directory_with_anything_in_it_is_refused_and_left_alone() {
    let store = store(&Clock::new(), 10);
    let dir = tempfile::tempdir().unwrap();
    let export =
        || export(&one("s", store.snapshot()), dir.path(), &ExportOptions::default()).map(drop);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    assert!(matches!(export(), Err(Error::ForeignFile { .. })));
    fs::remove_file(dir.path().join("notes.txt")).unwrap();
    export().unwrap();
    let before = fs::read(dir.path().join(MANIFEST)).unwrap();
    assert!(matches!(export(), Err(Error::AlreadyABackup { .. })));
    assert_eq!(fs::read(dir.path().join(MANIFEST)).unwrap(), before);
    verify(dir.path()).unwrap();
}

#[test]
fn names_and_snapshots_that_do_not_go_together_are_refused_before_anything_is_made() {
    let clock = Clock::new();
    let (a, b) = (store(&clock, 3), store(&clock, 3));
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("never");
    let (early, late) = (a.snapshot(), b.snapshot());
    let mixed = [("a".to_owned(), early.clone()), ("b".to_owned(), late)];
    let twice = [("a".to_owned(), early.clone()), ("a".to_owned(), early.clone())];
    let options = ExportOptions::default();
    assert!(matches!(export(&mixed, &target, &options), Err(Error::MixedSnapshots { .. })));
    assert!(matches!(export(&twice, &target, &options), Err(Error::StoreName { .. })));
    assert!(matches!(export(&one("", early), &target, &options), Err(Error::StoreName { .. })));
    assert!(!target.exists());
}

#[test]
fn a_cancelled_export_leaves_nothing() {
    let store = store(&Clock::new(), 30_000);
    let dir = tempfile::tempdir().unwrap();
    for threads in [1, 2] {
        let cancel = Cancel::new();
        let counter = Counter { cancel_at: 8_000, cancel: cancel.clone(), ..Counter::default() };
        let work = Work::default()
            .with_threads(threads)
            .with_cancel(cancel)
            .with_progress(Arc::new(counter));
        let options = ExportOptions::default().with_work(work).with_shards_per_store(3);
        let error = export(&one("s", store.snapshot()), dir.path(), &options).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert!(is_empty(dir.path()));
    }
    // The same place is free for the next.
    export(&one("s", store.snapshot()), dir.path(), &ExportOptions::default()).unwrap();
}

#[test]
fn a_target_below_a_file_gets_a_clear_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let store = store(&Clock::new(), 1);
    let options = ExportOptions::default();
    for target in [file.join("backup"), file] {
        let error = export(&one("s", store.snapshot()), &target, &options).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}

#[test]
fn keys_and_values_of_all_sizes_are_exported() {
    let store = Store::new(&Clock::new());
    store.put(b"", b"the empty key").unwrap();
    store.put(&[7; 65_535], b"the longest key").unwrap();
    store.put(b"big", &vec![1; 3 << 20]).unwrap();
    store.put(b"empty", b"").unwrap();
    store.put(b"gone", b"x").unwrap();
    store.remove(b"gone").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let report =
        export(&one("s", store.snapshot()), dir.path(), &ExportOptions::default()).unwrap();
    assert_eq!(report.entries, 4);
    assert_eq!(verify(dir.path()).unwrap().entries, 4);
}
