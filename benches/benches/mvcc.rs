//! The store: what versions add to the list, snapshots, batches, cursors, collection.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use whimbrel_benches::{Seeded, VALUE, ascending_keys, random_keys, store_by_puts, store_in_bulk};
use whimbrel_mvcc::Batch;

const ENTRIES: usize = 200_000;
const SEED: u64 = 7;
fn points(c: &mut Criterion) {
    let keys = random_keys(ENTRIES, SEED);
    let mut group = c.benchmark_group("mvcc");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("put_new", |b| {
        b.iter_batched(|| (), |()| store_by_puts(&keys), BatchSize::PerIteration);
    });
    let store = store_by_puts(&keys);
    let mut random = Seeded::new(SEED + 1);
    let order: Vec<usize> = (0..ENTRIES).map(|_| random.below(ENTRIES)).collect();
    group.bench_function("put_over", |b| {
        b.iter(|| {
            for &at in &order {
                store.put(&keys[at], &VALUE).expect("keys and values are short");
            }
        });
    });
    group.bench_function("get", |b| {
        b.iter(|| {
            for &at in &order {
                assert!(store.get_with(black_box(&keys[at]), |value| value.len()).is_some());
            }
        });
    });
    let snapshot = store.snapshot();
    group.bench_function("get_snapshot", |b| {
        b.iter(|| {
            for &at in &order {
                assert!(snapshot.get_with(black_box(&keys[at]), |value| value.len()).is_some());
            }
        });
    });
    group.finish();
}

fn snapshots(c: &mut Criterion) {
    let store = store_by_puts(&random_keys(ENTRIES, SEED));
    let mut group = c.benchmark_group("mvcc");
    group.bench_function("snapshot", |b| b.iter(|| black_box(store.snapshot())));
    let snapshot = store.snapshot();
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("scan", |b| {
        b.iter(|| {
            let mut cursor = snapshot.range(..);
            let mut seen = 0;
            while let Some((key, _)) = cursor.next_entry() {
                seen += black_box(key.len());
            }
            assert_eq!(seen, ENTRIES * 16);
        });
    });
    group.finish();
}

fn batches(c: &mut Criterion) {
    let keys = random_keys(ENTRIES, SEED);
    let store = store_by_puts(&keys);
    let mut group = c.benchmark_group("mvcc");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("batch_of_10", |b| {
        b.iter(|| {
            for ten in keys.chunks(10) {
                let mut batch = Batch::new();
                for key in ten {
                    batch.put(&store, *key, VALUE);
                }
                batch.commit().expect("a batch without a precondition takes effect");
            }
        });
    });
    group.finish();
}

fn ends(c: &mut Criterion) {
    let ascending = ascending_keys(ENTRIES, SEED);
    let mut group = c.benchmark_group("mvcc");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("remove_and_collect", |b| {
        b.iter_batched(
            || store_by_puts(&ascending),
            |store| {
                for key in &ascending {
                    store.remove(key).expect("the key is short");
                }
                store.collect_all();
                assert_eq!(store.snapshot().len(), 0);
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("bulk_build", |b| {
        b.iter(|| store_in_bulk(&ascending));
    });
    group.finish();
}

criterion_group!(benches, points, snapshots, batches, ends);
criterion_main!(benches);
