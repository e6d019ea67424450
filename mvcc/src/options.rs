//! The options of a store.

use std::num::NonZeroU64;

use crate::clock::ClockInner;

/// What a store keeps besides its entries, and who collects its garbage. Builder.
#[derive(Debug, Clone, Default)]
pub struct StoreOptions {
    pub(crate) digest: bool,
    collection: CollectedBy,
    garbage_bound: Option<NonZeroU64>,
}

/// Who collects the garbage of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum CollectedBy {
    #[default]
    Writers,
    Workers,
    Caller,
}

impl StoreOptions {
    /// The defaults: no running digest, collection shared by the writers, no bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps [`crate::Store::digest`] up to date. Default: off. Price: a hash of the new and of the replaced
    /// entry with every write.
    #[must_use]
    pub fn with_running_digest(mut self) -> Self {
        self.digest = true;
        self
    }

    /// Nobody collects garbage but who calls [`crate::Store::collect`]. Default: writers share the work.
    /// Price: superseded versions stay until somebody collects. (A removal that leaves nothing behind is
    /// no garbage.)
    #[must_use]
    pub fn with_manual_collection(mut self) -> Self {
        self.collection = CollectedBy::Caller;
        self
    }

    /// Writers leave the garbage to the clock's [`crate::Collectors`], and share the work only while there
    /// are none. Default: writers share the work, and collectors help. Price: garbage lies about for a
    /// millisecond or two, and for longer when writers make more than the collectors take away; see
    /// [`StoreOptions::with_garbage_bound`].
    #[must_use]
    pub fn with_background_collection(mut self) -> Self {
        self.collection = CollectedBy::Workers;
        self
    }

    /// Bounds the memory of garbage that could be collected, in bytes of versions and of their entries in
    /// the dead list. Default: no bound; what garbage there is depends on who collects. 0 is taken for 1.
    ///
    /// A write that finds more collects some 512 entries itself, whoever else should (a batch two more for
    /// each of its operations). Where another collector is at work it waits, for a millisecond at most (a
    /// batch for one an operation, up to 64), and then goes on without. So garbage stays below the bound and
    /// what the writes under way add: two entries at most, or two an operation. When the thread of a
    /// collector is stopped in the middle, writers are slowed down and not stopped, and each adds up to a
    /// thousand writes a second. Price: that help, and a counter and
    /// a few loads for each write over a value.
    ///
    /// What open snapshots hold does not count ([`crate::StoreStats::held`]): nothing but closing them
    /// makes it less, and [`crate::ClockOptions::with_age_limit`] names those that have been open for long.
    /// Memory that was handed to the barrier does not count either; [`crate::ClockStats::unreclaimed`]
    /// does that.
    #[must_use]
    pub fn with_garbage_bound(mut self, bytes: u64) -> Self {
        self.garbage_bound = Some(NonZeroU64::new(bytes).unwrap_or(NonZeroU64::MIN));
        self
    }

    /// Whether writers collect as they go.
    pub(crate) fn writers_collect(&self, clock: &ClockInner) -> bool {
        match self.collection {
            CollectedBy::Writers => true,
            CollectedBy::Workers => !clock.bell.is_staffed(),
            CollectedBy::Caller => false,
        }
    }

    /// Whether there are workers that collect.
    pub(crate) fn workers_collect(&self, clock: &ClockInner) -> bool {
        self.collection != CollectedBy::Caller && clock.bell.is_staffed()
    }

    pub(crate) fn bound(&self) -> Option<u64> {
        self.garbage_bound.map(NonZeroU64::get)
    }
}
