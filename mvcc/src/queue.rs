//! What waits for a store's collector, sorted by what it waits for, and the figures of it.
//!
//! Lists may be long. They grow without being copied and move in one step, so that nothing done here
//! takes longer for it.

use std::collections::{BTreeMap, VecDeque};

use crate::dead::{Dead, ENTRY_BYTES, Inbox, Taken};
use crate::sync::Counter;

/// Entries in a chunk: few enough that a list that ends in an empty one wastes little.
const CHUNK: usize = if cfg!(whimbrel_loom) { 2 } else { 256 };

/// Entries whose records are loaded ahead.
const AHEAD: usize = 8;

/// How much garbage there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Garbage {
    /// Entries of the dead list: superseded versions and tombstones.
    pub entries: u64,
    /// Bytes of those versions.
    pub bytes: u64,
}

impl Garbage {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { entries: self.entries - other.entries, bytes: self.bytes - other.bytes }
    }

    /// Bytes of versions and entries.
    pub(crate) fn total_bytes(self) -> u64 {
        self.bytes + self.entries * ENTRY_BYTES
    }

    fn add(&mut self, entry: &Dead) {
        self.entries += 1;
        self.bytes += entry.bytes();
    }

    fn sub(&mut self, entry: &Dead) {
        self.entries -= 1;
        self.bytes -= entry.bytes();
    }
}

/// A stack of dead entries.
#[derive(Default)]
pub(crate) struct DeadList {
    /// All but the last are full; none is empty.
    chunks: Vec<Vec<Dead>>,
    garbage: Garbage,
}

impl DeadList {
    pub(crate) fn push(&mut self, entry: Dead) {
        self.garbage.add(&entry);
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(entry),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
            // A short list takes no whole chunk.
            None => self.chunks.push(vec![entry]),
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Dead> {
        let chunk = self.chunks.last_mut()?;
        let entry = chunk.pop()?;
        // What was filed long ago is in no cache.
        if let Some(soon) = chunk.len().checked_sub(AHEAD).and_then(|at| chunk.get(at)) {
            soon.prefetch();
        }
        if chunk.is_empty() {
            self.chunks.pop();
        }
        self.garbage.sub(&entry);
        Some(entry)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(crate) fn garbage(&self) -> Garbage {
        self.garbage
    }
}

/// The entries that left the inbox. Of a collector, under its lock.
pub(crate) struct Queue {
    /// Taken out of the inbox.
    incoming: Taken<Dead>,
    /// Were filed under snapshots that have closed.
    released: Vec<DeadList>,
    /// Something was under way.
    later: VecDeque<Dead>,
    /// Entries that an open snapshot sees, by the newest such number.
    filed: BTreeMap<u64, DeadList>,
    /// Sums of the lists of `released`, of `later`, of the lists of `filed`.
    fresh: Garbage,
    put_off: Garbage,
    held: Garbage,
    /// Mean bytes of what came out of the inbox of late, and their sum since the last `show`.
    mean: u64,
    looked_at: u64,
    /// Something was filed, released or put off since, or is no longer.
    changed: bool,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self {
            incoming: Taken::nothing(),
            released: Vec::new(),
            later: VecDeque::new(),
            filed: BTreeMap::new(),
            fresh: Garbage::default(),
            put_off: Garbage::default(),
            held: Garbage::default(),
            mean: 0,
            looked_at: 0,
            changed: false,
        }
    }

    /// The next entry to judge: what is new first.
    pub(crate) fn next(&mut self, inbox: &Inbox<Dead>) -> Option<Dead> {
        if self.incoming.is_empty() && !inbox.is_empty() {
            self.incoming = inbox.take();
        }
        if let Some(entry) = self.incoming.next() {
            self.mean = (7 * self.mean + entry.bytes()) / 8;
            self.looked_at += entry.bytes();
            return Some(entry);
        }
        if self.fresh.entries + self.put_off.entries == 0 { None } else { self.next_again() }
    }

    /// The next entry that was here before.
    #[cold]
    fn next_again(&mut self) -> Option<Dead> {
        self.changed = true;
        if let Some(list) = self.released.last_mut() {
            let entry = list.pop()?;
            if list.is_empty() {
                self.released.pop();
            }
            self.fresh.sub(&entry);
            return Some(entry);
        }
        let entry = self.later.pop_front()?;
        self.put_off.sub(&entry);
        Some(entry)
    }

    /// Files an entry under the newest snapshot that sees it.
    pub(crate) fn file(&mut self, number: u64, entry: Dead) {
        self.changed = true;
        self.held.add(&entry);
        self.filed.entry(number).or_default().push(entry);
    }

    /// Keeps an entry for another time.
    pub(crate) fn put_off(&mut self, entry: Dead) {
        self.changed = true;
        self.put_off.add(&entry);
        self.later.push_back(entry);
    }

    /// What is filed under snapshots that are not open is to be judged again.
    pub(crate) fn release(&mut self, is_open: impl Fn(u64) -> bool) {
        let closed: Vec<u64> =
            self.filed.keys().copied().filter(|number| !is_open(*number)).collect();
        for number in closed {
            let Some(list) = self.filed.remove(&number) else { continue };
            self.changed = true;
            self.held = self.held.minus(list.garbage());
            self.fresh = self.fresh.plus(list.garbage());
            self.released.push(list);
        }
    }

    /// What open snapshots see.
    pub(crate) fn held(&self) -> Garbage {
        self.held
    }

    /// Adds what is filed under each number.
    pub(crate) fn add_filed(&self, held: &mut BTreeMap<u64, Garbage>) {
        for (number, list) in &self.filed {
            let sum = held.entry(*number).or_default();
            *sum = sum.plus(list.garbage());
        }
    }

    /// Takes everything.
    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Dead> {
        self.release(|_| false);
        let mut all = std::mem::replace(self, Self::new());
        let nothing = Inbox::new();
        std::iter::from_fn(move || all.next(&nothing))
    }

    pub(crate) fn shrink(&mut self) {
        self.later.shrink_to_fit();
    }

    /// Lets others see what there is, and how many closed registrations were seen. Returns the bytes of
    /// what came out of the inbox since the last time.
    pub(crate) fn show(&mut self, seen: &Seen, closed: u64) -> u64 {
        seen.fresh.set(self.fresh.entries + u64::from(!self.incoming.is_empty()));
        seen.closed.set(closed);
        seen.mean.set(self.mean);
        if self.changed {
            self.changed = false;
            seen.later.set(self.put_off.entries);
            seen.bytes.set(self.fresh.bytes + self.put_off.bytes);
            seen.held.set(self.held.entries);
            seen.held_bytes.set(self.held.bytes);
        }
        std::mem::take(&mut self.looked_at)
    }
}

/// What the last collector left, for others to see without its lock. Hints and figures.
#[derive(Default)]
pub(crate) struct Seen {
    /// Entries that nobody has judged since they were released; of what was taken out of the inbox, one.
    fresh: Counter,
    /// Entries that were put off.
    later: Counter,
    /// Bytes of the versions of both.
    bytes: Counter,
    closed: Counter,
    held: Counter,
    held_bytes: Counter,
    mean: Counter,
}

impl Seen {
    pub(crate) fn fresh(&self) -> u64 {
        self.fresh.get()
    }

    pub(crate) fn later(&self) -> u64 {
        self.later.get()
    }

    /// Closed registrations that a collector has seen.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.get()
    }

    /// Garbage that open snapshots are known to see.
    pub(crate) fn held(&self) -> Garbage {
        Garbage { entries: self.held.get(), bytes: self.held_bytes.get() }
    }

    /// Of so many entries in all, how many no open snapshot is known to see.
    pub(crate) fn collectable_entries(&self, waiting: u64) -> u64 {
        waiting.saturating_sub(self.held.get())
    }

    /// The same, with their bytes. Where the bytes of what no
    /// collector has looked at are not counted, they are estimated by what came before.
    pub(crate) fn collectable(&self, waiting: u64, unseen_bytes: Option<u64>) -> Garbage {
        let entries = self.collectable_entries(waiting);
        let unseen = entries.saturating_sub(self.fresh() + self.later());
        let unseen_bytes = unseen_bytes.unwrap_or_else(|| unseen * self.mean.get());
        Garbage { entries, bytes: self.bytes.get() + unseen_bytes }
    }
}
