//! How many bytes of unfinished requests all connections of a node hold together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What each connection may hold without being counted: small requests are never refused because
/// of the large ones of others.
pub(crate) const FREE_BYTES: usize = 16 << 10;

/// The bytes that all connections share.
#[derive(Debug)]
pub(crate) struct Intake {
    used: AtomicUsize,
    max: usize,
}

impl Intake {
    /// Room for `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Bytes that are counted now.
    pub(crate) fn used(&self) -> usize {
        // ORDERING: Relaxed; a figure for people.
        self.used.load(Ordering::Relaxed)
    }

    /// One connection's share, empty at first.
    pub(crate) fn share(&self) -> Share<'_> {
        Share { intake: self, held: 0 }
    }

    /// Counts `bytes` more, if there is room for all of them.
    fn take(&self, bytes: usize) -> bool {
        let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        // ORDERING: Relaxed, both; a sum that guards no other memory. Pairs with `give_back`.
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        // ORDERING: Relaxed; as in `take`.
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one connection holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share<'a> {
    intake: &'a Intake,
    held: usize,
}

impl Share<'_> {
    /// Says that the connection holds `bytes` now. False, with nothing changed, when there is no
    /// room for what it holds more than before.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let counted = bytes.saturating_sub(FREE_BYTES);
        if counted > self.held && !self.intake.take(counted - self.held) {
            return false;
        }
        self.intake.give_back(self.held.saturating_sub(counted));
        self.held = counted;
        true
    }

    /// Whether anything of it is counted.
    pub(crate) fn is_counted(&self) -> bool {
        self.held > 0
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.intake.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_hold_more_than_there_is_and_give_all_of_it_back() {
        let intake = Intake::new(100);
        let mut first = intake.share();
        assert!(first.set(FREE_BYTES) && !first.is_counted());
        assert!(first.set(FREE_BYTES + 60) && first.is_counted());
        let mut second = intake.share();
        assert!(!second.set(FREE_BYTES + 41), "101 of 100");
        assert!(second.set(FREE_BYTES + 40), "100 of 100");
        assert!(!first.set(usize::MAX) && intake.used() == 100, "a refusal changes nothing");
        assert!(first.set(FREE_BYTES + 10) && intake.used() == 50);
        drop(second);
        assert_eq!(intake.used(), 10);
        assert!(first.set(0));
        assert_eq!(intake.used(), 0);
    }
}
