//! Decoded blocks that are kept, bounded in bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use whimbrel_backup::block::OwnedBlock;

/// File and block.
pub(super) type BlockId = (usize, usize);

/// Parts with a lock of their own, so that readers of different blocks seldom meet.
const PARTS: usize = 8;

/// Keeps blocks by second chance: the oldest one goes, unless it was asked for since it was last looked at.
///
/// Each part keeps an eighth of the bytes. A block is in one part only, so a block that many threads read
/// costs them one short lock each.
#[derive(Debug)]
pub(super) struct BlockCache {
    parts: [Mutex<Part>; PARTS],
    part_bytes: usize,
}

#[derive(Debug, Default)]
struct Part {
    blocks: HashMap<BlockId, Kept>,
    /// Every key of `blocks` once, oldest first.
    queue: VecDeque<BlockId>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    block: Arc<OwnedBlock>,
    asked_for: bool,
}

impl BlockCache {
    pub(super) fn new(bytes: usize) -> Self {
        Self { parts: Default::default(), part_bytes: bytes / PARTS }
    }

    pub(super) fn get(&self, id: BlockId) -> Option<Arc<OwnedBlock>> {
        let mut part = self.part(id);
        let kept = part.blocks.get_mut(&id)?;
        kept.asked_for = true;
        Some(Arc::clone(&kept.block))
    }

    pub(super) fn insert(&self, id: BlockId, block: &Arc<OwnedBlock>) {
        let bytes = block.raw_len();
        if bytes > self.part_bytes {
            return;
        }
        let mut part = self.part(id);
        if part.blocks.contains_key(&id) {
            return;
        }
        part.make_room(self.part_bytes - bytes);
        part.bytes += bytes;
        part.queue.push_back(id);
        part.blocks.insert(id, Kept { block: Arc::clone(block), asked_for: false });
        debug_assert!(part.bytes <= self.part_bytes, "room was made");
        debug_assert_eq!(part.blocks.len(), part.queue.len(), "each block is queued once");
    }

    /// Blocks and bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        let parts = self.parts.iter().map(Self::lock);
        parts.fold((0, 0), |sum, part| (sum.0 + part.blocks.len(), sum.1 + part.bytes))
    }

    fn part(&self, (file, block): BlockId) -> MutexGuard<'_, Part> {
        Self::lock(&self.parts[file.wrapping_add(block) % PARTS])
    }

    fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
        // Nothing in here panics half way; what a panicking thread leaves is whole.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// Lets blocks go until they take no more than `most` bytes.
    fn make_room(&mut self, most: usize) {
        while self.bytes > most {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(kept) = self.blocks.get_mut(&id) else { continue };
            if std::mem::take(&mut kept.asked_for) {
                self.queue.push_back(id);
                continue;
            }
            self.bytes -= kept.block.raw_len();
            self.blocks.remove(&id);
        }
    }
}
