//! Sorted files into the slots of a node that serves: all of it visible at one moment, beside the clients, who wait
//! for nothing.
//!
//! 1. Verify: every byte of the files.
//! 2. Begin (`Ingest::begin`) on all slots that are served. With a journal that stands there between two writes.
//! 3. Put in place what belongs into each slot, in parallel over ranges of keys, and append it to the journal.
//! 4. Decide, while every slot that is concerned is held: it is served here as it was when this began, and no
//!    hand-over of it completes. With a journal the decision stands there between two writes, and the answer waits
//!    until it is acknowledged; so do reads of those slots.
//!
//! A crash before the decision is in the journal leaves nothing of it; a replay after does the same ingest again, with
//! what came between its beginning and its end in the same order (`checkpoint.rs`).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use whimbrel_backup::Work;
use whimbrel_backup::shard::{BackupId, Tally};
use whimbrel_journal::changes::RecordBuilder;
use whimbrel_migrate::{AccessKind, Slot, SlotAccess, SlotServer, slot_of};
use whimbrel_mvcc::{
    DecidedIngest, Ingest, IngestMode, IngestOptions, IngestPart, IngestReport, KeyRange, Store,
};
use whimbrel_recovery::SortedFiles;

use super::durable::Durable;
use crate::Error;
use crate::resp::commands::PLAIN;

/// Ranges a thread, so that threads end at about the same time.
const RANGES_PER_THREAD: usize = 4;
/// Bytes of entries in one record of the journal.
const PART: usize = 256 << 10;
/// How long a slot that is being handed over is waited for, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// What an ingest into a node did.
#[derive(Debug)]
pub(crate) struct NodeIngest {
    job: String,
    files: usize,
    tally: Tally,
    slots: usize,
    report: IngestReport,
    seconds: f64,
}

impl NodeIngest {
    /// As `WINGEST` gives it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "job": self.job,
            "files": self.files,
            "puts": self.tally.entries,
            "removes": self.tally.removes,
            "slots": self.slots,
            "written": self.report.written,
            "same": self.report.same,
            "lost": self.report.lost,
            "seconds": self.seconds,
        })
    }
}

/// An ingest that runs.
struct Running<'n> {
    ingest: Ingest,
    stores: BTreeMap<Slot, Store>,
    durable: Option<&'n Durable>,
    /// Names it in the journal.
    number: u64,
    /// Slots that got an entry.
    touched: Mutex<BTreeSet<Slot>>,
}

/// Ingests files into the slots that are served, each entry into that of its key.
///
/// # Errors
///
/// [`Error::Recovery`] naming file and block when a file is damaged, or when another ingest runs;
/// [`Error::IngestSlot`] for a key whose slot is not served here, from the beginning to the end;
/// [`Error::JournalRefused`]. Nothing is there then, but for a journal that failed in the last step: then the node serves
/// nothing that it cannot vouch for.
pub(crate) fn ingest(
    slots: &SlotServer,
    durable: Option<&Durable>,
    paths: &[PathBuf],
    mode: IngestMode,
    work: &Work,
) -> Result<NodeIngest, Error> {
    let started = Instant::now();
    let files = SortedFiles::open(paths)?;
    let tally = files.verify(work)?;
    let running = Running::begin(slots, durable, mode)?;
    let ranges = files.ranges(RANGES_PER_THREAD * work.threads());
    work.for_each(&ranges, |work, range| running.put_range(&files, range, work))?;
    let (report, touched) = running.decide(slots)?;
    let (seconds, job) = (started.elapsed().as_secs_f64(), files.job().to_string());
    tracing::info!(job, slots = touched, ?report, seconds, "ingested");
    Ok(NodeIngest { job, files: files.len(), tally, slots: touched, report, seconds })
}

impl<'n> Running<'n> {
    fn begin(
        slots: &SlotServer,
        durable: Option<&'n Durable>,
        mode: IngestMode,
    ) -> Result<Self, Error> {
        let served = slots.served().into_iter().filter_map(|slot| {
            let access = slots.access(slot, AccessKind::Read).ok()?;
            Some((slot, access.store().clone()))
        });
        let stores: BTreeMap<Slot, Store> = served.collect();
        if stores.is_empty() {
            return Err(Error::IngestSlot { slot: None });
        }
        let all: Vec<&Store> = stores.values().collect();
        let begin = || {
            Ingest::begin(&all, IngestOptions::new().with_mode(mode))
                .map_err(|error| Error::from(whimbrel_recovery::Error::Ingest(error)))
        };
        let number = u64::from_le_bytes(first_half(BackupId::generate()));
        let ingest = match durable {
            None => begin()?,
            Some(durable) => durable.begin_ingest(number, mode == IngestMode::Behind, begin)?,
        };
        Ok(Self { ingest, stores, durable, number, touched: Mutex::default() })
    }

    fn put_range(&self, files: &SortedFiles, range: &KeyRange, work: &Work) -> Result<(), Error> {
        let mut open: HashMap<Slot, Open<'_>> = HashMap::new();
        files.each_entry(range, work, |key, value| {
            let slot = slot_of(key);
            let open = match open.entry(slot) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(place) => place.insert(self.open(slot)?),
            };
            open.push(key, value)?;
            if open.record.bytes().len() >= PART {
                self.write_down(slot, open)?;
            }
            Ok::<(), Error>(())
        })?;
        for (slot, open) in &mut open {
            self.write_down(*slot, open)?;
        }
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.extend(open.keys());
        Ok(())
    }

    fn open(&self, slot: Slot) -> Result<Open<'_>, Error> {
        let store = self.stores.get(&slot).ok_or(Error::IngestSlot { slot: Some(slot) })?;
        let part = self.ingest.part(store).map_err(whimbrel_recovery::Error::Ingest)?;
        Ok(Open { part, record: self.record(slot), key: PLAIN.to_vec() })
    }

    fn record(&self, slot: Slot) -> RecordBuilder {
        RecordBuilder::ingest_part(u32::from(slot.number()), self.number)
    }

    fn write_down(&self, slot: Slot, open: &mut Open<'_>) -> Result<(), Error> {
        let record = std::mem::replace(&mut open.record, self.record(slot));
        match self.durable {
            Some(durable) if !record.is_empty() => Ok(durable.ingest_part(&record)?),
            _ => Ok(()),
        }
    }

    /// Makes everything visible. Gives what was done, and how many slots have something of it.
    fn decide(self, slots: &SlotServer) -> Result<(IngestReport, usize), Error> {
        let touched = self.touched.into_inner().unwrap_or_else(PoisonError::into_inner);
        let held = hold(slots, &touched, &self.stores)?;
        let ingest = self.ingest;
        let decide = || {
            let decided = ingest.decide();
            decided.map_err(|error| Error::from(whimbrel_recovery::Error::Ingest(error)))
        };
        let (decided, sequence): (DecidedIngest, _) = match self.durable {
            None => (decide()?, None),
            Some(durable) => {
                let slots = touched.iter().copied();
                let (decided, sequence) = durable.decide_ingest(self.number, slots, decide)?;
                (decided, Some((durable, sequence)))
            }
        };
        // What follows a slot, as a migration does, is told of it before the slot may leave.
        let report = decided.finish();
        drop(held);
        if let Some((durable, sequence)) = sequence {
            durable.journal().wait(sequence)?;
        }
        Ok((report, touched.len()))
    }
}

/// Entries of one range that go into one slot.
struct Open<'i> {
    part: IngestPart<'i>,
    record: RecordBuilder,
    /// The key as it stands in the slot.
    key: Vec<u8>,
}

impl Open<'_> {
    fn push(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let Self { part, record, key: placed } = self;
        placed.truncate(PLAIN.len());
        placed.extend_from_slice(key);
        let put = match value {
            Some(value) => part.put(&*placed, value),
            None => part.remove(&*placed),
        };
        put.map_err(whimbrel_recovery::Error::Ingest)?;
        match value {
            Some(value) => record.put(placed, value),
            None => record.remove(placed),
        }
        Ok(())
    }
}

/// Holds all of the slots at once, each with the store that it had. Waits for those that are being handed over.
fn hold<'s>(
    slots: &'s SlotServer,
    wanted: &BTreeSet<Slot>,
    stores: &BTreeMap<Slot, Store>,
) -> Result<Vec<SlotAccess<'s>>, Error> {
    let began = Instant::now();
    loop {
        let hold_one = |slot: &Slot| {
            let access = slots.access(*slot, AccessKind::Write).ok();
            access.filter(|access| access.store().is(&stores[slot])).ok_or(*slot)
        };
        match wanted.iter().map(hold_one).collect::<Result<Vec<_>, Slot>>() {
            Ok(held) => return Ok(held),
            // Those that were held are let go: their own hand-over may be waiting for that.
            Err(_) if began.elapsed() < PATIENCE => thread::sleep(LOOK),
            Err(slot) => return Err(Error::IngestSlot { slot: Some(slot) }),
        }
    }
}

fn first_half(id: BackupId) -> [u8; 8] {
    let mut half = [0; 8];
    half.copy_from_slice(&id.0[..8]);
    half
}
