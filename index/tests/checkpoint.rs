//! Goal: a checkpoint taken beside writers comes back equal, with its token; the newest complete
//! one counts, and the one before is kept until then; what is damaged or foreign is refused.
//! Method: real directories; leftovers of a crash are made by hand; equality by digest and by the
//! check of back-indexes against entries.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use whimbrel::{
    Cancel, CollectionDef, Document, Engine, Error, ExportOptions, FieldDef, IndexDef,
    RestoreOptions, Work,
};

fn engine() -> Engine {
    let engine = Engine::new();
    let users = CollectionDef::new("users")
        .index(IndexDef::new("by_email").asc("email").unique().covering(["age"]));
    let cities = CollectionDef::new("cities")
        .index(IndexDef::new("by_country").asc("country").desc("population"))
        .index(IndexDef::new("by_alias").field(FieldDef::desc("aliases").multi()))
        .partitions(4);
    engine.create_collection(users).unwrap();
    engine.create_collection(cities).unwrap();
    for n in 0..500i64 {
        update(&engine, n, n);
    }
    engine
}

fn update(engine: &Engine, id: i64, n: i64) {
    let city = Document::new()
        .set("country", ["PT", "FI", "NZ"][usize::try_from(n % 3).unwrap()])
        .set("population", n)
        .set_many("aliases", (0..n % 4).map(|a| format!("alias {a}")));
    engine.collection("cities").unwrap().update(id.to_string(), &city).unwrap();
    let user = Document::new().set("email", format!("{id}@example.org")).set("age", n);
    engine.collection("users").unwrap().update(id.to_string(), &user).unwrap();
}

fn check(engine: &Engine) {
    let snapshot = engine.snapshot();
    for name in snapshot.collection_names() {
        snapshot.collection(&name).unwrap().check().unwrap();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_comes_back_is_what_was_there() {
    let (engine, dir) = (engine(), tempfile::tempdir().unwrap());
    let token = [0u8, 255, 7, b'"'];
    let report = engine.checkpoint(dir.path(), &token).unwrap();
    assert_eq!((report.number, report.removed.len()), (1, 0));
    let restored = Engine::open(dir.path()).unwrap();
    assert_eq!(restored.resume_token, token);
    assert_eq!(restored.engine.snapshot().digest(), engine.snapshot().digest());
    assert_eq!(restored.report.entries, engine.snapshot().digest().count);
    let (old, new) =
        (engine.collection("cities").unwrap(), restored.engine.collection("cities").unwrap());
    assert_eq!(old.def(), new.def());
    let rows = |c: &whimbrel::Collection| {
        c.query("by_country").unwrap().eq(["FI"]).range(100..200).rev().fetch().unwrap()
    };
    assert_eq!(rows(&old), rows(&new));
    // It is an engine like any other: updates replace, unique keys are guarded.
    check(&restored.engine);
    update(&restored.engine, 3, 1_000);
    check(&restored.engine);
    let taken = Document::new().set("email", "4@example.org");
    let refused = restored.engine.collection("users").unwrap().update("3", &taken);
    assert!(matches!(refused, Err(Error::DuplicateKey { .. })), "{refused:?}");
}

/// Stops the writers however the checker ends, so that its panic is seen and not waited on.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn checkpoints_run_beside_writers() {
    let (engine, dir) = (engine(), tempfile::tempdir().unwrap());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for t in 0..2i64 {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    update(engine, (n * 7 + t) % 500, n);
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        for round in 1..=3u64 {
            let report = engine.checkpoint(dir.path(), &round.to_be_bytes()).unwrap();
            assert_eq!((report.number, names(dir.path()).len()), (round, 2));
            let restored = Engine::open(dir.path()).unwrap();
            assert_eq!(restored.resume_token, round.to_be_bytes());
            check(&restored.engine);
        }
    });
}

#[test]
fn a_backup_of_a_held_snapshot_is_that_snapshot() {
    let (engine, dir) = (engine(), tempfile::tempdir().unwrap());
    let held = engine.snapshot();
    for n in 0..100 {
        update(&engine, n, n + 5_000);
    }
    let target = dir.path().join("held");
    let report = held.backup(&target, &ExportOptions::default()).unwrap();
    assert_eq!(report.entries, held.digest().count);
    let restored = Engine::restore(&target, &RestoreOptions::default()).unwrap();
    assert_eq!(restored.engine.snapshot().digest(), held.digest());
    assert_ne!(restored.engine.snapshot().digest(), engine.snapshot().digest());
    let again = engine.backup(&target, &ExportOptions::default());
    assert!(matches!(again, Err(Error::Backup { .. })), "{again:?}");
}

#[test]
fn the_newest_complete_checkpoint_counts() {
    let (engine, dir) = (engine(), tempfile::tempdir().unwrap());
    assert!(matches!(Engine::open(dir.path()), Err(Error::NoCheckpoint { .. })));
    assert!(matches!(Engine::open(dir.path().join("none")), Err(Error::NoCheckpoint { .. })));
    engine.checkpoint(dir.path(), b"one").unwrap();
    // A later one that was cut off before its manifest.
    let cut_off = dir.path().join("checkpoint-00000007");
    fs::create_dir(&cut_off).unwrap();
    fs::write(cut_off.join("shard-0000"), b"half").unwrap();
    assert_eq!(Engine::open(dir.path()).unwrap().resume_token, b"one");
    // One that fails leaves the old one.
    let long = vec![0; whimbrel::MAX_RESUME_TOKEN_BYTES + 1];
    assert!(matches!(engine.checkpoint(dir.path(), &long), Err(Error::ResumeTokenTooLong { .. })));
    assert_eq!(Engine::open(dir.path()).unwrap().resume_token, b"one");
    let cancel = Cancel::new();
    cancel.cancel();
    let cancelled = ExportOptions::default().with_work(Work::default().with_cancel(cancel));
    let stopped = engine.checkpoint_with(dir.path(), b"stopped", &cancelled);
    assert!(matches!(stopped, Err(Error::Backup { .. })), "{stopped:?}");
    assert_eq!(Engine::open(dir.path()).unwrap().resume_token, b"one");
    assert_eq!(names(dir.path()), ["LOCK", "checkpoint-00000001", "checkpoint-00000007"]);
    // One that succeeds comes after both and removes them, and nothing that is not a checkpoint.
    fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    let report = engine.checkpoint(dir.path(), b"two").unwrap();
    assert_eq!((report.number, report.removed.len()), (8, 2));
    assert_eq!(names(dir.path()), ["LOCK", "checkpoint-00000008", "notes.txt"]);
    assert_eq!(Engine::open(dir.path()).unwrap().resume_token, b"two");
}

#[test]
fn one_at_a_time() {
    let (engine, dir) = (engine(), tempfile::tempdir().unwrap());
    engine.checkpoint(dir.path(), b"").unwrap();
    let lock = fs::File::open(dir.path().join("LOCK")).unwrap();
    lock.lock().unwrap();
    let busy = engine.checkpoint(dir.path(), b"").unwrap_err();
    assert!(matches!(busy, Error::CheckpointBusy { .. }) && busy.is_retryable(), "{busy}");
    assert!(matches!(Engine::open(dir.path()), Err(Error::CheckpointBusy { .. })));
    lock.unlock().unwrap();
    Engine::open(dir.path()).unwrap();
}

#[test]
fn damaged_and_foreign_backups_are_refused() {
    let (engine, dir) = (engine(), tempfile::tempdir().unwrap());
    let report = engine.checkpoint(dir.path(), b"t").unwrap();
    let shard = names(&report.path).into_iter().find(|n| n.starts_with("shard")).unwrap();
    let path = report.path.join(&shard);
    let sound = fs::read(&path).unwrap();
    for at in (0..sound.len()).step_by(97) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let refused = Engine::open(dir.path()).map(|r| r.resume_token).unwrap_err();
        assert!(refused.is_corruption(), "byte {at}: {refused}");
        assert!(refused.to_string().contains(&shard), "byte {at}: {refused}");
    }
    // A backup that is none of an engine.
    let store = whimbrel::mvcc::Store::new(&whimbrel::mvcc::Clock::new());
    store.put(b"k", b"v").unwrap();
    let target = dir.path().join("plain");
    let stores = [("users/00000".to_owned(), store.snapshot())];
    whimbrel_backup::export(&stores, &target, &ExportOptions::default()).unwrap();
    let refused = Engine::restore(&target, &RestoreOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("not a backup of an engine"), "{refused}");
}
