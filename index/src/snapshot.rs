//! One moment of a whole engine.

use std::sync::Arc;

use whimbrel_mvcc::{Digest, Hold, Snapshot};

use crate::engine::{Collections, find};
use crate::error::Error;
use crate::view::CollectionView;

/// All collections of an engine at one snapshot number. Its answers never change, whatever is
/// written meanwhile; `Send`, `Sync`, cheap to clone.
///
/// # Performance
/// Taking it is O(1). Holding it keeps the entries it can see from being collected, and nothing
/// else: newer versions that come and go in the meantime are collected all the same.
///
/// # Examples
/// ```
/// use whimbrel::{CollectionDef, Document, Engine, IndexDef};
/// let engine = Engine::new();
/// let users = engine.create_collection(
///     CollectionDef::new("users").index(IndexDef::new("by_age").asc("age")),
/// )?;
/// users.update("ann", &Document::new().set("age", 41))?;
/// let before = engine.snapshot();
/// users.update("ann", &Document::new().set("age", 42))?;
/// users.update("bob", &Document::new().set("age", 7))?;
/// assert_eq!(before.collection("users")?.query("by_age")?.count()?, 1);
/// assert_eq!(before.collection("users")?.query("by_age")?.eq([41]).count()?, 1);
/// assert_eq!(engine.snapshot().collection("users")?.query("by_age")?.count()?, 2);
/// # Ok::<(), whimbrel::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EngineSnapshot {
    hold: Hold,
    collections: Arc<Collections>,
}

impl EngineSnapshot {
    pub(crate) fn new(hold: Hold, collections: Arc<Collections>) -> Self {
        Self { hold, collections }
    }

    /// Its number in the one order of all snapshots of the engine.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.hold.number()
    }

    /// A collection as it was.
    ///
    /// # Complexity
    /// O(partitions).
    ///
    /// # Errors
    /// [`Error::NoSuchCollection`] when there was none of this name.
    pub fn collection(&self, name: &str) -> Result<CollectionView, Error> {
        Ok(find(&self.collections, name)?.view_at(&self.hold))
    }

    /// The names of the collections there were, in order.
    #[must_use]
    pub fn collection_names(&self) -> Vec<String> {
        self.collections.keys().cloned().collect()
    }

    /// Count and digest over everything stored: schemas, back-indexes, entries. Two engines with
    /// the same collections and documents have equal digests, and differing ones differ but for a
    /// chance of some 2^-64 (it guards against mistakes, not against malice).
    ///
    /// # Complexity
    /// O(n): walks everything.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut all = Digest::default();
        for (_, snapshot) in self.stores() {
            let mut cursor = snapshot.range(..);
            while let Some((key, value)) = cursor.next_entry() {
                all.add(key, value);
            }
        }
        all
    }

    /// The collections' stores, under the names that backups know them by.
    pub(crate) fn stores(&self) -> Vec<(String, Snapshot)> {
        let all = self.collections.values().flat_map(|collection| {
            collection.partitions().iter().map(|partition| {
                let name = store_name(collection.name(), partition.number());
                (name, partition.store().snapshot_at(&self.hold))
            })
        });
        all.collect()
    }
}

/// What a backup calls a partition: `/` cannot be part of a collection's name.
pub(crate) fn store_name(collection: &str, partition: u16) -> String {
    format!("{collection}/{partition:05}")
}
