//! What a leader writes, and what it writes to.

use crate::error::Failure;
use crate::format::{GROUP_HEADER, put_varint};

/// Records that are written at once.
#[derive(Debug)]
pub struct Group {
    first: u64,
    count: u32,
    /// Room for the header, then the payload.
    bytes: Vec<u8>,
}

impl Group {
    pub(super) fn new(first: u64, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(GROUP_HEADER, 0);
        Self { first, count: 0, bytes }
    }

    /// A group with this payload, which must consist of `count` records.
    pub(crate) fn of_payload(first: u64, count: u32, payload: &[u8]) -> Self {
        let mut group = Self::new(first, Vec::with_capacity(GROUP_HEADER + payload.len()));
        group.count = count;
        group.bytes.extend_from_slice(payload);
        group
    }

    /// Sequence of the first record.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Records.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Sequence behind the last record.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + u64::from(self.count)
    }

    /// Room for the header, and the payload.
    pub(crate) fn parts(&mut self) -> (&mut [u8], &[u8]) {
        let (header, payload) = self.bytes.split_at_mut(GROUP_HEADER);
        (header, payload)
    }

    /// Header and payload.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its buffer, to be used again.
    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn push(&mut self, record: &[u8]) {
        // Records are at most 1 GiB, as `Journal::append` checks.
        put_varint(&mut self.bytes, u32::try_from(record.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(record);
        self.count += 1;
    }
}

/// What records are written to. After a failure it is dropped.
pub trait Device: Send {
    /// Hands the groups to the system, in order.
    ///
    /// # Errors
    /// What the system said; anything may have been written.
    fn write(&mut self, groups: &mut [Group]) -> Result<(), Failure>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// What the system said; anything may be lost.
    fn sync(&mut self) -> Result<(), Failure>;

    /// Makes everything written so far durable, and ends the segment that holds it.
    ///
    /// # Errors
    /// What the system said; anything may be lost.
    fn turn_over(&mut self) -> Result<(), Failure> {
        self.sync()
    }
}
