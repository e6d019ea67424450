//! Driving a query: rows from the merged cursors.

use std::collections::HashSet;
use std::iter::FusedIterator;
use std::sync::Arc;

use crate::encoding::decode_tuple;
use crate::error::Error;
use crate::layout::{UniqueValue, is_reserved, split_entry};
use crate::merge::Merge;
use crate::query::{Distinct, Order, Query};
use crate::schema::Schema;
use crate::span::KeySpan;
use crate::value::Value;
use crate::view::CollectionView;

/// One entry of an index: the document, the key's values, the covered values.
#[derive(Clone, Debug)]
pub struct Row {
    schema: Arc<Schema>,
    index: u16,
    doc_id: Vec<u8>,
    key: Vec<Value>,
    covered: Vec<Value>,
}

impl Row {
    /// The document's id.
    #[must_use]
    pub fn doc_id(&self) -> &[u8] {
        &self.doc_id
    }

    /// The key's values, in the order of the index's fields.
    #[must_use]
    pub fn key(&self) -> &[Value] {
        &self.key
    }

    /// The covered values, in the order of the definition; empty when the index covers nothing.
    #[must_use]
    pub fn covered(&self) -> &[Value] {
        &self.covered
    }

    /// The value of a field, from the key or the covered values; `None` when the index has
    /// neither.
    ///
    /// # Complexity
    /// O(fields of the index).
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&Value> {
        let (index, _) = self.schema.index(self.index)?;
        let key = index.fields().iter().position(|f| f.name() == field);
        let covered = || index.covered_fields().iter().position(|f| f == field);
        match key {
            Some(at) => self.key.get(at),
            None => self.covered.get(covered()?),
        }
    }
}

/// Equal when they show the same: document, key and covered values.
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        (&self.doc_id, &self.key, &self.covered) == (&other.doc_id, &other.key, &other.covered)
    }
}

impl Eq for Row {}

/// The rows of a query, in the index's order. Holds the snapshot, and no barrier session between
/// steps: it may be kept for hours. After an error it ends.
#[derive(Debug)]
pub struct Rows {
    view: CollectionView,
    index: u16,
    is_unique: bool,
    order: Order,
    spans: std::vec::IntoIter<KeySpan>,
    merge: Option<Merge>,
    distinct: Distinct,
    last_tuple: Option<Vec<u8>>,
    seen: HashSet<Box<[u8]>>,
    offset: u64,
    limit: u64,
}

/// An entry cut into its parts, still encoded.
struct Cut<'e> {
    tuple: &'e [u8],
    doc_id: &'e [u8],
    covered: &'e [u8],
}

impl Rows {
    pub(crate) fn new(query: &Query, mut spans: Vec<KeySpan>) -> Self {
        if query.order == Order::Reverse {
            spans.reverse();
        }
        let is_unique = query.view.def().indexes()[usize::from(query.index)].is_unique();
        Self {
            view: query.view.clone(),
            index: query.index,
            is_unique,
            order: query.order,
            spans: spans.into_iter(),
            merge: None,
            distinct: query.distinct,
            last_tuple: None,
            seen: HashSet::new(),
            offset: query.offset,
            limit: query.limit,
        }
    }

    pub(crate) fn count_rows(mut self) -> Result<u64, Error> {
        let mut rows = 0;
        while self.step(|_, _| Ok(()))?.is_some() {
            rows += 1;
        }
        Ok(rows)
    }

    /// Passes on to the next row and gives it to `f`.
    fn step<R>(
        &mut self,
        mut f: impl FnMut(&Arc<Schema>, Cut<'_>) -> Result<R, Error>,
    ) -> Result<Option<R>, Error> {
        while self.limit > 0 {
            let merge = match &mut self.merge {
                Some(merge) => merge,
                None => match self.spans.next() {
                    Some(span) => {
                        self.merge.insert(Merge::new(self.view.partitions(), &span, self.order))
                    }
                    None => break,
                },
            };
            let Some((key, value)) = merge.next_entry() else {
                self.merge = None;
                continue;
            };
            if self.is_unique && is_reserved(value) {
                continue;
            }
            let schema = self.view.schema();
            let cut = cut(schema, self.index, self.is_unique, key, value)?;
            if !is_fresh(self.distinct, &mut self.last_tuple, &mut self.seen, &cut) {
                continue;
            }
            if self.offset > 0 {
                self.offset -= 1;
                continue;
            }
            self.limit -= 1;
            return f(schema, cut).map(Some);
        }
        Ok(None)
    }
}

fn cut<'e>(
    schema: &Schema,
    index: u16,
    is_unique: bool,
    key: &'e [u8],
    value: &'e [u8],
) -> Result<Cut<'e>, Error> {
    let corrupt = |cause| Error::Corrupt {
        place: format!("collection {:?}, an entry of index {index}", schema.def().name()),
        at: 0,
        cause,
    };
    let (_, body) = split_entry(key).ok_or_else(|| corrupt("not an entry's key"))?;
    let (tuple, in_key) = schema.cut(index, body)?;
    let (doc_id, covered) = if is_unique {
        match UniqueValue::decode(value).map_err(|m| corrupt(m.cause))? {
            UniqueValue::Claimed { doc_id, covered } => (doc_id, covered),
            UniqueValue::Exempt { covered } => (in_key, covered),
            UniqueValue::Reserved(_) => return Err(corrupt("a reservation taken for an entry")),
        }
    } else {
        (in_key, value)
    };
    if doc_id.is_empty() {
        return Err(corrupt("no document id"));
    }
    Ok(Cut { tuple, doc_id, covered })
}

fn is_fresh(
    distinct: Distinct,
    last_tuple: &mut Option<Vec<u8>>,
    seen: &mut HashSet<Box<[u8]>>,
    cut: &Cut<'_>,
) -> bool {
    match distinct {
        Distinct::No => true,
        Distinct::Keys => match last_tuple {
            Some(last) if last == cut.tuple => false,
            Some(last) => {
                last.clear();
                last.extend_from_slice(cut.tuple);
                true
            }
            None => {
                *last_tuple = Some(cut.tuple.to_vec());
                true
            }
        },
        Distinct::Documents => {
            !seen.contains(cut.doc_id) && seen.insert(cut.doc_id.to_vec().into_boxed_slice())
        }
    }
}

fn decode(schema: &Arc<Schema>, number: u16, cut: &Cut<'_>) -> Result<Row, Error> {
    let (index, directions) = schema.index(number).expect("looked up by its name");
    let (key, _) = decode_tuple(cut.tuple, directions)?;
    let ascending = vec![crate::Direction::Ascending; index.covered_fields().len()];
    let (covered, rest) = decode_tuple(cut.covered, &ascending)?;
    if !rest.is_empty() {
        return Err(Error::Corrupt {
            place: format!("index {:?}, covered values", index.name()),
            at: cut.covered.len() - rest.len(),
            cause: "more values than the definition has",
        });
    }
    let doc_id = cut.doc_id.to_vec();
    Ok(Row { schema: Arc::clone(schema), index: number, doc_id, key, covered })
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        let row = self.step(|schema, cut| decode(schema, index, &cut)).transpose();
        if matches!(row, Some(Err(_))) {
            self.limit = 0;
        }
        row
    }
}

impl FusedIterator for Rows {}
