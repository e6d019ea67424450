//! Goal: a block gives back exactly what was put in, and gives nothing at all when a byte of it is wrong.
//! Method: random sorted entries over all shapes of keys and values; every bit and every length of one
//! block; forged headers and bodies with right checksums.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use whimbrel_backup::block::{
    BlockBuilder, BlockDecoder, BlockHeader, BlockKind, BlockOptions, Compression, HEADER_LEN,
    MAX_KEY_LEN,
};
use whimbrel_backup::{Error, Place};

type Change = (Vec<u8>, Option<Vec<u8>>);
type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn place() -> Place {
    Place::block("frame", 7)
}

fn encode(kind: BlockKind, options: BlockOptions, changes: &Changes) -> Vec<Vec<u8>> {
    let mut builder = BlockBuilder::new(kind, options);
    let mut blocks = Vec::new();
    for (key, value) in changes {
        if !builder.fits(key.len(), value.as_ref().map_or(0, Vec::len)) {
            let mut block = Vec::new();
            builder.finish_into(&mut block).unwrap();
            blocks.push(block);
        }
        match value {
            Some(value) => builder.add(key, value).unwrap(),
            None => builder.add_remove(key).unwrap(),
        }
    }
    if !builder.is_empty() {
        let mut block = Vec::new();
        builder.finish_into(&mut block).unwrap();
        blocks.push(block);
    }
    blocks
}

fn decode(bytes: &[u8]) -> Result<Vec<Change>, Error> {
    let mut decoder = BlockDecoder::new();
    let block = decoder.decode(bytes, place())?;
    let mut entries = block.entries();
    let mut all = Vec::new();
    while let Some((key, value)) = entries.next_entry()? {
        all.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }
    assert_eq!(all.len(), block.len() as usize);
    Ok(all)
}

fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        // Long common prefixes, of lengths around the limits of one and two varint bytes.
        (prop::sample::select(vec![1_usize, 126, 127, 128, 300, 20_000]), any::<u16>()).prop_map(
            |(len, tail)| {
                let mut key = vec![b'p'; len];
                key.extend_from_slice(&tail.to_be_bytes());
                key
            }
        ),
        any::<u8>().prop_map(|byte| vec![byte; MAX_KEY_LEN]),
    ]
}

fn values() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        Just(None),
        Just(Some(Vec::new())),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Some),
        any::<u8>().prop_map(|byte| Some(vec![byte; 70_000])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(
        changes in prop::collection::btree_map(keys(), values(), 1..60),
        block_bytes in 64_usize..100_000,
        restart_interval in 1_u32..20,
        packed in any::<bool>(),
    ) {
        let compression = if packed { Compression::Lz4 } else { Compression::None };
        let options = BlockOptions::default()
            .with_block_bytes(block_bytes)
            .with_restart_interval(restart_interval)
            .with_compression(compression);
        let blocks = encode(BlockKind::Changes, options, &changes);
        let mut back = Vec::new();
        for bytes in &blocks {
            let entries = decode(bytes).unwrap();
            let mut decoder = BlockDecoder::new();
            let block = decoder.decode(bytes, place()).unwrap();
            for (key, value) in &entries {
                prop_assert_eq!(block.get(key).unwrap(), Some(value.as_deref()));
                let mut absent = key.clone();
                absent.push(0);
                if !changes.contains_key(&absent) {
                    prop_assert_eq!(block.get(&absent).unwrap(), None);
                }
            }
            back.extend(entries);
        }
        prop_assert_eq!(back, changes.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn noise_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_forged_body_with_right_checksums_never_panics(
        raw in prop::collection::vec(0_u8..20, 4..200),
        entries in 1_u32..20,
        restarts in 1_u32..4,
        key in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let bytes = forge(&raw, raw.len(), entries, restarts, false);
        let _ = decode(&bytes);
        if let Ok(block) = BlockDecoder::new().decode(&bytes, place()) {
            let _ = block.get(&key);
        }
        let _ = decode(&forge(&raw, raw.len() * 3, entries, restarts, true));
    }
}

/// A block with right checksums around whatever content.
fn forge(stored: &[u8], raw_len: usize, entries: u32, restarts: u32, packed: bool) -> Vec<u8> {
    let mut block = b"WBLK\x01\x02".to_vec();
    block.extend_from_slice(&[u8::from(packed), 0]);
    for word in [stored.len() as u32, raw_len as u32, entries, restarts] {
        block.extend_from_slice(&word.to_le_bytes());
    }
    let crc = crc32c::crc32c(&block);
    block.extend_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block), stored);
    block.extend_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(stored);
    block
}

fn small_block() -> Vec<u8> {
    let changes = (0..20_u32).map(|n| (format!("key-{n:03}").into_bytes(), Some(vec![b'v'; 9])));
    encode(BlockKind::Entries, BlockOptions::default(), &changes.collect()).remove(0)
}

#[test]
fn every_flipped_bit_is_refused_naming_the_block() {
    let good = small_block();
    assert_eq!(decode(&good).unwrap().len(), 20);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = decode(&bad).expect_err("a flipped bit must be refused");
        assert!(error.to_string().starts_with("frame, block 7: "), "{error}");
    }
}

#[test]
fn every_truncation_and_any_extra_byte_is_refused() {
    let good = small_block();
    for len in 0..good.len() {
        let error = decode(&good[..len]).expect_err("a cut block must be refused");
        assert!(matches!(error, Error::WrongLength { .. }), "{error}");
    }
    let mut long = good;
    long.push(0);
    assert!(matches!(decode(&long), Err(Error::WrongLength { .. })));
}

#[test]
fn forged_lengths_are_refused_before_memory_is_taken() {
    // Sixteen stored bytes can stand for 4,080 at most; a header that says 512 MiB is a lie.
    let stored = [0_u8; 16];
    for (raw_len, entries, restarts) in [
        (512 << 20, 1, 1),
        (u32::MAX as usize, 1, 1),
        (4081, 1, 1),
        (64, u32::MAX, 1),
        (64, 4, u32::MAX),
        (64, 4, 5),
        (64, 0, 0),
    ] {
        let bytes = forge(&stored, raw_len, entries, restarts, true);
        let error = BlockHeader::parse(&bytes, &place()).expect_err("the header is a lie");
        assert!(error.is_corruption(), "{error}");
    }
    let megabyte = vec![0_u8; 1 << 20];
    let shared = forge(&megabyte, 5 << 20, 2, 1, true);
    assert!(matches!(
        BlockHeader::parse(&shared, &place()),
        Err(Error::LimitExceeded { limit, .. }) if limit == 4 << 20
    ));
}

#[test]
fn forged_content_is_refused_although_the_checksum_is_right() {
    // (raw bytes, entries, restart points): each breaks one rule.
    let cases: [(&str, Vec<u8>, u32); 7] = [
        ("equal keys", vec![0, 1, 1, b'a', 1, 0, 1], 2),
        ("descending", vec![0, 1, 1, b'b', 0, 1, 1, b'a'], 2),
        ("two empty keys", vec![0, 0, 1, 0, 0, 1], 2),
        ("shares too much", vec![0, 1, 1, b'a', 2, 1, 1, b'b'], 2),
        ("first entry shares", vec![1, 1, 1, b'a'], 1),
        ("left over", vec![0, 1, 1, b'a', 0, 1, 1, b'b'], 1),
        ("runs over the end", vec![0, 1, 9, b'a'], 1),
    ];
    for (name, mut raw, entries) in cases {
        raw.extend_from_slice(&0_u32.to_le_bytes());
        let error = decode(&forge(&raw, raw.len(), entries, 1, false)).expect_err(name);
        assert!(
            matches!(error, Error::Malformed { .. } | Error::OutOfOrder { .. }),
            "{name}: {error}"
        );
    }
    let mut wild = vec![0, 1, 1, b'a'];
    wild.extend_from_slice(&1_000_000_u32.to_le_bytes());
    let bytes = forge(&wild, wild.len(), 1, 1, false);
    assert!(decode(&bytes).is_err(), "a restart point outside");
    let mut decoder = BlockDecoder::new();
    assert!(decoder.decode(&bytes, place()).unwrap().get(b"a").is_err());
}

#[test]
fn a_walk_that_failed_stays_failed() {
    let mut raw = vec![0, 1, 1, b'b', 0, 1, 1, b'a', 0, 1, 1, b'c'];
    raw.extend_from_slice(&0_u32.to_le_bytes());
    let bytes = forge(&raw, raw.len(), 3, 1, false);
    let mut decoder = BlockDecoder::new();
    let block = decoder.decode(&bytes, place()).unwrap();
    let mut entries = block.entries();
    assert!(entries.next_entry().is_ok());
    assert!(entries.next_entry().is_err());
    assert!(entries.next_entry().is_err(), "neither another entry nor a clean end");
}

#[test]
fn the_builder_refuses_what_a_reader_would() {
    let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
    assert!(matches!(builder.finish_into(&mut Vec::new()), Err(Error::EmptyBlock)));
    builder.add(b"b", b"").unwrap();
    assert!(matches!(builder.add(b"b", b""), Err(Error::OutOfOrder { .. })));
    assert!(matches!(builder.add(b"a", b""), Err(Error::OutOfOrder { .. })));
    assert!(matches!(builder.add(b"", b""), Err(Error::OutOfOrder { .. })));
    assert!(matches!(builder.add_remove(b"c"), Err(Error::RemoveAmongEntries { .. })));
    let long = vec![b'x'; MAX_KEY_LEN + 1];
    assert!(matches!(builder.add(&long, b""), Err(Error::KeyTooLong { .. })));
    assert!(matches!(builder.add(b"c", &[0; 70_000]), Err(Error::BlockFull { .. })));
    let mut bytes = Vec::new();
    assert_eq!(builder.finish_into(&mut bytes).unwrap(), bytes.len());
    assert_eq!(decode(&bytes).unwrap(), vec![(b"b".to_vec(), Some(Vec::new()))]);
}

#[test]
fn incompressible_bytes_are_stored_as_they_are() {
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[0]
    })
    .take(4000)
    .collect();
    let one = |value: Vec<u8>| {
        let changes = BTreeMap::from([(b"k".to_vec(), Some(value))]);
        encode(BlockKind::Entries, BlockOptions::default(), &changes).remove(0)
    };
    assert_eq!(one(noise)[6], 0, "raw");
    let packed = one(vec![0; 4000]);
    assert_eq!(packed[6], 1, "LZ4");
    assert!(packed.len() < HEADER_LEN + 100);
}
