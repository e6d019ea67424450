//! What a slot costs an operation: hashing its key, passing the gate.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use whimbrel_benches::random_keys;
use whimbrel_migrate::{AccessKind, Gate, slot_of};
use whimbrel_mvcc::Clock;

fn slots(c: &mut Criterion) {
    let keys = random_keys(1024, 7);
    let mut group = c.benchmark_group("migrate");
    let mut next = 0;
    group.bench_function("slot_of_16_bytes", |b| {
        b.iter(|| {
            next = (next + 1) % keys.len();
            black_box(slot_of(&keys[next]))
        });
    });
    let (clock, gate) = (Clock::new(), Gate::new());
    gate.open(1);
    group.bench_function("pin_and_gate", |b| {
        b.iter(|| {
            let guard = clock.pin();
            black_box(gate.enter(&guard, AccessKind::Write)).expect("the gate is open");
        });
    });
    group.finish();
}

criterion_group!(benches, slots);
criterion_main!(benches);
