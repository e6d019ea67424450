//! The list in blocks beside the tower list and the standard library's `BTreeMap`.
//!
//! Goal: what one thread pays for an insertion, a lookup and an entry of a scan, each list in turn, and
//! the ratio to `BTreeMap` in the same run.
//! Method: `cargo bench --bench block_list [-- ENTRIES [KEYS]]`, KEYS = random16 (default), structured32
//! or ascending16; medians of three rounds of nanoseconds of processor time (so that strangers on the
//! machine disturb little). Values are 8 bytes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::{Bound, ControlFlow};
use std::time::Instant;

use whimbrel_skiplist::sync::Arc;
use whimbrel_skiplist::{Barrier, block};

/// Rounds of which the median counts.
const ROUNDS: usize = 3;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// Nanoseconds that this thread has run; wall time where the system does not tell.
fn now(start: Instant) -> u64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    told.and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn make_keys(kind: &str, entries: usize) -> Vec<Vec<u8>> {
    let mut random = Random(42);
    let mut keys: Vec<Vec<u8>> = Vec::with_capacity(entries);
    for at in 0..entries as u64 {
        let mut key = Vec::with_capacity(32);
        match kind {
            "structured32" => {
                key.extend_from_slice(b"tenant");
                key.extend_from_slice(&(random.next() % 500).to_be_bytes());
                key.extend_from_slice(b"u");
                key.extend_from_slice(&(random.next() % 2000).to_be_bytes());
                key.push(b'/');
                key.extend_from_slice(&random.next().to_be_bytes());
            }
            "ascending16" => {
                key.extend_from_slice(&at.to_be_bytes());
                key.extend_from_slice(&random.next().to_be_bytes());
            }
            _ => {
                key.extend_from_slice(&random.next().to_be_bytes());
                key.extend_from_slice(&random.next().to_be_bytes());
            }
        }
        keys.push(key);
    }
    keys
}

/// Nanoseconds an operation of one run.
struct Figures {
    insert: f64,
    get: f64,
    many: f64,
    miss: f64,
    scan: f64,
    bytes: f64,
}

type Contestant = (&'static str, fn(&Work) -> Figures);

struct Work {
    keys: Vec<Vec<u8>>,
    lookups: Vec<u32>,
}

macro_rules! run_list {
    ($name:ident, $list:ty, $many:expr) => {
        fn $name(work: &Work) -> Figures {
            let list = <$list>::new(Arc::new(Barrier::new()));
            let start = Instant::now();
            let per = |from: u64| (now(start) - from) as f64 / work.keys.len() as f64;
            let begin = now(start);
            for (at, key) in work.keys.iter().enumerate() {
                let g = list.barrier().pin();
                let made = list.find_or_insert(
                    key,
                    8,
                    |to| {
                        // SAFETY: the inline part is 8 bytes, aligned to 8.
                        unsafe { to.cast::<u64>().write(at as u64) };
                        8
                    },
                    &g,
                );
                black_box(made.expect("short keys"));
            }
            let insert = per(begin);
            let begin = now(start);
            for at in &work.lookups {
                let g = list.barrier().pin();
                let record = list.find(&work.keys[*at as usize], &g).expect("it was inserted");
                // SAFETY: written when the record was made.
                black_box(unsafe { record.inline().cast::<u64>().read() });
            }
            let get = per(begin);
            let begin = now(start);
            for at in &work.lookups {
                let g = list.barrier().pin();
                let mut key = [0_u8; 32];
                let stored = &work.keys[*at as usize];
                key[..stored.len()].copy_from_slice(stored);
                key[stored.len() - 1] ^= 1;
                black_box(list.find(&key[..stored.len()], &g));
            }
            let miss = per(begin);
            let begin = now(start);
            let many = if $many(&list, work) { per(begin) } else { f64::NAN };
            let begin = now(start);
            let g = list.barrier().pin();
            let (mut count, mut sum) = (0, 0_u64);
            list.walk(Bound::Unbounded, &g, |record| {
                count += 1;
                // SAFETY: written when the record was made.
                let value = unsafe { record.inline().cast::<u64>().read() };
                sum = sum.wrapping_add(value).wrapping_add(u64::from(record.key()[0]));
                ControlFlow::Continue(())
            });
            assert_eq!(count, work.keys.len());
            black_box(sum);
            let scan = per(begin);
            drop(g);
            let bytes = list.bytes() as f64 / work.keys.len() as f64;
            Figures { insert, get, many, miss, scan, bytes }
        }
    };
}

run_list!(run_towers, whimbrel_skiplist::List, |_: &whimbrel_skiplist::List, _: &Work| false);
run_list!(run_blocks, block::List, |list: &block::List, work: &Work| {
    let mut found = 0;
    for group in work.lookups.chunks(16) {
        let g = list.barrier().pin();
        let mut keys: [&[u8]; 16] = [&[]; 16];
        for (key, at) in keys.iter_mut().zip(group) {
            *key = &work.keys[*at as usize];
        }
        list.find_many(&keys[..group.len()], &g, |_, record| {
            let record = record.expect("it was inserted");
            // SAFETY: written when the record was made.
            black_box(unsafe { record.inline().cast::<u64>().read() });
            found += 1;
        });
    }
    found == work.lookups.len()
});

fn run_btree(work: &Work) -> Figures {
    let mut map: BTreeMap<Box<[u8]>, u64> = BTreeMap::new();
    let start = Instant::now();
    let per = |from: u64| (now(start) - from) as f64 / work.keys.len() as f64;
    let begin = now(start);
    for (at, key) in work.keys.iter().enumerate() {
        map.insert(key.as_slice().into(), at as u64);
    }
    let insert = per(begin);
    let begin = now(start);
    for at in &work.lookups {
        black_box(map[work.keys[*at as usize].as_slice()]);
    }
    let get = per(begin);
    let begin = now(start);
    for at in &work.lookups {
        let mut key = [0_u8; 32];
        let stored = &work.keys[*at as usize];
        key[..stored.len()].copy_from_slice(stored);
        key[stored.len() - 1] ^= 1;
        black_box(map.get(&key[..stored.len()]));
    }
    let miss = per(begin);
    let begin = now(start);
    let mut sum = 0_u64;
    for (key, value) in &map {
        sum = sum.wrapping_add(*value).wrapping_add(u64::from(key[0]));
    }
    black_box(sum);
    Figures { insert, get, many: f64::NAN, miss, scan: per(begin), bytes: f64::NAN }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    // Under `cargo test` only a small run shows that it works.
    let testing = std::env::args().any(|argument| argument == "--test");
    let entries = arguments.first().and_then(|text| text.parse().ok());
    let entries: usize = entries.unwrap_or(if testing { 5_000 } else { 1_000_000 });
    let kind = arguments.get(1).map_or("random16", String::as_str);
    let mut random = Random(7);
    let keys = make_keys(kind, entries);
    let count = u32::try_from(entries).expect("fewer than 4 billion entries");
    let lookups = (0..entries)
        .map(|_| u32::try_from(random.next() % u64::from(count)).expect("below a u32"))
        .collect();
    let work = Work { keys, lookups };
    let contestants: [Contestant; 3] =
        [("std-btreemap", run_btree), ("towers", run_towers), ("blocks", run_blocks)];
    let mut all: Vec<Vec<Figures>> = contestants.iter().map(|_| Vec::new()).collect();
    let only = std::env::var("ONLY").unwrap_or_default();
    for _ in 0..ROUNDS {
        for ((name, run), figures) in contestants.iter().zip(&mut all) {
            if name.contains(&only) {
                figures.push(run(&work));
            }
        }
    }
    println!("{entries} keys, {kind}; ns an operation, median of {ROUNDS}");
    println!(
        "{:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "", "insert", "get", "get x16", "miss", "scan", "bytes"
    );
    for ((name, _), figures) in contestants.iter().zip(&all) {
        if figures.is_empty() {
            continue;
        }
        let of = |field: fn(&Figures) -> f64| median(figures.iter().map(field).collect());
        println!(
            "{name:<14}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{:>9.1}{:>9.1}",
            of(|f| f.insert),
            of(|f| f.get),
            of(|f| f.many),
            of(|f| f.miss),
            of(|f| f.scan),
            of(|f| f.bytes)
        );
    }
}
