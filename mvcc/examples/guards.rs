//! Values without copies: for one call, for a scan, and under a guard.
//!
//! `cargo run -p whimbrel-mvcc --example guards`

use std::ops::ControlFlow;

use whimbrel_mvcc::{Clock, Error, Guard, Store};

/// The longer one of two values, borrowed: it lives as long as the guard, not as long as the store.
fn longer<'g>(store: &'g Store, keys: [&str; 2], guard: &'g Guard<'_>) -> Option<&'g [u8]> {
    keys.into_iter().filter_map(|key| store.get_ref(key, guard)).max_by_key(|value| value.len())
}

fn main() -> Result<(), Error> {
    let clock = Clock::new();
    let store = Store::new(&clock);
    store.put("short", [1; 10])?;
    store.put("long", vec![2; 10_000_000])?;

    // For one call. The value is in the store's memory; nothing of 10 MB is copied.
    println!("long: {:?} bytes", store.get_with("long", <[u8]>::len));

    // Several at once. A guard keeps all memory that is retired meanwhile, so it lives for moments.
    let guard = clock.pin();
    let value = longer(&store, ["short", "long"], &guard);
    // Another thread may overwrite or remove it: what was read stays readable.
    std::thread::scope(|scope| scope.spawn(|| store.put("long", "now short")).join().ok());
    println!("still {:?} bytes under the guard", value.map(<[u8]>::len));
    assert_eq!(value.map(<[u8]>::len), Some(10_000_000));
    drop(guard);

    // And then it goes.
    store.collect_all();
    let stats = store.clock().stats();
    println!(
        "{} bytes of versions, {} not reclaimed",
        stats.total.version_bytes, stats.unreclaimed.bytes
    );
    assert_eq!(stats.unreclaimed.bytes, 0);

    // A scan lends each entry for one call, in sessions of at most 4096 records.
    store.extend((0..10_000_u32).map(|n| (n.to_be_bytes(), [n.to_le_bytes()[0]; 50])))?;
    let (mut entries, mut bytes) = (0, 0);
    store.snapshot().scan(.., |key, value| {
        entries += 1;
        bytes += key.len() + value.len();
        if entries == 5_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    println!("{bytes} bytes in the first {entries} entries");
    Ok(())
}
