//! Parsing of pipelined requests.

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use whimbrel_node::resp::{Limits, RequestParser};

const REQUESTS: usize = 1000;

fn parsing(c: &mut Criterion) {
    let one = b"*3\r\n$3\r\nSET\r\n$16\r\n0123456789abcdef\r\n$8\r\nwhimbrel\r\n";
    let pipelined = BytesMut::from(one.repeat(REQUESTS).as_slice());
    let mut group = c.benchmark_group("node");
    group.throughput(Throughput::Elements(REQUESTS as u64));
    group.bench_function("parse_set", |b| {
        b.iter_batched(
            || (RequestParser::new(Limits::default()), pipelined.clone()),
            |(mut parser, mut buffer)| {
                let mut seen = 0;
                while parser.next(&mut buffer).expect("they are well formed").is_some() {
                    seen += 1;
                }
                assert_eq!(seen, REQUESTS);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, parsing);
criterion_main!(benches);
