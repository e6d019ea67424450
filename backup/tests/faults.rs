//! Goal: an operation that fails is reported with file and cause, costs nothing that was there, and leaves no
//! backup where none was published; one that only takes its time or a part of the bytes does no harm.
//! Method: every operation of a backup, of `verify` and of `inspect` fails once, in every way; then real files
//! that vanish.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/disk.rs"]
mod disk;

use std::fs;
use std::io;
use std::sync::Arc;

use disk::{Disk, Fault, Image};
use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::{Backup, Error, Work, inspect_backup, verify_backup, verify_with};

fn work() -> Work {
    Work::default().with_threads(1)
}

fn whole() -> Image {
    let disk = Disk::default();
    common::write_backup_to(&disk, common::ID);
    disk.live()
}

/// Runs `each` on a disk that fails at every call in turn, until a run meets no fault any more.
fn fail_each(image: &Image, fault: Fault, mut each: impl FnMut(usize, Disk)) -> usize {
    for at in 1.. {
        let disk = Disk::holding(image);
        disk.0.lock().unwrap().fault = Some((at, fault));
        each(at, disk.clone());
        if disk.calls() < at {
            return at - 1;
        }
    }
    unreachable!("a run has an end")
}

#[test]
fn every_failing_operation_of_a_backup_is_reported_and_leaves_no_backup() {
    for fault in [Fault::Io, Fault::IoDone, Fault::Full, Fault::Denied, Fault::Gone] {
        let failures = fail_each(&Image::new(), fault, |at, disk| {
            let outcome = common::try_backup_to(&disk, common::ID);
            if disk.calls() < at {
                outcome.unwrap();
                return;
            }
            let error = outcome.expect_err("the failure is reported");
            let Error::Io { path, .. } = &error else { panic!("{fault:?} at {at}: {error}") };
            assert!(path.starts_with("/disk"), "{error}");
            assert!(error.is_retryable() && !error.is_corruption(), "{error}");
            let left = disk.live();
            assert!(!left.contains_key(MANIFEST), "{fault:?} at {at}: {:?}", left.keys());
            // Everything was removed, unless somebody else had taken the claim away: then what is
            // there under our names may be theirs.
            let publishes = error.to_string().starts_with("cannot publish");
            assert_eq!(left.is_empty(), !(fault == Fault::Gone && publishes), "{error}");
        });
        assert!(failures > 30, "{failures} operations are all");
    }
}

#[test]
fn short_and_interrupted_writes_do_no_harm() {
    for fault in [Fault::Short, Fault::Interrupted] {
        let calls = fail_each(&Image::new(), fault, |at, disk| {
            common::try_backup_to(&disk, common::ID).unwrap_or_else(|e| panic!("at {at}: {e}"));
            assert!(disk.live() == whole(), "{fault:?} at {at}");
        });
        assert!(calls > 30, "{calls} operations are all");
    }
}

#[test]
fn every_failing_read_is_reported_and_is_no_damage() {
    let image = whole();
    let verify = |backup: &Backup| verify_backup(backup, &work()).map(|report| report.entries);
    let inspect = |backup: &Backup| inspect_backup(backup).map(|found| found.manifest.entries());
    type Reader<'r> = &'r dyn Fn(&Backup) -> Result<u64, Error>;
    let readers: [(Reader<'_>, u64); 2] = [(&verify, 18), (&inspect, 16)];
    for (read, entries) in readers {
        for fault in [Fault::Io, Fault::Denied, Fault::Gone] {
            let calls = fail_each(&image, fault, |at, disk| {
                let outcome = Backup::open_in(Arc::new(disk.clone())).and_then(|b| read(&b));
                if disk.calls() < at {
                    assert_eq!(outcome.unwrap(), entries);
                    return;
                }
                let error = outcome.expect_err("the failure is reported");
                match &error {
                    Error::Io { path, source, .. } => {
                        let named = image.keys().any(|name| path.ends_with(name));
                        assert!(named || path.ends_with("disk"), "{fault:?} at {at}: {error}");
                        assert!(fault == Fault::Gone || source.raw_os_error().is_some(), "{error}");
                        assert!(error.is_retryable() && !error.is_corruption(), "{error}");
                    }
                    // The manifest vanished before it was opened: then there is no backup.
                    Error::NoManifest { .. } => assert_eq!((fault, at), (Fault::Gone, 1)),
                    _ => panic!("{fault:?} at {at}: {error}"),
                }
                assert!(disk.live() == image, "reading changes nothing");
            });
            assert!(calls > 10, "{calls} operations are all");
        }
        for fault in [Fault::Short, Fault::Interrupted] {
            fail_each(&image, fault, |_, disk| {
                let backup = Backup::open_in(Arc::new(disk)).unwrap();
                assert_eq!(read(&backup).unwrap(), entries);
            });
        }
    }
}

#[test]
fn a_file_that_vanishes_after_the_backup_was_opened_is_named() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let backup = Backup::open(dir.path()).unwrap();
    for (name, bytes) in common::files(dir.path()) {
        if name == MANIFEST {
            continue;
        }
        fs::remove_file(dir.path().join(&name)).unwrap();
        let error = verify_backup(&backup, &work()).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        let Error::Io { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.kind(), io::ErrorKind::NotFound);
        fs::write(dir.path().join(&name), &bytes[..bytes.len() / 2]).unwrap();
        let error = verify_backup(&backup, &work()).unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
        fs::write(dir.path().join(&name), bytes).unwrap();
    }
    assert_eq!(verify_with(dir.path(), &work()).unwrap().entries, 18);
}
