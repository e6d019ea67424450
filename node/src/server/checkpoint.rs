//! Checkpoints of a node with a journal: what a start loads before it replays, and what lets the journal
//! shrink.
//!
//! In the node's directory are `journal/` and `checkpoint-NNNNNNNN`, backups with a mark of the journal
//! in their manifests. A start loads the newest complete one and replays what lies behind its mark.
//!
//! A checkpoint: end the segment; take the mark, then the snapshots; sync the journal; export; sync the
//! directory; remove the older ones; remove the segments that the mark covers. Whatever step a crash
//! interrupts, the newest complete checkpoint and the journal behind its mark are there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::{Backup, ExportOptions, ExportReport, Work, export};
use whimbrel_journal::changes::{Changes, Record};
use whimbrel_journal::{
    Identity, Journal, JournalOptions, Mark, OpenReport, ReplayError, SyncPolicy,
};
use whimbrel_migrate::{Slot, SlotServer};
use whimbrel_mvcc::{Clock, Store};

use super::durable::{Durable, PENDING_LIMIT};
use crate::Error;
use crate::restore::{self, slot_store_name};

const NAME: &str = "checkpoint-";
const JOURNAL: &str = "journal";

/// What a start found in the node's directory.
pub(super) struct Found {
    pub(super) durable: Arc<Durable>,
    pub(super) stores: BTreeMap<Slot, Store>,
    /// There was neither a checkpoint nor a record.
    pub(super) is_new: bool,
}

/// Whether a node has kept a journal in `dir`.
pub(super) fn has_journal(dir: &Path) -> bool {
    dir.join(JOURNAL).is_dir()
}

/// Loads the newest checkpoint in `dir` and replays the journal behind it.
pub(super) fn load(dir: &Path, policy: SyncPolicy, clock: &Clock) -> Result<Found, Error> {
    let newest = newest(dir)?;
    let mut stores = BTreeMap::new();
    let mut mark = None;
    if let Some(newest) = &newest {
        mark = Some(mark_of(newest)?);
        stores = restore::load(newest, clock, Work::default())?;
    }
    let options = JournalOptions::new(policy).with_thread().with_max_pending(PENDING_LIMIT);
    let mut replay = Replay { clock, stores, copies: BTreeMap::new() };
    let opened =
        Journal::open(dir.join(JOURNAL), &options, mark.as_ref(), |_, record| replay.apply(record));
    let (journal, report): (Journal, OpenReport) = opened?;
    tracing::info!(checkpoint = ?newest, ?report, "loaded");
    let is_new = newest.is_none() && journal.mark().sequence == 0;
    let durable = Arc::new(Durable::new(journal));
    Ok(Found { durable, stores: replay.stores, is_new })
}

/// Applies records in order. A copy replaces a slot's content only when it is whole.
struct Replay<'a> {
    clock: &'a Clock,
    stores: BTreeMap<Slot, Store>,
    copies: BTreeMap<Slot, (u64, Store)>,
}

impl Replay<'_> {
    fn apply(&mut self, bytes: &[u8]) -> Result<(), ReplayError> {
        let make = || Store::with_options(self.clock, SlotServer::slot_store_options());
        match Record::decode(bytes)? {
            Record::Changes { store, changes } => {
                apply(self.stores.entry(slot(store)?).or_insert_with(make), changes)
            }
            Record::Dropped { store } => {
                let slot = slot(store)?;
                self.stores.remove(&slot);
                self.copies.remove(&slot);
                Ok(())
            }
            Record::CopyBegins { store, copy } => {
                self.copies.insert(slot(store)?, (copy, make()));
                Ok(())
            }
            // Of a copy that was given up parts may follow its end.
            Record::CopyPart { store, copy, changes } => match self.copies.get(&slot(store)?) {
                Some((number, store)) if *number == copy => apply(store, changes),
                _ => Ok(()),
            },
            Record::CopyWhole { store, copy } => {
                let slot = slot(store)?;
                match self.copies.remove(&slot) {
                    Some((number, store)) if number == copy => {
                        self.stores.insert(slot, store);
                        Ok(())
                    }
                    _ => Err(format!("slot {slot} arrived whole and never began").into()),
                }
            }
            other => Err(format!("a record of another kind: {other:?}").into()),
        }
    }
}

fn slot(store: u32) -> Result<Slot, ReplayError> {
    let slot = u16::try_from(store).ok().and_then(Slot::new);
    slot.ok_or_else(|| format!("there is no slot {store}").into())
}

fn apply(store: &Store, mut changes: Changes<'_>) -> Result<(), ReplayError> {
    while let Some(change) = changes.next_change()? {
        match change.value {
            Some(value) => store.put(change.key, value)?,
            None => drop(store.remove(change.key)?),
        }
    }
    Ok(())
}

/// What a checkpoint did.
#[derive(Debug)]
pub(crate) struct CheckpointReport {
    path: PathBuf,
    export: ExportReport,
    mark: Mark,
    segments: usize,
    journal_bytes: u64,
}

impl CheckpointReport {
    /// As `WCHECKPOINT` gives it.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = crate::command::backup::export_report(&self.export);
        object["path"] = self.path.display().to_string().into();
        object["journal_sequence"] = self.mark.sequence.into();
        object["journal_segments_removed"] = self.segments.into();
        object["journal_bytes"] = self.journal_bytes.into();
        object
    }
}

/// Writes a checkpoint of everything that this node holds, and cuts the journal.
pub(crate) fn checkpoint(
    durable: &Durable,
    slots: &SlotServer,
    dir: &Path,
) -> Result<CheckpointReport, Error> {
    let journal = durable.journal();
    journal.turn_over().map_err(whimbrel_journal::Error::from)?;
    // The mark first: what it covers is in snapshots that are taken behind it.
    let mark = durable.mark();
    let contents = slots.contents(&slots.clock().hold_named("checkpoint"));
    let stores: Vec<_> =
        contents.into_iter().map(|(slot, snapshot)| (slot_store_name(slot), snapshot)).collect();
    // The checkpoint must not speak of records that a crash can take.
    journal.sync().map_err(whimbrel_journal::Error::from)?;
    let earlier = list(dir)?;
    let number = earlier.iter().map(|(number, _)| number + 1).max().unwrap_or(1);
    let path = dir.join(format!("{NAME}{number:08}"));
    let user = json!({
        "journal": { "identity": mark.identity.to_string(), "sequence": mark.sequence },
    });
    let options = ExportOptions::default().with_shards_per_store(1).with_user(user);
    let exported = export(&stores, &path, &options).inspect_err(|_| {
        // What it made of files is removed already; the directory is only untidy.
        let _ = fs::remove_dir(&path);
    })?;
    drop(stores);
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| Error::File { action: "sync", path: dir.to_owned(), source })?;
    for (_, old) in earlier {
        if let Err(error) = fs::remove_dir_all(&old) {
            // The new one is complete: this is disk space, and the next checkpoint tries again.
            tracing::warn!(path = %old.display(), %error, "a checkpoint cannot be removed");
        }
    }
    let segments = journal.truncate(&mark)?;
    let journal_bytes = journal.bytes();
    let report = CheckpointReport { path, export: exported, mark, segments, journal_bytes };
    tracing::info!(?mark, segments, path = %report.path.display(), "checkpoint");
    Ok(report)
}

/// The checkpoints in a directory, complete or not.
fn list(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let failed = |source| Error::File { action: "list", path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(NAME)?.parse().ok());
        found.extend(number.map(|number: u64| (number, entry.path())));
    }
    Ok(found)
}

/// The newest complete checkpoint in a directory.
fn newest(dir: &Path) -> Result<Option<PathBuf>, Error> {
    let complete = list(dir)?.into_iter().filter(|(_, path)| path.join(MANIFEST).exists());
    Ok(complete.max_by_key(|(number, _)| *number).map(|(_, path)| path))
}

/// The mark that a checkpoint keeps.
fn mark_of(checkpoint: &Path) -> Result<Mark, Error> {
    let backup = Backup::open(checkpoint)?;
    let journal = &backup.manifest().user["journal"];
    let identity = journal["identity"].as_str().and_then(Identity::from_hex);
    let mark = identity.zip(journal["sequence"].as_u64());
    let mark = mark.map(|(identity, sequence)| Mark { identity, sequence });
    mark.ok_or_else(|| Error::NoMark { path: checkpoint.to_owned() })
}

/// How long until the node looks again whether the journal has grown.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long until it tries again after a checkpoint that failed.
pub(super) const RETRY: Duration = Duration::from_secs(30);
