//! Goal: a process that is killed at any moment of an incremental backup or of a prune leaves whole chains, the old
//! ones or the new ones, and is in nobody's way afterwards.
//!
//! Method: SIGKILL at random moments, half of them anywhere in the process's life, half from the moment on at which
//! it has begun to change the repository. Two engines with the same collection are backed up by turns into one
//! chain, so that each backup has changes to write. After every kill each chain is restored to its end, which
//! compares counts and digests behind each of its backups; every backup that was there is there, and shows what it
//! showed; a new one shows all that its engine has. A prune has removed backups in its order and nothing else, and
//! the next one ends what it began. `WHIMBREL_KILLS` and `WHIMBREL_SEED` are the kills of each test and the seed of
//! their moments; `ci/kill-backup.sh` kills 1,000 of each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::tempdir;
use whimbrel_backup::Backup;
use whimbrel_backup::manifest::MANIFEST;
use whimbrel_backup::repository::{Repository, State};
use whimbrel_mvcc::Clock;
use whimbrel_recovery::{RestoreOptions, restore_chain};

use crate::common::{arg, whimbrel_succeeds};
use crate::moments::{Moments, Signal, Victim, kills};

/// Kills unless told otherwise.
const KILLS: u64 = 12;
/// Rounds after which a new chain begins.
const CHAIN_ROUNDS: u64 = 8;
/// Rows of an engine that is backed up by increments: some tens of milliseconds of work.
const ROWS: u32 = 20_000;
/// Chains of two backups each that are pruned, all but one.
const CHAINS: usize = 10;

/// Name, number of entries and digest of each store.
type Content = Vec<(String, u64, u64)>;

fn content(backup: &Backup) -> Content {
    let stores = backup.manifest().stores.iter();
    stores.map(|store| (store.name.clone(), store.entries, store.digest)).collect()
}

/// An engine of so many rows; every `changed`th has another name than it has elsewhere, or is not there.
fn engine(folder: &Path, name: &str, rows: u32, changed: u32) -> PathBuf {
    let mut text = String::from("id,name\n");
    for row in (0..rows).filter(|row| row % (3 * changed) != 1) {
        let other = if row % changed == 0 { name } else { "" };
        writeln!(text, "{row},name {}{other}", row * 7919 % 40_009).expect("to a string");
    }
    let (data, dir) = (folder.join(format!("{name}.csv")), folder.join(name));
    fs::write(&data, text).expect("a temporary file can be written");
    let import = ["import", "--data", arg(&data), "--dir", arg(&dir), "--collection", "birds"];
    whimbrel_succeeds(&import);
    dir
}

/// What a backup of the engine shows.
fn shown(folder: &Path, engine: &Path) -> Content {
    let to = folder.join("alone");
    whimbrel_succeeds(&["backup", "--dir", arg(engine), "--to", arg(&to)]);
    let shown = content(&Backup::open(&to).expect("it was written"));
    fs::remove_dir_all(&to).expect("it can be removed");
    shown
}

fn names(dir: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(dir).expect("it is there").flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The backups of a repository, by number: directory, and what it shows. Each must be part of a whole chain.
fn backups(root: &Path, when: &str) -> Vec<(String, Content)> {
    let repository = Repository::open(root).expect("it can be listed");
    assert!(repository.foreign().is_empty(), "{when}: {:?}", repository.foreign());
    let (mut found, mut tip) = (Vec::new(), None);
    let restore = |backup: &Backup| {
        let restored = repository
            .chain(backup)
            .map_err(whimbrel_recovery::Error::from)
            .and_then(|chain| restore_chain(&chain, &Clock::new(), &RestoreOptions::default()));
        restored.unwrap_or_else(|error| panic!("{when}: {error}"));
    };
    for entry in repository.entries() {
        match entry.state() {
            State::Complete(backup) => {
                if backup.manifest().base.is_none() {
                    tip.take().into_iter().for_each(restore);
                }
                tip = Some(backup);
                found.push((entry.name().to_owned(), content(backup)));
            }
            State::Damaged(error) => panic!("{when}: {error}"),
            _ => {}
        }
    }
    tip.into_iter().for_each(restore);
    found
}

#[test]
fn a_kill_at_any_moment_of_an_incremental_backup_leaves_the_old_chain_or_the_new() {
    let (kills, mut moments) = (kills(KILLS), Moments::new());
    let folder = tempdir().expect("a temporary folder");
    let engines = ["curlew", "knot"].map(|name| engine(folder.path(), name, ROWS, 11));
    let whole = [0, 1].map(|at| shown(folder.path(), &engines[at]));
    assert_ne!(whole[0], whole[1], "there is nothing to write");
    let root = folder.path().join("backups");
    let back_up =
        |at: usize| ["backup", "--dir", arg(&engines[at]), "--into", arg(&root), "--incremental"];
    whimbrel_succeeds(&back_up(0));
    let one = names(&root);
    let victim = Victim::measure(&back_up(1), &|| names(&root) != one);
    let (mut none, mut torn, mut done) = (0, 0, 0);
    let mut before = Vec::new();
    for round in 1..=kills {
        let when = format!("round {round}");
        if round % CHAIN_ROUNDS == 1 {
            fs::remove_dir_all(&root).expect("it can be removed");
            whimbrel_succeeds(&back_up(0));
            before = backups(&root, &when);
        }
        // The other engine than the newest backup is of.
        let at = usize::from(round % 2 == 1);
        let there = names(&root);
        let begun = || names(&root) != there;
        let begun = (round % 4 < 2).then_some(&begun as &dyn Fn() -> bool);
        victim.end(&back_up(at), Signal::Kill, &mut moments, begun);
        let mut after = backups(&root, &when);
        match after.len() - before.len() {
            0 if names(&root) == there => none += 1,
            0 => torn += 1,
            _ => done += 1,
        }
        if after.len() == before.len() {
            assert_eq!(after, before, "{when}");
            whimbrel_succeeds(&back_up(at));
            after = backups(&root, &when);
        }
        let (newest, old) = after.split_last().expect("there is a backup");
        assert_eq!((old, &newest.1), (&before[..], &whole[at]), "{when}");
        before = after;
    }
    println!(
        "{kills} kills: {none} before the directory, {torn} before the manifest, {done} after"
    );
    if kills >= 200 {
        assert!(torn > 0 && done > 0, "{torn} torn, {done} done");
    }
}

/// Copies a directory of directories of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a new directory");
    for name in names(from) {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).expect("it can be copied");
        }
    }
}

#[test]
fn a_kill_at_any_moment_of_a_prune_leaves_whole_chains_and_the_next_one_ends_it() {
    let (kills, mut moments) = (kills(KILLS), Moments::new());
    let folder = tempdir().expect("a temporary folder");
    let engines = ["curlew", "knot"].map(|name| engine(folder.path(), name, 300, 7));
    let [kept, root] = ["kept", "backups"].map(|name| folder.path().join(name));
    for _ in 0..CHAINS {
        let full = ["backup", "--dir", arg(&engines[0]), "--into", arg(&kept)];
        whimbrel_succeeds(&full);
        let next = ["backup", "--dir", arg(&engines[1]), "--into", arg(&kept), "--incremental"];
        whimbrel_succeeds(&next);
    }
    let all = backups(&kept, "before");
    assert_eq!(all.len(), 2 * CHAINS);
    // The newest backup of a chain goes first.
    let (old, newest) = all.split_at(all.len() - 2);
    let order: Vec<&String> = old.chunks(2).flat_map(|chain| [&chain[1].0, &chain[0].0]).collect();
    let prune = ["prune", arg(&root), "--keep", "1"];
    let begun = || !root.join(order[0]).join(MANIFEST).exists();
    copy(&kept, &root);
    let victim = Victim::measure(&prune, &begun);
    let (mut none, mut part, mut done) = (0, 0, 0);
    for round in 1..=kills {
        let when = format!("round {round}");
        fs::remove_dir_all(&root).expect("it can be removed");
        copy(&kept, &root);
        let begun = (round % 4 < 2).then_some(&begun as &dyn Fn() -> bool);
        victim.end(&prune, Signal::Kill, &mut moments, begun);
        let left = backups(&root, &when);
        let (gone, still) = order.split_at(all.len() - left.len());
        let expected = all.iter().filter(|(name, _)| !gone.contains(&name)).cloned();
        assert_eq!(left, expected.collect::<Vec<_>>(), "{when}: another order");
        let leftovers = gone.iter().filter(|name| root.join(name).exists()).count();
        assert!(leftovers <= 1, "{when}: {leftovers} were begun and not ended");
        match (gone.len(), still.len() + leftovers) {
            (0, _) => none += 1,
            (_, 0) => done += 1,
            _ => part += 1,
        }
        whimbrel_succeeds(&prune);
        assert_eq!(backups(&root, &when), newest, "{when}");
        assert_eq!(names(&root).len(), newest.len() + 1, "{when}: something stays beside the lock");
    }
    println!("{kills} kills: {none} before the first backup went, {part} in between, {done} after");
    if kills >= 200 {
        assert!(part > 0 && done > 0, "{part} in part, {done} done");
    }
}
