//! Goal: histories of real threads are linearizable, batches, ingests and snapshots included, and snapshots
//! do not change, while another thread collects and compacts.
//! Method: `whimbrel-history` records what threads do and looks for an order that explains it.
//!
//! `WHIMBREL_HISTORY_OPS` sets the operations of each test (default 100,000), `WHIMBREL_HISTORY_SEED` the
//! seed (default: of the time); `WHIMBREL_HISTORY_ONLY=yes` leaves out that snapshots are read again.
//! `ci/stress.sh` runs a million with random delays.

use std::time::{Instant, SystemTime};

use whimbrel_history::{Plan, run};

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

fn seed() -> u64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    number("WHIMBREL_HISTORY_SEED").unwrap_or(time.as_secs())
}

fn check(test: &str, threads: u16, keys: u16, stores: usize) {
    let operations = number("WHIMBREL_HISTORY_OPS").unwrap_or(100_000);
    let operations = usize::try_from(operations).expect("fits");
    let seed = seed();
    let again = format!(
        "WHIMBREL_HISTORY_SEED={seed} WHIMBREL_HISTORY_OPS={operations} \
         cargo test --release -p whimbrel-mvcc --test histories -- --exact --nocapture {test}"
    );
    println!("{test}: {operations} operations, {threads} threads, {keys} keys: {again}");
    let round = (operations / 4).clamp(1_000, 50_000);
    let look_again = std::env::var_os("WHIMBREL_HISTORY_ONLY").is_none();
    let plan = Plan { threads, keys, stores, operations, round, seed, look_again };
    let begin = Instant::now();
    let mut told = begin;
    let result = run(plan, |report| {
        if told.elapsed().as_secs() >= 5 {
            told = Instant::now();
            let seconds = begin.elapsed().as_secs();
            println!("{test}: {} operations after {seconds} s", report.operations);
        }
    });
    match result {
        Ok(report) => {
            println!("{test}: {:.1} s, {report:?}", begin.elapsed().as_secs_f64());
            let tried = report.ingests > 0 && report.lost > 0;
            assert!(tried || operations < 10_000, "no ingest was put to the test");
        }
        Err(refusal) => panic!("{refusal}\nagain, as far as threads repeat themselves: {again}"),
    }
}

#[test]
fn many_keys() {
    check("many_keys", 4, 64, 1);
}

#[test]
fn few_keys() {
    check("few_keys", 4, 4, 1);
}

#[test]
fn keys_of_two_stores() {
    check("keys_of_two_stores", 4, 8, 2);
}
