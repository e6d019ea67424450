//! Step 4: backs up beside the writers, drops the engine, restores, compares.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use whimbrel::mvcc::Digest;

use super::Fault;
use super::context::Tour;
use super::engine::{Bar, Db};
use super::error::{TourError, expect_equal};
use super::queries;
use super::report::{Backup, Restore, megabytes};
use super::scan::Fingerprint;
use super::screen::{grouped, per_second};
use super::states::States;
use super::writers::Writers;

/// What the backup holds.
pub(super) struct BackedUp {
    /// Its directory.
    pub dir: PathBuf,
    /// The records as the backup has them.
    pub states: States,
}

/// What the snapshot showed that was backed up.
struct Shown {
    states: States,
    /// All entries of the indexes, in the tour's own count.
    fingerprint: Fingerprint,
    /// Everything in the store, the back-index included.
    digest: Digest,
}

/// Backs up and restores. Stops the writers after the backup.
pub(super) fn step(tour: &mut Tour, db: Arc<Db>, writers: Writers) -> Result<BackedUp, TourError> {
    tour.screen.step(4, "back up beside the writers, drop the engine, restore");
    let dir = tour.dir().join("backup");
    let shown = back_up(tour, &db, &writers, &dir)?;

    let last = writers.finish(&tour.table)?;
    let newest = db.view()?.fingerprint(&tour.table)?;
    let wanted = last.fingerprint(&tour.table);
    expect_equal("last-update", "the index after the writers stopped", &wanted, &newest)?;
    drop(db);

    if tour.plants(Fault::FlippedBackupBlock) {
        flip_bit(&dir)?;
    }
    restore(tour, &dir, &shown)?;
    Ok(BackedUp { dir, states: shown.states })
}

/// Backs up a snapshot while the writers run; gives what it held.
fn back_up(tour: &mut Tour, db: &Db, writers: &Writers, dir: &Path) -> Result<Shown, TourError> {
    let view = db.view()?;
    let bar = bar(tour, "backing up");
    let before = writers.updates();
    let start = Instant::now();
    let written = Db::back_up(&view, dir, &bar)?;
    let time = start.elapsed();
    let updates_meanwhile = writers.updates() - before;
    bar.bar.finish_and_clear();

    let bytes = size_of_files(dir)?;
    let entries_per_s = per_second(written.entries, time);
    let ratio = megabytes(written.raw_bytes) / megabytes(bytes).max(1e-6);
    tour.screen.say(&format!(
        "backup: {} entries, {:.1} MB in {:.2} s, ratio {ratio:.2}, {} entries/s, beside {} updates",
        grouped(written.entries),
        megabytes(bytes),
        time.as_secs_f64(),
        grouped(entries_per_s),
        grouped(updates_meanwhile),
    ));
    tour.report.backup = Some(Backup {
        bytes,
        ratio: (ratio * 1000.0).round() / 1000.0,
        entries: written.entries,
        entries_per_s,
        updates_meanwhile,
    });
    let states = States::of_view(&tour.table, &tour.ids, &view)?;
    let fingerprint = view.fingerprint(&tour.table)?;
    let digest = view.digest();
    let count = digest.count;
    expect_equal("backup", "entries of the snapshot and of its backup", &count, &written.entries)?;
    Ok(Shown { states, fingerprint, digest })
}

/// Restores and compares with the snapshot that was backed up.
fn restore(tour: &mut Tour, dir: &Path, shown: &Shown) -> Result<(), TourError> {
    let bar = bar(tour, "restoring");
    let start = Instant::now();
    let restored = Db::restore(&tour.table, dir, &bar);
    let time = start.elapsed();
    bar.bar.finish_and_clear();
    let db = restored.map_err(|error| match error {
        TourError::Engine { cause, .. } => TourError::Check {
            check: "restore",
            expected: "the backup that was just written, whole".to_owned(),
            got: cause,
        },
        other => other,
    })?;
    let view = db.view()?;
    let got = view.fingerprint(&tour.table)?;
    let digest = view.digest();
    let equal = got == shown.fingerprint && digest == shown.digest;
    let entries_per_s = per_second(digest.count, time);
    tour.report.restore = Some(Restore { entries_per_s, equal });
    expect_equal("restore", "all indexes, against the snapshot", &shown.fingerprint, &got)?;
    expect_equal("restore", "the store", &words(&shown.digest), &words(&digest))?;
    queries::compare_all(tour, "restore", &view, &shown.states)?;
    tour.screen.say(&format!(
        "restore: {} entries in {:.2} s, {} entries/s; {}: equal to the snapshot",
        grouped(digest.count),
        time.as_secs_f64(),
        grouped(entries_per_s),
        words(&digest)
    ));
    Ok(())
}

fn words(digest: &Digest) -> String {
    format!("{} entries, digest {:016x}", digest.count, digest.sum)
}

fn bar(tour: &Tour, what: &'static str) -> Bar {
    Bar { bar: tour.screen.bar(0, what), interrupt: tour.interrupt.clone() }
}

/// Bytes of all files of a directory.
fn size_of_files(dir: &Path) -> Result<u64, TourError> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir).map_err(TourError::file("read", dir))? {
        let entry = entry.map_err(TourError::file("read", dir))?;
        let path = entry.path();
        let meta = entry.metadata().map_err(TourError::file("read", &path))?;
        bytes += if meta.is_dir() { size_of_files(&path)? } else { meta.len() };
    }
    Ok(bytes)
}

/// The planted mistake: flips one bit in the middle of the largest file.
fn flip_bit(dir: &Path) -> Result<(), TourError> {
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir).map_err(TourError::file("read", dir))? {
        let entry = entry.map_err(TourError::file("read", dir))?;
        let path = entry.path();
        let meta = entry.metadata().map_err(TourError::file("read", &path))?;
        if meta.is_file() {
            files.push((meta.len(), path));
        }
    }
    let Some((len, path)) = files.into_iter().max() else { return Ok(()) };
    let flip = || {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut byte = [0];
        file.seek(SeekFrom::Start(len / 2))?;
        file.read_exact(&mut byte)?;
        byte[0] ^= 0x10;
        file.seek(SeekFrom::Start(len / 2))?;
        file.write_all(&byte)
    };
    flip().map_err(TourError::file("damage", &path))
}
