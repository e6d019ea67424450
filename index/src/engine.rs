//! The engine: collections under one clock.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use whimbrel_mvcc::{Clock, ClockStats, Store};

use crate::bulk::{self, LoadReport};
use crate::collection::Collection;
use crate::def::CollectionDef;
use crate::document::Document;
use crate::error::Error;
use crate::partition::Partition;
use crate::schema::Schema;
use crate::snapshot::EngineSnapshot;

/// The collections of an engine by name; replaced whole when one is added or dropped.
pub(crate) type Collections = BTreeMap<String, Collection>;

/// An embedded index engine: collections that share one clock, so that one snapshot covers all.
///
/// `Send`, `Sync`, and cheap to clone: clones are the same engine. Everything is in memory;
/// see [`checkpoint`](Self::checkpoint) and [`backup`](Self::backup) for what outlives the process.
///
/// # Examples
/// ```
/// use whimbrel::{CollectionDef, Document, Engine, IndexDef};
/// let engine = Engine::new();
/// let users = engine.create_collection(
///     CollectionDef::new("users").index(IndexDef::new("by_email").asc("email").unique()),
/// )?;
/// users.update("u1", &Document::new().set("email", "ann@example.org"))?;
/// let taken = users.update("u2", &Document::new().set("email", "ann@example.org"));
/// assert!(matches!(taken, Err(whimbrel::Error::DuplicateKey { .. })));
/// # Ok::<(), whimbrel::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    clock: Clock,
    collections: Arc<RwLock<Arc<Collections>>>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine without collections.
    #[must_use]
    pub fn new() -> Self {
        Self::from_parts(Clock::new(), Collections::new())
    }

    pub(crate) fn from_parts(clock: Clock, collections: Collections) -> Self {
        Self { clock, collections: Arc::new(RwLock::new(Arc::new(collections))) }
    }

    /// The clock of all its stores.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Creates an empty collection.
    ///
    /// # Complexity
    /// O(partitions + indexes).
    ///
    /// # Errors
    /// [`Error::BadDefinition`]; [`Error::CollectionExists`].
    pub fn create_collection(&self, def: CollectionDef) -> Result<Collection, Error> {
        let schema = Arc::new(Schema::new(def)?);
        self.refuse_existing(schema.def().name())?;
        let partitions = (0..schema.def().partition_count()).map(|number| {
            let store = Store::new(&self.clock);
            Partition::create_with(store, Arc::from([]), Arc::clone(&schema), number)
        });
        let partitions = partitions.collect::<Result<_, _>>()?;
        self.add(Collection::from_parts(self.clock.clone(), schema, partitions))
    }

    /// Creates a collection from documents, far faster than by updates: entries are made and
    /// sorted in parallel, and every partition is built from sorted segments in linear time. The
    /// collection appears when it is complete, or not at all.
    ///
    /// # Complexity
    /// O(n log n) for sorting, on all cores; memory for the encoded entries twice while it runs.
    ///
    /// # Errors
    /// Those of [`create_collection`](Self::create_collection) and of
    /// [`Collection::update`], and [`Error::DuplicateDocument`] when an id comes twice.
    pub fn bulk_load<I, D>(
        &self,
        def: CollectionDef,
        docs: I,
    ) -> Result<(Collection, LoadReport), Error>
    where
        I: IntoIterator<Item = (D, Document)>,
        D: Into<Vec<u8>>,
    {
        let schema = Arc::new(Schema::new(def)?);
        self.refuse_existing(schema.def().name())?;
        let docs = docs.into_iter().map(|(id, doc)| (id.into(), doc)).collect();
        let (partitions, report) = bulk::load(&self.clock, &schema, docs)?;
        let collection = Collection::from_parts(self.clock.clone(), schema, partitions);
        Ok((self.add(collection)?, report))
    }

    /// The collection of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchCollection`].
    pub fn collection(&self, name: &str) -> Result<Collection, Error> {
        find(&self.current(), name).cloned()
    }

    /// The names of the collections, in order.
    #[must_use]
    pub fn collection_names(&self) -> Vec<String> {
        self.current().keys().cloned().collect()
    }

    /// Drops a collection. Views of it that exist stay as they are, and so do handles: what is
    /// written through them is seen by them alone. Memory is given back with the last of them.
    ///
    /// # Errors
    /// [`Error::NoSuchCollection`].
    pub fn drop_collection(&self, name: &str) -> Result<(), Error> {
        let mut slot = self.collections.write().unwrap_or_else(PoisonError::into_inner);
        find(&slot, name)?;
        Arc::make_mut(&mut slot).remove(name);
        Ok(())
    }

    /// All collections as they are now, at one number: sees every update that returned before
    /// this call, and each update wholly or not at all.
    ///
    /// Waits for no writer, and no writer waits for it. (It takes a read lock that only the
    /// creation and the dropping of a collection hold for writing, for moments.)
    ///
    /// # Complexity
    /// O(1).
    #[must_use]
    pub fn snapshot(&self) -> EngineSnapshot {
        self.snapshot_named("")
    }

    /// A snapshot that goes by a name (its first 32 bytes) in [`stats`](Self::stats), and in the
    /// warning about snapshots that are open for long. Worth it for all that are held for more than
    /// a moment.
    ///
    /// # Examples
    /// ```
    /// let engine = whimbrel::Engine::new();
    /// let report = engine.snapshot_named("nightly report");
    /// let stats = engine.stats();
    /// assert_eq!(stats.oldest_snapshot().map(|s| s.name.as_str()), Some("nightly report"));
    /// # drop(report);
    /// ```
    #[must_use]
    pub fn snapshot_named(&self, name: &str) -> EngineSnapshot {
        // Both under the lock: a collection loaded in bulk is visible at every number, so one that
        // came after the number was taken must not be in the map.
        let slot = self.collections.read().unwrap_or_else(PoisonError::into_inner);
        EngineSnapshot::new(self.clock.hold_named(name), Arc::clone(&slot))
    }

    /// Figures of everything the engine keeps: entries, versions and bytes of all collections,
    /// garbage that can be collected and what snapshots hold, and the open snapshots with their names
    /// and ages. Those the engine takes by itself are called `view`, `backup`, `checkpoint` and
    /// `check`.
    ///
    /// # Complexity
    /// O(partitions + open snapshots). Waits for nobody.
    #[must_use]
    pub fn stats(&self) -> ClockStats {
        self.clock.stats()
    }

    fn current(&self) -> Arc<Collections> {
        Arc::clone(&self.collections.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn refuse_existing(&self, name: &str) -> Result<(), Error> {
        if self.current().contains_key(name) {
            return Err(Error::CollectionExists { name: name.to_owned() });
        }
        Ok(())
    }

    fn add(&self, collection: Collection) -> Result<Collection, Error> {
        let mut slot = self.collections.write().unwrap_or_else(PoisonError::into_inner);
        if slot.contains_key(collection.name()) {
            return Err(Error::CollectionExists { name: collection.name().to_owned() });
        }
        Arc::make_mut(&mut slot).insert(collection.name().to_owned(), collection.clone());
        Ok(collection)
    }
}

pub(crate) fn find<'c>(collections: &'c Collections, name: &str) -> Result<&'c Collection, Error> {
    collections.get(name).ok_or_else(|| Error::NoSuchCollection {
        name: name.to_owned(),
        existing: collections.keys().cloned().collect(),
    })
}
