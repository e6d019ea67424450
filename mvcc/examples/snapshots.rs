//! Snapshots: one moment of a store, scanned in all ways, by several threads, while writers go on.
//!
//! `cargo run -p whimbrel-mvcc --example snapshots`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel_mvcc::{Batch, Clock, Error, KeyRange, Snapshot, Store};

const ACCOUNTS: u32 = 1000;

fn key(account: u32) -> String {
    format!("account/{account:05}")
}

/// The sum over a range, which stays the same however money is moved.
fn sum(snapshot: &Snapshot, range: KeyRange) -> u64 {
    let mut sum = 0;
    let mut cursor = snapshot.range(range);
    while let Some((_, value)) = cursor.next_entry() {
        sum += value.try_into().map_or(0, u64::from_be_bytes);
    }
    sum
}

/// Moves one from an account to the next, as one batch.
fn transfer(store: &Store, from: u32) -> Result<(), Error> {
    let to = (from + 1) % ACCOUNTS;
    let amount = |account| {
        store
            .get(key(account))
            .and_then(|value| value.try_into().ok())
            .map_or(0, u64::from_be_bytes)
    };
    let mut batch = Batch::new();
    batch.put(store, key(from), (amount(from) - 1).to_be_bytes());
    batch.put(store, key(to), (amount(to) + 1).to_be_bytes());
    batch.commit().map(drop)
}

fn main() -> Result<(), Error> {
    let store = Store::new(&Clock::new());
    store.extend((0..ACCOUNTS).map(|account| (key(account), 100_000_u64.to_be_bytes())))?;
    // Named in the statistics, and in a warning should it be forgotten.
    let opening = store.snapshot_named("opening balance");

    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), Error> {
        let writer = scope.spawn(|| -> Result<u32, Error> {
            let mut transfers = 0;
            // ORDERING: Relaxed; a flag that hands nothing on.
            while !stop.load(Ordering::Relaxed) {
                transfer(&store, transfers % ACCOUNTS)?;
                transfers += 1;
            }
            Ok(transfers)
        });
        for _ in 0..3 {
            // O(1), and no writer waits for it. Clones and parts go to other threads.
            let snapshot = store.snapshot();
            let parts = snapshot.split(2).into_iter().map(|part| {
                let snapshot = snapshot.clone();
                scope.spawn(move || sum(&snapshot, part))
            });
            let parts: Vec<_> = parts.collect();
            let total: u64 = parts.into_iter().map(|part| part.join().unwrap_or(0)).sum();
            println!("snapshot {}: {} accounts, {total} in all", snapshot.number(), snapshot.len());
            assert_eq!(total, 100_000 * u64::from(ACCOUNTS));
        }
        // ORDERING: Relaxed; as above, and joining orders the rest.
        stop.store(true, Ordering::Relaxed);
        println!("{} transfers meanwhile", writer.join().unwrap_or(Ok(0))?);
        Ok(())
    })?;

    // Scans: a range, a prefix, backwards, a few, only counted.
    println!("a range: {} accounts", opening.count("account/00010".."account/00020"));
    println!("a prefix: {} accounts", opening.prefix("account/000").entries().count());
    let last = opening.range(..).rev().into_iter().take(3);
    let last: Vec<_> = last.map(|(key, _)| String::from_utf8_lossy(&key).into_owned()).collect();
    println!("the last three: {last:?}");
    for (key, value) in opening.range(..="account/00001") {
        println!("{} = {value:?}", String::from_utf8_lossy(&key));
    }
    // It shows what it showed, whatever has been written since.
    let untouched = opening.iter().filter(|(_, value)| value[..] == 100_000_u64.to_be_bytes());
    assert_eq!(untouched.count(), ACCOUNTS as usize);
    println!("held by it: {} versions", store.stats().held.entries);
    drop(opening);
    store.collect();
    println!("after it was closed: {} versions", store.stats().held.entries);
    Ok(())
}
