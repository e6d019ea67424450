//! Reads every byte of a backup and checks it against everything that is said about it.

use std::time::Instant;

use serde::Serialize;

use crate::Error;
use crate::file::{FileKind, Tally};
use crate::manifest::FileRecord;
use crate::open::Backup;
use crate::progress::{Work, rate};
use crate::reader::{Buffers, FileReader, Source};
use crate::repository::Chain;
use crate::sequence::Sequence;

/// What [`verify()`] read.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Backups: those of the chain up to the one that was named.
    pub backups: usize,
    /// Stores.
    pub stores: usize,
    /// Shards and deltas.
    pub files: usize,
    /// Blocks.
    pub blocks: u64,
    /// Entries in shards and deltas, removes not counted.
    pub entries: u64,
    /// Bytes of keys and values.
    pub raw_bytes: u64,
    /// Bytes of shards and deltas.
    pub stored_bytes: u64,
    /// Wall time.
    pub seconds: f64,
}

impl VerifyReport {
    /// Entries read a second.
    #[must_use]
    pub fn entries_per_second(&self) -> f64 {
        rate(self.entries, self.seconds)
    }

    /// Stored bytes read a second.
    #[must_use]
    pub fn bytes_per_second(&self) -> f64 {
        rate(self.stored_bytes, self.seconds)
    }
}

/// Verifies the backup in `dir` with default [`Work`]. See [`verify_with`].
///
/// # Errors
/// The first thing found wrong, naming file and block.
pub fn verify(dir: &std::path::Path) -> Result<VerifyReport, Error> {
    verify_with(dir, &Work::default())
}

/// Reads every block of the backup in `dir`, decodes it, and checks checksums, order, counts and digests.
/// For an incremental backup all of its chain is read, in the directories beside it. Loads nothing.
///
/// What only a restore can show is the digest of a store *after* its GC and change deltas were replayed;
/// the deltas' bytes are checked here like all others.
///
/// # Complexity
/// Linear in the bytes, parallel over files; memory for one block a thread.
///
/// # Errors
/// The first thing found wrong, naming file and block; [`Error::BrokenChain`]; [`Error::Cancelled`].
pub fn verify_with(dir: &std::path::Path, work: &Work) -> Result<VerifyReport, Error> {
    verify_chain(&Chain::of(dir)?, work)
}

/// [`verify_with`] of a backup that is open, wherever it is.
///
/// # Errors
/// As [`verify_with`].
pub fn verify_backup(backup: &Backup, work: &Work) -> Result<VerifyReport, Error> {
    verify_chain(&Chain::ending_in(backup.clone())?, work)
}

/// Verifies all backups of a chain. See [`verify_with`].
///
/// # Errors
/// The first thing found wrong, naming backup, file and block; [`Error::Cancelled`].
pub fn verify_chain(chain: &Chain, work: &Work) -> Result<VerifyReport, Error> {
    let started = Instant::now();
    let backups = chain.backups();
    let of = |backup| Backup::manifest(backup).files().map(move |file| (backup, file));
    let files: Vec<(&Backup, (u32, FileKind, &FileRecord))> = backups.iter().flat_map(of).collect();
    work.begin(files.iter().map(|(_, (_, _, record))| record.entries).sum());
    work.for_each(&files, |work, (backup, (store, kind, record))| {
        let verify = || {
            let source = backup.source(record)?;
            verify_file(&backup.open_file(source, *store, *kind, record)?, work)
        };
        verify().map_err(|error: Error| chain.named(backup, error))
    })?;
    let sum = |of: fn(&FileRecord) -> u64| files.iter().map(|(_, (_, _, file))| of(file)).sum();
    Ok(VerifyReport {
        backups: backups.len(),
        stores: chain.newest().manifest().stores.len(),
        files: files.len(),
        blocks: sum(|record| record.blocks.into()),
        entries: sum(|record| record.entries),
        raw_bytes: sum(|record| record.raw_bytes),
        stored_bytes: sum(|record| record.bytes),
        seconds: started.elapsed().as_secs_f64(),
    })
}

fn verify_file<S: Source>(file: &FileReader<S>, work: &Work) -> Result<(), Error> {
    let mut buffers = Buffers::default();
    let mut sequence = Sequence::default();
    let mut told = Tally::default();
    for number in 0..file.blocks() {
        work.check()?;
        let block = file.block(number, &mut buffers)?;
        sequence.walk(&block, |_, _| Ok::<(), Error>(()))?;
        let tally = sequence.tally();
        work.add(tally.entries - told.entries, tally.raw_bytes - told.raw_bytes);
        told = tally;
    }
    file.check_end(sequence.last_key(), sequence.tally())
}
