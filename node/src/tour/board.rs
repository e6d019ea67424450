//! What the clients of the migration share: the highest number acknowledged per key, the phase.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Part of the run that an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the move was requested.
    Before,
    /// From the request until the source reports the end.
    During,
    /// After it.
    After,
}

/// Shared by all clients.
#[derive(Debug)]
pub(super) struct Board {
    acknowledged: Vec<AtomicU64>,
    phase: AtomicU8,
    stopped: AtomicBool,
}

impl Board {
    /// A board for so many keys, none of them written.
    pub(super) fn new(keys: usize) -> Self {
        Self {
            acknowledged: (0..keys).map(|_| AtomicU64::new(0)).collect(),
            phase: AtomicU8::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.acknowledged.len()
    }

    /// The highest number of `key` whose write was acknowledged to anyone.
    pub(super) fn acknowledged(&self, key: usize) -> u64 {
        // ORDERING: Acquire; pairs with the Release in `acknowledge`. A read that is sent after
        // this load is sent after the acknowledgement it saw arrived at its client.
        self.acknowledged[key].load(Ordering::Acquire)
    }

    /// The write of `number` to `key` was acknowledged. Each key has one writer.
    pub(super) fn acknowledge(&self, key: usize, number: u64) {
        // ORDERING: Release; pairs with the Acquire in `acknowledged`.
        self.acknowledged[key].store(number, Ordering::Release);
    }

    /// The present phase.
    pub(super) fn phase(&self) -> Phase {
        // ORDERING: Relaxed; the phase only sorts measurements, nothing is published by it.
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Before,
            1 => Phase::During,
            _ => Phase::After,
        }
    }

    /// Begins a phase.
    pub(super) fn enter(&self, phase: Phase) {
        // ORDERING: Relaxed; see `phase`.
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Asks the clients to end.
    pub(super) fn stop(&self) {
        // ORDERING: Relaxed; the clients' results are published by joining their threads.
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Whether the clients were asked to end.
    pub(super) fn is_stopped(&self) -> bool {
        // ORDERING: Relaxed; see `stop`.
        self.stopped.load(Ordering::Relaxed)
    }
}
