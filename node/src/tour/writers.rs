//! Two threads that update and remove documents until they are told to stop.
//!
//! They work on half of the documents, each on its own quarter, so that the state after the last
//! update is known exactly, and the other half keeps the answers of the questions interesting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::engine::{self, Db};
use super::error::TourError;
use super::random::Random;
use super::states::States;
use super::table::Table;

/// Writer threads.
const WRITERS: usize = 2;
/// Writer `w` owns the records whose position modulo this is `w`.
const STRIDE: usize = 4;
/// One in this many operations removes a document.
const REMOVE_SHARE: usize = 16;

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    updates: AtomicU64,
}

impl Shared {
    fn stop(&self) {
        // ORDERING: Relaxed; the writers' results are published by joining their threads.
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        // ORDERING: Relaxed; see `stop`.
        self.stopped.load(Ordering::Relaxed)
    }

    fn count(&self) {
        // ORDERING: Relaxed; a count for the report, nothing is published by it.
        self.updates.fetch_add(1, Ordering::Relaxed);
    }

    fn updates(&self) -> u64 {
        // ORDERING: Relaxed; see `count`.
        self.updates.load(Ordering::Relaxed)
    }
}

/// The running writers. Dropping them stops them.
#[derive(Debug)]
pub(super) struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Result<Vec<Option<u32>>, TourError>>>,
}

impl Writers {
    /// Starts the writers on `db`, which holds the records of `table` as they were loaded.
    pub(super) fn start(table: &Arc<Table>, db: &Arc<Db>, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..WRITERS)
            .map(|writer| {
                let (table, db, shared) = (Arc::clone(table), Arc::clone(db), Arc::clone(&shared));
                thread::spawn(move || {
                    let random = Random::new(seed.wrapping_add(writer as u64));
                    write(&table, &db, &shared, writer, random)
                })
            })
            .collect();
        Self { shared, threads }
    }

    /// How many documents were updated or removed so far.
    pub(super) fn updates(&self) -> u64 {
        self.shared.updates()
    }

    /// Stops the writers and gives the state they left every record in.
    pub(super) fn finish(mut self, table: &Table) -> Result<States, TourError> {
        self.shared.stop();
        let mut states = States::loaded(table);
        for (writer, thread) in self.threads.drain(..).enumerate() {
            let own = thread.join().unwrap_or_else(|_| {
                Err(TourError::Engine {
                    step: "updating documents",
                    cause: "a writer thread panicked".to_owned(),
                })
            })?;
            for (at, state) in own.into_iter().enumerate() {
                states.0[writer + at * STRIDE] = state;
            }
        }
        Ok(states)
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            // The tour fails already with the error that dropped the writers early.
            let _ = thread.join();
        }
    }
}

fn write(
    table: &Table,
    db: &Db,
    shared: &Shared,
    writer: usize,
    mut random: Random,
) -> Result<Vec<Option<u32>>, TourError> {
    let own = table.rows.len().saturating_sub(writer).div_ceil(STRIDE);
    let mut states = vec![Some(0); own];
    let mut updates = vec![0u32; own];
    while own > 0 && !shared.is_stopped() {
        let at = random.below(own);
        let row = &table.rows[writer + at * STRIDE];
        if random.below(REMOVE_SHARE) == 0 {
            db.remove(&row.id)?;
            states[at] = None;
        } else {
            updates[at] += 1;
            let new = table.updated(row, updates[at]);
            db.update(&row.id, &engine::document(table, &new))?;
            states[at] = Some(updates[at]);
        }
        shared.count();
    }
    Ok(states)
}
