//! What the machine does with the same bytes without us: copies them, packs, unpacks and checks them.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use whimbrel_backup::Backup;
use whimbrel_backup::shard::{self, Buffers};
use whimbrel_benches::bars::Row;
use whimbrel_benches::measure::{float, time};

/// Bytes that LZ4 is given at once, as in a block.
const BLOCK: usize = 60 << 10;

/// Rates of copying, packing, unpacking and checksumming on that many threads, in the bytes that go in (of
/// unpacking: that come out). `sample` is what stands in the blocks.
pub(crate) fn rates(sample: &[u8], threads: usize) -> Vec<Row> {
    let packed: Vec<Vec<u8>> = sample.chunks(BLOCK).map(lz4_flex::block::compress).collect();
    let bytes = float((sample.len() * threads) as u64);
    // Copied into, and written before: into fresh memory it would be the rate of page faults.
    let copies: Vec<Mutex<Vec<u8>>> =
        (0..threads).map(|_| Mutex::new(black_box(sample.to_vec()))).collect();
    let rate = |what: &str, work: &(dyn Fn(usize) + Sync)| {
        work(0);
        let took = on_threads(threads, work);
        Row::figure(format!("{what}, {threads} threads"), bytes / took.as_secs_f64() / 1e9, "GB/s")
    };
    vec![
        rate("memcpy", &|thread| {
            let mut copy = copies[thread].lock().expect("each thread has its own");
            copy.copy_from_slice(sample);
            black_box(&mut copy);
        }),
        rate("LZ4, packing", &|_| {
            sample
                .chunks(BLOCK)
                .for_each(|block| drop(black_box(lz4_flex::block::compress(block))));
        }),
        rate("LZ4, unpacking", &|_| {
            let mut out = vec![0; BLOCK];
            for block in &packed {
                black_box(lz4_flex::block::decompress_into(block, &mut out).expect("as packed"));
            }
        }),
        rate("CRC-32C", &|_| {
            black_box(crc32c::crc32c(sample));
        }),
    ]
}

fn on_threads(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let work = &work;
    let (took, ()) = time(|| {
        std::thread::scope(|scope| {
            (0..threads).for_each(|thread| drop(scope.spawn(move || work(thread))));
        });
    });
    took
}

/// The files of a backup in memory, by name.
pub(crate) fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let backup = Backup::open(dir).expect("it was just written");
    let files = backup.manifest().files();
    files
        .map(|(_, _, record)| {
            (record.file.clone(), fs::read(backup.path(record)).expect("it is there"))
        })
        .collect()
}

/// The time of checksumming and decompressing every block, on that many threads. Entries are not walked.
pub(crate) fn decode_all(files: &[(String, Vec<u8>)], threads: usize) -> Duration {
    let next = AtomicUsize::new(0);
    on_threads(threads, |_| {
        let mut buffers = Buffers::default();
        // ORDERING: Relaxed; each number is given out once, and nothing is published.
        while let Some((name, bytes)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = shard::open(&bytes[..], name).expect("it was just written");
            for number in 0..file.blocks() {
                black_box(file.block(number, &mut buffers).expect("it is sound").len());
            }
        }
    })
}
