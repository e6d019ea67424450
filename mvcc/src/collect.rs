//! Garbage collection: versions that no open snapshot sees leave their chains.
//!
//! A superseded version is garbage as soon as no open snapshot number lies in `[born, dead)` (after
//! Ben-David et al., DISC 2021). One that a snapshot still sees is *filed* under the newest such
//! snapshot; when that closes, it is judged again: filed under the next older one that sees it, or
//! unlinked. So a snapshot held for hours costs what it sees and no more.
//!
//! One collector works on a store at a time, behind a lock that writers only try: a collector that is
//! stopped delays the garbage of its store and nothing else. Writers share the work: each processes a
//! few entries; or workers do it (`collectors.rs`), or nobody but [`Store::collect`]. Closing a snapshot
//! does no work here; the next collector finds that registrations have closed. What it does at once is
//! little whatever the closed snapshot held: lists of entries move as a whole, and are taken up entry by
//! entry.
//!
//! Who unlinks a version sweeps its whole chain, so a long chain is walked once, not once for each of its
//! versions; the entries of the others are merely disposed of when their turn comes.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, TryLockError};

use whimbrel_skiplist::{Record, SEALED};

use crate::access::Access;
use crate::dead::{Dead, Inbox};
use crate::mutant::{Mutant, order, planted};
use crate::queue::{Garbage, Queue, Seen};
use crate::registry::View;
use crate::stamp::VOID;
use crate::store::Store;
use crate::sweep::Swept;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Counter, Mutex, MutexGuard};
use crate::unlinks::Observed;
use crate::version::VersionRef;

/// Entries that a writer processes: more than it makes, and more the longer the queue is.
const SHARE: u64 = 2;
const SHARE_OF_QUEUE: u64 = 32;
const SHARE_MOST: u64 = 128;

/// Passes of [`Store::collect`]: a tombstone goes only after what it hides, so a second pass may find
/// more than the first. Bounded, because writers may make garbage all the time. Models stay small.
const PASSES: usize = if cfg!(whimbrel_loom) { 1 } else { 4 };

/// Entries between two guards of [`Store::collect`].
pub(crate) const SESSION: u64 = 256;

/// Turns of writers between two looks at the ages of snapshots.
const TURNS_OF_WATCH: u32 = 1024;

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
    pub(crate) fn progress(&self) -> usize {
        self.unlinked + self.sealed
    }
}

/// The dead list of a store. On lines of its own: writers write here, and readers read what is beside it.
#[repr(align(128))]
pub(crate) struct Collection {
    inbox: Inbox<Dead>,
    collector: Mutex<Collector>,
    /// Entries there are.
    waiting: Counter,
    /// Bytes of the versions that no collector has looked at, for a store with a bound.
    unseen: Option<Counter>,
    seen: Seen,
    /// Whether there is an observer of unlinking. Written under the collector's lock.
    is_observed: AtomicU64,
}

/// What the holder of the lock works on.
pub(crate) struct Collector {
    pub(crate) queue: Queue,
    turns: u32,
    pub(crate) view: View,
    /// Who is told of versions before they are unlinked.
    pub(crate) observed: Option<Arc<Observed>>,
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
    pub(crate) fn new(bounded: bool) -> Self {
        let (queue, view) = (Queue::new(), View::default());
        let collector = Collector { queue, turns: 0, view, observed: None };
        Self {
            inbox: Inbox::new(),
            collector: Mutex::new(collector),
            waiting: Counter::new(),
            unseen: bounded.then(Counter::new),
            seen: Seen::default(),
            is_observed: AtomicU64::new(0),
        }
    }

    /// Whether there may be an observer of unlinking. For who asked for [`ClockInner::oldest`] before: where
    /// that is above an observed number, this says so.
    ///
    /// [`ClockInner::oldest`]: crate::clock::ClockInner::oldest
    #[inline]
    pub(crate) fn is_observed(&self) -> bool {
        // ORDERING: Relaxed; it was set before the observed snapshot closed, and `oldest` acquires closings
        // (rows V9, V18). Row V17.
        self.is_observed.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn set_observed(&self, is_observed: bool) {
        // ORDERING: Relaxed; as in `is_observed`. Row V17.
        self.is_observed.store(is_observed.into(), Ordering::Relaxed);
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

    /// A version that no snapshot sees was superseded by one with this number.
    pub(crate) fn void(&self, record: Record<'_>, old: VersionRef<'_>, dead: u64) {
        self.push(Dead::new(record, old, VOID, Some(dead)));
    }

    /// A tombstone was installed.
    pub(crate) fn tombstone(&self, record: Record<'_>, new: VersionRef<'_>, born: u64) {
        self.push(Dead::new(record, new, born, None));
    }

    fn push(&self, entry: Dead) {
        self.waiting.add(1);
        if let Some(unseen) = &self.unseen {
            unseen.add(entry.bytes());
        }
        self.inbox.push(entry);
    }

    /// Gives back the memory of a queue that was long and is short now.
    pub(crate) fn shrink(&self) {
        self.lock().queue.shrink();
    }

    /// Frees the versions that are out of their chains and wait for their entries to be disposed of.
    ///
    /// # Safety
    ///
    /// Nobody else can reach the store any more.
    pub(crate) unsafe fn free_unlinked(&self) {
        let mut collector = self.lock();
        for entry in self.inbox.take().chain(collector.queue.take_all()) {
            // SAFETY: the caller's promise.
            unsafe { entry.free_if_unlinked() };
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Collector> {
        // A poisoned lock means that a collector panicked; its queue is as good as ever.
        self.collector.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None: somebody is at work. Waits for nobody.
    fn try_lock(&self) -> Option<MutexGuard<'_, Collector>> {
        match self.collector.try_lock() {
            Ok(collector) => Some(collector),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes an observation down that was given up, unless a collector is at work, which does it then or
    /// leaves it to the next.
    pub(crate) fn end_given_up(&self) {
        if let Some(mut collector) = self.try_lock() {
            collector.end_given_up(self);
        }
    }

    /// Entries that were not disposed of yet.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.get()
    }

    /// Garbage that no open snapshot is known to see.
    pub(crate) fn collectable(&self) -> Garbage {
        self.seen.collectable(self.waiting(), self.unseen.as_ref().map(Counter::get))
    }

    /// Garbage that open snapshots are known to see.
    pub(crate) fn held(&self) -> Garbage {
        self.seen.held()
    }

    /// Whether the garbage that could be collected takes more bytes than this.
    pub(crate) fn is_above(&self, bound: u64) -> bool {
        self.collectable().total_bytes() > bound
    }

    /// Adds what is filed under each number. False: a collector was at work, and is not waited for.
    pub(crate) fn add_filed(&self, held: &mut BTreeMap<u64, Garbage>) -> bool {
        let Some(collector) = self.try_lock() else { return false };
        collector.queue.add_filed(held);
        true
    }
}

impl Access<'_> {
    /// A writer's share of the collection. Waits for nobody. True: [`Store::after_write`] is to be
    /// called, outside of the session.
    #[inline]
    pub(crate) fn collect_some(self) -> bool {
        self.store.collection.waiting() > 0 && self.has_work() && self.collect_share()
    }

    #[cold]
    fn collect_share(self) -> bool {
        let collection = &self.store.collection;
        let mut watch = false;
        if self.store.options.writers_collect(self.clock)
            && let Some(mut collector) = collection.try_lock()
        {
            let entries = collection.seen.collectable_entries(collection.waiting());
            let share = SHARE + entries / SHARE_OF_QUEUE;
            collector.turn(self, share.min(SHARE_MOST), &mut CollectReport::default());
            watch = collector.turns.is_multiple_of(TURNS_OF_WATCH);
        }
        if self.store.options.workers_collect(self.clock) && self.has_fresh_work() {
            self.clock.ring();
        }
        watch || self.store.options.bound().is_some_and(|bound| collection.is_above(bound))
    }

    /// Whether a collector would find something to do.
    pub(crate) fn has_work(self) -> bool {
        self.has_fresh_work() || self.store.collection.seen.later() > 0
    }

    /// Whether a collector would find something that nobody has looked at.
    pub(crate) fn has_fresh_work(self) -> bool {
        let Collection { inbox, seen, waiting, .. } = &self.store.collection;
        !inbox.is_empty()
            || seen.fresh() > 0
            || (waiting.get() > 0 && seen.closed() != self.clock.registry.closed())
    }

    /// Judges at most `budget` entries. None: another collector is at work; else how many there were.
    pub(crate) fn try_collect(self, budget: u64, report: &mut CollectReport) -> Option<u64> {
        let mut collector = self.store.collection.try_lock()?;
        Some(collector.turn(self, budget, report))
    }
}

impl Store {
    /// Unlinks every version that was superseded before the call and that no open snapshot sees, and drops
    /// the records of removed keys that nobody sees any more. The memory goes to the barrier, which reclaims it once the accesses that
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
        self.clock().reclaim();
        report
    }

    /// Judges every entry that is there now, once.
    fn collect_pass(&self, report: &mut CollectReport) {
        let mut left = None;
        while left != Some(0) {
            self.access(|access| {
                let collection = &access.store.collection;
                let mut collector = collection.lock();
                collector.notice_closed(access);
                let todo = left.unwrap_or_else(|| {
                    collection.waiting().saturating_sub(collector.queue.held().entries)
                });
                let judged = collector.turn(access, todo.min(SESSION), report);
                left = Some(if judged == 0 { 0 } else { todo - judged });
            });
        }
    }
}

impl Collector {
    /// Judges at most `budget` entries, and returns how many.
    fn turn(&mut self, access: Access<'_>, budget: u64, report: &mut CollectReport) -> u64 {
        let collection = &access.store.collection;
        self.end_given_up(collection);
        self.notice_closed(access);
        self.turns = self.turns.wrapping_add(1);
        let (mut judged, mut ended) = (0, Vec::new());
        while judged < budget
            && let Some(entry) = self.queue.next(&collection.inbox)
        {
            judged += 1;
            report.examined += 1;
            self.process(access, entry, report, &mut ended);
        }
        access.store.list.unlink_many(&ended, access.guard);
        self.show(collection);
        judged
    }

    /// Lets others see what there is.
    pub(crate) fn show(&mut self, collection: &Collection) {
        let looked_at = self.queue.show(&collection.seen, self.view.closed);
        if let Some(unseen) = &collection.unseen {
            unseen.sub(looked_at);
        }
    }

    /// Releases what was filed under snapshots that have closed.
    fn notice_closed(&mut self, access: Access<'_>) {
        if self.view.closed != access.clock.registry.closed() {
            self.look_again(access);
        }
    }

    /// Looks at the registry anew. What was filed under snapshots that have closed is to be judged
    /// again: each closing is noticed once.
    fn look_again(&mut self, access: Access<'_>) {
        self.view.refresh(access.clock);
        self.release();
    }

    /// Does with an entry what is to be done. Records that are sealed are added to `ended`.
    fn process<'g>(
        &mut self,
        access: Access<'g>,
        mut entry: Dead,
        report: &mut CollectReport,
        ended: &mut Vec<Record<'g>>,
    ) {
        let version = entry.version(access.guard);
        if !version.is_unlinked() {
            match self.judge(access, &mut entry) {
                Verdict::Unlink => match self.sweep(access, &entry, report) {
                    Swept::Unlinked => {}
                    Swept::Hides => return self.keep_observed(access, entry),
                    Swept::NoRoom => return self.queue.put_off(entry),
                },
                Verdict::Seal => {
                    if !self.tell_removed(access, &mut entry) || !seal(access, &entry) {
                        return self.queue.put_off(entry);
                    }
                    report.sealed += 1;
                    ended.push(entry.record(&access.store.list, access.guard));
                }
                Verdict::Later => return self.queue.put_off(entry),
                Verdict::File(number) => return self.queue.file(number, entry),
            }
        }
        access.store.collection.waiting.sub(1);
        // SAFETY: out of its chain (swept, or its record is sealed), and its entry ends here: once.
        unsafe { version.retire(access.guard) };
    }

    fn judge(&mut self, access: Access<'_>, entry: &mut Dead) -> Verdict {
        if entry.dead.is_none() {
            let record = entry.record(&access.store.list, access.guard);
            if Access::cell_word(record) == entry.version_word() {
                return self.judge_newest(access, entry);
            }
            entry.dead = number_above(record, entry).and_then(NonZeroU64::new);
        }
        let Some(dead) = entry.dead.map(NonZeroU64::get) else { return Verdict::Later };
        self.look_as_of(access, dead);
        match self.view.newest_seeing(entry.since(), dead) {
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

/// Ends the key of a tombstone that hides nothing. False: somebody has written the key. The record is to be
/// handed to the list.
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
    true
}
