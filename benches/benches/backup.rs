//! Export of a snapshot to a directory, and reading every byte of it back.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use whimbrel_backup::{ExportOptions, export, verify};
use whimbrel_benches::{ascending_keys, random_keys, store_by_puts, store_in_bulk};

const ENTRIES: usize = 500_000;
const SEED: u64 = 7;

fn exports(c: &mut Criterion) {
    let mut group = c.benchmark_group("backup");
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES as u64));
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, store) in [
        ("export_bulk_built", store_in_bulk(&ascending_keys(ENTRIES, SEED))),
        ("export_built_by_puts", store_by_puts(&random_keys(ENTRIES, SEED))),
    ] {
        let snapshots = [("birds".to_owned(), store.snapshot())];
        let mut round = 0;
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    round += 1;
                    dir.path().join(format!("{name}-{round}"))
                },
                |target| {
                    let report = export(&snapshots, &target, &ExportOptions::default());
                    assert_eq!(report.expect("the directory is new").entries, ENTRIES as u64);
                    std::fs::remove_dir_all(target).expect("it was just written");
                },
                BatchSize::PerIteration,
            );
        });
    }
    let store = store_in_bulk(&ascending_keys(ENTRIES, SEED));
    let target = dir.path().join("verified");
    let snapshots = [("birds".to_owned(), store.snapshot())];
    export(&snapshots, &target, &ExportOptions::default()).expect("the directory is new");
    group.bench_function("verify", |b| {
        b.iter(|| assert_eq!(verify(&target).expect("it is sound").entries, ENTRIES as u64));
    });
    group.finish();
}

criterion_group!(benches, exports);
criterion_main!(benches);
