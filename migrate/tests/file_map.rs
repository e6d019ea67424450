//! Goal: the map's file never forgets an acknowledged swap, never shows half of one, and says what
//! is wrong with it.
//! Method: several handles (each with its own lock, as processes have) race for one record; every
//! truncation and every flipped bit of a small file is opened; the file is grown past compaction
//! while another handle watches; a full device and foreign files give their errors.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tempfile::tempdir;
use whimbrel_migrate::{CasOp, Error, FileMap, NodeId, NodeInfo, Slot, SlotMap, SlotRecord};

fn node(name: &str) -> NodeId {
    NodeId::new(name).expect("a valid name")
}

fn slot(number: u16) -> Slot {
    Slot::new(number).expect("an existing slot")
}

fn open(path: &Path) -> FileMap {
    FileMap::open(path).expect("the map opens")
}

#[test]
fn one_of_many_racing_swaps_wins_each_epoch() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("map");
    let first = SlotRecord::first(node("a:1"), 0);
    assert!(open(&path).cas(slot(1), None, &first).expect("cas").is_won());
    let won: u64 = thread::scope(|s| {
        let threads: Vec<_> = (0..4u64)
            .map(|t| {
                let map = open(&path);
                s.spawn(move || {
                    let mut won = 0;
                    for i in 0..25 {
                        let now = map.get(slot(1)).expect("get").expect("a record");
                        let new = now.restarted(t * 1000 + i);
                        won += u64::from(map.cas(slot(1), Some(&now), &new).expect("cas").is_won());
                    }
                    won
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).sum()
    });
    let last = open(&path).get(slot(1)).expect("get").expect("a record");
    assert_eq!(last.epoch, 1 + won, "every won swap raised the epoch once");
    assert!(won >= 25, "somebody wins every round");
}

fn small_map(path: &Path) -> Vec<u64> {
    let map = open(path);
    let mut ends = vec![fs::metadata(path).expect("meta").len()];
    let mut record = SlotRecord::first(node("a:1"), 5);
    map.put_node(&NodeInfo { id: node("a:1"), bus: node("a:2") }).expect("put");
    ends.push(fs::metadata(path).expect("meta").len());
    map.cas(slot(9), None, &record).expect("cas");
    ends.push(fs::metadata(path).expect("meta").len());
    for _ in 0..3 {
        let new = record.restarted(6);
        assert!(map.cas(slot(9), Some(&record), &new).expect("cas").is_won());
        record = new;
        ends.push(fs::metadata(path).expect("meta").len());
    }
    ends
}

#[test]
fn a_torn_tail_is_cut_and_whole_entries_stay() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("map");
    let ends = small_map(&path);
    let bytes = fs::read(&path).expect("read");
    for cut in 0..bytes.len() {
        let copy = dir.path().join("cut");
        fs::write(&copy, &bytes[..cut]).expect("write");
        let map = open(&copy);
        let whole = ends.iter().filter(|&&end| end > 0 && end <= cut as u64).count();
        let epoch = map.get(slot(9)).expect("get").map_or(0, |r| r.epoch);
        assert_eq!(epoch, whole.saturating_sub(1) as u64, "cut at {cut}");
        // And it can be written again.
        let old = map.get(slot(9)).expect("get");
        let new =
            old.as_ref().map_or_else(|| SlotRecord::first(node("b:1"), 1), |r| r.restarted(1));
        assert!(map.cas(slot(9), old.as_ref(), &new).expect("cas").is_won());
        assert_eq!(open(&copy).get(slot(9)).expect("get"), Some(new));
    }
}

#[test]
fn every_flipped_bit_before_the_last_entry_is_refused() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("map");
    let ends = small_map(&path);
    let bytes = fs::read(&path).expect("read");
    let last = ends[ends.len() - 2];
    let copy = dir.path().join("flip");
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(&copy, &damaged).expect("write");
        match FileMap::open(&copy) {
            Err(
                Error::CorruptFile { file, .. }
                | Error::ForeignFile { file, .. }
                | Error::UnsupportedVersion { file, .. },
            ) => assert_eq!(file, copy),
            Err(other) => panic!("bit {bit}: {other}"),
            // Damage to the last entry looks like a torn write: that entry, and only it, is gone.
            Ok(map) => {
                assert!(bit as u64 / 8 >= last, "bit {bit} was not noticed");
                assert_eq!(map.get(slot(9)).expect("get").map(|r| r.epoch), Some(3));
            }
        }
    }
}

#[test]
fn batches_swap_each_record_on_its_own_and_compaction_keeps_all() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("map");
    let (map, watcher) = (open(&path), Arc::new(open(&path)));
    let all = |expected: &dyn Fn(Slot) -> Option<SlotRecord>, inc: u64| -> Vec<CasOp> {
        Slot::all()
            .map(|slot| {
                let expected = expected(slot);
                let new = expected.as_ref().map_or_else(
                    || SlotRecord::first(node("a:1"), inc),
                    |r: &SlotRecord| r.restarted(inc),
                );
                CasOp { slot, expected, new }
            })
            .collect()
    };
    let outcomes = map.cas_many(&all(&|_| None, 0)).expect("cas");
    assert!(outcomes.iter().all(|o| o.is_won()));
    assert!(watcher.cas_many(&all(&|_| None, 0)).expect("cas").iter().all(|o| !o.is_won()));
    let mut longest = 0;
    for round in 1..=12 {
        let outcomes = map.cas_many(&all(&|s| map.peek(s), round)).expect("cas");
        assert!(outcomes.iter().all(|o| o.is_won()));
        let seen = watcher.get(slot(77)).expect("get").expect("a record");
        assert_eq!((seen.epoch, seen.incarnation), (round + 1, round), "the other handle follows");
        longest = longest.max(fs::metadata(&path).expect("meta").len());
    }
    assert!(fs::metadata(&path).expect("meta").len() < longest, "the file was compacted");
    assert_eq!(open(&path).all().expect("all").len(), 16_384);
    // The handle that did not compact writes on, into the new file.
    let now = watcher.get(slot(3)).expect("get").expect("a record");
    assert!(watcher.cas(slot(3), Some(&now), &now.restarted(99)).expect("cas").is_won());
    assert_eq!(map.get(slot(3)).expect("get").map(|r| r.incarnation), Some(99));
}

#[test]
fn foreign_files_and_full_devices_are_named() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("map");
    fs::write(&path, b"#!/bin/sh\necho hello\n").expect("write");
    let error = FileMap::open(&path).expect_err("a shell script is no slot map");
    assert!(matches!(error, Error::ForeignFile { .. }), "{error}");
    assert!(error.to_string().contains("slot map"));
    let error = FileMap::open(dir.path().join("no/such/dir")).expect_err("no directory");
    assert!(error.to_string().contains("no/such/dir"), "{error}");
}

#[test]
fn a_full_device_is_named_and_changes_nothing() {
    let dir = tempdir().expect("a directory");
    let path = dir.path().join("full");
    // Every write to this device fails with "no space left"; its length is always 0.
    std::os::unix::fs::symlink("/dev/full", &path).expect("symlink");
    let map = open(&path);
    let record = SlotRecord::first(node("a:1"), 0);
    let error = map.cas(slot(1), None, &record).expect_err("no space");
    assert!(matches!(&error, Error::DiskFull { file } if *file == path), "{error}");
    assert!(error.is_retryable() && error.to_string().contains("free some space"), "{error}");
    assert_eq!(map.get(slot(1)).expect("get"), None);
}
