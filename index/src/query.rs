//! Building a query.

use std::ops::{Bound, RangeBounds};

use crate::error::Error;
use crate::layout::index_prefix;
use crate::rows::{Row, Rows};
use crate::span::{Span, Tail, union};
use crate::value::Value;
use crate::view::CollectionView;

/// A query on one index of a view: conditions, then what to do with the rows.
///
/// Conditions follow the index's key: [`eq`](Self::eq) fixes leading fields, and then
/// [`prefix`](Self::prefix) or [`range`](Self::range) narrows the next field. [`or`](Self::or)
/// starts another set of conditions; the rows of all of them come in the index's order, each once.
/// Without conditions the whole index is read.
///
/// A query holds its snapshot and gives the same rows each time, whatever is written meanwhile.
///
/// # Examples
/// ```
/// use whimbrel::{CollectionDef, Document, Engine, IndexDef};
/// let engine = Engine::new();
/// let cities = engine.create_collection(
///     CollectionDef::new("cities")
///         .index(IndexDef::new("by_country").asc("country").desc("population")),
/// )?;
/// for (id, country, population) in
///     [("porto", "PT", 249_633), ("lisbon", "PT", 517_802), ("turku", "FI", 195_301)]
/// {
///     cities.update(id, &Document::new().set("country", country).set("population", population))?;
/// }
/// let view = cities.view();
/// let big = view.query("by_country")?.eq(["PT"]).range(300_000..).fetch()?;
/// assert_eq!(big[0].doc_id(), b"lisbon");
/// assert_eq!(view.query("by_country")?.eq(["PT"]).or().eq(["FI"]).count()?, 3);
/// # Ok::<(), whimbrel::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a query does nothing until its rows are asked for"]
pub struct Query {
    pub(crate) view: CollectionView,
    pub(crate) index: u16,
    spans: Vec<Span>,
    current: Span,
    pub(crate) order: Order,
    pub(crate) distinct: Distinct,
    pub(crate) offset: u64,
    pub(crate) limit: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Forward,
    Reverse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distinct {
    No,
    Keys,
    Documents,
}

impl Query {
    pub(crate) fn new(view: CollectionView, index: &str) -> Result<Self, Error> {
        let index = view.schema().index_number(index)?;
        Ok(Self {
            view,
            index,
            spans: Vec::new(),
            current: Span::default(),
            order: Order::Forward,
            distinct: Distinct::No,
            offset: 0,
            limit: u64::MAX,
        })
    }

    /// The next fields of the key equal these values. Several calls add up.
    pub fn eq<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.current.equal.extend(values.into_iter().map(Into::into));
        self
    }

    /// The field after those of [`eq`](Self::eq) begins with this text, or these bytes. Takes the
    /// place of an earlier `prefix` or `range`.
    pub fn prefix(mut self, start: impl Into<Value>) -> Self {
        self.current.tail = Tail::Prefix(start.into());
        self
    }

    /// The field after those of [`eq`](Self::eq) lies in a range of values: `10..20`, `10..=20`,
    /// `..20`, or a pair of [`Bound`]s. Smaller value first, also where the field is descending.
    /// An open end reaches to the end of the other bound's kind: `..10` gives integers only,
    /// neither nulls nor booleans; `..` gives everything. Takes the place of an earlier `prefix`
    /// or `range`.
    pub fn range<V: Into<Value> + Clone>(mut self, range: impl RangeBounds<V>) -> Self {
        let value = |bound: Bound<&V>| bound.map(|v| v.clone().into());
        let (lo, hi) = (value(range.start_bound()), value(range.end_bound()));
        self.current.tail = match (lo, hi) {
            (Bound::Unbounded, Bound::Unbounded) => Tail::All,
            (lo, hi) => Tail::Range(lo, hi),
        };
        self
    }

    /// Ends this set of conditions and begins another: rows that satisfy either are given.
    pub fn or(mut self) -> Self {
        self.spans.push(std::mem::take(&mut self.current));
        self
    }

    /// Gives the rows in reverse order.
    pub fn rev(self) -> Self {
        let order = match self.order {
            Order::Forward => Order::Reverse,
            Order::Reverse => Order::Forward,
        };
        Self { order, ..self }
    }

    /// Gives at most this many rows. Default: all.
    pub fn limit(self, rows: u64) -> Self {
        Self { limit: rows, ..self }
    }

    /// Passes over the first rows. Default: none. They are read all the same: to page through a
    /// large result, continue with a range from the last row's key instead.
    pub fn offset(self, rows: u64) -> Self {
        Self { offset: rows, ..self }
    }

    /// Gives only the first row of each key. Counted before offset and limit.
    pub fn distinct(self) -> Self {
        Self { distinct: Distinct::Keys, ..self }
    }

    /// Gives only the first row of each document: with an array field one document can match
    /// several times. Counted before offset and limit. Remembers every document id it has given.
    pub fn distinct_documents(self) -> Self {
        Self { distinct: Distinct::Documents, ..self }
    }

    /// The rows, read as the iterator is driven: nothing is held between steps but the snapshot.
    ///
    /// # Complexity
    /// O(log n) per partition to begin, then O(log partitions) a row.
    ///
    /// # Errors
    /// [`Error::BadQuery`] when the conditions do not fit the index.
    pub fn rows(&self) -> Result<Rows, Error> {
        let base = index_prefix(&[], self.index);
        let index = &self.view.def().indexes()[usize::from(self.index)];
        let mut spans = Vec::with_capacity(self.spans.len() + 1);
        for span in self.spans.iter().chain([&self.current]) {
            let keys = span
                .keys(&base, index)
                .map_err(|reason| Error::BadQuery { index: index.name().to_owned(), reason })?;
            spans.extend(keys);
        }
        Ok(Rows::new(self, union(spans)))
    }

    /// All rows at once.
    ///
    /// # Errors
    /// As [`rows`](Self::rows); [`Error::Corrupt`] when a stored entry cannot be decoded.
    pub fn fetch(&self) -> Result<Vec<Row>, Error> {
        self.rows()?.collect()
    }

    /// The number of rows: exact, with distinct, offset and limit applied. Reads the entries but
    /// decodes no values.
    ///
    /// # Complexity
    /// O(rows).
    ///
    /// # Errors
    /// As [`fetch`](Self::fetch).
    pub fn count(&self) -> Result<u64, Error> {
        self.rows()?.count_rows()
    }
}
