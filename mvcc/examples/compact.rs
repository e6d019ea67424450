//! Measures what `Store::compact` gives back: resident memory after removals, and the time of reads
//! after overwrites. `cargo run --release -p whimbrel-mvcc --example compact -- ENTRIES CASE`, where
//! CASE is `range`, `random` or `churn`.

use std::time::Instant;

use whimbrel_mvcc::{Clock, Store};

/// Mixes a number into a key of 16 bytes.
fn key(n: u64) -> [u8; 16] {
    let mix = |seed: u64| {
        let mut x = (n ^ (seed << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mix(1).to_be_bytes());
    key[8..].copy_from_slice(&mix(2).to_be_bytes());
    key
}

/// Resident memory now in MiB; 0 where the system does not say.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / f64::from(1 << 20)
}

fn read(store: &Store, entries: u64) -> (f64, f64) {
    let begin = Instant::now();
    let found = (0..entries)
        .filter(|n| store.get_with(&key(n.wrapping_mul(7_368_787) % entries), |_| ()).is_some());
    let found = found.count();
    let get = begin.elapsed().as_nanos();
    let snapshot = store.snapshot();
    let begin = Instant::now();
    let mut cursor = snapshot.range(..);
    let (mut seen, mut sum) = (0_u64, 0_u64);
    while let Some((key, value)) = cursor.next_entry() {
        seen += 1;
        sum += u64::from(key[0]) + u64::from(value[0]);
    }
    let scan = begin.elapsed().as_nanos();
    assert!(sum > 0 && seen > 0 && found > 0, "nothing was read");
    let each = |nanos: u128| f64::from(u32::try_from(nanos / 1000).unwrap_or(u32::MAX)) * 1e3;
    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    (each(get) / entries as f64, each(scan) / seen as f64)
}

fn main() -> Result<(), whimbrel_mvcc::Error> {
    let mut args = std::env::args().skip(1);
    let entries: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let case = args.next().unwrap_or_else(|| "random".into());
    let start = resident();
    let store = Store::new(&Clock::new());
    for n in 0..entries {
        store.put(&key(n), &n.to_le_bytes())?;
    }
    let peak = resident();
    let show = |what: &str| {
        let now = resident();
        let stats = store.stats();
        println!(
            "{what:24} {now:8.1} MiB {:5.1} % of peak, {:5.1} % less the start; records {} KiB",
            100.0 * now / peak,
            100.0 * (now - start) / (peak - start),
            stats.record_bytes >> 10
        );
    };
    show("filled");
    if case == "churn" {
        println!("fresh: get, scan {:.0?} ns", read(&store, entries));
        for round in 1..4 {
            for n in 0..entries {
                store.put(&key(n), &(n + round).to_le_bytes())?;
            }
        }
        store.collect_all();
        show("churned");
        println!("churned: get, scan {:.0?} ns", read(&store, entries));
    } else {
        for n in 0..entries {
            let gone = if case == "range" { key(n)[0] < 230 } else { n % 10 != 0 };
            if gone {
                store.remove(&key(n))?;
            }
        }
        show("removed");
        store.collect_all();
        whimbrel_skiplist::memory::give_back();
        show("collected");
    }
    for _ in 0..args.next().and_then(|n| n.parse().ok()).unwrap_or(1) {
        let begin = Instant::now();
        let report = store.compact();
        println!("{:.0?}: {report:?}", begin.elapsed());
        show("compacted");
    }
    println!("compacted: get, scan {:.0?} ns", read(&store, entries));
    Ok(())
}
