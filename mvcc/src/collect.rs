//! Garbage collection: versions that no open snapshot sees leave their chains.
//!
//! A superseded version is garbage as soon as no open snapshot number lies in `[born, dead)` (after
//! Ben-David et al., DISC 2021). One that a snapshot still sees is *filed* under the newest such
//! snapshot; when that closes, it is judged again: filed under the next older one that sees it, or
//! unlinked. So a snapshot held for hours costs what it sees and no more.
//!
//! One collector works on a store at a time, behind a lock that writers only try: a collector that is
//! stopped delays the garbage of its store and nothing else. Writers share the work: each processes a
//! few entries. Closing a snapshot does no work here; the next writer or [`Store::collect`] finds that
//! registrations have closed.
//!
//! Who unlinks a version sweeps its whole chain, so a long chain is walked once, not once for each of its
//! versions; the entries of the others are merely disposed of when their turn comes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;

use whimbrel_skiplist::{Record, SEALED};

use crate::access::Access;
use crate::clock::ClockInner;
use crate::dead::{Dead, Inbox};
use crate::mutant::{Mutant, order, planted};
use crate::registry::View;
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::sync::{Counter, Mutex, MutexGuard};
use crate::version::VersionRef;

/// Entries that a writer processes: more than it makes, and more the longer the queue is.
const SHARE: usize = 2;
const SHARE_OF_QUEUE: usize = 32;
const SHARE_MOST: usize = 128;

/// Passes of [`Store::collect`]: a tombstone goes only after what it hides, so a second pass may find
/// more than the first. Bounded, because writers may make garbage all the time. Models stay small.
const PASSES: usize = if cfg!(whimbrel_loom) { 1 } else { 4 };

/// Entries between two guards of [`Store::collect`].
const SESSION: usize = 256;

/// What [`Store::collect`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CollectReport {
    /// Entries of the dead list that were looked at.
    pub examined: usize,
    /// Versions that were unlinked and handed to the barrier.
    pub unlinked: usize,
    /// Records of removed keys that were dropped.
    pub sealed: usize,
    /// Entries that stay, because a snapshot sees them or something under way may.
    pub kept: usize,
}

impl CollectReport {
    fn progress(&self) -> usize {
        self.unlinked + self.sealed
    }
}

/// The dead list of a store.
pub(crate) struct Collection {
    inbox: Inbox,
    collector: Mutex<Collector>,
    /// Entries there are.
    waiting: Counter,
    /// Entries in the collector's queue, for writers to see without its lock. A hint.
    queued: Counter,
    /// Closed registrations that the collector has seen. A hint.
    closed_seen: Counter,
}

/// What the holder of the lock works on.
struct Collector {
    /// Entries to judge.
    queue: VecDeque<Dead>,
    /// Entries that an open snapshot sees, by the newest such number.
    filed: BTreeMap<u64, Vec<Dead>>,
    view: View,
}

/// What is to become of an entry.
enum Verdict {
    /// Nobody sees the version: out of its chain.
    Unlink,
    /// A newest tombstone that hides nothing from anybody: the record goes.
    Seal,
    /// This open snapshot sees the version, or what the tombstone hides.
    File(u64),
    /// Something is under way: later.
    Later,
}

impl Collection {
    pub(crate) fn new() -> Self {
        let collector =
            Collector { queue: VecDeque::new(), filed: BTreeMap::new(), view: View::default() };
        Self {
            inbox: Inbox::new(),
            collector: Mutex::new(collector),
            waiting: Counter::new(),
            queued: Counter::new(),
            closed_seen: Counter::new(),
        }
    }

    /// A value was superseded by a version with this number.
    pub(crate) fn superseded(&self, record: Record<'_>, old: VersionRef<'_>, dead: u64) {
        let born = old.settled_number();
        debug_assert!(
            born.is_some() || planted(Mutant::PendingNotHelped),
            "superseded while pending"
        );
        self.push(Dead::new(record, old, born.unwrap_or(0), Some(dead)));
    }

    /// A tombstone was installed.
    pub(crate) fn tombstone(&self, record: Record<'_>, new: VersionRef<'_>, born: u64) {
        self.push(Dead::new(record, new, born, None));
    }

    fn push(&self, entry: Dead) {
        self.waiting.add(1);
        self.inbox.push(entry);
    }

    /// Gives back the memory of a queue that was long and is short now.
    pub(crate) fn shrink(&self) {
        self.lock().queue.shrink_to_fit();
    }

    /// Frees the versions that are out of their chains and wait for their entries to be disposed of.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the store any more.
    pub(crate) unsafe fn free_unlinked(&self) {
        let mut collector = self.lock();
        let Collector { queue, filed, .. } = &mut *collector;
        let filed = std::mem::take(filed).into_values().flatten();
        for entry in self.inbox.take().chain(queue.drain(..)).chain(filed) {
            // SAFETY: the caller's promise.
            unsafe { entry.free_if_unlinked() };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Collector> {
        // A poisoned lock means that a collector panicked; its queue is as good as ever.
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries that were not disposed of yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.get()
    }

    /// Whether a collector would find something to do.
    #[inline]
    fn has_work(&self, clock: &ClockInner) -> bool {
        !self.inbox.is_empty()
            || self.queued.get() > 0
            || (self.waiting.get() > 0 && self.closed_seen.get() != clock.registry.closed())
    }
}

impl Access<'_> {
    /// A writer's share of the collection, if there is something to collect. Waits for nobody.
    #[inline]
    pub(crate) fn collect_some(self) {
        if self.store.writers_collect() && self.store.collection.has_work(self.clock) {
            self.collect_share();
        }
    }

    #[cold]
    fn collect_share(self) {
        let collection = &self.store.collection;
        if let Ok(mut collector) = collection.collector.try_lock() {
            let share = SHARE + collector.queue.len() / SHARE_OF_QUEUE;
            collector.turn(self, share.min(SHARE_MOST), &mut CollectReport::default());
        }
    }
}

impl Store {
    /// Unlinks every version that was superseded before the call and that no open snapshot sees, and drops the records of removed keys that
    /// nobody sees any more. The memory goes to the barrier, which reclaims it once the accesses that
    /// are under way have left.
    ///
    /// Waits for another collector of this store; never for readers or writers, nor they for it.
    ///
    /// # Complexity
    ///
    /// O(d) for d entries of the dead list that no open snapshot keeps.
    pub fn collect(&self) -> CollectReport {
        let mut report = CollectReport::default();
        for _ in 0..PASSES {
            let before = report.progress();
            self.collect_pass(&mut report);
            if report.progress() == before {
                break;
            }
        }
        report.kept = usize::try_from(self.inner().collection.waiting()).unwrap_or(usize::MAX);
        report
    }

    /// Like [`Store::collect`], and has the barrier reclaim what it can.
    pub fn collect_all(&self) -> CollectReport {
        let report = self.collect();
        let barrier = self.clock().barrier();
        // Once to close the session that the memory was handed to, once for the one before.
        barrier.flush();
        barrier.flush();
        report
    }

    /// Judges every entry that is there now, once.
    fn collect_pass(&self, report: &mut CollectReport) {
        let mut left = None;
        loop {
            let done = self.access(|access| {
                let mut collector = access.store.collection.lock();
                collector.fill(access);
                let todo = left.unwrap_or(collector.queue.len()).min(collector.queue.len());
                let now = todo.min(SESSION);
                collector.turn(access, now, report);
                left = Some(todo - now);
                left == Some(0)
            });
            if done {
                return;
            }
        }
    }
}

impl Collector {
    /// Judges at most `budget` entries.
    fn turn(&mut self, access: Access<'_>, budget: usize, report: &mut CollectReport) {
        self.fill(access);
        for _ in 0..budget {
            let Some(entry) = self.queue.pop_front() else { break };
            report.examined += 1;
            self.process(access, entry, report);
        }
        let collection = &access.store.collection;
        collection.queued.reset();
        collection.queued.add(self.queue.len() as u64);
        collection.closed_seen.reset();
        collection.closed_seen.add(self.view.closed);
    }

    /// Brings into the queue what is new, and what was filed under snapshots that have closed.
    fn fill(&mut self, access: Access<'_>) {
        self.queue.extend(access.store.collection.inbox.take());
        if self.view.closed != access.clock.registry.closed() {
            self.look_again(access);
        }
    }

    /// Looks at the registry anew. What was filed under snapshots that have closed is to be judged
    /// again: each closing is noticed once.
    fn look_again(&mut self, access: Access<'_>) {
        self.view.refresh(access.clock);
        let view = &self.view;
        let closed: Vec<u64> =
            self.filed.keys().copied().filter(|number| !view.is_open(*number)).collect();
        for number in closed {
            self.queue.extend(self.filed.remove(&number).into_iter().flatten());
        }
    }

    fn process(&mut self, access: Access<'_>, mut entry: Dead, report: &mut CollectReport) {
        let version = entry.version(access.guard);
        if !version.is_unlinked() {
            match self.judge(access, &mut entry) {
                Verdict::Unlink => report.unlinked += self.sweep(access, &entry),
                Verdict::Seal if seal(access, &entry) => report.sealed += 1,
                Verdict::Seal | Verdict::Later => return self.queue.push_back(entry),
                Verdict::File(number) => return self.filed.entry(number).or_default().push(entry),
            }
        }
        access.store.collection.waiting.sub(1);
        // SAFETY: out of its chain (swept, or its record is sealed), and its entry ends here: once.
        unsafe { version.retire(access.guard) };
    }

    /// Takes the entry's version out of its chain, and with it every other that nobody sees and that is
    /// not inline (invariant E2). Returns how many.
    fn sweep(&self, access: Access<'_>, entry: &Dead) -> usize {
        let record = entry.record(&access.store.list, access.guard);
        let mut newer = Access::head(record).expect("not sealed (invariant E2)");
        let mut unlinked = 0;
        while let (VersionRef::Own(above), Some(version)) = (newer, newer.older(record)) {
            let wanted = version.word() == entry.version_word();
            if wanted || (!version.is_inline() && self.is_garbage(version, newer)) {
                above.unlink_below(version);
                access.store.count_unlinked(version);
                unlinked += 1;
            } else {
                newer = version;
            }
        }
        unlinked
    }

    /// Whether it is garbage: for a version and the one directly above it.
    fn is_garbage(&self, version: VersionRef<'_>, newer: VersionRef<'_>) -> bool {
        let (Some(born), Some(dead)) = (version.settled_number(), newer.settled_number()) else {
            return false;
        };
        (dead <= self.view.clock || planted(Mutant::ViewTooOld))
            && !self.view.may_come_below(dead)
            && self.view.newest_seeing(born, dead).is_none()
    }

    fn judge(&mut self, access: Access<'_>, entry: &mut Dead) -> Verdict {
        if entry.dead.is_none() {
            let record = entry.record(&access.store.list, access.guard);
            if Access::cell_word(record) == entry.version_word() {
                return self.judge_newest(access, entry);
            }
            entry.dead = number_above(record, entry);
        }
        let Some(dead) = entry.dead else { return Verdict::Later };
        self.look_as_of(access, dead);
        match self.view.newest_seeing(entry.born, dead) {
            Some(snapshot) => Verdict::File(snapshot),
            None if self.view.may_come_below(dead) => Verdict::Later,
            None => Verdict::Unlink,
        }
    }

    /// Whether the key can end: for a tombstone that is the newest of its key.
    fn judge_newest(&mut self, access: Access<'_>, entry: &Dead) -> Verdict {
        self.look_as_of(access, entry.born);
        if planted(Mutant::SealUnseen) {
            return Verdict::Seal;
        }
        if let Some(snapshot) = self.view.newest_seeing(0, entry.born) {
            return Verdict::File(snapshot);
        }
        let hides =
            entry.version(access.guard).older_word() != 0 && !planted(Mutant::SealOverOlder);
        if hides || self.view.may_come_below(entry.born) { Verdict::Later } else { Verdict::Seal }
    }

    /// Makes sure that the view speaks about versions superseded at `number`, and looks again where a
    /// snapshot had no number yet.
    fn look_as_of(&mut self, access: Access<'_>, number: u64) {
        if planted(Mutant::ViewTooOld) && self.view.clock > 0 {
            return;
        }
        if self.view.clock < number || self.view.may_come_below(number) {
            if planted(Mutant::FiledForgotten) {
                self.view.refresh(access.clock);
            } else {
                self.look_again(access);
            }
        }
    }
}

/// The number of the version directly above a superseded tombstone. None: not settled yet.
fn number_above(record: Record<'_>, entry: &Dead) -> Option<u64> {
    let mut above = Access::head(record)?;
    while above.older_word() != entry.version_word() {
        above = above.older(record)?;
    }
    above.settled_number()
}

/// Ends the key of a tombstone that hides nothing. False: somebody has written the key.
fn seal(access: Access<'_>, entry: &Dead) -> bool {
    let record = entry.record(&access.store.list, access.guard);
    let version = entry.version(access.guard);
    if planted(Mutant::SealByStore) {
        record.cell().store(SEALED, Ordering::Release);
    } else {
        // ORDERING: AcqRel; as `Access::install`. Row V7.
        let acq_rel = order(Mutant::SealRelaxed, Ordering::AcqRel);
        let (cell, was) = (record.cell(), version.word());
        if cell.compare_exchange(was, SEALED, acq_rel, Ordering::Relaxed).is_err() {
            return false;
        }
    }
    access.store.count_unlinked(version);
    access.store.list.unlink_sealed(record, access.guard);
    true
}
