//! Change deltas on the wire: what changed at the source between two drains of its capture.
//!
//! A round is a sequence of messages of kind `Block`, then `Round` or `Final`. Each message begins
//! with a tag:
//!
//! ```text
//! 0  a block of changes: keys with their newest value, or removed
//! 1  an interval that is sent whole: lower and upper bound; blocks of entries follow
//! 2  a block of entries of the interval
//! 3  the interval is complete: what the target holds in it beyond those entries was removed
//! ```
//! All carry state, so a round that is applied twice does no harm.

use std::collections::HashSet;
use std::ops::Bound;

use whimbrel_backup::block::{BlockBuilder, BlockDecoder, BlockKind, BlockOptions};
use whimbrel_backup::{Part, Place};
use whimbrel_mvcc::{Captured, KeyRange, Store};

const CHANGES: u8 = 0;
const INTERVAL: u8 = 1;
const ENTRIES: u8 = 2;
const INTERVAL_END: u8 = 3;

/// Why a round could not be written or applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Block(#[from] whimbrel_backup::Error),
    #[error(transparent)]
    Store(#[from] whimbrel_mvcc::Error),
    #[error("a message of the round has an unknown form")]
    Form,
    /// Nobody takes the messages any more.
    #[error("the round was given up")]
    Abandoned,
}

/// Writes the newest state of all captured keys and intervals, message by message. Answers the
/// number of entries. A capture is drained *before* this reads, so what it reads is at least as
/// new.
pub(crate) fn write_changes(
    store: &Store,
    captured: &Captured,
    mut emit: impl FnMut(Vec<u8>) -> Result<(), ChangeError>,
) -> Result<u64, ChangeError> {
    let mut out = BlockWriter::new(CHANGES, BlockKind::Changes);
    let mut entries = 0;
    for key in &captured.keys {
        match store.get(key) {
            Some(value) => out.put(key, &value, &mut emit)?,
            None => out.remove(key, &mut emit)?,
        }
        entries += 1;
    }
    out.flush(&mut emit)?;
    for interval in &captured.intervals {
        let mut head = vec![INTERVAL];
        put_bound(&mut head, &interval.lo);
        put_bound(&mut head, &interval.hi);
        emit(head)?;
        let mut out = BlockWriter::new(ENTRIES, BlockKind::Entries);
        let mut cursor = store.snapshot_named("migration round").range(interval.clone());
        while let Some((key, value)) = cursor.next_entry() {
            out.put(key, value, &mut emit)?;
            entries += 1;
        }
        out.flush(&mut emit)?;
        emit(vec![INTERVAL_END])?;
    }
    Ok(entries)
}

/// Cuts a stream of entries into tagged blocks.
struct BlockWriter {
    tag: u8,
    builder: BlockBuilder,
}

impl BlockWriter {
    fn new(tag: u8, kind: BlockKind) -> Self {
        Self { tag, builder: BlockBuilder::new(kind, BlockOptions::default()) }
    }

    fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        emit: &mut impl FnMut(Vec<u8>) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        if !self.builder.fits(key.len(), value.len()) {
            self.flush(emit)?;
        }
        Ok(self.builder.add(key, value)?)
    }

    fn remove(
        &mut self,
        key: &[u8],
        emit: &mut impl FnMut(Vec<u8>) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        if !self.builder.fits(key.len(), 0) {
            self.flush(emit)?;
        }
        Ok(self.builder.add_remove(key)?)
    }

    fn flush(
        &mut self,
        emit: &mut impl FnMut(Vec<u8>) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        let mut message = vec![self.tag];
        self.builder.finish_into(&mut message)?;
        emit(message)
    }
}

/// Hears of every key that is changed, and of its value; none: removed.
pub(crate) type Seen<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>);

/// Applies the messages of rounds to a staging store that nobody else sees.
#[derive(Debug, Default)]
pub(crate) struct ChangeApplier {
    decoder: BlockDecoder,
    /// The interval that is being received, and its keys so far.
    interval: Option<(KeyRange, HashSet<Vec<u8>>)>,
}

impl ChangeApplier {
    /// Applies a message. `seen` hears of every key that it changes, and of the value.
    pub(crate) fn apply(
        &mut self,
        store: &Store,
        message: &[u8],
        seen: Seen<'_>,
    ) -> Result<u64, ChangeError> {
        let (&tag, rest) = message.split_first().ok_or(ChangeError::Form)?;
        match (tag, self.interval.take()) {
            (CHANGES, None) => self.changes(store, rest, seen),
            (INTERVAL, None) => {
                let mut rest = rest;
                let lo = take_bound(&mut rest).ok_or(ChangeError::Form)?;
                let hi = take_bound(&mut rest).ok_or(ChangeError::Form)?;
                self.interval = Some((KeyRange { lo, hi }, HashSet::new()));
                Ok(0)
            }
            (ENTRIES, Some((range, keys))) => {
                self.interval = Some((range, keys));
                self.entries(store, rest, seen)
            }
            (INTERVAL_END, Some((range, keys))) if rest.is_empty() => {
                let mut cursor = store.snapshot_named("migration round").range(range);
                while let Some((key, _)) = cursor.next_entry() {
                    if !keys.contains(key) {
                        store.remove(key)?;
                        seen(key, None);
                    }
                }
                Ok(0)
            }
            _ => Err(ChangeError::Form),
        }
    }

    /// Whether a round may end here.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.interval.is_none()
    }

    fn changes(&mut self, store: &Store, bytes: &[u8], seen: Seen<'_>) -> Result<u64, ChangeError> {
        let place = Place::new("change delta", Part::Whole);
        let block = self.decoder.decode(bytes, place)?;
        if block.kind() != BlockKind::Changes {
            return Err(ChangeError::Form);
        }
        let mut entries = block.entries();
        while let Some((key, value)) = entries.next_entry()? {
            match value {
                Some(value) => store.put(key, value)?,
                None => drop(store.remove(key)?),
            }
            seen(key, value);
        }
        Ok(u64::from(block.len()))
    }

    fn entries(&mut self, store: &Store, bytes: &[u8], seen: Seen<'_>) -> Result<u64, ChangeError> {
        let place = Place::new("interval", Part::Whole);
        let block = self.decoder.decode(bytes, place)?;
        let Some((range, keys)) = &mut self.interval else { return Err(ChangeError::Form) };
        let mut entries = block.entries();
        while let Some((key, value)) = entries.next_entry()? {
            let (true, Some(value)) = (range.contains(key), value) else {
                return Err(ChangeError::Form);
            };
            store.put(key, value)?;
            seen(key, Some(value));
            keys.insert(key.to_vec());
        }
        Ok(u64::from(block.len()))
    }
}

fn put_bound(out: &mut Vec<u8>, bound: &Bound<Vec<u8>>) {
    let (tag, key): (u8, &[u8]) = match bound {
        Bound::Unbounded => (0, &[]),
        Bound::Included(key) => (1, key),
        Bound::Excluded(key) => (2, key),
    };
    out.push(tag);
    // Keys are at most 65,535 bytes, and the capture cuts its bounds shorter.
    let len = u16::try_from(key.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&key[..usize::from(len)]);
}

fn take_bound(rest: &mut &[u8]) -> Option<Bound<Vec<u8>>> {
    let ([tag, low, high], tail) = rest.split_first_chunk::<3>()?;
    let (key, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes([*low, *high])))?;
    *rest = tail;
    match tag {
        0 if key.is_empty() => Some(Bound::Unbounded),
        1 => Some(Bound::Included(key.to_vec())),
        2 => Some(Bound::Excluded(key.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use whimbrel_mvcc::{CaptureOptions, Clock};

    use super::*;

    /// Copies by rounds what a capture saw, and compares; a small budget makes it use intervals.
    fn follow(max_bytes: usize) {
        let clock = Clock::new();
        let options = || whimbrel_mvcc::StoreOptions::new().with_running_digest();
        let (from, to) =
            (Store::with_options(&clock, options()), Store::with_options(&clock, options()));
        for i in 0..2000u32 {
            from.put(&i.to_be_bytes(), b"old").expect("put");
            to.put(&i.to_be_bytes(), b"old").expect("put");
        }
        let capture = from.capture(CaptureOptions::new().max_bytes(max_bytes)).expect("capture");
        for i in (0..2500u32).step_by(7) {
            from.put(&i.to_be_bytes(), &vec![b'x'; i as usize]).expect("put");
            from.remove(&(i + 1).to_be_bytes()).expect("remove");
        }
        let captured = capture.drain();
        assert_eq!(captured.intervals.is_empty(), max_bytes > 1 << 20);
        let mut applier = ChangeApplier::default();
        // What is seen must lead another copy to the same.
        let mirror = Store::with_options(&clock, options());
        to.snapshot().scan(.., |key, value| {
            mirror.put(key, value).expect("put");
            std::ops::ControlFlow::Continue(())
        });
        for _ in 0..2 {
            let mut seen = |key: &[u8], value: Option<&[u8]>| match value {
                Some(value) => mirror.put(key, value).expect("put"),
                None => drop(mirror.remove(key).expect("remove")),
            };
            let emit = |message: Vec<u8>| applier.apply(&to, &message, &mut seen).map(|_| ());
            write_changes(&from, &captured, emit).expect("a round");
            assert!(applier.is_between_messages());
            assert_eq!(from.digest(), to.digest(), "also after the same round again");
            assert_eq!(from.digest(), mirror.digest(), "what was seen is what was applied");
        }
    }

    #[test]
    fn rounds_of_keys_and_of_intervals_follow_the_source() {
        follow(64 << 20);
        follow(1000);
    }

    #[test]
    fn messages_of_unknown_form_are_refused() {
        let store = Store::new(&Clock::new());
        for message in
            [&b""[..], &[9], &[INTERVAL, 1], &[ENTRIES, 0], &[INTERVAL_END], &[CHANGES, 1]]
        {
            let applied = ChangeApplier::default().apply(&store, message, &mut |_, _| ());
            assert!(applied.is_err(), "{message:?}");
        }
    }
}
