//! Goal: the figures of an engine name the snapshots that are open, those that it takes by itself
//! included, and say what they hold.
//! Method: snapshots of all kinds held open while documents change; a look at the figures from within
//! the progress of a backup and of a checkpoint.

use std::sync::{Arc, Mutex};

use whimbrel::{CollectionDef, Document, Engine, ExportOptions, IndexDef, Progress, Work};

fn engine() -> (Engine, whimbrel::Collection) {
    let engine = Engine::new();
    let def = CollectionDef::new("users").index(IndexDef::new("by_age").asc("age"));
    let users = engine.create_collection(def).expect("a new name");
    (engine, users)
}

fn names(engine: &Engine) -> Vec<String> {
    engine.stats().snapshots.into_iter().map(|snapshot| snapshot.name).collect()
}

#[test]
fn open_snapshots_have_names_and_hold_what_they_see() {
    let (engine, users) = engine();
    users.update("ann", &Document::new().set("age", 41)).expect("valid");
    assert!(names(&engine).is_empty());
    let report = engine.snapshot_named("nightly report");
    let unnamed = engine.snapshot();
    let view = users.view();
    assert_eq!(names(&engine), ["nightly report", "", "view"]);
    for age in 0..100 {
        users.update("ann", &Document::new().set("age", age)).expect("valid");
    }
    let stats = engine.stats();
    assert!(stats.total.held.entries > 0, "{stats:?}");
    assert_eq!(
        stats.snapshots.iter().map(|s| s.held.entries).sum::<u64>(),
        stats.total.held.entries
    );
    drop((report, unnamed, view));
    assert!(names(&engine).is_empty());
}

/// Notes which snapshots are open while work goes on.
struct Look {
    engine: Engine,
    seen: Mutex<Vec<String>>,
}

impl Progress for Look {
    fn add(&self, _: u64, _: u64) {
        self.seen.lock().expect("nobody panics with it").extend(names(&self.engine));
    }
}

#[test]
fn backups_and_checkpoints_are_named_while_they_run() {
    let (engine, users) = engine();
    users.update("ann", &Document::new().set("age", 41)).expect("valid");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let seen_by = |work: &dyn Fn(&ExportOptions)| {
        let look = Arc::new(Look { engine: engine.clone(), seen: Mutex::default() });
        let options = Work::default().with_progress(Arc::clone(&look) as Arc<dyn Progress>);
        work(&ExportOptions::default().with_work(options));
        let mut seen = std::mem::take(&mut *look.seen.lock().expect("nobody panics with it"));
        seen.dedup();
        seen
    };
    let backup = |options: &ExportOptions| {
        engine.backup(dir.path().join("backup"), options).expect("a new folder");
    };
    assert_eq!(seen_by(&backup), ["backup"]);
    let checkpoint = |options: &ExportOptions| {
        engine
            .checkpoint_with(dir.path().join("checkpoints"), b"7", options)
            .expect("a new folder");
    };
    assert_eq!(seen_by(&checkpoint), ["checkpoint"]);
    assert!(names(&engine).is_empty());
}
