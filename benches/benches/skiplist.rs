//! The list alone: point operations, walks, bulk building, and what entering the barrier costs.

use std::hint::black_box;
use std::ops::{Bound, ControlFlow};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use whimbrel_benches::{Seeded, ascending_keys, random_keys};
use whimbrel_skiplist::{Barrier, List, SegmentBuilder, sync::Arc};

const ENTRIES: usize = 200_000;
const SEED: u64 = 7;

fn filled(keys: &[[u8; 16]]) -> List {
    let list = List::new(Arc::new(Barrier::new()));
    for key in keys {
        let guard = list.barrier().pin();
        list.find_or_insert(key, 0, |_| 8, &guard).expect("the key is short");
    }
    list
}

fn barrier(c: &mut Criterion) {
    let barrier = Barrier::new();
    c.bench_function("skiplist/pin", |b| {
        b.iter(|| {
            black_box(barrier.pin());
        });
    });
}

fn points(c: &mut Criterion) {
    let keys = random_keys(ENTRIES, SEED);
    let mut group = c.benchmark_group("skiplist");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("insert", |b| {
        b.iter_batched(|| (), |()| filled(&keys), BatchSize::PerIteration);
    });
    let list = filled(&keys);
    let mut random = Seeded::new(SEED + 1);
    let order: Vec<usize> = (0..ENTRIES).map(|_| random.below(ENTRIES)).collect();
    group.bench_function("find", |b| {
        b.iter(|| {
            for &at in &order {
                let guard = list.barrier().pin();
                assert!(list.find(black_box(&keys[at]), &guard).is_some());
            }
        });
    });
    group.finish();
}

fn walks(c: &mut Criterion) {
    let list = filled(&random_keys(ENTRIES, SEED));
    let mut group = c.benchmark_group("skiplist");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    for (name, back) in [("walk", false), ("walk_back", true)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let guard = list.barrier().pin();
                let mut seen = 0;
                let count = |record: whimbrel_skiplist::Record<'_>| {
                    seen += black_box(record.key().len());
                    ControlFlow::Continue(())
                };
                if back {
                    list.walk_back(Bound::Unbounded, &guard, count);
                } else {
                    list.walk(Bound::Unbounded, &guard, count);
                }
                assert_eq!(seen, ENTRIES * 16);
            });
        });
    }
    group.finish();
}

fn bulk(c: &mut Criterion) {
    let keys = ascending_keys(ENTRIES, SEED);
    let mut group = c.benchmark_group("skiplist");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("bulk_build", |b| {
        b.iter(|| {
            let mut builder = SegmentBuilder::new();
            for key in &keys {
                builder.push(key, 0, |_| 8).expect("the keys ascend");
            }
            let list = List::from_segments(Arc::new(Barrier::new()), vec![builder.finish()]);
            assert_eq!(list.expect("one segment").len_estimate(), ENTRIES);
        });
    });
    group.finish();
}

criterion_group!(benches, barrier, points, walks, bulk);
criterion_main!(benches);
