//! What a node with a journal does about writes, reads and slots that come and go.
//!
//! A write is applied to its slot's store and appended to the journal under one lock of the slot's
//! stripe, so the journal has the changes of a key in the order in which the store had them. Its reply
//! is sent when the record is acknowledged; so is that of a read, for the newest record of the slot: no
//! client is told what a crash could take back. A slot that arrives from another node is written as a
//! copy, part by part while it arrives, and is whole and synced before this node may own it. An ingest is
//! written down while its entries are put in place; that it begins and that it is decided stand in the journal in
//! the order in which they happened among the writes of all slots.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use whimbrel_journal::changes::RecordBuilder;
use whimbrel_journal::{Journal, Mark, Refused};
use whimbrel_migrate::{KeepError, KeptChange, Slot, SlotKeeper};
use whimbrel_mvcc::{Batch, CasOutcome, Error, Inserted, Store};

/// Slots of one stripe are written one after the other: enough that two seldom meet.
const STRIPES: usize = 1024;
/// When so many bytes wait for the device, writes wait before they begin.
const PENDING_MAX: usize = 32 << 20;
/// Most bytes that may wait at all: what is being executed while the bound above is reached is a request
/// of 72 MiB a thread at most.
pub(crate) const PENDING_LIMIT: usize = 1 << 30;
/// Bytes of a copy in one record.
const PART: usize = 256 << 10;

/// The newest record of a stripe's slots, or why one is missing.
type Newest = Result<u64, Refused>;

/// A slot that arrives.
#[derive(Debug)]
struct Copy {
    number: u64,
    /// Sequence of its first record: the journal must keep it.
    first: u64,
}

/// The journal of a node, and the order of what goes into it.
#[derive(Debug)]
pub(crate) struct Durable {
    journal: Journal,
    order: Box<[Mutex<Newest>]>,
    copies: Mutex<BTreeMap<Slot, Copy>>,
}

impl Durable {
    pub(crate) fn new(journal: Journal) -> Self {
        let order = (0..STRIPES).map(|_| Mutex::new(Ok(0))).collect();
        Self { journal, order, copies: Mutex::default() }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    fn stripe(&self, slot: Slot) -> MutexGuard<'_, Newest> {
        let stripe = &self.order[usize::from(slot.number()) % STRIPES];
        // One value, whole after every step.
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<Slot, Copy>> {
        // A map of plain numbers.
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the device is far behind.
    pub(crate) async fn room(&self) -> Result<(), Refused> {
        while self.journal.pending_bytes() > PENDING_MAX {
            self.journal.acknowledged(self.journal.mark().sequence).await?;
        }
        Ok(())
    }

    /// Runs a write and appends what it changed. Gives the newest record of the slot, for which the reply
    /// must wait: a write that changed nothing has seen what others wrote.
    pub(crate) fn write<R>(
        &self,
        slot: Slot,
        store: &Store,
        f: impl FnOnce(&mut Writes<'_>) -> R,
    ) -> Result<(R, u64), Refused> {
        let mut newest = self.stripe(slot);
        if let Some(failure) = self.journal.failure() {
            return Err(Refused::Failed(failure));
        }
        let record = RecordBuilder::changes(u32::from(slot.number()));
        let mut writes = Writes { store, record: Some(record) };
        let result = f(&mut writes);
        if let Some(record) = writes.record.filter(|record| !record.is_empty()) {
            // If this is refused the store has what the journal lacks: nobody may be told of it.
            *newest = self.journal.append(record.bytes());
        }
        newest.clone().map(|sequence| (result, sequence))
    }

    /// All stripes, in their order: nobody else holds more than one.
    fn all_stripes(&self) -> Vec<MutexGuard<'_, Newest>> {
        self.order.iter().map(|one| one.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    /// Begins an ingest, and writes that down, between two writes of any slot.
    pub(crate) fn begin_ingest<R, E: From<Refused>>(
        &self,
        job: u64,
        behind: bool,
        begin: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let stripes = self.all_stripes();
        if let Some(failure) = self.journal.failure() {
            return Err(Refused::Failed(failure).into());
        }
        let begun = begin()?;
        self.journal.append(RecordBuilder::ingest_begins(job, behind).bytes())?;
        drop(stripes);
        Ok(begun)
    }

    /// Appends entries of an ingest. Waits while the device is far behind.
    pub(crate) fn ingest_part(&self, record: &RecordBuilder) -> Result<(), Refused> {
        let sequence = self.journal.append(record.bytes())?;
        if self.journal.pending_bytes() > PENDING_MAX {
            self.journal.wait(sequence)?;
        }
        Ok(())
    }

    /// Decides an ingest, and writes that down, between two writes of any slot. What is read of `slots` from
    /// now on waits for that record, which is given.
    pub(crate) fn decide_ingest<R, E: From<Refused>>(
        &self,
        job: u64,
        slots: impl IntoIterator<Item = Slot>,
        decide: impl FnOnce() -> Result<R, E>,
    ) -> Result<(R, u64), E> {
        let mut stripes = self.all_stripes();
        if let Some(failure) = self.journal.failure() {
            return Err(Refused::Failed(failure).into());
        }
        let decided = decide()?;
        // If this is refused the stores have what the journal lacks: nobody may be told of it.
        let newest = self.journal.append(RecordBuilder::ingest_whole(job).bytes());
        for slot in slots {
            *stripes[usize::from(slot.number()) % STRIPES] = newest.clone();
        }
        Ok((decided, newest?))
    }

    /// The newest record of a slot, for which the reply of a read must wait.
    pub(crate) fn newest(&self, slot: Slot) -> Result<u64, Refused> {
        self.stripe(slot).clone()
    }

    /// The mark of a checkpoint that is about to begin: everything up to it is in every snapshot that is
    /// taken from now on, and what is arriving lies behind it.
    pub(crate) fn mark(&self) -> Mark {
        let copies = self.copies();
        let mark = self.journal.mark();
        let first = copies.values().map(|copy| copy.first).min().unwrap_or(u64::MAX);
        Mark { sequence: mark.sequence.min(first - 1), ..mark }
    }

    /// Whether a slot is arriving: a checkpoint would free nothing.
    pub(crate) fn is_receiving(&self) -> bool {
        !self.copies().is_empty()
    }

    /// Appends a record of a copy, unless the copy was given up.
    fn part(&self, slot: Slot, copy: u64, record: &RecordBuilder) -> Result<(), KeepError> {
        let copies = self.copies();
        if copies.get(&slot).is_none_or(|known| known.number != copy) {
            return Err("the migration was given up".into());
        }
        let sequence = self.journal.append(record.bytes())?;
        drop(copies);
        if self.journal.pending_bytes() > PENDING_MAX {
            self.journal.wait(sequence)?;
        }
        Ok(())
    }
}

impl SlotKeeper for Durable {
    fn keep(&self, slot: Slot, copy: u64, store: &Store) -> Result<(), KeepError> {
        let number = u32::from(slot.number());
        let mut copies = self.copies();
        let first = self.journal.append(RecordBuilder::copy_begins(number, copy).bytes())?;
        copies.insert(slot, Copy { number: copy, first });
        drop(copies);
        let mut cursor = store.snapshot_named(&format!("copy of slot {slot}")).range(..);
        let mut part = RecordBuilder::copy_part(number, copy);
        while let Some((key, value)) = cursor.next_entry() {
            part.put(key, value);
            if part.bytes().len() >= PART {
                self.part(slot, copy, &part)?;
                part = RecordBuilder::copy_part(number, copy);
            }
        }
        self.part(slot, copy, &part)
    }

    fn changes(&self, slot: Slot, copy: u64, changes: &[KeptChange]) -> Result<(), KeepError> {
        let mut part = RecordBuilder::copy_part(u32::from(slot.number()), copy);
        for (key, value) in changes {
            match value {
                Some(value) => part.put(key, value),
                None => part.remove(key),
            }
        }
        self.part(slot, copy, &part)
    }

    fn whole(&self, slot: Slot, copy: u64) -> Result<(), KeepError> {
        self.part(slot, copy, &RecordBuilder::copy_whole(u32::from(slot.number()), copy))?;
        Ok(self.journal.sync()?)
    }

    fn installed(&self, slot: Slot, copy: u64) {
        let mut copies = self.copies();
        if copies.get(&slot).is_some_and(|known| known.number == copy) {
            copies.remove(&slot);
        }
    }

    fn void(&self, slot: Slot, copy: u64) {
        let mut copies = self.copies();
        if copies.get(&slot).is_some_and(|known| known.number == copy) {
            copies.remove(&slot);
            drop(copies);
            self.gone(slot);
        }
    }

    fn gone(&self, slot: Slot) {
        let record = RecordBuilder::dropped(u32::from(slot.number()));
        // Not found after a crash it is found out from the slot map.
        if let Err(error) = self.journal.append(record.bytes()) {
            tracing::warn!(%slot, %error, "the journal does not know that the slot has gone");
        }
    }
}

/// The writes of one command: applied to the store, and noted for the journal where there is one.
#[derive(Debug)]
pub(crate) struct Writes<'a> {
    store: &'a Store,
    record: Option<RecordBuilder>,
}

impl<'a> Writes<'a> {
    /// Writes that no journal hears of.
    pub(crate) fn unjournaled(store: &'a Store) -> Self {
        Self { store, record: None }
    }

    /// The store, to read from it.
    pub(crate) fn store(&self) -> &'a Store {
        self.store
    }

    fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        if let Some(record) = &mut self.record {
            match value {
                Some(value) => record.put(key, value),
                None => record.remove(key),
            }
        }
    }

    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.store.put(key, value)?;
        self.note(key, Some(value));
        Ok(())
    }

    pub(crate) fn insert_unique(&mut self, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        let inserted = self.store.insert_unique(key, value)?;
        if inserted == Inserted::Inserted {
            self.note(key, Some(value));
        }
        Ok(inserted)
    }

    /// Whether there was anything to remove.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Result<bool, Error> {
        let removed = self.store.remove(key)?.is_some();
        if removed {
            self.note(key, None);
        }
        Ok(removed)
    }

    pub(crate) fn compare_and_set(
        &mut self,
        key: &[u8],
        expected: Option<&[u8]>,
        value: &[u8],
    ) -> Result<CasOutcome, Error> {
        let outcome = self.store.compare_and_set(key, expected, Some(value))?;
        if matches!(outcome, CasOutcome::Done) {
            self.note(key, Some(value));
        }
        Ok(outcome)
    }

    /// Puts all of them at one moment.
    pub(crate) fn put_all(&mut self, pairs: &[(Vec<u8>, Bytes)]) -> Result<(), Error> {
        let mut batch = Batch::new();
        for (key, value) in pairs {
            batch.put(self.store, key.as_slice(), value.as_ref());
        }
        batch.commit()?;
        // Of a key that is given twice the last value holds, here as there.
        pairs.iter().for_each(|(key, value)| self.note(key, Some(value)));
        Ok(())
    }
}
