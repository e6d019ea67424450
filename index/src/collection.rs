//! A collection's handle: writing documents.

use std::sync::Arc;

use whimbrel_mvcc::{Clock, Hold};

use crate::def::CollectionDef;
use crate::document::Document;
use crate::error::Error;
use crate::partition::Partition;
use crate::query::Query;
use crate::schema::Schema;
use crate::view::CollectionView;

/// A collection of an engine: the indexes over one kind of document.
///
/// `Send`, `Sync`, and cheap to clone; every method takes `&self` and may be called from any
/// number of threads.
#[derive(Clone, Debug)]
pub struct Collection {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    schema: Arc<Schema>,
    partitions: Vec<Partition>,
}

impl Collection {
    pub(crate) fn from_parts(
        clock: Clock,
        schema: Arc<Schema>,
        partitions: Vec<Partition>,
    ) -> Self {
        Self { inner: Arc::new(Inner { clock, schema, partitions }) }
    }

    /// The collection's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.def().name()
    }

    /// The collection's definition.
    #[must_use]
    pub fn def(&self) -> &CollectionDef {
        self.inner.schema.def()
    }

    /// The partitions, in order.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.inner.partitions
    }

    /// Makes `doc` the document of this id: all its entries in all indexes are replaced, the
    /// ones it no longer has removed.
    ///
    /// Atomic and linearizable: a snapshot sees all of the old entries or all of the new ones;
    /// updates of one document take effect one after the other, in the order in which they
    /// commit. Nothing waits for a reader or a snapshot, and no update waits for another one,
    /// except where both claim the same key of a unique index at the same moment.
    ///
    /// # Complexity
    /// O(entries * log n); what did not change is not written again.
    ///
    /// # Errors
    /// Nothing was changed on any: [`Error::BadDocumentId`], [`Error::WrongKind`],
    /// [`Error::ManyValues`], [`Error::KeyTooLong`], [`Error::TooManyEntries`];
    /// [`Error::DuplicateKey`] when another document has a key in a unique index;
    /// [`Error::Corrupt`] when what is stored for the document is damaged.
    pub fn update(&self, doc_id: impl AsRef<[u8]>, doc: &Document) -> Result<(), Error> {
        let doc_id = doc_id.as_ref();
        self.partition_of(doc_id).update(doc_id, doc)
    }

    /// Removes a document with all its entries; false when it was not there. Atomic and
    /// linearizable, as [`update`](Self::update) is.
    ///
    /// # Complexity
    /// O(entries of the document * log n).
    ///
    /// # Errors
    /// [`Error::BadDocumentId`]; [`Error::Corrupt`] when what is stored for the document is
    /// damaged.
    pub fn remove(&self, doc_id: impl AsRef<[u8]>) -> Result<bool, Error> {
        let doc_id = doc_id.as_ref();
        self.partition_of(doc_id).remove(doc_id)
    }

    /// The collection as it is now: sees every update that returned before this call.
    ///
    /// # Complexity
    /// O(partitions). Waits for nobody.
    #[must_use]
    pub fn view(&self) -> CollectionView {
        self.view_at(&self.inner.clock.hold_named("view"))
    }

    /// Starts a query on a [`view`](Self::view) taken now.
    ///
    /// # Errors
    /// [`Error::NoSuchIndex`].
    pub fn query(&self, index: &str) -> Result<Query, Error> {
        self.view().query(index)
    }

    pub(crate) fn view_at(&self, hold: &Hold) -> CollectionView {
        let partitions = self.inner.partitions.iter();
        let views = partitions.map(|p| p.view(p.store().snapshot_at(hold))).collect();
        CollectionView::from_parts(Arc::clone(&self.inner.schema), views)
    }

    fn partition_of(&self, doc_id: &[u8]) -> &Partition {
        &self.inner.partitions[usize::from(self.def().partition_of(doc_id))]
    }
}
