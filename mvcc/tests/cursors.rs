//! Goal: a cursor holds back no reclamation between two steps, and a scan that is resumed from a token goes
//! on where the other one stood: in both directions, from every place, in the same snapshot, in a later
//! one, and in a store that another process restored. Bytes that are no token are refused.
//! Method: small stores, every place of every scan; every bit and every length of tokens.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod common;

use std::ops::Bound;

use common::Rng;
use whimbrel_mvcc::{Clock, Cursor, CursorToken, Error, KeyRange, Snapshot, Store};
use xxhash_rust::xxh3::xxh3_64;

type Entry = (Vec<u8>, Vec<u8>);

/// Several portions: the first has 16 entries, the next ones 64 and 256.
const KEYS: u32 = 200;

fn store(keys: impl Iterator<Item = u32>) -> Store {
    let store = Store::new(&Clock::new());
    store.extend(keys.map(|n| (n.to_be_bytes(), n.to_le_bytes()))).unwrap();
    store
}

fn scan(snapshot: &Snapshot, range: &KeyRange, reverse: bool) -> Cursor {
    let cursor = snapshot.range(range.clone());
    if reverse { cursor.rev() } else { cursor }
}

/// As if the token had been written down and read again.
fn again(token: &CursorToken) -> CursorToken {
    let read = CursorToken::decode(&token.encode()).unwrap();
    assert_eq!(read, *token);
    read
}

fn ranges() -> [KeyRange; 4] {
    let key = |n: u32| n.to_be_bytes().to_vec();
    [
        KeyRange::all(),
        KeyRange::from(key(10)..=key(150)),
        KeyRange { lo: Bound::Excluded(key(20)), hi: Bound::Excluded(key(21)) },
        KeyRange { lo: Bound::Excluded(key(3)), hi: Bound::Unbounded },
    ]
}

#[test]
fn between_two_steps_nothing_is_held_back() {
    let store = store(0..KEYS);
    let snapshot = store.snapshot();
    for (reverse, steps) in [(false, 1), (false, 16), (false, 100), (true, 1), (true, 100)] {
        let mut cursor = scan(&snapshot, &KeyRange::all(), reverse);
        (0..steps).for_each(|_| assert!(cursor.next_entry().is_some()));
        // Versions that came after the snapshot and went again.
        for round in 0..10 {
            store.put("later", [round; 300]).unwrap();
        }
        store.remove("later").unwrap();
        store.collect_all();
        let barrier = store.clock().barrier().stats();
        assert_eq!(barrier.retired, barrier.reclaimed, "after {steps} steps: {barrier:?}");
        assert!(barrier.retired > 0);
        assert_eq!(store.clock().stats().oldest_reader, None);
        assert!(cursor.next_entry().is_some(), "and the cursor goes on");
    }
}

#[test]
fn a_resumed_scan_goes_on_behind_what_was_returned_last() {
    let store = store((0..KEYS).map(|n| 2 * n));
    let snapshot = store.snapshot();
    for range in ranges() {
        for reverse in [false, true] {
            let all: Vec<Entry> = scan(&snapshot, &range, reverse).into_iter().collect();
            let mut cursor = scan(&snapshot, &range, reverse);
            for steps in 0..=all.len() {
                let token = again(&cursor.token());
                assert_eq!((token.range(), token.is_reverse()), (&range, reverse));
                let rest: Vec<Entry> = snapshot.resume(&token).into_iter().collect();
                assert_eq!(rest, all[steps..], "after {steps} steps");
                assert_eq!(cursor.next_entry().is_some(), steps < all.len());
            }
            let mut end = snapshot.resume(&again(&cursor.token()));
            assert_eq!(end.position(), None);
            assert_eq!(end.next_entry(), None);
        }
    }
}

#[test]
fn a_token_of_a_cursor_that_was_sent_somewhere() {
    let store = store((0..KEYS).map(|n| 2 * n));
    let snapshot = store.snapshot();
    for range in ranges() {
        for (key, reverse) in (0..2 * KEYS + 9).flat_map(|n| [(n, false), (n, true)]) {
            let mut cursor = scan(&snapshot, &range, reverse);
            cursor.next_entry();
            cursor.seek(key.to_be_bytes());
            assert_eq!(cursor.position(), None);
            let mut resumed = snapshot.resume(&again(&cursor.token()));
            let next = cursor.next_entry().map(|(key, _)| key.to_vec());
            let same = resumed.next_entry().map(|(key, _)| key.to_vec());
            assert_eq!(same, next, "sent to {key}, reverse {reverse}");
        }
    }
}

#[test]
fn in_a_later_snapshot_what_has_come_and_gone_behind_the_place_counts() {
    let store = store((0..KEYS).map(|n| 4 * n));
    let snapshot = store.snapshot();
    let pages: Vec<(u32, [Vec<u8>; 2])> = [0, 1, 15, 16, 17, 80, 199, 200]
        .map(|steps| {
            let token = |reverse| {
                let mut cursor = scan(&snapshot, &KeyRange::all(), reverse);
                (0..steps).for_each(|_| assert!(cursor.next_entry().is_some()));
                cursor.token().encode()
            };
            (steps, [token(false), token(true)])
        })
        .to_vec();
    for n in 0..KEYS {
        store.remove((4 * n).to_be_bytes()).unwrap();
        store.put((4 * n + 1).to_be_bytes(), "new").unwrap();
    }
    drop(snapshot);
    store.collect_all();
    // Another process has restored what the store holds now, under a clock of its own.
    let restored = Store::new(&Clock::new());
    restored.extend(&store.snapshot()).unwrap();
    for snapshot in [store.snapshot(), restored.snapshot()] {
        for (steps, [up, down]) in &pages {
            let count = |page: &[u8]| {
                snapshot.resume(&CursorToken::decode(page).unwrap()).entries().count()
            };
            // Behind a key going up comes the new one beside it.
            let (left, last) = ((KEYS - steps) as usize, usize::from(*steps > 0));
            assert_eq!((count(up), count(down)), (left + last, left), "after {steps} steps");
        }
    }
}

#[test]
fn a_scan_that_ended_goes_on_when_more_has_come() {
    let store = store(0..3);
    let mut cursor = store.snapshot().range(..);
    while cursor.next_entry().is_some() {}
    let end = cursor.token();
    assert_eq!(store.snapshot().resume(&end).next_entry(), None);
    store.put(7_u32.to_be_bytes(), "seven").unwrap();
    let new: Vec<Entry> = store.snapshot().resume(&end).into_iter().collect();
    assert_eq!(new, [(7_u32.to_be_bytes().to_vec(), b"seven".to_vec())]);
    assert_eq!(cursor.next_entry(), None, "not in the old snapshot");
}

/// With a checksum that is right.
fn summed(body: &[u8]) -> Vec<u8> {
    [body, &xxh3_64(body).to_le_bytes()].concat()
}

/// Version 1, for as long as there are such tokens.
#[test]
fn tokens_of_version_1() {
    let store = Store::new(&Clock::new());
    store.extend([("a", ""), ("b", ""), ("c", "")]).unwrap();
    let mut cursor = store.snapshot().range("a"..="c").rev();
    cursor.next_entry();
    let token = cursor.token().encode();
    assert_eq!(token, summed(b"\x01\x65\x01\0\0\0a\x01\0\0\0c\x01\0\0\0c"));
    assert_eq!(token[17..], [141, 196, 74, 217, 71, 16, 23, 19]);
    assert_eq!(store.snapshot().range(..).token().encode(), summed(b"\x01\0"));
}

fn some_token() -> Vec<u8> {
    let store = store(0..20);
    let range = KeyRange::from(1_u32.to_be_bytes()..12_u32.to_be_bytes());
    let mut cursor = store.snapshot().range(range);
    cursor.next_entry();
    cursor.token().encode()
}

#[test]
fn what_is_no_token_is_refused() {
    let token = some_token();
    let refused = |bytes: &[u8]| match CursorToken::decode(bytes) {
        Err(Error::BadToken { len, .. }) => assert_eq!(len, bytes.len()),
        other => panic!("{bytes:?}: {other:?}"),
    };
    for len in 0..token.len() {
        refused(&token[..len]);
    }
    for bit in 0..8 * token.len() {
        let mut flipped = token.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refused(&flipped);
    }
    refused(&[&token[..], b"\0"].concat());
    refused(&[&token[..], &token].concat());
    let mut rng = Rng(7);
    for _ in 0..10_000 {
        let len = usize::try_from(rng.below(60)).unwrap();
        refused(&(0..len).map(|_| rng.next().to_le_bytes()[0]).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_summed_and_no_token_is_refused() {
    let later = CursorToken::decode(&summed(b"\x02anything"));
    assert_eq!(later, Err(Error::UnsupportedToken { found: 2, supported: 1 }));
    let bodies: [(&[u8], &str); 7] = [
        (b"\0\0", "it has no version"),
        (b"\x01\x80", "it has unknown flags"),
        (b"\x01\x03", "it has an end of an unknown kind"),
        (b"\x01\0more", "something is left behind its keys"),
        (b"\x01\x01", "a key is cut short"),
        (b"\x01\x01\x05\0\0\0four", "a key is cut short"),
        (b"\x01\x10\xFF\xFF\xFF\xFFa", "a key is cut short"),
    ];
    for (body, why) in bodies {
        let bytes = summed(body);
        let refused = Error::BadToken { len: bytes.len(), reason: why };
        assert_eq!(CursorToken::decode(&bytes), Err(refused.clone()));
        assert!(refused.to_string().contains(why));
    }
}

/// Places that no cursor is at: a scan begins within its range all the same.
#[test]
fn a_place_before_the_range_leads_to_its_beginning() {
    let store = Store::new(&Clock::new());
    store.extend([("a", ""), ("b", ""), ("c", ""), ("d", "")]).unwrap();
    let snapshot = store.snapshot();
    let first = |flags: u8, place: &[u8; 1]| {
        let body = [&[1, flags, 1, 0, 0, 0][..], b"b\x01\0\0\0c\x01\0\0\0", place].concat();
        let mut cursor = snapshot.resume(&CursorToken::decode(&summed(&body)).unwrap());
        cursor.next_entry().map(|(key, _)| key[0])
    };
    // From b to c, both included; the place included (0x10) or not (0x20); going down (0x40).
    assert_eq!([first(0x15, b"a"), first(0x25, b"a")], [Some(b'b'); 2]);
    assert_eq!([first(0x55, b"d"), first(0x65, b"d")], [Some(b'c'); 2]);
    assert_eq!([first(0x15, b"d"), first(0x55, b"a")], [None; 2]);
    assert_eq!([first(0x25, b"b"), first(0x65, b"c")], [Some(b'c'), Some(b'b')]);
}
