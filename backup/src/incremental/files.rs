//! The content of a store as a chain of backups has it, read from the files in key order.

use std::ops::Bound;
use std::path::{Path, PathBuf};

use whimbrel_mvcc::KeyRange;

use crate::Error;
use crate::block::Block;
use crate::file::FileKind;
use crate::manifest::FileRecord;
use crate::open::Backup;
use crate::reader::{Buffers, FileReader, Source};
use crate::repository::Chain;

/// The files of one store, opened, oldest first.
pub(crate) struct StoreFiles {
    /// Files of one run follow each other in key order. A later run wins over an earlier one.
    runs: Vec<Vec<OpenFile>>,
}

struct OpenFile {
    backup: PathBuf,
    file: FileReader<Box<dyn Source>>,
}

impl StoreFiles {
    /// Opens what the chain has of the store. Headers, indexes and footers are checked.
    pub(crate) fn open(chain: &Chain, name: &str) -> Result<Self, Error> {
        let mut files = Self { runs: Vec::new() };
        for (backup, number) in chain.layers(name)? {
            let first = files.runs.len();
            for (kind, record) in backup.manifest().stores[number as usize].files() {
                files.add(first, backup, number, kind, record)?;
            }
        }
        Ok(files)
    }

    /// Puts a file behind the newest run of its backup if it follows that, and into a new run otherwise.
    fn add(
        &mut self,
        first: usize,
        backup: &Backup,
        number: u32,
        kind: FileKind,
        record: &FileRecord,
    ) -> Result<(), Error> {
        let open = || backup.open_file(backup.source(record)?, number, kind, record);
        let file = open().map_err(|error| error.within(backup.dir()))?;
        let file = OpenFile { backup: backup.dir().to_owned(), file };
        let follows = |run: &&mut Vec<OpenFile>| {
            run.last().is_some_and(|last| last.file.last_key() < file.file.first_key())
        };
        match self.runs[first..].last_mut().filter(follows) {
            Some(run) => run.push(file),
            None => self.runs.push(vec![file]),
        }
        Ok(())
    }

    /// The blocks of the first run that may have keys of a range. That run has nearly all there is.
    pub(crate) fn blocks(&self, range: &KeyRange) -> Blocks<'_> {
        Blocks::begin(self.runs.first().map_or(&[], Vec::as_slice), range)
    }

    /// Reads what the later runs have in a range.
    pub(crate) fn later(&self, range: &KeyRange) -> Result<Merge<'_>, Error> {
        let later = self.runs.iter().skip(1);
        let streams: Result<Vec<_>, Error> = later.map(|run| Stream::begin(run, range)).collect();
        Ok(Merge { streams: streams?, winner: None })
    }
}

/// Whether a key does not lie beyond the upper end of a range.
pub(crate) fn reaches(hi: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match hi {
        Bound::Included(hi) => key <= hi.as_slice(),
        Bound::Excluded(hi) => key < hi.as_slice(),
        Bound::Unbounded => true,
    }
}

/// Whether a key comes before the lower end of a range.
pub(crate) fn is_before(lo: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match lo {
        Bound::Included(lo) => key < lo.as_slice(),
        Bound::Excluded(lo) => key <= lo.as_slice(),
        Bound::Unbounded => false,
    }
}

/// The blocks of a run, one after the other.
pub(crate) struct Blocks<'f> {
    run: &'f [OpenFile],
    /// The next block: number of the file in the run, number of the block in it.
    next: (usize, usize),
}

impl<'f> Blocks<'f> {
    /// Begins with the first block that may have a key of the range.
    fn begin(run: &'f [OpenFile], range: &KeyRange) -> Self {
        let lo = match &range.lo {
            Bound::Included(lo) | Bound::Excluded(lo) => lo.as_slice(),
            Bound::Unbounded => &[],
        };
        let file = run.partition_point(|it| it.file.last_key() < lo);
        let block = run.get(file).map_or(0, |it| it.file.block_from(lo));
        let mut blocks = Self { run, next: (file, block) };
        blocks.skip_ends();
        blocks
    }

    /// Goes to the next file that has a block left.
    fn skip_ends(&mut self) {
        let (file, block) = &mut self.next;
        while self.run.get(*file).is_some_and(|it| *block >= it.file.blocks()) {
            (*file, *block) = (*file + 1, 0);
        }
    }

    /// The first key of the next block; none when there is none.
    pub(crate) fn next_key(&self) -> Option<&'f [u8]> {
        let (file, block) = self.next;
        self.run.get(file).map(|it| it.file.block_key(block))
    }

    /// Reads the next block, if there is one. Answers the directory of its backup as well.
    pub(crate) fn read<'b>(
        &mut self,
        buffers: &'b mut Buffers,
    ) -> Result<Option<(Block<'b>, &'f Path)>, Error>
    where
        'f: 'b,
    {
        let (file, block) = self.next;
        let Some(OpenFile { backup, file }) = self.run.get(file) else { return Ok(None) };
        self.next.1 += 1;
        self.skip_ends();
        let block = file.block(block, buffers).map_err(|error| error.within(backup))?;
        Ok(Some((block, backup.as_path())))
    }
}

/// Keys with values or without, one behind the other.
#[derive(Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    /// Where an entry begins, the length of its key, and of its value unless it is a remove.
    entries: Vec<(usize, usize, Option<usize>)>,
}

impl Kept {
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }

    pub(crate) fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.entries.push((self.bytes.len(), key.len(), value.map(<[u8]>::len)));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    pub(crate) fn get(&self, at: usize) -> Option<(&[u8], Option<&[u8]>)> {
        let (start, key_len, value_len) = *self.entries.get(at)?;
        let (key, rest) = self.bytes[start..].split_at(key_len);
        Some((key, value_len.map(|len| &rest[..len])))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Entries of several runs in one order; where runs have the same key the latest counts.
pub(crate) struct Merge<'f> {
    streams: Vec<Stream<'f>>,
    /// The stream whose entry is the current one.
    winner: Option<usize>,
}

impl Merge<'_> {
    /// Goes to the next entry. False at the end.
    pub(crate) fn step(&mut self) -> Result<bool, Error> {
        self.pass_current()?;
        let mut winner: Option<(usize, &[u8])> = None;
        for (at, stream) in self.streams.iter().enumerate() {
            let Some((key, _)) = stream.entry() else { continue };
            if winner.is_none_or(|(_, least)| key <= least) {
                winner = Some((at, key));
            }
        }
        self.winner = winner.map(|(at, _)| at);
        Ok(self.winner.is_some())
    }

    /// The current entry; without a value it is a remove.
    pub(crate) fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.streams[self.winner?].entry()
    }

    /// Leaves the current entry, in every stream that has its key.
    fn pass_current(&mut self) -> Result<(), Error> {
        let Some(winner) = self.winner.take() else { return Ok(()) };
        // Streams behind the winner have greater keys: among equals the last one wins.
        for at in 0..winner {
            let key = |at: usize| self.streams[at].entry().map(|(key, _)| key);
            if key(at) == key(winner) {
                self.streams[at].step()?;
            }
        }
        self.streams[winner].step()
    }
}

/// Reads one run, block by block.
struct Stream<'f> {
    blocks: Blocks<'f>,
    hi: Bound<Vec<u8>>,
    buffers: Buffers,
    /// The entries of the block at hand.
    kept: Kept,
    at: usize,
}

impl<'f> Stream<'f> {
    fn begin(run: &'f [OpenFile], range: &KeyRange) -> Result<Self, Error> {
        let mut stream = Self {
            blocks: Blocks::begin(run, range),
            hi: range.hi.clone(),
            buffers: Buffers::default(),
            kept: Kept::default(),
            at: 0,
        };
        stream.load()?;
        while stream.entry().is_some_and(|(key, _)| is_before(&range.lo, key)) {
            stream.step()?;
        }
        Ok(stream)
    }

    fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        self.kept.get(self.at).filter(|(key, _)| reaches(&self.hi, key))
    }

    fn step(&mut self) -> Result<(), Error> {
        self.at += 1;
        if self.at >= self.kept.len() { self.load() } else { Ok(()) }
    }

    /// Takes the next block, if there is one.
    fn load(&mut self) -> Result<(), Error> {
        self.kept.clear();
        self.at = 0;
        let Some((block, backup)) = self.blocks.read(&mut self.buffers)? else { return Ok(()) };
        let mut walk = block.entries();
        while let Some((key, value)) = walk.next_entry().map_err(|error| error.within(backup))? {
            self.kept.push(key, value);
        }
        Ok(())
    }
}
