//! One child: makes keys, builds one peer, measures the workloads of one set, prints rows.

use std::hint::black_box;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::keys::{Input, KeyKind};
use crate::peer::{Begin, Peer, Worker};
use crate::sum::Sum;
use crate::system::{self, cpu_time};
use crate::workload::{Set, Workload};

/// What one child does.
#[derive(Debug, Clone)]
pub struct Task {
    /// Name of the peer.
    pub peer: &'static str,
    /// The state to build.
    pub set: Set,
    /// What to measure on it; all are of the set.
    pub workloads: Vec<Workload>,
    /// Shape of the keys.
    pub keys: KeyKind,
    /// How many.
    pub entries: usize,
    /// Threads that work at once.
    pub threads: usize,
    /// Seed of keys and orders.
    pub seed: u64,
    /// Real paths, for keys of that kind.
    pub paths: Option<PathBuf>,
    /// An empty folder in memory.
    pub scratch: PathBuf,
    /// Makes a mistake in `get`, for the test of the comparison of checksums.
    pub plant: bool,
}

/// What one child found about one workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The workload.
    pub workload: Workload,
    /// Wall time over the operations of all threads together.
    pub ns_per_op: f64,
    /// Time that processors worked for the child, over the same.
    pub cpu_ns_per_op: f64,
    /// What the process had gained since before the build when the workload ended, by entries
    /// built.
    pub bytes_per_entry: f64,
    /// What the process still held at the end, in per cent of the most that it had gained.
    pub held_percent: Option<f64>,
    /// Checksum of what was read; the same for all peers that do the same work.
    pub checksum: u64,
}

/// Memory for each entry that the machine is to have at hand before a peer is built.
const WARM_BYTES: usize = 160;

/// Entries of one group of `get_many`.
pub const GROUP: usize = 16;
/// One range of `range10` for as many keys, and of `range100` for ten times as many.
const KEYS_A_RANGE: usize = 8;
/// Time between two snapshots of `mix`.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(10);

/// Does a task and returns its samples.
///
/// # Errors
///
/// When the peer cannot be made, or read what it must not.
pub fn run(task: &Task) -> anyhow::Result<Vec<Sample>> {
    let facts = crate::peers::find(task.peer).context("no such peer")?;
    let make = facts.make.with_context(|| format!("{} is not in this build", task.peer))?;
    let input = Input::new(task.keys, task.entries, task.seed, task.paths.as_deref())?;
    let begin = Begin { keys: task.keys, entries: task.entries, scratch: &task.scratch };
    let samples = Vec::with_capacity(Workload::COUNT);
    // Not dropped: the process ends soon, and taking a large peer apart takes as long as building
    // it.
    let mut bench = ManuallyDrop::new(Bench { task, input, peer: make(begin)?, base: 0, samples });
    system::give_back();
    system::warm(task.entries * WARM_BYTES)?;
    system::reset_peak()?;
    bench.base = system::resident()?;
    match task.set {
        Set::Fresh => bench.fresh()?,
        Set::Ascending => bench.ascending()?,
        Set::Bulk => bench.bulk()?,
        Set::Churn => bench.churn()?,
        Set::Mix => bench.mix()?,
        Set::ShrinkContiguous => bench.shrink(Workload::ShrinkContiguous)?,
        Set::ShrinkRandom => bench.shrink(Workload::ShrinkRandom)?,
    }
    Ok(std::mem::take(&mut bench.samples))
}

/// Time that went by, and time that processors worked for this process.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    wall: Duration,
    cpu: Duration,
}

impl Spent {
    /// The time of a piece of work.
    fn on(work: impl FnOnce()) -> Self {
        let mut work = Some(work);
        let (start, cpu) = (Instant::now(), cpu_time());
        measured_work(&mut || work.take().map_or((), |work| work()));
        Self { wall: start.elapsed(), cpu: cpu_time().saturating_sub(cpu) }
    }
}

/// The work that is measured, under a name of its own for `ci/count.sh`, which counts what happens
/// below it.
#[inline(never)]
fn measured_work(work: &mut dyn FnMut()) {
    work();
    // Something to do after the call, or the call would be the last thing and leave this function first.
    black_box(());
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// Time, and what was read.
type Measured = (Spent, Sum);

struct Bench<'a> {
    task: &'a Task,
    input: Input,
    peer: Box<dyn Peer>,
    /// Resident before anything was built.
    base: u64,
    samples: Vec<Sample>,
}

impl Bench<'_> {
    fn fresh(&mut self) -> anyhow::Result<()> {
        let built = self.insert();
        self.note(Workload::Insert, built, self.all())?;
        for workload in [Workload::Get, Workload::GetMiss, Workload::GetMany] {
            self.points(workload)?;
        }
        self.points(Workload::GetSnapshot)?;
        self.scan(Workload::Scan)?;
        self.scan(Workload::RevScan)?;
        self.ranges(Workload::Range10, 10, self.all() / KEYS_A_RANGE)?;
        self.ranges(Workload::Range100, 100, self.all() / KEYS_A_RANGE / 10)?;
        if self.wants(Workload::Remove) {
            let (time, _) = self.remove(0..self.all());
            let left = self.read_all(true).1;
            ensure!(left.count() == 0, "{} entries are left after removing all", left.count());
            self.note(Workload::Remove, (time, left), self.all())?;
        }
        Ok(())
    }

    fn ascending(&mut self) -> anyhow::Result<()> {
        let keys = &self.input.sorted;
        let built = timed(&mut *self.peer, self.task.threads, keys.len(), |worker, range| {
            let mut sum = Sum::default();
            for at in range {
                worker.insert(keys.get(at), at as u64);
                sum.value(1);
            }
            sum
        });
        ensure!(self.read_all(true).1.count() == self.all() as u64, "entries are missing");
        self.note(Workload::InsertAscending, built, self.all())
    }

    fn bulk(&mut self) -> anyhow::Result<()> {
        let mut is_built = false;
        let time = Spent::on(|| is_built = self.peer.bulk_build(&self.input.sorted));
        if is_built {
            if self.task.threads == 1 {
                self.note(Workload::BulkBuild, (time, Sum::default()), self.all())?;
            }
        } else {
            let mut workers = self.peer.workers(1);
            for (at, key) in self.input.sorted.iter().enumerate() {
                workers[0].insert(key, at as u64);
            }
        }
        self.scan(Workload::ScanBulk)
    }

    fn churn(&mut self) -> anyhow::Result<()> {
        self.insert();
        let updated = self.update(1);
        self.note(Workload::Update, updated, self.all())?;
        if !self.wants(Workload::ChurnedGet) && !self.wants(Workload::ChurnedScan) {
            return Ok(());
        }
        self.update(2);
        self.update(3);
        self.peer.collect();
        self.points(Workload::ChurnedGet)?;
        self.scan(Workload::ChurnedScan)
    }

    /// Works through the keys as they lie, each once, so that the answers do not depend on how the
    /// threads meet.
    fn mix(&mut self) -> anyhow::Result<()> {
        self.insert();
        let (present, absent) = (&self.input.shuffled, &self.input.misses);
        let seed = self.task.seed;
        let (time, mut sum) =
            timed(&mut *self.peer, self.task.threads, present.len(), |worker, range| {
                let mut sum = Sum::default();
                let takes_snapshots = range.start == 0;
                let mut last = Instant::now();
                for at in range {
                    if takes_snapshots && at % 16 == 0 && last.elapsed() >= SNAPSHOT_EVERY {
                        worker.take_snapshot();
                        last = Instant::now();
                    }
                    match crate::random::mix(seed ^ at as u64) % 4 {
                        0 => worker.remove(present.get(at)),
                        1 => worker.insert(absent.get(at), at as u64),
                        _ => sum.found(worker.get(present.get(at))),
                    }
                }
                sum
            });
        // What is left is part of the answer.
        sum.join(self.rest());
        self.note(Workload::Mix, (time, sum), self.all())
    }

    fn shrink(&mut self, workload: Workload) -> anyhow::Result<()> {
        self.insert();
        let kept = self.all() / 10;
        let removed = self.all() - kept;
        let (time, _) = match workload {
            Workload::ShrinkContiguous => self.remove_from(kept),
            _ => self.remove(kept..self.all()),
        };
        let time = time + Spent::on(|| self.peer.collect());
        let left = self.rest();
        ensure!(left.count() == kept as u64, "{} entries are left of {kept}", left.count());
        self.note(workload, (time, left), removed)?;
        let most = system::peak()?.saturating_sub(self.base).max(1);
        let held = system::resident()?.saturating_sub(self.base);
        if let Some(sample) = self.samples.last_mut() {
            sample.held_percent = Some(100.0 * held as f64 / most as f64);
        }
        Ok(())
    }

    fn all(&self) -> usize {
        self.task.entries
    }

    fn wants(&self, workload: Workload) -> bool {
        self.task.workloads.contains(&workload)
    }

    /// Inserts every key in random order.
    fn insert(&mut self) -> Measured {
        let keys = &self.input.entries;
        timed(&mut *self.peer, self.task.threads, keys.len(), |worker, range| {
            let mut sum = Sum::default();
            for at in range {
                worker.insert(keys.get(at), at as u64);
                sum.value(1);
            }
            sum
        })
    }

    /// Gives every key another value.
    fn update(&mut self, time: u64) -> Measured {
        let keys = &self.input.shuffled;
        timed(&mut *self.peer, self.task.threads, keys.len(), |worker, range| {
            let mut sum = Sum::default();
            for at in range {
                worker.insert(keys.get(at), at as u64 + (time << 32));
                sum.value(1);
            }
            sum
        })
    }

    fn remove(&mut self, which: Range<usize>) -> Measured {
        let keys = &self.input.shuffled;
        let begin = which.start;
        timed(&mut *self.peer, self.task.threads, which.len(), |worker, range| {
            for at in range {
                worker.remove(keys.get(begin + at));
            }
            Sum::default()
        })
    }

    /// Removes the keys from a place in their ascending order on, in random order.
    fn remove_from(&mut self, kept: usize) -> Measured {
        let keys = &self.input.shuffled;
        let low = self.input.sorted.get(kept);
        timed(&mut *self.peer, self.task.threads, keys.len(), |worker, range| {
            for at in range {
                let key = keys.get(at);
                if key >= low {
                    worker.remove(key);
                }
            }
            Sum::default()
        })
    }

    /// All that is there, read by one thread.
    fn rest(&mut self) -> Sum {
        let least = vec![0; self.task.keys.width().unwrap_or(1)];
        let mut sum = Sum::default();
        self.peer.workers(1)[0].scan(&least, usize::MAX, &mut sum);
        sum
    }

    /// Looks keys up, in the way of the workload.
    fn points(&mut self, workload: Workload) -> anyhow::Result<()> {
        if !self.wants(workload) {
            return Ok(());
        }
        let keys = match workload {
            Workload::GetMiss => &self.input.misses,
            _ => &self.input.shuffled,
        };
        let measured = timed(&mut *self.peer, self.task.threads, keys.len(), |worker, range| {
            let mut sum = Sum::default();
            match workload {
                Workload::GetMany => {
                    let mut group = [&[][..]; GROUP];
                    for begin in range.clone().step_by(GROUP) {
                        let end = range.end.min(begin + GROUP);
                        for (slot, at) in group.iter_mut().zip(begin..end) {
                            *slot = keys.get(at);
                        }
                        worker.get_many(black_box(&group[..end - begin]), &mut sum);
                    }
                }
                Workload::GetSnapshot => {
                    worker.take_snapshot();
                    range.for_each(|at| sum.found(worker.get_snapshot(black_box(keys.get(at)))));
                }
                _ => range.for_each(|at| sum.found(worker.get(black_box(keys.get(at))))),
            }
            sum
        });
        let expected = if workload == Workload::GetMiss { 0 } else { keys.len() as u64 };
        let found = measured.1.count();
        ensure!(found == expected, "{} found {found} keys, not {expected}", workload.name());
        self.note(workload, measured, self.all())
    }

    /// Reads all entries, upwards or downwards; each thread a part of the key space.
    fn read_all(&mut self, up: bool) -> Measured {
        let keys = &self.input.sorted;
        timed(&mut *self.peer, self.task.threads, keys.len(), |worker, range| {
            let mut sum = Sum::default();
            match range.len() {
                0 => {}
                limit if up => worker.scan(keys.get(range.start), limit, &mut sum),
                limit => worker.rev_scan(keys.get(range.end - 1), limit, &mut sum),
            }
            sum
        })
    }

    fn scan(&mut self, workload: Workload) -> anyhow::Result<()> {
        if !self.wants(workload) {
            return Ok(());
        }
        let measured = self.read_all(workload != Workload::RevScan);
        let seen = measured.1.count();
        ensure!(seen == self.all() as u64, "{} saw {seen} entries", workload.name());
        self.note(workload, measured, self.all())
    }

    fn ranges(&mut self, workload: Workload, limit: usize, count: usize) -> anyhow::Result<()> {
        if !self.wants(workload) {
            return Ok(());
        }
        let (keys, count) = (&self.input.shuffled, count.max(1));
        let measured = timed(&mut *self.peer, self.task.threads, count, |worker, range| {
            let mut sum = Sum::default();
            range.for_each(|at| worker.scan(black_box(keys.get(at)), limit, &mut sum));
            sum
        });
        self.note(workload, measured, count)
    }

    /// Keeps a sample, if the workload was asked for.
    fn note(&mut self, workload: Workload, measured: Measured, ops: usize) -> anyhow::Result<()> {
        if !self.wants(workload) {
            return Ok(());
        }
        let (time, mut sum) = measured;
        if self.task.plant && workload == Workload::Get {
            sum.join(Sum::of(1));
        }
        if ops == 0 {
            bail!("{} had nothing to do", workload.name());
        }
        let gained = system::resident()?.saturating_sub(self.base);
        self.samples.push(Sample {
            workload,
            ns_per_op: time.wall.as_nanos() as f64 / ops as f64,
            cpu_ns_per_op: time.cpu.as_nanos() as f64 / ops as f64,
            bytes_per_entry: gained as f64 / self.all() as f64,
            held_percent: None,
            checksum: black_box(sum).finish(),
        });
        Ok(())
    }
}

/// Splits `items` among the threads, each with a worker of its own, and takes the time from their
/// common beginning to the end of the last.
fn timed<F>(peer: &mut dyn Peer, threads: usize, items: usize, work: F) -> Measured
where
    F: Fn(&mut dyn Worker, Range<usize>) -> Sum + Sync,
{
    let mut workers = peer.workers(threads);
    if let [worker] = &mut workers[..] {
        let mut sum = Sum::default();
        let spent = Spent::on(|| sum = work(&mut **worker, 0..items));
        return (spent, sum);
    }
    let cpu = cpu_time();
    let begin = Barrier::new(threads);
    let hand = |thread: usize, worker: &mut (dyn Worker + Send)| {
        let share = items * thread / threads..items * (thread + 1) / threads;
        begin.wait();
        let start = Instant::now();
        let sum = work(worker, share);
        (start, Instant::now(), sum)
    };
    let hand = &hand;
    let shares: Vec<_> = std::thread::scope(|scope| {
        let hands: Vec<_> = workers
            .iter_mut()
            .enumerate()
            .map(|(thread, worker)| scope.spawn(move || hand(thread, &mut **worker)))
            .collect();
        let join = |hand: std::thread::ScopedJoinHandle<'_, _>| {
            hand.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        hands.into_iter().map(join).collect()
    });
    let cpu = cpu_time().saturating_sub(cpu);
    let mut all = Sum::default();
    shares.iter().for_each(|(_, _, sum)| all.join(*sum));
    let start = shares.iter().map(|(start, ..)| *start).min();
    let end = shares.iter().map(|(_, end, _)| *end).max();
    let wall = end.zip(start).map(|(end, start)| end - start).unwrap_or_default();
    (Spent { wall, cpu }, all)
}
