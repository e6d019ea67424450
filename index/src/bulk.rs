//! Building a collection from documents: encode, sort and build segments, all in parallel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use whimbrel_mvcc::{Clock, Store, StoreOptions, StoreSegment, StoreSegmentBuilder};

use crate::document::Document;
use crate::encoding::decode_tuple;
use crate::error::Error;
use crate::layout::{UniqueValue, back_key, encode_back, schema_key, split_entry};
use crate::partition::Partition;
use crate::schema::Schema;

/// What a bulk load did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadReport {
    /// Documents loaded.
    pub documents: u64,
    /// Entries in all indexes, back-index entries not counted.
    pub entries: u64,
    /// From the call to the finished collection.
    pub elapsed: Duration,
}

/// A key and its value, encoded.
type Pair = (Vec<u8>, Vec<u8>);

/// Below this, a segment of its own costs more than it saves.
const MIN_SEGMENT_PAIRS: usize = 4_096;

pub(crate) fn load(
    clock: &Clock,
    schema: &Arc<Schema>,
    docs: Vec<(Vec<u8>, Document)>,
) -> Result<(Vec<Partition>, LoadReport), Error> {
    let started = Instant::now();
    let documents = docs.len();
    let span = tracing::info_span!("bulk_load", collection = schema.def().name(), documents);
    let _entered = span.enter();

    let parts = encode(schema, docs)?;
    // One schema and one back-index entry per document are no index entries.
    let pairs: usize = parts.iter().map(Vec::len).sum();
    let partitions = parts
        .into_par_iter()
        .zip(0..schema.def().partition_count())
        .map(|(pairs, number)| {
            let store = build(clock, schema, pairs, number)?;
            Ok(Partition::from_parts(store, Arc::clone(schema), number))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let report = LoadReport {
        documents: documents as u64,
        entries: (pairs - documents) as u64,
        elapsed: started.elapsed(),
    };
    Ok((partitions, report))
}

/// All pairs of all documents, by partition, unsorted.
fn encode(schema: &Schema, docs: Vec<(Vec<u8>, Document)>) -> Result<Vec<Vec<Pair>>, Error> {
    let count = usize::from(schema.def().partition_count());
    let none = || vec![Vec::new(); count];
    docs.into_par_iter()
        .try_fold(none, |mut parts: Vec<Vec<Pair>>, (doc_id, doc)| {
            let entries = schema.entries(&doc_id, &doc)?;
            let part = &mut parts[usize::from(schema.def().partition_of(&doc_id))];
            part.push((back_key(&[], &doc_id), encode_back(entries.iter().map(|(e, _)| e))));
            part.extend(entries.iter().map(|(entry, covered)| {
                let value = schema.value(entry, &doc_id, covered).into_owned();
                (entry.key(&[], &doc_id), value)
            }));
            Ok(parts)
        })
        .try_reduce(none, |mut a, b| {
            for (a, mut b) in a.iter_mut().zip(b) {
                a.append(&mut b);
            }
            Ok(a)
        })
}

fn build(
    clock: &Clock,
    schema: &Schema,
    mut pairs: Vec<Pair>,
    number: u16,
) -> Result<Store, Error> {
    pairs.push((schema_key(&[]), schema.to_json(number)));
    pairs.par_sort_unstable();
    if let Some(twice) = pairs.par_windows(2).find_first(|two| two[0].0 == two[1].0) {
        return Err(duplicate(schema, &twice[0], &twice[1]));
    }
    let per_segment = pairs.len().div_ceil(rayon::current_num_threads()).max(MIN_SEGMENT_PAIRS);
    let segments = pairs
        .par_chunks(per_segment)
        .map(|chunk| {
            let mut segment = StoreSegmentBuilder::new();
            for (key, value) in chunk {
                segment.push(key, value)?;
            }
            Ok(segment.finish())
        })
        .collect::<Result<Vec<StoreSegment>, Error>>()?;
    Ok(Store::from_segments(clock, StoreOptions::default(), segments)?)
}

/// Two pairs with one key: a document that comes twice, or a unique key with two owners.
fn duplicate(schema: &Schema, first: &Pair, second: &Pair) -> Error {
    two_owners(schema, first, second)
        .unwrap_or_else(|| Error::DuplicateDocument { doc_id: first.0[1..].to_vec() })
}

/// Back-index entries sort before index entries, so of a document that comes twice the former is
/// what was found.
fn two_owners(schema: &Schema, (key, first): &Pair, (_, second): &Pair) -> Option<Error> {
    let (number, tuple) = split_entry(key)?;
    let (index, directions) = schema.index(number)?;
    let owner = |value| match UniqueValue::decode(value) {
        Ok(UniqueValue::Claimed { doc_id, .. }) => Some(doc_id),
        _ => None,
    };
    let (held_by, other) = (owner(first)?, owner(second)?);
    debug_assert_ne!(held_by, other, "its back-index entries would have been found first");
    let (values, _) = decode_tuple(tuple, directions).ok()?;
    let index = index.name().to_owned();
    Some(Error::DuplicateKey { index, key: values, held_by: held_by.to_vec() })
}
