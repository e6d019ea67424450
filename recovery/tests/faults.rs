//! Goal: a read that fails during a restore is reported, with the file, as what it is, and leaves no store.
//! Method: every read of a restore fails once, in every way, on a disk in memory; a mapped file that is gone.

#[path = "../../backup/tests/common/mod.rs"]
mod common;
#[path = "../../backup/tests/common/disk.rs"]
mod disk;

use std::fs;
use std::sync::Arc;

use disk::{Disk, Fault};
use whimbrel_backup::{Backup, Error as BackupError, Work};
use whimbrel_mvcc::Clock;
use whimbrel_recovery::{Error, RestoreOptions, restore_backup};

fn options() -> RestoreOptions {
    RestoreOptions::default().with_work(Work::default().with_threads(1))
}

#[test]
fn every_failing_read_is_reported_and_leaves_no_store() {
    let written = Disk::default();
    common::write_backup_to(&written, common::ID);
    let image = written.live();
    for fault in [Fault::Io, Fault::Denied, Fault::Gone] {
        let mut failures = 0;
        for at in 1.. {
            let disk = Disk::holding(&image);
            let clock = Clock::new();
            disk.0.lock().unwrap().fault = Some((at, fault));
            let restored = Backup::open_in(Arc::new(disk.clone()))
                .map_err(Error::from)
                .and_then(|backup| restore_backup(&backup, &clock, &options()));
            if disk.calls() < at {
                assert_eq!(restored.unwrap().report.entries, 16);
                break;
            }
            failures += 1;
            let error = restored.expect_err("the failure is reported");
            assert!(!error.is_corruption(), "{fault:?} at {at}: {error}");
            match &error {
                Error::Backup(BackupError::Io { .. }) => assert!(error.is_retryable(), "{error}"),
                Error::Backup(BackupError::NoManifest { .. }) => {
                    assert_eq!((fault, at), (Fault::Gone, 1));
                }
                _ => panic!("{fault:?} at {at}: {error}"),
            }
            assert_eq!(clock.open_holds(), 0, "nothing is left");
        }
        assert!(failures > 20, "{failures} reads are all");
    }
}

#[test]
fn a_mapped_file_that_is_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let backup = Backup::open(dir.path()).unwrap();
    for name in ["shard-0001", "delta-0000"] {
        let bytes = fs::read(dir.path().join(name)).unwrap();
        fs::remove_file(dir.path().join(name)).unwrap();
        let error = restore_backup(&backup, &Clock::new(), &options()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert!(matches!(error, Error::Backup(BackupError::Io { .. })), "{error}");
        // Empty, which cannot be mapped everywhere; shorter than it was.
        for len in [0, 1, bytes.len() / 2] {
            fs::write(dir.path().join(name), &bytes[..len]).unwrap();
            let error = restore_backup(&backup, &Clock::new(), &options()).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    restore_backup(&backup, &Clock::new(), &options()).unwrap();
}
