//! The content of a store as a chain of backups has it, read from the files in key order.

use std::ops::Bound;

use whimbrel_mvcc::KeyRange;

use crate::Error;
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
    backup: std::path::PathBuf,
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

    /// Reads the entries of a range, removed ones left out.
    pub(crate) fn range(&self, range: &KeyRange) -> Result<Merge<'_>, Error> {
        let mut streams = Vec::with_capacity(self.runs.len());
        for run in &self.runs {
            streams.push(Stream::begin(run, range)?);
        }
        Ok(Merge { streams, winner: None })
    }
}

/// Entries of several runs in one order; where runs have the same key the latest counts.
pub(crate) struct Merge<'f> {
    streams: Vec<Stream<'f>>,
    /// The stream whose entry is the current one.
    winner: Option<usize>,
}

impl Merge<'_> {
    /// Goes to the next entry that is not removed. False at the end.
    pub(crate) fn step(&mut self) -> Result<bool, Error> {
        loop {
            self.pass_current()?;
            let mut winner: Option<(usize, &[u8])> = None;
            for (at, stream) in self.streams.iter().enumerate() {
                let Some((key, _)) = stream.entry() else { continue };
                if winner.is_none_or(|(_, least)| key <= least) {
                    winner = Some((at, key));
                }
            }
            self.winner = winner.map(|(at, _)| at);
            match self.winner {
                None => return Ok(false),
                Some(at) if self.streams[at].entry().is_some_and(|(_, value)| value.is_some()) => {
                    return Ok(true);
                }
                Some(_) => {}
            }
        }
    }

    /// The current entry.
    pub(crate) fn entry(&self) -> Option<(&[u8], &[u8])> {
        let (key, value) = self.streams[self.winner?].entry()?;
        Some((key, value?))
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
    run: &'f [OpenFile],
    hi: Bound<Vec<u8>>,
    /// The next block: number of the file in the run, number of the block in it.
    next: (usize, usize),
    buffers: Buffers,
    /// Keys and values of the block at hand, one behind the other.
    bytes: Vec<u8>,
    /// Where an entry begins, the length of its key, and of its value unless it is a remove.
    entries: Vec<(usize, usize, Option<usize>)>,
    at: usize,
}

impl<'f> Stream<'f> {
    fn begin(run: &'f [OpenFile], range: &KeyRange) -> Result<Self, Error> {
        let lo = match &range.lo {
            Bound::Included(lo) | Bound::Excluded(lo) => lo.as_slice(),
            Bound::Unbounded => &[],
        };
        let file = run.partition_point(|it| it.file.last_key() < lo);
        let block = run.get(file).map_or(0, |it| it.file.block_from(lo));
        let mut stream = Self {
            run,
            hi: range.hi.clone(),
            next: (file, block),
            buffers: Buffers::default(),
            bytes: Vec::new(),
            entries: Vec::new(),
            at: 0,
        };
        stream.load()?;
        let excluded = matches!(range.lo, Bound::Excluded(_));
        while stream.entry().is_some_and(|(key, _)| key < lo || (excluded && key == lo)) {
            stream.step()?;
        }
        Ok(stream)
    }

    fn entry(&self) -> Option<(&[u8], Option<&[u8]>)> {
        let (start, key_len, value_len) = *self.entries.get(self.at)?;
        let (key, rest) = self.bytes[start..].split_at(key_len);
        let inside = match &self.hi {
            Bound::Included(hi) => key <= hi.as_slice(),
            Bound::Excluded(hi) => key < hi.as_slice(),
            Bound::Unbounded => true,
        };
        inside.then(|| (key, value_len.map(|len| &rest[..len])))
    }

    fn step(&mut self) -> Result<(), Error> {
        self.at += 1;
        if self.at >= self.entries.len() { self.load() } else { Ok(()) }
    }

    /// Takes the next block, if there is one.
    fn load(&mut self) -> Result<(), Error> {
        self.bytes.clear();
        self.entries.clear();
        self.at = 0;
        let (mut file, mut block) = self.next;
        while self.run.get(file).is_some_and(|it| block >= it.file.blocks()) {
            (file, block) = (file + 1, 0);
        }
        self.next = (file, block + 1);
        let Some(open) = self.run.get(file) else { return Ok(()) };
        let within = |error: Error| error.within(&open.backup);
        let decoded = open.file.block(block, &mut self.buffers).map_err(within)?;
        let mut walk = decoded.entries();
        while let Some((key, value)) = walk.next_entry().map_err(within)? {
            self.entries.push((self.bytes.len(), key.len(), value.map(<[u8]>::len)));
            self.bytes.extend_from_slice(key);
            self.bytes.extend_from_slice(value.unwrap_or_default());
        }
        Ok(())
    }
}
