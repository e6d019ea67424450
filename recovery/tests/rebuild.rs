//! Goal: a range is rebuilt from exactly its blocks, in their order, or not at all.
//! Method: blocks in order, exchanged, doubled, dropped at the ends, from outside the range, of the wrong
//! kind, damaged; block-wise replay of changes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use whimbrel_backup::block::{BlockBuilder, BlockKind, BlockOptions};
use whimbrel_backup::{Error as BackupError, Place};
use whimbrel_mvcc::{Clock, KeyRange, Store, StoreOptions};
use whimbrel_recovery::{Error, Rebuild, apply_block};

fn block(kind: BlockKind, keys: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut builder = BlockBuilder::new(kind, BlockOptions::default());
    for n in keys {
        builder.add(format!("key-{n:03}").as_bytes(), &n.to_le_bytes()).unwrap();
    }
    let mut bytes = Vec::new();
    builder.finish_into(&mut bytes).unwrap();
    bytes
}

fn blocks() -> [Vec<u8>; 3] {
    [0..10, 10..20, 20..30].map(|keys| block(BlockKind::Entries, keys))
}

fn place(number: u64) -> Place {
    Place::block("range", number)
}

fn push_all(blocks: &[&[u8]]) -> Result<Store, Error> {
    let mut rebuild = Rebuild::new(KeyRange::from("key-000".."key-030"));
    for (number, bytes) in (0..).zip(blocks) {
        rebuild.push_block(bytes, place(number))?;
    }
    let rebuilt = rebuild.finish(place(99))?;
    assert_eq!(rebuilt.tally.digest, rebuilt.segment.digest());
    let segments = vec![rebuilt.segment];
    Ok(Store::from_segments(&Clock::new(), StoreOptions::new(), segments).unwrap())
}

#[test]
fn blocks_in_order_make_a_segment() {
    let [a, b, c] = blocks();
    let store = push_all(&[&a, &b, &c]).unwrap();
    assert_eq!(store.snapshot().len(), 30);
    assert_eq!(store.get(b"key-017"), Some(17_u32.to_le_bytes().to_vec()));
    assert!(push_all(&[]).unwrap().snapshot().is_empty());
}

#[test]
fn blocks_out_of_order_are_refused_naming_the_block() {
    let [a, b, c] = blocks();
    for (name, blocks, at) in [
        ("exchanged", [&a, &c, &b], 2),
        ("doubled", [&a, &a, &b], 1),
        ("backwards", [&c, &b, &a], 1),
    ] {
        let error = push_all(&blocks.map(Vec::as_slice)).expect_err(name);
        assert!(matches!(error, Error::Backup(BackupError::OutOfOrder { .. })), "{name}: {error}");
        assert_eq!(error.place(), Some(&place(at)), "{name}");
    }
}

#[test]
fn keys_outside_of_the_range_are_refused() {
    let mut rebuild = Rebuild::new(KeyRange::from("key-005".."key-015"));
    let below = rebuild.push_block(&block(BlockKind::Entries, 0..10), place(0)).unwrap_err();
    assert!(matches!(below, Error::OutsideRange { .. }), "{below}");
    let mut rebuild = Rebuild::new(KeyRange::from("key-005".."key-015"));
    let above = rebuild.push_block(&block(BlockKind::Entries, 6..16), place(0)).unwrap_err();
    assert!(matches!(above, Error::OutsideRange { .. }), "{above}");
}

#[test]
fn after_a_refused_block_there_is_no_segment() {
    let [a, b, _] = blocks();
    let mut damaged = b.clone();
    damaged[40] ^= 1;
    let mut rebuild = Rebuild::new(KeyRange::all());
    rebuild.push_block(&a, place(0)).unwrap();
    let error = rebuild.push_block(&damaged, place(1)).unwrap_err();
    assert!(error.to_string().starts_with("range, block 1: checksum mismatch"), "{error}");
    let error = rebuild.push_block(&b, place(1)).unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
    assert!(matches!(rebuild.finish(place(2)), Err(Error::Broken { .. })));
    // The same when the block is sound and comes at the wrong place.
    let mut rebuild = Rebuild::new(KeyRange::all());
    rebuild.push_block(&b, place(0)).unwrap();
    rebuild.push_block(&a, place(1)).unwrap_err();
    assert!(matches!(rebuild.finish(place(2)), Err(Error::Broken { .. })));
}

#[test]
fn changes_are_not_entries() {
    let changes = block(BlockKind::Changes, 0..3);
    let mut rebuild = Rebuild::new(KeyRange::all());
    assert!(rebuild.push_block(&changes, place(0)).unwrap_err().is_corruption());
}

#[test]
fn a_prefix_goes_before_every_key_and_not_into_the_digest() {
    let [a, b, c] = blocks();
    let mut plain = Rebuild::new(KeyRange::all());
    let mut prefixed = Rebuild::with_key_prefix(KeyRange::from("key-".."key-~"), b"p/");
    for (number, bytes) in (0..).zip([a, b, c]) {
        plain.push_block(&bytes, place(number)).unwrap();
        prefixed.push_block(&bytes, place(number)).unwrap();
    }
    let (plain, prefixed) = (plain.finish(place(3)).unwrap(), prefixed.finish(place(3)).unwrap());
    assert_eq!(plain.tally, prefixed.tally);
    assert_eq!(prefixed.segment.first_key(), Some(&b"p/key-000"[..]));
    assert_eq!(prefixed.last_key, b"key-029");
}

#[test]
fn a_block_of_changes_is_applied_whole_or_not_at_all() {
    let store = Store::new(&Clock::new());
    let frame = block(BlockKind::Changes, 0..5);
    let mut damaged = frame.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(apply_block(&store, &damaged, b"p/", place(0)).is_err());
    assert!(store.snapshot().is_empty());
    assert_eq!(apply_block(&store, &frame, b"p/", place(0)).unwrap().puts, 5);
    assert_eq!(store.get(b"p/key-004"), Some(4_u32.to_le_bytes().to_vec()));
}
