//! Bytes of the slot map's file.
//!
//! ```text
//! file  = "WHIMSLOT", version u32, CRC32C of those 12 bytes u32, entry*
//! entry = mark u32, length u32, sequence u64, CRC32C of the content u32,
//!         CRC32C of those 20 bytes u32, content
//! content = count u32, change*
//! change  = 1, slot u16, record  |  2, name, bus address
//! ```
//! Numbers are little-endian; sequences rise by one. An entry is one atomic batch.

use super::view::Change;
use crate::codec::{Malformed, Reader, put_text};
use crate::record::decode_node;
use crate::{NodeInfo, Slot, SlotRecord};

pub(super) const FILE_MAGIC: [u8; 8] = *b"WHIMSLOT";
pub(super) const FILE_VERSION: u32 = 1;
pub(super) const FILE_HEADER: usize = 16;
pub(super) const ENTRY_HEADER: usize = 24;
const ENTRY_MARK: u32 = 0x5742_4d31;
/// Content of one entry: all slots with the longest names fit.
const MAX_ENTRY: usize = 32 << 20;

pub(super) fn file_header() -> [u8; FILE_HEADER] {
    let mut head = [0; FILE_HEADER];
    head[..8].copy_from_slice(&FILE_MAGIC);
    head[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&head[..12]);
    head[12..].copy_from_slice(&crc.to_le_bytes());
    head
}

pub(super) fn encode_entry(sequence: u64, changes: &[Change]) -> Vec<u8> {
    let mut content = Vec::new();
    let count = u32::try_from(changes.len()).expect("at most all slots and nodes");
    content.extend_from_slice(&count.to_le_bytes());
    for change in changes {
        match change {
            Change::Record(slot, record) => {
                content.push(1);
                content.extend_from_slice(&slot.number().to_le_bytes());
                record.encode(&mut content);
            }
            Change::Node(node) => {
                content.push(2);
                put_text(&mut content, node.id.as_str());
                put_text(&mut content, node.bus.as_str());
            }
        }
    }
    assert!(content.len() <= MAX_ENTRY, "all slots fit into one entry");
    let mut entry = Vec::with_capacity(ENTRY_HEADER + content.len());
    entry.extend_from_slice(&ENTRY_MARK.to_le_bytes());
    entry.extend_from_slice(&u32::try_from(content.len()).expect("bounded above").to_le_bytes());
    entry.extend_from_slice(&sequence.to_le_bytes());
    entry.extend_from_slice(&crc32c::crc32c(&content).to_le_bytes());
    let crc = crc32c::crc32c(&entry);
    entry.extend_from_slice(&crc.to_le_bytes());
    entry.extend_from_slice(&content);
    entry
}

/// One entry at the front of `bytes`.
pub(super) struct Entry {
    pub(super) sequence: u64,
    pub(super) changes: Vec<Change>,
    pub(super) len: usize,
}

/// Decodes the entry at the front of `bytes`.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, Malformed> {
    let (len, sequence, crc) = decode_header(bytes)?;
    let end = ENTRY_HEADER + len;
    let content = bytes.get(ENTRY_HEADER..end).ok_or(Malformed::Short)?;
    if crc32c::crc32c(content) != crc {
        return Err(Malformed::Value("checksum of the content"));
    }
    Ok(Entry { sequence, changes: decode_changes(content)?, len: end })
}

fn decode_header(bytes: &[u8]) -> Result<(usize, u64, u32), Malformed> {
    let head = bytes.first_chunk::<ENTRY_HEADER>().ok_or(Malformed::Short)?;
    let mut r = Reader::new(head);
    let (mark, len, sequence, crc) = (r.u32()?, r.u32()?, r.u64()?, r.u32()?);
    if mark != ENTRY_MARK {
        return Err(Malformed::Value("mark"));
    }
    if r.u32()? != crc32c::crc32c(&head[..ENTRY_HEADER - 4]) {
        return Err(Malformed::Value("checksum of the header"));
    }
    let len = len as usize;
    if len > MAX_ENTRY {
        return Err(Malformed::Value("length"));
    }
    Ok((len, sequence, crc))
}

fn decode_changes(content: &[u8]) -> Result<Vec<Change>, Malformed> {
    let mut r = Reader::new(content);
    let count = r.u32()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        changes.push(match r.u8()? {
            1 => {
                let slot = Slot::new(r.u16()?).ok_or(Malformed::Value("slot"))?;
                Change::Record(slot, SlotRecord::decode(&mut r)?)
            }
            2 => {
                let id = decode_node(&mut r, "name")?;
                Change::Node(NodeInfo { id, bus: decode_node(&mut r, "bus address")? })
            }
            _ => return Err(Malformed::Value("kind of change")),
        });
    }
    r.finish()?;
    Ok(changes)
}

/// Whether a whole entry of a sequence of at least `least` begins anywhere after the first byte.
pub(super) fn holds_later_entry(bytes: &[u8], least: u64) -> bool {
    let mark = ENTRY_MARK.to_le_bytes();
    (1..bytes.len()).any(|at| {
        bytes[at..].starts_with(&mark)
            && decode_header(&bytes[at..]).is_ok_and(|(_, sequence, _)| sequence >= least)
            && decode_entry(&bytes[at..]).is_ok()
    })
}
