//! Damages of more than one bit, and how a forger makes their checksums right.

use std::ops::Range;

/// A small seeded generator (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// A range of at most `most` bytes inside of `len`, seldom long.
    fn range(&mut self, len: usize, most: usize) -> Range<usize> {
        let bits = self.below(13);
        let size = (1 + self.below(1 << bits)).min(most).min(len);
        let at = self.below(len - size + 1);
        at..at + size
    }
}

const KINDS: [&str; 9] = [
    "bytes overwritten at random",
    "a run filled with one byte",
    "single bytes changed",
    "a range copied over another",
    "two ranges exchanged",
    "a range taken out",
    "bytes put in",
    "cut",
    "a range of another file",
];

/// Damages a file in one of many ways. Answers what was done. It may have changed nothing.
pub(crate) fn damage(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> &'static str {
    let kind = random.below(KINDS.len());
    let at = random.range(bytes.len(), 4096);
    let (len, size) = (bytes.len(), at.len());
    match kind {
        0 => bytes[at].fill_with(|| random.byte()),
        1 => {
            let byte = [0, 0xff, random.byte()][random.below(3)];
            bytes[at].fill(byte);
        }
        2 => (0..2 + random.below(20)).for_each(|_| bytes[random.below(len)] = random.byte()),
        3 => {
            let to = random.below(len - size + 1);
            bytes.copy_within(at, to);
        }
        4 => {
            let to = random.below(len - size + 1);
            let (a, b) = (bytes[at.clone()].to_vec(), bytes[to..to + size].to_vec());
            bytes[at].copy_from_slice(&b);
            bytes[to..to + size].copy_from_slice(&a);
        }
        5 => drop(bytes.drain(at)),
        6 => {
            let new: Vec<u8> = at.clone().map(|_| random.byte()).collect();
            drop(bytes.splice(at.start..at.start, new));
        }
        7 => bytes.truncate(at.start),
        _ => {
            let from = random.below(other.len());
            let part = &other[from..(from + size).min(other.len())];
            bytes[at.start..at.start + part.len()].copy_from_slice(part);
        }
    }
    KINDS[kind]
}

const HEADER: usize = 40;
const FOOTER: usize = 80;

/// Where the parts of a sound file lie.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) blocks: Vec<Range<usize>>,
    pub(crate) index: Range<usize>,
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

impl Layout {
    pub(crate) fn of(file: &[u8]) -> Self {
        let end = file.len() - FOOTER;
        let index = u64::from_le_bytes(file[end..end + 8].try_into().unwrap());
        let index = usize::try_from(index).unwrap()..end;
        let (mut blocks, mut at) = (Vec::new(), HEADER);
        while at < index.start {
            let len = 32 + word(file, at + 8);
            blocks.push(at..at + len);
            at += len;
        }
        assert_eq!(at, index.start, "the blocks end where the index begins");
        Self { blocks, index }
    }

    pub(crate) fn longest_block(&self) -> usize {
        self.blocks.iter().map(ExactSizeIterator::len).max().unwrap_or(0)
    }

    /// The name of the part that a reader finds damaged first: it looks at header, footer and index before
    /// it looks at blocks.
    pub(crate) fn first_damaged(&self, good: &[u8], bad: &[u8]) -> String {
        let differ = |range: Range<usize>| good[range.clone()] != bad[range];
        if differ(0..HEADER) {
            return "header".to_owned();
        }
        if differ(self.index.end..good.len()) {
            return "footer".to_owned();
        }
        if differ(self.index.clone()) {
            return "index".to_owned();
        }
        let block = self.blocks.iter().position(|block| differ(block.clone()));
        format!("block {}", block.expect("something is damaged"))
    }

    /// Makes every checksum of the damaged file right, as far as lengths allow it. Digests stay as they are.
    pub(crate) fn forge(&self, bytes: &mut [u8]) {
        let mut entry = self.index.start;
        for block in &self.blocks {
            let at = block.start;
            let head = crc32c::crc32c(&bytes[at..at + 24]);
            bytes[at + 24..at + 28].copy_from_slice(&head.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[at..at + 28]);
            let crc = crc32c::crc32c_append(crc, &bytes[at + 32..block.end]);
            bytes[at + 28..at + 32].copy_from_slice(&crc.to_le_bytes());
            if let Some(place) = bytes[..self.index.end].get_mut(entry + 8..entry + 12) {
                place.copy_from_slice(&crc.to_le_bytes());
                let key = [bytes[entry + 12], bytes[entry + 13]];
                entry += 14 + usize::from(u16::from_le_bytes(key));
            }
        }
        let end = self.index.end;
        let header = crc32c::crc32c(&bytes[..36]);
        bytes[36..HEADER].copy_from_slice(&header.to_le_bytes());
        let index = crc32c::crc32c(&bytes[self.index.clone()]);
        bytes[end + 56..end + 60].copy_from_slice(&index.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER]);
        let crc = crc32c::crc32c_append(crc, &bytes[end..end + 68]);
        bytes[end + 68..end + 72].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The checksum over header and footer, which the manifest has.
pub(crate) fn file_crc(bytes: &[u8]) -> u32 {
    u32::try_from(word(bytes, bytes.len() - FOOTER + 68)).unwrap()
}
