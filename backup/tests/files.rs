//! Goal: a shard or a delta is read back as it was written, or refused naming the file and the part.
//! Method: random contents round trip through bytes; every bit and every cut of one file; exchanged,
//! doubled and dropped blocks; failing sinks.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use proptest::prelude::*;
use whimbrel_backup::Error;
use whimbrel_backup::block::{BlockOptions, Compression};
use whimbrel_backup::delta::{self, DeltaWriter};
use whimbrel_backup::shard::{
    self, BackupId, Buffers, FileReader, FileSummary, Sequence, ShardWriter, Source,
};

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

const ID: BackupId = BackupId(*b"0123456789abcdef");

fn small_blocks() -> BlockOptions {
    BlockOptions::default().with_block_bytes(128)
}

fn write(entries: &Entries, options: BlockOptions) -> (Vec<u8>, FileSummary) {
    let path = Path::new("shard-0003");
    let mut writer =
        ShardWriter::new(Vec::new(), path, shard::identity(ID, 0, 3), options).unwrap();
    for (key, value) in entries {
        writer.push(key, value).unwrap();
    }
    writer.finish().unwrap()
}

fn read_all<S: Source>(file: &FileReader<S>) -> Result<Entries, Error> {
    let mut buffers = Buffers::default();
    let mut sequence = Sequence::default();
    let mut all = Entries::new();
    for number in 0..file.blocks() {
        let block = file.block(number, &mut buffers)?;
        sequence.walk(&block, |key, value| {
            all.insert(key.to_vec(), value.unwrap_or_default().to_vec());
            Ok::<(), Error>(())
        })?;
    }
    file.check_end(sequence.last_key(), sequence.tally())?;
    Ok(all)
}

fn read(bytes: &[u8]) -> Result<Entries, Error> {
    read_all(&shard::open(bytes, "shard-0003")?)
}

fn sample() -> Entries {
    (0..40_u32)
        .map(|n| (format!("key-{n:03}").into_bytes(), format!("value-{n:012}").into_bytes()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_shard_comes_back(
        entries in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 0..30),
            prop::collection::vec(any::<u8>(), 0..300),
            0..200,
        ),
        block_bytes in 64_usize..10_000,
    ) {
        let (bytes, summary) = write(&entries, BlockOptions::default().with_block_bytes(block_bytes));
        let file = shard::open(&bytes[..], "shard-0003").unwrap();
        prop_assert_eq!(&file.summary(), &summary);
        prop_assert_eq!(summary.tally.entries, entries.len() as u64);
        let first = entries.keys().next().cloned().unwrap_or_default();
        let last = entries.keys().next_back().cloned().unwrap_or_default();
        prop_assert_eq!((&summary.first_key, &summary.last_key), (&first, &last));
        let mut buffers = Buffers::default();
        for (key, value) in &entries {
            prop_assert_eq!(file.get(key, &mut buffers).unwrap(), Some(Some(value.clone())));
        }
        prop_assert_eq!(read_all(&file).unwrap(), entries);
    }
}

#[test]
fn every_flipped_bit_of_a_shard_is_refused_naming_the_part() {
    let (good, summary) = write(&sample(), small_blocks());
    assert!(summary.blocks > 3);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = read(&bad).expect_err("a flipped bit must be refused");
        assert!(error.to_string().starts_with("shard-0003, "), "{error}");
    }
}

#[test]
fn every_truncation_of_a_shard_is_refused() {
    let (good, _) = write(&sample(), small_blocks());
    for len in 0..good.len() {
        assert!(read(&good[..len]).is_err(), "cut to {len} bytes");
        assert!(read(&good[good.len() - len..]).is_err(), "the last {len} bytes only");
    }
}

#[test]
fn exchanged_doubled_and_dropped_blocks_are_refused() {
    let options = small_blocks().with_compression(Compression::None);
    let (good, _) = write(&sample(), options);
    let len =
        |at: usize| 32 + u32::from_le_bytes(good[at + 8..at + 12].try_into().unwrap()) as usize;
    let (a, b) = (40, 40 + len(40));
    let end = b + len(b);
    assert_eq!(b - a, end - b, "blocks of one size, the hardest case");
    let joined = |parts: [&[u8]; 4]| parts.concat();
    let cases = [
        ("exchanged", joined([&good[..a], &good[b..end], &good[a..b], &good[end..]])),
        ("doubled", joined([&good[..a], &good[a..b], &good[a..b], &good[end..]])),
        ("dropped", joined([&good[..a], &[], &good[b..end], &good[end..]])),
        ("inserted", joined([&good[..b], &good[a..b], &good[b..end], &good[end..]])),
    ];
    for (name, bytes) in cases {
        assert!(read(&bytes).expect_err(name).is_corruption());
    }
}

#[test]
fn a_delta_is_not_a_shard() {
    let id = delta::identity(ID, 0, 1);
    let mut writer =
        DeltaWriter::new(Vec::new(), Path::new("delta-0001"), id, small_blocks()).unwrap();
    writer.remove(b"").unwrap();
    writer.put(b"a", b"1").unwrap();
    let (bytes, _) = writer.finish().unwrap();
    assert!(matches!(shard::open(&bytes[..], "delta-0001"), Err(Error::WrongKind { .. })));
    let file = delta::open(&bytes[..], "delta-0001").unwrap();
    let mut buffers = Buffers::default();
    assert_eq!(file.get(b"", &mut buffers).unwrap(), Some(None));
    assert_eq!(file.get(b"a", &mut buffers).unwrap(), Some(Some(b"1".to_vec())));
    assert_eq!(file.get(b"b", &mut buffers).unwrap(), None);
    assert!(ShardWriter::new(Vec::new(), Path::new("x"), id, small_blocks()).is_err());
}

#[test]
fn keys_must_ascend_across_blocks_too() {
    let path = Path::new("shard-0003");
    let mut writer =
        ShardWriter::new(Vec::new(), path, shard::identity(ID, 0, 3), small_blocks()).unwrap();
    writer.push(b"m", &[0; 200]).unwrap();
    assert!(matches!(writer.push(b"m", &[0; 200]), Err(Error::OutOfOrder { .. })));
    assert!(matches!(writer.push(b"a", b""), Err(Error::OutOfOrder { .. })));
    writer.push(b"z", b"").unwrap();
    let (bytes, _) = writer.finish().unwrap();
    assert_eq!(read(&bytes).unwrap().len(), 2);
}

/// Takes some bytes, then fails like a full disk, then works again.
struct FullOnce {
    room: usize,
    failed: bool,
}

impl Write for FullOnce {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed || bytes.len() <= self.room {
            self.room = self.room.saturating_sub(bytes.len());
            return Ok(bytes.len());
        }
        self.failed = true;
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_with_a_hole_is_never_finished() {
    let path = Path::new("/backups/shard-0003");
    let sink = FullOnce { room: 300, failed: false };
    let mut writer =
        ShardWriter::new(sink, path, shard::identity(ID, 0, 3), small_blocks()).unwrap();
    let error = sample().iter().find_map(|(key, value)| writer.push(key, value).err());
    let error = error.expect("the sink is full");
    assert!(error.to_string().starts_with("cannot write /backups/shard-0003: "), "{error}");
    assert!(matches!(writer.finish(), Err(Error::WriterFailed { .. })));
}
