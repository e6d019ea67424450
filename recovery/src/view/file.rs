//! One file of a view: mapped where it can be, and its index read, when it is first needed.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use whimbrel_backup::Backup;
use whimbrel_backup::block::OwnedBlock;
use whimbrel_backup::manifest::FileRecord;
use whimbrel_backup::repository::Chain;
use whimbrel_backup::shard::{Buffers, FileKind, FileReader, Source};
use whimbrel_mvcc::KeyRange;

use super::cache::BlockCache;
use crate::Error;
use crate::map::source_for_lookups;
use crate::plan::meets;

/// One file of a view.
#[derive(Debug)]
pub(super) struct ViewFile {
    chain: Arc<Chain>,
    backup: Backup,
    /// Position of the file in the view.
    id: usize,
    store: u32,
    kind: FileKind,
    record: FileRecord,
    opened: OnceLock<Opened>,
}

struct Opened {
    reader: FileReader<Box<dyn Source>>,
    checked: Checked,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("checked", &self.checked).finish_non_exhaustive()
    }
}

impl ViewFile {
    pub(super) fn new(
        chain: &Arc<Chain>,
        backup: &Backup,
        (id, store): (usize, u32),
        kind: FileKind,
        record: &FileRecord,
    ) -> Self {
        let (chain, backup, record) = (Arc::clone(chain), backup.clone(), record.clone());
        Self { chain, backup, id, store, kind, record, opened: OnceLock::new() }
    }

    pub(super) fn first_key(&self) -> &[u8] {
        &self.record.first_key
    }

    pub(super) fn last_key(&self) -> &[u8] {
        &self.record.last_key
    }

    /// Whether it may have a key of the range.
    pub(super) fn meets(&self, range: &KeyRange) -> bool {
        meets(Some(range), &self.record)
    }

    /// Number of blocks.
    pub(super) fn blocks(&self) -> usize {
        self.record.blocks as usize
    }

    /// First key of block `number`, which is there.
    pub(super) fn block_key(&self, number: usize) -> Result<&[u8], Error> {
        if number == 0 { Ok(self.first_key()) } else { Ok(self.reader()?.block_key(number)) }
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.opened.get().is_some()
    }

    pub(super) fn blocks_checked(&self) -> usize {
        self.opened.get().map_or(0, |opened| opened.checked.count())
    }

    /// The file with its index. Fails again and again while something is wrong with it.
    pub(super) fn reader(&self) -> Result<&FileReader<Box<dyn Source>>, Error> {
        Ok(&self.opened()?.reader)
    }

    fn opened(&self) -> Result<&Opened, Error> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let source = source_for_lookups(&self.backup, &self.record)?;
        let reader = self.backup.open_file(source, self.store, self.kind, &self.record);
        let reader = reader.map_err(|error| self.chain.named(&self.backup, error))?;
        let checked = Checked::new(reader.blocks());
        // Of threads that come here at once the first one's is kept.
        Ok(self.opened.get_or_init(|| Opened { reader, checked }))
    }

    /// Block `number`, from the cache or decoded now, and checked if it was not yet.
    pub(super) fn block(
        &self,
        number: usize,
        cache: &BlockCache,
    ) -> Result<Arc<OwnedBlock>, Error> {
        if let Some(block) = cache.get((self.id, number)) {
            return Ok(block);
        }
        let Opened { reader, checked } = self.opened()?;
        let is_checked = checked.has(number);
        let block = if is_checked { reader.load_again(number) } else { reader.load(number) };
        let block = Arc::new(block.map_err(|error| self.chain.named(&self.backup, error))?);
        if !is_checked {
            checked.note(number);
        }
        cache.insert((self.id, number), &block);
        Ok(block)
    }

    /// Hands the entries of block `number` to `each`, until it answers `Break`. Everything is checked as they are
    /// handed out; the cache is left alone.
    pub(super) fn scan_block(
        &self,
        number: usize,
        buffers: &mut Buffers,
        each: impl FnMut(&[u8], Option<&[u8]>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let Opened { reader, checked } = self.opened()?;
        let scanned = reader.scan_block(number, buffers, each);
        let scanned = scanned.map_err(|error| self.chain.named(&self.backup, error))?;
        if scanned.is_continue() {
            checked.note(number);
        }
        Ok(scanned)
    }
}

/// Which blocks of a file were checked to their last byte, one bit each.
#[derive(Debug)]
struct Checked(Vec<AtomicU64>);

impl Checked {
    fn new(blocks: usize) -> Self {
        Self((0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    fn has(&self, number: usize) -> bool {
        // ORDERING: Relaxed; the bit speaks of bytes that nobody writes, and publishes nothing. Whoever
        // does not see it yet checks once more. Row R1.
        self.0[number / 64].load(Ordering::Relaxed) & 1 << (number % 64) != 0
    }

    fn note(&self, number: usize) {
        // ORDERING: Relaxed; see `has`. A read-modify-write, so that no bit beside it is lost.
        self.0[number / 64].fetch_or(1 << (number % 64), Ordering::Relaxed);
    }

    fn count(&self) -> usize {
        // ORDERING: Relaxed; a figure to look at.
        self.0.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }
}
