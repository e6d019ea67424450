//! Ranges of keys.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

/// A range of keys in `memcmp` order, with a bound at either end.
///
/// Made from the standard ranges of anything that becomes bytes.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::KeyRange;
///
/// let range = KeyRange::from("a".."c");
/// assert!(range.contains(b"b") && !range.contains(b"c"));
/// assert!(KeyRange::prefix(b"ab").contains(b"abc"));
/// assert!(KeyRange::from(..).contains(b""));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    /// Lower end.
    pub lo: Bound<Vec<u8>>,
    /// Upper end.
    pub hi: Bound<Vec<u8>>,
}

impl KeyRange {
    /// All keys.
    #[must_use]
    pub fn all() -> Self {
        Self { lo: Bound::Unbounded, hi: Bound::Unbounded }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl AsRef<[u8]>) -> Self {
        let prefix = prefix.as_ref();
        let mut end = prefix.to_vec();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        let hi = match end.last_mut() {
            Some(last) => {
                *last += 1;
                Bound::Excluded(end)
            }
            None => Bound::Unbounded,
        };
        Self { lo: Bound::Included(prefix.to_vec()), hi }
    }

    /// Whether the key lies inside.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        self.reaches_down_to(key) && self.reaches_up_to(key)
    }

    /// Whether no key can lie inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match (&self.lo, &self.hi) {
            (Bound::Unbounded, Bound::Excluded(hi)) => hi.is_empty(),
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(lo), Bound::Included(hi)) => lo > hi,
            (Bound::Excluded(lo), Bound::Excluded(hi)) => {
                // Nothing lies between a key and the same key with a zero byte behind it.
                lo >= hi || (hi.len() == lo.len() + 1 && hi.starts_with(lo) && hi.ends_with(&[0]))
            }
            (Bound::Included(lo), Bound::Excluded(hi))
            | (Bound::Excluded(lo), Bound::Included(hi)) => lo >= hi,
        }
    }

    /// The lower end, borrowed.
    #[must_use]
    pub fn lo(&self) -> Bound<&[u8]> {
        self.lo.as_ref().map(Vec::as_slice)
    }

    /// The upper end, borrowed.
    #[must_use]
    pub fn hi(&self) -> Bound<&[u8]> {
        self.hi.as_ref().map(Vec::as_slice)
    }

    /// Whether the key is not below the range.
    pub(crate) fn reaches_down_to(&self, key: &[u8]) -> bool {
        match &self.lo {
            Bound::Included(lo) => lo.as_slice() <= key,
            Bound::Excluded(lo) => lo.as_slice() < key,
            Bound::Unbounded => true,
        }
    }

    /// Whether the key is not above the range.
    pub(crate) fn reaches_up_to(&self, key: &[u8]) -> bool {
        match &self.hi {
            Bound::Included(hi) => key <= hi.as_slice(),
            Bound::Excluded(hi) => key < hi.as_slice(),
            Bound::Unbounded => true,
        }
    }

    /// Cuts the range at ascending separators, which lie inside of it, into ranges that follow each other; a
    /// separator is the first key of the range behind it.
    ///
    /// ```
    /// use whimbrel_mvcc::KeyRange;
    ///
    /// let pieces = KeyRange::all().cut([b"m".to_vec()]);
    /// assert!(pieces[0].contains(b"knot") && pieces[1].contains(b"m"));
    /// ```
    #[must_use]
    pub fn cut(self, separators: impl IntoIterator<Item = Vec<u8>>) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut lo = self.lo;
        for separator in separators {
            pieces.push(Self { lo, hi: Bound::Excluded(separator.clone()) });
            lo = Bound::Included(separator);
        }
        pieces.push(Self { lo, hi: self.hi });
        pieces
    }
}

impl RangeBounds<[u8]> for KeyRange {
    fn start_bound(&self) -> Bound<&[u8]> {
        self.lo()
    }

    fn end_bound(&self) -> Bound<&[u8]> {
        self.hi()
    }
}

impl From<RangeFull> for KeyRange {
    fn from(_: RangeFull) -> Self {
        Self::all()
    }
}

impl<K: Into<Vec<u8>>> From<Range<K>> for KeyRange {
    fn from(range: Range<K>) -> Self {
        Self { lo: Bound::Included(range.start.into()), hi: Bound::Excluded(range.end.into()) }
    }
}

impl<K: Into<Vec<u8>>> From<RangeInclusive<K>> for KeyRange {
    fn from(range: RangeInclusive<K>) -> Self {
        let (lo, hi) = range.into_inner();
        Self { lo: Bound::Included(lo.into()), hi: Bound::Included(hi.into()) }
    }
}

impl<K: Into<Vec<u8>>> From<RangeFrom<K>> for KeyRange {
    fn from(range: RangeFrom<K>) -> Self {
        Self { lo: Bound::Included(range.start.into()), hi: Bound::Unbounded }
    }
}

impl<K: Into<Vec<u8>>> From<RangeTo<K>> for KeyRange {
    fn from(range: RangeTo<K>) -> Self {
        Self { lo: Bound::Unbounded, hi: Bound::Excluded(range.end.into()) }
    }
}

impl<K: Into<Vec<u8>>> From<RangeToInclusive<K>> for KeyRange {
    fn from(range: RangeToInclusive<K>) -> Self {
        Self { lo: Bound::Unbounded, hi: Bound::Included(range.end.into()) }
    }
}

impl<K: Into<Vec<u8>>> From<(Bound<K>, Bound<K>)> for KeyRange {
    fn from((lo, hi): (Bound<K>, Bound<K>)) -> Self {
        Self { lo: lo.map(Into::into), hi: hi.map(Into::into) }
    }
}
