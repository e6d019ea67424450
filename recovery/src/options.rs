//! What a restore is told.

use std::collections::{BTreeSet, HashMap};

use whimbrel_backup::Work;
use whimbrel_mvcc::{KeyRange, StoreOptions};

use crate::memory;

/// How [`restore`](crate::restore()) works.
///
/// # Examples
/// ```
/// use whimbrel_backup::Work;
/// use whimbrel_recovery::RestoreOptions;
/// let options = RestoreOptions::default()
///     .with_work(Work::default().with_threads(2))
///     .with_max_memory(8 << 30)
///     .with_key_prefix("birds", b"c/birds/");
/// ```
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    pub(crate) work: Work,
    pub(crate) store: StoreOptions,
    prefixes: HashMap<String, Vec<u8>>,
    only: Option<BTreeSet<String>>,
    range: Option<KeyRange>,
    memory: MemoryCheck,
}

/// What a restore may take.
#[derive(Debug, Clone, Copy, Default)]
enum MemoryCheck {
    #[default]
    Available,
    Most(u64),
    Off,
}

impl RestoreOptions {
    /// Threads, progress and cancellation; default [`Work::default`].
    #[must_use]
    pub fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Options of the restored stores; default [`StoreOptions::new`].
    #[must_use]
    pub fn with_store_options(mut self, options: StoreOptions) -> Self {
        self.store = options;
        self
    }

    /// Puts `prefix` before every key of the store `store`; default nothing. Price: a copy of each key
    /// and a second hash of each entry.
    #[must_use]
    pub fn with_key_prefix(mut self, store: &str, prefix: &[u8]) -> Self {
        self.prefixes.insert(store.to_owned(), prefix.to_vec());
        self
    }

    /// Restores these stores and no others; may be called again for more. Default: all of them.
    #[must_use]
    pub fn with_store(mut self, store: &str) -> Self {
        self.only.get_or_insert_default().insert(store.to_owned());
        self
    }

    /// Restores the entries whose keys lie in this range, of every store; default all. The range speaks of
    /// the keys in the backup, without a prefix.
    ///
    /// Shards, deltas and blocks outside of it are not read, and so not checked. What is read is checked
    /// against the manifest by its checksums; that the counts and digests of whole stores are right cannot
    /// be checked.
    #[must_use]
    pub fn with_key_range(mut self, range: impl Into<KeyRange>) -> Self {
        self.range = Some(range.into());
        self
    }

    /// Most bytes of memory that the entries may take; more is refused before anything is loaded. The
    /// need is estimated from the manifest: keys, values, and some 44 bytes an entry; see
    /// [`estimate`](crate::estimate). Default: what the machine has available (`MemAvailable` of
    /// /proc/meminfo, or what is left of the control group's limit), where it says so.
    #[must_use]
    pub fn with_max_memory(mut self, bytes: u64) -> Self {
        self.memory = MemoryCheck::Most(bytes);
        self
    }

    /// Does not compare the need with what there is. Default: it does. Price: where it does not fit, the
    /// system ends this process or another one.
    #[must_use]
    pub fn without_memory_check(mut self) -> Self {
        self.memory = MemoryCheck::Off;
        self
    }

    pub(crate) fn memory_limit(&self) -> Option<u64> {
        match self.memory {
            MemoryCheck::Available => memory::available(),
            MemoryCheck::Most(bytes) => Some(bytes),
            MemoryCheck::Off => None,
        }
    }

    /// Every store that is named.
    pub(crate) fn named(&self) -> impl Iterator<Item = &String> {
        self.prefixes.keys().chain(self.only.iter().flatten())
    }

    pub(crate) fn takes(&self, store: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(store))
    }

    pub(crate) fn range(&self) -> Option<&KeyRange> {
        self.range.as_ref()
    }

    pub(crate) fn prefix(&self, store: &str) -> &[u8] {
        self.prefixes.get(store).map_or(&[], Vec::as_slice)
    }
}
