//! Goal: a sorted file holds what was written to it, in order and nothing else; it has its name when it is whole;
//! and it is refused, by its part, where a bit of it is another, where it is cut, or where it is of another kind.
//! Method: round trips, every bit and every cut of a small file, and files of the other kinds.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::Path;

use whimbrel_backup::Error;
use whimbrel_backup::block::{BlockOptions, MAX_VALUE_LEN};
use whimbrel_backup::delta::{self, DeltaWriter};
use whimbrel_backup::shard::{BackupId, Buffers, Sequence};
use whimbrel_backup::sorted::{self, SortedFileWriter};

type Entries = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn read(bytes: &[u8]) -> Result<Entries, Error> {
    let file = sorted::open(bytes, "test")?;
    let (mut buffers, mut sequence) = (Buffers::default(), Sequence::default());
    let mut entries = Entries::new();
    for number in 0..file.blocks() {
        let block = file.block(number, &mut buffers)?;
        sequence.walk(&block, |key, value| {
            entries.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            Ok::<(), Error>(())
        })?;
    }
    file.check_end(sequence.last_key(), sequence.tally())?;
    Ok(entries)
}

fn small(path: &Path) -> Entries {
    let options = BlockOptions::default().with_block_bytes(64);
    let mut writer = SortedFileWriter::create_with(path, options).unwrap();
    let entries: Entries =
        (0..12_u8).map(|n| (vec![b'k', n], (n % 3 > 0).then(|| vec![n; usize::from(n)]))).collect();
    for (key, value) in &entries {
        match value {
            Some(value) => writer.put(key, value).unwrap(),
            None => writer.remove(key).unwrap(),
        }
    }
    writer.finish().unwrap();
    entries
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn what_was_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub").join("a");
    let entries = small(&path);
    assert_eq!(read(&fs::read(&path).unwrap()).unwrap(), entries);
    assert_eq!(names(&dir.path().join("sub")), ["a"]);
    let empty = dir.path().join("empty");
    let summary = SortedFileWriter::create(&empty).unwrap().finish().unwrap();
    assert_eq!(summary.tally.entries, 0);
    assert_eq!(read(&fs::read(&empty).unwrap()).unwrap(), []);
}

#[test]
fn blocks_are_found_by_key() {
    let dir = tempfile::tempdir().unwrap();
    small(&dir.path().join("a"));
    let bytes = fs::read(dir.path().join("a")).unwrap();
    let file = sorted::open(&bytes[..], "a").unwrap();
    assert!(file.blocks() > 2);
    assert_eq!((file.block_from(b""), file.block_from(b"z")), (0, file.blocks()));
    for number in 0..file.blocks() {
        let key = file.block_key(number).to_vec();
        assert_eq!(file.block_from(&key), number);
        let behind = [&key[..], b"\0"].concat();
        let is_last = behind.as_slice() > file.last_key();
        assert_eq!(file.block_from(&behind), if is_last { file.blocks() } else { number });
    }
}

#[test]
fn it_has_its_name_when_it_is_whole_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut writer = SortedFileWriter::create(&path).unwrap();
    writer.put(b"k", b"v").unwrap();
    assert!(!path.exists());
    drop(writer);
    assert_eq!(names(dir.path()), [""; 0], "dropped it leaves nothing");
    let writer = SortedFileWriter::create(&path).unwrap();
    fs::write(&path, b"mine").unwrap();
    assert!(matches!(writer.finish(), Err(Error::Io { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"mine", "what is there is not replaced");
    assert_eq!(names(dir.path()), ["a"]);
    assert!(matches!(SortedFileWriter::create(&path), Err(Error::Io { .. })));
    assert!(matches!(SortedFileWriter::create(Path::new("/")), Err(Error::Io { .. })));
}

#[test]
fn keys_must_ascend_and_lengths_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let options = BlockOptions::default().with_block_bytes(64);
    let mut writer = SortedFileWriter::create_with(&dir.path().join("a"), options).unwrap();
    for n in 0..30_u8 {
        writer.put(&[n], &[n; 9]).unwrap();
        for lower in [n, n.saturating_sub(1)] {
            let refused = writer.remove(&[lower]).unwrap_err();
            assert!(matches!(refused, Error::OutOfOrder { .. }), "{refused}");
        }
    }
    assert!(matches!(writer.put(&[40; 1 << 16], b""), Err(Error::KeyTooLong { .. })));
    let long = vec![0; MAX_VALUE_LEN + 1];
    assert!(matches!(writer.put(b"z", &long), Err(Error::ValueTooLong { .. })));
    drop(long);
    assert_eq!(writer.finish().unwrap().tally.entries, 30, "what was refused was not added");
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    small(&dir.path().join("a"));
    let bytes = fs::read(dir.path().join("a")).unwrap();
    for at in 0..bytes.len() {
        assert!(read(&bytes[..at]).unwrap_err().is_corruption(), "cut at {at}");
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let error = read(&damaged).unwrap_err();
            let known = error.is_corruption() || matches!(error, Error::UnsupportedVersion { .. });
            assert!(known && error.place().is_some(), "bit {bit} of byte {at}: {error}");
        }
    }
}

#[test]
fn files_of_other_kinds_are_refused() {
    let identity = delta::identity(BackupId(*b"0123456789abcdef"), 0, 0);
    let options = BlockOptions::default();
    let mut writer = DeltaWriter::new(Vec::new(), Path::new("d"), identity, options).unwrap();
    writer.put(b"k", b"v").unwrap();
    let (bytes, _) = writer.finish().unwrap();
    assert!(matches!(read(&bytes), Err(Error::WrongKind { expected: 3, got: 2, .. })));
    let dir = tempfile::tempdir().unwrap();
    small(&dir.path().join("a"));
    let bytes = fs::read(dir.path().join("a")).unwrap();
    let refused = delta::open(&bytes[..], "a").unwrap_err();
    assert!(matches!(refused, Error::WrongKind { expected: 2, got: 3, .. }), "{refused}");
}
