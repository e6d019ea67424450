//! One ordered key range: encoded blocks in, a segment out.

use whimbrel_backup::block::{Block, BlockDecoder, BlockKind};
use whimbrel_backup::shard::{Sequence, Tally};
use whimbrel_backup::{KeyExcerpt, Place};
use whimbrel_mvcc::{KeyRange, StoreSegment, StoreSegmentBuilder};

use crate::Error;

/// Rebuilds one key range from its blocks, which come in order.
///
/// Every block is checked on its own (checksum, lengths, order inside), against the block before it (its
/// keys must be greater), and against the declared range. After a refused block the range is broken:
/// nothing more is taken and there is no segment. Send, so ranges can be rebuilt on several threads;
/// nothing is allocated for an entry but its record.
///
/// # Complexity
/// Linear in the bytes.
///
/// # Examples
/// ```
/// use whimbrel_backup::Place;
/// use whimbrel_backup::block::{BlockBuilder, BlockKind, BlockOptions};
/// use whimbrel_mvcc::{Clock, KeyRange, Store, StoreOptions};
/// use whimbrel_recovery::Rebuild;
///
/// let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
/// builder.add(b"b", b"2")?;
/// let mut frame = Vec::new();
/// builder.finish_into(&mut frame)?;
///
/// let mut range = Rebuild::new(KeyRange::from("a".."c"));
/// assert_eq!(range.push_block(&frame, Place::block("range 0", 0))?, 1);
/// assert!(range.push_block(&frame, Place::block("range 0", 1)).is_err(), "out of order");
/// assert!(range.finish(Place::block("range 0", 2)).is_err(), "broken");
///
/// let mut range = Rebuild::new(KeyRange::from("a".."c"));
/// range.push_block(&frame, Place::block("range 0", 0))?;
/// let segment = range.finish(Place::block("range 0", 1))?.segment;
/// let store = Store::from_segments(&Clock::new(), StoreOptions::new(), vec![segment])?;
/// assert_eq!(store.get(b"b"), Some(b"2".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Rebuild {
    range: KeyRange,
    segment: StoreSegmentBuilder,
    sequence: Sequence,
    decoder: BlockDecoder,
    /// The key prefix, behind which every key is written before it is added.
    key: Vec<u8>,
    prefix_len: usize,
    broken: bool,
}

/// What [`Rebuild::finish`] made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rebuilt {
    /// The piece of a store.
    pub segment: StoreSegment,
    /// Counts and digest of the entries, under the keys they had in the blocks (without a prefix).
    pub tally: Tally,
    /// The last key as it was in the blocks; empty when there was none.
    pub last_key: Vec<u8>,
}

impl Rebuild {
    /// A rebuild of the blocks of `range`, which speaks of the keys in the blocks.
    #[must_use]
    pub fn new(range: KeyRange) -> Self {
        Self::with_key_prefix(range, &[])
    }

    /// A rebuild that puts `prefix` before every key. `range` speaks of the keys in the blocks.
    #[must_use]
    pub fn with_key_prefix(range: KeyRange, prefix: &[u8]) -> Self {
        // The segment hashes every entry under the key it gets; without a prefix that is the digest of
        // what was in the blocks, and need not be computed twice.
        let sequence =
            if prefix.is_empty() { Sequence::without_digest() } else { Sequence::default() };
        Self {
            range,
            segment: StoreSegmentBuilder::new().with_digest(),
            sequence,
            decoder: BlockDecoder::new(),
            key: prefix.to_vec(),
            prefix_len: prefix.len(),
            broken: false,
        }
    }

    /// Refuses the entry with which keys and values exceed `bytes` in all, before it takes memory for it.
    /// Default no limit.
    #[must_use]
    pub fn with_most_raw_bytes(mut self, bytes: u64) -> Self {
        self.sequence = self.sequence.with_most_raw_bytes(bytes);
        self
    }

    /// Takes the next encoded block. Answers the number of its entries.
    ///
    /// # Errors
    /// [`Error::Backup`] for whatever is wrong with the block or its order, [`Error::OutsideRange`],
    /// [`Error::Store`], and [`Error::Broken`] after any of these.
    pub fn push_block(&mut self, bytes: &[u8], place: Place) -> Result<u32, Error> {
        let mut decoder = std::mem::take(&mut self.decoder);
        let result = match decoder.decode(bytes, place) {
            Ok(block) => self.push_decoded(&block),
            Err(error) => {
                self.broken = true;
                Err(error.into())
            }
        };
        self.decoder = decoder;
        result
    }

    /// Takes the next block, already decoded. Answers the number of its entries.
    ///
    /// # Errors
    /// As [`push_block`](Self::push_block).
    pub fn push_decoded(&mut self, block: &Block<'_>) -> Result<u32, Error> {
        if self.broken {
            return Err(Error::Broken { place: block.place().clone() });
        }
        // Only a walk to its end takes this back.
        self.broken = true;
        if block.kind() != BlockKind::Entries {
            return Err(whimbrel_backup::Error::Malformed {
                place: block.place().clone(),
                what: "changes where entries belong",
            }
            .into());
        }
        let mut first = block.entries();
        first.next_entry()?;
        self.check_inside(first.key(), block.place())?;
        let Self { segment, sequence, key: joined, prefix_len, .. } = self;
        sequence.walk(block, |key, value| {
            let value = value.unwrap_or_default();
            let mut key = key;
            if *prefix_len > 0 {
                joined.truncate(*prefix_len);
                joined.extend_from_slice(key);
                key = joined;
            }
            segment
                .push(key, value)
                .map_err(|source| Error::Store { place: block.place().clone(), source })
        })?;
        // Keys ascend, so the first and the last one speak for all between.
        self.check_inside(self.sequence.last_key(), block.place())?;
        self.broken = false;
        Ok(block.len())
    }

    fn check_inside(&self, key: &[u8], place: &Place) -> Result<(), Error> {
        if self.range.contains(key) {
            return Ok(());
        }
        Err(Error::OutsideRange { place: place.clone(), key: KeyExcerpt::of(key) })
    }

    /// Entries taken so far.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.sequence.tally().entries
    }

    /// Bytes of keys and values taken so far.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.sequence.tally().raw_bytes
    }

    /// The segment. `place` names the end of the range in an error.
    ///
    /// # Errors
    /// [`Error::Broken`] when a block was refused.
    pub fn finish(self, place: Place) -> Result<Rebuilt, Error> {
        if self.broken {
            return Err(Error::Broken { place });
        }
        let segment = self.segment.finish();
        let mut tally = self.sequence.tally();
        if self.prefix_len == 0 {
            tally.digest = segment.digest();
        }
        Ok(Rebuilt { segment, tally, last_key: self.sequence.last_key().to_vec() })
    }
}
