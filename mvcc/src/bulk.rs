//! Bulk loading: strictly ordered entries become a store in linear time.

use whimbrel_skiplist::{List, Record, Segment, SegmentBuilder};

use crate::inline::InlineStamp;
use crate::options::StoreOptions;
use crate::stamp::StampWord;
use crate::store::Store;
use crate::sync::atomic::Ordering;
use crate::version::{Fresh, INLINE_MAX, VersionRef, check_value};
use crate::{Clock, Digest, Digester, Error};

/// The number of what was loaded in bulk: every snapshot sees it.
const LOADED: u64 = 0;

/// Builds a piece of a store from entries in strictly ascending order. What it finishes is
/// Send, so pieces can be built on several threads and put together by [`Store::from_segments`].
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};
///
/// let mut builder = StoreSegmentBuilder::new();
/// builder.push(b"a", b"1")?;
/// builder.push(b"b", b"2")?;
/// assert!(builder.push(b"b", b"3").is_err());
/// let store = Store::from_segments(&Clock::new(), StoreOptions::new(), vec![builder.finish()])?;
/// assert_eq!(store.get(b"b"), Some(b"2".to_vec()));
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
#[derive(Default)]
pub struct StoreSegmentBuilder {
    builder: SegmentBuilder,
    /// Where the digest is computed as the entries come.
    digester: Option<Digester>,
    rest: Rest,
}

/// What a segment has besides its records.
#[derive(Default)]
struct Rest {
    version_bytes: u64,
    /// Versions too long to lie inline. They belong to the records once there is a store.
    outside: Vec<Fresh>,
}

/// A finished piece of a store; see [`StoreSegmentBuilder`].
pub struct StoreSegment {
    segment: Segment,
    /// Where it was computed as the entries came.
    digest: Option<Digest>,
    rest: Rest,
}

impl StoreSegmentBuilder {
    /// A builder without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Computes [`StoreSegment::digest`] as the entries come. Default: off. Price: a hash of every entry,
    /// which is less than reading them again for it.
    ///
    /// # Panics
    ///
    /// When there are entries already.
    #[must_use]
    pub fn with_digest(mut self) -> Self {
        assert!(self.is_empty(), "a digest covers all entries");
        self.digester = Some(Digester::default());
        self
    }

    /// Adds an entry behind all others.
    ///
    /// # Complexity
    ///
    /// O(1).
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] when the key is not greater than the one before;
    /// [`Error::KeyTooLong`], [`Error::ValueTooLong`]. The builder is as before.
    #[inline(always)]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if value.len() > INLINE_MAX {
            self.push_outside(key, value)?;
        } else {
            self.builder.push_filled(key, value, InlineStamp::decided(LOADED).word())?;
        }
        if let Some(digester) = &mut self.digester {
            digester.add(key, value);
        }
        Ok(())
    }

    /// Adds an entry whose value is too long to lie inline.
    #[inline(never)]
    fn push_outside(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        check_value(value)?;
        let version = Fresh::new(StampWord::decided(LOADED), Some(value));
        let word = version.word();
        self.builder.push(key, 0, |_| word)?;
        self.rest.version_bytes += version.held();
        self.rest.outside.push(version);
        Ok(())
    }

    /// Adds entries, each behind all others. Ends at the first that is refused; those before it are in.
    ///
    /// # Errors
    ///
    /// As [`StoreSegmentBuilder::push`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegmentBuilder};
    ///
    /// let map = BTreeMap::from([("knot", "7"), ("avocet", "1")]);
    /// let mut builder = StoreSegmentBuilder::new();
    /// builder.extend(&map)?;
    /// let store = Store::from_segments(&Clock::new(), StoreOptions::new(), vec![builder.finish()])?;
    /// assert_eq!(store.snapshot().first_key_value(), Some((b"avocet".to_vec(), b"1".to_vec())));
    /// # Ok::<(), whimbrel_mvcc::Error>(())
    /// ```
    pub fn extend<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), Error> {
        entries.into_iter().try_for_each(|(key, value)| self.push(key.as_ref(), value.as_ref()))
    }

    /// Entries so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.builder.len()
    }

    /// Whether nothing was added yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// The finished segment.
    #[must_use]
    pub fn finish(self) -> StoreSegment {
        let digest = self.digester.as_ref().map(Digester::digest);
        StoreSegment { segment: self.builder.finish(), digest, rest: self.rest }
    }
}

impl StoreSegment {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segment.len()
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segment.is_empty()
    }

    /// Digest of the entries.
    ///
    /// # Complexity
    ///
    /// O(1) after [`StoreSegmentBuilder::with_digest`]; otherwise all entries are read.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest.unwrap_or_else(|| {
            let mut digester = Digester::default();
            self.segment.for_each(|record| digester.add(record.key(), loaded_value(record)));
            digester.digest()
        })
    }

    /// The smallest key.
    #[must_use]
    pub fn first_key(&self) -> Option<&[u8]> {
        self.segment.first_key()
    }

    /// The greatest key.
    #[must_use]
    pub fn last_key(&self) -> Option<&[u8]> {
        self.segment.last_key()
    }
}

impl Store {
    /// A store of all entries of the segments, which are in order and do not overlap. Every snapshot of
    /// the clock sees the entries.
    ///
    /// # Complexity
    ///
    /// O(levels) a segment, and with a running digest that of [`StoreSegment::digest`].
    ///
    /// # Errors
    ///
    /// [`Error::OutOfOrder`] when segments overlap or are not in order.
    pub fn from_segments(
        clock: &Clock,
        options: StoreOptions,
        segments: Vec<StoreSegment>,
    ) -> Result<Self, Error> {
        let mut whole = Rest::default();
        let mut digest = Digest::default();
        let mut lists = Vec::with_capacity(segments.len());
        for part in segments {
            let count = part.len() as u64;
            let known = options.digest.then(|| part.digest());
            digest.merge(&known.unwrap_or(Digest { count, sum: 0 }));
            whole.version_bytes += part.rest.version_bytes;
            whole.outside.extend(part.rest.outside);
            lists.push(part.segment);
        }
        let list = List::from_segments(clock.barrier().clone(), lists)?;
        whole.outside.into_iter().for_each(Fresh::published);
        let store = Self::from_list(clock, list, options);
        store.count_loaded(&digest, whole.version_bytes);
        Ok(store)
    }
}

/// The value of a record of a segment.
fn loaded_value(record: Record<'_>) -> &[u8] {
    // ORDERING: Relaxed; whoever has the segment has what its builder wrote.
    let word = record.cell().load(Ordering::Relaxed);
    // SAFETY: the builder wrote the word and the version; the segment owns both, and neither changes
    // nor is freed while it is borrowed.
    let version = unsafe { VersionRef::from_word(record, word) };
    version.and_then(VersionRef::value).unwrap_or_default()
}

impl std::fmt::Debug for StoreSegmentBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSegmentBuilder").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for StoreSegment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSegment").field("len", &self.len()).finish_non_exhaustive()
    }
}
