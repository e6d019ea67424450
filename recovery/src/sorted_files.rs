//! Sorted files as an ingest reads them: verified, then merged range by range.

use std::path::Path;

use whimbrel_backup::shard::{Buffers, FileReader, FileSource, Sequence, Tally};
use whimbrel_backup::{Work, sorted};
use whimbrel_mvcc::KeyRange;

use crate::merge::{cut, each_entry};
use crate::{Error, JobId};

/// Sorted files, open: for callers who decide themselves which entry goes where, as a node does whose slots take
/// a part of every file each. [`ingest`](crate::ingest()) is the usual way.
///
/// Shared access from several threads is fine.
///
/// # Examples
/// ```
/// use whimbrel_backup::Work;
/// use whimbrel_backup::sorted::SortedFileWriter;
/// use whimbrel_recovery::{Error, SortedFiles};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("monday.sorted");
/// let mut writer = SortedFileWriter::create(&path)?;
/// writer.put(b"curlew", b"1")?;
/// writer.remove(b"dodo")?;
/// writer.finish()?;
///
/// let (files, work) = (SortedFiles::open(&[path])?, Work::default());
/// assert_eq!(files.verify(&work)?.removes, 1);
/// let mut keys = 0;
/// for range in files.ranges(4) {
///     files.each_entry(&range, &work, |_key, _value| {
///         keys += 1;
///         Ok::<(), Error>(())
///     })?;
/// }
/// assert_eq!(keys, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SortedFiles {
    files: Vec<FileReader<FileSource>>,
}

impl SortedFiles {
    /// Opens them: headers, indexes and footers are checked.
    ///
    /// # Errors
    /// [`Error::Backup`] naming the file and what is wrong with it.
    pub fn open(paths: &[impl AsRef<Path>]) -> Result<Self, Error> {
        let open_one = |path: &Path| {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
            Ok(sorted::open(FileSource::open(path)?, &name)?)
        };
        let files = paths.iter().map(|path| open_one(path.as_ref()));
        Ok(Self { files: files.collect::<Result<_, Error>>()? })
    }

    /// Reads every byte and checks it, in parallel over the files. Tells `work` that every entry will be seen
    /// twice.
    ///
    /// # Errors
    /// [`Error::Backup`] naming file and block, and for a cancellation.
    pub fn verify(&self, work: &Work) -> Result<Tally, Error> {
        verify([self], work)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Bytes of the files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.summary().bytes).sum()
    }

    /// Identity of the job that they are.
    #[must_use]
    pub fn job(&self) -> JobId {
        JobId::of([self])
    }

    /// Bytes that name the files for good, in their order.
    pub(crate) fn identities(&self) -> impl Iterator<Item = ([u8; 16], u32)> {
        self.files.iter().map(|file| {
            let summary = file.summary();
            (summary.identity.backup.0, summary.crc)
        })
    }

    /// Cuts all keys into at most `parts` ranges that follow each other, about equally many blocks in each.
    #[must_use]
    pub fn ranges(&self, parts: usize) -> Vec<KeyRange> {
        cut(&self.files, parts)
    }

    /// Hands on the entries of a range, ascending, each key once, from the file that is listed last; no value
    /// stands for a remove. Tells `work` of them. Every block is checked as it is read.
    ///
    /// # Errors
    /// That of `each`; [`Error::Backup`] naming file and block, and for a cancellation.
    pub fn each_entry<E: From<Error>>(
        &self,
        range: &KeyRange,
        work: &Work,
        each: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        each_entry(&self.files, range, work, each)
    }
}

/// Verifies the files of several stores as one piece of work.
pub(crate) fn verify<'f>(
    all: impl IntoIterator<Item = &'f SortedFiles>,
    work: &Work,
) -> Result<Tally, Error> {
    let files: Vec<_> = all.into_iter().flat_map(|some| &some.files).collect();
    let mut sum = Tally::default();
    for tally in files.iter().map(|file| file.tally()) {
        sum.entries += tally.entries;
        sum.removes += tally.removes;
        sum.raw_bytes += tally.raw_bytes;
    }
    work.begin(2 * (sum.entries + sum.removes));
    work.for_each(&files, |work, file| {
        let (mut buffers, mut sequence) = (Buffers::default(), Sequence::default());
        let mut told = Tally::default();
        for number in 0..file.blocks() {
            work.check()?;
            let block = file.block(number, &mut buffers)?;
            sequence.walk(&block, |_, _| Ok::<(), whimbrel_backup::Error>(()))?;
            let tally = sequence.tally();
            let entries = tally.entries + tally.removes - told.entries - told.removes;
            work.add(entries, tally.raw_bytes - told.raw_bytes);
            told = tally;
        }
        Ok::<(), Error>(file.check_end(sequence.last_key(), sequence.tally())?)
    })?;
    Ok(sum)
}
