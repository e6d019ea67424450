//! What a workload read, in one number, so that peers with the same work can be compared.

/// A checksum of values in the order in which they were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    hash: u64,
    count: u64,
}

impl Sum {
    /// The sum of one value.
    #[must_use]
    pub fn of(value: u64) -> Self {
        Self { hash: value, count: 1 }
    }

    /// Takes an entry of a scan. Reads the end of the key and the value, as a user would.
    pub fn entry(&mut self, key: &[u8], value: u64) {
        let last = key.last().copied().unwrap_or_default();
        self.value(value.wrapping_add(u64::from(last) << 32));
    }

    /// Takes a value.
    pub fn value(&mut self, value: u64) {
        self.hash = self.hash.rotate_left(5) ^ value;
        self.count += 1;
    }

    /// Takes what a lookup found.
    pub fn found(&mut self, found: Option<u64>) {
        match found {
            Some(value) => self.value(value),
            None => self.hash = self.hash.rotate_left(5) ^ 0xAB5E,
        }
    }

    /// Adds the sum of another thread; the order of threads does not matter.
    pub fn join(&mut self, other: Self) {
        self.hash = self.hash.wrapping_add(other.hash);
        self.count += other.count;
    }

    /// Values and entries taken.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The number.
    #[must_use]
    pub fn finish(&self) -> u64 {
        crate::random::mix(self.hash) ^ self.count
    }
}
