//! The bars.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use whimbrel_backup::{ExportOptions, ExportReport, Work, export};
use whimbrel_benches::bars::Row;
use whimbrel_benches::measure::{float, median, time};
use whimbrel_benches::{Seeded, VALUE, ascending_keys, random_keys, store_by_puts, store_in_bulk};
use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};
use whimbrel_recovery::{BackupView, RestoreOptions, restore};

use crate::raw::{decode_all, files, rates};
use crate::{Size, strings};

/// The first argument of the process that restores what another one wrote.
pub(crate) const FRESH: &str = "fresh";

/// Bytes that the rates of the machine are measured on.
const SAMPLE: usize = 64 << 20;

const SEED: u64 = 7;

pub(crate) struct Bar {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Size) -> Vec<Row>,
}

pub(crate) const BARS: &[Bar] = &[
    Bar { name: "export", run: exports },
    Bar { name: "writers", run: writers },
    Bar { name: "restore", run: restores },
    Bar { name: "open", run: open },
    Bar { name: "strings", run: real_strings },
    Bar { name: "flat", run: flat },
    Bar { name: "whole", run: whole },
];

/// A directory that holds one backup after the other.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("backup")
    }

    /// A fresh backup of the store, and how long it took until it was durable.
    fn export(&self, store: &Store, threads: usize) -> (Duration, ExportReport) {
        let _ = std::fs::remove_dir_all(self.dir());
        let snapshots = [("s".to_owned(), store.snapshot())];
        let options = ExportOptions::default().with_work(Work::default().with_threads(threads));
        let (took, report) = time(|| export(&snapshots, &self.dir(), &options));
        (took, report.expect("the directory is new"))
    }
}

fn restored(dir: &Path, threads: usize) -> (Duration, Store) {
    let options = RestoreOptions::default().with_work(Work::default().with_threads(threads));
    let (took, restored) = time(|| restore(dir, &Clock::new(), &options));
    let (_, store) = restored.expect("it is sound").stores.remove(0);
    (took, store)
}

/// Millions a second.
fn rate(entries: usize, took: Duration) -> f64 {
    float(entries as u64) / took.as_secs_f64() / 1e6
}

/// Bytes like those of the entries: keys in order, and values.
fn sample(keys: &[[u8; 16]]) -> Vec<u8> {
    let entries = keys.iter().flat_map(|key| key.iter().chain(&VALUE).copied());
    entries.take(SAMPLE).collect()
}

fn exports(size: &Size) -> Vec<Row> {
    let keys = ascending_keys(size.entries, SEED);
    let (bulk, random) = (store_in_bulk(&keys), store_by_puts(&random_keys(size.entries, SEED)));
    let place = Place::new();
    let (mut of_bulk, mut of_random, mut of_one) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        of_bulk.push(rate(size.entries, place.export(&bulk, size.threads).0));
        of_random.push(rate(size.entries, place.export(&random, size.threads).0));
        of_one.push(rate(size.entries, place.export(&bulk, 1).0));
    }
    let mut rows = vec![
        Row::at_least("export, list loaded in bulk", 20.0, median(of_bulk), "M entries/s"),
        Row::at_least("export, list built in random order", 10.0, median(of_random), "M entries/s"),
        Row::figure("export, loaded in bulk, one thread", median(of_one), "M entries/s"),
    ];
    rows.extend(rates(&sample(&keys), size.threads));
    rows
}

/// One writer overwrites at random, without and beside an export by one worker.
fn writers(size: &Size) -> Vec<Row> {
    let keys = random_keys(size.entries, SEED);
    let store = store_by_puts(&keys);
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let place = Place::new();
    let mut ratios = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = Seeded::new(1);
            // ORDERING: Relaxed; the flag ends the loop and the count is a figure, neither publishes.
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..256 {
                    let key = &keys[random.below(keys.len())];
                    store.put(key, &VALUE).expect("keys and values are short");
                }
                // ORDERING: Relaxed; as above.
                done.fetch_add(256, Ordering::Relaxed);
            }
        });
        // ORDERING: Relaxed; as above.
        let so_far = || (Instant::now(), done.load(Ordering::Relaxed));
        let rate_since = |(begin, before): (Instant, u64)| {
            let (now, after) = so_far();
            float(after - before) / (now - begin).as_secs_f64()
        };
        for _ in 0..size.rounds {
            let begin = so_far();
            let (took, _) = place.export(&store, 1);
            let beside = rate_since(begin);
            let begin = so_far();
            std::thread::sleep(took);
            ratios.push(100.0 * beside / rate_since(begin));
        }
        // ORDERING: Relaxed; as above.
        stop.store(true, Ordering::Relaxed);
    });
    let what = "a writer beside one export worker, of alone";
    vec![Row::at_least(what, 75.0, median(ratios), "%")]
}

fn restores(size: &Size) -> Vec<Row> {
    let keys = ascending_keys(size.entries, SEED);
    let place = Place::new();
    place.export(&store_in_bulk(&keys), size.threads);
    let in_memory = files(&place.dir());
    let (mut rates_of, mut over_raw, mut verifies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let (took, store) = restored(&place.dir(), size.threads);
        assert_eq!(store.len_estimate(), size.entries, "all of it");
        drop(store);
        let raw = decode_all(&in_memory, size.threads);
        rates_of.push(rate(size.entries, took));
        over_raw.push(took.as_secs_f64() / raw.as_secs_f64());
        let work = Work::default().with_threads(size.threads);
        let (took, report) = time(|| whimbrel_backup::verify_with(&place.dir(), &work));
        assert_eq!(report.expect("it is sound").entries, size.entries as u64, "all of it");
        verifies.push(rate(size.entries, took));
    }
    let random = random_keys(size.entries, SEED);
    let (took, inserted) = time(|| insert_on_threads(&random, size.threads));
    drop(inserted);
    let (restore, insert) = (median(rates_of), rate(size.entries, took));
    let mut rows = vec![
        Row::at_least("restore of a full backup", 25.0, restore, "M entries/s"),
        Row::at_least("restore, of inserting on as many threads", 12.0, restore / insert, "x"),
        Row::at_most("restore, of unpacking and checksumming", 5.0, median(over_raw), "x"),
        Row::figure("verify", median(verifies), "M entries/s"),
    ];
    rows.extend(rates(&sample(&keys), size.threads));
    rows
}

fn insert_on_threads(keys: &[[u8; 16]], threads: usize) -> Store {
    let store = Store::new(&Clock::new());
    std::thread::scope(|scope| {
        for part in keys.chunks(keys.len().div_ceil(threads)) {
            let store = &store;
            scope.spawn(move || {
                for key in part {
                    store.put(key, &VALUE).expect("keys and values are short");
                }
            });
        }
    });
    store
}

fn open(size: &Size) -> Vec<Row> {
    let keys = ascending_keys(size.entries, SEED);
    let place = Place::new();
    place.export(&store_in_bulk(&keys), size.threads);
    let mut random = Seeded::new(3);
    let (mut opens, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds.max(9) {
        let key = keys[random.below(keys.len())];
        let (took, found) = time(|| {
            let view = BackupView::open(&place.dir()).expect("it is sound");
            view.store("s").and_then(|store| store.get(&key)).expect("it is sound")
        });
        assert_eq!(found.as_deref(), Some(&VALUE[..]), "it is there");
        opens.push(took.as_secs_f64() * 1e3);
    }
    let view = BackupView::open(&place.dir()).expect("it is sound");
    let store = view.store("s").expect("it is there");
    for _ in 0..2000 {
        let key = keys[random.below(keys.len())];
        let (took, found) = time(|| store.get(&key));
        black_box(found.expect("it is sound"));
        gets.push(took.as_secs_f64() * 1e6);
    }
    let (took, read) = time(|| store.range(..).entries().filter(Result::is_ok).count());
    assert_eq!(read, size.entries, "all of it");
    vec![
        Row::at_most("open read-only to first answer", 20.0, median(opens), "ms"),
        Row::figure("a random get after that", median(gets), "us"),
        Row::figure("reading all of it in order", rate(read, took), "M entries/s"),
    ]
}

/// File size and rates on names of files.
fn real_strings(size: &Size) -> Vec<Row> {
    let names = strings::names(size.entries.min(7_000_000));
    if names.is_empty() {
        eprintln!("strings: no lists of names here: apt-get install apt-file && apt-file update");
        return Vec::new();
    }
    let mut builder = StoreSegmentBuilder::new();
    for name in &names {
        builder.push(name, b"").expect("names ascend");
    }
    let segments = vec![builder.finish()];
    let store = Store::from_segments(&Clock::new(), StoreOptions::new(), segments);
    let place = Place::new();
    let (took, report) = place.export(&store.expect("one segment"), size.threads);
    let keys: u64 = names.iter().map(|name| name.len() as u64).sum();
    let (back, _) = restored(&place.dir(), size.threads);
    let millions = float(names.len() as u64) / 1e6;
    let what = format!("file size of {millions:.1}M names, of the keys");
    vec![
        Row::at_most(what, 45.0, 100.0 * float(report.stored_bytes) / float(keys), "%"),
        Row::figure("export of the names", rate(names.len(), took), "M entries/s"),
        Row::figure("restore of the names", rate(names.len(), back), "M entries/s"),
    ]
}

/// Cost an entry from a tenth of the entries to twice as many.
fn flat(size: &Size) -> Vec<Row> {
    let place = Place::new();
    let (mut rows, mut costs) = (Vec::new(), [Vec::new(), Vec::new()]);
    for tenths in [1, 2, 5, 10, 20] {
        let entries = (size.entries * tenths / 10).max(1);
        let store = store_in_bulk(&ascending_keys(entries, SEED));
        let mut nanos = [Vec::new(), Vec::new()];
        for _ in 0..size.rounds {
            let nanos_of = |took: Duration| took.as_secs_f64() * 1e9 / float(entries as u64);
            nanos[0].push(nanos_of(place.export(&store, size.threads).0));
            nanos[1].push(nanos_of(restored(&place.dir(), size.threads).0));
        }
        for ((what, nanos), costs) in ["export", "restore"].iter().zip(nanos).zip(&mut costs) {
            let cost = median(nanos);
            rows.push(Row::figure(format!("{what} of {entries} entries"), cost, "ns an entry"));
            costs.push(cost);
        }
    }
    for (what, costs) in ["export", "restore"].iter().zip(costs) {
        let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
        let most = costs.iter().copied().fold(0.0, f64::max);
        let what = format!("{what}, dearest size over cheapest");
        rows.push(Row::at_most(what, 1.25, most / least, "x"));
    }
    rows
}

/// From the start of a backup to a fresh process that has scanned everything.
fn whole(size: &Size) -> Vec<Row> {
    let store = store_in_bulk(&ascending_keys(size.entries, SEED));
    let place = Place::new();
    let mut seconds = Vec::new();
    for _ in 0..size.rounds {
        let (took, ()) = time(|| {
            place.export(&store, size.threads);
            let program = std::env::current_exe().expect("this program");
            let status = Command::new(program).arg(FRESH).arg(place.dir()).status();
            assert!(status.expect("it starts").success(), "the fresh process has read all");
        });
        seconds.push(took.as_secs_f64());
    }
    vec![Row::figure("backup, restore in a fresh process, scan", median(seconds), "s")]
}

/// What the fresh process does.
pub(crate) fn fresh(dir: &Path) -> ExitCode {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (_, store) = restored(dir, threads);
    let mut sum = 0_u64;
    store.snapshot().scan(.., |key, value| {
        sum += (key.len() + value.len()) as u64;
        std::ops::ControlFlow::Continue(())
    });
    if black_box(sum) > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
