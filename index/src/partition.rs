//! One partition at work: atomic updates of documents.

use std::sync::Arc;

use whimbrel_mvcc::{Batch, Inserted, Snapshot, Store, VersionToken};

use crate::def::CollectionDef;
use crate::document::Document;
use crate::encoding::decode_tuple;
use crate::error::{self, Error};
use crate::layout::{Entry, UniqueValue, back_key, decode_back, encode_back, schema_key};
use crate::schema::{CoveredEntry, Schema, check_id};
use crate::unique::{Patience, Reservations, Reserved};
use crate::view::PartitionView;

/// One partition of a collection, in a store under a key prefix: what an engine keeps each of its
/// collections' partitions in, and what a server can keep beside other data in a store of its own.
///
/// `Send`, `Sync`, cheap to clone; clones, and other handles opened on the same store and prefix,
/// write to the same partition and are safe beside each other.
///
/// # Layout
/// What is behind the prefix (format 1; it travels in backups and migrations):
///
/// | key | value |
/// |---|---|
/// | `00` | the schema as JSON: `format`, `partition`, `collection` |
/// | `01`, document id | back-index: `01`, then for each entry of the document, in order: its index number doubled (plus one if *claimed*) and the length of its tuple, both as LEB128, and the tuple |
/// | `02`, index number (u16, big endian), tuple, document id | covered values as a tuple; in a unique index (a key with a null in it) `02` before them |
/// | `02`, index number, tuple | a *claimed* entry, which is one of a unique index without nulls: `01`, length of the document id as LEB128, document id, covered values |
/// | the same | the key is only reserved: `00`, process and attempt (u64 each, little endian) |
///
/// Tuples are encoded as [`encoding`](crate::encoding) says, covered ones ascending.
///
/// # Examples
/// ```
/// use whimbrel::{CollectionDef, Document, IndexDef, Partition};
/// use whimbrel::mvcc::{Clock, Store};
/// let store = Store::new(&Clock::new());
/// let def = CollectionDef::new("users").index(IndexDef::new("by_age").desc("age"));
/// let users = Partition::create(&store, b"c/users/", &def, 0)?;
/// users.update(b"ann", &Document::new().set("age", 41))?;
/// // Elsewhere, knowing the store and the prefix only:
/// let view = Partition::open(&store, b"c/users/")?.view(store.snapshot());
/// assert_eq!(view.query("by_age")?.fetch()?[0].doc_id(), b"ann");
/// # Ok::<(), whimbrel::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Partition {
    store: Store,
    prefix: Arc<[u8]>,
    schema: Arc<Schema>,
    number: u16,
}

impl Partition {
    /// Writes the schema of partition `number` of a collection under `prefix`. No other key in
    /// the store may begin with the prefix.
    ///
    /// # Errors
    /// [`Error::BadDefinition`]; [`Error::BadPartitions`] for a number the collection does not
    /// have; [`Error::CollectionExists`] when there is a schema under the prefix already.
    pub fn create(
        store: &Store,
        prefix: &[u8],
        def: &CollectionDef,
        number: u16,
    ) -> Result<Self, Error> {
        let schema = Arc::new(Schema::new(def.clone())?);
        if number >= def.partition_count() {
            let of = def.partition_count();
            return Err(Error::BadPartitions { reason: format!("there is no {number} of {of}") });
        }
        Self::create_with(store.clone(), prefix.into(), schema, number)
    }

    pub(crate) fn create_with(
        store: Store,
        prefix: Arc<[u8]>,
        schema: Arc<Schema>,
        number: u16,
    ) -> Result<Self, Error> {
        match store.insert_unique(&schema_key(&prefix), &schema.to_json(number))? {
            Inserted::Inserted => Ok(Self { store, prefix, schema, number }),
            Inserted::Exists => {
                Err(Error::CollectionExists { name: schema.def().name().to_owned() })
            }
        }
    }

    /// Opens the partition whose keys begin with `prefix`, by the schema stored there.
    ///
    /// # Errors
    /// [`Error::NoPartition`], [`Error::BadSchema`].
    pub fn open(store: &Store, prefix: &[u8]) -> Result<Self, Error> {
        let place = format!("the partition under the key prefix {}", error::id(prefix));
        Self::open_at(store, prefix, &place)
    }

    /// [`open`](Self::open) for a store that errors should name.
    pub(crate) fn open_at(store: &Store, prefix: &[u8], place: &str) -> Result<Self, Error> {
        let json = store
            .get(&schema_key(prefix))
            .ok_or_else(|| Error::NoPartition { prefix: prefix.to_vec() })?;
        let (schema, number) = Schema::from_json(&json, place)?;
        Ok(Self { store: store.clone(), prefix: prefix.into(), schema: schema.into(), number })
    }

    /// Puts together what is known to belong together: a store loaded in bulk, schema included.
    pub(crate) fn from_parts(store: Store, schema: Arc<Schema>, number: u16) -> Self {
        Self { store, prefix: Arc::from([]), schema, number }
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

    /// The store it is in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What a snapshot of its store shows of it.
    #[must_use]
    pub fn view(&self, snapshot: Snapshot) -> PartitionView {
        let (prefix, schema) = (Arc::clone(&self.prefix), Arc::clone(&self.schema));
        PartitionView::from_parts(snapshot, prefix, schema, self.number)
    }

    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Replaces all entries of a document by those of `doc`, atomically; see
    /// [`Collection::update`](crate::Collection::update). The caller answers for the id hashing
    /// to this partition.
    ///
    /// # Errors
    /// As there.
    pub fn update(&self, doc_id: &[u8], doc: &Document) -> Result<(), Error> {
        let entries = self.schema.entries(doc_id, doc)?;
        self.replace(doc_id, Some(&entries)).map(drop)
    }

    /// Removes a document with all its entries, atomically; false when it was not there.
    ///
    /// # Errors
    /// As [`Collection::remove`](crate::Collection::remove).
    pub fn remove(&self, doc_id: &[u8]) -> Result<bool, Error> {
        check_id(doc_id)?;
        self.replace(doc_id, None)
    }

    /// The one way to change a document: read its back-index entry, reserve the unique keys that
    /// are new, commit a batch that expects the entry read; again when another update of the
    /// document came first. Returns whether the document was there before.
    fn replace(&self, doc_id: &[u8], new: Option<&[CoveredEntry]>) -> Result<bool, Error> {
        let mut held = Reservations::new(&self.store);
        let mut patience = Patience::default();
        loop {
            let (old_bytes, token) = self.store.get_versioned(&back_key(&self.prefix, doc_id));
            if old_bytes.is_none() && new.is_none() {
                return Ok(false);
            }
            let old = self.decode_old(doc_id, old_bytes.as_deref())?;
            match self.reserve_new(doc_id, &old, new.unwrap_or_default(), &mut held)? {
                Reserved::Held => {}
                Reserved::Stale => {
                    self.refuse_unlisted(doc_id, new.unwrap_or_default())?;
                    continue;
                }
                Reserved::Busy | Reserved::TakenBy(_) => {
                    held.release();
                    patience.wait();
                    continue;
                }
            }
            match self.batch(doc_id, token, &old, new).commit() {
                Ok(_) => {
                    held.committed();
                    return Ok(old_bytes.is_some());
                }
                Err(whimbrel_mvcc::Error::PreconditionFailed { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn decode_old(&self, doc_id: &[u8], bytes: Option<&[u8]>) -> Result<Vec<Entry>, Error> {
        let place = || {
            let (name, id) = (self.def().name(), error::id(doc_id));
            format!("collection {name:?}, partition {}, back-index of {id}", self.number)
        };
        bytes.map_or(Ok(Vec::new()), |b| decode_back(b).map_err(|m| m.within(place())))
    }

    /// Reserves, in key order, the unique keys that the document does not have yet. Never returns
    /// [`Reserved::TakenBy`]: that is the error.
    fn reserve_new(
        &self,
        doc_id: &[u8],
        old: &[Entry],
        new: &[CoveredEntry],
        held: &mut Reservations<'_>,
    ) -> Result<Reserved, Error> {
        for (entry, _) in new {
            if !entry.claimed || old.binary_search(entry).is_ok() {
                continue;
            }
            match held.reserve(&entry.key(&self.prefix, doc_id), doc_id)? {
                Reserved::Held => {}
                Reserved::TakenBy(held_by) => {
                    let (index, directions) =
                        self.schema.index(entry.index).expect("an entry made by this schema");
                    let (key, _) = decode_tuple(&entry.tuple, directions)?;
                    let index = index.name().to_owned();
                    return Err(Error::DuplicateKey { index, key, held_by });
                }
                other => return Ok(other),
            }
        }
        Ok(Reserved::Held)
    }

    /// Tells a back-index entry that was outrun, for which to read again helps, from one that does
    /// not list what its document has: in a snapshot the two agree, unless the store is damaged.
    fn refuse_unlisted(&self, doc_id: &[u8], new: &[CoveredEntry]) -> Result<(), Error> {
        let view = self.view(self.store.snapshot_named("check"));
        let listed = view.back_index(doc_id)?.unwrap_or_default();
        for (entry, _) in new.iter().filter(|(e, _)| e.claimed) {
            let own = view
                .snapshot()
                .get_with(&entry.key(&self.prefix, doc_id), |v| {
                    let value = UniqueValue::decode(v);
                    matches!(value, Ok(UniqueValue::Claimed { doc_id: holder, .. }) if holder == doc_id)
                })
                .unwrap_or(false);
            if own && listed.binary_search(entry).is_err() {
                return Err(Error::Corrupt {
                    place: format!("{}, back-index of {}", view.place(), error::id(doc_id)),
                    at: 0,
                    cause: "does not list a unique key that the document has",
                });
            }
        }
        Ok(())
    }

    /// What takes the document from `old` to `new`. It depends on nothing but the back-index entry
    /// that `token` stands for: the token names the entry's bytes, so the commit also succeeds
    /// when the entry was changed and changed back, and the batch is right then too. Hence an
    /// entry that stays is written again where its value is not determined by its key.
    fn batch(
        &self,
        doc_id: &[u8],
        token: VersionToken,
        old: &[Entry],
        new: Option<&[CoveredEntry]>,
    ) -> Batch {
        let back = back_key(&self.prefix, doc_id);
        let mut batch = Batch::new();
        match new {
            Some(entries) => {
                let listed = encode_back(entries.iter().map(|(entry, _)| entry));
                batch.put(&self.store, &back[..], listed);
            }
            None => {
                batch.remove(&self.store, &back[..]);
            }
        }
        batch.expect(&self.store, back, token);
        let new = new.unwrap_or_default();
        for entry in old {
            if new.binary_search_by(|(e, _)| e.cmp(entry)).is_err() {
                batch.remove(&self.store, entry.key(&self.prefix, doc_id));
            }
        }
        for (entry, covered) in new {
            let stays = old.binary_search(entry).is_ok() && !self.schema.covers(entry.index);
            if !stays {
                let value = self.schema.value(entry, doc_id, covered);
                batch.put(&self.store, entry.key(&self.prefix, doc_id), value);
            }
        }
        batch
    }
}
