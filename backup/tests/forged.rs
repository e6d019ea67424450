//! Goal: a shard with right checksums and wrong statements is refused, and makes nobody take memory for
//! what is not there.
//! Method: every field of header, index and footer is set to chosen values, and all checksums that cover
//! it are made right again; then random bytes likewise.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::Path;

use proptest::prelude::*;
use whimbrel_backup::Error;
use whimbrel_backup::block::BlockOptions;
use whimbrel_backup::shard::{self, BackupId, Buffers, Sequence, ShardWriter};

const HEADER: usize = 40;
const FOOTER: usize = 80;

fn sample() -> Vec<u8> {
    let id = shard::identity(BackupId([7; 16]), 0, 0);
    let options = BlockOptions::default().with_block_bytes(100);
    let mut writer = ShardWriter::new(Vec::new(), Path::new("shard-0000"), id, options).unwrap();
    for n in 0..30_u8 {
        writer.push(&[b'k', n], &[n; 9]).unwrap();
    }
    writer.finish().unwrap().0
}

/// Makes the checksums of header, index and footer right for whatever is there now.
fn fix(bytes: &mut [u8]) {
    let footer = bytes.len() - FOOTER;
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..HEADER].copy_from_slice(&crc.to_le_bytes());
    let at = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let start = usize::try_from(at(bytes, footer)).unwrap_or(usize::MAX);
    if let Some(index) = bytes.get(start..footer) {
        let crc = crc32c::crc32c(index);
        bytes[footer + 56..footer + 60].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..HEADER]);
    let crc = crc32c::crc32c_append(crc, &bytes[footer..footer + 68]);
    bytes[footer + 68..footer + 72].copy_from_slice(&crc.to_le_bytes());
}

fn read(bytes: &[u8]) -> Result<u64, Error> {
    let file = shard::open(bytes, "shard-0000")?;
    let (mut buffers, mut sequence) = (Buffers::default(), Sequence::default());
    for number in 0..file.blocks() {
        let block = file.block(number, &mut buffers)?;
        sequence.walk(&block, |_, _| Ok::<(), Error>(()))?;
    }
    let _ = file.get(b"k\x05", &mut buffers)?;
    file.check_end(sequence.last_key(), sequence.tally())?;
    Ok(sequence.tally().entries)
}

fn index_at(bytes: &[u8]) -> usize {
    let footer = bytes.len() - FOOTER;
    let at = u64::from_le_bytes(bytes[footer..footer + 8].try_into().unwrap());
    usize::try_from(at).unwrap()
}

#[test]
fn every_wrong_statement_with_right_checksums_is_refused() {
    let good = sample();
    assert_eq!(read(&good).unwrap(), 30);
    let (index, footer) = (index_at(&good), good.len() - FOOTER);
    // Fields of four bytes: version and kind, the first entries of the index, all of the footer.
    let fields = [8].into_iter().chain((index..footer - 4).step_by(2));
    let fields = fields.chain((footer..footer + 68).step_by(4));
    for field in fields {
        let old = u32::from_le_bytes(good[field..field + 4].try_into().unwrap());
        for new in [0, 1, old.wrapping_add(1), old.wrapping_sub(1), 1 << 31, u32::MAX] {
            let mut bad = good.clone();
            bad[field..field + 4].copy_from_slice(&new.to_le_bytes());
            fix(&mut bad);
            if bad != good {
                let error = read(&bad).expect_err(&format!("{new} at {field}"));
                assert!(error.to_string().starts_with("shard-0000, "), "{error}");
            }
        }
    }
    let mut newer = good;
    newer[8] = 2;
    fix(&mut newer);
    assert!(matches!(read(&newer), Err(Error::UnsupportedVersion { found: 2, .. })));
}

proptest! {
    #[test]
    fn random_damage_with_right_checksums_is_refused_without_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let good = sample();
        let mut bad = good.clone();
        // The identity says nothing about the content: it is left out.
        let index = index_at(&good);
        for (at, byte) in changes {
            let at = HEADER + at.index(good.len() - HEADER - FOOTER + 56);
            bad[at] = byte;
        }
        if let Some(cut) = cut {
            let at = HEADER + cut.index(index - HEADER);
            bad.remove(at);
        }
        fix(&mut bad);
        prop_assert!(bad == good || read(&bad).is_err());
    }
}
