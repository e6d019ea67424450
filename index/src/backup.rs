//! Backups of an engine: one snapshot written to a directory, and an engine made from it.
//!
//! Each partition is a store of the backup, named `collection/number`. Its schema travels with it,
//! so that nothing else has to be kept in step; the manifest's `user` value only says that this is
//! an engine's backup, and carries the resume token of a checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use whimbrel_backup::repository::{BackupReport, Chain, Kind, back_up, back_up_on};
use whimbrel_backup::storage::{Shelf, Storage};
use whimbrel_backup::{ExportOptions, ExportReport, Tracker, export, export_to};
use whimbrel_mvcc::{Clock, Store};
use whimbrel_recovery::{RestoreOptions, RestoreReport, restore_chain};

use crate::collection::Collection;
use crate::engine::{Collections, Engine};
use crate::error::Error;
use crate::partition::Partition;
use crate::snapshot::{EngineSnapshot, store_name};

/// Version of [`EngineState`].
const FORMAT: u32 = 1;

/// What an engine keeps in the manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineState {
    /// Version of this value.
    whimbrel_engine: u32,
    /// The resume token in hexadecimal; only checkpoints have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resume_token: Option<String>,
}

/// An engine that came back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Restored {
    /// The engine, complete.
    pub engine: Engine,
    /// The resume token of the checkpoint; empty for a backup.
    pub resume_token: Vec<u8>,
    /// What was done, and how fast.
    pub report: RestoreReport,
}

impl EngineSnapshot {
    /// Writes everything this snapshot shows into the directory `dir`, which must be empty or
    /// missing. Writers go on meanwhile; what they write is not in it. The directory holds a whole
    /// backup when this returns, and none before.
    ///
    /// # Complexity
    /// O(n), parallel over key ranges.
    ///
    /// # Errors
    /// [`Error::Backup`]: the directory is not empty, the disk is full, the caller cancelled.
    ///
    /// # Examples
    /// ```
    /// use whimbrel::{CollectionDef, Document, Engine, ExportOptions, IndexDef, RestoreOptions};
    /// let engine = Engine::new();
    /// let def = CollectionDef::new("users").index(IndexDef::new("by_age").asc("age"));
    /// engine.create_collection(def)?.update("ann", &Document::new().set("age", 41))?;
    ///
    /// let dir = tempfile::tempdir().expect("a temporary directory");
    /// let (monday, snapshot) = (dir.path().join("monday"), engine.snapshot());
    /// snapshot.backup(&monday, &ExportOptions::default())?;
    ///
    /// let restored = Engine::restore(&monday, &RestoreOptions::default())?;
    /// assert_eq!(restored.engine.snapshot().digest(), snapshot.digest());
    /// assert_eq!(restored.engine.collection("users")?.query("by_age")?.count()?, 1);
    /// # Ok::<(), whimbrel::Error>(())
    /// ```
    pub fn backup(
        &self,
        dir: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<ExportReport, Error> {
        self.export(dir.as_ref(), options, None)
    }

    pub(crate) fn export(
        &self,
        dir: &Path,
        options: &ExportOptions,
        resume_token: Option<&[u8]>,
    ) -> Result<ExportReport, Error> {
        let failed = |e| Error::Backup { dir: dir.to_owned(), source: Box::new(e) };
        export(&self.stores(), dir, &as_engine(options, resume_token)).map_err(failed)
    }

    /// [`backup`](Self::backup) to any place that takes files, such as a prefix of an object store: see
    /// [`Location::create`](whimbrel_backup::Location::create).
    ///
    /// # Errors
    /// As there.
    pub fn backup_to(
        &self,
        storage: &dyn Storage,
        options: &ExportOptions,
    ) -> Result<ExportReport, Error> {
        let failed = |e| Error::Backup { dir: storage.path(""), source: Box::new(e) };
        export_to(&self.stores(), storage, &as_engine(options, None)).map_err(failed)
    }

    /// Backs up everything this snapshot shows into the repository of backups at `root`: all of it, or what
    /// changed since the newest backup there. With a `tracker` that follows this engine
    /// ([`Engine::track`], called before the snapshot was taken) an incremental backup looks at what
    /// changed and at nothing else; without one it compares with the files.
    ///
    /// # Complexity
    /// O(n), or proportional to what changed; parallel.
    ///
    /// # Errors
    /// [`Error::Backup`], as [`back_up`].
    ///
    /// # Examples
    /// ```
    /// use whimbrel::{CollectionDef, Document, Engine, ExportOptions, IndexDef, RestoreOptions};
    /// use whimbrel::repository::{Kind, Repository};
    /// let engine = Engine::new();
    /// let def = CollectionDef::new("users").index(IndexDef::new("by_age").asc("age"));
    /// let users = engine.create_collection(def)?;
    /// let dir = tempfile::tempdir().expect("a temporary directory");
    ///
    /// let mut tracker = whimbrel::Tracker::default();
    /// for age in 41..43 {
    ///     users.update("ann", &Document::new().set("age", age))?;
    ///     engine.track(&mut tracker);
    ///     let (kind, options) = (Kind::Incremental, ExportOptions::default());
    ///     engine.snapshot().back_up(dir.path(), kind, &options, Some(&mut tracker))?;
    /// }
    /// // The second of the two is the newest; each can be restored.
    /// let repository = Repository::open(dir.path()).expect("a repository");
    /// for (age, (_, backup)) in (41..43).zip(repository.backups()) {
    ///     let restored = Engine::restore(backup.dir(), &RestoreOptions::default())?;
    ///     assert_eq!(restored.engine.collection("users")?.query("by_age")?.eq([age]).count()?, 1);
    /// }
    /// # Ok::<(), whimbrel::Error>(())
    /// ```
    pub fn back_up(
        &self,
        root: impl AsRef<Path>,
        kind: Kind,
        options: &ExportOptions,
        tracker: Option<&mut Tracker>,
    ) -> Result<BackupReport, Error> {
        let root = root.as_ref();
        let failed = |e| Error::Backup { dir: root.to_owned(), source: Box::new(e) };
        let options = as_engine(options, None);
        back_up(root, &self.stores(), kind, &options, tracker).map_err(failed)
    }

    /// [`back_up`](Self::back_up) to any place that takes backups, such as a prefix of an object store: see
    /// [`Location::create_shelf`](whimbrel_backup::Location::create_shelf).
    ///
    /// # Errors
    /// As there.
    pub fn back_up_on(
        &self,
        shelf: &Arc<dyn Shelf>,
        kind: Kind,
        options: &ExportOptions,
        tracker: Option<&mut Tracker>,
    ) -> Result<BackupReport, Error> {
        let failed = |e| Error::Backup { dir: shelf.path(""), source: Box::new(e) };
        let options = as_engine(options, None);
        back_up_on(shelf, &self.stores(), kind, &options, tracker).map_err(failed)
    }
}

/// The options, with what says that it is an engine's backup.
fn as_engine(options: &ExportOptions, resume_token: Option<&[u8]>) -> ExportOptions {
    let state = EngineState { whimbrel_engine: FORMAT, resume_token: resume_token.map(to_hex) };
    let user = serde_json::to_value(state).expect("a number and a string always serialise");
    options.clone().with_user(user)
}

impl Engine {
    /// Backs up a snapshot taken now; see [`EngineSnapshot::backup`].
    ///
    /// # Errors
    /// As there.
    pub fn backup(
        &self,
        dir: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<ExportReport, Error> {
        self.snapshot_named("backup").backup(dir, options)
    }

    /// Lets the tracker follow all partitions there are now, before the snapshot of a backup is taken; see
    /// [`EngineSnapshot::back_up`]. Waits for the operations that are under way.
    pub fn track(&self, tracker: &mut Tracker) {
        let stores = self.snapshot().stores();
        let stores: Vec<(String, Store)> =
            stores.into_iter().map(|(name, shown)| (name, shown.store().clone())).collect();
        tracker.watch(&stores);
    }

    /// Makes an engine from a backup, in linear time: the files are mapped, decoded and rebuilt in
    /// parallel. Everything is verified before anything can be seen. The options' key prefixes
    /// have no place here: an engine's partitions have stores of their own.
    ///
    /// # Complexity
    /// O(bytes of the backup).
    ///
    /// # Errors
    /// [`Error::Restore`] naming file, block and cause for a missing or damaged backup;
    /// [`Error::BadSchema`], [`Error::BadPartitions`] when it is not an engine's, or incomplete.
    pub fn restore(dir: impl AsRef<Path>, options: &RestoreOptions) -> Result<Restored, Error> {
        let dir = dir.as_ref();
        let chain = Chain::of(dir);
        let failed = |e: whimbrel_backup::Error| Error::Restore {
            dir: dir.to_owned(),
            source: Box::new(e.into()),
        };
        Self::restore_from(&chain.map_err(failed)?, options)
    }

    /// [`restore`](Self::restore) from a chain of backups that are open, wherever they are.
    ///
    /// # Errors
    /// As there.
    pub fn restore_from(chain: &Chain, options: &RestoreOptions) -> Result<Restored, Error> {
        let dir = chain.newest().dir();
        let clock = Clock::new();
        let restored = restore_chain(chain, &clock, options)
            .map_err(|e| Error::Restore { dir: dir.to_owned(), source: Box::new(e) })?;
        let bad = |reason| Error::BadSchema { place: dir.display().to_string(), reason };
        let state: EngineState = serde_json::from_value(restored.manifest.user.clone())
            .map_err(|e| bad(format!("not a backup of an engine: {e}")))?;
        if state.whimbrel_engine != FORMAT {
            let found = state.whimbrel_engine;
            return Err(bad(format!("format {found}; this version reads format {FORMAT}")));
        }
        let resume_token = match &state.resume_token {
            Some(hex) => from_hex(hex).ok_or_else(|| bad("a broken resume token".to_owned()))?,
            None => Vec::new(),
        };
        let collections = assemble(&clock, restored.stores)?;
        let engine = Self::from_parts(clock, collections);
        Ok(Restored { engine, resume_token, report: restored.report })
    }
}

/// Puts collections together from their partitions' stores, by the schemas in them.
fn assemble(clock: &Clock, stores: Vec<(String, Store)>) -> Result<Collections, Error> {
    let mut found: BTreeMap<String, Vec<Partition>> = BTreeMap::new();
    for (name, store) in stores {
        let partition = Partition::open_at(&store, &[], &format!("store {name:?}"))?;
        let collection = partition.def().name().to_owned();
        if name != store_name(&collection, partition.number()) {
            let number = partition.number();
            return Err(Error::BadSchema {
                place: format!("store {name:?}"),
                reason: format!("is of collection {collection:?}, partition {number}"),
            });
        }
        found.entry(collection).or_default().push(partition);
    }
    let collections = found.into_iter().map(|(name, mut partitions)| {
        partitions.sort_by_key(Partition::number);
        let schema = Arc::clone(partitions[0].schema());
        let numbers = partitions.iter().map(Partition::number);
        if !numbers.eq(0..schema.def().partition_count()) {
            let (found, of) = (partitions.len(), schema.def().partition_count());
            let reason = format!("collection {name:?} has {found} of its {of} partitions");
            return Err(Error::BadPartitions { reason });
        }
        if let Some(other) = partitions.iter().find(|p| *p.schema() != schema) {
            let number = other.number();
            let reason =
                format!("partitions 0 and {number} of collection {name:?} differ in definition");
            return Err(Error::BadPartitions { reason });
        }
        Ok((name, Collection::from_parts(clock.clone(), schema, partitions)))
    });
    collections.collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_inverts() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&all)), Some(all));
        assert_eq!(from_hex(""), Some(Vec::new()));
        assert_eq!((from_hex("abc"), from_hex("zz")), (None, None));
    }
}
