//! The journal: what users hold.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use whimbrel_backup::storage::Directory;

use crate::commit::{Acknowledge, GroupCommit, Ticket};
use crate::error::{Error, Failure, Refused};
use crate::format::{Identity, MAX_RECORD_LEN};
use crate::open::{OpenReport, open};
use crate::segment::{Figures, SegmentWriter, Shared, SharedRef, segment_name};
use crate::storage::SegmentStorage;

/// The file that keeps a second process out.
pub(crate) const LOCK: &str = "LOCK";

/// When a record counts as acknowledged, and what a crash can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// When it is synced: nothing acknowledged is lost, whatever happens to process or machine. Costs
    /// the device's sync, shared by all that wait for it.
    Always,
    /// When the system has it; synced this often by a thread. A killed process loses nothing; a machine
    /// that stops loses at most what this time and one sync bring.
    Interval(Duration),
    /// When the system has it; synced only when a segment ends, at a checkpoint and at the end. A killed
    /// process loses nothing; a machine that stops loses what the system had not written.
    Never,
}

/// How a journal works. Builder.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use whimbrel_journal::{JournalOptions, SyncPolicy};
/// let options = JournalOptions::new(SyncPolicy::Interval(Duration::from_millis(100)))
///     .with_segment_bytes(16 << 20)
///     .with_thread();
/// ```
#[derive(Clone, Debug)]
pub struct JournalOptions {
    policy: SyncPolicy,
    segment_bytes: u64,
    max_pending: usize,
    thread: bool,
    identity: Option<Identity>,
}

impl JournalOptions {
    /// Options with this policy and the defaults.
    #[must_use]
    pub fn new(policy: SyncPolicy) -> Self {
        let (segment_bytes, max_pending) = (64 << 20, 64 << 20);
        Self { policy, segment_bytes, max_pending, thread: false, identity: None }
    }

    /// Length at which a segment ends and the next begins; default 64 MiB. A checkpoint frees whole
    /// segments; each costs two syncs more.
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.max(1);
        self
    }

    /// Bytes that may wait to be written before [`Journal::append`] waits; default 64 MiB. They are in
    /// memory.
    #[must_use]
    pub fn with_max_pending(mut self, bytes: usize) -> Self {
        self.max_pending = bytes.max(1);
        self
    }

    /// The identity of a journal that is made; default random, which is right but for golden files: two
    /// journals with one identity cannot be told apart.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// A thread that writes: needed where [`Journal::acknowledged`] is awaited, because then no caller
    /// blocks. Default: none, whoever waits writes.
    #[must_use]
    pub fn with_thread(mut self) -> Self {
        self.thread = true;
        self
    }
}

/// A place in one journal: everything up to a record.
///
/// A checkpoint keeps the mark that was taken *before* its snapshot, and a journal is opened behind the
/// mark of the checkpoint that was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Which journal.
    pub identity: Identity,
    /// The last record; 0 before the first.
    pub sequence: u64,
}

/// An append-only journal of records, shared by all threads and tasks of a process.
///
/// Records are bytes that the caller understands ([`crate::changes`] has a form for changes of stores).
/// Their order is that of the calls to [`append`](Self::append).
///
/// # Guarantees
/// - A record that was acknowledged under [`SyncPolicy::Always`] is replayed by every later
///   [`open`](Self::open), exactly once and in its place, or opening fails and says what is damaged.
/// - A record is replayed whole or not at all. One that was appended and not acknowledged may be
///   replayed, but never without all that were appended before it.
/// - After a failed write or sync nothing is acknowledged any more ([`Refused::Failed`]).
///
/// # Examples
/// ```
/// use whimbrel_journal::{Journal, JournalOptions, SyncPolicy};
/// let dir = tempfile::tempdir()?;
/// let options = JournalOptions::new(SyncPolicy::Always);
/// let (journal, _) = Journal::open(dir.path(), &options, None, |_, _| Ok(()))?;
/// let sequence = journal.append(b"knot flew north")?;
/// journal.wait(sequence)?; // durable from here on
/// drop(journal);
///
/// let mut found = Vec::new();
/// let (_journal, report) = Journal::open(dir.path(), &options, None, |sequence, record| {
///     found.push((sequence, record.to_vec()));
///     Ok(())
/// })?;
/// assert_eq!((report.replayed, &found[0].1[..]), (1, &b"knot flew north"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Journal {
    commit: Arc<GroupCommit<SegmentWriter>>,
    storage: Arc<dyn SegmentStorage>,
    shared: SharedRef,
    identity: Identity,
    policy: SyncPolicy,
    driver: Option<JoinHandle<()>>,
    ticker: Option<(Arc<Stop>, JoinHandle<()>)>,
    /// Given back when the process ends, however it ends.
    _lock: Option<File>,
}

/// Why whoever replays refuses a record.
pub type ReplayError = Box<dyn std::error::Error + Send + Sync>;

impl Journal {
    /// Opens the journal in a directory, or makes one, and hands every record behind `after` to
    /// `replay`, in order, with its sequence. `after` is the mark of the checkpoint that was loaded.
    ///
    /// # Complexity
    /// O(bytes behind `after`), a group of records in memory at a time.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Missing`] and the like name file, place and cause; then nothing was
    /// changed, and what was replayed must be thrown away. [`Error::InUse`], [`Error::Io`];
    /// [`Error::Replay`] when `replay` refuses a record.
    pub fn open(
        dir: impl AsRef<Path>,
        options: &JournalOptions,
        after: Option<&Mark>,
        replay: impl FnMut(u64, &[u8]) -> Result<(), ReplayError>,
    ) -> Result<(Self, OpenReport), Error> {
        let dir = dir.as_ref();
        let storage = Directory::create(dir).map_err(|error| Error::Io {
            action: "create",
            path: dir.to_owned(),
            source: std::io::Error::other(error.to_string()),
        })?;
        let lock = lock(dir)?;
        let (mut journal, report) = Self::open_in(Arc::new(storage), options, after, replay)?;
        journal._lock = Some(lock);
        Ok((journal, report))
    }

    /// As [`open`](Self::open), in any storage. Nothing keeps a second process out.
    ///
    /// # Errors
    /// As there.
    pub fn open_in(
        storage: Arc<dyn SegmentStorage>,
        options: &JournalOptions,
        after: Option<&Mark>,
        mut replay: impl FnMut(u64, &[u8]) -> Result<(), ReplayError>,
    ) -> Result<(Self, OpenReport), Error> {
        let shared: SharedRef = Arc::new(Mutex::new(Shared::default()));
        let (writer, identity, report) =
            open(&storage, &shared, (options.segment_bytes, options.identity), after, &mut replay)?;
        let acknowledge = match options.policy {
            SyncPolicy::Always => Acknowledge::Synced,
            SyncPolicy::Interval(_) | SyncPolicy::Never => Acknowledge::Written,
        };
        let next = writer.next();
        let commit = Arc::new(GroupCommit::new(writer, next, acknowledge, options.max_pending));
        let mut journal = Self {
            commit,
            storage,
            shared,
            identity,
            policy: options.policy,
            driver: None,
            ticker: None,
            _lock: None,
        };
        if options.thread {
            let commit = Arc::clone(&journal.commit);
            journal.driver = Some(journal.spawn("whimbrel-journal", move || commit.drive())?);
        }
        if let SyncPolicy::Interval(every) = options.policy {
            let (commit, stop) = (Arc::clone(&journal.commit), Arc::new(Stop::default()));
            let ticking = Arc::clone(&stop);
            let thread =
                journal.spawn("whimbrel-journal-sync", move || tick(&commit, &ticking, every))?;
            journal.ticker = Some((stop, thread));
        }
        tracing::info!(dir = %journal.storage.path("").display(), ?report, "journal opened");
        Ok((journal, report))
    }

    fn spawn(
        &self,
        name: &str,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, Error> {
        let started = thread::Builder::new().name(name.to_owned()).spawn(body);
        let path = self.storage.path("");
        started.map_err(|source| Error::Io { action: "start a thread for", path, source })
    }

    /// Appends a record and gives its sequence: one more than that of the record before. Copies it and
    /// makes no system call, unless more waits than [`JournalOptions::with_max_pending`]: then it waits
    /// for the device.
    ///
    /// # Errors
    /// [`Refused`]: the record was not appended.
    pub fn append(&self, record: &[u8]) -> Result<u64, Refused> {
        if record.len() > MAX_RECORD_LEN {
            return Err(Refused::RecordTooLong { len: record.len(), limit: MAX_RECORD_LEN });
        }
        self.commit.append(record)
    }

    /// Waits until a record, and with it every earlier one, is acknowledged.
    ///
    /// # Errors
    /// [`Refused::Failed`]: whether it will be replayed is unknown.
    pub fn wait(&self, sequence: u64) -> Result<(), Refused> {
        self.commit.wait(sequence)
    }

    /// As [`wait`](Self::wait), in a task: blocks no thread where the journal
    /// [has one](JournalOptions::with_thread).
    pub fn acknowledged(&self, sequence: u64) -> Acknowledgement {
        Acknowledgement(self.commit.ticket(sequence))
    }

    /// Makes everything appended so far durable, under any policy.
    ///
    /// # Errors
    /// [`Refused::Failed`].
    pub fn sync(&self) -> Result<(), Refused> {
        self.commit.sync().map(|_| ())
    }

    /// The mark behind everything appended so far. What was done before its record was appended is in
    /// every snapshot that is taken after this call.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { identity: self.identity, sequence: self.commit.appended() }
    }

    /// Bytes that wait to be written: how far behind the device is. A task that must not block awaits
    /// [`acknowledged`](Self::acknowledged) of the newest record when they come near the bound.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.commit.pending_bytes()
    }

    /// The failure that stopped it.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<Failure>> {
        self.commit.failure()
    }

    /// Ends the segment and syncs it: the beginning of a checkpoint, which then frees all that was
    /// appended before.
    ///
    /// # Errors
    /// [`Refused::Failed`].
    pub fn turn_over(&self) -> Result<(), Refused> {
        self.commit.turn_over()
    }

    /// Removes the segments that a durable checkpoint with this mark covers, oldest first. Gives how
    /// many.
    ///
    /// # Errors
    /// [`Error::OtherJournal`] for a mark of another one; [`Error::Io`]: the segments cost space until
    /// the next call, nothing else.
    pub fn truncate(&self, covered: &Mark) -> Result<usize, Error> {
        if covered.identity != self.identity {
            return Err(Error::OtherJournal {
                path: self.storage.path(""),
                expected: covered.identity,
                found: self.identity,
            });
        }
        let mut removed = 0;
        // The lock is not held while a file is removed.
        let oldest = || self.shared().closed.front().copied();
        while let Some(closed) = oldest() {
            if closed.next > covered.sequence.saturating_add(1) {
                break;
            }
            let name = segment_name(closed.number);
            match self.storage.remove(&name) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    let path = self.storage.path(&name);
                    return Err(Error::Io { action: "remove", path, source });
                }
                _ => {}
            }
            // Only `truncate` takes from the front; two at once remove the same one twice.
            let mut shared = self.shared();
            if shared.closed.front() == Some(&closed) {
                shared.closed.pop_front();
            }
            removed += 1;
        }
        if removed > 0 {
            let synced = self.storage.sync_names();
            let path = self.storage.path("");
            synced.map_err(|source| Error::Io { action: "sync", path, source })?;
        }
        Ok(removed)
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared().figures
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let shared = self.shared();
        shared.closed.iter().map(|closed| closed.bytes).sum::<u64>() + shared.current
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        // Plain figures and a list: whole after every step.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.storage.path(""))
            .field("identity", &self.identity)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl Drop for Journal {
    /// Writes what waits, and syncs it unless the policy is [`SyncPolicy::Never`].
    fn drop(&mut self) {
        self.commit.close();
        if let Some((stop, thread)) = self.ticker.take() {
            stop.set();
            // A panic of it has been reported where it happened.
            let _ = thread.join();
        }
        if let Some(thread) = self.driver.take() {
            let _ = thread.join();
        }
        let last = match self.policy {
            SyncPolicy::Never => self.commit.wait(u64::MAX),
            _ => self.commit.sync().map(|_| ()),
        };
        if let Err(error) = last {
            tracing::error!(%error, "the journal was closed with records that may be lost");
        }
    }
}

/// A future that ends when a record is acknowledged; see [`Journal::acknowledged`].
///
/// # Cancel safety
/// May be dropped at any time; the record stays appended.
#[derive(Debug)]
#[must_use = "it waits when it is polled"]
pub struct Acknowledgement(Ticket<SegmentWriter>);

impl Future for Acknowledgement {
    type Output = Result<(), Refused>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// Ends the thread that syncs.
#[derive(Debug, Default)]
struct Stop {
    stopped: Mutex<bool>,
    told: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Waits so long, or until stopped; answers whether it is.
    fn rest(&self, time: Duration) -> bool {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = self.told.wait_timeout_while(stopped, time, |stopped| !*stopped);
        *rested.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Syncs what was written, now and then.
fn tick(commit: &GroupCommit<SegmentWriter>, stop: &Stop, every: Duration) {
    while !stop.rest(every) {
        if !commit.is_synced()
            && let Err(error) = commit.sync()
        {
            tracing::error!(%error, "the journal could not be synced");
            return;
        }
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join(LOCK);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let failed = |source| Error::Io { action: "lock", path: path.clone(), source };
    let file = opened.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
