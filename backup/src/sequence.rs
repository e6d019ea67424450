//! Blocks that follow each other.

use whimbrel_mvcc::Digester;

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
    /// Without the digest.
    counts: Tally,
    digester: Digester,
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
        if self.started {
            let mut first = block.entries();
            first.next_entry()?;
            check_order(block.place(), &self.last, first.key())?;
        }
        let mut entries = block.entries();
        let most = self.most_raw_bytes.unwrap_or(u64::MAX);
        let (mut raw_bytes, mut removes) = (self.counts.raw_bytes, 0);
        while let Some((key, value)) = entries.next_entry()? {
            raw_bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
            if raw_bytes > most {
                return Err(too_many_bytes(block, most, raw_bytes).into());
            }
            match value {
                None => removes += 1,
                Some(_) if self.without_digest => {}
                Some(value) => self.digester.add(key, value),
            }
            each(key, value)?;
        }
        self.counts.raw_bytes = raw_bytes;
        self.counts.removes += removes;
        self.counts.entries += u64::from(block.len()) - removes;
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

    /// Counts and digest of the blocks that were walked to their ends.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally { digest: self.digester.digest(), ..self.counts }
    }
}

#[cold]
fn too_many_bytes(block: &Block<'_>, limit: u64, got: u64) -> Error {
    let (place, what) = (block.place().clone(), "the number of bytes in keys and values so far");
    Error::LimitExceeded { place, what, limit, got }
}
