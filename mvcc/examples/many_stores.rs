//! Many stores of one clock: 16,384 slots, most of them empty, one moment over all of them.
//!
//! `cargo run -p whimbrel-mvcc --example many_stores`

use std::time::Instant;

use whimbrel_mvcc::{Batch, Clock, Collectors, Error, Store};

const SLOTS: usize = 16_384;

/// A slot by a hash of the key.
fn slot_of(key: &str) -> usize {
    let hash = key.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31) + usize::from(byte));
    hash % SLOTS
}

/// Bytes that are resident in this process, where the system says so.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

fn main() -> Result<(), Error> {
    let clock = Clock::new();
    let before = resident();
    let begin = Instant::now();
    let slots: Vec<Store> = (0..SLOTS).map(|_| Store::new(&clock)).collect();
    println!(
        "{SLOTS} stores in {:.1?}, {} bytes each",
        begin.elapsed(),
        resident().saturating_sub(before) / SLOTS
    );

    // A batch over several of them, all or nothing in every snapshot.
    let mut batch = Batch::new();
    for bird in ["avocet", "curlew", "dunlin", "knot", "whimbrel"] {
        batch.put(&slots[slot_of(bird)], bird, "wader");
    }
    batch.commit()?;

    // One number is one moment of all; the snapshots of single stores are made of it.
    let moment = clock.hold_named("all slots");
    slots[slot_of("knot")].put("knot", "changed since")?;
    let counts = slots.iter().map(|slot| slot.snapshot_at(&moment)).filter(|s| !s.is_empty());
    println!("{} slots have entries", counts.count());
    let knot = slots[slot_of("knot")].snapshot_at(&moment).get("knot");
    assert_eq!(knot.as_deref(), Some(&b"wader"[..]));

    // One worker collects for all of them, and the figures are of all.
    let workers = Collectors::start(&clock, 1);
    drop(moment);
    let stats = clock.stats();
    println!(
        "{} stores, {} entries, {} versions",
        stats.stores, stats.total.entries, stats.total.versions
    );
    assert_eq!((stats.stores, stats.total.entries), (SLOTS, 5));
    drop(workers);

    // Dropping a store is handing it to the barrier.
    let begin = Instant::now();
    drop(slots);
    println!("dropped in {:.1?}; {} stores are left", begin.elapsed(), clock.stats().stores);
    Ok(())
}
