//! What a restore is going to read, decided and estimated before anything is loaded.

use std::ops::Bound;
use std::path::Path;

use whimbrel_backup::Backup;
use whimbrel_backup::manifest::{FileRecord, StoreRecord};
use whimbrel_backup::repository::Chain;
use whimbrel_backup::shard::{FileKind, FileReader, Source};
use whimbrel_mvcc::KeyRange;

use crate::Error;
use crate::options::RestoreOptions;

/// Bytes that a record takes besides key and value, about: cell, lengths, number, its word and its share
/// of the blocks above, and what is lost to size classes (ARCHITECTURE.md has the budget).
const RECORD_OVERHEAD: u64 = 44;

/// Bytes that a value takes besides itself where a delta has written over another, about.
const VERSION_OVERHEAD: u64 = 32;

/// What a restore will take, as its manifests say it.
///
/// # Examples
/// ```
/// use whimbrel_backup::{ExportOptions, export};
/// use whimbrel_mvcc::{Clock, Store};
/// use whimbrel_recovery::{RestoreOptions, estimate};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"whimbrel", b"1")?;
/// let dir = tempfile::tempdir()?;
/// export(&[("birds".into(), store.snapshot())], dir.path(), &ExportOptions::default())?;
/// let needs = estimate(dir.path(), &RestoreOptions::default())?;
/// assert_eq!(needs.entries, 1);
/// assert!(needs.memory_bytes < 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Estimate {
    /// Entries and removes in the files that are read. With a key range this is an upper bound.
    pub entries: u64,
    /// Bytes of the files that are read, likewise.
    pub stored_bytes: u64,
    /// Bytes of memory that the restored stores will take, about, likewise.
    pub memory_bytes: u64,
    /// What may be taken: the limit of the options, or what the machine has available.
    pub memory_limit: Option<u64>,
}

/// Says what a restore of the backup in `dir` with these options will take. Reads manifests only.
///
/// # Errors
/// As [`restore`](crate::restore), but for the memory limit: that is for the caller to compare.
pub fn estimate(dir: &Path, options: &RestoreOptions) -> Result<Estimate, Error> {
    Ok(Plan::new(&Chain::of(dir)?, options)?.estimate())
}

/// The stores to be restored, with their files.
pub(crate) struct Plan<'p> {
    pub(crate) stores: Vec<StorePlan<'p>>,
    pub(crate) options: &'p RestoreOptions,
}

/// One store.
pub(crate) struct StorePlan<'p> {
    /// What the newest backup states of it.
    pub(crate) record: &'p StoreRecord,
    pub(crate) prefix: &'p [u8],
    /// Oldest first; the first one has the store whole.
    pub(crate) layers: Vec<Layer<'p>>,
}

/// What one backup of the chain has of a store.
pub(crate) struct Layer<'p> {
    pub(crate) chain: &'p Chain,
    pub(crate) backup: &'p Backup,
    /// Position of the store in the manifest.
    pub(crate) store: u32,
    pub(crate) record: &'p StoreRecord,
}

/// One shard to be rebuilt.
pub(crate) struct ShardTask<'p> {
    /// Position in the plan.
    pub(crate) at: usize,
    pub(crate) prefix: &'p [u8],
    pub(crate) layer: &'p Layer<'p>,
    pub(crate) record: &'p FileRecord,
}

impl<'p> Plan<'p> {
    pub(crate) fn new(chain: &'p Chain, options: &'p RestoreOptions) -> Result<Self, Error> {
        let manifest = chain.newest().manifest();
        for name in options.named() {
            if manifest.store(name).is_none() {
                return Err(Error::UnknownStore { store: name.clone() });
            }
        }
        let mut stores = Vec::new();
        for record in manifest.stores.iter().filter(|record| options.takes(&record.name)) {
            let layer = |(backup, store): (&'p Backup, u32)| Layer {
                chain,
                backup,
                store,
                record: &backup.manifest().stores[store as usize],
            };
            let layers = chain.layers(&record.name)?.into_iter().map(layer).collect();
            stores.push(StorePlan { record, prefix: options.prefix(&record.name), layers });
        }
        Ok(Self { stores, options })
    }

    pub(crate) fn estimate(&self) -> Estimate {
        let range = self.options.range();
        let mut sum = Estimate {
            entries: 0,
            stored_bytes: 0,
            memory_bytes: 0,
            memory_limit: self.options.memory_limit(),
        };
        for store in &self.stores {
            let each = RECORD_OVERHEAD + store.prefix.len() as u64;
            for (kind, file) in store.files(range) {
                let overhead = match kind {
                    FileKind::Shard => each,
                    _ => each + VERSION_OVERHEAD,
                };
                let bytes = file.raw_bytes.saturating_add(overhead.saturating_mul(file.entries));
                sum.memory_bytes = sum.memory_bytes.saturating_add(bytes);
                sum.entries = sum.entries.saturating_add(file.entries + file.removes);
                sum.stored_bytes = sum.stored_bytes.saturating_add(file.bytes);
            }
        }
        sum
    }

    /// The shards of all stores, store by store, in key order.
    pub(crate) fn shards(&self) -> Vec<ShardTask<'_>> {
        let range = self.options.range();
        let mut tasks = Vec::new();
        for (at, store) in self.stores.iter().enumerate() {
            // Only the first one has shards.
            let Some(layer) = store.layers.first() else { continue };
            let records = layer.record.shards.iter().filter(|file| meets(range, file));
            let task = |record| ShardTask { at, prefix: store.prefix, layer, record };
            tasks.extend(records.map(task));
        }
        tasks
    }
}

impl<'p> StorePlan<'p> {
    /// The files that may have something of the range, in the order in which they are replayed.
    fn files(
        &self,
        range: Option<&'p KeyRange>,
    ) -> impl Iterator<Item = (FileKind, &'p FileRecord)> {
        let files = self.layers.iter().flat_map(|layer| layer.record.files());
        files.filter(move |(_, file)| meets(range, file))
    }
}

impl<'p> Layer<'p> {
    /// The deltas that may have something of the range, in order.
    pub(crate) fn deltas(
        &self,
        range: Option<&'p KeyRange>,
    ) -> impl Iterator<Item = (FileKind, &'p FileRecord)> {
        let deltas = self.record.files().filter(|(kind, _)| *kind != FileKind::Shard);
        deltas.filter(move |(_, file)| meets(range, file))
    }

    /// An error of this backup, with its directory where that is needed.
    pub(crate) fn named(&self, error: whimbrel_backup::Error) -> whimbrel_backup::Error {
        self.chain.named(self.backup, error)
    }
}

/// Whether a file may have a key of the range.
pub(crate) fn meets(range: Option<&KeyRange>, file: &FileRecord) -> bool {
    let Some(range) = range else { return true };
    let below = match &range.lo {
        Bound::Included(lo) => file.last_key < *lo,
        Bound::Excluded(lo) => file.last_key <= *lo,
        Bound::Unbounded => false,
    };
    !below && reaches(range, &file.first_key)
}

/// Whether the range has `key`, or one above it may still come before its end.
pub(crate) fn reaches(range: &KeyRange, key: &[u8]) -> bool {
    match &range.hi {
        Bound::Included(hi) => key <= hi.as_slice(),
        Bound::Excluded(hi) => key < hi.as_slice(),
        Bound::Unbounded => true,
    }
}

/// The first block that may have keys of the range.
pub(crate) fn first_block<S: Source>(file: &FileReader<S>, range: &KeyRange) -> usize {
    match &range.lo {
        Bound::Included(lo) | Bound::Excluded(lo) => file.block_from(lo),
        Bound::Unbounded => 0,
    }
}

/// Whether every key of the file lies in the range.
pub(crate) fn covers(range: Option<&KeyRange>, file: &FileRecord) -> bool {
    range.is_none_or(|range| range.contains(&file.first_key) && range.contains(&file.last_key))
}
