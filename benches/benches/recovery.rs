//! Restoring a backup by the linear-time rebuild, beside inserting the same entries one by one.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use whimbrel_backup::{ExportOptions, export};
use whimbrel_benches::{ascending_keys, store_by_puts, store_in_bulk};
use whimbrel_mvcc::Clock;
use whimbrel_recovery::{RestoreOptions, restore};

const ENTRIES: usize = 500_000;
const SEED: u64 = 7;

fn restores(c: &mut Criterion) {
    let keys = ascending_keys(ENTRIES, SEED);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let target = dir.path().join("backup");
    let snapshots = [("birds".to_owned(), store_in_bulk(&keys).snapshot())];
    export(&snapshots, &target, &ExportOptions::default()).expect("the directory is new");
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("restore", |b| {
        b.iter(|| {
            let restored = restore(&target, &Clock::new(), &RestoreOptions::default());
            assert_eq!(restored.expect("it is sound").stores[0].1.len_estimate(), ENTRIES);
        });
    });
    group.bench_function("the_same_by_ascending_puts", |b| b.iter(|| store_by_puts(&keys)));
    group.finish();
}

criterion_group!(benches, restores);
criterion_main!(benches);
