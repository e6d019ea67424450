//! Goal: format version 1 stays what it is. What was written by the first release is read for ever, and
//! what is written today is the same bytes.
//! Method: a small backup, checked in, is verified, read back entry by entry, and written again.
//! (If a later release of the LZ4 encoder finds other matches, the comparison of written bytes may be
//! narrowed to uncompressed blocks; reading the files may never fail.)

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use whimbrel_backup::manifest::Manifest;
use whimbrel_backup::shard::{self, Buffers, FileReader, Sequence, Source};
use whimbrel_backup::{Error, delta, verify};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn all<S: Source>(file: &FileReader<S>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let (mut buffers, mut sequence, mut all) = (Buffers::default(), Sequence::default(), vec![]);
    for number in 0..file.blocks() {
        let block = file.block(number, &mut buffers).expect("a golden block is sound");
        let walked = sequence.walk(&block, |key, value| {
            all.push((key.to_vec(), value.map(<[u8]>::to_vec)));
            Ok::<(), Error>(())
        });
        walked.expect("golden entries are in order");
    }
    all
}

#[test]
fn version_1_is_read_as_it_was_written() {
    let report = verify(&golden()).unwrap();
    assert_eq!((report.stores, report.files, report.entries), (3, 4, 18));
    let read = |name: &str| fs::read(golden().join(name)).unwrap();
    let mut birds = Vec::new();
    for name in ["shard-0000", "shard-0001"] {
        birds.extend(all(&shard::open(&read(name)[..], name).unwrap()));
    }
    let expected = common::birds_in_shards().into_iter().map(|(key, value)| (key, Some(value)));
    assert_eq!(birds, expected.collect::<Vec<_>>());
    let changes = all(&delta::open(&read("delta-0000")[..], "delta-0000").unwrap());
    assert_eq!(changes, common::changes().into_iter().collect::<Vec<_>>());
    let manifest = Manifest::decode(&read("MANIFEST.json")).unwrap();
    assert_eq!((manifest.version(), manifest.snapshot), (1, 42));
    assert_eq!(manifest.user["resume"], "offset 17");
    assert_eq!(manifest.stores[0].digest(), common::tally(&common::birds()).digest);
}

#[test]
fn what_is_written_today_is_version_1_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    common::write_backup(dir.path());
    let (today, golden) = (common::files(dir.path()), common::files(&golden()));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect();
    let (a, b): (Vec<String>, Vec<String>) = (names(&today), names(&golden));
    assert_eq!(a, b);
    for ((name, today), (_, golden)) in today.into_iter().zip(golden) {
        assert!(today == golden, "{name} differs: a change of the format needs a new version");
    }
}
