//! A checkpoint written while two threads update, and an engine made from it.
//!
//! `cargo run -p whimbrel --example backup_restore`

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel::{CollectionDef, Document, Engine, Error, IndexDef};

const DOCUMENTS: u64 = 20_000;

fn reading(n: u64) -> Document {
    Document::new()
        .set("station", format!("station {}", n % 50))
        .set("celsius", f64::from(u32::try_from(n % 400).unwrap_or(0)) / 10.0 - 10.0)
}

fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir().map_err(|source| Error::Io {
        path: std::env::temp_dir(),
        action: "creating a directory",
        source,
    })?;
    let engine = Engine::new();
    let def = CollectionDef::new("readings")
        .index(IndexDef::new("by_station").asc("station").desc("celsius"))
        .index(IndexDef::new("by_celsius").asc("celsius"));
    let docs = (0..DOCUMENTS).map(|n| (n.to_be_bytes().to_vec(), reading(n)));
    let (readings, loaded) = engine.bulk_load(def, docs)?;
    println!("loaded {} documents, {} entries", loaded.documents, loaded.entries);

    let stop = AtomicBool::new(false);
    thread::scope(|scope| -> Result<(), Error> {
        for seed in 0..2u64 {
            let (readings, stop) = (&readings, &stop);
            scope.spawn(move || -> Result<(), Error> {
                let mut n = seed;
                // ORDERING: Relaxed; a flag that ends the loop, nothing is read because of it.
                while !stop.load(Ordering::Relaxed) {
                    n += 2;
                    readings.update((n % DOCUMENTS).to_be_bytes(), &reading(n * 31))?;
                }
                Ok(())
            });
        }
        let done = engine.checkpoint(dir.path(), b"log position 4711");
        // ORDERING: Relaxed; as where it is read.
        stop.store(true, Ordering::Relaxed);
        let export = done?.export;
        println!(
            "checkpoint: {} entries in {} bytes, 1:{:.1}, {:.0} entries/s, beside the writers",
            export.entries,
            export.stored_bytes,
            export.ratio(),
            export.entries_per_second()
        );
        Ok(())
    })?;
    drop((readings, engine));

    let restored = Engine::open(dir.path())?;
    println!(
        "restored at {:.0} entries/s; resume from {:?}",
        restored.report.entries_per_second(),
        String::from_utf8_lossy(&restored.resume_token)
    );
    let readings = restored.engine.collection("readings")?;
    let report = readings.view().check()?;
    let warm = readings.query("by_celsius")?.range(25.0..).count()?;
    println!("{} documents agree with {} entries", report.documents, report.entries);
    println!("{warm} readings of 25 degrees and more");
    Ok(())
}
