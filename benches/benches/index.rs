//! The engine: loading, updating and asking documents with three indexes.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use whimbrel::{Collection, CollectionDef, Document, Engine, IndexDef};
use whimbrel_benches::Seeded;

const DOCUMENTS: usize = 50_000;
const SEED: u64 = 7;

fn definition() -> CollectionDef {
    CollectionDef::new("cities")
        .index(IndexDef::new("by_name").asc("name"))
        .index(IndexDef::new("by_country").asc("country").desc("population"))
        .index(IndexDef::new("by_alias").multi("aliases"))
}

fn document(random: &mut Seeded) -> Document {
    let country = format!("C{}", random.below(200));
    let population = i64::try_from(random.below(10_000_000)).expect("below ten million");
    let name = format!("{:012x}", random.next_u64() >> 16);
    Document::new()
        .set("name", name.as_str())
        .set("country", country.as_str())
        .set("population", population)
        .set_many("aliases", [format!("{name}-a"), format!("{name}-b")])
}

fn documents() -> Vec<(String, Document)> {
    let mut random = Seeded::new(SEED);
    (0..DOCUMENTS).map(|id| (id.to_string(), document(&mut random))).collect()
}

fn loaded() -> (Engine, Collection) {
    let engine = Engine::new();
    let loaded = engine.bulk_load(definition(), documents());
    let (cities, _) = loaded.expect("the definition and the documents are sound");
    (engine, cities)
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    group.sample_size(10).throughput(Throughput::Elements(DOCUMENTS as u64));
    group.bench_function("bulk_load", |b| b.iter(loaded));
    let (_engine, cities) = loaded();
    let mut random = Seeded::new(SEED + 1);
    group.throughput(Throughput::Elements(1));
    group.bench_function("update", |b| {
        b.iter(|| {
            let id = random.below(DOCUMENTS).to_string();
            cities.update(&id, &document(&mut random)).expect("the document is sound");
        });
    });
    group.finish();
}

fn queries(c: &mut Criterion) {
    let (_engine, cities) = loaded();
    let view = cities.view();
    let mut random = Seeded::new(SEED + 2);
    let mut group = c.benchmark_group("index");
    group.bench_function("ten_largest_of_a_country", |b| {
        b.iter(|| {
            let country = format!("C{}", random.below(200));
            let query = view.query("by_country").expect("it is defined");
            black_box(query.eq([country.as_str()]).limit(10).fetch().expect("the query is sound"))
        });
    });
    group.bench_function("count_of_a_country", |b| {
        b.iter(|| {
            let country = format!("C{}", random.below(200));
            let query = view.query("by_country").expect("it is defined");
            black_box(query.eq([country.as_str()]).count().expect("the query is sound"))
        });
    });
    group.finish();
}

criterion_group!(benches, writes, queries);
criterion_main!(benches);
