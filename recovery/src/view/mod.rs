//! Answers from a backup that is not loaded.
//!
//! A view maps the files of a backup and reads the blocks that hold the answer. It is checked as it is
//! read:
//!
//! | when | what |
//! |---|---|
//! | [`BackupView::open`] | the manifest, names and lengths in the directory, header and footer of every file |
//! | a file is first needed | its index: checksum, order, what footer and manifest state |
//! | a block is first read | everything in it, and what the index states about it |
//! | a block is read again | lengths and bounds |
//! | a block is scanned ([`StoreView::scan`]) | the checksum before, the rest while its entries are handed out |
//!
//! Damage in a block is therefore noticed when that block is first read, and not before;
//! [`verify`](whimbrel_backup::verify()) reads everything. Digests are not compared: they speak of whole
//! files.
//!
//! # Layers
//!
//! A store is a list of *layers*, oldest first: its shards, then one layer for each GC delta, then one for
//! each change delta; and so on for every backup of a chain. A layer is a run of files whose key ranges ascend and do not overlap. Of a key that several layers have, the
//! newest counts; a remove hides what is older.
//!
//! # Thread safety
//! Everything takes `&self` and may be called from any number of threads. Decoded blocks are kept in a
//! cache that they share.

mod cache;
mod cursor;
mod file;
mod layer;
mod scan;

use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

use whimbrel_backup::Digest;
use whimbrel_backup::manifest::{FileRecord, Manifest, StoreRecord};
use whimbrel_backup::repository::Chain;
use whimbrel_backup::shard::FileKind;
use whimbrel_mvcc::KeyRange;

use crate::Error;
use cache::BlockCache;
pub use cursor::{ViewCursor, ViewEntries, ViewEntry};
use file::ViewFile;
use layer::Layer;

/// Bytes of decoded blocks that a view keeps unless told otherwise: some 250 blocks.
const CACHE_BYTES: usize = 16 << 20;

/// How [`BackupView::open_with`] works.
///
/// # Examples
/// ```
/// use whimbrel_recovery::ViewOptions;
/// let options = ViewOptions::default().with_cache_bytes(256 << 20);
/// ```
#[derive(Debug, Clone)]
pub struct ViewOptions {
    cache_bytes: usize,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self { cache_bytes: CACHE_BYTES }
    }
}

impl ViewOptions {
    /// Most bytes of decoded blocks that are kept; default 16 MiB. A block larger than an eighth of it is
    /// never kept; with 0 nothing is, and every lookup decodes a block (some 60 KiB).
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }
}

/// What a view has read so far; see [`BackupView::stats`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ViewStats {
    /// Files that were mapped, and whose index was read.
    pub files_mapped: usize,
    /// Blocks that were checked to their last byte.
    pub blocks_checked: usize,
    /// Blocks that are kept decoded.
    pub blocks_cached: usize,
    /// Bytes of the blocks that are kept.
    pub bytes_cached: usize,
}

/// A backup opened for reading, without loading it.
///
/// # Performance
/// Opening costs a few system calls for each file, and the first answer from a file its index: about
/// 30 bytes for every 60 KiB of entries. Memory: the manifest, the indexes of the files that were needed
/// (some 80 bytes and a key for each block), the cache, and one decoded block for each layer of a cursor.
///
/// # Examples
/// ```
/// use whimbrel_backup::{ExportOptions, export};
/// use whimbrel_mvcc::{Clock, Store};
/// use whimbrel_recovery::BackupView;
///
/// let store = Store::new(&Clock::new());
/// store.put(b"curlew", b"1")?;
/// store.put(b"whimbrel", b"2")?;
/// let dir = tempfile::tempdir()?;
/// let target = dir.path().join("monday");
/// export(&[("birds".to_string(), store.snapshot())], &target, &ExportOptions::default())?;
///
/// let view = BackupView::open(&target)?;
/// let birds = view.store("birds")?;
/// assert_eq!(birds.get(b"whimbrel")?, Some(b"2".to_vec()));
/// let mut cursor = birds.prefix(b"cur");
/// assert_eq!(cursor.next_entry()?, Some((&b"curlew"[..], &b"1"[..])));
/// assert_eq!(cursor.next_entry()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct BackupView {
    chain: Arc<Chain>,
    files: Vec<ViewFile>,
    stores: Vec<Vec<Layer>>,
    cache: BlockCache,
}

impl BackupView {
    /// Opens the backup in `dir` with default [`ViewOptions`]. See [`open_with`](Self::open_with).
    ///
    /// # Errors
    /// Whatever is wrong with manifest, directory, headers and footers.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::open_with(dir, &ViewOptions::default())
    }

    /// Opens the backup in `dir`: checks its manifest, that all files are there and have their lengths, and
    /// header and footer of each. An incremental backup is opened with the chain that it continues, in the
    /// directories beside it.
    ///
    /// # Complexity
    /// Linear in the manifest; no index and no block is read.
    ///
    /// # Errors
    /// [`Error::Backup`] naming the file and what is wrong with it.
    pub fn open_with(dir: &Path, options: &ViewOptions) -> Result<Self, Error> {
        Self::of_chain(Chain::of(dir)?, options)
    }

    /// Opens the newest backup of a chain that is open, wherever it is. In an object store a block that is
    /// looked at for the first time, or again when the cache has given it up, is one request.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn of_chain(chain: Chain, options: &ViewOptions) -> Result<Self, Error> {
        let chain = Arc::new(chain);
        let (mut files, mut stores) = (Vec::new(), Vec::new());
        for store in &chain.newest().manifest().stores {
            let mut layers = Vec::new();
            for (backup, number) in chain.layers(&store.name)? {
                for (kind, records) in layers_of(&backup.manifest().stores[number as usize]) {
                    let start = files.len();
                    for record in records {
                        let source = backup.source(record)?;
                        let checked = backup.check_ends(&source, number, kind, record);
                        checked.map_err(|error| chain.named(backup, error))?;
                        // A delta may be without entries: there is nothing to look for in it.
                        if record.blocks > 0 {
                            let place = (files.len(), number);
                            files.push(ViewFile::new(&chain, backup, place, kind, record));
                        }
                    }
                    if start < files.len() {
                        layers.push(Layer::new(start..files.len()));
                    }
                }
            }
            stores.push(layers);
        }
        Ok(Self { chain, files, stores, cache: BlockCache::new(options.cache_bytes) })
    }

    /// What the backup consists of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        self.chain.newest().manifest()
    }

    /// The store of that name.
    ///
    /// # Errors
    /// [`Error::UnknownStore`].
    pub fn store(&self, name: &str) -> Result<StoreView<'_>, Error> {
        let found = self.stores().find(|store| store.name() == name);
        found.ok_or_else(|| Error::UnknownStore { store: name.to_owned() })
    }

    /// Every store, in the manifest's order.
    pub fn stores(&self) -> impl Iterator<Item = StoreView<'_>> {
        let layers = self.manifest().stores.iter().zip(&self.stores);
        layers.map(|(record, layers)| StoreView { view: self, record, layers })
    }

    /// What was read so far.
    #[must_use]
    pub fn stats(&self) -> ViewStats {
        let (blocks_cached, bytes_cached) = self.cache.held();
        ViewStats {
            files_mapped: self.files.iter().filter(|file| file.is_mapped()).count(),
            blocks_checked: self.files.iter().map(ViewFile::blocks_checked).sum(),
            blocks_cached,
            bytes_cached,
        }
    }
}

/// The files of a store in layers, oldest first. Within a layer key ranges ascend and do not overlap;
/// `Manifest::decode` has refused shards of which that is not true.
fn layers_of(store: &StoreRecord) -> impl Iterator<Item = (FileKind, &[FileRecord])> {
    let shards = std::iter::once((FileKind::Shard, store.shards.as_slice()));
    let gc_deltas = store.gc_deltas.iter().map(std::slice::from_ref);
    let deltas = store.deltas.iter().map(std::slice::from_ref);
    shards
        .chain(gc_deltas.map(|delta| (FileKind::GcDelta, delta)))
        .chain(deltas.map(|delta| (FileKind::ChangeDelta, delta)))
}

/// One store of a [`BackupView`], as it is when everything is restored.
#[derive(Debug, Clone, Copy)]
pub struct StoreView<'v> {
    view: &'v BackupView,
    record: &'v StoreRecord,
    layers: &'v [Layer],
}

impl<'v> StoreView<'v> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'v str {
        &self.record.name
    }

    /// Number and digest of its entries, as the manifest states them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.record.digest()
    }

    /// The value of `key`, copied.
    ///
    /// # Complexity
    /// For each layer whose files reach over the key: a binary search over files and blocks, then one block
    /// is searched, and decoded unless it is kept.
    ///
    /// # Errors
    /// [`Error::Backup`] naming file and block of the first damage met.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        self.get_with(key, <[u8]>::to_vec)
    }

    /// [`get`](Self::get) that lends the value to `read` instead of copying it.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_with<R>(
        &self,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        for layer in self.layers.iter().rev() {
            let Some((file, number)) = layer.find(self.view, key)? else { continue };
            let block = file.block(number, &self.view.cache)?;
            if let Some(found) = block.block().get(key)? {
                return Ok(found.map(read));
            }
        }
        Ok(None)
    }

    /// The entries of a range, in key order.
    ///
    /// # Complexity
    /// As [`get`](Self::get) at the first step; a step compares the keys of as many layers as there are.
    #[must_use]
    pub fn range(&self, range: impl Into<KeyRange>) -> ViewCursor<'v> {
        ViewCursor::new(self.view, self.layers, range.into())
    }

    /// The entries whose keys begin with `prefix`, in key order.
    #[must_use]
    pub fn prefix(&self, prefix: &[u8]) -> ViewCursor<'v> {
        self.range(KeyRange::prefix(prefix))
    }

    /// Hands the entries of a range to `each`, in key order, until it answers `Break`: the fastest way to read
    /// much. For more of it [`split`](Self::split) the store, and scan its ranges on several threads.
    ///
    /// # Complexity
    /// Linear in the bytes of the blocks that the range meets. What was backed up as one piece (a full backup
    /// without deltas) is neither merged nor copied: a block is decompressed into a buffer that all blocks
    /// share, one that is stored as it is lies in the mapping. The cache is not asked and not filled. Several
    /// layers are merged, as [`range`](Self::range) does it.
    ///
    /// # Errors
    /// [`Error::Backup`] naming file and block of the first damage met. What came before it was handed out. In a
    /// block whose checksum is right and whose entries are not, that goes as far as the first wrong one.
    ///
    /// # Examples
    /// ```
    /// # use whimbrel_backup::{ExportOptions, export};
    /// # use whimbrel_mvcc::{Clock, Store};
    /// # use whimbrel_recovery::BackupView;
    /// use std::ops::ControlFlow;
    ///
    /// # let store = Store::new(&Clock::new());
    /// # store.put(b"whimbrel", b"2")?;
    /// # let dir = tempfile::tempdir()?;
    /// # let target = dir.path().join("monday");
    /// # export(&[("birds".to_string(), store.snapshot())], &target, &ExportOptions::default())?;
    /// let view = BackupView::open(&target)?;
    /// let birds = view.store("birds")?;
    /// let mut bytes = 0;
    /// birds.scan(.., |key, value| {
    ///     bytes += key.len() + value.len();
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(bytes, 9);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn scan(
        &self,
        range: impl Into<KeyRange>,
        each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        scan::scan(self.view, self.layers, range.into(), each)
    }

    /// Cuts the store into at most `n` ranges that follow each other, with about equal numbers of blocks, for
    /// parallel scans. Together they are everything.
    ///
    /// # Complexity
    /// Linear in the files and `n`; the index of each file that is cut is read.
    ///
    /// # Errors
    /// [`Error::Backup`] naming the file whose index is damaged.
    pub fn split(&self, n: usize) -> Result<Vec<KeyRange>, Error> {
        let largest = self.layers.iter().max_by_key(|layer| layer.blocks(self.view));
        let cuts = largest.map(|layer| layer.cuts(self.view, n)).transpose()?;
        let (mut ranges, mut lo) = (Vec::new(), Bound::Unbounded);
        for cut in cuts.unwrap_or_default() {
            let hi = Bound::Excluded(cut.clone());
            ranges.push(KeyRange { lo: std::mem::replace(&mut lo, Bound::Included(cut)), hi });
        }
        ranges.push(KeyRange { lo, hi: Bound::Unbounded });
        Ok(ranges)
    }
}
