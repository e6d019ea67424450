//! Goal: the bytes that a store reports are those that the process really holds, within 10 %: after
//! random insertion of short and of long entries, after three updates of each key, after three quarters of
//! the keys were removed, and after bulk loading.
//! Method: resident memory as the kernel counts it, before and after. One test only, since the count is
//! of the process.

#![cfg(all(target_os = "linux", not(whimbrel_system_memory), not(whimbrel_tsan)))]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};

const KEYS: u64 = 1_000_000;

/// What the process holds in allocations of the lists: nothing else grows in this test.
fn resident() -> u64 {
    whimbrel_skiplist::memory::give_back();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}

/// A key of 16 bytes and up to `longer`, in an order that is not that of the numbers.
fn key(number: u64, longer: u64) -> Vec<u8> {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut key = [mixed.to_be_bytes(), number.to_be_bytes()].concat();
    key.resize(16 + usize::try_from(mixed % (longer + 1)).unwrap(), b'.');
    key
}

/// Checks a store of which nothing was there when the process held `before`.
#[track_caller]
fn assert_close(what: &str, store: &Store, before: u64) {
    let (reported, held) = (store.stats().bytes(), resident() - before);
    let ratio = reported as f64 / held as f64;
    println!("{what}: reported {reported}, the process holds {held}: {ratio:.3}");
    assert!((0.9..=1.1).contains(&ratio), "{what}: reported {reported}, the process holds {held}");
}

#[test]
fn reported_bytes_are_those_that_the_process_holds() {
    // Arenas, tables and thread-locals that are there whatever a store holds.
    let clock = Clock::new();
    let warm = Store::new(&clock);
    (0..1000).for_each(|n| warm.put(&key(n, 0), &[0; 8]).unwrap());
    drop((warm, clock));

    let before = resident();
    let store = Store::new(&Clock::new());
    (0..KEYS).for_each(|n| store.put(&key(n, 0), &n.to_be_bytes()).unwrap());
    assert_close("16 + 8 bytes", &store, before);
    for round in 1..=3 {
        (0..KEYS).for_each(|n| store.put(&key(n, 0), &[round; 8]).unwrap());
    }
    store.collect();
    assert_close("updated three times", &store, before);
    store.compact();
    assert_close("compacted", &store, before);
    for n in 0..KEYS * 3 / 4 {
        store.remove(&key(n, 0)).unwrap();
    }
    store.compact();
    // Once more: copies of the first pass lie in the holes of pages that others left.
    store.compact();
    assert_close("a quarter is left", &store, before);
    drop(store);

    let before = resident();
    let store = Store::new(&Clock::new());
    for n in 0..KEYS / 8 {
        store.put(&key(n, 200), &vec![7; usize::try_from(n % 900).unwrap()]).unwrap();
    }
    assert_close("long keys and values", &store, before);
    drop(store);

    let before = resident();
    let keys = (0..KEYS).map(|n| <[u8; 16]>::try_from(key(n, 0)).unwrap());
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable();
    let mut builder = StoreSegmentBuilder::new();
    keys.iter().for_each(|key| builder.push(key, &[1; 8]).unwrap());
    let segments = vec![builder.finish()];
    let store = Store::from_segments(&Clock::new(), StoreOptions::new(), segments).unwrap();
    drop(keys);
    assert_close("loaded in bulk", &store, before);
}
