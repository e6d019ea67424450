//! Goal: version 1 of the format stays what it is: what was written by the first release is replayed for
//! ever, and what is written today is the same bytes.
//!
//! Method: a small journal, checked in: two segments, records of all kinds, a group of several records.
//! It is replayed, and written again. `WHIMBREL_WRITE_GOLDEN=1` writes the files anew.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Double, Image, options};
use whimbrel_journal::changes::{Record, RecordBuilder};
use whimbrel_journal::{Journal, SyncPolicy};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn records() -> Vec<RecordBuilder> {
    let mut first = RecordBuilder::changes(5);
    first.put(b"curlew", b"1");
    first.put(b"", b"");
    first.remove(b"knot");
    let mut second = RecordBuilder::changes(16_383);
    second.put(&[b'w'; 200], &[0xff; 300]);
    let mut part = RecordBuilder::copy_part(7, 0x1122_3344_5566_7788);
    part.put(b"whimbrel", b"2");
    vec![
        first,
        second,
        RecordBuilder::dropped(5),
        RecordBuilder::copy_begins(7, 0x1122_3344_5566_7788),
        part,
        RecordBuilder::copy_whole(7, 0x1122_3344_5566_7788),
    ]
}

fn write() -> Image {
    let double = Double::default();
    let options = options(SyncPolicy::Always).with_segment_bytes(500);
    let (journal, _) = Journal::open_in(double.shared(), &options, None, |_, _| Ok(())).unwrap();
    let mut last = 0;
    for (at, record) in records().iter().enumerate() {
        last = journal.append(record.bytes()).unwrap();
        // One group of three records, and three of one.
        if at >= 2 {
            journal.wait(last).unwrap();
        }
    }
    assert_eq!(last, 6);
    double.image()
}

#[test]
fn version_1_is_replayed_as_it_was_written() {
    let mut image = Image::new();
    for entry in fs::read_dir(golden()).unwrap() {
        let entry = entry.unwrap();
        image.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    }
    assert_eq!(image.len(), 2);
    let mut found = Vec::new();
    let options = options(SyncPolicy::Always);
    let opened = Journal::open_in(Double::of(&image).shared(), &options, None, |_, record| {
        Record::decode(record)?;
        found.push(record.to_vec());
        Ok(())
    });
    assert_eq!(opened.unwrap().1.cut_bytes, 0);
    assert_eq!(found, records().iter().map(|r| r.bytes().to_vec()).collect::<Vec<_>>());
}

#[test]
fn what_is_written_today_is_version_1_byte_for_byte() {
    let image = write();
    if std::env::var_os("WHIMBREL_WRITE_GOLDEN").is_some() {
        fs::create_dir_all(golden()).unwrap();
        for (name, bytes) in &image {
            fs::write(golden().join(name), bytes).unwrap();
        }
    }
    for (name, today) in &image {
        let golden = fs::read(golden().join(name)).unwrap();
        assert!(*today == golden, "{name} differs: a change of the format needs a new version");
    }
}
