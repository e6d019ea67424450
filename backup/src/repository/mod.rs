//! Backups in chains, in a directory or below a prefix of an object store.
//!
//! ```text
//! ROOT/LOCK                                             held by who writes or prunes
//! ROOT/00000001-4f0e..c3/MANIFEST.json shard-0000 ..    a full backup
//! ROOT/00000002-97aa..10/MANIFEST.json delta-0000 ..    what changed since
//! ROOT/00000003-5b1c..77/..                             the next full one begins the next chain
//! ```
//!
//! A backup's directory has its number in the repository and its identity for a name. An incremental backup
//! names the one that it continues by identity and by the checksum of its manifest, so a link that is
//! missing, foreign, exchanged or moved to another place is noticed and named.
//!
//! Writers (backups, prunes) keep each other out by a lock on `LOCK`, which the system gives back when its
//! holder ends; in an object store `LOCK` is an object that says who holds it, and has to be removed by hand
//! after a holder that was killed. Readers take no lock: a restore whose chain is pruned meanwhile ends with an
//! error.
//!
//! What takes a path has a twin that takes a [`Shelf`], for places other than directories;
//! [`Location::shelf`](crate::Location::shelf) makes one.

mod chain;
mod list;
mod prune;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use whimbrel_mvcc::Snapshot;

pub use self::chain::Chain;
pub use self::list::{
    BackupSummary, EntryInspection, RepositoryInspection, inspect_repository, inspect_repository_on,
};
pub use self::prune::{Kept, Left, PruneReport, Pruning, prune, prune_on};
use crate::Error;
use crate::error::{Part, Place};
use crate::export::{ExportOptions, export_as};
use crate::file::BackupId;
use crate::incremental::{Tracker, Ways, increment};
use crate::manifest::{MANIFEST, MANIFEST_PRUNED};
use crate::open::Backup;
use crate::storage::{Directories, LOCK, Shelf, Storage};

/// What a repository holds, as of one look.
pub struct Repository {
    shelf: Arc<dyn Shelf>,
    root: PathBuf,
    /// By number.
    entries: Vec<Entry>,
    foreign: Vec<String>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repository")
            .field("root", &self.root)
            .field("entries", &self.entries)
            .field("foreign", &self.foreign)
            .finish_non_exhaustive()
    }
}

/// A directory of a repository.
#[derive(Debug)]
pub struct Entry {
    name: String,
    number: u64,
    state: State,
}

/// What a directory of a repository holds.
#[derive(Debug)]
#[non_exhaustive]
pub enum State {
    /// A backup whose manifest is sound.
    Complete(Backup),
    /// No manifest: a backup that is being written, or one that was interrupted.
    Incomplete,
    /// What a prune had not yet removed when it was interrupted.
    Pruned,
    /// Nothing.
    Empty,
    /// Something that cannot be used.
    Damaged(Error),
}

impl Entry {
    /// Name of the directory.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number in the repository.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it holds.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The backup, if there is one.
    #[must_use]
    pub fn backup(&self) -> Option<&Backup> {
        match &self.state {
            State::Complete(backup) => Some(backup),
            _ => None,
        }
    }
}

impl Repository {
    /// Looks at the directory `root`, which may be missing: then there is nothing in it. Of the backups
    /// only manifests are read.
    ///
    /// # Complexity
    /// Linear in the manifests.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be listed. What is wrong with a backup is its
    /// [`State::Damaged`].
    pub fn open(root: &Path) -> Result<Self, Error> {
        Self::open_on(Arc::new(Directories::in_root(root)))
    }

    /// Looks at what is on a shelf; see [`open`](Self::open).
    ///
    /// # Errors
    /// As there.
    pub fn open_on(shelf: Arc<dyn Shelf>) -> Result<Self, Error> {
        let root = shelf.path("");
        let io = |source| Error::Io { action: "list", path: root.clone(), source };
        let (mut entries, mut foreign): (Vec<Entry>, _) = (Vec::new(), Vec::new());
        for name in shelf.list().map_err(io)? {
            match parse_name(&name) {
                Some((number, id)) => {
                    let state = state(&*shelf, &name, &id);
                    entries.push(Entry { name, number, state });
                }
                None if name == LOCK => {}
                None => foreign.push(name),
            }
        }
        // Names have leading zeros up to eight digits.
        entries.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        Ok(Self { shelf, root, entries, foreign })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its directories, by number.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Names that are not of a repository.
    #[must_use]
    pub fn foreign(&self) -> &[String] {
        &self.foreign
    }

    /// Its backups with their numbers, oldest first.
    pub fn backups(&self) -> impl DoubleEndedIterator<Item = (u64, &Backup)> {
        self.entries.iter().filter_map(|entry| Some((entry.number, entry.backup()?)))
    }

    /// The newest backup. An interrupted backup does not count; a damaged one does.
    ///
    /// # Errors
    /// [`Error::NoSuchBackup`] when there is none, [`Error::InBackup`] when the newest is damaged.
    pub fn newest(&self) -> Result<&Backup, Error> {
        for entry in self.entries.iter().rev() {
            match &entry.state {
                State::Complete(backup) => return Ok(backup),
                State::Damaged(_) => return Err(self.damage(entry)),
                State::Incomplete | State::Pruned | State::Empty => {}
            }
        }
        Err(Error::NoSuchBackup { root: self.root.clone(), wanted: "newest".to_owned() })
    }

    /// The backup that is meant: by its number, the name of its directory, or the beginning of its
    /// identity (four hex digits at least).
    ///
    /// # Errors
    /// [`Error::NoSuchBackup`], [`Error::AmbiguousBackup`], [`Error::InBackup`] when it is damaged.
    pub fn find(&self, wanted: &str) -> Result<&Backup, Error> {
        const LEAST_DIGITS: usize = 4;
        let number = wanted.parse().ok();
        let exact = |entry: &&Entry| entry.name == wanted || Some(entry.number) == number;
        let begins = |entry: &&Entry| {
            let id = entry.name.split_once('-').map_or("", |(_, id)| id);
            wanted.len() >= LEAST_DIGITS && id.starts_with(wanted)
        };
        let mut found: Vec<&Entry> = self.entries.iter().filter(exact).collect();
        if found.is_empty() {
            found = self.entries.iter().filter(begins).collect();
        }
        let (root, wanted) = (self.root.clone(), wanted.to_owned());
        match found[..] {
            [entry] => match &entry.state {
                State::Complete(backup) => Ok(backup),
                State::Damaged(_) => Err(self.damage(entry)),
                State::Incomplete | State::Pruned | State::Empty => {
                    Err(Error::NoManifest { dir: self.root.join(&entry.name) })
                }
            },
            [] => Err(Error::NoSuchBackup { root, wanted }),
            _ => Err(Error::AmbiguousBackup { root, wanted }),
        }
    }

    /// The chain that ends in `backup`, from its full backup on. Every link is checked.
    ///
    /// # Errors
    /// [`Error::BrokenChain`], and [`Error::InBackup`] for whatever is wrong with manifests and presence
    /// of files.
    pub fn chain(&self, backup: &Backup) -> Result<Chain, Error> {
        Chain::resolve(self, backup)
    }

    /// What is wrong with a damaged entry, read again: errors cannot be copied.
    fn damage(&self, entry: &Entry) -> Error {
        let dir = self.root.join(&entry.name);
        let id = parse_name(&entry.name).map(|(_, id)| id).unwrap_or_default();
        match state(&*self.shelf, &entry.name, &id) {
            State::Damaged(error) => error.within(&dir),
            _ => Error::NoManifest { dir },
        }
    }
}

/// `NNNNNNNN-` and 32 hex digits.
fn parse_name(name: &str) -> Option<(u64, String)> {
    let (digits, id) = name.split_once('-')?;
    let number: u64 = digits.parse().ok()?;
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (format!("{number:08}") == digits && id.len() == 32 && id.bytes().all(hex))
        .then(|| (number, id.to_owned()))
}

fn state(shelf: &dyn Shelf, name: &str, id: &str) -> State {
    let storage: Arc<dyn Storage> = match shelf.open(name) {
        Ok(storage) => storage,
        Err(source) => {
            return State::Damaged(Error::Io { action: "open", path: shelf.path(name), source });
        }
    };
    match Backup::read_in(Arc::clone(&storage)) {
        Ok(backup) if backup.manifest().id.to_string() == id => State::Complete(backup),
        Ok(backup) => State::Damaged(Error::Mismatch {
            place: Place::new(MANIFEST, Part::Whole),
            what: "the identity, which the directory is named for,",
            expected: id.to_owned(),
            got: backup.manifest().id.to_string(),
        }),
        Err(Error::NoManifest { .. }) => match storage.list() {
            Ok(files) if files.is_empty() => State::Empty,
            Ok(files) if files.iter().any(|file| file.name == MANIFEST_PRUNED) => State::Pruned,
            _ => State::Incomplete,
        },
        Err(error) => State::Damaged(error),
    }
}

/// Which backup [`back_up`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Everything: it begins a chain.
    Full,
    /// What changed since the newest backup; everything where there is none yet.
    Incremental,
}

/// What [`back_up`] made.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BackupReport {
    /// Directory of the backup.
    pub dir: PathBuf,
    /// Its number in the repository.
    pub number: u64,
    /// Backups before it in its chain: 0 for a full one.
    pub position: u32,
    /// The snapshot number that it shows.
    pub snapshot: u64,
    /// Entries of all stores when it is restored.
    pub entries: u64,
    /// Entries that were written.
    pub puts: u64,
    /// Removes that were written.
    pub removes: u64,
    /// Bytes of keys and values that were written.
    pub raw_bytes: u64,
    /// Bytes of the files.
    pub stored_bytes: u64,
    /// How the stores' changes were found; all whole in a full backup.
    pub stores: Ways,
    /// Wall time.
    pub seconds: f64,
}

/// Backs up into the repository at `root`, which is created where it is missing.
///
/// A `tracker` that has followed the stores since the newest backup makes an incremental backup's time
/// proportional to what changed; see [`Tracker`]. With either kind the new backup is the tracker's base
/// afterwards.
///
/// # Errors
/// [`Error::RepositoryBusy`]; as [`export`](crate::export()); for an incremental backup whatever is wrong
/// with the chain that it would continue: a full backup needs nothing of it. After an error there is no new
/// backup.
///
/// # Examples
/// See [`Tracker`].
pub fn back_up(
    root: &Path,
    stores: &[(String, Snapshot)],
    kind: Kind,
    options: &ExportOptions,
    tracker: Option<&mut Tracker>,
) -> Result<BackupReport, Error> {
    // Creates it, syncs its name.
    let shelf = Directories::create(root)?;
    back_up_on(&(Arc::new(shelf) as Arc<dyn Shelf>), stores, kind, options, tracker)
}

/// Backs up into the repository on a shelf; see [`back_up`].
///
/// # Errors
/// As there.
pub fn back_up_on(
    shelf: &Arc<dyn Shelf>,
    stores: &[(String, Snapshot)],
    kind: Kind,
    options: &ExportOptions,
    tracker: Option<&mut Tracker>,
) -> Result<BackupReport, Error> {
    let started = Instant::now();
    let _lock = shelf.lock()?;
    let repository = Repository::open_on(Arc::clone(shelf))?;
    let number = repository.entries.last().map_or(1, |entry| entry.number.saturating_add(1));
    let base = match kind {
        Kind::Full => None,
        Kind::Incremental => match repository.newest() {
            Ok(newest) => Some(repository.chain(newest)?),
            Err(Error::NoSuchBackup { .. }) => None,
            Err(error) => return Err(error),
        },
    };
    let id = BackupId::generate();
    let name = format!("{number:08}-{id}");
    // Creating it has synced its name.
    let storage = shelf.create(&name)?;
    let written = write(id, &*storage, base.as_ref(), stores, options, tracker);
    let mut report = written.inspect_err(|_| {
        // What it made of files is removed already; the empty directory is only untidy.
        let _ = shelf.remove_empty(&name);
    })?;
    (report.number, report.dir) = (number, shelf.path(&name));
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn write(
    id: BackupId,
    storage: &dyn Storage,
    base: Option<&Chain>,
    stores: &[(String, Snapshot)],
    options: &ExportOptions,
    mut tracker: Option<&mut Tracker>,
) -> Result<BackupReport, Error> {
    let mut report = BackupReport {
        dir: PathBuf::new(),
        number: 0,
        position: 0,
        snapshot: 0,
        entries: 0,
        puts: 0,
        removes: 0,
        raw_bytes: 0,
        stored_bytes: 0,
        stores: Ways { whole: stores.len(), ..Ways::default() },
        seconds: 0.0,
    };
    if let Some(base) = base {
        let made = increment(id, base, stores, storage, options, tracker)?;
        (report.position, report.snapshot, report.entries) =
            (made.position, made.snapshot, made.entries);
        (report.puts, report.removes, report.stores) = (made.puts, made.removes, made.stores);
        (report.raw_bytes, report.stored_bytes) = (made.raw_bytes, made.stored_bytes);
        return Ok(report);
    }
    if let Some(tracker) = &mut tracker {
        tracker.collect(stores);
    }
    let (made, link) = export_as(id, stores, storage, options)?;
    if let Some(tracker) = tracker {
        tracker.rebase(link, stores);
    }
    (report.snapshot, report.entries, report.puts) = (made.snapshot, made.entries, made.entries);
    (report.raw_bytes, report.stored_bytes) = (made.raw_bytes, made.stored_bytes);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::parse_name;

    #[test]
    fn names_are_parsed_strictly() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(parse_name(&format!("00000007-{id}")), Some((7, id.to_owned())));
        assert_eq!(parse_name(&format!("123456789-{id}")), Some((123_456_789, id.to_owned())));
        for name in [
            format!("7-{id}"),
            format!("000000007-{id}"),
            format!("+0000007-{id}"),
            format!("00000007-{}", &id[1..]),
            format!("00000007-{}", id.to_uppercase()),
            format!("00000007_{id}"),
            "LOCK".to_owned(),
        ] {
            assert_eq!(parse_name(&name), None, "{name}");
        }
    }
}
