//! Cursors: ordered scans of a snapshot that hold no barrier session between steps.

use std::iter::FusedIterator;
use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::Seen;

use crate::access::Access;
use crate::snapshot::SESSION_RECORDS;
use crate::{CursorToken, KeyRange, Snapshot};

/// Entries that a cursor takes along at first; then four times as many each time, up to the most.
const FIRST_ENTRIES: usize = 16;
const MOST_ENTRIES: usize = 256;

/// Bytes of keys and values after which a session ends, however few entries they are.
const MOST_BYTES: usize = 256 << 10;

/// Bytes of an entry for which there is room from the beginning.
const LIKELY_BYTES: usize = 48;

/// An ordered scan of a snapshot, in either direction.
///
/// Entries are copied out in portions, each inside one short barrier session; between steps the cursor
/// holds none, so a scan of an hour delays no reclamation. Its buffers are reused. It keeps its snapshot open;
/// a scan that is to rest without one, or to outlive the process, is resumed from a [token](Cursor::token).
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// for key in ["a", "b", "c"] {
///     store.put(key.as_bytes(), b"")?;
/// }
/// let mut cursor = store.snapshot().range(..="b").rev();
/// assert_eq!(cursor.next_entry().map(|(key, _)| key.to_vec()), Some(b"b".to_vec()));
/// assert_eq!(cursor.entries().map(|(key, _)| key).collect::<Vec<_>>(), [b"a".to_vec()]);
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
pub struct Cursor {
    snapshot: Snapshot,
    range: KeyRange,
    reverse: bool,
    /// Where the next portion begins (its upper end when going down).
    from: Bound<Vec<u8>>,
    /// Where it was told to begin.
    begin: Bound<Vec<u8>>,
    /// The key of the entry that was returned last before this portion, since then.
    returned: Option<Vec<u8>>,
    /// Nothing is left behind the portion.
    exhausted: bool,
    portion: Portion,
    /// Next entry of the portion.
    at: usize,
}

/// Entries copied out in one session.
#[derive(Debug)]
pub(crate) struct Portion {
    bytes: Vec<u8>,
    /// Offset of the key, its length, length of the value that follows it.
    entries: Vec<(usize, usize, usize)>,
    want: usize,
}

impl Portion {
    fn new(want: usize) -> Self {
        Self { bytes: Vec::new(), entries: Vec::new(), want }
    }

    /// For who takes as much at once as a cursor takes at most.
    pub(crate) fn full_size() -> Self {
        Self::new(MOST_ENTRIES)
    }

    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.entries.push((self.bytes.len(), key.len(), value.len()));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        (0..self.entries.len()).filter_map(|at| self.entry(at))
    }

    fn entry(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let (start, key_len, value_len) = *self.entries.get(at)?;
        let (key, rest) = self.bytes[start..].split_at(key_len);
        Some((key, &rest[..value_len]))
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.want || self.bytes.len() >= MOST_BYTES
    }
}

impl Cursor {
    pub(crate) fn new(snapshot: Snapshot, range: KeyRange) -> Self {
        let exhausted = range.is_empty();
        Self {
            snapshot,
            from: range.lo.clone(),
            begin: range.lo.clone(),
            returned: None,
            range,
            reverse: false,
            exhausted,
            portion: Portion::new(FIRST_ENTRIES),
            at: 0,
        }
    }

    /// A cursor that goes on where another one stood; see [`Snapshot::resume`].
    pub(crate) fn resumed(snapshot: Snapshot, token: &CursorToken) -> Self {
        let mut cursor = Self::new(snapshot, token.range().clone());
        cursor.reverse = token.is_reverse();
        cursor.go_to(token.place().clone());
        cursor
    }

    /// The same range from its other end, in the other direction.
    #[must_use]
    pub fn rev(mut self) -> Self {
        self.reverse = !self.reverse;
        self.go_to(Bound::Unbounded);
        self
    }

    /// The next entry: key and value, valid until the next step. None at the end, and from then on.
    pub fn next_entry(&mut self) -> Option<(&[u8], &[u8])> {
        while self.at >= self.portion.entries.len() {
            if self.exhausted {
                return None;
            }
            self.fill();
        }
        self.at += 1;
        self.portion.entry(self.at - 1)
    }

    /// Continues at `key`, or at the next entry in the direction of the cursor when the snapshot has no
    /// such key. Keys outside of the range are brought to its nearer end.
    ///
    /// # Complexity
    ///
    /// O(log n) at the next step.
    pub fn seek(&mut self, key: impl AsRef<[u8]>) {
        self.go_to(Bound::Included(key.as_ref().to_vec()));
    }

    /// The key of the entry that was returned last. None before the first step, and after a
    /// [`Cursor::seek`].
    #[must_use]
    pub fn position(&self) -> Option<&[u8]> {
        match self.at.checked_sub(1) {
            Some(last) => self.portion.entry(last).map(|(key, _)| key),
            None => self.returned.as_deref(),
        }
    }

    /// Where the cursor stands: behind the entry that was returned last, or where it was sent to since.
    /// [`Snapshot::resume`] goes on from there, in any snapshot, at any time.
    ///
    /// At the end too: what has come behind the last entry by then will be returned.
    ///
    /// # Complexity
    ///
    /// Copies the ends of the range and one key.
    #[must_use]
    pub fn token(&self) -> CursorToken {
        let place = match self.position() {
            Some(key) => Bound::Excluded(key.to_vec()),
            None if self.begin == *self.first_end() => Bound::Unbounded,
            None => self.begin.clone(),
        };
        CursorToken::new(self.range.clone(), self.reverse, place)
    }

    /// The snapshot that is scanned.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The rest as an iterator of owned entries.
    #[must_use]
    pub fn entries(self) -> Entries {
        Entries(self)
    }

    /// The end of the range at which it begins.
    fn first_end(&self) -> &Bound<Vec<u8>> {
        if self.reverse { &self.range.hi } else { &self.range.lo }
    }

    /// Begins anew at this place, or at the beginning of the range where that comes later.
    fn go_to(&mut self, place: Bound<Vec<u8>>) {
        let is_inside = match &place {
            Bound::Unbounded => false,
            Bound::Included(key) | Bound::Excluded(key) if self.reverse => {
                self.range.reaches_up_to(key)
            }
            Bound::Included(key) | Bound::Excluded(key) => self.range.reaches_down_to(key),
        };
        self.from = if is_inside { place } else { self.first_end().clone() };
        self.begin = self.from.clone();
        self.returned = None;
        self.exhausted = self.range.is_empty();
        self.portion.clear();
        self.portion.want = FIRST_ENTRIES;
        self.at = 0;
    }

    /// Replaces the portion by the next one, which may be empty.
    fn fill(&mut self) {
        if self.at > 0 {
            self.returned = self.position().map(<[u8]>::to_vec);
            self.portion.want = (self.portion.want * 4).min(MOST_ENTRIES);
        }
        self.portion.clear();
        self.portion.entries.reserve(self.portion.want);
        self.portion.bytes.reserve(self.portion.want * LIKELY_BYTES);
        self.at = 0;
        let number = self.snapshot.number();
        let Self { snapshot, range, reverse, from, portion, .. } = self;
        let last = snapshot.store().access(|access| {
            Session { access, number, range, reverse: *reverse, portion }.run(from)
        });
        match last {
            Some(key) => self.from = Bound::Excluded(key),
            None => self.exhausted = true,
        }
    }
}

/// One barrier session of a scan.
pub(crate) struct Session<'a, 'g> {
    pub(crate) access: Access<'g>,
    pub(crate) number: u64,
    pub(crate) range: &'a KeyRange,
    pub(crate) reverse: bool,
    pub(crate) portion: &'a mut Portion,
}

impl Session<'_, '_> {
    /// Fills the portion; returns the last key looked at when there may be more.
    pub(crate) fn run(self, from: &Bound<Vec<u8>>) -> Option<Vec<u8>> {
        let Self { access, number, range, reverse, portion } = self;
        let from = from.as_ref().map(Vec::as_slice);
        let (list, guard) = (&access.store.list, access.guard);
        let mut last_taken = None;
        let step = |seen: Seen<'_>| {
            let key = seen.record().key();
            if let Some(value) = Access::value_seen(seen, number) {
                portion.push(key, value);
                if portion.is_full() {
                    last_taken = Some(key.to_vec());
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        };
        let last = if reverse {
            list.walk_back_some(from, range.lo(), SESSION_RECORDS, guard, step)
        } else {
            list.walk_some(from, range.hi(), SESSION_RECORDS, guard, step)
        };
        last_taken.or_else(|| last.map(|record| record.key().to_vec()))
    }
}

impl IntoIterator for Cursor {
    type Item = (Vec<u8>, Vec<u8>);
    type IntoIter = Entries;

    fn into_iter(self) -> Entries {
        self.entries()
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor")
            .field("snapshot", &self.snapshot.number())
            .field("range", &self.range)
            .field("reverse", &self.reverse)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// Owned entries of a cursor; see [`Cursor::entries`].
#[derive(Debug)]
pub struct Entries(Cursor);

impl Iterator for Entries {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_entry().map(|(key, value)| (key.to_vec(), value.to_vec()))
    }
}

impl FusedIterator for Entries {}
