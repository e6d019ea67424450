//! Replays change deltas into a store.

use whimbrel_backup::block::{Block, BlockDecoder};
use whimbrel_backup::shard::{Buffers, FileReader, Sequence, Source, Tally};
use whimbrel_backup::{Digest, Place, delta};
use whimbrel_mvcc::{KeyRange, Store};

use crate::Error;

/// What a replay did to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// Keys put.
    pub puts: u64,
    /// Removes replayed, of keys that were there or not.
    pub removes: u64,
    /// What the replay did to the digest of the store's entries, when nobody else wrote to these keys:
    /// the digest before, merged with this, is the digest after.
    pub digest: Digest,
}

impl Applied {
    fn change(
        &mut self,
        store: &Store,
        key: &[u8],
        counted_as: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), whimbrel_mvcc::Error> {
        let digest = &mut self.digest;
        store.get_with(key, |old| digest.remove(counted_as, old));
        if let Some(value) = value {
            store.put(key, value)?;
            self.digest.add(counted_as, value);
            self.puts += 1;
        } else {
            store.remove(key)?;
            self.removes += 1;
        }
        Ok(())
    }

    fn merge(&mut self, other: &Self) {
        self.puts += other.puts;
        self.removes += other.removes;
        self.digest.merge(&other.digest);
    }
}

/// Applies one encoded block of changes, as the data frames of a catch-up round carry them, with `prefix`
/// before every key.
///
/// The block is checked to its last byte before the first change is made. Doing it again is harmless.
/// Readers of the store see the changes one by one.
///
/// # Errors
/// [`Error::Backup`] when the block is damaged: nothing was changed. [`Error::Store`] when the store
/// refuses a change; those before it were made.
///
/// # Examples
/// ```
/// use whimbrel_backup::Place;
/// use whimbrel_backup::block::{BlockBuilder, BlockKind, BlockOptions};
/// use whimbrel_mvcc::{Clock, Store};
///
/// let store = Store::new(&Clock::new());
/// store.put(b"old", b"1")?;
/// let mut builder = BlockBuilder::new(BlockKind::Changes, BlockOptions::default());
/// builder.add(b"new", b"2")?;
/// builder.add_remove(b"old")?;
/// let mut frame = Vec::new();
/// builder.finish_into(&mut frame)?;
///
/// let applied = whimbrel_recovery::apply_block(&store, &frame, &[], Place::block("round 1", 0))?;
/// assert_eq!((applied.puts, applied.removes), (1, 1));
/// assert_eq!((store.get(b"old"), store.get(b"new")), (None, Some(b"2".to_vec())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_block(
    store: &Store,
    bytes: &[u8],
    prefix: &[u8],
    place: Place,
) -> Result<Applied, Error> {
    let mut decoder = BlockDecoder::new();
    let block = decoder.decode(bytes, place)?;
    Sequence::without_digest().walk(&block, |_, _| Ok::<(), Error>(()))?;
    apply_decoded(&Target { store, prefix, range: None }, &block)
}

/// Where changes go.
#[derive(Clone, Copy)]
pub(crate) struct Target<'t> {
    pub(crate) store: &'t Store,
    /// Put before every key.
    pub(crate) prefix: &'t [u8],
    /// Keys outside of it, as they are without the prefix, are passed over.
    pub(crate) range: Option<&'t KeyRange>,
}

fn apply_decoded(target: &Target<'_>, block: &Block<'_>) -> Result<Applied, Error> {
    let Target { store, prefix, range } = *target;
    let mut applied = Applied::default();
    let mut joined = prefix.to_vec();
    let mut entries = block.entries();
    while let Some((key, value)) = entries.next_entry()? {
        if range.is_some_and(|range| !range.contains(key)) {
            continue;
        }
        joined.truncate(prefix.len());
        joined.extend_from_slice(key);
        applied
            .change(store, &joined, key, value)
            .map_err(|source| Error::Store { place: block.place().clone(), source })?;
    }
    Ok(applied)
}

/// Replays a change delta, given as the bytes of its file, into a store. `name` goes into errors.
///
/// The delta is checked to its last byte before the first change is made. Doing it again is harmless.
/// Readers of the store see the changes one by one.
///
/// # Complexity
/// The delta's bytes twice, and a logarithmic search for every change.
///
/// # Errors
/// [`Error::Backup`] when the delta is damaged: nothing was changed. [`Error::Store`] when the store
/// refuses a change; those before it were made.
pub fn apply_delta(store: &Store, bytes: &[u8], name: &str) -> Result<Applied, Error> {
    let file = delta::open(bytes, name)?;
    replay(&Target { store, prefix: &[], range: None }, &file, || false)
}

/// Checks the whole file, then applies it. `cancelled` is asked before every block.
pub(crate) fn replay<S: Source>(
    target: &Target<'_>,
    file: &FileReader<S>,
    cancelled: impl Fn() -> bool,
) -> Result<Applied, Error> {
    let mut buffers = Buffers::default();
    let mut sequence = Sequence::default();
    let stop = || if cancelled() { Err(whimbrel_backup::Error::Cancelled) } else { Ok(()) };
    for number in 0..file.blocks() {
        stop()?;
        let block = file.block(number, &mut buffers)?;
        sequence.walk(&block, |_, _| Ok::<(), Error>(()))?;
    }
    let tally: Tally = sequence.tally();
    file.check_end(sequence.last_key(), tally)?;
    let mut applied = Applied::default();
    for number in 0..file.blocks() {
        stop()?;
        let block = file.block(number, &mut buffers)?;
        applied.merge(&apply_decoded(target, &block)?);
    }
    Ok(applied)
}
