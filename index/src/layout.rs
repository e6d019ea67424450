//! The bytes of a partition. All keys stand behind a prefix that the store's owner chooses (empty
//! in an engine), so a partition says by itself what it is and can be opened wherever it arrives.
//!
//! | key | value |
//! |---|---|
//! | `00` | the schema, JSON ([`PartitionSchema`](crate::schema::PartitionSchema)) |
//! | `01` document id | back-index: the document's entries, see [`encode_back`] |
//! | `02` index number (u16, big endian), tuple, document id | covered tuple |
//!
//! In a *unique* index a key without nulls is *claimed*: the document id moves from the key to the
//! value, so that one store key stands for one index key, and the value begins with a byte that
//! says what it is (see [`UniqueValue`]).

use crate::encoding::Malformed;

const SCHEMA: u8 = 0x00;
const BACK: u8 = 0x01;
const ENTRY: u8 = 0x02;

/// Longest document id, in bytes.
pub const MAX_DOCUMENT_ID_BYTES: usize = 1_024;
/// Longest encoded tuple with its document id, in bytes: leaves room for the prefix of a store
/// that holds many partitions.
pub const MAX_KEY_BYTES: usize = 60_000;
/// Most entries of one document: all old ones and all new ones are replaced by one batch.
pub const MAX_DOCUMENT_ENTRIES: usize = 2_000;

/// Version of the back-index's encoding, its first byte.
const BACK_FORMAT: u8 = 1;

pub(crate) fn schema_key(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[SCHEMA]].concat()
}

pub(crate) fn back_key(prefix: &[u8], doc_id: &[u8]) -> Vec<u8> {
    [prefix, &[BACK], doc_id].concat()
}

/// What all back-index keys begin with.
pub(crate) fn back_prefix(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[BACK]].concat()
}

/// What all entries begin with.
pub(crate) fn entries_prefix(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[ENTRY]].concat()
}

/// What all entries of an index begin with.
pub(crate) fn index_prefix(prefix: &[u8], index: u16) -> Vec<u8> {
    [prefix, &[ENTRY], &index.to_be_bytes()].concat()
}

/// Cuts an entry's key, without the partition's prefix, into the index number and the rest: the
/// tuple, and the document id unless it is in the value. `None` for any other key.
pub(crate) fn split_entry(key: &[u8]) -> Option<(u16, &[u8])> {
    match key {
        [ENTRY, high, low, body @ ..] => Some((u16::from_be_bytes([*high, *low]), body)),
        _ => None,
    }
}

/// One entry of a document. Ordered by index, then by tuple: the order of the store's keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) index: u16,
    pub(crate) tuple: Vec<u8>,
    /// The key is the tuple alone: a unique index, and no nulls.
    pub(crate) claimed: bool,
}

impl Entry {
    pub(crate) fn key(&self, prefix: &[u8], doc_id: &[u8]) -> Vec<u8> {
        let mut key = index_prefix(prefix, self.index);
        key.reserve(self.tuple.len() + doc_id.len());
        key.extend_from_slice(&self.tuple);
        if !self.claimed {
            key.extend_from_slice(doc_id);
        }
        key
    }
}

/// The value of an entry in a unique index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UniqueValue<'v> {
    /// The key is being claimed by an update that has not committed: not an entry. Only the
    /// attempt named may take it back or commit over it.
    Reserved(Attempt),
    /// An entry of this document.
    Claimed { doc_id: &'v [u8], covered: &'v [u8] },
    /// A key with a null in it, exempt from uniqueness; its document id is in the key.
    Exempt { covered: &'v [u8] },
}

/// Names one attempt of one update to claim unique keys: no two attempts have the same name,
/// attempts of other processes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The process that made it.
    pub(crate) process: u64,
    /// Its number there.
    pub(crate) number: u64,
}

const RESERVED: u8 = 0;
const CLAIMED: u8 = 1;
const EXEMPT: u8 = 2;

/// Whether the value of a unique index's entry is a mere reservation.
pub(crate) fn is_reserved(value: &[u8]) -> bool {
    value.first() == Some(&RESERVED)
}

impl<'v> UniqueValue<'v> {
    pub(crate) fn encode(self) -> Vec<u8> {
        match self {
            Self::Reserved(Attempt { process, number }) => {
                [&[RESERVED][..], &process.to_le_bytes(), &number.to_le_bytes()].concat()
            }
            Self::Claimed { doc_id, covered } => {
                let mut out = Vec::with_capacity(doc_id.len() + covered.len() + 3);
                out.push(CLAIMED);
                put_varint(doc_id.len(), &mut out);
                out.extend_from_slice(doc_id);
                out.extend_from_slice(covered);
                out
            }
            Self::Exempt { covered } => [&[EXEMPT], covered].concat(),
        }
    }

    pub(crate) fn decode(value: &'v [u8]) -> Result<Self, Malformed> {
        let mut input = Input { bytes: value, at: 0 };
        match input.byte()? {
            RESERVED => {
                let process = input.u64()?;
                let number = input.u64()?;
                if input.at != value.len() {
                    return input.wrong("bytes behind a reservation");
                }
                Ok(Self::Reserved(Attempt { process, number }))
            }
            CLAIMED => {
                let len = input.varint()?;
                let doc_id = input.take(len)?;
                Ok(Self::Claimed { doc_id, covered: &value[input.at..] })
            }
            EXEMPT => Ok(Self::Exempt { covered: &value[1..] }),
            _ => Err(Malformed { at: 0, cause: "unknown kind of value in a unique index" }),
        }
    }
}

/// Encodes the back-index of a document: a format byte, then per entry the index number doubled
/// (plus one when claimed) and the tuple with its length before it; numbers as LEB128. `entries`
/// are in order and distinct.
pub(crate) fn encode_back<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> Vec<u8> {
    let mut out = vec![BACK_FORMAT];
    for entry in entries {
        put_varint(usize::from(entry.index) << 1 | usize::from(entry.claimed), &mut out);
        put_varint(entry.tuple.len(), &mut out);
        out.extend_from_slice(&entry.tuple);
    }
    out
}

/// Inverse of [`encode_back`].
pub(crate) fn decode_back(bytes: &[u8]) -> Result<Vec<Entry>, Malformed> {
    let mut input = Input { bytes, at: 0 };
    if input.byte()? != BACK_FORMAT {
        return Err(Malformed { at: 0, cause: "unknown format of a back-index entry" });
    }
    let mut entries: Vec<Entry> = Vec::new();
    while input.at < bytes.len() {
        let at = input.at;
        let head = input.varint()?;
        let Ok(index) = u16::try_from(head >> 1) else {
            return Err(Malformed { at, cause: "an index number beyond 16 bits" });
        };
        let len = input.varint()?;
        let tuple = input.take(len)?.to_vec();
        let entry = Entry { index, tuple, claimed: head & 1 == 1 };
        if entries.last().is_some_and(|last| *last >= entry) {
            return Err(Malformed { at, cause: "entries out of order in a back-index entry" });
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// The least key behind all keys that begin with `key`; empty when there is none.
pub(crate) fn after_prefix(mut key: Vec<u8>) -> Vec<u8> {
    while let Some(last) = key.pop() {
        if last < 0xFF {
            key.push(last + 1);
            break;
        }
    }
    key
}

fn put_varint(mut n: usize, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(0x80 | u8::try_from(n & 0x7F).expect("seven bits fit"));
        n >>= 7;
    }
    out.push(u8::try_from(n).expect("below 0x80"));
}

struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Input<'b> {
    fn wrong<T>(&self, cause: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, cause })
    }

    fn take(&mut self, len: usize) -> Result<&'b [u8], Malformed> {
        match self.bytes[self.at..].get(..len) {
            Some(bytes) => {
                self.at += len;
                Ok(bytes)
            }
            None => self.wrong("ends too early"),
        }
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|b| b[0])
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    /// At most three bytes, which is more than any number here needs.
    fn varint(&mut self) -> Result<usize, Malformed> {
        let mut n = 0;
        for shift in [0, 7, 14] {
            let byte = self.byte()?;
            n |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        self.wrong("a number that is too long")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn back_index_inverts(raw in prop::collection::btree_set(
            (0u16..2_000, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()), 0..20)) {
            let entries: Vec<_> = raw
                .into_iter()
                .map(|(index, tuple, claimed)| Entry { index, tuple, claimed })
                .collect();
            let bytes = encode_back(&entries);
            prop_assert_eq!(decode_back(&bytes).unwrap(), entries);
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_back(&bytes);
            let _ = UniqueValue::decode(&bytes);
        }

        #[test]
        fn unique_values_invert(id in prop::collection::vec(any::<u8>(), 1..300), covered in prop::collection::vec(any::<u8>(), 0..9), process: u64, number: u64) {
            for value in [
                UniqueValue::Claimed { doc_id: &id, covered: &covered },
                UniqueValue::Exempt { covered: &covered },
                UniqueValue::Reserved(Attempt { process, number }),
            ] {
                let bytes = value.encode();
                prop_assert_eq!(UniqueValue::decode(&bytes).unwrap(), value);
                prop_assert_eq!(is_reserved(&bytes), matches!(value, UniqueValue::Reserved(_)));
            }
        }
    }

    #[test]
    fn the_key_behind_a_prefix() {
        assert_eq!(after_prefix(vec![1, 2]), [1, 3]);
        assert_eq!(after_prefix(vec![1, 0xFF, 0xFF]), [2]);
        assert_eq!(after_prefix(vec![0xFF]), [0u8; 0]);
    }
}
