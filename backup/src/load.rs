//! Blocks that outlive the call that reads them, for readers that keep some and share them.

use crate::Error;
use crate::block::OwnedBlock;
use crate::error::KeyExcerpt;
use crate::reader::{FileReader, Source};
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
        let (last, is_last) = (sequence.last_key(), number + 1 == self.blocks());
        let limit = if is_last { self.last_key() } else { self.block_key(number + 1) };
        if last < limit || (is_last && last == limit) {
            return Ok(owned);
        }
        Err(Error::OutOfOrder {
            place: block.place().clone(),
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
