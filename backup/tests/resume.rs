//! Goal: an export that is stopped goes on where it was, and is the same backup in the end; dropped, it leaves
//! nothing; a limit of bytes a second is kept, and a cancel is heard meanwhile.
//! Method: a listener that cancels after some entries, again and again; shards that are damaged or gone in
//! between; the time that a limited export takes, with generous bounds.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use whimbrel_backup::storage::Directory;
use whimbrel_backup::{
    Cancel, Error, ExportOptions, Meter, PausableExport, Progress, Work, export, verify,
};
use whimbrel_mvcc::{Clock, Snapshot, Store};

const ENTRIES: u32 = 40_000;

fn snapshots() -> Vec<(String, Snapshot)> {
    let store = Store::new(&Clock::new());
    for n in 0..ENTRIES {
        let value = n.wrapping_mul(2_654_435_761).to_le_bytes();
        store.put(&n.to_be_bytes(), &value).expect("the store takes it");
    }
    vec![("s".to_owned(), store.snapshot())]
}

/// Cancels after so many entries.
struct Stop {
    after: u64,
    seen: AtomicU64,
    cancel: Cancel,
}

impl Progress for Stop {
    fn add(&self, entries: u64, _bytes: u64) {
        // ORDERING: Relaxed; a counter of a test.
        if self.seen.fetch_add(entries, Ordering::Relaxed) + entries >= self.after {
            self.cancel.cancel();
        }
    }
}

/// Work that is cancelled after about so many entries.
fn stopping(after: u64) -> Work {
    let cancel = Cancel::new();
    let stop = Stop { after, seen: AtomicU64::new(0), cancel: cancel.clone() };
    Work::default().with_threads(1).with_cancel(cancel).with_progress(Arc::new(stop))
}

#[test]
fn a_stopped_export_goes_on_and_is_the_same_in_the_end() {
    let stores = snapshots();
    let dir = tempfile::tempdir().unwrap();
    let storage = Directory::create(dir.path()).unwrap();
    let options = ExportOptions::default().with_shards_per_store(10);
    let mut export = PausableExport::begin(&stores, &storage, &options).unwrap();
    assert!(export.shards() > 5, "{}", export.shards());
    let mut complete = 0;
    for round in 0..4 {
        let error = export.run(&stopping(9_000)).unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
        assert!(export.complete() > complete, "round {round}: no progress");
        complete = export.complete();
        if round == 1 {
            // Whoever writes to it meanwhile is noticed.
            let mut bytes = fs::read(dir.path().join("shard-0000")).unwrap();
            let end = bytes.len() - 10;
            bytes[end] ^= 1;
            fs::write(dir.path().join("shard-0000"), bytes).unwrap();
            fs::remove_file(dir.path().join("shard-0001")).unwrap();
            complete -= 2;
        }
    }
    assert!(matches!(verify(dir.path()), Err(Error::NoManifest { .. })), "not yet");
    let report = export.publish().unwrap();
    assert_eq!(report.entries, u64::from(ENTRIES));
    assert_eq!(verify(dir.path()).unwrap().entries, u64::from(ENTRIES));
}

#[test]
fn a_stopped_export_that_is_dropped_leaves_nothing() {
    let stores = snapshots();
    let dir = tempfile::tempdir().unwrap();
    let storage = Directory::create(dir.path()).unwrap();
    let mut export = PausableExport::begin(&stores, &storage, &ExportOptions::default()).unwrap();
    assert!(export.run(&stopping(1)).is_err());
    assert!(fs::read_dir(dir.path()).unwrap().count() > 1);
    let other = PausableExport::begin(&stores, &storage, &ExportOptions::default());
    assert!(matches!(other, Err(Error::Unfinished { .. })), "the place is claimed");
    drop(export);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_limit_of_bytes_a_second_is_kept_by_all_threads_together() {
    let stores = snapshots();
    let dir = tempfile::tempdir().unwrap();
    let free = export(&stores, &dir.path().join("free"), &ExportOptions::default()).unwrap();
    let rate = free.stored_bytes * 4;
    let meter = Arc::new(Meter::new());
    let work = Work::default().with_threads(2).with_bytes_per_second(rate);
    let options = ExportOptions::default()
        .with_shards_per_store(4)
        .with_work(work.with_progress(meter.clone()));
    let begun = Instant::now();
    let report = export(&stores, &dir.path().join("limited"), &options).unwrap();
    // A quarter of a second at the rate; a slow machine takes longer.
    let least = Duration::from_millis(240 * report.stored_bytes / free.stored_bytes);
    assert!(begun.elapsed() > least, "{:?} for {} bytes", begun.elapsed(), report.stored_bytes);
    let speed = meter.speed();
    assert_eq!((speed.entries, speed.total), (u64::from(ENTRIES), u64::from(ENTRIES)));
    assert!(speed.entries_per_second > 0.0 && speed.bytes_per_second > 0.0);
    assert_eq!(speed.remaining, Some(Duration::ZERO));
}

#[test]
fn a_cancel_is_heard_while_the_limit_rests() {
    let stores = snapshots();
    let dir = tempfile::tempdir().unwrap();
    let cancel = Cancel::new();
    let work = Work::default().with_cancel(cancel.clone()).with_bytes_per_second(1);
    let options = ExportOptions::default().with_work(work);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| export(&stores, &dir.path().join("slow"), &options));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!running.is_finished());
        cancel.cancel();
        let error = running.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::Cancelled), "{error}");
    });
    assert_eq!(fs::read_dir(dir.path().join("slow")).unwrap().count(), 0);
}
