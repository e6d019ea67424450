//! Syncs files while the threads that wrote them go on with others.
//!
//! A sync is waiting for the disk. An export on several threads has as many more for it, so that processors and
//! disk work at the same time. On one thread, and for a single file, everything stays on that thread.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::Error;
use crate::manifest::FileRecord;
use crate::progress::Work;
use crate::publish::{BackupWriter, Unsynced};

/// A file to be synced, and the work that is over when that fails.
type Job = (Unsynced, Work);

/// Takes files to be synced.
pub(crate) struct Syncer<'b> {
    backup: &'b BackupWriter<'b>,
    /// None: whoever wrote a file syncs it.
    queue: Option<SyncSender<Job>>,
}

impl<'b> Syncer<'b> {
    /// Does `work`, and answers what it answers when every file that it handed over is synced.
    ///
    /// # Errors
    /// [`Error::Io`] of a sync, or else what `work` answers; [`Error::Threads`].
    pub(crate) fn run<R>(
        backup: &'b BackupWriter<'b>,
        threads: usize,
        work: impl FnOnce(&Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if threads <= 1 {
            return work(&Self { backup, queue: None });
        }
        // Files that wait are open: no more of them than there are threads.
        let (queue, jobs) = sync_channel(threads);
        let jobs = Arc::new(Mutex::new(jobs));
        thread::scope(|scope| {
            // When it is dropped, also by a panic, the threads come to an end.
            let syncer = Self { backup, queue: Some(queue) };
            let mut running = Vec::with_capacity(threads);
            for _ in 0..threads {
                let (thread, jobs) = (thread::Builder::new(), Arc::clone(&jobs));
                let thread = thread.spawn_scoped(scope, move || sync_all(backup, &jobs));
                let failed =
                    |error: io::Error| Error::Threads { threads, reason: error.to_string() };
                running.push(thread.map_err(failed)?);
            }
            // Nobody waits to hand over a file when no thread is left.
            drop(jobs);
            let done = work(&syncer);
            drop(syncer);
            for thread in running {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            done
        })
    }

    /// Syncs a file, or has it synced. The record goes into the manifest.
    ///
    /// # Errors
    /// [`Error::Io`], where nobody else syncs it; otherwise [`run`](Self::run) answers that.
    pub(crate) fn sync(&self, file: Unsynced, work: &Work) -> Result<FileRecord, Error> {
        let Some(queue) = &self.queue else { return self.backup.sync(file) };
        let record = file.record().clone();
        queue.send((file, work.clone())).map_err(|_| Error::Cancelled)?;
        Ok(record)
    }
}

/// Syncs files until nobody hands any over. When one fails the work is stopped and the others are given up.
fn sync_all(backup: &BackupWriter<'_>, jobs: &Mutex<Receiver<Job>>) -> Result<(), Error> {
    let mut synced = Ok(());
    loop {
        // Whoever has the lock waits for the next file, the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((file, work)) = job else { return synced };
        if synced.is_ok()
            && let Err(error) = backup.sync(file)
        {
            work.stop();
            synced = Err(error);
        }
    }
}
