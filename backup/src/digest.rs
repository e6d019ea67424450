//! The digest of a set of entries.

/// Count and wrapping sum of the hashes of a set of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    /// Number of entries.
    pub count: u64,
    /// Wrapping sum of the entries' hashes.
    pub sum: u64,
}

impl Digest {
    pub(crate) fn add(&mut self, key: &[u8], value: &[u8]) {
        self.count += 1;
        self.sum =
            self.sum.wrapping_add(u64::from(crc32c::crc32c_append(crc32c::crc32c(key), value)));
    }
}
