//! Runs one test over many schedules and says how many there were.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};
use whimbrel_skiplist::model::{Mutant, begin, plant};

/// How the thread that goes on is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// Any thread at every step.
    Random,
    /// The thread of the highest priority; one priority less than this number changes on the way.
    Pct(usize),
}

/// Steps of one schedule after which it counts as a livelock; the longest good one has about 30,000.
const MOST_STEPS: usize = 300_000;

/// The defect that `WHIMBREL_MUTANT` names.
///
/// # Panics
///
/// When there is none of that name.
#[must_use]
pub fn mutant() -> Option<Mutant> {
    let name = std::env::var("WHIMBREL_MUTANT").ok()?;
    Some(Mutant::by_name(&name).unwrap_or_else(|| panic!("there is no mutant called {name}")))
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Settings of shuttle for tests of the list.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 17;
    config.max_steps = MaxSteps::FailAfter(MOST_STEPS);
    config.silence_warnings = true;
    if mutant().is_some() {
        config.failure_persistence = FailurePersistence::None;
    }
    config
}

/// Runs `test` under so many schedules as `SCHEDULES` says (300 without it), or as fit into
/// `SCHEDULE_SECONDS`; prints how many there were, from which seed, and how fast.
///
/// Runs are the same every time. `SHUTTLE_RANDOM_SEED` replaces the seed; `WHIMBREL_MUTANT` plants
/// the defect of that name.
///
/// # Panics
///
/// When a schedule fails; shuttle prints it.
pub fn explore(
    name: &str,
    scheduling: Scheduling,
    seed: u64,
    test: impl Fn() + Send + Sync + 'static,
) {
    let schedules = usize::try_from(number("SCHEDULES").unwrap_or(300)).expect("64 bits");
    let mut config = config();
    config.max_time = number("SCHEDULE_SECONDS").map(Duration::from_secs);
    let seed = number("SHUTTLE_RANDOM_SEED").unwrap_or(seed);
    let scheduler: Box<dyn Scheduler + Send> = match scheduling {
        Scheduling::Random => Box::new(RandomScheduler::new_from_seed(seed, schedules)),
        Scheduling::Pct(depth) => Box::new(PctScheduler::new_from_seed(seed, depth, schedules)),
    };
    let mutant = mutant();
    let report =
        Report { name: name.to_owned(), seed, schedules: Arc::default(), begin: Instant::now() };
    let count = Arc::clone(&report.schedules);
    Runner::new(scheduler, config).run(move || {
        count.fetch_add(1, Ordering::Relaxed);
        begin();
        plant(mutant);
        test();
    });
    drop(report);
}

/// Prints the number of schedules on drop, after a failure too.
struct Report {
    name: String,
    seed: u64,
    schedules: Arc<AtomicU64>,
    begin: Instant,
}

impl Drop for Report {
    fn drop(&mut self) {
        let schedules = self.schedules.load(Ordering::Relaxed);
        let seconds = self.begin.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "schedules are few")]
        let rate = schedules as f64 / seconds.max(0.001);
        println!(
            "{} schedules={schedules} seed={:#x} seconds={seconds:.1} rate={rate:.0}",
            self.name, self.seed
        );
    }
}
