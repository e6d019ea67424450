//! An ingest beside a reader: a million entries that appear at one moment.
//!
//! `cargo run --release -p whimbrel-mvcc --example ingest [ENTRIES]`

use std::thread;
use std::time::{Duration, Instant};

use whimbrel_mvcc::{Clock, Error, Ingest, IngestOptions, Store};

fn main() -> Result<(), Error> {
    let entries = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000_u64);
    let clock = Clock::new();

    let store = Store::new(&clock);
    let begin = Instant::now();
    for n in 0..entries {
        store.put(&key(n), &n.to_le_bytes())?;
    }
    show("put one by one, ascending", entries, begin.elapsed());

    let store = Store::new(&clock);
    show("ingested into an empty store", entries, ingest(&store, entries, 1)?);
    assert_eq!(store.snapshot().len() as u64, entries);
    show("ingested over all of it", entries, ingest(&store, entries, 2)?);
    show("ingested again: nothing to do", entries, ingest(&store, entries, 2)?);
    store.collect_all();
    let before = store.stats().bytes();
    store.compact();
    let after = store.stats().bytes();
    println!("compacted: {} bytes an entry, {} before", after / entries, before / entries);
    Ok(())
}

fn key(n: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[8..].copy_from_slice(&n.to_be_bytes());
    key
}

/// Ingests from two threads, beside one that looks whether it sees all or nothing.
fn ingest(store: &Store, entries: u64, round: u64) -> Result<Duration, Error> {
    let begin = Instant::now();
    let ingest = Ingest::begin(&[store], IngestOptions::new())?;
    thread::scope(|scope| {
        let halves = [0..entries / 2, entries / 2..entries].map(|half| {
            let ingest = &ingest;
            scope.spawn(move || {
                let mut part = ingest.part(store)?;
                half.into_iter().try_for_each(|n| part.put(&key(n), &(n + round).to_le_bytes()))
            })
        });
        halves.into_iter().try_for_each(|half| half.join().expect("it does not panic"))
    })?;
    let is_new = |n: u64| store.get(&key(n)) == Some((n + round).to_le_bytes().to_vec());
    let (first, last) = (is_new(0), is_new(entries - 1));
    assert_eq!(first, last, "all or nothing");
    ingest.commit()?;
    assert!(is_new(0) && is_new(entries - 1));
    Ok(begin.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn show(what: &str, entries: u64, took: Duration) {
    let each = took.as_secs_f64() * 1e9 / entries as f64;
    println!("{what}: {each:.0} ns an entry");
}
