//! Change capture: a copy of a store is brought up to date in rounds, while writers go on.
//!
//! `cargo run -p whimbrel-mvcc --example capture`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel_mvcc::{Capture, CaptureOptions, Clock, Error, KeyRange, Snapshot, Store};

/// Makes the copy hold under a key what the snapshot shows.
fn follow_key(snapshot: &Snapshot, copy: &Store, key: &[u8]) -> Result<(), Error> {
    match snapshot.get(key) {
        Some(value) => copy.put(key, value),
        None => copy.remove(key).map(drop),
    }
}

/// The same for a range in which not every key was kept: there was more to keep than there is room for.
fn follow_range(snapshot: &Snapshot, copy: &Store, range: &KeyRange) -> Result<(), Error> {
    for (key, _) in copy.snapshot().range(range.clone()) {
        follow_key(snapshot, copy, &key)?;
    }
    for (key, value) in snapshot.range(range.clone()) {
        copy.put(key, value)?;
    }
    Ok(())
}

/// One round: what was written since the last one. Returns how many keys and ranges that were.
fn round(capture: &Capture, copy: &Store) -> Result<(usize, usize), Error> {
    let captured = capture.drain();
    // After the drain: it shows at least what was drained, or something newer.
    let snapshot = capture.store().snapshot_named("capture round");
    for key in &captured.keys {
        follow_key(&snapshot, copy, key)?;
    }
    for range in &captured.intervals {
        follow_range(&snapshot, copy, range)?;
    }
    Ok((captured.keys.len(), captured.intervals.len()))
}

fn main() -> Result<(), Error> {
    let store = Store::new(&Clock::new());
    store.extend((0..10_000_u32).map(|n| (n.to_be_bytes(), "first")))?;

    // Little room, to see what happens when it does not suffice.
    let capture = store.capture(CaptureOptions::new().max_bytes(64 << 10).buckets(64))?;
    // What was under way when the capture began may not be in it; wait until that has left.
    let barrier = store.clock().barrier();
    let ticket = barrier.ticket();
    while !barrier.poll(ticket) {
        thread::yield_now();
    }

    let copy = Store::new(&Clock::new());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), Error> {
        let writer = scope.spawn(|| -> Result<u32, Error> {
            let mut n = 0_u32;
            // ORDERING: Relaxed; a flag that hands nothing on.
            while !stop.load(Ordering::Relaxed) {
                let key = (n % 12_000 * 7919 % 12_000).to_be_bytes();
                if n.is_multiple_of(5) {
                    drop(store.remove(key)?)
                } else {
                    store.put(key, n.to_le_bytes())?
                }
                n += 1;
            }
            Ok(n)
        });
        let base = store.snapshot_named("copy");
        copy.extend(&base)?;
        println!("copied {} entries", base.len());
        drop(base);
        for number in 1..=3 {
            let (keys, ranges) = round(&capture, &copy)?;
            println!("round {number}: {keys} keys, {ranges} ranges");
        }
        // ORDERING: Relaxed; as above, and joining orders the rest.
        stop.store(true, Ordering::Relaxed);
        println!("{} writes meanwhile", writer.join().unwrap_or(Ok(0))?);
        Ok(())
    })?;

    // Nobody writes any more: one more round, and they are equal.
    round(&capture, &copy)?;
    drop(capture);
    assert!(store.snapshot().iter().eq(copy.snapshot().iter()));
    println!("equal: {} entries", copy.len_estimate());
    Ok(())
}
