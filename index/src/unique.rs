//! Claiming the keys of unique indexes, so that two documents never have one key.
//!
//! In a unique index the store key of an entry is the tuple alone, without the document id, so the
//! store holds one value per index key. An update that wants a key first *reserves* it: an
//! `insert_unique` of a value that names this attempt ([`UniqueValue::Reserved`]) and that queries
//! pass over. Then its batch, whose precondition is the back-index entry of the document that it
//! read, puts the entry over the reservation.
//!
//! - **U1.** A reservation is replaced or removed only by the attempt it names, or, when it names
//!   another process, by a compare-and-set on its exact value: that process is gone, the store
//!   came here by a backup or a migration.
//! - **U2.** An entry is written or removed only by a batch of its own document, together with
//!   that document's back-index entry. So at every moment the store has a document's entry at a
//!   key exactly when the document's back-index entry lists the key.
//! - **U3.** A batch that puts a key either holds its reservation (by U1 nobody else can touch the
//!   key until it commits or gives up), or the back-index entry that it expects lists the key: at
//!   the commit, the entry there is the document's own (U2).
//!
//! Hence at most one document lists a key at any time: of two that claim it at once, one finds the
//! other's reservation or entry. An entry of another document is an error to the caller; a
//! reservation is waited for, because it may be given up: all reservations are released before
//! waiting, and they are taken in key order, so no two updates wait for each other. This wait, for
//! an update that wants the *same* unique key at the same moment, is the only one in the engine.
//! A reservation left by a panic is removed as the stack unwinds.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use whimbrel_mvcc::{CasOutcome, Inserted, Store};

use crate::error::{self, Error};
use crate::layout::{Attempt, UniqueValue};

/// What came of asking for a key.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Reserved {
    /// It is held by this attempt.
    Held,
    /// Another attempt holds a reservation: release all, wait, begin again.
    Busy,
    /// The document has it by a newer back-index entry than the one read: read that again.
    Stale,
    /// Another document has it.
    TakenBy(Vec<u8>),
}

/// The keys one update has reserved; releases them when dropped.
#[derive(Debug)]
pub(crate) struct Reservations<'s> {
    store: &'s Store,
    value: Vec<u8>,
    keys: BTreeSet<Vec<u8>>,
}

impl<'s> Reservations<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        let value = UniqueValue::Reserved(next_attempt()).encode();
        Self { store, value, keys: BTreeSet::new() }
    }

    /// Asks for a key on behalf of a document.
    pub(crate) fn reserve(&mut self, key: &[u8], doc_id: &[u8]) -> Result<Reserved, Error> {
        if self.keys.contains(key) {
            return Ok(Reserved::Held);
        }
        loop {
            // Noted first: should the insert panic half way, the drop looks for it.
            self.keys.insert(key.to_vec());
            match self.store.insert_unique(key, &self.value) {
                Ok(Inserted::Inserted) => return Ok(Reserved::Held),
                Ok(Inserted::Exists) => self.keys.remove(key),
                Err(e) => {
                    self.keys.remove(key);
                    return Err(e.into());
                }
            };
            let Some(value) = self.store.get(key) else { continue };
            let place = || format!("the unique key {}", error::id(key));
            match UniqueValue::decode(&value).map_err(|m| m.within(place()))? {
                UniqueValue::Claimed { doc_id: holder, .. } if holder == doc_id => {
                    return Ok(Reserved::Stale);
                }
                UniqueValue::Claimed { doc_id: holder, .. } => {
                    return Ok(Reserved::TakenBy(holder.to_vec()));
                }
                UniqueValue::Reserved(attempt) if attempt.process == *PROCESS => {
                    return Ok(Reserved::Busy);
                }
                UniqueValue::Reserved(_) => {
                    // Left over from another process; whoever removes it, the insert decides.
                    let _ = self.store.compare_and_set(key, Some(&value), None)?;
                }
                UniqueValue::Exempt { .. } => {
                    let cause = "an entry exempt from uniqueness at a unique key";
                    return Err(Error::Corrupt { place: place(), at: 0, cause });
                }
            }
        }
    }

    /// The batch put entries over all of them: nothing is left to release.
    pub(crate) fn committed(&mut self) {
        self.keys.clear();
    }

    /// Gives all keys back.
    pub(crate) fn release(&mut self) {
        for key in std::mem::take(&mut self.keys) {
            // A key where the value is not ours was never reserved, or is committed already.
            let released: Result<CasOutcome, _> =
                self.store.compare_and_set(&key, Some(&self.value), None);
            debug_assert!(released.is_ok(), "a key that was stored before is short enough");
        }
    }
}

impl Drop for Reservations<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Waits a little longer each time: until another thread has finished its update.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    rounds: u32,
}

impl Patience {
    pub(crate) fn wait(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        match self.rounds {
            0..=16 => std::thread::yield_now(),
            rounds => std::thread::sleep(Duration::from_micros(u64::from(rounds.min(200)))),
        }
    }
}

/// This process among all that have written to a store: the keys of a random hasher are the
/// standard library's source of randomness.
static PROCESS: LazyLock<u64> = LazyLock::new(|| {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
});

fn next_attempt() -> Attempt {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // ORDERING: Relaxed; only that the numbers differ matters, and any read-modify-write gives
    // that. Nothing is published through it.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Attempt { process: *PROCESS, number }
}
