//! Tokens: where a cursor stands, as bytes that outlive it and its process.
//!
//! ```text
//! byte 0    version of this layout: 1
//! byte 1    bits 0 and 1: lower end of the range; 2 and 3: upper end; 4 and 5: the place;
//!           bit 6: descending
//! then      for each of the three that has a key, in this order: length (u32, little endian), key
//! last 8    XXH3 (64 bits, seed 0, little endian) over all before
//! ```
//!
//! Ends and place are 0 (none), 1 (a key, included) or 2 (a key, excluded). Without a place the scan has
//! not begun. A version of the crate that changes the layout leaves version and checksum where they are, and
//! goes on reading this one.

use std::ops::Bound;

use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, KeyRange};

const VERSION: u8 = 1;

const DESCENDING: u8 = 1 << 6;

/// Bits of byte 1 that mean something.
const KNOWN: u8 = DESCENDING | 0b11_1111;

/// Bytes of the checksum.
const SUM: usize = size_of::<u64>();

/// Where a cursor stands: from [`crate::Cursor::token`], for [`crate::Snapshot::resume`].
///
/// It knows the range, the direction and the key that was returned last, and nothing of snapshots: a scan
/// can go on in the same snapshot, in a later one of the same store, or in that of a store that was restored
/// in another process. It goes on behind the key that was returned last, in the order of the keys; whether
/// that key is still there does not matter.
///
/// As bytes ([`CursorToken::encode`]) it is opaque, and stays readable for later versions of this crate.
/// Bytes that are not a whole token are refused. A checksum finds accidents and no forgery: who gives
/// tokens to others, who must not read outside of a range, compares [`CursorToken::range`] when they
/// come back, or signs them.
///
/// # Examples
///
/// ```
/// use whimbrel_mvcc::{Clock, CursorToken, Store};
///
/// let store = Store::new(&Clock::new());
/// store.extend([("a", "1"), ("b", "2"), ("d", "4")])?;
/// let mut cursor = store.snapshot().range(..);
/// cursor.next_entry();
/// cursor.next_entry();
/// let page: Vec<u8> = cursor.token().encode();
///
/// store.remove("b")?;
/// store.put("c", "3")?;
/// let mut cursor = store.snapshot().resume(&CursorToken::decode(&page)?);
/// assert_eq!(cursor.next_entry(), Some((&b"c"[..], &b"3"[..])));
/// # Ok::<(), whimbrel_mvcc::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CursorToken {
    range: KeyRange,
    reverse: bool,
    /// From here on; none: from the end that the cursor begins at.
    place: Bound<Vec<u8>>,
}

impl CursorToken {
    pub(crate) fn new(range: KeyRange, reverse: bool, place: Bound<Vec<u8>>) -> Self {
        Self { range, reverse, place }
    }

    /// The range of the cursor.
    #[must_use]
    pub fn range(&self) -> &KeyRange {
        &self.range
    }

    /// Whether the cursor goes down.
    #[must_use]
    pub fn is_reverse(&self) -> bool {
        self.reverse
    }

    pub(crate) fn place(&self) -> &Bound<Vec<u8>> {
        &self.place
    }

    /// The token as bytes: 10, and for each key of the range's ends and the one returned last its
    /// length and 4.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let parts = [&self.range.lo, &self.range.hi, &self.place];
        let flags = parts.iter().rev().fold(0, |flags, part| flags << 2 | kind_of(part));
        let mut bytes = vec![VERSION, flags | if self.reverse { DESCENDING } else { 0 }];
        for key in parts.into_iter().filter_map(key_of) {
            // An end of a range may be longer than any key; what is cut off behind 4 GiB decides nothing.
            let len = u32::try_from(key.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&key[..len as usize]);
        }
        let sum = xxh3_64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The token that these bytes are.
    ///
    /// # Errors
    ///
    /// [`Error::UnsupportedToken`] for one of a later version of this crate, [`Error::BadToken`] for what is
    /// no token, or one that was cut short, changed or glued together. Takes no memory beyond the length
    /// of the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |reason| Error::BadToken { len: bytes.len(), reason };
        let (head, sum) = bytes.split_last_chunk::<SUM>().ok_or_else(|| bad("it is too short"))?;
        let [found, flags, keys @ ..] = head else { return Err(bad("it is too short")) };
        if xxh3_64(head) != u64::from_le_bytes(*sum) {
            return Err(bad("its checksum is another"));
        }
        match *found {
            VERSION => {}
            0 => return Err(bad("it has no version")),
            found => return Err(Error::UnsupportedToken { found, supported: VERSION }),
        }
        if flags & !KNOWN != 0 {
            return Err(bad("it has unknown flags"));
        }
        let mut keys = Keys(keys);
        let mut part = |at: u32| match flags >> (2 * at) & 0b11 {
            0 => Ok(Bound::Unbounded),
            1 => keys.next().map(Bound::Included),
            2 => keys.next().map(Bound::Excluded),
            _ => Err("it has an end of an unknown kind"),
        };
        let (lo, hi, place) = (part(0).map_err(bad)?, part(1).map_err(bad)?, part(2).map_err(bad)?);
        if !keys.0.is_empty() {
            return Err(bad("something is left behind its keys"));
        }
        Ok(Self { range: KeyRange { lo, hi }, reverse: flags & DESCENDING != 0, place })
    }
}

fn kind_of(bound: &Bound<Vec<u8>>) -> u8 {
    match bound {
        Bound::Unbounded => 0,
        Bound::Included(_) => 1,
        Bound::Excluded(_) => 2,
    }
}

fn key_of(bound: &Bound<Vec<u8>>) -> Option<&[u8]> {
    match bound {
        Bound::Unbounded => None,
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
    }
}

/// The rest of the keys.
struct Keys<'b>(&'b [u8]);

impl Keys<'_> {
    fn next(&mut self) -> Result<Vec<u8>, &'static str> {
        const CUT: &str = "a key is cut short";
        let (len, rest) = self.0.split_first_chunk().ok_or(CUT)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| CUT)?;
        let (key, rest) = rest.split_at_checked(len).ok_or(CUT)?;
        self.0 = rest;
        Ok(key.to_vec())
    }
}
