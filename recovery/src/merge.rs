//! Merges sorted files in a range of keys: each key once, from the file that is listed last.

use std::ops::Bound;

use whimbrel_backup::Work;
use whimbrel_backup::shard::{Buffers, FileReader, FileSource, Sequence};
use whimbrel_mvcc::KeyRange;

use crate::Error;

/// A sorted file, open.
pub(crate) type SortedFile = FileReader<FileSource>;

/// Entries between two looks at the cancel flag, and between two reports of progress.
const STEP: u64 = 4096;

/// First keys of blocks that are looked at in each file when a range is cut.
const SAMPLES: usize = 1024;

/// One entry: a key with its value, or with none for a remove.
type Entry<'e> = (&'e [u8], Option<&'e [u8]>);

/// Entries of one file, copied out block by block.
struct Cursor<'f> {
    file: &'f SortedFile,
    range: &'f KeyRange,
    next_block: usize,
    sequence: Sequence,
    buffers: Buffers,
    bytes: Vec<u8>,
    /// Where a key begins, its length, and that of the value behind it, if there is one.
    entries: Vec<(usize, usize, Option<usize>)>,
    at: usize,
}

impl<'f> Cursor<'f> {
    fn new(file: &'f SortedFile, range: &'f KeyRange) -> Self {
        let next_block = match &range.lo {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => file.block_from(key),
        };
        Self {
            file,
            range,
            next_block,
            sequence: Sequence::without_digest(),
            buffers: Buffers::default(),
            bytes: Vec::new(),
            entries: Vec::new(),
            at: 0,
        }
    }

    /// The entry it stands on; none at the end.
    fn entry(&self) -> Option<Entry<'_>> {
        let (from, key_len, value_len) = *self.entries.get(self.at)?;
        let (key, rest) = self.bytes[from..].split_at(key_len);
        Some((key, value_len.map(|len| &rest[..len])))
    }

    fn key(&self) -> &[u8] {
        self.entry().map_or(&[], |(key, _)| key)
    }

    /// Goes on to the next entry of the range. False: there is none.
    fn step(&mut self) -> Result<bool, Error> {
        self.at += 1;
        self.fill()
    }

    /// Reads blocks until it stands on an entry of the range.
    fn fill(&mut self) -> Result<bool, Error> {
        while self.at >= self.entries.len() {
            if self.next_block >= self.file.blocks() || self.is_behind(self.next_block) {
                return Ok(false);
            }
            self.bytes.clear();
            self.entries.clear();
            self.at = 0;
            let Self { file, range, next_block, sequence, buffers, bytes, entries, .. } = self;
            let block = file.block(*next_block, buffers)?;
            *next_block += 1;
            sequence.walk(&block, |key, value| {
                if range.contains(key) {
                    entries.push((bytes.len(), key.len(), value.map(<[u8]>::len)));
                    bytes.extend_from_slice(key);
                    bytes.extend_from_slice(value.unwrap_or_default());
                }
                Ok::<(), whimbrel_backup::Error>(())
            })?;
        }
        Ok(true)
    }

    /// Whether a block lies behind the range.
    fn is_behind(&self, block: usize) -> bool {
        let first = self.file.block_key(block);
        match &self.range.hi {
            Bound::Unbounded => false,
            Bound::Included(hi) => first > hi.as_slice(),
            Bound::Excluded(hi) => first >= hi.as_slice(),
        }
    }
}

/// The entries of several files in one range, ascending, each key once.
struct Merge<'f> {
    cursors: Vec<Cursor<'f>>,
    /// Numbers of the cursors that stand on an entry, as a heap: the least key first, and of equal keys that of
    /// the file listed last.
    heap: Vec<usize>,
    /// The cursor whose entry was handed out; not in the heap.
    current: Option<usize>,
}

impl<'f> Merge<'f> {
    fn new(files: &'f [SortedFile], range: &'f KeyRange) -> Result<Self, Error> {
        let cursors = files.iter().map(|file| Cursor::new(file, range)).collect();
        let mut merge = Self { cursors, heap: Vec::new(), current: None };
        for at in 0..files.len() {
            if merge.cursors[at].fill()? {
                merge.push(at);
            }
        }
        Ok(merge)
    }

    /// The next entry; none at the end.
    fn next_entry(&mut self) -> Result<Option<Entry<'_>>, Error> {
        if let Some(at) = self.current.take()
            && self.cursors[at].step()?
        {
            self.push(at);
        }
        let Some(first) = self.pop() else { return Ok(None) };
        // Those of the same key come next, and lose.
        while let Some(other) = self.heap.first().copied()
            && self.cursors[other].key() == self.cursors[first].key()
        {
            self.pop();
            if self.cursors[other].step()? {
                self.push(other);
            }
        }
        self.current = Some(first);
        Ok(self.cursors[first].entry())
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        self.cursors[one].key().cmp(self.cursors[other].key()).then(other.cmp(&one)).is_lt()
    }

    fn push(&mut self, cursor: usize) {
        self.heap.push(cursor);
        let mut at = self.heap.len() - 1;
        while at > 0 && self.is_before(self.heap[at], self.heap[(at - 1) / 2]) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn pop(&mut self) -> Option<usize> {
        if self.heap.is_empty() {
            return None;
        }
        let first = self.heap.swap_remove(0);
        let mut at = 0;
        loop {
            let children = 2 * at + 1..(2 * at + 3).min(self.heap.len());
            let least = children.reduce(|one, other| {
                if self.is_before(self.heap[other], self.heap[one]) { other } else { one }
            });
            match least {
                Some(child) if self.is_before(self.heap[child], self.heap[at]) => {
                    self.heap.swap(child, at);
                    at = child;
                }
                _ => return Some(first),
            }
        }
    }
}

/// Cuts all keys into at most `parts` ranges that follow each other, about equally many blocks in each.
pub(crate) fn cut(files: &[SortedFile], parts: usize) -> Vec<KeyRange> {
    let mut keys: Vec<&[u8]> = Vec::new();
    for file in files {
        let step = file.blocks().div_ceil(SAMPLES).max(1);
        keys.extend((0..file.blocks()).step_by(step).map(|at| file.block_key(at)));
    }
    evenly(keys, parts)
}

/// Cuts all keys into at most `parts` ranges that follow each other, about equally many of the sample in each.
pub(crate) fn evenly(mut sample: Vec<&[u8]>, parts: usize) -> Vec<KeyRange> {
    sample.sort_unstable();
    sample.dedup();
    let parts = parts.min(sample.len()).max(1);
    let separators = (1..parts).map(|part| sample[sample.len() * part / parts].to_vec());
    KeyRange::all().cut(separators)
}

/// Hands on the entries of several files in one range, and tells `work` of them.
pub(crate) fn each_entry<E: From<Error>>(
    files: &[SortedFile],
    range: &KeyRange,
    work: &Work,
    mut each: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
) -> Result<(), E> {
    let mut merge = Merge::new(files, range)?;
    let (mut entries, mut bytes) = (0, 0);
    while let Some((key, value)) = merge.next_entry()? {
        each(key, value)?;
        entries += 1;
        bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        if entries == STEP {
            work.check().map_err(Error::from)?;
            work.add(entries, bytes);
            (entries, bytes) = (0, 0);
        }
    }
    work.add(entries, bytes);
    Ok(())
}
