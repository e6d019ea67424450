//! Goal: a mapped file that somebody cuts short under the reader ends in an error that names it, or in
//! SIGBUS when it is cut in the very moment of reading, as `docs/format.md` says; never in an answer.
//! Method: the readers run in a child process (this test binary again), which is told by its environment
//! what to do and ends with a code for each outcome.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../backup/tests/common/mod.rs"]
mod common;

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::{ExportOptions, Progress, Work, export};
use whimbrel_mvcc::{Clock, Store};
use whimbrel_recovery::{BackupView, Error, RestoreOptions, ViewOptions, restore};

const ENTRIES: u32 = 20_000;
const DIR: &str = "WHIMBREL_SHRINK_DIR";
const SCENE: &str = "WHIMBREL_SHRINK_SCENE";

/// The reader ended with the error that is meant for this.
const REFUSED: i32 = 40;
/// Everything was read before anything was cut.
const ALL_READ: i32 = 41;
/// Something else happened.
const WRONG: i32 = 42;

const SIGBUS: i32 = 7;

fn key(n: u32) -> Vec<u8> {
    format!("key-{n:08}").into_bytes()
}

fn backup() -> tempfile::TempDir {
    let store = Store::new(&Clock::new());
    for n in 0..ENTRIES {
        store.put(&key(n), &n.to_le_bytes().repeat(8)).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let options = ExportOptions::default()
        .with_shards_per_store(1)
        .with_blocks(BlockOptions::default().with_block_bytes(2048));
    export(&[("s".to_owned(), store.snapshot())], dir.path(), &options).unwrap();
    dir
}

fn cut(dir: &Path) {
    OpenOptions::new().write(true).open(dir.join("shard-0000")).unwrap().set_len(8192).unwrap();
}

fn outcome<T>(result: Result<T, Error>, answer: i32) -> i32 {
    match result {
        Ok(_) => answer,
        Err(error) => {
            let text = error.to_string();
            let meant = text.contains("shard-0000") && text.contains("cut from");
            if !meant {
                eprintln!("another error: {text}");
            }
            if meant { REFUSED } else { WRONG }
        }
    }
}

/// Reads every entry again and again until something happens; wrong answers end it.
fn read_all(dir: &Path, mut before: impl FnMut(u32)) -> i32 {
    let view = match BackupView::open_with(dir, &ViewOptions::default().with_cache_bytes(0)) {
        Ok(view) => view,
        Err(error) => return outcome::<()>(Err(error), WRONG),
    };
    let store = view.store("s").unwrap();
    for n in 0..ENTRIES {
        before(n);
        match store.get(&key(n)) {
            Ok(Some(value)) if value == n.to_le_bytes().repeat(8) => {}
            Ok(other) => {
                eprintln!("a wrong answer: {other:?}");
                return WRONG;
            }
            Err(error) => return outcome::<()>(Err(error), WRONG),
        }
    }
    ALL_READ
}

/// Cuts the file when the first entries were reported.
struct CutOnce {
    dir: PathBuf,
    done: AtomicBool,
}

impl Progress for CutOnce {
    fn add(&self, _: u64, _: u64) {
        // ORDERING: Relaxed; one thread restores.
        if !self.done.swap(true, Ordering::Relaxed) {
            cut(&self.dir);
        }
    }
}

fn child(scene: &str, dir: &Path) -> i32 {
    match scene {
        "view" => read_all(dir, |n| {
            if n == 5000 {
                cut(dir)
            }
        }),
        "restore" => {
            let progress = Arc::new(CutOnce { dir: dir.to_owned(), done: AtomicBool::new(false) });
            let work = Work::default().with_threads(1).with_progress(progress);
            outcome(restore(dir, &Clock::new(), &RestoreOptions::default().with_work(work)), WRONG)
        }
        "race" => {
            let (dir, seen) = (dir.to_owned(), Arc::new(AtomicU64::new(0)));
            let cutter = {
                let (dir, seen) = (dir.clone(), Arc::clone(&seen));
                let at = u64::from(std::process::id() % 2000) + 1000;
                std::thread::spawn(move || {
                    // ORDERING: Relaxed; only the moment depends on it.
                    while seen.load(Ordering::Relaxed) < at {
                        std::hint::spin_loop();
                    }
                    cut(&dir);
                })
            };
            // ORDERING: Relaxed; as above.
            let code = read_all(&dir, |n| seen.store(n.into(), Ordering::Relaxed));
            cutter.join().unwrap();
            code
        }
        _ => WRONG,
    }
}

/// Not a test of its own: what the child processes run. Without the environment it does nothing.
#[test]
fn child_process() {
    let (Some(dir), Ok(scene)) = (std::env::var_os(DIR), std::env::var(SCENE)) else { return };
    std::process::exit(child(&scene, Path::new(&dir)));
}

fn run(scene: &str) -> (Option<i32>, Option<i32>) {
    let dir = backup();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture"])
        .env(DIR, dir.path())
        .env(SCENE, scene)
        .output()
        .unwrap();
    let status = output.status;
    let result = (status.code(), status.signal());
    assert!(
        matches!(result, (Some(REFUSED), None) | (None, Some(SIGBUS))),
        "{scene}: {status}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    result
}

#[test]
fn a_view_of_a_file_that_was_cut_answers_with_an_error() {
    assert_eq!(run("view"), (Some(REFUSED), None));
}

#[test]
fn a_restore_of_a_file_that_was_cut_ends_with_an_error() {
    assert_eq!(run("restore"), (Some(REFUSED), None));
}

#[test]
fn a_file_cut_at_a_random_moment_ends_in_an_error_or_in_sigbus() {
    for _ in 0..20 {
        run("race");
    }
}
