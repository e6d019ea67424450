//! From put to backup to restore: two stores, backed up at one moment beside a writer, verified, and made
//! again.
//!
//! `cargo run -p whimbrel-recovery --example backup`

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel_backup::{ExportOptions, export, inspect, verify};
use whimbrel_mvcc::{Batch, Clock, Store};
use whimbrel_recovery::{RestoreOptions, restore};

const ENTRIES: u32 = 20_000;

/// The same number in both stores, at one moment.
fn write(names: &Store, numbers: &Store, n: u32, value: u32) -> Result<(), whimbrel_mvcc::Error> {
    let mut batch = Batch::new();
    batch.put(names, format!("name {n:06}"), value.to_be_bytes());
    batch.put(numbers, n.to_be_bytes(), value.to_be_bytes());
    batch.commit().map(drop)
}

fn main() -> Result<(), Box<dyn Error>> {
    // Put.
    let clock = Clock::new();
    let (names, numbers) = (Store::new(&clock), Store::new(&clock));
    for n in 0..ENTRIES {
        write(&names, &numbers, n, n)?;
    }

    // Back up, beside a writer: what it writes after the moment is not in the backup.
    let dir = tempfile::tempdir()?;
    let monday = dir.path().join("monday");
    let stop = AtomicBool::new(false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0..ENTRIES).cycle() {
                // ORDERING: Relaxed; a flag that hands nothing on.
                if stop.load(Ordering::Relaxed) || write(&names, &numbers, n, n + 1).is_err() {
                    break;
                }
            }
        });
        let moment = clock.hold_named("monday");
        let snapshots = [
            ("names".to_owned(), names.snapshot_at(&moment)),
            ("numbers".to_owned(), numbers.snapshot_at(&moment)),
        ];
        let report = export(&snapshots, &monday, &ExportOptions::default());
        // ORDERING: Relaxed; as above, and joining orders the rest.
        stop.store(true, Ordering::Relaxed);
        report
    })?;
    println!(
        "{} entries, {} bytes stored for {}, {:.0} entries/s",
        report.entries,
        report.stored_bytes,
        report.raw_bytes,
        report.entries_per_second()
    );
    drop((names, numbers, clock));

    // Every byte is read and compared; nothing is loaded.
    println!("verified: {} entries", verify(&monday)?.entries);
    println!("inspected: {} files", inspect(&monday)?.files.len());

    // Restore: into a clock of its own, as another process would.
    let clock = Clock::new();
    let restored = restore(&monday, &clock, &RestoreOptions::default())?;
    println!("restored at {:.0} entries/s", restored.report.entries_per_second());
    let store = |wanted: &str| {
        let mut stores = restored.stores.iter();
        stores
            .find_map(|(name, store)| (name == wanted).then_some(store))
            .ok_or("a store is missing")
    };
    let (names, numbers) = (store("names")?, store("numbers")?);
    assert_eq!((names.len_estimate(), numbers.len_estimate()), (20_000, 20_000));

    // The two are of one moment, and they are stores like any other.
    let moment = clock.hold();
    let values = |store: &Store| -> Vec<Vec<u8>> {
        store.snapshot_at(&moment).iter().map(|(_, value)| value).collect()
    };
    assert!(values(names) == values(numbers), "the backup is of one moment");
    names.put("name 000007", "seven")?;
    println!("and goes on: {:?}", names.get("name 000007").map(|v| v.len()));
    Ok(())
}
