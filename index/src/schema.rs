//! A definition at work, and as it is stored in each partition.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::def::{CollectionDef, Direction, IndexDef};
use crate::document::Document;
use crate::encoding::{encode_value, tuple_len};
use crate::error::Error;
use crate::layout::{
    Entry, MAX_DOCUMENT_ENTRIES, MAX_DOCUMENT_ID_BYTES, MAX_KEY_BYTES, UniqueValue,
};
use crate::value::Value;

/// The newest schema format that this version writes and reads.
const FORMAT: u32 = 1;

/// What a partition's schema entry holds.
#[derive(Serialize, Deserialize)]
struct PartitionSchema<D> {
    format: u32,
    partition: u16,
    collection: D,
}

/// Only the part of a schema that every format has.
#[derive(Deserialize)]
struct AnySchema {
    format: u32,
}

/// A validated definition with what is derived from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Schema {
    def: CollectionDef,
    directions: Vec<Vec<Direction>>,
}

/// An entry of a document, and the covered tuple that goes with it.
pub(crate) type CoveredEntry = (Entry, Vec<u8>);

impl Schema {
    pub(crate) fn new(def: CollectionDef) -> Result<Self, Error> {
        def.validate()?;
        let directions = def.indexes.iter().map(IndexDef::directions).collect();
        Ok(Self { def, directions })
    }

    pub(crate) fn def(&self) -> &CollectionDef {
        &self.def
    }

    /// The number of the index of this name.
    pub(crate) fn index_number(&self, name: &str) -> Result<u16, Error> {
        self.def
            .indexes
            .iter()
            .position(|i| i.name == name)
            .and_then(|n| u16::try_from(n).ok())
            .ok_or_else(|| Error::NoSuchIndex {
                collection: self.def.name.clone(),
                name: name.to_owned(),
                existing: self.def.indexes.iter().map(|i| i.name.clone()).collect(),
            })
    }

    /// The index of a number, where there is one (numbers come from stored bytes too).
    pub(crate) fn index(&self, number: u16) -> Option<(&IndexDef, &[Direction])> {
        let at = usize::from(number);
        Some((self.def.indexes.get(at)?, self.directions.get(at)?))
    }

    /// Whether entries of this index carry values that their keys do not determine.
    pub(crate) fn covers(&self, number: u16) -> bool {
        self.index(number).is_none_or(|(index, _)| !index.covering.is_empty())
    }

    /// The JSON stored in the partition of this number.
    pub(crate) fn to_json(&self, partition: u16) -> Vec<u8> {
        let schema = PartitionSchema { format: FORMAT, partition, collection: &self.def };
        serde_json::to_vec(&schema).expect("names and numbers always serialise")
    }

    /// Reads a stored schema; also says which partition it belongs to.
    pub(crate) fn from_json(json: &[u8], place: &str) -> Result<(Self, u16), Error> {
        let bad = |reason: String| Error::BadSchema { place: place.to_owned(), reason };
        let any: AnySchema = serde_json::from_slice(json).map_err(|e| bad(e.to_string()))?;
        if any.format != FORMAT {
            let found = any.format;
            return Err(bad(format!("format {found}; this version reads format {FORMAT}")));
        }
        let stored: PartitionSchema<CollectionDef> =
            serde_json::from_slice(json).map_err(|e| bad(e.to_string()))?;
        if stored.partition >= stored.collection.partitions {
            return Err(bad(format!(
                "partition {} of {}",
                stored.partition, stored.collection.partitions
            )));
        }
        let schema = Self::new(stored.collection).map_err(|e| bad(e.to_string()))?;
        Ok((schema, stored.partition))
    }

    /// All entries of a document, in order and distinct.
    pub(crate) fn entries(
        &self,
        doc_id: &[u8],
        doc: &Document,
    ) -> Result<Vec<CoveredEntry>, Error> {
        check_id(doc_id)?;
        let mut all = Vec::with_capacity(self.def.indexes.len());
        for (number, (index, directions)) in
            (0u16..).zip(self.def.indexes.iter().zip(&self.directions))
        {
            let covered = covered_tuple(index, doc)?;
            for tuple in tuples(index, directions, doc)? {
                let bytes = tuple.bytes.len() + doc_id.len();
                if bytes > MAX_KEY_BYTES {
                    return Err(Error::KeyTooLong {
                        index: index.name.clone(),
                        got: bytes,
                        limit: MAX_KEY_BYTES,
                    });
                }
                let claimed = index.unique && !tuple.has_null;
                let entry = Entry { index: number, tuple: tuple.bytes, claimed };
                all.push((entry, covered.clone()));
            }
        }
        all.sort_unstable();
        all.dedup_by(|a, b| a.0 == b.0);
        if all.len() > MAX_DOCUMENT_ENTRIES {
            return Err(Error::TooManyEntries { got: all.len(), limit: MAX_DOCUMENT_ENTRIES });
        }
        Ok(all)
    }

    /// The stored value of an entry.
    pub(crate) fn value<'v>(
        &self,
        entry: &Entry,
        doc_id: &[u8],
        covered: &'v [u8],
    ) -> Cow<'v, [u8]> {
        match self.index(entry.index) {
            Some((index, _)) if index.unique => Cow::Owned(
                if entry.claimed {
                    UniqueValue::Claimed { doc_id, covered }
                } else {
                    UniqueValue::Exempt { covered }
                }
                .encode(),
            ),
            _ => Cow::Borrowed(covered),
        }
    }

    /// Cuts what follows the index number in an entry's key into tuple and document id; the id is
    /// empty when the entry is a claimed one.
    pub(crate) fn cut<'k>(
        &self,
        number: u16,
        body: &'k [u8],
    ) -> Result<(&'k [u8], &'k [u8]), Error> {
        let place = || format!("collection {:?}, an entry of index {number}", self.def.name);
        let (_, directions) = self.index(number).ok_or_else(|| Error::Corrupt {
            place: place(),
            at: 0,
            cause: "there is no index of this number",
        })?;
        let len = tuple_len(body, directions).map_err(|m| m.within(place()))?;
        Ok(body.split_at(len))
    }
}

pub(crate) fn check_id(doc_id: &[u8]) -> Result<(), Error> {
    if doc_id.is_empty() || doc_id.len() > MAX_DOCUMENT_ID_BYTES {
        return Err(Error::BadDocumentId { got: doc_id.len(), limit: MAX_DOCUMENT_ID_BYTES });
    }
    Ok(())
}

struct Tuple {
    bytes: Vec<u8>,
    has_null: bool,
}

/// The tuples a document has in an index: one, or one per element of its array field.
fn tuples(index: &IndexDef, directions: &[Direction], doc: &Document) -> Result<Vec<Tuple>, Error> {
    let mut tuples = vec![Tuple { bytes: Vec::new(), has_null: false }];
    for (field, &direction) in index.fields.iter().zip(directions) {
        let values = if field.multi {
            doc.get(&field.name)
        } else {
            let value = doc.single(&field.name).map_err(|got| Error::ManyValues {
                index: index.name.clone(),
                field: field.name.clone(),
                got,
            })?;
            std::slice::from_ref(value)
        };
        for value in values {
            check_kind(index, field, value)?;
        }
        if values.len() > MAX_DOCUMENT_ENTRIES {
            return Err(Error::TooManyEntries { got: values.len(), limit: MAX_DOCUMENT_ENTRIES });
        }
        tuples = tuples
            .iter()
            .flat_map(|tuple| {
                values.iter().map(|value| {
                    let mut bytes = tuple.bytes.clone();
                    encode_value(value, direction, &mut bytes);
                    Tuple { bytes, has_null: tuple.has_null || value.is_null() }
                })
            })
            .collect();
    }
    Ok(tuples)
}

fn check_kind(index: &IndexDef, field: &crate::def::FieldDef, value: &Value) -> Result<(), Error> {
    match field.kind {
        Some(expected) if !value.is_null() && value.kind() != expected => Err(Error::WrongKind {
            index: index.name.clone(),
            field: field.name.clone(),
            expected,
            got: value.kind(),
            value: value.clone(),
        }),
        _ => Ok(()),
    }
}

fn covered_tuple(index: &IndexDef, doc: &Document) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for field in &index.covering {
        let value = doc.single(field).map_err(|got| Error::ManyValues {
            index: index.name.clone(),
            field: field.clone(),
            got,
        })?;
        encode_value(value, Direction::Ascending, &mut out);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cities() -> Schema {
        let def = CollectionDef::new("cities")
            .index(IndexDef::new("by_name").asc("name").covering(["population"]))
            .index(IndexDef::new("by_alias").multi("aliases").desc("population"))
            .index(IndexDef::new("by_code").asc("code").unique());
        Schema::new(def).unwrap()
    }

    #[test]
    fn a_stored_schema_comes_back() {
        let schema = cities();
        let (back, partition) = Schema::from_json(&schema.to_json(0), "here").unwrap();
        assert_eq!((back, partition), (schema, 0));
    }

    #[test]
    fn foreign_schemas_are_refused() {
        let newer = String::from_utf8(cities().to_json(0)).unwrap().replace(":1", ":2");
        for (json, part) in [
            ("", "EOF"),
            ("{}", "format"),
            (newer.as_str(), "format 2"),
            (r#"{"format":1,"partition":0}"#, "collection"),
            (
                r#"{"format":1,"partition":3,"collection":{"name":"a","partitions":2,"indexes":[]}}"#,
                "3 of 2",
            ),
            (
                r#"{"format":1,"partition":0,"collection":{"name":"a","partitions":2,"indexes":[]}}"#,
                "0 indexes",
            ),
        ] {
            let error = Schema::from_json(json.as_bytes(), "here").expect_err(json);
            assert!(matches!(error, Error::BadSchema { .. }), "{json}: {error}");
            assert!(error.to_string().contains(part), "{json}: {error}");
        }
    }

    #[test]
    fn entries_of_a_document() {
        let doc = Document::new()
            .set("name", "Porto")
            .set("population", 9)
            .set_many("aliases", ["b", "a", "b"]);
        let entries = cities().entries(b"1", &doc).unwrap();
        let shape: Vec<_> = entries.iter().map(|(e, c)| (e.index, e.claimed, c.len())).collect();
        // One name with its covered value, two distinct aliases, a null code that claims nothing.
        assert_eq!(shape, [(0, false, 2), (1, false, 0), (1, false, 0), (2, false, 0)]);
        let with_code = cities().entries(b"1", &doc.set("code", "x")).unwrap();
        assert!(with_code[3].0.claimed);
    }
}
