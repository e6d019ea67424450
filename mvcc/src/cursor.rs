//! Cursors: ordered scans of a snapshot that hold no barrier session between steps.

use std::ops::{Bound, ControlFlow};

use whimbrel_skiplist::Seen;

use crate::access::Access;
use crate::snapshot::SESSION_RECORDS;
use crate::{KeyRange, Snapshot};

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
/// holds none, so a scan of an hour delays no reclamation. Its buffers are reused.
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
#[derive(Debug)]
pub struct Cursor {
    snapshot: Snapshot,
    range: KeyRange,
    reverse: bool,
    /// Where the next portion begins (its upper end when going down).
    from: Bound<Vec<u8>>,
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
            range,
            reverse: false,
            exhausted,
            portion: Portion::new(FIRST_ENTRIES),
            at: 0,
        }
    }

    /// The same range from its other end, in the other direction.
    #[must_use]
    pub fn rev(mut self) -> Self {
        self.reverse = !self.reverse;
        let end = if self.reverse { &self.range.hi } else { &self.range.lo };
        self.from = end.clone();
        self.restart();
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
    pub fn seek(&mut self, key: &[u8]) {
        let before_start = if self.reverse {
            !self.range.reaches_up_to(key)
        } else {
            !self.range.reaches_down_to(key)
        };
        self.from = match (before_start, self.reverse) {
            (false, _) => Bound::Included(key.to_vec()),
            (true, true) => self.range.hi.clone(),
            (true, false) => self.range.lo.clone(),
        };
        self.restart();
    }

    /// The key of the entry that the last step returned: seek to it, in a cursor over any snapshot, to
    /// go on from there. None before the first step and after the last.
    #[must_use]
    pub fn position(&self) -> Option<&[u8]> {
        let last = self.at.checked_sub(1)?;
        self.portion.entry(last).map(|(key, _)| key)
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

    fn restart(&mut self) {
        self.exhausted = self.range.is_empty();
        self.portion.clear();
        self.portion.want = FIRST_ENTRIES;
        self.at = 0;
    }

    /// Replaces the portion by the next one, which may be empty.
    fn fill(&mut self) {
        if self.at > 0 {
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

/// Owned entries of a cursor; see [`Cursor::entries`].
#[derive(Debug)]
pub struct Entries(Cursor);

impl Iterator for Entries {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_entry().map(|(key, value)| (key.to_vec(), value.to_vec()))
    }
}
