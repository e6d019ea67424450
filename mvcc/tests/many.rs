//! Goal: reading many keys at once, and scanning without copying, answer as single reads and cursors do,
//! across the ends of barrier sessions.
//! Method: more entries than a session has; a store that changes after its snapshot.

use std::ops::ControlFlow;

use whimbrel_mvcc::{Clock, Snapshot, Store};

const KEYS: u32 = 10_000;

fn scanned(snapshot: &Snapshot, back: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let note = |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    let range = 10_u32.to_be_bytes().to_vec()..=9_900_u32.to_be_bytes().to_vec();
    if back {
        snapshot.scan_back(range, note)
    } else {
        snapshot.scan(range, note)
    }
    entries
}

#[test]
fn many_reads_answer_as_single_ones() {
    let store = Store::new(&Clock::new());
    for number in (0..KEYS).step_by(2) {
        store.put(&number.to_be_bytes(), &number.to_le_bytes()).unwrap();
    }
    let snapshot = store.snapshot();
    for number in 0..KEYS {
        if number % 3 == 0 {
            store.remove(&number.to_be_bytes()).unwrap();
        } else {
            store.put(&number.to_be_bytes(), b"new").unwrap();
        }
    }
    let owned: Vec<_> = (0..KEYS).rev().map(u32::to_be_bytes).collect();
    let keys: Vec<&[u8]> = owned.iter().map(|key| &key[..]).collect();
    let single: Vec<_> = keys.iter().map(|key| store.get(key)).collect();
    assert_eq!(store.get_many(&keys), single);
    let single: Vec<_> = keys.iter().map(|key| snapshot.get(key)).collect();
    assert_eq!(snapshot.get_many(&keys), single);
    let mut places = Vec::new();
    snapshot.get_many_with(&keys, |at, _| places.push(at));
    assert!(places.into_iter().eq(0..keys.len()));
}

#[test]
fn scans_give_what_cursors_give() {
    let store = Store::new(&Clock::new());
    for number in 0..KEYS {
        store.put(&number.to_be_bytes(), &number.to_le_bytes()).unwrap();
    }
    let snapshot = store.snapshot();
    for number in (0..KEYS).step_by(5) {
        store.remove(&number.to_be_bytes()).unwrap();
    }
    for snapshot in [snapshot, store.snapshot()] {
        let range = 10_u32.to_be_bytes().to_vec()..=9_900_u32.to_be_bytes().to_vec();
        let mut entries: Vec<_> = snapshot.range(range).entries().collect();
        assert_eq!(scanned(&snapshot, false), entries);
        entries.reverse();
        assert_eq!(scanned(&snapshot, true), entries);
        let mut seen = 0;
        snapshot.scan(.., |_, _| {
            seen += 1;
            if seen == 5_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(seen, 5_000, "a scan that breaks ends there");
    }
}
