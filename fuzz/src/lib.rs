//! What the fuzz targets share: checksums made right, so that the fuzzer gets past them, and readers that
//! compare one way of reading with the other.

#![forbid(unsafe_code)]

pub mod journal;

use std::sync::Arc;

use whimbrel_backup::Place;
use whimbrel_backup::block::{Block, BlockCursor, BlockDecoder, OwnedBlock};

/// Makes the two checksums of a block right where there are any.
pub fn fix_block(bytes: &mut [u8]) {
    if bytes.len() < 32 {
        return;
    }
    let head = crc32c::crc32c(&bytes[..24]);
    bytes[24..28].copy_from_slice(&head.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..28]), &bytes[32..]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksums of a file's blocks, index, header and footer right, as far as its lengths lead.
pub fn fix_file(bytes: &mut [u8]) {
    let Some(footer) = bytes.len().checked_sub(80).filter(|&footer| footer >= 40) else { return };
    let word = |bytes: &[u8], at: usize| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        word.map_or(0, u32::from_le_bytes) as usize
    };
    let index = word(bytes, footer).clamp(40, footer);
    let (mut block, mut entry) = (40, index);
    while block + 32 <= index && entry + 14 <= footer {
        let end = block + word(bytes, entry);
        if end < block + 32 || end > index {
            break;
        }
        fix_block(&mut bytes[block..end]);
        bytes.copy_within(block + 28..block + 32, entry + 8);
        entry += 14 + (word(bytes, entry + 12) & 0xffff);
        block = end;
    }
    let crc = crc32c::crc32c(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[index..footer]);
    bytes[footer + 56..footer + 60].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..40]), &bytes[footer..footer + 68]);
    bytes[footer + 68..footer + 72].copy_from_slice(&crc.to_le_bytes());
}

/// The place that errors of these targets name.
#[must_use]
pub fn place() -> Place {
    Place::block("fuzz", 0)
}

/// Decodes and walks one block. Where that ends well, every other way of reading it must agree.
pub fn read_block(bytes: &[u8]) {
    let mut decoder = BlockDecoder::new();
    let Ok(block) = decoder.decode(bytes, place()) else {
        assert!(OwnedBlock::decode(bytes, place()).is_err(), "one decoder refuses it");
        return;
    };
    let _ = block.get(b"key");
    let Some(keys) = walk(block) else { return };
    let owned = OwnedBlock::decode(bytes, place()).expect("the other decoder takes it");
    let mut cursor = BlockCursor::new(Arc::new(owned));
    for key in &keys {
        assert!(cursor.forward().expect("it was walked"), "another entry");
        assert_eq!(cursor.key(), key, "forward");
        assert_eq!(block.get(key).expect("it was walked"), Some(cursor.value()), "get");
    }
    assert!(!cursor.forward().expect("it was walked"), "the end");
    for key in keys.iter().rev() {
        assert!(cursor.back().expect("it was walked"), "an entry before");
        assert_eq!(cursor.key(), key, "back");
    }
    assert!(!cursor.back().expect("it was walked"), "the beginning");
    for key in keys.iter().take(4) {
        assert!(cursor.seek(key).expect("it was walked"), "it is there");
        assert_eq!(cursor.key(), key, "seek");
    }
}

/// The keys of a block in order, or none when an entry is refused, or when they are too many to compare.
fn walk(block: Block<'_>) -> Option<Vec<Vec<u8>>> {
    const MOST_KEY_BYTES: usize = 1 << 20;
    let (mut keys, mut bytes, mut entries) = (Vec::new(), 0, block.entries());
    while let Some((key, _)) = entries.next_entry().ok()? {
        assert!(keys.last().is_none_or(|last: &Vec<u8>| last.as_slice() < key), "keys ascend");
        bytes += key.len();
        if bytes > MOST_KEY_BYTES {
            return None;
        }
        keys.push(key.to_vec());
    }
    assert_eq!(keys.len(), block.len() as usize, "as many as the header states");
    Some(keys)
}
