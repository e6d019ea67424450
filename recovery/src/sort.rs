//! From unsorted entries to a store, through the segments that a restore uses, in bounded memory.
//!
//! Entries are gathered in one piece of memory. Where they fit into the bound, threads each take a range of
//! keys, sort it and build its segment. Where they do not, what was gathered is *spilled*: threads each sort a
//! part of it and write it as a sorted file (a *run*) into a temporary directory. In the end the runs are merged, in
//! parallel over ranges of keys, into segments. Of entries with one key the one that came last wins.

use std::path::{Path, PathBuf};
use std::time::Instant;

use whimbrel_backup::shard::FileSource;
use whimbrel_backup::sorted::{self, SortedFileWriter};
use whimbrel_backup::{Work, block};
use whimbrel_mvcc::{Clock, KeyRange, Store, StoreOptions, StoreSegment, StoreSegmentBuilder};

use crate::Error;
use crate::merge::{SortedFile, cut, each_entry, evenly};

/// Bytes that are gathered before they are spilled, unless the caller says otherwise.
const DEFAULT_MEMORY: usize = 256 << 20;

/// Bytes for an entry besides its key and value: its slot, and the copy of it that is sorted.
const SLOT_BYTES: usize = 2 * size_of::<Slot>();

/// Runs that are merged at once: each takes a block, what it decodes to, and a file that is open. More are
/// merged into one before.
const FAN_IN: usize = 64;

/// Ranges a thread, so that threads end at about the same time.
const RANGES_PER_THREAD: usize = 4;

/// Keys that are looked at for each range that entries in memory are cut into.
const SAMPLES_PER_RANGE: usize = 64;

/// How a [`Sorter`] works. Builder.
#[derive(Debug, Clone)]
pub struct SortOptions {
    work: Work,
    max_memory: usize,
    directory: Option<PathBuf>,
}

impl Default for SortOptions {
    fn default() -> Self {
        Self { work: Work::default(), max_memory: DEFAULT_MEMORY, directory: None }
    }
}

impl SortOptions {
    /// Threads, progress and cancellation; default [`Work::default`]. Progress counts the entries of the result.
    #[must_use]
    pub fn with_work(mut self, work: Work) -> Self {
        self.work = work;
        self
    }

    /// Bytes of entries that are gathered before they are spilled; default 256 MiB. An entry counts with its
    /// key, its value and 48 bytes. Price of few: more runs, which are all read again. Not counted: a block
    /// of a run for each thread, or while runs are merged up to 64 for each; and the store that is made.
    #[must_use]
    pub fn with_max_memory(mut self, bytes: usize) -> Self {
        self.max_memory = bytes;
        self
    }

    /// Where the temporary directory of the runs is made; default the system's. It needs room for all entries,
    /// compressed, and where there are more than 64 runs for up to twice that.
    #[must_use]
    pub fn with_directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }
}

/// An entry in the arena. Compares by its key, then by when it came.
#[derive(Debug, Clone, Copy)]
struct Slot {
    /// The first bytes of the key.
    head: u64,
    at: usize,
    key_len: u16,
    /// Of the value; `REMOVE` stands for none.
    value_len: u32,
}

const REMOVE: u32 = u32::MAX;

const _: () = assert!(size_of::<Slot>() == 24, "SortOptions::with_max_memory says so");

/// What a sort did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct SortReport {
    /// Entries that came, those with equal keys included.
    pub came: u64,
    /// Entries of the result.
    pub entries: u64,
    /// Runs that were written, merged ones not counted.
    pub runs: u64,
    /// Wall time from the first entry, that of whoever gives them included.
    pub seconds: f64,
}

/// Takes entries in any order and makes a store, or a sorted file, of them.
///
/// Parallel, and in bounded memory: see [`SortOptions::with_max_memory`]. Its temporary directory is
/// removed when it is dropped, whatever happened; a process that is killed leaves a directory
/// `whimbrel-sort-...` behind.
///
/// # Examples
/// ```
/// use whimbrel_mvcc::{Clock, StoreOptions};
/// use whimbrel_recovery::{SortOptions, Sorter};
///
/// let mut sorter = Sorter::new(SortOptions::default().with_max_memory(64 << 20));
/// for key in ["whimbrel", "avocet", "knot"] {
///     sorter.put(key.as_bytes(), b"wader")?;
/// }
/// sorter.put(b"knot", b"7")?;
/// let (store, report) = sorter.into_store(&Clock::new(), StoreOptions::new())?;
/// assert_eq!((report.came, report.entries, report.runs), (4, 3, 0));
/// assert_eq!(store.get(b"knot"), Some(b"7".to_vec()), "the last one wins");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sorter {
    options: SortOptions,
    arena: Vec<u8>,
    slots: Vec<Slot>,
    /// Sorted files, in the order in which their entries came.
    runs: Vec<PathBuf>,
    /// Runs written so far, for their names.
    names: u64,
    directory: Option<tempfile::TempDir>,
    report: SortReport,
    started: Instant,
}

impl Sorter {
    /// One without entries.
    #[must_use]
    pub fn new(options: SortOptions) -> Self {
        Self {
            options,
            arena: Vec::new(),
            slots: Vec::new(),
            runs: Vec::new(),
            names: 0,
            directory: None,
            report: SortReport::default(),
            started: Instant::now(),
        }
    }

    /// The key has this value, unless another entry of the key comes later.
    ///
    /// # Complexity
    /// A copy; where the bound is reached, everything gathered is sorted and written first.
    ///
    /// # Errors
    /// [`Error::Backup`] for a key or value that is too long, and when runs cannot be written, or it was
    /// cancelled meanwhile: the sorter is of no use then.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.add(key, Some(value))
    }

    /// The key is absent, whatever came before, unless another entry of the key comes later.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Error> {
        self.add(key, None)
    }

    fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let bytes = value.unwrap_or_default();
        let too_long =
            || whimbrel_backup::Error::KeyTooLong { len: key.len(), limit: block::MAX_KEY_LEN };
        let key_len = u16::try_from(key.len()).map_err(|_| too_long())?;
        if bytes.len() > block::MAX_VALUE_LEN {
            let (len, limit) = (bytes.len(), block::MAX_VALUE_LEN);
            let key = whimbrel_backup::KeyExcerpt::of(key);
            return Err(whimbrel_backup::Error::ValueTooLong { key, len, limit }.into());
        }
        let value_len = value.map_or(Ok(REMOVE), |value| u32::try_from(value.len()));
        let value_len = value_len.unwrap_or(REMOVE);
        let more = key.len() + bytes.len() + SLOT_BYTES;
        if !self.slots.is_empty() && self.gathered().saturating_add(more) > self.options.max_memory
        {
            self.spill()?;
        }
        let most = self.options.max_memory;
        grow(&mut self.arena, key.len() + bytes.len() + 1, most);
        grow(&mut self.slots, 1, most / SLOT_BYTES);
        let at = self.arena.len();
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(bytes);
        if self.arena.len() == at {
            // So that no two entries begin at one place: that tells which came first.
            self.arena.push(0);
        }
        self.slots.push(Slot { head: head(key), at, key_len, value_len });
        self.report.came += 1;
        Ok(())
    }

    fn gathered(&self) -> usize {
        self.arena.len() + self.slots.len() * SLOT_BYTES
    }

    /// Runs written so far: 0 as long as everything fits into the bound.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.report.runs
    }

    /// Makes a store of the entries.
    ///
    /// # Complexity
    /// O(n log n) comparisons, parallel; where runs were spilled they are read once more, and once again where there
    /// are more than 64.
    ///
    /// # Errors
    /// As [`put`](Self::put), and what is wrong with a run that somebody has changed. Nothing is left then.
    pub fn into_store(
        self,
        clock: &Clock,
        options: StoreOptions,
    ) -> Result<(Store, SortReport), Error> {
        let (segments, report) = self.into_segments()?;
        let store = Store::from_segments(clock, options, segments).map_err(Error::Ingest)?;
        Ok((store, report))
    }

    /// Makes segments of the entries, in order, for [`Store::from_segments`].
    ///
    /// # Errors
    /// As [`into_store`](Self::into_store).
    pub fn into_segments(mut self) -> Result<(Vec<StoreSegment>, SortReport), Error> {
        let segments = if self.runs.is_empty() {
            self.build_from_memory()?
        } else {
            let files = self.open_runs()?;
            let tasks = cut(&files, RANGES_PER_THREAD * self.options.work.threads());
            self.options.work.begin(entries_of(&files));
            self.options
                .work
                .for_each(&tasks, |work, range| build_from_runs(&files, range, work))?
        };
        let entries = segments.iter().map(|segment| segment.len() as u64).sum();
        Ok((segments, self.report(entries)))
    }

    /// Writes the entries, removes among them, as a sorted file to be ingested.
    ///
    /// # Errors
    /// As [`into_store`](Self::into_store), and whatever keeps the file from being written.
    pub fn into_file(mut self, mut file: SortedFileWriter) -> Result<SortReport, Error> {
        if self.runs.is_empty() {
            let sorted = self.sorted(self.slots.clone());
            let work = &self.options.work;
            work.begin(sorted.len() as u64);
            for some in sorted.chunks(4096) {
                work.check()?;
                some.iter().try_for_each(|slot| write_to(&mut file, self.entry(slot)))?;
                work.add(some.len() as u64, 0);
            }
        } else {
            let files = self.open_runs()?;
            self.options.work.begin(entries_of(&files));
            copy_runs(&files, &mut file, &self.options.work)?;
        }
        let tally = file.finish()?.tally;
        Ok(self.report(tally.entries + tally.removes))
    }

    fn report(&self, entries: u64) -> SortReport {
        let report =
            SortReport { entries, seconds: self.started.elapsed().as_secs_f64(), ..self.report };
        tracing::debug!(report.came, report.entries, report.runs, report.seconds, "sorted");
        report
    }

    fn entry(&self, slot: &Slot) -> (&[u8], Option<&[u8]>) {
        let (key, rest) = self.arena[slot.at..].split_at(slot.key_len.into());
        (key, (slot.value_len != REMOVE).then(|| &rest[..slot.value_len as usize]))
    }

    /// Some of what was gathered in order, the last of each key.
    fn sorted(&self, mut sorted: Vec<Slot>) -> Vec<Slot> {
        sorted.sort_unstable_by(|one, other| {
            let keys = || self.entry(one).0.cmp(self.entry(other).0);
            one.head.cmp(&other.head).then_with(keys).then(other.at.cmp(&one.at))
        });
        sorted.dedup_by(|later, first| {
            later.head == first.head && self.entry(later).0 == self.entry(first).0
        });
        sorted
    }

    fn build_from_memory(&self) -> Result<Vec<StoreSegment>, Error> {
        let work = &self.options.work;
        work.begin(self.slots.len() as u64);
        let parts = work.threads();
        let step = (self.slots.len() / (parts * SAMPLES_PER_RANGE)).max(1);
        let sample: Vec<&[u8]> =
            self.slots.iter().step_by(step).map(|slot| self.entry(slot).0).collect();
        let tasks = evenly(sample, parts);
        work.for_each(&tasks, |work, range| {
            work.check()?;
            let inside = self.slots.iter().filter(|slot| range.contains(self.entry(slot).0));
            let inside: Vec<Slot> = inside.copied().collect();
            let mut segment = StoreSegmentBuilder::new();
            for some in self.sorted(inside).chunks(4096) {
                work.check()?;
                for (key, value) in some.iter().map(|slot| self.entry(slot)) {
                    if let Some(value) = value {
                        segment.push(key, value).map_err(Error::Ingest)?;
                    }
                }
                work.add(some.len() as u64, 0);
            }
            Ok(segment.finish())
        })
    }

    /// Sorts and writes everything gathered.
    fn spill(&mut self) -> Result<(), Error> {
        let threads = self.options.work.threads();
        let (len, each) = (self.slots.len(), self.slots.len().div_ceil(threads).max(1));
        let mut tasks = Vec::with_capacity(threads);
        for from in (0..len).step_by(each) {
            tasks.push((self.next_path()?, from..len.min(from + each)));
        }
        self.options.work.for_each(&tasks, |work, (path, slots)| {
            let mut run = SortedFileWriter::create(path)?.without_sync();
            for some in self.sorted(self.slots[slots.clone()].to_vec()).chunks(4096) {
                work.check()?;
                some.iter().try_for_each(|slot| write_to(&mut run, self.entry(slot)))?;
            }
            run.finish()?;
            Ok::<(), Error>(())
        })?;
        self.report.runs += tasks.len() as u64;
        self.runs.extend(tasks.into_iter().map(|(path, _)| path));
        self.arena.clear();
        self.slots.clear();
        if self.runs.len() >= FAN_IN { self.merge_runs() } else { Ok(()) }
    }

    /// Spills the rest, and opens all runs.
    fn open_runs(&mut self) -> Result<Vec<SortedFile>, Error> {
        if !self.slots.is_empty() {
            self.spill()?;
        }
        (self.arena, self.slots) = (Vec::new(), Vec::new());
        self.runs.iter().map(|path| open_run(path)).collect()
    }

    /// Merges all runs into one.
    fn merge_runs(&mut self) -> Result<(), Error> {
        let files: Vec<SortedFile> =
            self.runs.iter().map(|path| open_run(path)).collect::<Result<_, _>>()?;
        let path = self.next_path()?;
        let mut merged = SortedFileWriter::create(&path)?.without_sync();
        // Not told to the listener, who counts the entries of the result.
        copy_runs(&files, &mut merged, &self.options.work.clone().without_progress())?;
        merged.finish()?;
        for old in std::mem::replace(&mut self.runs, vec![path]) {
            let removed = std::fs::remove_file(&old);
            removed.map_err(|source| io("remove", &old, source))?;
        }
        Ok(())
    }

    fn next_path(&mut self) -> Result<PathBuf, Error> {
        let directory = match &mut self.directory {
            Some(directory) => directory,
            none => {
                let base = self.options.directory.clone().unwrap_or_else(std::env::temp_dir);
                let made = tempfile::Builder::new().prefix("whimbrel-sort-").tempdir_in(&base);
                none.insert(made.map_err(|source| io("create a directory in", &base, source))?)
            }
        };
        self.names += 1;
        Ok(directory.path().join(format!("run-{:06}", self.names)))
    }
}

impl std::fmt::Debug for Sorter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sorter")
            .field("gathered", &self.slots.len())
            .field("runs", &self.runs.len())
            .finish_non_exhaustive()
    }
}

fn open_run(path: &Path) -> Result<SortedFile, Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(sorted::open(FileSource::open(path)?, &name)?)
}

fn entries_of(files: &[SortedFile]) -> u64 {
    files.iter().map(|file| file.tally().entries + file.tally().removes).sum()
}

/// Builds the segment of a range.
fn build_from_runs(
    files: &[SortedFile],
    range: &KeyRange,
    work: &Work,
) -> Result<StoreSegment, Error> {
    let mut segment = StoreSegmentBuilder::new();
    each_entry(files, range, work, |key, value| match value {
        Some(value) => segment.push(key, value).map_err(Error::Ingest),
        None => Ok(()),
    })?;
    Ok(segment.finish())
}

fn copy_runs(files: &[SortedFile], to: &mut SortedFileWriter, work: &Work) -> Result<(), Error> {
    each_entry(files, &KeyRange::all(), work, |key, value| write_to(to, (key, value)))
}

fn write_to(
    file: &mut SortedFileWriter,
    (key, value): (&[u8], Option<&[u8]>),
) -> Result<(), Error> {
    match value {
        Some(value) => file.put(key, value)?,
        None => file.remove(key)?,
    }
    Ok(())
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    whimbrel_backup::Error::Io { action, path: path.to_owned(), source }.into()
}

/// Makes room for so many more; grows in large steps, and not beyond what it may come to.
fn grow<T>(vec: &mut Vec<T>, more: usize, most: usize) {
    if vec.capacity() - vec.len() < more {
        let wanted = (2 * vec.capacity()).min(most).max(vec.len() + more);
        vec.reserve_exact(wanted - vec.len());
    }
}

/// The first eight bytes of a key as a number in their order.
fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(head.len());
    head[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(head)
}
