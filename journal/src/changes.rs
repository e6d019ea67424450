//! A form for records that change numbered stores: what a node journals.
//!
//! The journal itself takes any bytes. A record of this form is a kind, a store, and for some kinds the
//! number of a copy or of an ingest, or changes; `docs/format.md` has the bytes. Changes carry state (key -> value, or
//! removed), so replaying a record twice is harmless as long as later ones follow it.
//!
//! # Examples
//! ```
//! use whimbrel_journal::changes::{Change, Record, RecordBuilder};
//! let mut record = RecordBuilder::changes(7);
//! record.put(b"knot", b"north");
//! record.remove(b"curlew");
//!
//! let Record::Changes { store, mut changes } = Record::decode(record.bytes())? else { panic!() };
//! assert_eq!(store, 7);
//! assert_eq!(changes.next_change()?, Some(Change { key: b"knot", value: Some(b"north") }));
//! assert_eq!(changes.next_change()?, Some(Change { key: b"curlew", value: None }));
//! assert_eq!(changes.next_change()?, None);
//! # Ok::<(), whimbrel_journal::changes::Malformed>(())
//! ```

use crate::format::{put_varint, take_varint};

/// Longest key, in bytes.
pub const MAX_KEY_LEN: usize = 65_535;
/// Longest value, in bytes (512 MiB).
pub const MAX_VALUE_LEN: usize = 512 << 20;

const CHANGES: u8 = 1;
const DROPPED: u8 = 2;
const COPY_BEGINS: u8 = 3;
const COPY_PART: u8 = 4;
const COPY_WHOLE: u8 = 5;
const INGEST_BEGINS: u8 = 6;
const INGEST_PART: u8 = 7;
const INGEST_WHOLE: u8 = 8;

/// In the place of a store, in records that speak of several.
const ALL: u32 = u32::MAX;

/// One key of a record, and its value from then on; none: removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// The bytes are no record of this form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of changes: {0}")]
pub struct Malformed(&'static str);

/// Changes that are read one after the other.
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    rest: &'a [u8],
}

impl<'a> Changes<'a> {
    /// What [`as_bytes`](Self::as_bytes) gave of others.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Those that were not yet read, as they stand in the record.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.rest
    }

    /// The next change; `None` at the end.
    ///
    /// # Errors
    /// [`Malformed`] where no whole change begins.
    pub fn next_change(&mut self) -> Result<Option<Change<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.length("the length of a key", MAX_KEY_LEN)?;
        let value = self.length("the length of a value", MAX_VALUE_LEN + 1)?;
        let key = self.take(key)?;
        let value = match value.checked_sub(1) {
            Some(len) => Some(self.take(len)?),
            None => None,
        };
        Ok(Some(Change { key, value }))
    }

    fn length(&mut self, what: &'static str, limit: usize) -> Result<usize, Malformed> {
        let len = take_varint(&mut self.rest).and_then(|len| usize::try_from(len).ok());
        len.filter(|len| *len <= limit).ok_or(Malformed(what))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let short = Malformed("it ends inside a change");
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        self.rest = rest;
        Ok(taken)
    }
}

/// What a record says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Record<'a> {
    /// Keys of a store have changed, all at once.
    Changes {
        /// The store.
        store: u32,
        /// The keys.
        changes: Changes<'a>,
    },
    /// The store went elsewhere: its content is gone.
    Dropped {
        /// The store.
        store: u32,
    },
    /// A copy of a store begins to arrive from elsewhere; earlier ones of it are void.
    CopyBegins {
        /// The store.
        store: u32,
        /// The copy's number.
        copy: u64,
    },
    /// A part of a copy: entries, or changes to those that have arrived.
    CopyPart {
        /// The store.
        store: u32,
        /// The copy's number.
        copy: u64,
        /// The keys.
        changes: Changes<'a>,
    },
    /// The copy is whole and takes the place of the store's content.
    CopyWhole {
        /// The store.
        store: u32,
        /// The copy's number.
        copy: u64,
    },
    /// An ingest begins: what is there now is what it wins over, or loses to. One that began earlier and is not
    /// whole is void.
    IngestBegins {
        /// The job's number.
        job: u64,
        /// It loses to whatever is there, a later removal included; otherwise it wins over what is there
        /// now.
        behind: bool,
    },
    /// A part of an ingest: entries of one store. Of another ingest than the one that began last: void.
    IngestPart {
        /// The store.
        store: u32,
        /// The job's number.
        job: u64,
        /// The keys, ascending.
        changes: Changes<'a>,
    },
    /// The ingest is whole: all its entries appear.
    IngestWhole {
        /// The job's number.
        job: u64,
    },
}

impl<'a> Record<'a> {
    /// Reads a record. Its changes are checked as they are read.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&kind, rest) = bytes.split_first().ok_or(Malformed("it is empty"))?;
        let short = Malformed("it ends inside its head");
        let (store, mut rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        let store = u32::from_le_bytes(*store);
        let mut number = || {
            let (number, behind) = rest.split_first_chunk::<8>().ok_or(short)?;
            rest = behind;
            Ok(u64::from_le_bytes(*number))
        };
        let record = match kind {
            CHANGES => return Ok(Self::Changes { store, changes: Changes { rest } }),
            COPY_PART => {
                let copy = number()?;
                return Ok(Self::CopyPart { store, copy, changes: Changes { rest } });
            }
            INGEST_PART => {
                let job = number()?;
                return Ok(Self::IngestPart { store, job, changes: Changes { rest } });
            }
            DROPPED => Self::Dropped { store },
            COPY_BEGINS => Self::CopyBegins { store, copy: number()? },
            COPY_WHOLE => Self::CopyWhole { store, copy: number()? },
            INGEST_BEGINS if store == ALL => {
                let job = number()?;
                let (behind, left) = rest.split_first().ok_or(short)?;
                rest = left;
                if *behind > 1 {
                    return Err(Malformed("its mode is unknown"));
                }
                Self::IngestBegins { job, behind: *behind == 1 }
            }
            INGEST_WHOLE if store == ALL => Self::IngestWhole { job: number()? },
            _ => return Err(Malformed("its kind is unknown")),
        };
        if rest.is_empty() { Ok(record) } else { Err(Malformed("bytes are left over")) }
    }
}

/// Makes a record.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    bytes: Vec<u8>,
    changes: usize,
}

impl RecordBuilder {
    fn new(kind: u8, store: u32) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(kind);
        bytes.extend_from_slice(&store.to_le_bytes());
        Self { bytes, changes: 0 }
    }

    /// `number` is that of a copy or a job.
    fn of(kind: u8, store: u32, number: u64) -> Self {
        let mut record = Self::new(kind, store);
        record.bytes.extend_from_slice(&number.to_le_bytes());
        record
    }

    /// [`Record::Changes`], without any yet.
    #[must_use]
    pub fn changes(store: u32) -> Self {
        Self::new(CHANGES, store)
    }

    /// [`Record::Dropped`].
    #[must_use]
    pub fn dropped(store: u32) -> Self {
        Self::new(DROPPED, store)
    }

    /// [`Record::CopyBegins`].
    #[must_use]
    pub fn copy_begins(store: u32, copy: u64) -> Self {
        Self::of(COPY_BEGINS, store, copy)
    }

    /// [`Record::CopyPart`], without any changes yet.
    #[must_use]
    pub fn copy_part(store: u32, copy: u64) -> Self {
        Self::of(COPY_PART, store, copy)
    }

    /// [`Record::CopyWhole`].
    #[must_use]
    pub fn copy_whole(store: u32, copy: u64) -> Self {
        Self::of(COPY_WHOLE, store, copy)
    }

    /// [`Record::IngestBegins`].
    #[must_use]
    pub fn ingest_begins(job: u64, behind: bool) -> Self {
        let mut record = Self::of(INGEST_BEGINS, ALL, job);
        record.bytes.push(u8::from(behind));
        record
    }

    /// [`Record::IngestPart`], without any entries yet.
    #[must_use]
    pub fn ingest_part(store: u32, job: u64) -> Self {
        Self::of(INGEST_PART, store, job)
    }

    /// [`Record::IngestWhole`].
    #[must_use]
    pub fn ingest_whole(job: u64) -> Self {
        Self::of(INGEST_WHOLE, ALL, job)
    }

    /// The key gets this value. Both must be within the limits of a store, which are those of a record.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.lengths(key, value.len() + 1);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// The key is removed.
    pub fn remove(&mut self, key: &[u8]) {
        self.lengths(key, 0);
        self.bytes.extend_from_slice(key);
    }

    fn lengths(&mut self, key: &[u8], value: usize) {
        debug_assert!(key.len() <= MAX_KEY_LEN && value <= MAX_VALUE_LEN + 1, "of a store");
        put_varint(&mut self.bytes, u32::try_from(key.len()).unwrap_or(u32::MAX));
        put_varint(&mut self.bytes, u32::try_from(value).unwrap_or(u32::MAX));
        self.changes += 1;
    }

    /// How many changes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// The record.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back() {
        let mut part = RecordBuilder::copy_part(9, 77);
        part.put(b"", b"");
        part.remove(&[7; 300]);
        let decoded = |record: &RecordBuilder| format!("{:?}", Record::decode(record.bytes()));
        assert!(decoded(&part).starts_with("Ok(CopyPart { store: 9, copy: 77"));
        assert!(decoded(&RecordBuilder::dropped(1)).starts_with("Ok(Dropped { store: 1 }"));
        assert!(decoded(&RecordBuilder::copy_begins(1, 2)).starts_with("Ok(CopyBegins"));
        assert!(decoded(&RecordBuilder::copy_whole(1, 2)).starts_with("Ok(CopyWhole"));
        let begins = RecordBuilder::ingest_begins(5, true);
        assert_eq!(decoded(&begins), "Ok(IngestBegins { job: 5, behind: true })");
        assert!(decoded(&RecordBuilder::ingest_part(3, 5)).starts_with("Ok(IngestPart { store: 3"));
        assert_eq!(decoded(&RecordBuilder::ingest_whole(5)), "Ok(IngestWhole { job: 5 })");
        let Ok(Record::CopyPart { mut changes, .. }) = Record::decode(part.bytes()) else {
            panic!("it is a part");
        };
        assert_eq!(changes.next_change(), Ok(Some(Change { key: b"", value: Some(b"") })));
        assert_eq!(changes.next_change(), Ok(Some(Change { key: &[7; 300], value: None })));
        assert_eq!(changes.next_change(), Ok(None));
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        let mut whole = RecordBuilder::changes(3);
        whole.put(b"key", b"value");
        for len in 0..whole.bytes().len() {
            let read = Record::decode(&whole.bytes()[..len]).and_then(|record| match record {
                Record::Changes { mut changes, .. } => changes.next_change(),
                _ => Ok(None),
            });
            // Behind the head alone stands a record without changes.
            assert_eq!(read.is_ok(), len == 5, "{len} bytes: {read:?}");
        }
        let mut mode = RecordBuilder::ingest_begins(1, true).bytes().to_vec();
        *mode.last_mut().expect("not empty") = 2;
        for bytes in [&[9, 0, 0, 0, 0][..], &[2, 0, 0, 0, 0, 0], &[3, 0, 0, 0, 0, 1], &mode] {
            assert!(Record::decode(bytes).is_err(), "{bytes:?}");
        }
        let long = [1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 1];
        let Ok(Record::Changes { mut changes, .. }) = Record::decode(&long) else { panic!() };
        assert!(changes.next_change().is_err());
    }
}
