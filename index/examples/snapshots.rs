//! Two threads move money between accounts; every snapshot shows the same sum, and a snapshot held
//! all the time goes on showing its moment.
//!
//! `cargo run -p whimbrel --example snapshots`

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use whimbrel::{CollectionDef, CollectionView, Document, Engine, Error, IndexDef, Value};

const ACCOUNTS: u64 = 100;
const EACH: i64 = 1_000;

/// Account and partner share one document, so that one update moves money between them.
fn pair(left: i64) -> Document {
    Document::new().set_many("balance", [left, 2 * EACH - left]).set("total", 2 * EACH)
}

fn totals(view: &CollectionView) -> Result<(i64, u64), Error> {
    let mut sum = 0;
    let mut entries = 0;
    for row in view.query("by_balance")?.rows()? {
        let row = row?;
        sum += row.get("balance").and_then(Value::as_int).unwrap_or_default();
        entries += 1;
    }
    Ok((sum, entries))
}

fn main() -> Result<(), Error> {
    let engine = Engine::new();
    let accounts = engine.create_collection(
        CollectionDef::new("accounts").index(IndexDef::new("by_balance").multi("balance")),
    )?;
    for account in 0..ACCOUNTS {
        accounts.update(account.to_be_bytes(), &pair(EACH - 1))?;
    }
    let held = engine.snapshot();
    let before = totals(&held.collection("accounts")?)?;
    let (stop, moves) = (AtomicBool::new(false), AtomicU64::new(0));

    thread::scope(|scope| -> Result<(), Error> {
        let writers: Vec<_> = (0..2u64)
            .map(|seed| {
                let (accounts, stop, moves) = (&accounts, &stop, &moves);
                scope.spawn(move || -> Result<(), Error> {
                    let mut x = seed + 1;
                    // ORDERING: Relaxed; a flag that ends the loop, nothing is read because of it.
                    while !stop.load(Ordering::Relaxed) {
                        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040);
                        let left = i64::try_from(x >> 40).unwrap_or_default() % 999;
                        accounts.update((x >> 33 & 63).to_be_bytes(), &pair(left))?;
                        // ORDERING: Relaxed; a count that is read after the join.
                        moves.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let started = Instant::now();
        let mut looked = 0;
        while started.elapsed() < Duration::from_millis(500) {
            let now = totals(&engine.snapshot().collection("accounts")?)?;
            assert_eq!(now, before, "money appeared or vanished");
            assert_eq!(totals(&held.collection("accounts")?)?, before, "the held snapshot moved");
            looked += 1;
        }
        // ORDERING: Relaxed; as where it is read.
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer does not panic")?;
        }
        // ORDERING: Relaxed; the writers have been joined.
        let moves = moves.load(Ordering::Relaxed);
        println!("{moves} updates beside {looked} snapshots; each showed {before:?}");
        Ok(())
    })
}
