//! Batches: writes to several stores at one moment, and what they may depend on.
//!
//! A store of documents and an index over them: each update is a batch, so every snapshot finds them in
//! agreement. The batch expects the document that it was made from, and is made again when another update
//! came first.
//!
//! `cargo run -p whimbrel-mvcc --example batches`

use std::thread;

use whimbrel_mvcc::{Batch, Clock, Error, Hold, Store};

struct Places {
    clock: Clock,
    /// Made first: the key that a batch depends on must be its first, and stores come in this order.
    documents: Store,
    by_population: Store,
}

impl Places {
    fn new() -> Self {
        let clock = Clock::new();
        let (documents, by_population) = (Store::new(&clock), Store::new(&clock));
        Self { clock, documents, by_population }
    }

    fn index_key(population: &[u8], name: &str) -> Vec<u8> {
        [population, name.as_bytes()].concat()
    }

    /// Sets the population of a place, and moves its index entry. Returns how many attempts that took.
    fn set(&self, name: &str, population: u32) -> Result<usize, Error> {
        let new = population.to_be_bytes();
        for attempt in 1.. {
            let (old, token) = self.documents.get_versioned(name);
            let mut batch = Batch::new();
            batch.expect(&self.documents, name, token).put(&self.documents, name, new);
            if let Some(old) = old.filter(|old| old[..] != new) {
                batch.remove(&self.by_population, Self::index_key(&old, name));
            }
            batch.put(&self.by_population, Self::index_key(&new, name), "");
            match batch.commit() {
                Err(Error::PreconditionFailed { .. }) => {}
                done => return done.map(|_| attempt),
            }
        }
        unreachable!("attempts do not run out")
    }

    /// Every document has its entry and every entry its document, at this moment.
    fn agree(&self, moment: &Hold) -> bool {
        let documents = self.documents.snapshot_at(moment);
        let entries = self.by_population.snapshot_at(moment);
        let listed = documents
            .iter()
            .all(|(name, population)| entries.contains_key([&population[..], &name].concat()));
        listed && documents.len() == entries.len()
    }
}

fn main() -> Result<(), Error> {
    let places = Places::new();
    let attempts: Vec<usize> = thread::scope(|scope| {
        let writers = (1..4_u32).map(|seed| {
            let places = &places;
            scope.spawn(move || -> Result<usize, Error> {
                let mut attempts = 0;
                for n in 0..2_000_u32 {
                    let name = format!("place {}", n * seed % 50);
                    attempts += places.set(&name, n * 7919 * seed % 100_000)?;
                }
                Ok(attempts)
            })
        });
        let writers: Vec<_> = writers.collect();
        for _ in 0..20 {
            assert!(places.agree(&places.clock.hold()), "a snapshot saw half a batch");
        }
        writers.into_iter().map(|writer| writer.join().unwrap_or(Ok(0))).collect::<Result<_, _>>()
    })?;
    println!("6000 updates took {} attempts", attempts.iter().sum::<usize>());

    let moment = places.clock.hold();
    assert!(places.agree(&moment));
    let largest = places.by_population.snapshot_at(&moment).range(..).rev().into_iter().take(3);
    for (key, _) in largest {
        if let Some((population, name)) = key.split_first_chunk() {
            let population = u32::from_be_bytes(*population);
            println!("{population:6} {}", String::from_utf8_lossy(name));
        }
    }
    Ok(())
}
