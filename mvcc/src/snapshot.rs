//! Snapshots: immutable views of a store.

use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::Seen;

use crate::access::Access;
use crate::{Cursor, CursorToken, Entries, Guard, Hold, KeyRange, Store};

/// Records that one barrier session of a scan looks at; about 100 us where each is a cache miss.
pub(crate) const SESSION_RECORDS: usize = 4096;

/// An immutable view of a store at a snapshot number.
///
/// What it answers never changes, whatever is written beside it. Clones share its registration; it is
/// Send and Sync and may be used by any number of threads. It keeps its store alive, and those versions
/// that it sees.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// for key in ["avocet", "curlew", "whimbrel"] {
///     store.put(key.as_bytes(), b"wader")?;
/// }
/// let snapshot = store.snapshot();
/// store.remove(b"curlew")?;
///
/// let mut cursor = snapshot.range("b"..);
/// let mut keys = Vec::new();
/// while let Some((key, _)) = cursor.next_entry() {
///     keys.push(String::from_utf8_lossy(key).into_owned());
/// }
/// assert_eq!(keys, ["curlew", "whimbrel"]);
/// assert_eq!(snapshot.len(), 3);
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Snapshot {
    store: Store,
    hold: Hold,
}

impl Snapshot {
    pub(crate) fn new(store: Store, hold: Hold) -> Self {
        Self { store, hold }
    }

    /// The snapshot number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.hold.number()
    }

    /// The store that this is a view of.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The registration, for snapshots of other stores at the same number.
    #[must_use]
    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The value of the key in this snapshot. Waits for nobody.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// Like [`Snapshot::get`], but hands the value to `read` instead of copying it. `read` runs inside
    /// a barrier session, so it should be short.
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let (key, number) = (key.as_ref(), self.number());
        self.store.access(|access| access.value_at(access.find(key)?, number).map(read))
    }

    /// Like [`Snapshot::get`], but the value is borrowed for as long as the guard lives; see
    /// [`Store::get_ref`].
    ///
    /// # Panics
    ///
    /// When the guard is of another clock.
    #[must_use]
    pub fn get_ref<'g>(&'g self, key: impl AsRef<[u8]>, guard: &'g Guard<'_>) -> Option<&'g [u8]> {
        let access = self.store.access_under(guard);
        access.value_at(access.find(key.as_ref())?, self.number())
    }

    /// Gives the value of each key in this snapshot to `read`, with the key's place among `keys`, in that
    /// order. As [`crate::Store::get_many_with`], of one moment.
    pub fn get_many_with(&self, keys: &[&[u8]], mut read: impl FnMut(usize, Option<&[u8]>)) {
        let number = self.number();
        self.store.read_many(keys, |access, record| access.value_at(record, number), &mut read);
    }

    /// The value of each key in this snapshot, in the order of the keys.
    #[must_use]
    pub fn get_many(&self, keys: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
        let mut values = Vec::with_capacity(keys.len());
        self.get_many_with(keys, |_, value| values.push(value.map(<[u8]>::to_vec)));
        values
    }

    /// Whether the key is present in this snapshot.
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.get_with(key, |_| ()).is_some()
    }

    /// Gives the entries in a range of keys to `f`, ascending, until it breaks or the range ends.
    ///
    /// Nothing is copied: key and value are borrowed for the one call. Runs in barrier sessions of at most
    /// 4096 records, so `f` should be short; a cursor ([`Snapshot::range`]) copies, and may rest between two
    /// steps for as long as it likes.
    ///
    /// # Complexity
    ///
    /// O(log n) to begin and once in 4096 records, O(1) a record.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # use whimbrel_mvcc::{Clock, Store};
    /// let store = Store::new(&Clock::new());
    /// store.put(b"avocet", b"1")?;
    /// store.put(b"knot", b"22")?;
    /// let mut bytes = 0;
    /// store.snapshot().scan(.., |_, value| {
    ///     bytes += value.len();
    ///     ControlFlow::Continue(())
    /// });
    /// assert_eq!(bytes, 3);
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    pub fn scan(&self, range: impl Into<KeyRange>, f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) {
        self.visit::<false>(&range.into(), f);
    }

    /// As [`Snapshot::scan`], descending.
    pub fn scan_back(
        &self,
        range: impl Into<KeyRange>,
        f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) {
        self.visit::<true>(&range.into(), f);
    }

    /// A function for each direction, so that `f` becomes part of the walk.
    fn visit<const BACK: bool>(
        &self,
        range: &KeyRange,
        mut f: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) {
        if range.is_empty() {
            return;
        }
        let number = self.number();
        // Where a session ended: the next one begins behind it.
        let mut behind: Option<Vec<u8>> = None;
        loop {
            let from = match &behind {
                Some(key) => Bound::Excluded(key.as_slice()),
                None if BACK => range.hi.as_ref().map(Vec::as_slice),
                None => range.lo.as_ref().map(Vec::as_slice),
            };
            behind = self.store.access(|access| {
                let (list, guard) = (&access.store.list, access.guard);
                let f = &mut f;
                let step = move |seen: Seen<'_>| {
                    let key = seen.record().key();
                    match Access::value_seen(seen, number) {
                        Some(value) => f(key, value),
                        None => ControlFlow::Continue(()),
                    }
                };
                let last = if BACK {
                    list.walk_back_some(from, range.lo(), SESSION_RECORDS, guard, step)
                } else {
                    list.walk_some(from, range.hi(), SESSION_RECORDS, guard, step)
                };
                last.map(|record| record.key().to_vec())
            });
            if behind.is_none() {
                return;
            }
        }
    }

    /// A cursor over the entries in a range of keys.
    #[must_use]
    pub fn range(&self, range: impl Into<KeyRange>) -> Cursor {
        Cursor::new(self.clone(), range.into())
    }

    /// A cursor over the entries whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Cursor {
        self.range(KeyRange::prefix(prefix.as_ref()))
    }

    /// An iterator over all entries, as [`Cursor::entries`]. For a range, or to go down, begin with
    /// [`Snapshot::range`].
    #[must_use]
    pub fn iter(&self) -> Entries {
        self.range(..).entries()
    }

    /// A cursor that goes on where another one stood, of this snapshot or of another, in this process or
    /// in one before: with the next key behind the one that was returned last. See [`CursorToken`].
    ///
    /// # Complexity
    ///
    /// O(log n) at the next step.
    #[must_use]
    pub fn resume(&self, token: &CursorToken) -> Cursor {
        Cursor::resumed(self.clone(), token)
    }

    /// The entry with the smallest key.
    ///
    /// # Complexity
    ///
    /// O(log n), and a step for each key before it that was removed and not collected yet.
    #[must_use]
    pub fn first_key_value(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.end_entry::<false>()
    }

    /// The entry with the greatest key; as [`Snapshot::first_key_value`].
    #[must_use]
    pub fn last_key_value(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.end_entry::<true>()
    }

    fn end_entry<const BACK: bool>(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut found = None;
        self.visit::<BACK>(&KeyRange::all(), |key, value| {
            found = Some((key.to_vec(), value.to_vec()));
            ControlFlow::Break(())
        });
        found
    }

    /// Number of entries, exact. Walks them.
    ///
    /// # Complexity
    ///
    /// O(n).
    #[must_use]
    pub fn len(&self) -> usize {
        self.count(KeyRange::all())
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let mut empty = true;
        self.scan(.., |_, _| {
            empty = false;
            ControlFlow::Break(())
        });
        empty
    }

    /// Number of entries in a range, exact. Walks them without copying.
    ///
    /// # Complexity
    ///
    /// O(log n + m) for m records in the range.
    #[must_use]
    pub fn count(&self, range: impl Into<KeyRange>) -> usize {
        let (range, number) = (range.into(), self.number());
        if range.is_empty() {
            return 0;
        }
        let (mut count, mut behind) = (0, None);
        loop {
            let from =
                behind.as_ref().map_or_else(|| range.lo(), |key: &Vec<u8>| Bound::Excluded(key));
            behind = self.store.access(|access| {
                let (list, guard) = (&access.store.list, access.guard);
                let step = |seen| {
                    count += usize::from(Access::value_seen(seen, number).is_some());
                    ControlFlow::Continue(())
                };
                let last = list.walk_some(from, range.hi(), SESSION_RECORDS, guard, step);
                last.map(|record| record.key().to_vec())
            });
            if behind.is_none() {
                return count;
            }
        }
    }

    /// Cuts the snapshot into at most `n` ranges that follow each other, with about equal numbers of
    /// records, for parallel scans.
    #[must_use]
    pub fn split(&self, n: usize) -> Vec<KeyRange> {
        self.split_range(KeyRange::all(), n)
    }

    /// Cuts a range into at most `n` ranges that follow each other. See [`Snapshot::split`].
    #[must_use]
    pub fn split_range(&self, range: impl Into<KeyRange>, n: usize) -> Vec<KeyRange> {
        self.store.split_range(range.into(), n)
    }
}

impl IntoIterator for &Snapshot {
    type Item = (Vec<u8>, Vec<u8>);
    type IntoIter = Entries;

    fn into_iter(self) -> Entries {
        self.iter()
    }
}
