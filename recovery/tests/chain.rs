//! Goal: every backup of a chain restores to exactly what its snapshot saw, however its changes were
//! found; a chain that is not what was written is refused by name.
//! Method: random writes between backups that are full or incremental, followed or compared, with budgets
//! small enough for intervals; the same beside running writers; links missing, foreign, exchanged,
//! reordered and damaged.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod world;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use whimbrel_backup::repository::{Chain, Kind, Repository, back_up};
use whimbrel_backup::{Cancel, Error as BackupError, Tracker, TrackerOptions, Work, verify};
use whimbrel_mvcc::{Batch, Snapshot, Store};
use whimbrel_recovery::Error;
use world::{World, chain, fill, key, options, restored};

#[derive(Debug, Clone)]
enum Step {
    Put(bool, Vec<u8>, Vec<u8>),
    Remove(bool, Vec<u8>),
    Watch,
    /// Takes the snapshots of the next backup early: writes and watches come in between.
    Snapshot,
    BackUp(Kind),
    /// As after a restart.
    Forget,
    DropStore,
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(0_u8..3, 0..4),
        1 => any::<u8>().prop_map(|byte| vec![byte; 300]),
    ]
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(0_u8..2, 0..3),
        1 => any::<u8>().prop_map(|byte| vec![byte; 70_000]),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => (any::<bool>(), keys(), values()).prop_map(|(one, k, v)| Step::Put(one, k, v)),
        10 => (any::<bool>(), keys()).prop_map(|(one, k)| Step::Remove(one, k)),
        3 => Just(Step::Watch),
        1 => Just(Step::Snapshot),
        4 => Just(Step::BackUp(Kind::Incremental)),
        1 => Just(Step::BackUp(Kind::Full)),
        1 => Just(Step::Forget),
        1 => Just(Step::DropStore),
    ];
    prop::collection::vec(step, 0..120)
}

fn play(steps: Vec<Step>, tracker: &TrackerOptions) {
    let mut world = World::new(&["a", "b"], Some(Tracker::new(tracker.clone())));
    let mut early: Option<Vec<(String, Snapshot)>> = None;
    let name = |one: bool| if one { "a" } else { "b" };
    for step in steps {
        match step {
            Step::Put(one, key, value) => world.store(name(one)).put(&key, &value).unwrap(),
            Step::Remove(one, key) => drop(world.store(name(one)).remove(&key).unwrap()),
            Step::Watch => world.watch(),
            Step::Snapshot => early = Some(world.snapshots()),
            Step::BackUp(kind) => {
                let snapshots = early.take().unwrap_or_else(|| world.snapshots());
                drop(world.back_up_these(kind, &snapshots));
            }
            Step::Forget => world.tracker = Some(Tracker::new(tracker.clone())),
            Step::DropStore => {
                let clock = world.store("a").clock().clone();
                world.stores.insert("b".to_owned(), Store::new(&clock));
                early = None;
            }
        }
    }
    world.check_all();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_backup_of_a_chain_restores_to_its_snapshot(steps in steps()) {
        play(steps, &TrackerOptions::default());
    }

    #[test]
    fn and_so_it_does_where_little_can_be_remembered(steps in steps()) {
        play(steps, &TrackerOptions::default().with_max_bytes(1));
    }
}

#[test]
fn a_followed_store_writes_what_changed_and_nothing_else() {
    let mut world = World::new(&["a"], Some(Tracker::default()));
    fill(world.store("a"), 20_000, 1);
    world.watch();
    let full = world.back_up(Kind::Incremental);
    assert_eq!((full.position, full.puts, full.stores.whole), (0, 20_000, 1));
    let store = world.store("a");
    for n in 0..100 {
        store.put(&key(n), b"changed").unwrap();
        store.remove(&key(10_000 + n)).unwrap();
        store.put(&key(20_000 + n), b"new").unwrap();
        // Neither of these is a change.
        store.put(&key(15_000 + n), &1_u32.to_le_bytes()).unwrap();
        store.put(&key(30_000 + n), b"comes").unwrap();
        store.remove(&key(30_000 + n)).unwrap();
    }
    world.watch();
    let report = world.back_up(Kind::Incremental);
    assert_eq!((report.position, report.puts, report.removes), (1, 200, 100));
    assert_eq!((report.stores.followed, report.entries), (1, 20_000));
    assert!(report.stored_bytes * 20 < full.stored_bytes, "{report:?} after {full:?}");
    let nothing = world.back_up(Kind::Incremental);
    assert_eq!((nothing.puts, nothing.removes, nothing.stores.followed), (0, 0, 1));
    // The same without a tracker, and with one that knows another base.
    fill(world.store("a"), 50, 2);
    let tracker = world.tracker.take();
    let compared = world.back_up(Kind::Incremental);
    assert_eq!((compared.puts, compared.removes, compared.stores.compared), (50, 0, 1));
    world.tracker = tracker;
    fill(world.store("a"), 20, 3);
    let report = world.back_up(Kind::Incremental);
    assert_eq!((report.puts, report.stores.compared), (20, 1), "it has another base");
    let report = world.back_up(Kind::Incremental);
    assert_eq!((report.puts, report.stores.followed), (0, 1), "now it has this one");
    world.check_all();
}

#[test]
fn intervals_are_walked_where_the_keys_were_too_many() {
    let mut world =
        World::new(&["a"], Some(Tracker::new(TrackerOptions::default().with_max_bytes(1))));
    fill(world.store("a"), 5_000, 1);
    world.watch();
    world.back_up(Kind::Full);
    fill(world.store("a"), 2_000, 2);
    let report = world.back_up(Kind::Incremental);
    assert_eq!((report.puts, report.stores.followed), (2_000, 1));
    world.check_all();
}

#[test]
fn increments_beside_running_writers_are_their_snapshots() {
    const GROUPS: u32 = 100;
    let mut world = World::new(&["a", "b"], Some(Tracker::default()));
    let (a, b) = (world.store("a").clone(), world.store("b").clone());
    let stop = AtomicBool::new(false);
    let writer = |seed: u32| {
        let mut n = seed;
        // ORDERING: Relaxed; a flag of a test.
        while !stop.load(Ordering::Relaxed) {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (group, value) = ((n >> 8) % GROUPS, n.to_le_bytes());
            // Ten keys of two stores are always alike, or gone.
            let mut batch = Batch::new();
            for at in 0..5 {
                let key = format!("{group:04}/{at}").into_bytes();
                if n.is_multiple_of(5) {
                    batch.remove(&a, key.clone()).remove(&b, key);
                } else {
                    batch.put(&a, key.clone(), value).put(&b, key, value);
                }
            }
            _ = batch.commit().unwrap();
            a.put(format!("single/{}", n % 1000).as_bytes(), &value).unwrap();
        }
    };
    std::thread::scope(|scope| {
        let writers = [1, 2].map(|seed| scope.spawn(move || writer(seed)));
        for round in 0..12 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            if round % 5 != 4 {
                world.watch();
            }
            let report = world.back_up(Kind::Incremental);
            assert_eq!((report.position, report.stores.compared), (round, 0));
        }
        // ORDERING: as above.
        stop.store(true, Ordering::Relaxed);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
    world.check_all();
    for (_, content) in &world.expected {
        for (key, value) in content["b"].iter().filter(|(key, _)| key.ends_with(b"/0")) {
            for at in b'1'..b'5' {
                let other = [&key[..key.len() - 1], &[at]].concat();
                assert_eq!(content["a"].get(&other), Some(value), "a batch came in part");
            }
        }
    }
}

#[test]
fn backups_are_found_by_number_identity_and_name() {
    let world = chain();
    let repository = Repository::open(world.root()).unwrap();
    let dirs: Vec<_> = world.expected.iter().map(|(dir, _)| dir.clone()).collect();
    assert_eq!(repository.newest().unwrap().dir(), dirs[3]);
    let name = dirs[1].file_name().unwrap().to_str().unwrap();
    for wanted in [name, "2", &name[9..], &name[9..25]] {
        assert_eq!(repository.find(wanted).unwrap().dir(), dirs[1], "{wanted}");
    }
    for wanted in ["9", "", "abc", "zzzzzz"] {
        let error = repository.find(wanted).unwrap_err();
        assert!(matches!(error, BackupError::NoSuchBackup { .. }), "{error}");
    }
    let chain = repository.chain(repository.find("3").unwrap()).unwrap();
    assert_eq!(chain.backups().len(), 3);
    assert_eq!(Chain::newest_in(world.root()).unwrap().backups().len(), 1);
    world.check_all();
}

/// What opening the chain up to each backup comes to.
fn outcomes(world: &World) -> Vec<Option<Error>> {
    world.expected.iter().map(|(dir, _)| restored(dir).err()).collect()
}

/// `broken` must be refused by a message that names the first of them and says `what`; the others work.
fn check_broken(world: &World, broken: &[usize], what: &str) {
    for (at, outcome) in outcomes(world).into_iter().enumerate() {
        match outcome {
            None => assert!(!broken.contains(&at), "backup {at} is restored"),
            Some(error) => {
                assert!(broken.contains(&at) && error.is_corruption(), "backup {at}: {error}");
                let (dir, _) = &world.expected[broken[0]];
                let name = dir.file_name().unwrap().to_str().unwrap();
                let said = error.to_string();
                assert!(said.contains(name) && said.contains(what), "backup {at}: {said}");
                let other = verify(&world.expected[at].0).unwrap_err();
                assert!(other.is_corruption(), "backup {at}: {other}");
            }
        }
    }
}

#[test]
fn a_missing_link_is_named() {
    let world = chain();
    fs::remove_dir_all(&world.expected[1].0).unwrap();
    let moved = World { expected: world.expected[2..].to_vec(), ..world };
    check_broken(&moved, &[0], "which is missing");
}

#[test]
fn an_exchanged_link_is_named() {
    // The same backup, made again: another manifest under the same identity.
    let world = chain();
    let path = world.expected[1].0.join("MANIFEST.json");
    let mut manifest =
        whimbrel_backup::manifest::Manifest::decode(&fs::read(&path).unwrap()).unwrap();
    manifest.created_unix_ms += 1;
    fs::write(&path, manifest.encode().unwrap()).unwrap();
    check_broken(&world, &[2], "not the one that it had then");
}

#[test]
fn a_foreign_link_under_a_name_of_the_chain_is_named() {
    let (world, other) = (chain(), chain());
    let (ours, theirs) = (&world.expected[1].0, &other.expected[1].0);
    fs::remove_dir_all(ours).unwrap();
    copy(theirs, ours);
    let error = restored(&world.expected[2].0).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    let said = error.to_string();
    assert!(said.contains(ours.file_name().unwrap().to_str().unwrap()), "{said}");
    assert!(said.contains("identity"), "{said}");
}

#[test]
fn a_reordered_link_is_named() {
    let world = chain();
    let dir = &world.expected[1].0;
    let name = dir.file_name().unwrap().to_str().unwrap();
    fs::rename(dir, world.root().join(format!("00000009{}", &name[8..]))).unwrap();
    let moved = World { expected: world.expected[2..3].to_vec(), ..world };
    check_broken(&moved, &[0], "which comes after it by its number");
}

#[test]
fn an_increment_alone_is_refused() {
    let world = chain();
    let alone = tempfile::tempdir().unwrap();
    copy(&world.expected[1].0, &alone.path().join("monday"));
    let said = restored(&alone.path().join("monday")).unwrap_err().to_string();
    assert!(said.contains("has not the name of one in a repository"), "{said}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn damage_in_any_link_is_found_by_restore_verify_and_comparison() {
    let mut world = chain();
    world.expected.pop();
    let damaged = |world: &World, dir: &Path, file: &Path| {
        let good = fs::read(file).unwrap();
        for at in (0..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(file, &bad).unwrap();
            let (newest, _) = &world.expected[2];
            let name = file.file_name().unwrap().to_str().unwrap();
            for said in [
                restored(newest).expect_err("damaged").to_string(),
                verify(newest).expect_err("damaged").to_string(),
            ] {
                let place = dir.file_name().unwrap().to_str().unwrap();
                // Of the backup that was asked for, its own manifest needs no more than its name.
                let named = said.contains(place) || (dir == newest && name == "MANIFEST.json");
                assert!(named && said.contains(name), "{name}, {at}: {said}");
            }
        }
        fs::write(file, &good).unwrap();
    };
    for (dir, _) in &world.expected {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            damaged(&world, dir, &path);
        }
    }
    world.check_all();
    // What an incremental backup compares with is checked as well, and a full one needs none of it.
    fs::remove_dir_all(Repository::open(world.root()).unwrap().find("4").unwrap().dir()).unwrap();
    let shard = world.expected[0].0.join("shard-0000");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[60] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let snapshots = world.snapshots();
    let error = back_up(world.root(), &snapshots, Kind::Incremental, &options(), None).unwrap_err();
    assert!(error.is_corruption() && error.to_string().contains("shard-0000"), "{error}");
    let dirs = fs::read_dir(world.root()).unwrap().count();
    assert_eq!(dirs, 3 + 1, "three backups and the lock: nothing is left of the failed one");
    assert_eq!(world.back_up(Kind::Full).position, 0);
}

#[test]
fn a_wrong_total_in_any_manifest_of_the_chain_is_found() {
    // Every file is sound; the middle manifest states another count, and the last one continues that.
    let world = chain();
    let rewrite = |at: usize, change: &dyn Fn(&mut whimbrel_backup::manifest::Manifest)| {
        let path = world.expected[at].0.join("MANIFEST.json");
        let mut manifest =
            whimbrel_backup::manifest::Manifest::decode(&fs::read(&path).unwrap()).unwrap();
        change(&mut manifest);
        fs::write(&path, manifest.encode().unwrap()).unwrap();
        manifest.link().unwrap()
    };
    let link = rewrite(1, &|manifest| manifest.stores[0].digest ^= 1);
    rewrite(2, &|manifest| {
        if let Some(base) = &mut manifest.base {
            base.crc32c = link.crc32c;
        }
    });
    let error = restored(&world.expected[2].0).unwrap_err();
    assert!(matches!(&error, Error::WrongContent { what: "the digest", .. }), "{error}");
    let name = world.expected[1].0.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
}

#[test]
fn a_cancelled_or_failed_increment_leaves_the_tracker_and_the_repository_as_they_were() {
    let mut world = World::new(&["a"], Some(Tracker::default()));
    fill(world.store("a"), 1000, 1);
    world.watch();
    world.back_up(Kind::Full);
    fill(world.store("a"), 300, 2);
    world.watch();
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = options().with_work(Work::default().with_cancel(cancel));
    let (root, snapshots) = (world.root().to_owned(), world.snapshots());
    let error = back_up(&root, &snapshots, Kind::Incremental, &cancelled, world.tracker.as_mut());
    assert!(matches!(error, Err(BackupError::Cancelled)));
    assert_eq!(Repository::open(&root).unwrap().entries().len(), 1);
    drop(snapshots);
    fill(world.store("a"), 10, 3);
    let report = world.back_up(Kind::Incremental);
    assert_eq!((report.puts, report.stores.followed), (300, 1));
    world.check_all();
}
