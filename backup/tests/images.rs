//! Goal: whatever a disk makes of a crash, there is the old complete state or the new one, and nothing is
//! begun over remains.
//! Method: a disk with a live and a durable image (`common/disk.rs`): lost, torn and zeroed writes, any subset
//! of unsynced operations on names, renames that leave both names, syncs that failed. Programs are cut
//! after every operation, and of each cut images are drawn from a seed: a first backup, an export of a store
//! with more blocks, a backup that meets a fault and cleans up, and one that is refused because another is
//! there. `WHIMBREL_IMAGES` says how many images, `WHIMBREL_SEED` where they begin; `ci/crash.sh` draws 50,000.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/disk.rs"]
mod disk;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use disk::{Crash, Disk, Fault, Image, Op, Random};
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::publish::BackupWriter;
use whimbrel_backup::{Backup, Error, ExportOptions, Work, export_to, verify_backup};
use whimbrel_mvcc::{Clock, Store};

/// Different images that are looked at unless told otherwise.
const IMAGES: usize = 5_000;
/// Images drawn in a round of each cut of a program that publishes; of the others one.
const DRAWS_OF_PUBLISHED: usize = 16;
/// Rounds after which too few different images are a failure.
const ROUNDS_MAX: usize = 1_000;

/// One run whose crashes are looked at.
struct Program {
    name: &'static str,
    /// What the disk held before.
    before: Image,
    ops: Vec<Op>,
    /// Entries of a whole backup.
    entries: u64,
    /// Whether the backup is there for good after the last operation.
    published: bool,
    /// Whether there was one before.
    was_there: bool,
}

fn work() -> Work {
    Work::default().with_threads(1)
}

fn first_backup() -> Program {
    let disk = Disk::default();
    common::write_backup_to(&disk, common::ID);
    Program {
        name: "first backup",
        before: Image::new(),
        ops: disk.ops(),
        entries: 18,
        published: true,
        was_there: false,
    }
}

fn exported() -> Program {
    let clock = Clock::new();
    let stores = ["sea", "shore"].map(|name| {
        let store = Store::new(&clock);
        for n in 0..200_u32 {
            store.put(format!("{name}/{n:04}").as_bytes(), &n.to_le_bytes()).unwrap();
        }
        (name.to_owned(), store)
    });
    let hold = clock.hold();
    let snapshots = stores.map(|(name, store)| (name, store.snapshot_at(&hold)));
    let options = ExportOptions::default()
        .with_work(work())
        .with_shards_per_store(3)
        .with_blocks(BlockOptions::default().with_block_bytes(512));
    let disk = Disk::default();
    let report = export_to(&snapshots, &disk, &options).unwrap();
    assert_eq!(report.entries, 400);
    Program {
        name: "export",
        before: Image::new(),
        ops: disk.ops(),
        entries: 400,
        published: true,
        was_there: false,
    }
}

/// Every way in which one operation fails, and what is done about it.
fn failed() -> Vec<Program> {
    let calls = {
        let disk = Disk::default();
        common::write_backup_to(&disk, common::ID);
        disk.calls()
    };
    let faults = [Fault::Io, Fault::IoDone, Fault::Full];
    let each = faults.into_iter().flat_map(|fault| (1..=calls).map(move |at| (fault, at)));
    let run = |(fault, at)| {
        let disk = Disk::failing(at, fault);
        let failed = common::try_backup_to(&disk, common::ID).expect_err("it was told to fail");
        assert!(matches!(failed, Error::Io { .. }), "{failed}");
        Program {
            name: "failed backup",
            before: Image::new(),
            ops: disk.ops(),
            entries: 18,
            published: false,
            was_there: false,
        }
    };
    each.map(run).collect()
}

fn refused() -> Program {
    let disk = Disk::default();
    common::write_backup_to(&disk, common::ID);
    let before = disk.live();
    let disk = Disk::holding(&before);
    let refused = BackupWriter::begin(&disk, common::ID).map(drop);
    assert!(matches!(refused, Err(Error::AlreadyABackup { .. })));
    Program {
        name: "refused backup",
        before,
        ops: disk.ops(),
        entries: 18,
        published: true,
        was_there: true,
    }
}

/// Whether there is a whole backup; anything between that and none fails the test.
fn check(image: &Image, entries: u64, told: &dyn Fn() -> String) -> bool {
    let storage = Arc::new(Disk::holding(image));
    let opened = Backup::open_in(storage.clone());
    let whole = match opened.and_then(|backup| verify_backup(&backup, &work())) {
        Ok(report) => {
            assert_eq!(report.entries, entries, "{}", told());
            true
        }
        Err(Error::NoManifest { .. }) => false,
        Err(error) => panic!("a torn backup: {error}; {}; {:?}", told(), image.keys()),
    };
    // What comes after the crash: only an empty place is begun in.
    match BackupWriter::begin(&*storage, common::ID).map(drop) {
        Ok(()) => assert!(image.is_empty(), "begun over remains; {}", told()),
        Err(Error::AlreadyABackup { .. }) => {
            assert!(image.contains_key(MANIFEST), "no backup there; {}", told());
        }
        Err(Error::Unfinished { .. } | Error::ForeignFile { .. }) => {
            assert!(!whole, "a whole backup is not seen; {}", told());
        }
        Err(error) => panic!("{error}; {}", told()),
    }
    assert!(storage.live() == *image, "the next attempt changed something; {}", told());
    whole
}

#[test]
fn every_image_of_a_crash_is_the_old_complete_state_or_the_new_one() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let wanted = number("WHIMBREL_IMAGES").map_or(IMAGES, |n| usize::try_from(n).unwrap());
    let seed = number("WHIMBREL_SEED").unwrap_or(1);
    let mut programs = vec![first_backup(), exported(), refused()];
    programs.extend(failed());
    let cuts: Vec<(&Program, usize)> =
        programs.iter().flat_map(|p| (0..=p.ops.len()).map(move |cut| (p, cut))).collect();
    // Rounds over all cuts, until there are as many different images as wanted. The first image of a cut is the
    // durable one; of programs that publish more are drawn, as they have more to lose.
    let (mut drawn, mut whole, mut distinct) = (0, 0, HashSet::new());
    for round in 0..ROUNDS_MAX {
        for (position, (program, cut)) in cuts.iter().enumerate() {
            let crash = Crash::after(&program.before, &program.ops[..*cut]);
            for number in 0..if program.published { DRAWS_OF_PUBLISHED } else { 1 } {
                let number = round * DRAWS_OF_PUBLISHED + number;
                let mut random = Random(seed ^ ((position as u64) << 32) ^ number as u64);
                let image = if number == 0 { crash.durable() } else { crash.draw(&mut random) };
                let told = || {
                    let name = program.name;
                    format!("{name} cut after {cut} operations, image {number}, seed {seed}")
                };
                let found = check(&image, program.entries, &told);
                let must = program.was_there || program.published && *cut == program.ops.len();
                assert!(found || !must, "published and gone; {}", told());
                let mut hasher = DefaultHasher::new();
                image.hash(&mut hasher);
                distinct.insert(hasher.finish());
                drawn += 1;
                whole += u64::from(found);
            }
        }
        if distinct.len() >= wanted {
            break;
        }
    }
    println!(
        "{drawn} images of {} crashes in {} programs, seed {seed}: {} distinct, {whole} whole backups",
        cuts.len(),
        programs.len(),
        distinct.len(),
    );
    assert!(distinct.len() >= wanted && whole > 0 && whole < drawn, "{whole} of {drawn}");
}
