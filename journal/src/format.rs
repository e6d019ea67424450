//! Bytes of a segment: header, groups, records. `docs/format.md` is the specification.
//!
//! A segment is a header and groups; a group is what one leader wrote at once. Every checksum of a
//! group is seeded with the checksum of its segment's header, which covers the journal's identity and
//! the segment's number, and every group carries the checksum of the group before it: bytes of another
//! journal, of another segment, or in another order are noticed.

/// First bytes of a segment.
pub(crate) const MAGIC: [u8; 8] = *b"WHIMJRNL";
/// Version of the format that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;
/// Length of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// First bytes of a group.
pub(crate) const GROUP_MARK: [u8; 4] = *b"WJGR";
/// Length of a group's header.
pub(crate) const GROUP_HEADER: usize = 40;

/// Longest record, in bytes (1 GiB).
pub const MAX_RECORD_LEN: usize = 1 << 30;
/// Payload at which a group takes no more records.
pub(crate) const GROUP_FULL: usize = 1 << 20;
/// Longest payload of a group: a full one but for a byte, and the longest record behind it.
pub(crate) const MAX_GROUP_LEN: u64 = (GROUP_FULL + MAX_RECORD_LEN + VARINT_MAX) as u64;
/// Greatest sequence. No journal comes near it, so what follows one that was read can be counted.
pub(crate) const MAX_SEQUENCE: u64 = (1 << 63) - 1;
/// Longest encoding of a record's length.
const VARINT_MAX: usize = 5;

const _: () = assert!(MAX_GROUP_LEN < u32::MAX as u64);

/// What tells one journal from all others: random bytes, chosen when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity([u8; 16]);

impl Identity {
    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// From 32 hex digits, as [`Display`](std::fmt::Display) writes them.
    ///
    /// # Examples
    /// ```
    /// use whimbrel_journal::Identity;
    /// let identity = Identity::from_bytes([0xab; 16]);
    /// assert_eq!(Identity::from_hex(&identity.to_string()), Some(identity));
    /// assert_eq!(Identity::from_hex("ab"), None);
    /// ```
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 32 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        u128::from_str_radix(hex, 16).ok().map(|number| Self(number.to_be_bytes()))
    }

    /// A random one.
    pub(crate) fn random() -> Self {
        use std::hash::{BuildHasher as _, Hasher as _, RandomState};
        // The keys of a `RandomState` are random, and each differs from the one before.
        let half = || RandomState::new().build_hasher().finish().to_le_bytes();
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&half());
        bytes[8..].copy_from_slice(&half());
        Self(bytes)
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// The first bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) identity: Identity,
    /// The number in the segment's name.
    pub(crate) number: u64,
    /// Sequence of the first record.
    pub(crate) first: u64,
    /// Where the segment before this one ends; what lies behind counts for nothing.
    pub(crate) previous_end: u64,
    /// Checksum of the last group of the segment before, or of its header where it has none.
    pub(crate) previous_chain: u32,
}

/// Why a segment's header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Magic,
    Version(u32),
    Checksum,
    Reserved,
}

impl SegmentHeader {
    /// The bytes, and their checksum: the seed of the checksums in this segment.
    pub(crate) fn encode(&self) -> ([u8; SEGMENT_HEADER], u32) {
        let mut bytes = [0; SEGMENT_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.identity.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.previous_chain.to_le_bytes());
        let seed = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&seed.to_le_bytes());
        (bytes, seed)
    }

    /// Reads a header and its checksum.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER]) -> Result<(Self, u32), BadHeader> {
        if bytes[..8] != MAGIC {
            return Err(BadHeader::Magic);
        }
        let version = u32_at(bytes, 8);
        let seed = u32_at(bytes, 60);
        if seed != crc32c::crc32c(&bytes[..60]) {
            return Err(BadHeader::Checksum);
        }
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        if u32_at(bytes, 12) != 0 {
            return Err(BadHeader::Reserved);
        }
        let mut identity = [0; 16];
        identity.copy_from_slice(&bytes[16..32]);
        let header = Self {
            identity: Identity(identity),
            number: u64_at(bytes, 32),
            first: u64_at(bytes, 40),
            previous_end: u64_at(bytes, 48),
            previous_chain: u32_at(bytes, 56),
        };
        Ok((header, seed))
    }
}

/// The first bytes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// Bytes of the payload.
    pub(crate) len: u32,
    /// Records, at least one.
    pub(crate) count: u32,
    /// Sequence of the first record.
    pub(crate) first: u64,
    /// All records below this sequence were durable before the group was written.
    pub(crate) proven: u64,
    /// Checksum of the group before, or of the segment's header.
    pub(crate) chain: u32,
    /// Checksum of the payload, seeded.
    pub(crate) payload: u32,
}

impl GroupHeader {
    /// The bytes, and their checksum, which the next group carries.
    pub(crate) fn encode(&self, seed: u32) -> ([u8; GROUP_HEADER], u32) {
        let mut bytes = [0; GROUP_HEADER];
        bytes[..4].copy_from_slice(&GROUP_MARK);
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.first.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.proven.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.chain.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.payload.to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        (bytes, crc)
    }

    /// Reads a header and its checksum; `None` where these bytes are no header of this segment.
    pub(crate) fn decode(bytes: &[u8; GROUP_HEADER], seed: u32) -> Option<(Self, u32)> {
        let crc = u32_at(bytes, 36);
        if bytes[..4] != GROUP_MARK || crc != crc32c::crc32c_append(seed, &bytes[..36]) {
            return None;
        }
        let header = Self {
            len: u32_at(bytes, 4),
            count: u32_at(bytes, 8),
            first: u64_at(bytes, 12),
            proven: u64_at(bytes, 20),
            chain: u32_at(bytes, 28),
            payload: u32_at(bytes, 32),
        };
        Some((header, crc))
    }

    /// Sequence of the record behind the last.
    pub(crate) fn next(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

/// Checksum of a payload.
pub(crate) fn payload_crc(seed: u32, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, payload)
}

/// Records in a payload, by their lengths.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// The next record; `None` where no whole record begins.
    pub(crate) fn next_record(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(take_varint(&mut self.rest)?).ok()?;
        let (record, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(record)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Appends a number in groups of seven bits, low group first.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Takes a number from the front; `None` where it does not end, or does not fit.
pub(crate) fn take_varint(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0_u64;
    for at in 0..VARINT_MAX {
        let byte = *bytes.get(at)?;
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return u32::try_from(value).ok();
        }
    }
    None
}

/// The little-endian number at `at`, which lies within the header.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

/// As [`u32_at`], of eight bytes.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentHeader = SegmentHeader {
        identity: Identity([7; 16]),
        number: 3,
        first: 100,
        previous_end: 4096,
        previous_chain: 0xdead_beef,
    };

    #[test]
    fn headers_come_back_and_every_flipped_bit_is_noticed() {
        let (bytes, seed) = SEGMENT.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok((SEGMENT, seed)));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
        }
        let group =
            GroupHeader { len: 9, count: 2, first: 100, proven: 100, chain: seed, payload: 5 };
        let (bytes, crc) = group.encode(seed);
        assert_eq!(GroupHeader::decode(&bytes, seed), Some((group, crc)));
        assert_eq!(GroupHeader::decode(&bytes, seed ^ 1), None, "a group of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(GroupHeader::decode(&damaged, seed), None, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let (mut bytes, _) = SEGMENT.encode();
        bytes[8] = 2;
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Checksum));
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(BadHeader::Version(2)));
    }

    #[test]
    fn records_end_where_the_payload_does() {
        let mut payload = Vec::new();
        for len in [0, 1, 127, 128, 20_000] {
            put_varint(&mut payload, len);
            payload.resize(payload.len() + len as usize, 1);
        }
        let mut records = Records::new(&payload);
        for len in [0, 1, 127, 128, 20_000] {
            assert_eq!(records.next_record().map(<[u8]>::len), Some(len));
        }
        assert!(records.is_empty() && records.next_record().is_none());
        assert!(Records::new(&payload[..payload.len() - 1]).rest.len() > 1);
        assert!(Records::new(&[0xff; 6]).next_record().is_none());
    }
}
