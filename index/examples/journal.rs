//! An engine that loses no acknowledged update: a journal beside it, whose mark is the resume token of
//! its checkpoints.
//!
//! `cargo run -p whimbrel --example journal`

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use whimbrel::{Collection, CollectionDef, Document, Engine, IndexDef};
use whimbrel_journal::{Identity, Journal, JournalOptions, Mark, SyncPolicy};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Updates of one document are journaled in the order in which they took effect: a lock for its class.
const CLASSES: usize = 64;

struct Readings {
    engine: Engine,
    readings: Collection,
    journal: Journal,
    order: Vec<Mutex<()>>,
}

fn reading(celsius: i64) -> Document {
    Document::new().set("celsius", celsius)
}

/// A record: station and temperature.
fn encode(station: u64, celsius: i64) -> [u8; 16] {
    let mut record = [0; 16];
    record[..8].copy_from_slice(&station.to_be_bytes());
    record[8..].copy_from_slice(&celsius.to_be_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(u64, i64)> {
    let (station, celsius) = record.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*station), i64::from_be_bytes(celsius.try_into().ok()?)))
}

impl Readings {
    /// The newest checkpoint, and what the journal has behind it.
    fn open(dir: &Path) -> Result<Self, Error> {
        let (engine, token) = match Engine::open(dir) {
            Ok(restored) => (restored.engine, restored.resume_token),
            Err(whimbrel::Error::NoCheckpoint { .. }) => (Engine::new(), Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let readings = match engine.collection("readings") {
            Ok(readings) => readings,
            Err(_) => {
                let by_celsius = IndexDef::new("by_celsius").asc("celsius");
                engine.create_collection(CollectionDef::new("readings").index(by_celsius))?
            }
        };
        let mark = token.split_first_chunk::<16>().and_then(|(identity, sequence)| {
            let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
            Some(Mark { identity: Identity::from_bytes(*identity), sequence })
        });
        let options = JournalOptions::new(SyncPolicy::Always);
        let replay = |_, record: &[u8]| {
            let (station, celsius) = decode(record).ok_or("not a reading")?;
            Ok(readings.update(station.to_be_bytes(), &reading(celsius))?)
        };
        let (journal, report) =
            Journal::open(dir.join("journal"), &options, mark.as_ref(), replay)?;
        println!("opened: {} records replayed", report.replayed);
        let order = (0..CLASSES).map(|_| Mutex::default()).collect();
        Ok(Self { engine, readings, journal, order })
    }

    /// Returns when the update is durable.
    fn update(&self, station: u64, celsius: i64) -> Result<(), Error> {
        let class = usize::try_from(station % CLASSES as u64)?;
        let ordered = self.order[class].lock().unwrap_or_else(PoisonError::into_inner);
        self.readings.update(station.to_be_bytes(), &reading(celsius))?;
        let sequence = self.journal.append(&encode(station, celsius))?;
        drop(ordered);
        Ok(self.journal.wait(sequence)?)
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Error> {
        self.journal.turn_over()?;
        // The mark before the snapshot that the checkpoint takes.
        let mark = self.journal.mark();
        self.journal.sync()?;
        let token = [&mark.identity.to_bytes()[..], &mark.sequence.to_be_bytes()].concat();
        self.engine.checkpoint(dir, &token)?;
        let removed = self.journal.truncate(&mark)?;
        println!(
            "checkpoint at record {}, {removed} segments of the journal removed",
            mark.sequence
        );
        Ok(())
    }
}

fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir()?;
    let engine = Readings::open(dir.path())?;
    for station in 0..200 {
        engine.update(station, 10)?;
    }
    engine.checkpoint(dir.path())?;
    // Behind the checkpoint, by several threads: they share the syncs.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || (0..25).try_for_each(|n| engine.update(4 * n + thread, 30)));
        }
    });
    drop(engine); // or the process is killed

    let engine = Readings::open(dir.path())?;
    let warm = engine.readings.query("by_celsius")?.eq([30]).count()?;
    let cold = engine.readings.query("by_celsius")?.eq([10]).count()?;
    println!("{warm} stations are warm, {cold} are cold");
    assert_eq!((warm, cold), (100, 100));
    Ok(())
}
