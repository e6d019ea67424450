//! What a journal costs: updates a second of a store without a journal and with each sync policy, and the
//! time of a sync of the same device beside.
//!
//! `cargo run --release -p whimbrel-benches --bin journal -- [--dir DIR] [--seconds N]`
//!
//! Two threads update random keys of 16 bytes with values of 8 bytes and let 500 updates each be in
//! flight: they wait for the oldest when there are more. The journal is in DIR (default `target`), so
//! that is the disk that counts. Rounds go through all policies in turn; the median of five is shown.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use whimbrel_benches::{Seeded, VALUE, random_keys, store_by_puts};
use whimbrel_journal::changes::RecordBuilder;
use whimbrel_journal::{Figures, Journal, JournalOptions, SyncPolicy};
use whimbrel_mvcc::Store;

const THREADS: usize = 2;
const IN_FLIGHT: usize = 1_000;
const KEYS: usize = 100_000;
const ROUNDS: usize = 5;

/// What the bars want of `always`.
const WANTED_ALWAYS: f64 = 100_000.0;
/// What the bars want of `interval`, as a part of the rate without a journal.
const WANTED_INTERVAL: f64 = 0.5;

const POLICIES: [(&str, Option<SyncPolicy>); 4] = [
    ("no journal", None),
    ("never", Some(SyncPolicy::Never)),
    ("interval of 100 ms", Some(SyncPolicy::Interval(Duration::from_millis(100)))),
    ("always", Some(SyncPolicy::Always)),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("journal: {error}");
            ExitCode::FAILURE
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn run() -> Result<(), Error> {
    let (mut dir, mut seconds) = (PathBuf::from("target"), 2.0);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let value = args.next().ok_or("usage: journal [--dir DIR] [--seconds N]")?;
        match arg.as_str() {
            "--dir" => dir = value.into(),
            "--seconds" => seconds = value.parse()?,
            _ => return Err("usage: journal [--dir DIR] [--seconds N]".into()),
        }
    }
    std::fs::create_dir_all(&dir)?;
    let keys = random_keys(KEYS, 1);
    let store = store_by_puts(&keys);
    let time = Duration::from_secs_f64(seconds);
    let mut syncs = Vec::new();
    let mut rates = POLICIES.map(|_| Vec::new());
    let mut figures = POLICIES.map(|_| Figures::default());
    for _ in 0..ROUNDS {
        syncs.push(sync_time(&dir)?);
        for (at, (_, policy)) in POLICIES.iter().enumerate() {
            let (rate, round) = round(&dir, &store, &keys, *policy, time)?;
            rates[at].push(rate);
            figures[at] = round;
        }
    }
    println!("device: a sync after a write of 4 KiB takes {:.3} ms", 1e3 * median(syncs));
    let rates = rates.map(median);
    println!("{:<20} {:>12} {:>8} {:>12} {:>9}", "", "updates/s", "of none", "a group", "sync ms");
    for ((name, _), (rate, figures)) in POLICIES.iter().zip(rates.iter().zip(figures)) {
        let group = ratio(figures.records, figures.groups);
        let sync = 1e3 * figures.sync_time.as_secs_f64() / ratio(figures.syncs.max(1), 1);
        let part = 100.0 * rate / rates[0];
        println!("{name:<20} {rate:>12.0} {part:>7.0}% {group:>12.1} {sync:>9.3}");
    }
    verdict("always, updates a second", WANTED_ALWAYS, rates[3]);
    verdict("interval, part of the rate without", WANTED_INTERVAL, rates[2] / rates[0]);
    Ok(())
}

fn verdict(what: &str, wanted: f64, measured: f64) {
    let met = if measured >= wanted { "met" } else { "missed" };
    println!("{what}: wanted {wanted}, measured {measured:.2}: {met}");
}

/// Seconds that a small write and its sync take.
fn sync_time(dir: &Path) -> Result<f64, Error> {
    let scratch = tempfile::tempdir_in(dir)?;
    let mut file = File::create(scratch.path().join("file"))?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let begin = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_all()?;
        times.push(begin.elapsed().as_secs_f64());
    }
    Ok(median(times))
}

/// Updates a second that are acknowledged.
fn round(
    dir: &Path,
    store: &Store,
    keys: &[[u8; 16]],
    policy: Option<SyncPolicy>,
    time: Duration,
) -> Result<(f64, Figures), Error> {
    let scratch = tempfile::tempdir_in(dir)?;
    let journal = match policy {
        Some(policy) => {
            let options = JournalOptions::new(policy);
            Some(Journal::open(scratch.path().join("journal"), &options, None, |_, _| Ok(()))?.0)
        }
        None => None,
    };
    let (stop, total) = (AtomicBool::new(false), AtomicU64::new(0));
    let begin = Instant::now();
    let work = |seed| {
        let done = update(store, keys, journal.as_ref(), seed, &stop)?;
        // ORDERING: Relaxed; read when the threads have ended.
        total.fetch_add(done, Ordering::Relaxed);
        Ok::<(), Error>(())
    };
    let outcome = thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..THREADS).map(|at| scope.spawn(move || work(at as u64))).collect();
        thread::sleep(time);
        // ORDERING: Relaxed; a lone flag.
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err("a thread has panicked".into()),
        })
    });
    outcome?;
    // ORDERING: Relaxed; the threads have ended.
    let total = total.load(Ordering::Relaxed);
    let rate = ratio(total, 1) / begin.elapsed().as_secs_f64();
    Ok((rate, journal.map(|journal| journal.figures()).unwrap_or_default()))
}

fn update(
    store: &Store,
    keys: &[[u8; 16]],
    journal: Option<&Journal>,
    seed: u64,
    stop: &AtomicBool,
) -> Result<u64, Error> {
    let mut random = Seeded::new(seed);
    let mut in_flight = VecDeque::with_capacity(IN_FLIGHT);
    let mut done = 0;
    // ORDERING: Relaxed; a lone flag.
    while !stop.load(Ordering::Relaxed) {
        let key = &keys[random.below(keys.len())];
        store.put(key, &VALUE)?;
        if let Some(journal) = journal {
            let mut record = RecordBuilder::changes(0);
            record.put(key, &VALUE);
            in_flight.push_back(journal.append(record.bytes())?);
            if in_flight.len() == IN_FLIGHT / THREADS
                && let Some(oldest) = in_flight.pop_front()
            {
                journal.wait(oldest)?;
            }
        }
        done += 1;
    }
    if let (Some(journal), Some(newest)) = (journal, in_flight.back()) {
        journal.wait(*newest)?;
    }
    Ok(done)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}
