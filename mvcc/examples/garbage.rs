//! Garbage and who collects it: workers, a bound, the figures, and the warning that names a snapshot
//! that was forgotten.
//!
//! `cargo run -p whimbrel-mvcc --example garbage`

use std::thread;
use std::time::{Duration, Instant};

use whimbrel_mvcc::{Clock, ClockOptions, Collectors, Store, StoreOptions};

const KEYS: u32 = 10_000;
const BOUND: u64 = 2 << 20;

/// Prints the warnings; a program has a subscriber of `tracing-subscriber` or of its own for that.
mod warnings {
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    pub(super) struct Printer;

    impl Subscriber for Printer {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            *metadata.level() <= Level::WARN
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            print!("{}:", event.metadata().level());
            event.record(&mut Fields);
            println!();
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    struct Fields;

    impl Visit for Fields {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            match field.name() {
                "message" => print!(" {value:?};"),
                name => print!(" {name}={value:?}"),
            }
        }
    }
}

fn overwrite(store: &Store, times: u8) -> Result<(), whimbrel_mvcc::Error> {
    for round in 0..times {
        for n in 0..KEYS {
            store.put(&n.to_be_bytes(), &[round; 100])?;
        }
    }
    Ok(())
}

fn show(clock: &Clock, when: &str) {
    let stats = clock.stats();
    println!(
        "{when}: {} entries, {} versions; collectable {} ({} KiB), held {} ({} KiB), \
         not reclaimed yet {} KiB",
        stats.total.entries,
        stats.total.versions,
        stats.total.collectable.entries,
        stats.total.collectable.bytes >> 10,
        stats.total.held.entries,
        stats.total.held.bytes >> 10,
        stats.unreclaimed.bytes >> 10,
    );
    for snapshot in &stats.snapshots {
        println!(
            "  snapshot {} \"{}\" is open for {:?} and holds {} versions",
            snapshot.number, snapshot.name, snapshot.age, snapshot.held.entries
        );
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing::subscriber::set_global_default(warnings::Printer)?;
    let limit = Duration::from_millis(300);
    let clock = Clock::with_options(ClockOptions::new().with_age_limit(Some(limit)));
    let options = StoreOptions::new().with_background_collection().with_garbage_bound(BOUND);
    let store = Store::with_options(&clock, options);
    let collectors = Collectors::start(&clock, 2)?;

    overwrite(&store, 1)?;
    let forgotten = store.snapshot_named("nightly report");
    let mut most = 0;
    thread::scope(|scope| {
        let writers: Vec<_> = (0..2).map(|_| scope.spawn(|| overwrite(&store, 10))).collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            most = most.max(clock.stats().total.collectable.bytes);
            thread::sleep(Duration::from_millis(1));
        }
    });
    println!(
        "most garbage beside two writers: {} KiB, the bound is {} KiB",
        most >> 10,
        BOUND >> 10
    );
    show(&clock, "after the writers");

    // A worker notices: the snapshot is older than the limit.
    thread::sleep(2 * limit);
    show(&clock, "later");

    let begin = Instant::now();
    drop(forgotten);
    println!("closing the snapshot took {:?}", begin.elapsed());
    while store.stats().dead > 0 {
        thread::sleep(Duration::from_millis(1));
    }
    println!("the workers had collected what it held after {:?}", begin.elapsed());
    show(&clock, "in the end");
    collectors.stop();
    Ok(())
}
