//! Spans of an index: what a query asks for, as ranges of encoded keys.

use std::ops::Bound;

use crate::def::{Direction, IndexDef};
use crate::encoding::{encode_open, encode_value, kind_tags};
use crate::layout::after_prefix;
use crate::value::Value;

/// What follows the leading equalities of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tail {
    #[default]
    All,
    Prefix(Value),
    Range(Bound<Value>, Bound<Value>),
}

/// Leading fields that equal given values, then a condition on the next field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) equal: Vec<Value>,
    pub(crate) tail: Tail,
}

/// Keys from `lo` (inclusive) to `hi` (exclusive), without a store's prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeySpan {
    pub(crate) lo: Vec<u8>,
    pub(crate) hi: Vec<u8>,
}

impl Span {
    /// The range of keys, `None` where nothing can match; a reason where the span does not fit the
    /// index. `base` is what all keys of the index begin with: not empty, and not all `FF`.
    pub(crate) fn keys(&self, base: &[u8], index: &IndexDef) -> Result<Option<KeySpan>, String> {
        self.check(index)?;
        let mut start = base.to_vec();
        for (value, field) in self.equal.iter().zip(&index.fields) {
            encode_value(value, field.direction, &mut start);
        }
        let span = match &self.tail {
            Tail::All => prefixed(start),
            Tail::Prefix(value) => {
                let field = &index.fields[self.equal.len()];
                encode_open(value, field.direction, &mut start);
                prefixed(start)
            }
            Tail::Range(lo, hi) => {
                let field = &index.fields[self.equal.len()];
                match field.direction {
                    Direction::Ascending => bounded(&start, lo, hi, field.direction),
                    Direction::Descending => bounded(&start, hi, lo, field.direction),
                }
            }
        };
        Ok((span.lo < span.hi).then_some(span))
    }

    fn check(&self, index: &IndexDef) -> Result<(), String> {
        let has = index.fields.len();
        let names: Vec<_> = index.fields.iter().map(|f| f.name.as_str()).collect();
        let used = self.equal.len() + usize::from(self.tail != Tail::All);
        if used > has {
            return Err(format!(
                "conditions on {used} fields, but its key has {has}: {}",
                names.join(", ")
            ));
        }
        let equal = self.equal.iter().zip(&index.fields);
        let tail = self.tail.values().map(|value| (value, &index.fields[self.equal.len()]));
        for (value, field) in equal.chain(tail) {
            let fits = |kind| value.is_null() || value.kind() == kind;
            if let Some(kind) = field.kind.filter(|&kind| !fits(kind)) {
                let (name, got) = (&field.name, value.kind());
                return Err(format!("field {name:?} takes {kind} values, got {got}: {value}"));
            }
        }
        match &self.tail {
            Tail::Prefix(value) if !matches!(value, Value::Str(_) | Value::Bytes(_)) => {
                let kind = value.kind();
                Err(format!("a prefix is text or bytes, not {kind}; use eq or range"))
            }
            _ => Ok(()),
        }
    }
}

impl Tail {
    fn values(&self) -> impl Iterator<Item = &Value> {
        let (a, b) = match self {
            Self::All => (None, None),
            Self::Prefix(value) => (Some(value), None),
            Self::Range(lo, hi) => (bound_value(lo), bound_value(hi)),
        };
        a.into_iter().chain(b)
    }
}

fn bound_value(bound: &Bound<Value>) -> Option<&Value> {
    match bound {
        Bound::Included(value) | Bound::Excluded(value) => Some(value),
        Bound::Unbounded => None,
    }
}

fn prefixed(start: Vec<u8>) -> KeySpan {
    KeySpan { hi: after_prefix(start.clone()), lo: start }
}

/// `from` and `to` are in the order of the keys. An open end reaches to the end of the other
/// bound's kind: below 10 there are integers only, no nulls.
fn bounded(start: &[u8], from: &Bound<Value>, to: &Bound<Value>, direction: Direction) -> KeySpan {
    let with = |value: &Value| {
        let mut key = start.to_vec();
        encode_value(value, direction, &mut key);
        key
    };
    let with_tag = |tag: u8| [start, &[tag ^ direction.mask()]].concat();
    let tags = |other: &Bound<Value>| {
        let (first, last) = kind_tags(bound_value(other)?.kind());
        Some(match direction {
            Direction::Ascending => (first, last),
            Direction::Descending => (last, first),
        })
    };
    let lo = match from {
        Bound::Included(value) => with(value),
        Bound::Excluded(value) => after_prefix(with(value)),
        Bound::Unbounded => tags(to).map_or_else(|| start.to_vec(), |(first, _)| with_tag(first)),
    };
    let hi = match to {
        Bound::Included(value) => after_prefix(with(value)),
        Bound::Excluded(value) => with(value),
        Bound::Unbounded => {
            after_prefix(tags(from).map_or_else(|| start.to_vec(), |(_, last)| with_tag(last)))
        }
    };
    KeySpan { lo, hi }
}

/// The union of spans, in order and without overlaps.
pub(crate) fn union(mut spans: Vec<KeySpan>) -> Vec<KeySpan> {
    spans.sort_unstable();
    let mut out: Vec<KeySpan> = Vec::with_capacity(spans.len());
    for span in spans {
        match out.last_mut() {
            Some(last) if span.lo <= last.hi => last.hi = span.hi.max(std::mem::take(&mut last.hi)),
            _ => out.push(span),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(lo: u8, hi: u8) -> KeySpan {
        KeySpan { lo: vec![lo], hi: vec![hi] }
    }

    #[test]
    fn union_is_ordered_and_disjoint() {
        let spans = vec![span(5, 9), span(1, 3), span(6, 7), span(3, 4), span(20, 21)];
        assert_eq!(union(spans), [span(1, 4), span(5, 9), span(20, 21)]);
    }

    #[test]
    fn misfits_are_refused() {
        let index = IndexDef::new("i").asc("a").kind(crate::Kind::Int).desc("b");
        let keys = |span: Span| span.keys(&[2, 0, 0], &index);
        let eq = |values: &[Value]| Span { equal: values.to_vec(), tail: Tail::All };
        let too_many = keys(eq(&[1.into(), 2.into(), 3.into()])).unwrap_err();
        assert!(too_many.contains("3 fields") && too_many.contains("a, b"), "{too_many}");
        let kind = keys(eq(&["x".into()])).unwrap_err();
        assert!(kind.contains("takes int values"), "{kind}");
        let prefix = keys(Span { equal: vec![1.into()], tail: Tail::Prefix(7.into()) });
        assert!(prefix.unwrap_err().contains("text or bytes"));
        let past = Span { equal: vec![1.into(), 2.into()], tail: Tail::Prefix("x".into()) };
        assert!(keys(past).unwrap_err().contains("3 fields"));
        let backwards = Tail::Range(Bound::Included(5.into()), Bound::Excluded(5.into()));
        assert_eq!(keys(Span { equal: vec![], tail: backwards }), Ok(None));
    }
}
