//! Batches: many writes, seen by every snapshot all or not at all.
//!
//! All versions of a batch share one stamp word, in its *descriptor*; each version's own word leads
//! to it. The operations are installed in order of (store, key), one per key, and then the shared word
//! is settled. Whoever meets a pending version of a batch and has to write over it carries the batch
//! out first, from the next key on. Helping goes to higher keys only, so it ends.
//!
//! Why an operation goes in once: nobody installs over a pending version of a batch, and a cell that led to
//! one never returns to what it held before. (It does where a void version is taken out, which no
//! operation was installed on; `ingest/mod.rs`.) So, if the batch is still pending *after* a
//! head was read, an earlier installation would still be that head; and if the head changes before our
//! exchange, the exchange fails.
//!
//! The invariants of the descriptor are in `descriptor.rs`.

use std::ptr::NonNull;

use whimbrel_skiplist::{Guard, Record};

use crate::access::{Access, Change, Head};
use crate::descriptor::{Descriptor, Op, reclaim};
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, Stamp, StampWord};
use crate::store::{Store, VersionToken};
use crate::version::{Fresh, VersionRef, check_value};
use crate::{Clock, Error};

/// Operations a batch may have: a writer in its way may have to carry all of them out.
pub const MAX_BATCH_OPS: usize = 4096;

/// Operations from which on it pays to look their keys up side by side first.
const SIDE_BY_SIDE: usize = 4;

/// Writes that become visible together.
///
/// Building a batch touches nothing; [`Batch::commit`] does. Of several operations on one key the last
/// wins. At most [`MAX_BATCH_OPS`] keys.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Batch, Clock, Error, Store};
///
/// let store = Store::new(&Clock::new());
/// let (_, token) = store.get_versioned(b"a");
///
/// let mut batch = Batch::new();
/// batch.expect(&store, b"a", token.clone());
/// batch.put(&store, b"a", b"1");
/// batch.put(&store, b"b", b"2");
/// batch.commit()?;
///
/// let mut late = Batch::new();
/// late.expect(&store, b"a", token);
/// late.put(&store, b"a", b"3");
/// assert!(matches!(late.commit(), Err(Error::PreconditionFailed { .. })));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Batch {
    /// One handle for operations on one store that follow each other.
    stores: Vec<Store>,
    ops: Vec<Draft>,
    expected: Vec<(Store, Vec<u8>, VersionToken)>,
}

/// An operation of a batch that is being put together.
#[derive(Debug)]
struct Draft {
    /// Place in `Batch::stores`.
    store: usize,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// A batch that took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Its number: snapshots with at least this number see the whole batch, others nothing of it.
    /// 0 for a batch without operations.
    pub number: u64,
}

impl Batch {
    /// A batch without operations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keys with an operation, those given twice counted twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether it has no operations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The key gets this value.
    pub fn put(
        &mut self,
        store: &Store,
        key: impl Into<Vec<u8>>,
        value: impl Into<Vec<u8>>,
    ) -> &mut Self {
        self.add(store, key.into(), Some(value.into()))
    }

    /// The key is removed; it may be absent.
    pub fn remove(&mut self, store: &Store, key: impl Into<Vec<u8>>) -> &mut Self {
        self.add(store, key.into(), None)
    }

    fn add(&mut self, store: &Store, key: Vec<u8>, value: Option<Vec<u8>>) -> &mut Self {
        if !self.stores.last().is_some_and(|last| last.is(store)) {
            self.stores.push(store.clone());
        }
        self.ops.push(Draft { store: self.stores.len() - 1, key, value });
        self
    }

    /// The batch takes effect only if the key still holds what `token` names. The key must be the
    /// first of the batch in order of (store number, key), and must have an operation.
    pub fn expect(
        &mut self,
        store: &Store,
        key: impl Into<Vec<u8>>,
        token: VersionToken,
    ) -> &mut Self {
        self.expected.push((store.clone(), key.into(), token));
        self
    }

    /// The batch takes effect only if the key is absent. See [`Batch::expect`].
    pub fn expect_absent(&mut self, store: &Store, key: impl Into<Vec<u8>>) -> &mut Self {
        self.expect(store, key, VersionToken::absent())
    }

    /// Carries the batch out. Linearizable: it takes effect, as a whole, when its number is settled.
    ///
    /// # Complexity
    ///
    /// O(m log n) for m keys, plus the rest of every batch that is met on the way. Lock-free.
    ///
    /// # Errors
    ///
    /// [`Error::PreconditionFailed`] when the precondition does not hold; [`Error::KeyTooLong`],
    /// [`Error::ValueTooLong`], [`Error::BatchTooLarge`], [`Error::ForeignClock`],
    /// [`Error::PreconditionNotFirst`] for batches that cannot be carried out. Nothing was written.
    pub fn commit(mut self) -> Result<Committed, Error> {
        if self.ops.is_empty() {
            return Ok(Committed { number: 0 });
        }
        let expected = self.prepare()?;
        let Self { mut stores, ops, .. } = self;
        let clock = stores[0].clock().clone();
        let guard = clock.pin();
        let writes = ops.len();
        let ops = ops.into_iter().map(|Draft { store, key, value }| {
            let store = NonNull::from(stores[store].inner());
            Op { store, key, value }
        });
        let descriptor = Descriptor::new(ops.collect());
        let number = commit(&clock, descriptor, expected.as_ref(), &guard)?;
        stores.sort_by_key(Store::number);
        stores.dedup_by(|store, before| store.is(before));
        stores.retain(|store| Access::new(&clock.0, store.inner(), &guard).collect_some());
        drop(guard);
        stores.iter().for_each(|store| store.after_write(writes));
        Ok(Committed { number })
    }

    /// Orders the operations and checks everything that can be checked beforehand.
    fn prepare(&mut self) -> Result<Option<VersionToken>, Error> {
        let Self { stores, ops, expected } = self;
        if stores.iter().any(|store| !store.clock().is(stores[0].clock())) {
            return Err(Error::ForeignClock);
        }
        for Draft { key, value, .. } in &*ops {
            Store::check_key(key)?;
            check_value(value.as_deref().unwrap_or_default())?;
        }
        // Stable, then the last of equals is kept.
        ops.sort_by(|a, b| a.place(stores).cmp(&b.place(stores)));
        ops.dedup_by(|later, kept| {
            let same = later.place(stores) == kept.place(stores);
            if same {
                std::mem::swap(&mut later.value, &mut kept.value);
            }
            same
        });
        if ops.len() > MAX_BATCH_OPS {
            return Err(Error::BatchTooLarge { ops: ops.len(), limit: MAX_BATCH_OPS });
        }
        let first = &ops[0];
        for (at, (store, key, _)) in expected.iter().enumerate() {
            if at > 0 || !store.is(&stores[first.store]) || *key != first.key {
                return Err(Error::PreconditionNotFirst {
                    key: key.clone(),
                    first: first.key.clone(),
                });
            }
        }
        Ok(expected.pop().map(|(_, _, token)| token))
    }
}

impl Draft {
    fn place(&self, stores: &[Store]) -> (u64, &[u8]) {
        (stores[self.store].number(), &self.key)
    }
}

/// What one thread's part in a batch came to.
struct Carried<'g> {
    number: u64,
    /// The versions that this thread installed.
    mine: Vec<(Access<'g>, Change<'g>)>,
    /// Records of the operations, as far as this thread went through them.
    records: Vec<Record<'g>>,
}

/// The owner's way through its batch.
fn commit(
    clock: &Clock,
    descriptor: NonNull<Descriptor>,
    expected: Option<&VersionToken>,
    guard: &Guard<'_>,
) -> Result<u64, Error> {
    // SAFETY: made by the caller; retired or freed below only.
    let batch = unsafe { descriptor.as_ref() };
    let first = &batch.ops[0];
    let access = Access::new(&clock.0, first.store(), guard);
    let known = look_up(access, batch);
    let Some(change) = begin(access, batch, first, expected, known.first().copied().flatten())
    else {
        let key = first.key.clone();
        // SAFETY: no version leads to it: it was not published (invariant D3). `batch` is not used
        // after this.
        unsafe { reclaim(descriptor.as_ptr().cast()) };
        return Err(Error::PreconditionFailed { key });
    };
    if planted(Mutant::BatchSettledEarly) {
        batch.stamp().settle(access.clock, By::Owner);
    }
    let mut carried = carry_out(access, batch, 1, By::Owner, &known);
    carried.mine.push((access, change));
    carried.records.insert(0, change.record);
    file(&carried, By::Owner);
    make_direct(access, batch, &carried);
    let bytes = size_of::<Descriptor>() + batch.ops.len() * size_of::<Op>();
    // SAFETY: no reachable version leads to it any more (invariant D1); retired once, by the owner.
    unsafe { guard.retire(descriptor.as_ptr().cast(), bytes, reclaim) };
    Ok(carried.number)
}

/// The records of the operations, as far as their keys have any: looked up side by side, where that is
/// worth it. What becomes of a record meanwhile is noticed by who installs.
fn look_up<'g>(access: Access<'g>, batch: &'g Descriptor) -> Vec<Option<Record<'g>>> {
    if batch.ops.len() < SIDE_BY_SIDE {
        return Vec::new();
    }
    let (mut known, mut keys) = (Vec::with_capacity(batch.ops.len()), Vec::new());
    for ops in batch.ops.chunk_by(|op, next| op.store == next.store) {
        keys.clear();
        keys.extend(ops.iter().map(|op| op.key.as_slice()));
        access.within(ops[0].store()).find_many(&keys, |_, record| known.push(record));
    }
    known
}

/// Installs the first operation if the precondition holds. None: it does not. `known` is the record of the
/// key as it was found before.
fn begin<'g>(
    access: Access<'g>,
    batch: &Descriptor,
    op: &Op,
    expected: Option<&VersionToken>,
    mut known: Option<Record<'g>>,
) -> Option<Change<'g>> {
    loop {
        let record = known.take().unwrap_or_else(|| op.record(access));
        let old = match access.settled_head(record) {
            Head::Sealed => {
                access.store.list.unlink_sealed(record, access.guard);
                continue;
            }
            Head::Empty => None,
            Head::Settled(version) => Some(version),
            Head::Ingesting { top, below } => match expected {
                None => Some(top),
                Some(token) if token.holds(below.and_then(VersionRef::value)) => {
                    access.touch(record, top, below);
                    continue;
                }
                Some(_) if access.is_running(record, top) => return None,
                Some(_) => continue,
            },
        };
        if let Some(token) = expected
            && !token.holds(old.and_then(VersionRef::value))
        {
            access.drop_if_empty(record);
            return None;
        }
        let fresh = Fresh::new(StampWord::indirect(batch.word()), op.value.as_deref());
        if let Ok(change) = access.install(record, old, fresh) {
            return Some(change);
        }
    }
}

/// Installs what is missing from operation `from` on, and settles. Run by owner and helpers alike. `known`
/// has the records that were found before, of all operations or of none.
fn carry_out<'g>(
    access: Access<'g>,
    batch: &'g Descriptor,
    from: usize,
    by: By,
    known: &[Option<Record<'g>>],
) -> Carried<'g> {
    let most = batch.ops.len();
    let (mut mine, mut records) = (Vec::with_capacity(most), Vec::with_capacity(most));
    for (at, op) in batch.ops.iter().enumerate().skip(from) {
        let access = access.within(op.store());
        let known = known.get(at).copied().flatten();
        let Some((record, change)) = place(access, batch, op, known) else { break };
        records.push(record);
        mine.extend(change.map(|change| (access, change)));
    }
    let number = batch.stamp().settle(access.clock, by);
    Carried { number, mine, records }
}

/// Puts one operation in place, unless that was done. None: the batch was settled meanwhile.
fn place<'g>(
    access: Access<'g>,
    batch: &'g Descriptor,
    op: &Op,
    mut known: Option<Record<'g>>,
) -> Option<(Record<'g>, Option<Change<'g>>)> {
    loop {
        if !batch.is_pending() && !planted(Mutant::BatchSettledEarly) {
            return None;
        }
        let record = known.take().unwrap_or_else(|| op.record(access));
        let head = Access::head(record);
        if head.is_some_and(|head| batch.owns(head)) {
            return Some((record, None));
        }
        // After the head was read: if it is pending still, nobody has installed this operation.
        if !batch.is_pending() && !unchecked() {
            access.drop_if_empty(record);
            return None;
        }
        let old = match access.settled_head(record) {
            Head::Sealed => {
                access.store.list.unlink_sealed(record, access.guard);
                continue;
            }
            Head::Empty => None,
            Head::Settled(version) | Head::Ingesting { top: version, .. } => Some(version),
        };
        if old.map(VersionRef::word) != head.map(VersionRef::word) {
            continue;
        }
        if planted(Mutant::BatchSkipsAbsent) && op.value.is_none() && old.is_none() {
            return Some((record, None));
        }
        let fresh = Fresh::new(StampWord::indirect(batch.word()), op.value.as_deref());
        if let Ok(change) = access.install(record, old, fresh) {
            return Some((record, Some(change)));
        }
    }
}

fn unchecked() -> bool {
    planted(Mutant::BatchNotLookedAt) || planted(Mutant::BatchSettledEarly)
}

/// Carries out the batch whose pending version was met on `key` in this store; returns its number.
pub(crate) fn help(access: Access<'_>, descriptor: u64, key: &[u8]) -> u64 {
    // SAFETY: the caller loaded the word from a version under its guard.
    let batch = unsafe { Descriptor::from_word(descriptor) };
    if let Stamp::Final(number) = batch.stamp().load() {
        return number;
    }
    let met = (access.store.number, key);
    let next = batch.ops.partition_point(|op| op.place() <= met);
    let carried = carry_out(access, batch, next, By::Helper, &[]);
    file(&carried, By::Helper);
    carried.number
}

/// What installers do once the batch is settled.
fn file(carried: &Carried<'_>, by: By) {
    for (access, change) in &carried.mine {
        if by == By::Helper && planted(Mutant::CaptureOwnerOnly) {
            continue;
        }
        access.settled(*change, carried.number);
    }
}

/// Writes the number into the heads that are still of this batch (invariant D1). Below a head that was
/// done by who superseded it.
fn make_direct<'g>(access: Access<'g>, batch: &'g Descriptor, carried: &Carried<'g>) {
    if planted(Mutant::NotMadeDirect) {
        return;
    }
    for (at, op) in batch.ops.iter().enumerate() {
        let access = access.within(op.store());
        let record = carried.records.get(at).copied().or_else(|| access.find(&op.key));
        let head = record.and_then(Access::head);
        if let Some(head @ VersionRef::Own(version)) = head
            && batch.owns(head)
        {
            version.stamp().make_direct(carried.number);
        }
    }
}
