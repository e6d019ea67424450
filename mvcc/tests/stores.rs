//! Goal: a process may have thousands of stores: one that is empty takes at most a kibibyte of it, one that
//! became empty not much more, and a store that is used takes what it needs.
//! Method: resident memory as the kernel counts it, so what the allocators lose is in it. One test only,
//! since the count is of the process.

#![cfg(all(target_os = "linux", not(whimbrel_system_memory), not(whimbrel_tsan)))]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::ops::Bound;

use whimbrel_mvcc::{Clock, CompactReport, Store};

/// The slots of a cluster.
const STORES: usize = 16_384;

/// Bytes that an empty store may take.
const MOST: usize = 1024;

fn resident() -> usize {
    whimbrel_skiplist::memory::give_back();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}

#[test]
fn an_empty_store_takes_at_most_a_kibibyte() {
    let clock = Clock::new();
    // What is there whatever stores there are.
    let first: Vec<Store> = (0..64).map(|_| Store::new(&clock)).collect();
    first.iter().for_each(|store| store.put("key", "value").unwrap());
    let mut stores = Vec::with_capacity(STORES);
    stores.resize_with(STORES, || None);
    let before = resident();
    let each = |what: &str| {
        let bytes = (resident() - before) / STORES;
        println!("{what}: {bytes} bytes a store");
        bytes
    };

    stores.iter_mut().for_each(|store| *store = Some(Store::new(&clock)));
    let empty = each("empty");
    let stores: Vec<&Store> = stores.iter().flatten().collect();
    for store in &stores {
        store.put("key", "value").unwrap();
    }
    let one = each("of one entry");
    for store in &stores {
        (0..20_u8).for_each(|n| store.put([n], "value").unwrap());
    }
    let more = each("of 21 entries");
    for store in &stores {
        (0..20_u8).for_each(|n| _ = store.remove([n]).unwrap());
        store.remove("key").unwrap();
        store.collect();
        store.compact_some(Bound::Unbounded, &mut CompactReport::default());
    }
    let emptied = each("emptied and compacted");
    assert_eq!(clock.stats().total.entries, 64);

    assert!(empty <= MOST, "{empty} bytes for an empty store");
    assert!(one <= empty + 160, "{one} bytes for a store of one entry");
    assert!(more <= empty + 1_500, "{more} bytes for a store of 21 entries");
    // Pages of the allocator that are not empty yet, and what the collector keeps room for, are left.
    assert!(emptied <= empty + 1_500, "{emptied} bytes for a store that was emptied");
    assert!(stores.iter().all(|store| store.stats().bytes() <= 256), "small blocks again");
}
