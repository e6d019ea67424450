//! Blocks that follow each other.

use std::ops::ControlFlow;

use crate::Error;
use crate::block::Block;
use crate::file::Tally;
use crate::reader::check_order;

/// Follows blocks that are given one after the other: their keys must ascend across blocks as well.
/// Tallies what it saw.
///
/// # Examples
/// ```
/// use whimbrel_backup::Place;
/// use whimbrel_backup::block::{BlockBuilder, BlockDecoder, BlockKind, BlockOptions};
/// use whimbrel_backup::shard::Sequence;
///
/// let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
/// builder.add(b"k", b"v")?;
/// let mut bytes = Vec::new();
/// builder.finish_into(&mut bytes)?;
///
/// let mut decoder = BlockDecoder::new();
/// let block = decoder.decode(&bytes, Place::block("stream", 0))?;
/// let mut sequence = Sequence::default();
/// sequence.walk(&block, |_, _| Ok::<(), whimbrel_backup::Error>(()))?;
/// assert!(sequence.walk(&block, |_, _| Ok::<(), whimbrel_backup::Error>(())).is_err(), "again");
/// # Ok::<(), whimbrel_backup::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    last: Vec<u8>,
    started: bool,
    without_digest: bool,
    most_raw_bytes: Option<u64>,
    tally: Tally,
}

impl Sequence {
    /// One that leaves the digest at zero, for callers that hash every entry anyway.
    #[must_use]
    pub fn without_digest() -> Self {
        Self { without_digest: true, ..Self::default() }
    }

    /// Refuses the entry with which keys and values exceed `bytes` in all. Keys share bytes in a block, so a
    /// small forged one can hold far more than its own length.
    #[must_use]
    pub fn with_most_raw_bytes(mut self, bytes: u64) -> Self {
        self.most_raw_bytes = Some(bytes);
        self
    }

    /// Walks the next block and hands every entry on.
    ///
    /// # Errors
    /// [`Error::OutOfOrder`] when the block does not come after the one before, [`Error::LimitExceeded`],
    /// whatever breaks the format inside, and what `each` answers.
    pub fn walk<E: From<Error>>(
        &mut self,
        block: &Block<'_>,
        mut each: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut entries = block.entries();
        let most = self.most_raw_bytes.unwrap_or(u64::MAX);
        let mut first = self.started;
        let walked = entries.try_for_each(|key, value| {
            if first {
                check_order(block.place(), &self.last, key)?;
                first = false;
            }
            if self.without_digest {
                self.tally.add_counts(key, value);
            } else {
                self.tally.add(key, value);
            }
            if self.tally.raw_bytes > most {
                return Err(too_many_bytes(block, most, self.tally.raw_bytes).into());
            }
            each(key, value).map(ControlFlow::Continue)
        })?;
        debug_assert!(walked.is_continue(), "nothing breaks it off but errors");
        self.started = true;
        self.last.clear();
        self.last.extend_from_slice(entries.key());
        Ok(())
    }

    /// The last key seen; empty before the first.
    #[must_use]
    pub fn last_key(&self) -> &[u8] {
        &self.last
    }

    /// Counts and digest of everything seen.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

#[cold]
fn too_many_bytes(block: &Block<'_>, limit: u64, got: u64) -> Error {
    let (place, what) = (block.place().clone(), "the number of bytes in keys and values so far");
    Error::LimitExceeded { place, what, limit, got }
}
