//! A scheduler that stops one thread for ever at a chosen step, and counts the steps of the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use shuttle::scheduler::{Schedule, Scheduler, Task, TaskId};

/// Tasks that a test has at most, the main one included.
const TASKS: usize = 8;

/// The task that is stopped: the first one that the test makes.
const VICTIM: usize = 1;

/// When the thread that will be stopped runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Alone until it stops; then the others.
    First,
    /// Beside the others.
    Beside,
}

/// What the scheduler and the test tell each other. All threads are on one system thread.
#[derive(Debug)]
pub struct Stop {
    mode: Mode,
    /// Atomic accesses that the thread may make before it stops.
    after: u64,
    /// Own steps that an operation of another thread may take.
    bound: u64,
    /// Times that each task was chosen, since it last said that an operation begins.
    steps: [AtomicU64; TASKS],
    most: AtomicU64,
    ended: AtomicBool,
    goes_on: AtomicBool,
    /// Whether it stood still when the others were done.
    stopped: AtomicBool,
}

impl Stop {
    /// Stops the thread behind its access number `after`.
    #[must_use]
    pub fn new(mode: Mode, after: u64, bound: u64) -> Arc<Self> {
        Arc::new(Self {
            mode,
            after,
            bound,
            steps: std::array::from_fn(|_| AtomicU64::new(0)),
            most: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// To be called by the thread that is stopped, when its operation is over.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Whether the thread stood still in the middle of its operation when [`Stop::go_on`] was called.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// To be called by the other threads before each operation.
    ///
    /// # Panics
    ///
    /// Outside of a test of shuttle.
    pub fn begin_operation(&self) {
        let task = shuttle::current::get_current_task().expect("a thread of shuttle");
        self.steps[usize::from(task)].store(0, Relaxed);
    }

    /// The most own steps that an operation of another thread took.
    #[must_use]
    pub fn most_steps(&self) -> u64 {
        self.most.load(Relaxed)
    }

    /// Lets the stopped thread go on, after all is checked, so that the test can end.
    pub fn go_on(&self) {
        self.stopped.store(self.holds(VICTIM), Relaxed);
        self.goes_on.store(true, Relaxed);
    }

    /// Whether the thread is to be held now: it stands in front of the access behind the last one
    /// that it may make.
    fn holds(&self, task: usize) -> bool {
        // The first choice brings it in front of its first access.
        task == VICTIM
            && !self.goes_on.load(Relaxed)
            && !self.ended.load(Relaxed)
            && self.steps[VICTIM].load(Relaxed) > self.after
    }

    fn count(&self, task: usize) {
        let steps = self.steps[task].fetch_add(1, Relaxed) + 1;
        if task > VICTIM && !self.goes_on.load(Relaxed) {
            self.most.fetch_max(steps, Relaxed);
            assert!(steps <= self.bound, "an operation took more than {steps} own steps");
        }
    }
}

/// Chooses at random among the threads that are not stopped; one execution.
#[derive(Debug)]
pub struct StopScheduler {
    stop: Arc<Stop>,
    random: u64,
    began: bool,
}

impl StopScheduler {
    /// A scheduler for one execution.
    #[must_use]
    pub fn new(stop: Arc<Stop>, seed: u64) -> Self {
        Self { stop, random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, began: false }
    }
}

impl Scheduler for StopScheduler {
    fn new_execution(&mut self) -> Option<Schedule> {
        let first = !std::mem::replace(&mut self.began, true);
        first.then(|| Schedule::new(self.random))
    }

    fn next_task(&mut self, all: &[&Task], _: Option<TaskId>, _: bool) -> Option<TaskId> {
        let ids: Vec<usize> = all
            .iter()
            .map(|task| task.id().into())
            .filter(|task| !self.stop.holds(*task))
            .collect();
        assert!(!ids.is_empty(), "all others wait for the thread that is stopped");
        let first = self.stop.mode == Mode::First && ids.contains(&VICTIM);
        let chosen = if first {
            VICTIM
        } else {
            ids[usize::try_from(self.next_u64() % ids.len() as u64).expect("small")]
        };
        self.stop.count(chosen);
        Some(TaskId::from(chosen))
    }

    fn next_u64(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }
}
