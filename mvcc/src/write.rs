//! Reads and writes of single keys.

use whimbrel_skiplist::{FindOrInsert, Found, Record};

use crate::access::{Access, Head};
use crate::inline::InlineStamp;
use crate::mutant::{Mutant, planted};
use crate::stamp::{By, StampWord};
use crate::store::{CasOutcome, Inserted, Store, VersionToken};
use crate::version::{Fresh, INLINE_MAX, VersionRef, check_value, write_inline};
use crate::{Error, Guard};

/// Keys that are looked up in one barrier session.
const MANY: usize = 256;

/// What an operation wants once it knows the newest value.
enum Step<'v, T> {
    /// Nothing is to be written.
    Keep(T),
    /// This becomes the newest value.
    Put(&'v [u8], T),
    /// The key is to be removed. Never wanted of a key that is absent.
    Remove(T),
}

impl Store {
    /// The newest value of the key.
    ///
    /// Linearizable: the value that the key has at one moment between call and return.
    ///
    /// # Complexity
    ///
    /// O(log n).
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// Like [`Store::get`], but hands the value to `read` instead of copying it. `read` runs inside
    /// a barrier session, so it should be short.
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let key = key.as_ref();
        self.access(|access| access.latest(access.find(key)?).map(read))
    }

    /// Like [`Store::get`], but the value is borrowed for as long as the guard lives, so that several values
    /// can be looked at side by side without copying them. The guard is [`crate::Clock::pin`]'s; nothing that anybody
    /// retires meanwhile is reclaimed before it is dropped, so hold it for moments, and across no wait.
    ///
    /// # Panics
    ///
    /// When the guard is of another clock.
    ///
    /// # Examples
    ///
    /// ```
    /// # use whimbrel_mvcc::{Clock, Store};
    /// let clock = Clock::new();
    /// let store = Store::new(&clock);
    /// store.extend([("knot", "Calidris canutus"), ("whimbrel", "Numenius phaeopus")])?;
    /// let guard = clock.pin();
    /// let (knot, whimbrel) = (store.get_ref("knot", &guard), store.get_ref("whimbrel", &guard));
    /// assert!(knot < whimbrel);
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    ///
    /// The value ends with the guard:
    ///
    /// ```compile_fail,E0505
    /// # use whimbrel_mvcc::{Clock, Store};
    /// # let clock = Clock::new();
    /// # let store = Store::new(&clock);
    /// let guard = clock.pin();
    /// let knot = store.get_ref("knot", &guard);
    /// drop(guard);
    /// assert!(knot.is_none());
    /// ```
    #[must_use]
    pub fn get_ref<'g>(&'g self, key: impl AsRef<[u8]>, guard: &'g Guard<'_>) -> Option<&'g [u8]> {
        let access = self.access_under(guard);
        access.latest(access.find(key.as_ref())?)
    }

    /// Gives the newest value of each key to `read`, with the key's place among `keys`, in that order.
    ///
    /// The lookups run side by side, so that their cache misses overlap: in a large store a key costs a
    /// third of a single lookup or less. Each value is the key's at one moment between call and return;
    /// the values of two keys need not be of the same moment (see [`crate::Snapshot::get_many_with`]).
    ///
    /// # Complexity
    ///
    /// O(log n) a key.
    ///
    /// # Examples
    ///
    /// ```
    /// # use whimbrel_mvcc::{Clock, Store};
    /// let store = Store::new(&Clock::new());
    /// store.put(b"knot", b"7")?;
    /// let mut found = Vec::new();
    /// store.get_many_with(&[b"avocet", b"knot"], |at, value| found.push((at, value.is_some())));
    /// assert_eq!(found, [(0, false), (1, true)]);
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    pub fn get_many_with(&self, keys: &[&[u8]], mut read: impl FnMut(usize, Option<&[u8]>)) {
        self.read_many(keys, |access, record| access.latest(record), &mut read);
    }

    /// Looks keys up side by side, `value` says what is read of each, in sessions of [`MANY`].
    pub(crate) fn read_many(
        &self,
        keys: &[&[u8]],
        value: impl for<'g> Fn(Access<'g>, Record<'g>) -> Option<&'g [u8]>,
        read: &mut impl FnMut(usize, Option<&[u8]>),
    ) {
        for (part, keys) in keys.chunks(MANY).enumerate() {
            self.access(|access| {
                access.find_many(keys, |at, record| {
                    read(part * MANY + at, record.and_then(|record| value(access, record)));
                });
            });
        }
    }

    /// The newest value of each key, in the order of the keys; as [`Store::get_many_with`].
    #[must_use]
    pub fn get_many(&self, keys: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut values = Vec::with_capacity(keys.len());
        self.get_many_with(keys, |_, value| values.push(value.map(<[u8]>::to_vec)));
        values
    }

    /// Whether the key is present.
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.get_with(key, |_| ()).is_some()
    }

    /// The newest value of the key, and a token that names it for [`crate::Batch::expect`].
    #[must_use]
    pub fn get_versioned(&self, key: impl AsRef<[u8]>) -> (Option<Vec<u8>>, VersionToken) {
        match self.get(key) {
            Some(value) => {
                let token = VersionToken::of_value(&value);
                (Some(value), token)
            }
            None => (None, VersionToken::absent()),
        }
    }

    /// Gives the key this value. Lock-free; takes effect when its version is numbered.
    ///
    /// # Complexity
    ///
    /// O(log n).
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    #[inline]
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.put_bytes(key.as_ref(), value.as_ref())
    }

    // What takes slices is compiled once, whatever keys and values are given as.
    fn put_bytes(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.write(key, |_| Step::Put(value, ()))
    }

    /// Puts entry after entry, each as [`Store::put`] does. Ends at the first that is refused; those before it
    /// are there. To have them appear together use a [`crate::Batch`]; to fill a new store from sorted
    /// entries, a [`crate::StoreSegmentBuilder`].
    ///
    /// # Errors
    ///
    /// As [`Store::put`].
    pub fn extend<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), Error> {
        entries.into_iter().try_for_each(|(key, value)| self.put(key, value))
    }

    /// Gives the key this value unless it is present.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    #[inline]
    pub fn insert_unique(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Inserted, Error> {
        self.insert_unique_bytes(key.as_ref(), value.as_ref())
    }

    fn insert_unique_bytes(&self, key: &[u8], value: &[u8]) -> Result<Inserted, Error> {
        self.write(key, |current| match current {
            None => Step::Put(value, Inserted::Inserted),
            Some(_) => Step::Keep(Inserted::Exists),
        })
    }

    /// Removes the key; returns the value that it had, which nobody else's remove returns.
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`].
    #[inline]
    pub fn remove(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        self.remove_bytes(key.as_ref())
    }

    fn remove_bytes(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.write(key, |current| match current {
            None => Step::Keep(None),
            Some(value) => Step::Remove(Some(value.to_vec())),
        })
    }

    /// Gives the key the value `new` (none: removes it) if its value is `expected` (none: absent).
    ///
    /// # Errors
    ///
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`].
    #[inline]
    pub fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<CasOutcome, Error> {
        self.compare_and_set_bytes(key.as_ref(), expected, new)
    }

    fn compare_and_set_bytes(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<CasOutcome, Error> {
        self.write(key, |current| match (current, new) {
            _ if current != expected => {
                Step::Keep(CasOutcome::Differs(current.map(<[u8]>::to_vec)))
            }
            (_, Some(new)) => Step::Put(new, CasOutcome::Done),
            (Some(_), None) => Step::Remove(CasOutcome::Done),
            (None, None) => Step::Keep(CasOutcome::Done),
        })
    }

    fn write<'v, T>(
        &self,
        key: &[u8],
        decide: impl Fn(Option<&[u8]>) -> Step<'v, T>,
    ) -> Result<T, Error> {
        Self::check_key(key)?;
        let (result, more) = self.access(|access| {
            let result = access.write(key, decide)?;
            Ok::<_, Error>((result, access.collect_some()))
        })?;
        if more {
            self.after_write(1);
        }
        Ok(result)
    }
}

impl<'g> Access<'g> {
    #[inline]
    fn write<'v, T>(
        self,
        key: &[u8],
        decide: impl Fn(Option<&[u8]>) -> Step<'v, T>,
    ) -> Result<T, Error> {
        loop {
            let (record, found) = match decide(None) {
                Step::Put(value, done) => match self.insert(key, value)? {
                    Some(record) => (record, None),
                    None => return Ok(done),
                },
                Step::Keep(answer) | Step::Remove(answer) => {
                    match self.store.list.find_place(key, self.guard) {
                        Some(found) => (found.record(), Some(found)),
                        None => return Ok(answer),
                    }
                }
            };
            if let Some(answer) = self.write_record(record, found, &decide)? {
                return Ok(answer);
            }
        }
    }

    /// Makes a record with this value inside, numbered when this returns `None`; or returns the
    /// record that is to be written (found, or made empty for a value that is not kept inline).
    #[inline]
    fn insert(self, key: &[u8], value: &[u8]) -> Result<Option<Record<'g>>, Error> {
        check_value(value)?;
        if value.len() > INLINE_MAX {
            return Ok(Some(self.find_or_insert_empty(key)?));
        }
        let stamp = if planted(Mutant::SettledBeforeInstall) {
            InlineStamp::decided(self.clock.now())
        } else {
            InlineStamp::PENDING
        };
        let init = |record: Record<'_>| {
            // SAFETY: the list gives a record with this inline length that nobody else sees.
            unsafe { write_inline(record, value) };
            stamp.word()
        };
        if planted(Mutant::CaptureEarly) {
            self.captured(key);
        }
        match self.store.list.find_or_insert(key, value.len(), init, self.guard)? {
            FindOrInsert::Found(record) => Ok(Some(record)),
            FindOrInsert::Inserted(record) => {
                // `init` wrote it.
                self.store.count_installed(key, VersionRef::Inline(record, stamp), None);
                // This very record's cell: if it moved, its version was settled before.
                let _ = stamp.settle(record.cell(), self.clock, By::Installer);
                self.tell_capture(key);
                Ok(None)
            }
        }
    }

    /// The key's record, made without a version where there was none.
    pub(crate) fn find_or_insert_empty(self, key: &[u8]) -> Result<Record<'g>, Error> {
        let empty = |_: Record<'_>| whimbrel_skiplist::EMPTY;
        Ok(self.store.list.find_or_insert(key, 0, empty, self.guard)?.record())
    }

    /// Writes over what the record has; none: it was sealed, look for the key's record again. `found` is
    /// where a search found it.
    fn write_record<'v, T>(
        self,
        mut record: Record<'g>,
        found: Option<Found<'g>>,
        decide: &impl Fn(Option<&[u8]>) -> Step<'v, T>,
    ) -> Result<Option<T>, Error> {
        loop {
            let old = match self.head_to_write(record, decide) {
                Head::Sealed => {
                    self.store.list.unlink_sealed(record, self.guard);
                    return Ok(None);
                }
                Head::Empty => None,
                Head::Settled(version) => Some(version),
                Head::Ingesting { top, below } => {
                    if let Some(answer) = self.write_on_ingest(record, top, below, decide)? {
                        return Ok(Some(answer));
                    }
                    record = record.follow().0;
                    continue;
                }
            };
            let (value, answer) = match decide(old.and_then(VersionRef::value)) {
                Step::Keep(answer) => return Ok(Some(answer)),
                Step::Put(value, answer) => (Some(value), answer),
                Step::Remove(answer) => (None, answer),
            };
            check_value(value.unwrap_or_default())?;
            if planted(Mutant::CaptureEarly) {
                self.captured(record.key());
            }
            if value.is_none()
                && let Some(value) = old.filter(|old| self.may_remove_in_place(*old))
            {
                if self.remove_in_place(record, value, found) {
                    return Ok(Some(answer));
                }
                record = record.follow().0;
                continue;
            }
            let stamp = if planted(Mutant::SettledBeforeInstall) {
                StampWord::decided(self.clock.now())
            } else {
                StampWord::pending()
            };
            if let Ok(change) = self.install(record, old, Fresh::new(stamp, value)) {
                let number = change.new.stamp().settle(self.clock, By::Installer);
                self.settled(change, number);
                return Ok(Some(answer));
            }
            // Another write, or the record moved.
            record = record.follow().0;
        }
    }

    /// Writes over a version of an ingest that is running, by what lies below it. None: look again.
    #[cold]
    fn write_on_ingest<'v, T>(
        self,
        record: Record<'g>,
        top: VersionRef<'g>,
        below: Option<VersionRef<'g>>,
        decide: &impl Fn(Option<&[u8]>) -> Step<'v, T>,
    ) -> Result<Option<T>, Error> {
        let (value, answer) = match decide(below.and_then(VersionRef::value)) {
            // As a latest read.
            Step::Keep(answer) => return Ok(self.is_running(record, top).then_some(answer)),
            Step::Put(value, answer) => (Some(value), answer),
            Step::Remove(answer) => (None, answer),
        };
        check_value(value.unwrap_or_default())?;
        let fresh = Fresh::new(StampWord::pending(), value).on_ingest();
        let done = match self.install(record, Some(top), fresh) {
            Ok(change) => self.settled_on_ingest(change),
            Err(_) => false,
        };
        Ok(done.then_some(answer))
    }

    /// The head, settled, even where the answer will be that nothing is to be written: otherwise a
    /// snapshot taken afterwards could lack what this operation saw.
    fn head_to_write<'v, T>(
        self,
        record: Record<'g>,
        decide: &impl Fn(Option<&[u8]>) -> Step<'v, T>,
    ) -> Head<'g> {
        if planted(Mutant::ExistsNotHelped)
            && let Some(head) = Self::head(record)
            && matches!(decide(head.value()), Step::Keep(_))
        {
            return Head::Settled(head);
        }
        self.settled_head(record)
    }
}
