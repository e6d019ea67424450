//! Blocks that are checked to their last byte: read into memory of their own, for readers that keep some and share
//! them, or handed out entry by entry.

use std::ops::ControlFlow;

use crate::Error;
use crate::block::OwnedBlock;
use crate::error::{KeyExcerpt, Part};
use crate::reader::{Buffers, FileReader, Source};
use crate::sequence::Sequence;

impl<S: Source> FileReader<S> {
    /// Reads block `number` into memory of its own and checks it to its last byte: checksums, what the
    /// index states, every entry, and that its keys end before the next block begins.
    ///
    /// # Complexity
    /// Linear in the block's bytes.
    ///
    /// # Errors
    /// Whatever is wrong with the block, or [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such block: `number` must be below [`blocks`](Self::blocks).
    ///
    /// # Examples
    /// ```
    /// use std::path::Path;
    /// use whimbrel_backup::block::BlockOptions;
    /// use whimbrel_backup::shard::{self, BackupId, ShardWriter};
    ///
    /// let id = shard::identity(BackupId::generate(), 0, 0);
    /// let options = BlockOptions::default();
    /// let mut writer = ShardWriter::new(Vec::new(), Path::new("shard-0000"), id, options)?;
    /// writer.push(b"curlew", b"1")?;
    /// let (bytes, _) = writer.finish()?;
    ///
    /// let shard = shard::open(&bytes[..], "shard-0000")?;
    /// let block = shard.load(0)?;
    /// assert_eq!(block.block().get(b"curlew")?, Some(Some(&b"1"[..])));
    /// assert_eq!(shard.load_again(0)?.raw_len(), block.raw_len());
    /// # Ok::<(), whimbrel_backup::Error>(())
    /// ```
    pub fn load(&self, number: usize) -> Result<OwnedBlock, Error> {
        let mut scratch = Vec::new();
        let (bytes, place) = self.stored_block(number, &mut scratch)?;
        let owned = OwnedBlock::decode(bytes, place)?;
        let block = owned.block();
        self.check_against_index(&block, bytes, number)?;
        let mut sequence = Sequence::without_digest();
        sequence.walk(&block, |_, _| Ok::<(), Error>(()))?;
        self.check_block_end(number, sequence.last_key())?;
        Ok(owned)
    }

    /// Hands the entries of block `number` to `each`, until it answers `Break`. The checks are those of
    /// [`load`](Self::load): checksums and what the index states before the first entry is handed out, each entry
    /// before it is, and the end of the block when it is reached.
    ///
    /// # Complexity
    /// Linear in the block's bytes. Bytes that are stored as they are, in a source that lends them, are not copied.
    ///
    /// # Errors
    /// Whatever is wrong with the block, or [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such block: `number` must be below [`blocks`](Self::blocks).
    pub fn scan_block(
        &self,
        number: usize,
        buffers: &mut Buffers,
        mut each: impl FnMut(&[u8], Option<&[u8]>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Error> {
        let mut entries = self.block(number, buffers)?.entries();
        while let Some((key, value)) = entries.next_entry()? {
            if each(key, value).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.check_block_end(number, entries.key())?;
        Ok(ControlFlow::Continue(()))
    }

    /// Block `number` must end before the next one begins, and the last one where the file does.
    fn check_block_end(&self, number: usize, last: &[u8]) -> Result<(), Error> {
        let is_last = number + 1 == self.blocks();
        let limit = if is_last { self.last_key() } else { self.block_key(number + 1) };
        if last < limit || (is_last && last == limit) {
            return Ok(());
        }
        Err(Error::OutOfOrder {
            place: self.place().at(Part::Block(number as u64)),
            previous: KeyExcerpt::of(last),
            got: KeyExcerpt::of(limit),
        })
    }

    /// [`load`](Self::load) of a block that went through it before: its lengths and bounds are checked
    /// again, its checksum and the order of its entries are not.
    ///
    /// # Errors
    /// Whatever is wrong with the block's lengths or compressed bytes, or [`Error::Io`].
    ///
    /// # Panics
    /// When there is no such block.
    pub fn load_again(&self, number: usize) -> Result<OwnedBlock, Error> {
        let mut scratch = Vec::new();
        let (bytes, place) = self.stored_block(number, &mut scratch)?;
        OwnedBlock::decode_checked(bytes, place)
    }
}
