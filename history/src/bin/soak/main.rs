//! Mixed load for minutes or hours, and at the end the proof that nothing is left of it.
//!
//! Puts, removals, conditional writes, batches over two stores, snapshots held for random times, cursors
//! that step while others write, captures, collection, compaction, bulk loads: all at once. Beside it
//! threads record a history on keys of their own in the same stores, which is checked round by round. At
//! the end all keys are removed and collected. Then the stores must have no version and no record, all
//! that was retired must be reclaimed, and memory must be back to where it was after a first round of
//! the same load.
//!
//! `soak [MINUTES] [SEED]` (default: 1, and of the time). Ends with status 1 when something is wrong.

mod counting;
mod load;
mod memory;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use load::Load;
use memory::Memory;
use whimbrel_history::{Plan, Rounds, Subject};
use whimbrel_mvcc::{Clock, Store, StoreOptions};

/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(10);

/// Length of the first round of load, after which memory is looked at for comparison.
const WARM_UP: Duration = Duration::from_secs(10);

const PLAN: Plan = Plan {
    threads: 2,
    keys: 24,
    stores: 2,
    operations: usize::MAX,
    round: 10_000,
    seed: 0,
    look_again: true,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let minutes: f64 = arguments.next().map_or(1.0, |text| text.parse().expect("minutes"));
    let seed = arguments.next().map_or_else(seed_of_time, |text| text.parse().expect("a seed"));
    println!("soak: {minutes} min, seed {seed}; again: ci/soak.sh {minutes} {seed}");
    let clock = Clock::new();
    let options = StoreOptions::new().with_running_digest();
    let stores = [(); 2].map(|()| Store::with_options(&clock, options.clone()));
    let mut rounds = Rounds::new(Plan { seed, ..PLAN }, Subject::new(stores.to_vec(), b"h", 24));
    let mut wrong = Vec::new();
    run(&stores, &mut rounds, WARM_UP, seed, &mut wrong);
    end(&stores, &mut rounds, &mut wrong);
    let before = Memory::now(&stores);
    println!("soak: before   {before}");
    if wrong.is_empty() {
        let length = Duration::from_secs_f64(minutes * 60.0);
        run(&stores, &mut rounds, length, seed.wrapping_add(1), &mut wrong);
        end(&stores, &mut rounds, &mut wrong);
    }
    let after = Memory::now(&stores);
    println!("soak: before   {before}\nsoak: after    {after}");
    wrong.extend(after.left_since(&before));
    println!("soak: history: {:?}", rounds.report());
    wrong.iter().for_each(|what| println!("soak: WRONG: {what}"));
    let verdict = if wrong.is_empty() { "passed" } else { "failed" };
    println!("soak: {verdict}");
    ExitCode::from(u8::from(!wrong.is_empty()))
}

fn seed_of_time() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Load and checked histories for so long.
fn run(
    stores: &[Store; 2],
    rounds: &mut Rounds,
    length: Duration,
    seed: u64,
    wrong: &mut Vec<String>,
) {
    let stop = AtomicBool::new(false);
    let load = Load::new(stores, seed, &stop);
    let begin = Instant::now();
    let mut told = begin;
    thread::scope(|scope| {
        let threads = load.start(scope);
        while begin.elapsed() < length && threads.iter().all(|thread| !thread.is_finished()) {
            if let Err(refusal) = rounds.round() {
                wrong.push(format!("{refusal}"));
                break;
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let (operations, memory) = (rounds.report().operations, Memory::now(stores));
                let seconds = begin.elapsed().as_secs();
                println!("soak: {seconds:>5} s {load}, {operations} checked; {memory}");
            }
        }
        // ORDERING: Relaxed; the joins order what the threads did before what is checked.
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            if thread.join().is_err() {
                wrong.push("a thread of the load panicked".to_owned());
            }
        }
    });
    println!("soak: {:>5} s {load}", begin.elapsed().as_secs());
}

/// Removes everything and collects it.
fn end(stores: &[Store; 2], rounds: &mut Rounds, wrong: &mut Vec<String>) {
    for store in stores {
        let (kept, found) = (store.digest(), Some(load::digest_of(&store.snapshot())));
        if kept != found {
            wrong.push(format!("running digest {kept:?}, the entries have {found:?}"));
        }
    }
    rounds.clear();
    stores.iter().for_each(load::remove_all);
    for _ in 0..8 {
        stores.iter().for_each(|store| _ = store.collect_all());
    }
    stores.iter().for_each(|store| _ = store.compact());
}
