//! What an incremental backup costs beside a full one: bytes and time, followed and compared.
//!
//! `cargo run --release -p whimbrel-recovery --example increment -- [ENTRIES] [PER_MILLE] [STEP]`: entries of 16
//! random bytes and 8 bytes (1,000,000), of which so many in a thousand change (10: nine tenths of them get
//! another value, half of the rest are removed, and as many are new). STEP ends it early, so that
//! instructions can be counted by difference: `build`, `full`, `change`, `followed`, or `all`.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use whimbrel_backup::repository::{BackupReport, Kind, back_up};
use whimbrel_backup::{ExportOptions, Tracker};
use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};
use whimbrel_recovery::{RestoreOptions, restore};

const STEPS: [&str; 5] = ["build", "full", "change", "followed", "all"];

/// A random sequence without repetitions of note.
fn key(n: u64) -> [u8; 16] {
    let mix = |mut x: u64| {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(n.wrapping_mul(2) + 1).to_be_bytes());
    key[8..].copy_from_slice(&mix(n.wrapping_mul(2) + 2).to_be_bytes());
    key
}

fn build(entries: u64) -> Result<Store, Box<dyn Error>> {
    let mut keys: Vec<[u8; 16]> = (0..entries).map(key).collect();
    keys.sort_unstable();
    let mut segment = StoreSegmentBuilder::new();
    for key in &keys {
        segment.push(key, &key[8..])?;
    }
    Ok(Store::from_segments(&Clock::new(), StoreOptions::new(), vec![segment.finish()])?)
}

fn change(store: &Store, entries: u64, changes: u64) -> Result<(), Box<dyn Error>> {
    let stride = (entries / changes.max(1)).max(1);
    for n in 0..changes {
        let at = n * stride;
        match n % 20 {
            0 => drop(store.remove(&key(at))?),
            1 => store.put(&key(entries + n), b"12345678")?,
            _ => store.put(&key(at), &n.to_le_bytes())?,
        }
    }
    Ok(())
}

fn show(what: &str, report: &BackupReport, full: Option<&BackupReport>) {
    #[expect(clippy::cast_precision_loss, reason = "figures for people to read")]
    let beside = full.map_or_else(String::new, |full| {
        let bytes = report.stored_bytes as f64 / full.stored_bytes as f64 * 100.0;
        format!(", {bytes:.2} % of the bytes, {:.1} times as fast", full.seconds / report.seconds)
    });
    println!(
        "{what:>9}: {} puts, {} removes, {} bytes, {:.1} ms{beside}",
        report.puts,
        report.removes,
        report.stored_bytes,
        report.seconds * 1e3,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| args.get(at).map_or(Ok(default), |arg| arg.parse::<u64>());
    let (entries, per_mille) = (number(0, 1_000_000)?, number(1, 10)?);
    let last = args.get(2).map_or("all", String::as_str);
    let last = STEPS.iter().position(|step| *step == last).ok_or("no such step")?;
    let dir = tempfile::tempdir()?;
    let root: PathBuf = dir.path().join("backups");
    let options = ExportOptions::default();
    let begun = Instant::now();
    let store = build(entries)?;
    println!("    build: {entries} entries, {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    if last == 0 {
        return Ok(());
    }
    let mut tracker = Tracker::default();
    let watched = [("s".to_owned(), store.clone())];
    let snapshots = || [("s".to_owned(), store.snapshot())];
    tracker.watch(&watched);
    let full = back_up(&root, &snapshots(), Kind::Full, &options, Some(&mut tracker))?;
    show("full", &full, None);
    if last == 1 {
        return Ok(());
    }
    change(&store, entries, entries * per_mille / 1000)?;
    if last == 2 {
        return Ok(());
    }
    tracker.watch(&watched);
    let kind = Kind::Incremental;
    let followed = back_up(&root, &snapshots(), kind, &options, Some(&mut tracker))?;
    show("followed", &followed, Some(&full));
    if last == 3 {
        return Ok(());
    }
    drop(tracker);
    change(&store, entries + 7, entries * per_mille / 1000)?;
    let compared = back_up(&root, &snapshots(), kind, &options, None)?;
    show("compared", &compared, Some(&full));
    let restored = restore(&compared.dir, &Clock::new(), &RestoreOptions::default())?;
    let report = restored.report;
    println!(
        "  restore: {} entries of {} backups, {:.1} ms, {:.1} of them for the deltas",
        report.entries,
        report.backups,
        report.seconds * 1e3,
        report.replay_seconds * 1e3,
    );
    Ok(())
}
