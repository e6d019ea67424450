//! Runs one model over its interleavings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Instant;

use whimbrel_backup::mutant as backup;
use whimbrel_journal::mutant as journal;
use whimbrel_mvcc::mutant as mvcc;
use whimbrel_skiplist::model as skiplist;

/// How many times a thread may be interrupted where it could go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Every interleaving.
    None,
    /// At most so many preemptions in one execution.
    Preemptions(usize),
}

/// Runs `model` once for every interleaving within the bound, and prints how many there were.
///
/// `LOOM_MAX_PREEMPTIONS` in the environment replaces the bound (200 is as good as none; loom
/// refuses more than 255); `WHIMBREL_MUTANT` plants the defect of that name, of whichever crate.
///
/// # Panics
///
/// When an execution fails, or the environment names an unknown bound or defect.
pub fn explore(bound: Bound, model: impl Fn() + Send + Sync + 'static) {
    let (in_list, in_store, in_journal, in_backup) = chosen();
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    if builder.preemption_bound.is_none()
        && let Bound::Preemptions(most) = bound
    {
        builder.preemption_bound = Some(most);
    }
    let bound = builder.preemption_bound.map_or(Bound::None, Bound::Preemptions);
    let executions = Arc::new(AtomicU64::new(0));
    let counter = Executions { count: Arc::clone(&executions), bound, begin: Instant::now() };
    print_at_panic();
    builder.check(move || {
        executions.fetch_add(1, Ordering::Relaxed);
        TOTAL.fetch_add(1, Ordering::Relaxed);
        skiplist::begin();
        skiplist::plant(in_list);
        mvcc::plant(in_store);
        journal::plant(in_journal);
        backup::plant(in_backup);
        model();
    });
    drop(counter);
}

type Chosen = (
    Option<skiplist::Mutant>,
    Option<mvcc::Mutant>,
    Option<journal::Mutant>,
    Option<backup::Mutant>,
);

/// The defect that the environment names, in the crate that has it.
fn chosen() -> Chosen {
    let Ok(name) = std::env::var("WHIMBREL_MUTANT") else { return (None, None, None, None) };
    let chosen = (
        skiplist::Mutant::by_name(&name),
        mvcc::Mutant::by_name(&name),
        journal::Mutant::by_name(&name),
        backup::Mutant::by_name(&name),
    );
    assert_ne!(chosen, (None, None, None, None), "there is no mutant called {name}");
    chosen
}

/// Executions of this process, over all explorations.
static TOTAL: AtomicU64 = AtomicU64::new(0);

/// Prints the number of executions on drop, after a failure too.
struct Executions {
    count: Arc<AtomicU64>,
    bound: Bound,
    begin: Instant,
}

impl Drop for Executions {
    fn drop(&mut self) {
        println!(
            "executions={} bound={:?} seconds={:.1}",
            self.count.load(Ordering::Relaxed),
            self.bound,
            self.begin.elapsed().as_secs_f64()
        );
    }
}

/// Prints the number at a panic as well: a second panic, in a drop, would end the process at once.
fn print_at_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // Loom ends its threads by panics without a text.
            if info.payload_as_str().is_some() {
                println!("panic: executions={}", TOTAL.load(Ordering::Relaxed));
            }
            before(info);
        }));
    });
}
