//! Which keys may have changed: single ones, and whole intervals where there were too many.

use std::ops::Bound;

use whimbrel_mvcc::{Captured, KeyRange};

/// Bytes that a remembered key counts with besides its own.
const KEY_OVERHEAD: usize = 48;

/// Keys and intervals, each ascending. A key may lie in an interval too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    keys: Vec<Vec<u8>>,
    spans: Vec<Span>,
    key_bytes: usize,
}

/// The keys from `lo` on and below `hi`; no `hi`: to the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    lo: Vec<u8>,
    hi: Option<Vec<u8>>,
}

/// A piece of what may have changed, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'p> {
    /// These keys, ascending.
    Keys(&'p [Vec<u8>]),
    /// Any key of this range.
    Span(KeyRange),
}

impl Piece<'_> {
    /// Keys that it is known to have.
    pub(crate) fn least(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Span(_) => 0,
        }
    }
}

impl Span {
    const ALL: Self = Self { lo: Vec::new(), hi: None };

    /// At least the keys of the range.
    fn of(range: KeyRange) -> Self {
        let lo = match range.lo {
            Bound::Included(lo) | Bound::Excluded(lo) => lo,
            Bound::Unbounded => Vec::new(),
        };
        let hi = match range.hi {
            Bound::Excluded(hi) => Some(hi),
            Bound::Included(mut hi) => {
                hi.push(0);
                Some(hi)
            }
            Bound::Unbounded => None,
        };
        Self { lo, hi }
    }

    fn ends_before(&self, key: &[u8]) -> bool {
        self.hi.as_deref().is_some_and(|hi| hi <= key)
    }

    fn range(&self) -> KeyRange {
        let hi = self.hi.clone().map_or(Bound::Unbounded, Bound::Excluded);
        KeyRange { lo: Bound::Included(self.lo.clone()), hi }
    }

    fn bytes(&self) -> usize {
        self.lo.len() + self.hi.as_ref().map_or(0, Vec::len) + KEY_OVERHEAD
    }
}

impl Pending {
    /// Adds what was captured. Above `most` bytes everything counts as changed.
    pub(crate) fn add(&mut self, captured: Captured, most: usize) {
        let spans = captured.intervals.into_iter().map(Span::of).collect();
        let key_bytes = captured.bytes;
        self.merge(Self { keys: captured.keys, spans, key_bytes }, most);
    }

    /// Adds another one.
    pub(crate) fn merge(&mut self, mut other: Self, most: usize) {
        if self.is_everything() || other.is_empty() {
            return;
        }
        if self.is_empty() {
            std::mem::swap(self, &mut other);
        } else {
            self.keys.append(&mut other.keys);
            // Two runs in order: this merges them.
            self.keys.sort();
            self.keys.dedup();
            self.spans.append(&mut other.spans);
            self.spans.sort();
            self.spans.dedup_by(|next, kept| {
                let apart = kept.ends_before(&next.lo) && kept.hi.as_ref() != Some(&next.lo);
                if !apart && !kept.hi.as_ref().is_none_or(|hi| next.ends_before(hi)) {
                    kept.hi = next.hi.take();
                }
                !apart
            });
        }
        let bytes = |key: &Vec<u8>| key.len() + KEY_OVERHEAD;
        self.key_bytes = self.keys.iter().map(bytes).sum();
        if self.bytes() > most {
            *self = Self { spans: vec![Span::ALL], ..Self::default() };
        }
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.key_bytes + self.spans.iter().map(Span::bytes).sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.spans.is_empty()
    }

    fn is_everything(&self) -> bool {
        self.spans.first() == Some(&Span::ALL)
    }

    /// Single keys, about.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    /// Intervals.
    pub(crate) fn spans(&self) -> usize {
        self.spans.len()
    }

    /// All of it in key order, each key once: keys that lie in an interval come with it. At most `run` keys
    /// a piece; `cut` may cut an interval into several that follow each other.
    pub(crate) fn pieces(
        &self,
        run: usize,
        cut: impl Fn(KeyRange) -> Vec<KeyRange>,
    ) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let mut keys = self.keys.as_slice();
        for span in &self.spans {
            let below = keys.partition_point(|key| *key < span.lo);
            pieces.extend(keys[..below].chunks(run.max(1)).map(Piece::Keys));
            keys = &keys[below..];
            let inside = keys.partition_point(|key| !span.ends_before(key));
            keys = &keys[inside..];
            pieces.extend(cut(span.range()).into_iter().map(Piece::Span));
        }
        pieces.extend(keys.chunks(run.max(1)).map(Piece::Keys));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(keys: &[&str], spans: &[(&str, &str)]) -> Pending {
        let keys: Vec<Vec<u8>> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let span = |(lo, hi): &(&str, &str)| Span::of(KeyRange::from(*lo..*hi));
        let mut pending = Pending::default();
        pending.merge(
            Pending { keys, spans: spans.iter().map(span).collect(), key_bytes: 0 },
            usize::MAX,
        );
        pending
    }

    fn show(pending: &Pending) -> String {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        let show = |piece: Piece<'_>| match piece {
            Piece::Keys(keys) => keys.iter().map(|key| text(key)).collect::<Vec<_>>().join("+"),
            Piece::Span(range) => {
                let Span { lo, hi } = Span::of(range);
                format!("{}..{}", text(&lo), text(&hi.unwrap_or_default()))
            }
        };
        let shown: Vec<_> = pending.pieces(2, |range| vec![range]).into_iter().map(show).collect();
        shown.join(" ")
    }

    #[test]
    fn keys_and_intervals_come_in_order_and_once() {
        let mut all = captured(&["a", "c", "x"], &[("b", "d"), ("m", "n")]);
        all.merge(captured(&["a", "b", "e", "f", "g", "m"], &[("c", "d1"), ("n", "o")]), 1 << 20);
        assert_eq!(show(&all), "a b..d1 e+f g m..o x");
    }

    #[test]
    fn an_interval_inside_of_another_does_not_cut_it() {
        let mut all = captured(&[], &[("a", "z")]);
        all.merge(captured(&["b"], &[("c", "d")]), 1 << 20);
        assert_eq!(show(&all), "a..z");
        all.merge(
            Pending { spans: vec![Span { lo: vec![b'y'], hi: None }], ..Pending::default() },
            999,
        );
        assert_eq!(all.spans, [Span { lo: vec![b'a'], hi: None }]);
    }

    #[test]
    fn too_much_is_everything_and_stays_it() {
        let mut all = captured(&["a", "b"], &[]);
        assert_eq!(all.bytes(), 2 * 49);
        all.merge(captured(&["c"], &[]), 3 * 49 - 1);
        assert!(all.is_everything() && all.keys() == 0);
        all.merge(captured(&["d"], &[("e", "f")]), 1 << 20);
        assert!(all.is_everything() && all.keys() == 0);
        assert_eq!(all.pieces(1, |range| vec![range]).len(), 1);
    }
}
