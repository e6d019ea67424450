//! Read-modify-write of single keys.

use crate::access::{Access, Head};
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, StampWord};
use crate::store::Store;
use crate::version::{Fresh, VersionRef, check_value};
use crate::{Error, Inserted};

/// What [`Store::update`] is to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update<V = Vec<u8>> {
    /// Leave it as it is.
    Keep,
    /// Give it this value.
    Put(V),
    /// Remove it. A key that is absent stays so.
    Remove,
}

/// What [`Store::update`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    /// Nothing: the key was to be kept, or it was to be removed and is absent.
    Kept,
    /// The key has the value that was wanted.
    Put,
    /// The key was removed.
    Removed,
}

/// What a look at the key came to.
enum Tried<V> {
    Done(Updated),
    /// The key is absent, and is to have this value.
    Insert(V),
}

impl Store {
    /// Reads the value of the key (none: absent), lets `decide` say what is to become of it, and does that,
    /// as one step: nothing is written to the key between what `decide` was given and what it decided.
    ///
    /// Linearizable and lock-free; takes effect when its version is numbered, or, where nothing is written,
    /// at a moment between call and return at which the key had the value that `decide` was given.
    ///
    /// `decide` may run several times, once more each time that another write to the key came first; the
    /// last run is the one that counts. So let it compute from its argument and assign what it finds out,
    /// rather than add to it. It runs inside a barrier session, so it should be short, and must not write the same key.
    /// Where it panics nothing is written, and the store is as usable as before.
    ///
    /// To change several keys in one step, see [`Store::get_versioned`] and [`crate::Batch::expect`].
    ///
    /// # Complexity
    ///
    /// O(log n) a run. A key that many threads update at once costs each of them a run for every
    /// update of another that came first.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`]. Nothing was written.
    ///
    /// # Examples
    ///
    /// ```
    /// use whimbrel_mvcc::{Clock, Store, Update, Updated};
    ///
    /// let store = Store::new(&Clock::new());
    /// let mut visits = 0;
    /// for _ in 0..3 {
    ///     store.update("visits", |value| {
    ///         let before = value.and_then(|value| value.try_into().ok());
    ///         visits = before.map_or(0, u64::from_be_bytes) + 1;
    ///         Update::Put(visits.to_be_bytes())
    ///     })?;
    /// }
    /// assert_eq!(visits, 3);
    ///
    /// // Removes what is due, and nothing else.
    /// let due = |value: Option<&[u8]>| match value {
    ///     Some(value) if value.len() < 4 => Update::<&[u8]>::Remove,
    ///     _ => Update::Keep,
    /// };
    /// assert_eq!(store.update("visits", due)?, Updated::Kept);
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    pub fn update<V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        mut decide: impl FnMut(Option<&[u8]>) -> Update<V>,
    ) -> Result<Updated, Error> {
        let key = key.as_ref();
        Self::check_key(key)?;
        loop {
            let (tried, more) = self.access(|access| {
                let tried = access.update(key, &mut decide)?;
                Ok::<_, Error>((tried, access.collect_some()))
            })?;
            if more {
                self.after_write(1);
            }
            match tried {
                Tried::Done(updated) => return Ok(updated),
                // What is absent may be made with its value inside.
                Tried::Insert(value) => match self.insert_unique(key, value.as_ref())? {
                    Inserted::Inserted => return Ok(Updated::Put),
                    Inserted::Exists => {}
                },
            }
        }
    }
}

impl Access<'_> {
    fn update<V: AsRef<[u8]>>(
        self,
        key: &[u8],
        decide: &mut impl FnMut(Option<&[u8]>) -> Update<V>,
    ) -> Result<Tried<V>, Error> {
        while let Some(found) = self.find(key) {
            let record = found.follow().0;
            // Settled also where nothing will be written: a snapshot taken afterwards must not lack what
            // `decide` is given.
            let (top, old, on_ingest) = match self.settled_head(record) {
                Head::Sealed => {
                    self.store.list.unlink_sealed(record, self.guard);
                    continue;
                }
                Head::Empty => break,
                Head::Settled(version) => (version, Some(version), false),
                Head::Ingesting { top, below } => (top, below, true),
            };
            let value = old.and_then(VersionRef::value);
            let (new, updated) = match decide(value) {
                Update::Put(new) if value.is_none() => return Ok(Tried::Insert(new)),
                Update::Put(new) => (Some(new), Updated::Put),
                Update::Remove if value.is_some() => (None, Updated::Removed),
                // Over an ingest as a latest read.
                _ if on_ingest && !self.is_running(record, top) => continue,
                _ => return Ok(Tried::Done(Updated::Kept)),
            };
            let new: Option<&[u8]> = new.as_ref().map(AsRef::as_ref);
            check_value(new.unwrap_or_default())?;
            let newer = planted(Mutant::UpdateNotCompared).then(|| self.settled_head(record));
            let top = if let Some(Head::Settled(newer)) = newer { newer } else { top };
            let fresh = Fresh::new(StampWord::pending(), new);
            let fresh = if on_ingest { fresh.on_ingest() } else { fresh };
            // Fails where the newest version is not the one that was read any more, or the record moved.
            let Ok(change) = self.install(record, Some(top), fresh) else { continue };
            if !on_ingest {
                let number = change.new.stamp().settle(self.clock, By::Installer);
                self.settled(change, number);
            } else if !self.settled_on_ingest(change) {
                continue;
            }
            return Ok(Tried::Done(updated));
        }
        Ok(match decide(None) {
            Update::Keep | Update::Remove => Tried::Done(Updated::Kept),
            Update::Put(new) => Tried::Insert(new),
        })
    }
}
