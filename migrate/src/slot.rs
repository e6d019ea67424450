//! Slots: the hash class of a key, addressed as Redis Cluster does.

use std::fmt;

/// Number of slots of a cluster.
pub const SLOT_COUNT: u16 = 16_384;

/// One of the [`SLOT_COUNT`] hash classes of keys.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::{Slot, slot_of};
///
/// let slot = slot_of(b"{user:7}:name");
/// assert_eq!(slot, slot_of(b"user:7"));
/// assert_eq!(Slot::new(slot.number()), Some(slot));
/// assert_eq!(Slot::new(16_384), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of this number, if there is one (`number < SLOT_COUNT`).
    #[must_use]
    pub const fn new(number: u16) -> Option<Self> {
        if number < SLOT_COUNT { Some(Self(number)) } else { None }
    }

    /// Its number, less than [`SLOT_COUNT`].
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// All slots, ascending.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..SLOT_COUNT).map(Self)
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// CRC16 of the XMODEM kind (polynomial 0x1021, start 0, no reflection), byte by byte.
const CRC16_TABLE: [u16; 256] = crc16_table();

#[expect(clippy::cast_possible_truncation, reason = "the index stays below 256")]
const fn crc16_table() -> [u16; 256] {
    let mut table = [0u16; 256];
    let mut i = 0usize;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &b| {
        let [high, _] = crc.to_be_bytes();
        (crc << 8) ^ CRC16_TABLE[usize::from(high ^ b)]
    })
}

/// The slot of a key: CRC16 (XMODEM) of the key modulo [`SLOT_COUNT`].
///
/// Where the key holds a `{`, and a `}` after it with at least one byte between, only those bytes
/// are hashed, so a user can keep keys together.
///
/// # Complexity
///
/// O(key length), no allocation.
///
/// # Examples
///
/// ```
/// assert_eq!(whimbrel_migrate::slot_of(b"123456789").number(), 0x31C3);
/// assert_eq!(whimbrel_migrate::slot_of(b"foo").number(), 12_182);
/// ```
#[must_use]
pub fn slot_of(key: &[u8]) -> Slot {
    Slot(crc16(hash_tag(key)) % SLOT_COUNT)
}

fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&b| b == b'{') else { return key };
    let rest = &key[open + 1..];
    match rest.iter().position(|&b| b == b'}') {
        Some(close) if close > 0 => &rest[..close],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_follow_the_first_brace() {
        assert_eq!(slot_of(b"{a}x"), slot_of(b"a"));
        assert_eq!(slot_of(b"x{a}{b}"), slot_of(b"a"));
        // An empty tag, or one that is not closed, hashes the whole key.
        assert_eq!(hash_tag(b"{}a"), b"{}a");
        assert_eq!(hash_tag(b"x{abc"), b"x{abc");
        assert_eq!(hash_tag(b"x}{a}"), b"a");
        assert_eq!(hash_tag(b"{{a}}"), b"{a");
    }

    #[test]
    fn every_slot_is_reachable() {
        let mut seen = vec![false; usize::from(SLOT_COUNT)];
        for i in 0..400_000u32 {
            seen[slot_of(i.to_string().as_bytes()).index()] = true;
        }
        assert!(seen.iter().all(|&s| s));
    }
}
