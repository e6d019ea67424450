//! Follows the writes to stores from one backup to the next.
//!
//! Two things are kept for each store: a [`Capture`], which hears of every key that is written, and the
//! snapshot that the last backup shows, so that the old value of a key can still be read. From the two
//! follows what changed, without a look at any other key.
//!
//! Why nothing is missed. A write hands its key to the capture after it has its number and before its
//! operation ends, inside one barrier session.
//!
//! - T1. [`Followed::since`]: a clock number read after the capture was turned on and all operations that
//!   were inside then had left. A write that the capture did not hear of had its number before that, so
//!   every snapshot with a number of at least `since` sees it. Only such a snapshot becomes a base.
//! - T2. Before changes are listed, all operations that were inside when the new snapshot was there leave
//!   ([`quiesce`]), and then the capture is drained. So every write that the new snapshot sees and the base
//!   does not is in the list. (A write that got its number later may be there too; comparing values
//!   decides.)
//! - T3. What must stay for the backup after the new one: keys of writes that the new snapshot does not
//!   see. Keys that were drained when the clock stood at [`Followed::drained_at`] or before belong to
//!   writes with numbers up to that, so a snapshot with that number or a greater one sees them all: only
//!   what was drained afterwards is kept.

use std::collections::HashMap;

use whimbrel_mvcc::{Barrier, Capture, CaptureOptions, Snapshot, Store};

use super::pending::Pending;
use crate::manifest::Link;
use crate::mutant::{Mutant, planted};
use crate::sync::pause;

/// Entries of a store for each interval that its capture can mark at least.
const ENTRIES_PER_BUCKET: usize = 64;

/// Least memory of a store's capture in bytes, however many stores there are.
const LEAST_BYTES: usize = 16 << 10;

/// How a [`Tracker`] bounds its memory. Builder.
#[derive(Debug, Clone)]
pub struct TrackerOptions {
    max_bytes: usize,
}

impl Default for TrackerOptions {
    fn default() -> Self {
        Self { max_bytes: 256 << 20 }
    }
}

impl TrackerOptions {
    /// Bytes of the keys that are remembered, in all stores together; default 256 MiB. A key counts with 48
    /// bytes more than it has. Where more is written between two calls of [`Tracker::watch`], intervals of
    /// the store are remembered instead, and the next incremental backup walks these; where more has
    /// changed since the last backup, it walks the whole store. The backup is right either way.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }
}

/// What is kept between two backups, so that the second one need not look at what has not changed.
///
/// A tracker lives as long as its process. It keeps, for each store: the keys written since the last
/// backup, bounded by [`TrackerOptions::with_max_bytes`]; and the snapshot of that backup, which costs the
/// memory of the values that were written over or removed since. Each write to a followed store costs a
/// copy of its key. Dropping the tracker ends all of that.
///
/// Without a tracker, after a restart, or for stores that it does not follow from the base on, an
/// incremental backup compares with the base's files: as small, but no faster than a full one.
///
/// # Examples
/// ```
/// use whimbrel_backup::repository::{Kind, back_up};
/// use whimbrel_backup::{ExportOptions, Tracker};
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"whimbrel", b"1")?;
/// let dir = tempfile::tempdir()?;
/// let (root, options) = (dir.path(), ExportOptions::default());
///
/// let mut tracker = Tracker::default();
/// let watched = [("birds".to_string(), store.clone())];
/// tracker.watch(&watched);
/// let snapshots = [("birds".to_string(), store.snapshot())];
/// back_up(root, &snapshots, Kind::Full, &options, Some(&mut tracker))?;
///
/// store.put(b"curlew", b"2")?;
/// tracker.watch(&watched);
/// let snapshots = [("birds".to_string(), store.snapshot())];
/// let report = back_up(root, &snapshots, Kind::Incremental, &options, Some(&mut tracker))?;
/// assert_eq!((report.puts, report.stores.followed), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Tracker {
    options: TrackerOptions,
    followed: HashMap<String, Followed>,
    base: Option<Link>,
}

#[derive(Debug)]
struct Followed {
    store: Store,
    capture: Capture,
    /// T1.
    since: u64,
    /// T3.
    drained_at: u64,
    pending: Pending,
    /// What was drained after `drained_at`.
    late: Pending,
    base: Option<Snapshot>,
}

/// What changed in one store since the base.
#[derive(Debug)]
pub(crate) struct Changes {
    /// The store as the base shows it.
    pub(crate) base: Snapshot,
    /// Where to look.
    pub(crate) pending: Pending,
}

impl Tracker {
    /// A tracker that follows nothing yet.
    #[must_use]
    pub fn new(options: TrackerOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Follows these stores from now on, and no others. To be called before the snapshots of a backup are
    /// taken, each time; it may be called in between, which keeps what the captures hold small.
    ///
    /// A store whose captures are all taken (by a migration, for instance) is not followed: its next
    /// incremental backup compares. Waits until the operations that are inside of new stores have left, so
    /// the caller must not hold a guard of their barrier.
    ///
    /// # Complexity
    /// For a new store a walk through its upper levels; otherwise linear in the keys written since the
    /// last call.
    pub fn watch(&mut self, stores: &[(String, Store)]) {
        let named: HashMap<&str, &Store> =
            stores.iter().map(|(name, store)| (name.as_str(), store)).collect();
        self.followed
            .retain(|name, it| named.get(name.as_str()).is_some_and(|store| store.is(&it.store)));
        let most = (self.options.max_bytes / named.len().max(1)).max(LEAST_BYTES);
        let mut begun = Vec::new();
        for (name, store) in named {
            if self.followed.contains_key(name) {
                continue;
            }
            let buckets = store.len_estimate() / ENTRIES_PER_BUCKET;
            let options = CaptureOptions::new().max_bytes(most).buckets(buckets);
            match store.capture(options) {
                Ok(capture) => begun.push((name, store, capture)),
                Err(error) => tracing::debug!(store = name, %error, "not followed"),
            }
        }
        quiesce(begun.iter().map(|(_, store, _)| *store));
        for (name, store, capture) in begun {
            let since = store.clock().now();
            let followed = Followed {
                store: store.clone(),
                capture,
                since,
                drained_at: since,
                pending: Pending::default(),
                late: Pending::default(),
                base: None,
            };
            self.followed.insert(name.to_owned(), followed);
        }
        for followed in self.followed.values_mut() {
            followed.pending.merge(std::mem::take(&mut followed.late), most);
            followed.pending.add(followed.capture.drain(), most);
            followed.drained_at = followed.store.clock().now();
        }
    }

    /// The backup from which the changes are followed; none before the first one.
    #[must_use]
    pub fn base(&self) -> Option<Link> {
        self.base
    }

    /// Bytes of remembered keys. What the base's snapshots hold is in the statistics of the clock.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of = |it: &Followed| it.pending.bytes() + it.late.bytes();
        self.followed.values().map(of).sum()
    }

    /// Takes note of all writes that these snapshots see. Before [`changes`](Self::changes).
    pub(crate) fn collect(&mut self, snapshots: &[(String, Snapshot)]) {
        if !planted(Mutant::CollectedNotAwaited) {
            quiesce(snapshots.iter().map(|(_, snapshot)| snapshot.store()));
        }
        let most = (self.options.max_bytes / self.followed.len().max(1)).max(LEAST_BYTES);
        for followed in self.followed.values_mut() {
            followed.late.add(followed.capture.drain(), most);
        }
    }

    /// What changed from the base to the snapshot; none when the store was not followed from it on.
    pub(crate) fn changes(&self, base: Link, name: &str, snapshot: &Snapshot) -> Option<Changes> {
        let followed = self.followed.get(name).filter(|_| self.base == Some(base))?;
        let from = followed.base.as_ref().filter(|_| followed.store.is(snapshot.store()))?;
        if from.number() > snapshot.number() {
            return None;
        }
        let mut pending = followed.pending.clone();
        pending.merge(followed.late.clone(), usize::MAX);
        Some(Changes { base: from.clone(), pending })
    }

    /// These snapshots are a backup now, the base of the next one. After [`collect`](Self::collect).
    pub(crate) fn rebase(&mut self, link: Link, snapshots: &[(String, Snapshot)]) {
        self.base = Some(link);
        let shown: HashMap<&str, &Snapshot> =
            snapshots.iter().map(|(name, snapshot)| (name.as_str(), snapshot)).collect();
        for (name, followed) in &mut self.followed {
            let snapshot = shown.get(name.as_str()).filter(|it| it.store().is(&followed.store));
            let since = if planted(Mutant::SinceIgnored) { 0 } else { followed.since };
            let snapshot = snapshot.filter(|it| it.number() >= since);
            followed.base = snapshot.map(|snapshot| (*snapshot).clone());
            let drained_at =
                if planted(Mutant::DrainedAtIgnored) { 0 } else { followed.drained_at };
            if snapshot.is_some_and(|snapshot| snapshot.number() >= drained_at) {
                // T3.
                followed.pending = Pending::default();
            }
            if planted(Mutant::LateForgotten) {
                followed.late = Pending::default();
            }
        }
    }
}

/// What models drive.
#[cfg(whimbrel_loom)]
impl Tracker {
    /// Backs up one store as far as a tracker has to do with it: answers with the keys that the backup of this
    /// snapshot would look at, none where it would compare, and makes the snapshot the base.
    pub fn back_up(&mut self, name: &str, snapshot: &Snapshot) -> Option<Vec<Vec<u8>>> {
        use super::pending::Piece;

        let snapshots = [(name.to_owned(), snapshot.clone())];
        self.collect(&snapshots);
        let changes = self.base.and_then(|base| self.changes(base, name, snapshot));
        let number = self.base.map_or(0, |base| base.crc32c + 1);
        self.rebase(Link { id: crate::shard::BackupId([0; 16]), crc32c: number }, &snapshots);
        let pieces = |changes: Changes| -> Vec<Vec<u8>> {
            let pieces = changes.pending.pieces(usize::MAX, |range| vec![range]);
            let keys = pieces.into_iter().flat_map(|piece| match piece {
                Piece::Keys(keys) => keys.to_vec(),
                Piece::Span(range) => unreachable!("{range:?} above the budget"),
            });
            keys.collect()
        };
        changes.map(pieces)
    }
}

/// Waits until the operations that are inside of these stores now have left.
fn quiesce<'s>(stores: impl Iterator<Item = &'s Store>) {
    let mut barriers: Vec<&'s Barrier> = Vec::new();
    for store in stores {
        let barrier: &Barrier = store.clock().barrier();
        // Nearly always they share one clock.
        if !barriers.iter().any(|known| std::ptr::eq(*known, barrier)) {
            barriers.push(barrier);
        }
    }
    for barrier in barriers {
        let ticket = barrier.ticket();
        while !barrier.poll(ticket) {
            pause();
        }
    }
}
