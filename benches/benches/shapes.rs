//! Cases that must not be slow ones, each beside the random case: ascending and descending insertion, keys
//! with a long common prefix, one hot key and one hot block under two threads.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use whimbrel_benches::{Seeded, VALUE, ascending_keys, random_keys};
use whimbrel_mvcc::{Clock, Store};

const ENTRIES: usize = 200_000;
const WRITES: usize = 100_000;
const SEED: u64 = 7;

fn filled<K: AsRef<[u8]>>(keys: &[K]) -> Store {
    let store = Store::new(&Clock::new());
    for key in keys {
        store.put(key.as_ref(), &VALUE).expect("keys and values are short");
    }
    store
}

fn insertions(c: &mut Criterion) {
    let random = random_keys(ENTRIES, SEED);
    let ascending = ascending_keys(ENTRIES, SEED);
    let descending: Vec<_> = ascending.iter().rev().copied().collect();
    let long_prefix: Vec<Vec<u8>> =
        random.iter().map(|key| [&[b'/'; 48][..], &key[..]].concat()).collect();
    let mut group = c.benchmark_group("shapes/insert");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    let mut insert = |name: &str, keys: &[Vec<u8>]| {
        group.bench_function(name, |b| {
            b.iter_batched(|| (), |()| filled(keys), BatchSize::PerIteration);
        });
    };
    let owned = |keys: &[[u8; 16]]| keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>();
    insert("random", &owned(&random));
    insert("ascending", &owned(&ascending));
    insert("descending", &owned(&descending));
    insert("prefix_of_48", &long_prefix);
    group.finish();
}

/// Two threads put over keys of a store: any, one, or those of one block.
fn contention(c: &mut Criterion) {
    let keys = ascending_keys(ENTRIES, SEED);
    let store = filled(&keys);
    let mut group = c.benchmark_group("shapes/put_by_two_threads");
    group.sample_size(10).throughput(Throughput::Elements(2 * WRITES as u64));
    for (name, first, count) in
        [("random", 0, ENTRIES), ("one_key", ENTRIES / 2, 1), ("one_block", ENTRIES / 2, 32)]
    {
        let hot = &keys[first..first + count];
        group.bench_function(name, |b| {
            b.iter(|| {
                std::thread::scope(|scope| {
                    for thread in 0..2 {
                        let store = &store;
                        scope.spawn(move || {
                            let mut random = Seeded::new(SEED + thread);
                            for _ in 0..WRITES {
                                let key = &hot[random.below(hot.len())];
                                store.put(key, &VALUE).expect("keys and values are short");
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, insertions, contention);
criterion_main!(benches);
