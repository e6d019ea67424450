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
//! Invariants.
//!
//! - D1. An `INDIRECT(d)` word was loaded from a reachable version only before `d` was retired: below
//!   a head all words are direct (who supersedes a version makes it direct first), and the owner makes
//!   the heads that are still its own direct before it retires `d`. So whoever loaded the word inside
//!   its session may use `d` until it leaves.
//! - D2. The stores of the operations outlive `d`: the owner holds handles until it has retired `d`,
//!   and a store is retired through the same barrier after its last handle.
//! - D3. Only the owner installs the first operation, so a batch that nobody has met yet can fail its
//!   precondition without a trace.

use std::ptr::NonNull;

use whimbrel_skiplist::{Guard, Record};

use crate::access::{Access, Change, Head};
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, Stamp, StampWord};
use crate::store::{Store, StoreInner, VersionToken};
use crate::version::{Fresh, VersionRef, check_value, pointer_of, word_of};
use crate::{Clock, Error};

/// Operations a batch may have: a writer in its way may have to carry all of them out.
pub const MAX_BATCH_OPS: usize = 4096;

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
    ops: Vec<(Store, Vec<u8>, Option<Vec<u8>>)>,
    expected: Vec<(Store, Vec<u8>, VersionToken)>,
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
        self.ops.push((store.clone(), key.into(), Some(value.into())));
        self
    }

    /// The key is removed; it may be absent.
    pub fn remove(&mut self, store: &Store, key: impl Into<Vec<u8>>) -> &mut Self {
        self.ops.push((store.clone(), key.into(), None));
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
        let Some(clock) = self.ops.first().map(|(store, _, _)| store.clock().clone()) else {
            return Ok(Committed { number: 0 });
        };
        let expected = self.prepare(&clock)?;
        let guard = clock.pin();
        let ops = self.ops.iter().map(|(store, key, value)| Op {
            store: NonNull::from(store.inner()),
            key: key.as_slice().into(),
            value: value.as_deref().map(Into::into),
        });
        let descriptor = Descriptor::new(ops.collect());
        let number = commit(&clock, descriptor, expected.as_ref(), &guard)?;
        let writes = self.ops.len();
        // Ordered by store.
        self.ops.dedup_by(|(store, _, _), (before, _, _)| store.is(before));
        self.ops
            .retain(|(store, _, _)| Access::new(&clock.0, store.inner(), &guard).collect_some());
        drop(guard);
        self.ops.iter().for_each(|(store, _, _)| store.after_write(writes));
        Ok(Committed { number })
    }

    /// Orders the operations and checks everything that can be checked beforehand.
    fn prepare(&mut self, clock: &Clock) -> Result<Option<VersionToken>, Error> {
        for (store, key, value) in &self.ops {
            if !store.clock().is(clock) {
                return Err(Error::ForeignClock);
            }
            Store::check_key(key)?;
            check_value(value.as_deref().unwrap_or_default())?;
        }
        // Stable, then the last of equals is kept.
        self.ops.sort_by(|a, b| (a.0.number(), &a.1).cmp(&(b.0.number(), &b.1)));
        self.ops.dedup_by(|later, kept| {
            let same = later.0.number() == kept.0.number() && later.1 == kept.1;
            if same {
                std::mem::swap(&mut later.2, &mut kept.2);
            }
            same
        });
        if self.ops.len() > MAX_BATCH_OPS {
            return Err(Error::BatchTooLarge { ops: self.ops.len(), limit: MAX_BATCH_OPS });
        }
        let first = &self.ops[0];
        for (at, (store, key, _)) in self.expected.iter().enumerate() {
            if at > 0 || !store.is(&first.0) || *key != first.1 {
                return Err(Error::PreconditionNotFirst {
                    key: key.clone(),
                    first: first.1.clone(),
                });
            }
        }
        Ok(self.expected.pop().map(|(_, _, token)| token))
    }
}

/// One operation of a descriptor.
struct Op {
    /// Valid for as long as the descriptor (invariant D2).
    store: NonNull<StoreInner>,
    key: Box<[u8]>,
    value: Option<Box<[u8]>>,
}

impl Op {
    fn store(&self) -> &StoreInner {
        // SAFETY: invariant D2.
        unsafe { self.store.as_ref() }
    }

    /// The record of the key, made if need be.
    fn record<'g>(&self, access: Access<'g>) -> Record<'g> {
        access.find_or_insert_empty(&self.key).expect("keys are checked before a batch begins")
    }

    fn place(&self) -> (u64, &[u8]) {
        (self.store().number, &self.key)
    }
}

/// What the versions of a batch share. Lives until its owner retires it (invariant D1).
pub(crate) struct Descriptor {
    stamp: StampWord,
    /// In order of (store, key), one per key, never empty.
    ops: Box<[Op]>,
    #[cfg(whimbrel_loom)]
    canary: whimbrel_skiplist::model::Canary,
}

// SAFETY: the stores are Sync, and valid for as long as the descriptor (invariant D2).
unsafe impl Send for Descriptor {}
// SAFETY: as for Send; only the stamp changes, an atomic.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    fn new(ops: Box<[Op]>) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            stamp: StampWord::pending(),
            ops,
            #[cfg(whimbrel_loom)]
            canary: whimbrel_skiplist::model::Canary::new(),
        })))
    }

    /// The descriptor that an `INDIRECT` word leads to.
    ///
    /// # Safety
    ///
    /// The word was loaded from the stamp of a version that a guard of lifetime `'g` protects.
    pub(crate) unsafe fn from_word<'g>(word: u64) -> &'g Self {
        // SAFETY: invariant D1.
        let it: &'g Self = unsafe { &*pointer_of(word) };
        #[cfg(whimbrel_loom)]
        it.canary.touch();
        it
    }

    pub(crate) fn stamp(&self) -> &StampWord {
        &self.stamp
    }

    fn word(&self) -> u64 {
        word_of(std::ptr::from_ref(self))
    }

    fn is_pending(&self) -> bool {
        self.stamp.load() == Stamp::Pending
    }

    /// Whether a version is one of this batch's (and was not made direct yet).
    fn owns(&self, version: VersionRef<'_>) -> bool {
        let VersionRef::Own(version) = version else { return false };
        version.stamp().load() == Stamp::Indirect(self.word())
    }
}

/// Frees a descriptor.
///
/// # Safety
///
/// `descriptor` comes from [`Descriptor::new`], and nobody can reach it.
unsafe fn reclaim(descriptor: *mut u8) {
    let descriptor = descriptor.cast::<Descriptor>();
    #[cfg(whimbrel_loom)]
    // SAFETY: not freed yet; given up below.
    unsafe { &*descriptor }.canary.die();
    #[cfg(whimbrel_loom)]
    // SAFETY: a box, so allocated with this layout. (What it owns is lost: models are small.)
    unsafe {
        whimbrel_skiplist::model::bury(descriptor.cast(), std::alloc::Layout::new::<Descriptor>());
    }
    #[cfg(not(whimbrel_loom))]
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(descriptor) });
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
    let Some(change) = begin(access, batch, first, expected) else {
        let key = first.key.to_vec();
        // SAFETY: no version leads to it: it was not published (invariant D3). `batch` is not used
        // after this.
        unsafe { reclaim(descriptor.as_ptr().cast()) };
        return Err(Error::PreconditionFailed { key });
    };
    if planted(Mutant::BatchSettledEarly) {
        batch.stamp.settle(access.clock, By::Owner);
    }
    let mut carried = carry_out(access, batch, 1, By::Owner);
    carried.mine.push((access, change));
    carried.records.insert(0, change.record);
    file(&carried, By::Owner);
    make_direct(access, batch, &carried);
    let bytes = size_of::<Descriptor>() + batch.ops.len() * size_of::<Op>();
    // SAFETY: no reachable version leads to it any more (invariant D1); retired once, by the owner.
    unsafe { guard.retire(descriptor.as_ptr().cast(), bytes, reclaim) };
    Ok(carried.number)
}

/// Installs the first operation if the precondition holds. None: it does not.
fn begin<'g>(
    access: Access<'g>,
    batch: &Descriptor,
    op: &Op,
    expected: Option<&VersionToken>,
) -> Option<Change<'g>> {
    loop {
        let record = op.record(access);
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

/// Installs what is missing from operation `from` on, and settles. Run by owner and helpers alike.
fn carry_out<'g>(access: Access<'g>, batch: &'g Descriptor, from: usize, by: By) -> Carried<'g> {
    let (mut mine, mut records) = (Vec::new(), Vec::new());
    for op in &batch.ops[from..] {
        let access = access.within(op.store());
        let Some((record, change)) = place(access, batch, op) else { break };
        records.push(record);
        mine.extend(change.map(|change| (access, change)));
    }
    let number = batch.stamp.settle(access.clock, by);
    Carried { number, mine, records }
}

/// Puts one operation in place, unless that was done. None: the batch was settled meanwhile.
fn place<'g>(
    access: Access<'g>,
    batch: &'g Descriptor,
    op: &Op,
) -> Option<(Record<'g>, Option<Change<'g>>)> {
    loop {
        if !batch.is_pending() && !planted(Mutant::BatchSettledEarly) {
            return None;
        }
        let record = op.record(access);
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
    if let Stamp::Final(number) = batch.stamp.load() {
        return number;
    }
    let met = (access.store.number, key);
    let next = batch.ops.partition_point(|op| op.place() <= met);
    let carried = carry_out(access, batch, next, By::Helper);
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
