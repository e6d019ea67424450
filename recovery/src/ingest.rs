//! From sorted files into stores that are being used: verified first, visible at one moment.
//!
//! 1. Verify: every block of every file is read, decoded and checked, in parallel over the files.
//! 2. Put in place: the files of a store are merged, in parallel over ranges of keys, and each entry becomes a
//!    version that nobody sees (`whimbrel_mvcc::Ingest`). Every block is checked once more as it is read.
//! 3. Commit: all of them get one number.
//!
//! Memory: for each range that is worked on, a block of each file and what it decodes to; and the indexes of the
//! files.

use std::path::{Path, PathBuf};
use std::time::Instant;

use whimbrel_backup::{Digest, Work};
use whimbrel_mvcc::{Hold, Ingest, IngestMode, KeyRange, Store};

use crate::sorted_files::verify;
use crate::{Error, SortedFiles};

/// Ranges a thread, so that threads end at about the same time.
const RANGES_PER_THREAD: usize = 4;

/// How [`ingest`] works.
///
/// # Examples
/// ```
/// use whimbrel_backup::Work;
/// use whimbrel_mvcc::IngestMode;
/// use whimbrel_recovery::IngestOptions;
/// let options = IngestOptions::default()
///     .with_work(Work::default().with_threads(2))
///     .with_mode(IngestMode::Behind)
///     .with_record(b"jobs/");
/// ```
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    work: Work,
    store: whimbrel_mvcc::IngestOptions,
    prefix: Vec<u8>,
    record: Option<Vec<u8>>,
}

impl IngestOptions {
    /// Threads, progress and cancellation; default [`Work::default`]. Progress counts every entry twice, when it
    /// was verified and when it is in place.
    #[must_use]
    pub fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Who wins on a key that is there; default [`IngestMode::Over`].
    #[must_use]
    pub fn with_mode(mut self, mode: IngestMode) -> Self {
        self.store = self.store.with_mode(mode);
        self
    }

    /// What counts as there when it began; default what is there when the files have been verified. See
    /// [`whimbrel_mvcc::IngestOptions::with_base`].
    #[must_use]
    pub fn with_base(mut self, base: &Hold) -> Self {
        self.store = self.store.with_base(base);
        self
    }

    /// It fails, as a whole, if a key of the range was written since that hold was taken; default no such
    /// condition. See [`whimbrel_mvcc::IngestOptions::with_unwritten`].
    #[must_use]
    pub fn with_unwritten(mut self, range: impl Into<KeyRange>, since: &Hold) -> Self {
        self.store = self.store.with_unwritten(range, since);
        self
    }

    /// Puts `prefix` before every key of the files; default nothing. Price: a copy of each key.
    #[must_use]
    pub fn with_key_prefix(mut self, prefix: &[u8]) -> Self {
        self.prefix = prefix.to_vec();
        self
    }

    /// Keeps a record of the job: an entry of the first store, under `prefix` and the job's identity, which
    /// appears together with the job's entries. Where it is there already the job is done, and nothing is
    /// changed, whoever has written its keys since: also after a restart from a checkpoint or backup, which has
    /// either both or none. Default: no record; a job that comes again then skips what is there already, and
    /// wins over what was written since it ran the first time. Price: an entry of 16 bytes and the prefix,
    /// until somebody removes it.
    #[must_use]
    pub fn with_record(mut self, prefix: &[u8]) -> Self {
        self.record = Some(prefix.to_vec());
        self
    }
}

/// Identity of a job: that of its files, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// That of the files of one store after the other.
    pub(crate) fn of<'f>(all: impl IntoIterator<Item = &'f SortedFiles>) -> Self {
        let mut identities = Vec::new();
        for (at, files) in (0_u32..).zip(all) {
            identities.extend_from_slice(&at.to_le_bytes());
            for (identity, crc) in files.identities() {
                identities.extend_from_slice(&identity);
                identities.extend_from_slice(&crc.to_le_bytes());
            }
        }
        let half = |number: u8| Digest::entry_hash(&[number], &identities).to_le_bytes();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&half(0));
        id[8..].copy_from_slice(&half(1));
        Self(id)
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an ingest did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct IngestReport {
    /// Identity of the job.
    pub job: JobId,
    /// The job was done before, as its record says; nothing was changed.
    pub already: bool,
    /// The number at which its entries appeared; 0 where it was done before.
    pub number: u64,
    /// Files read.
    pub files: usize,
    /// Puts in them.
    pub puts: u64,
    /// Removes in them.
    pub removes: u64,
    /// Entries that were written; fewer than there are in the files where these overlap.
    pub written: u64,
    /// Entries that were there already.
    pub same: u64,
    /// Entries that lost to what is there, or came meanwhile.
    pub lost: u64,
    /// Bytes of keys and values in the files.
    pub raw_bytes: u64,
    /// Bytes of the files.
    pub stored_bytes: u64,
    /// Wall time of verifying.
    pub verify_seconds: f64,
    /// Wall time of everything.
    pub seconds: f64,
}

impl IngestReport {
    /// Entries of the files a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    pub fn entries_per_second(&self) -> f64 {
        if self.seconds > 0.0 { (self.puts + self.removes) as f64 / self.seconds } else { 0.0 }
    }
}

/// One store and the files that go into it, open.
struct Target<'s> {
    store: &'s Store,
    files: SortedFiles,
}

/// Ingests sorted files (see [`SortedFiles`]) into a store: all their entries appear at one moment, beside readers and
/// writers, who wait for nothing.
///
/// Of files that have a key in common the one listed later wins. Everything is verified before anything is
/// begun; after an error, a cancellation or a crash nothing of it is there. The files must not change meanwhile
/// (where they do, that is noticed, and nothing appears).
///
/// # Complexity
/// The bytes twice, parallel over files and then over ranges of keys, and a logarithmic search for every entry.
/// Memory besides the entries: a block of each file and what it decodes to, for each thread.
///
/// # Errors
/// [`Error::Backup`] for whatever is wrong with a file, naming file and block, and for a cancellation;
/// [`Error::Ingest`] when the store refuses it: another job is running, a condition does not hold, or a key is too
/// long with the prefix.
///
/// # Examples
/// ```
/// use whimbrel_backup::sorted::SortedFileWriter;
/// use whimbrel_mvcc::{Clock, Store};
/// use whimbrel_recovery::{IngestOptions, ingest};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("monday.sorted");
/// let mut writer = SortedFileWriter::create(&path)?;
/// writer.put(b"curlew", b"1")?;
/// writer.remove(b"dodo")?;
/// writer.finish()?;
///
/// let store = Store::new(&Clock::new());
/// store.put(b"dodo", b"1")?;
/// let report = ingest(&store, &[path], &IngestOptions::default())?;
/// assert_eq!(report.written, 2);
/// assert_eq!((store.get(b"curlew"), store.get(b"dodo")), (Some(b"1".to_vec()), None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn ingest(
    store: &Store,
    files: &[impl AsRef<Path>],
    options: &IngestOptions,
) -> Result<IngestReport, Error> {
    let files = files.iter().map(|path| path.as_ref().to_owned()).collect();
    ingest_into(&[(store, files)], options)
}

/// [`ingest`] into several stores of one clock at one moment, each with its files.
///
/// # Errors
/// As [`ingest`].
///
/// # Panics
/// When no store is given.
pub fn ingest_into(
    stores: &[(&Store, Vec<PathBuf>)],
    options: &IngestOptions,
) -> Result<IngestReport, Error> {
    let started = Instant::now();
    let open = stores
        .iter()
        .map(|(store, paths)| Ok::<_, Error>(Target { store, files: SortedFiles::open(paths)? }));
    let targets = open.collect::<Result<Vec<_>, Error>>()?;
    let files = || targets.iter().map(|target| &target.files);
    let tally = verify(files(), &options.work)?;
    let job = JobId::of(files());
    let mut report = IngestReport {
        job,
        already: false,
        number: 0,
        files: files().map(SortedFiles::len).sum(),
        puts: tally.entries,
        removes: tally.removes,
        written: 0,
        same: 0,
        lost: 0,
        raw_bytes: tally.raw_bytes,
        stored_bytes: files().map(SortedFiles::bytes).sum(),
        verify_seconds: started.elapsed().as_secs_f64(),
        seconds: 0.0,
    };
    let all: Vec<&Store> = stores.iter().map(|(store, _)| *store).collect();
    let ingest = Ingest::begin(&all, options.store.clone()).map_err(Error::Ingest)?;
    let record = options.record.as_ref().map(|prefix| [prefix.as_slice(), &job.0].concat());
    report.already = record.as_ref().is_some_and(|key| all[0].contains_key(key));
    if !report.already {
        put_in_place(&ingest, &targets, options)?;
        if let Some(key) = record {
            let mut part = ingest.part(all[0]).map_err(Error::Ingest)?;
            part.put(&key, &report.files.to_le_bytes()).map_err(Error::Ingest)?;
        }
        let done = ingest.commit().map_err(Error::Ingest)?;
        (report.number, report.written) = (done.number, done.written);
        (report.same, report.lost) = (done.same, done.lost);
    }
    report.seconds = started.elapsed().as_secs_f64();
    tracing::debug!(%report.job, report.already, report.written, report.seconds, "ingested");
    Ok(report)
}

fn put_in_place(
    ingest: &Ingest,
    targets: &[Target<'_>],
    options: &IngestOptions,
) -> Result<(), Error> {
    let parts = RANGES_PER_THREAD * options.work.threads();
    let mut tasks = Vec::new();
    for target in targets {
        tasks.extend(target.files.ranges(parts).into_iter().map(|range| (target, range)));
    }
    options.work.for_each(&tasks, |work, (target, range)| {
        put_range(ingest, target, range, &options.prefix, work)
    })?;
    Ok(())
}

fn put_range(
    ingest: &Ingest,
    target: &Target<'_>,
    range: &KeyRange,
    prefix: &[u8],
    work: &Work,
) -> Result<(), Error> {
    let mut part = ingest.part(target.store).map_err(Error::Ingest)?;
    let mut joined = prefix.to_vec();
    target.files.each_entry(range, work, |key, value| {
        joined.truncate(prefix.len());
        joined.extend_from_slice(key);
        let put = match value {
            Some(value) => part.put(&joined, value),
            None => part.remove(&joined),
        };
        put.map_err(Error::Ingest)
    })
}
