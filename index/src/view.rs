//! What a snapshot shows of a partition, and of a whole collection.

use std::sync::Arc;

use whimbrel_mvcc::Snapshot;

use crate::def::CollectionDef;
use crate::encoding::decode_tuple;
use crate::error::{self, Error};
use crate::layout::{Entry, back_key, decode_back, schema_key};
use crate::query::Query;
use crate::schema::Schema;
use crate::value::Value;

/// One partition of a collection as a snapshot shows it, wherever it is stored: in an engine, or
/// under a key prefix of any store it was moved or restored to. Nothing is indexed again: the
/// schema is read from the partition itself.
///
/// Unchanging, whatever is written meanwhile; `Send`, `Sync`, cheap to clone.
///
/// # Performance
/// Holding it keeps what the snapshot sees from being collected, nothing more.
#[derive(Clone, Debug)]
pub struct PartitionView {
    snapshot: Snapshot,
    prefix: Arc<[u8]>,
    schema: Arc<Schema>,
    number: u16,
}

/// A key of an index that a document has, see [`CollectionView::keys_of`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentKey {
    /// The index's name.
    pub index: String,
    /// The key's values, one per field of the index.
    pub key: Vec<Value>,
}

impl PartitionView {
    /// Opens the partition whose keys begin with `prefix`.
    ///
    /// # Complexity
    /// One lookup, and parsing the schema.
    ///
    /// # Errors
    /// [`Error::NoPartition`] when there is no schema under the prefix, [`Error::BadSchema`] when
    /// it cannot be read.
    pub fn open(snapshot: Snapshot, prefix: &[u8]) -> Result<Self, Error> {
        let json = snapshot
            .get(&schema_key(prefix))
            .ok_or_else(|| Error::NoPartition { prefix: prefix.to_vec() })?;
        let place = format!("the partition under the key prefix {}", error::id(prefix));
        let (schema, number) = Schema::from_json(&json, &place)?;
        Ok(Self::from_parts(snapshot, prefix.into(), Arc::new(schema), number))
    }

    pub(crate) fn from_parts(
        snapshot: Snapshot,
        prefix: Arc<[u8]>,
        schema: Arc<Schema>,
        number: u16,
    ) -> Self {
        Self { snapshot, prefix, schema, number }
    }

    /// The collection's definition.
    #[must_use]
    pub fn def(&self) -> &CollectionDef {
        self.schema.def()
    }

    /// Which partition of the collection this is.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// The snapshot it reads.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Starts a query over this partition alone: it sees the documents whose ids hash here.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`].
    pub fn query(&self, index: &str) -> Result<Query, Error> {
        Query::new(self.clone().into(), index)
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    pub(crate) fn place(&self) -> String {
        format!("collection {:?}, partition {}", self.def().name(), self.number)
    }

    /// The document's entries, or `None` for a document that is not there.
    pub(crate) fn back_index(&self, doc_id: &[u8]) -> Result<Option<Vec<Entry>>, Error> {
        self.snapshot
            .get_with(&back_key(&self.prefix, doc_id), decode_back)
            .transpose()
            .map_err(|m| m.within(format!("{}, back-index of {}", self.place(), error::id(doc_id))))
    }
}

/// A whole collection as one snapshot shows it: queries merge its partitions.
///
/// Unchanging, whatever is written meanwhile; `Send`, `Sync`, cheap to clone.
#[derive(Clone, Debug)]
pub struct CollectionView {
    schema: Arc<Schema>,
    partitions: Arc<[PartitionView]>,
    complete: Completeness,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Completeness {
    Whole,
    OnePartition,
}

impl From<PartitionView> for CollectionView {
    /// A view of one partition; documents of other partitions are not in it.
    fn from(partition: PartitionView) -> Self {
        let complete = match partition.def().partition_count() {
            1 => Completeness::Whole,
            _ => Completeness::OnePartition,
        };
        Self { schema: Arc::clone(&partition.schema), partitions: Arc::from([partition]), complete }
    }
}

impl CollectionView {
    /// Puts a collection together from views of all its partitions, in any order. They should be
    /// of one snapshot number: what a query sees is only as consistent as they are.
    ///
    /// # Errors
    /// [`Error::BadPartitions`] when one is missing or comes twice, or their definitions differ.
    pub fn from_partitions(mut partitions: Vec<PartitionView>) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::BadPartitions { reason });
        partitions.sort_by_key(PartitionView::number);
        let Some(first) = partitions.first() else {
            return refuse("none was given".to_owned());
        };
        let schema = Arc::clone(&first.schema);
        let expected = usize::from(schema.def().partition_count());
        for (number, partition) in (0u16..).zip(&partitions) {
            if partition.schema != schema {
                let (a, b) = (first.place(), partition.place());
                return refuse(format!("{a} and {b} have different definitions"));
            }
            if partition.number != number {
                let found = partition.number;
                return refuse(format!("expected partition {number}, found partition {found}"));
            }
        }
        if partitions.len() != expected {
            return refuse(format!("{} of {expected} were given", partitions.len()));
        }
        Ok(Self::from_parts(schema, partitions))
    }

    pub(crate) fn from_parts(schema: Arc<Schema>, partitions: Vec<PartitionView>) -> Self {
        Self { schema, partitions: partitions.into(), complete: Completeness::Whole }
    }

    /// The collection's definition.
    #[must_use]
    pub fn def(&self) -> &CollectionDef {
        self.schema.def()
    }

    /// The partitions, in order.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionView] {
        &self.partitions
    }

    /// Starts a query on the index of this name; without conditions it gives all entries.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`].
    pub fn query(&self, index: &str) -> Result<Query, Error> {
        Query::new(self.clone(), index)
    }

    /// Whether the document is in the collection; one without any entry counts.
    ///
    /// # Complexity
    /// One lookup.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when what is stored is not a back-index entry.
    pub fn contains(&self, doc_id: impl AsRef<[u8]>) -> Result<bool, Error> {
        let doc_id = doc_id.as_ref();
        match self.partition_of(doc_id) {
            Some(partition) => Ok(partition.back_index(doc_id)?.is_some()),
            None => Ok(false),
        }
    }

    /// All keys a document has in the collection's indexes, by its back-index; `None` when it is
    /// not in the collection.
    ///
    /// # Complexity
    /// One lookup, and decoding.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when stored bytes cannot be decoded.
    pub fn keys_of(&self, doc_id: impl AsRef<[u8]>) -> Result<Option<Vec<DocumentKey>>, Error> {
        let doc_id = doc_id.as_ref();
        let Some(partition) = self.partition_of(doc_id) else { return Ok(None) };
        let Some(entries) = partition.back_index(doc_id)? else { return Ok(None) };
        let keys = entries.iter().map(|entry| {
            let corrupt = |cause| Error::Corrupt {
                place: format!("{}, back-index of {}", partition.place(), error::id(doc_id)),
                at: 0,
                cause,
            };
            let (index, directions) =
                self.schema.index(entry.index).ok_or_else(|| corrupt("an unknown index"))?;
            let (key, rest) = decode_tuple(&entry.tuple, directions)?;
            if !rest.is_empty() {
                return Err(corrupt("bytes behind a tuple"));
            }
            Ok(DocumentKey { index: index.name().to_owned(), key })
        });
        keys.collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    fn partition_of(&self, doc_id: &[u8]) -> Option<&PartitionView> {
        let number = self.def().partition_of(doc_id);
        match self.complete {
            Completeness::Whole => self.partitions.get(usize::from(number)),
            Completeness::OnePartition => self.partitions.first().filter(|p| p.number == number),
        }
    }
}
