//! Goal: a repository holds whole chains at any moment: an incremental backup appears whole or not at all,
//! a prune takes away whole backups from the end of old chains, and nothing else is touched.
//! Method: a recording disk. Every cut of the operations of a prune and of an incremental backup is laid
//! out with every subset of unsynced changes of names and with lost, torn and zero-filled bytes; then every
//! single operation fails. Two writers at once; foreign, incomplete and damaged directories.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;
#[path = "common/double.rs"]
mod double;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};

use double::{Disk, Image, crashes};
use tempfile::TempDir;
use whimbrel_backup::manifest::{MANIFEST, Manifest};
use whimbrel_backup::repository::{
    Chain, Kind, Pruning, Repository, State, back_up, inspect_repository, prune,
};
use whimbrel_backup::{Error, ExportOptions, Progress, Work, export_incremental, inspect, verify};
use whimbrel_mvcc::{Clock, Snapshot, Store};

fn options() -> ExportOptions {
    ExportOptions::default().with_shards_per_store(2).with_work(Work::default().with_threads(1))
}

fn keep(chains: usize) -> NonZeroUsize {
    NonZeroUsize::new(chains).unwrap()
}

fn shown(store: &Store) -> Vec<(String, Snapshot)> {
    vec![("birds".to_owned(), store.snapshot())]
}

/// Backups of these kinds, each with a change or two.
fn repository(kinds: &[Kind]) -> (TempDir, Store) {
    let (root, store) = (common::fast_dir(), Store::new(&Clock::new()));
    for (number, kind) in kinds.iter().enumerate() {
        for n in 0..40 {
            store.put(format!("key/{n:02}").as_bytes(), &[u8::try_from(number).unwrap()]).unwrap();
        }
        store.remove(format!("key/{number:02}").as_bytes()).unwrap();
        back_up(root.path(), &shown(&store), *kind, &options(), None).unwrap();
    }
    (root, store)
}

const THREE_CHAINS: [Kind; 6] =
    [Kind::Full, Kind::Incremental, Kind::Incremental, Kind::Full, Kind::Full, Kind::Incremental];

/// Numbers of the backups; each must be whole, with its chain.
fn whole(root: &Path) -> Vec<u64> {
    let repository = Repository::open(root).unwrap();
    for entry in repository.entries() {
        assert!(!matches!(entry.state(), State::Damaged(_)), "{entry:?}");
    }
    let check = |(number, backup): (u64, &whimbrel_backup::Backup)| {
        let chain = repository.chain(backup).unwrap();
        assert_eq!(chain.backups().len() as u64, u64::from(backup.manifest().position()) + 1);
        verify(backup.dir()).unwrap();
        number
    };
    repository.backups().map(check).collect()
}

#[test]
fn a_prune_keeps_the_newest_chains() {
    for (chains, expected) in
        [(1, vec![5, 6]), (2, vec![4, 5, 6]), (3, vec![1, 2, 3, 4, 5, 6]), (9, (1..=6).collect())]
    {
        let (root, _) = repository(&THREE_CHAINS);
        let report = prune(root.path(), keep(chains)).unwrap();
        assert_eq!(whole(root.path()), expected);
        assert_eq!((report.removed.len(), report.left.len()), (6 - expected.len(), 0));
        assert_eq!(report.kept.len(), chains.min(3));
        assert!(report.removed_bytes > 0 || expected.len() == 6);
        let again = prune(root.path(), keep(chains)).unwrap();
        assert_eq!((again.kept, again.removed.len()), (report.kept, 0));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), expected.len() + 1, "and the lock");
    }
}

#[test]
fn a_crash_of_a_prune_at_any_moment_leaves_whole_chains_and_the_next_one_ends_it() {
    let (root, _) = repository(&THREE_CHAINS);
    let before = Image::read(root.path());
    let plan = || Pruning::plan(&Repository::open(root.path()).unwrap(), keep(1)).unwrap();
    let disk = Disk::with(&before, None);
    let done = plan().carry_out(&disk).unwrap();
    assert_eq!(done.removed.len(), 4);
    let (ops, mut seen, mut partial) = (disk.ops(), 0, 0);
    let expected = {
        let last = crashes(&before, &ops);
        assert_eq!(last.len(), 1, "all of it is durable");
        last.into_iter().next().unwrap()
    };
    let check = |image: &Image| {
        let dir = common::fast_dir();
        image.write(dir.path());
        let backups = whole(dir.path());
        assert!(backups.ends_with(&[5, 6]), "{backups:?}");
        // From the end of a chain.
        assert!(
            [&[1, 2, 3][..], &[1, 2], &[1], &[]]
                .contains(&&backups[..backups.iter().take_while(|number| **number < 4).count()])
        );
        prune(dir.path(), keep(1)).unwrap();
        assert_eq!(Image::read(dir.path()), expected);
        usize::from(backups.len() > 2 && backups.len() < 6)
    };
    for cut in 0..=ops.len() {
        for image in crashes(&before, &ops[..cut]) {
            seen += 1;
            partial += check(&image);
        }
    }
    assert!(seen > 50 && partial > 20, "{partial} of {seen}");
    // Every operation fails once.
    for fail_at in 1..=disk.calls() {
        let failing = Disk::with(&before, Some(fail_at));
        let error = plan().carry_out(&failing).expect_err("it is reported");
        assert!(matches!(error, Error::Io { .. }), "{error}");
        for image in crashes(&before, &failing.ops()) {
            check(&image);
        }
    }
}

#[test]
fn what_is_foreign_incomplete_or_damaged_is_left_alone() {
    let (root, _) = repository(&THREE_CHAINS);
    let path = |name: &str| root.path().join(name);
    let name = |number: u64| {
        let repository = Repository::open(root.path()).unwrap();
        let entry = repository.entries().iter().find(|entry| entry.number() == number).unwrap();
        entry.name().to_owned()
    };
    let (first, second, fourth) = (name(1), name(2), name(4));
    fs::write(path("notes.txt"), "mine").unwrap();
    fs::create_dir(path("photos")).unwrap();
    let interrupted = format!("00000007-{}", "ab".repeat(16));
    fs::create_dir(path(&interrupted)).unwrap();
    fs::write(path(&interrupted).join("MANIFEST.json.tmp"), "").unwrap();
    // In the first chain somebody keeps notes, and the manifest of the fourth backup is damaged.
    fs::write(path(&first).join("notes.txt"), "mine").unwrap();
    let manifest = path(&fourth).join(MANIFEST);
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[20] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let before = Image::read(root.path());
    let report = prune(root.path(), keep(1)).unwrap();
    assert_eq!((report.removed.len(), report.kept.len()), (0, 1), "{report:?}");
    let why = |name: &str| {
        let left = report.left.iter().find(|left| left.name == name);
        left.map_or_else(String::new, |left| left.why.clone())
    };
    assert!(why(&first).contains("notes.txt") && why(&second).contains("notes.txt"));
    assert!(why(&fourth).contains("checksum"), "{}", why(&fourth));
    assert!(why(&interrupted).contains("incomplete"));
    assert!(why("notes.txt").contains("not of a repository") && !why("photos").is_empty());
    assert_eq!(Image::read(root.path()), before);
    // Without the notes it goes; numbers are not given out twice.
    fs::remove_file(path(&first).join("notes.txt")).unwrap();
    assert_eq!(prune(root.path(), keep(1)).unwrap().removed.len(), 3);
    let store = Store::new(&Clock::new());
    let report = back_up(root.path(), &shown(&store), Kind::Full, &options(), None).unwrap();
    assert_eq!(report.number, 8);
}

#[test]
fn a_missing_repository_is_not_made_by_a_prune() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("backups");
    let error = prune(&root, keep(1)).unwrap_err();
    assert!(matches!(error, Error::NoSuchBackup { .. }), "{error}");
    assert!(!root.exists());
}

#[test]
fn a_crash_of_an_incremental_backup_leaves_the_old_or_the_new_chain() {
    let (root, store) = repository(&[Kind::Full, Kind::Incremental]);
    for n in 0..20 {
        store.put(format!("key/{n:02}").as_bytes(), b"newer").unwrap();
    }
    store.remove(b"key/30").unwrap();
    let (chain, snapshots) = (Chain::newest_in(root.path()).unwrap(), shown(&store));
    let mut before = Image::read(root.path());
    before.dirs.insert("new".to_owned());
    let run = |fail_at| {
        let disk = Disk::with(&before, fail_at);
        let made = export_incremental(&chain, &snapshots, &disk.dir("new"), &options(), None);
        (disk, made)
    };
    let (disk, made) = run(None);
    assert_eq!((made.as_ref().unwrap().puts, made.unwrap().removes), (20, 1));
    let ops = disk.ops();
    let id = {
        let last = crashes(&before, &ops).pop().unwrap();
        Manifest::decode(&last.files[&format!("new/{MANIFEST}")]).unwrap().id
    };
    let lay_out = |image: &Image| {
        let dir = common::fast_dir();
        image.write(dir.path());
        fs::rename(dir.path().join("new"), dir.path().join(format!("00000003-{id}"))).unwrap();
        dir
    };
    let (mut seen, mut old, mut new) = (0, 0, 0);
    for cut in 0..=ops.len() {
        for image in crashes(&before, &ops[..cut]) {
            let dir = lay_out(&image);
            match whole(dir.path())[..] {
                [1, 2] => old += 1,
                [1, 2, 3] => new += 1,
                ref other => panic!("{other:?}"),
            }
            assert!(cut < ops.len() || whole(dir.path()) == [1, 2, 3], "reported is durable");
            seen += 1;
        }
    }
    assert!(seen > 40 && old > 20 && new > 1, "{seen}, {old}, {new}");
    for fail_at in 1..=disk.calls() {
        let (failing, made) = run(Some(fail_at));
        made.expect_err("the failure is reported");
        for image in crashes(&before, &failing.ops()) {
            // Another identity each time, so by its manifest only.
            assert!(
                !image.files.contains_key(&format!("new/{MANIFEST}")) || {
                    let bytes = &image.files[&format!("new/{MANIFEST}")];
                    let manifest = Manifest::decode(bytes).unwrap();
                    manifest
                        .files()
                        .all(|(_, _, file)| image.files.contains_key(&format!("new/{}", file.file)))
                },
                "call {fail_at}: a manifest without its files"
            );
        }
    }
}

/// While a backup runs, tries what must be refused.
struct Intruder {
    root: std::path::PathBuf,
    refused: Mutex<usize>,
}

impl Progress for Intruder {
    fn add(&self, _entries: u64, _bytes: u64) {
        let refused = |outcome: Result<(), Error>| {
            assert!(matches!(outcome, Err(Error::RepositoryBusy { .. })), "{outcome:?}");
            *self.refused.lock().unwrap() += 1;
        };
        refused(prune(&self.root, keep(1)).map(|_| ()));
        let store = Store::new(&Clock::new());
        let made = back_up(&self.root, &shown(&store), Kind::Full, &options(), None);
        refused(made.map(|_| ()));
    }
}

#[test]
fn two_writers_keep_out_of_each_others_way() {
    let (root, store) = repository(&THREE_CHAINS);
    let intruder = Arc::new(Intruder { root: root.path().to_owned(), refused: Mutex::new(0) });
    let options = options().with_work(Work::default().with_progress(intruder.clone()));
    back_up(root.path(), &shown(&store), Kind::Full, &options, None).unwrap();
    assert!(*intruder.refused.lock().unwrap() >= 2);
    assert_eq!(whole(root.path()), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn inspection_tells_the_chain() {
    let (root, _) = repository(&THREE_CHAINS);
    let found = inspect_repository(root.path()).unwrap();
    let told = found.backups.iter().map(|entry| {
        let backup = entry.backup.as_ref().unwrap();
        (entry.number, entry.state, backup.position, backup.base.is_some(), backup.entries)
    });
    let expected = [(1, 0), (2, 1), (3, 2), (4, 0), (5, 0), (6, 1)];
    let expected = expected.map(|(number, at)| (number, "complete", at, at > 0, 39));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    let dir = Repository::open(root.path()).unwrap().find("3").unwrap().dir().to_owned();
    let third = inspect(&dir).unwrap();
    assert_eq!(third.chain.as_ref().map(Vec::len), Some(3));
    assert_eq!(third.files.iter().map(|file| file.kind).collect::<Vec<_>>(), ["change delta"; 2]);
    fs::remove_dir_all(Repository::open(root.path()).unwrap().find("2").unwrap().dir()).unwrap();
    let third = inspect(&dir).unwrap();
    assert!(third.chain_error.is_some_and(|error| error.contains("which is missing")));
    let found = inspect_repository(root.path()).unwrap();
    assert!(found.backups[1].error.as_ref().is_some_and(|it| it.contains("which is missing")));
}
