//! The mistakes that a source makes on purpose.

use std::time::Duration;

use whimbrel_mvcc::Captured;

use super::SourceRun;
use crate::Plant;

impl SourceRun {
    pub(super) fn plants(&mut self, plant: Plant) -> bool {
        let now = !self.planted && self.out.options.plant == Some(plant);
        self.planted |= now;
        now
    }

    /// The planted fault: one key whose write the snapshot does not have is never sent.
    pub(super) fn forget_one(&mut self, drained: &mut Captured) {
        if self.out.options.plant != Some(Plant::DropCapturedWrite) {
            return;
        }
        if self.forgotten.is_none() {
            self.forgotten = self.written_since_snapshot(drained);
        }
        drained.keys.retain(|key| Some(key) != self.forgotten.as_ref());
    }

    pub(super) fn written_since_snapshot(&self, captured: &Captured) -> Option<Vec<u8>> {
        let (store, (snapshot, _)) = (self.store()?, self.out.range(0)?);
        captured.keys.iter().find(|key| snapshot.get(key) != store.get(key)).cloned()
    }

    /// A planted fault needs a write that it can spoil: waits for one, for at most 5 s.
    pub(super) async fn await_prey(&mut self) {
        const LOOKS: u32 = 1000;
        const BETWEEN: Duration = Duration::from_millis(5);
        for _ in 0..LOOKS {
            let ready = match self.out.options.plant {
                Some(Plant::DropCapturedWrite) => self.forgotten.is_some(),
                Some(Plant::SkipDeltaRound) => {
                    self.planted || self.written_since_snapshot(&self.pending).is_some()
                }
                _ => true,
            };
            if ready {
                return;
            }
            tokio::time::sleep(BETWEEN).await;
            self.collect().await;
        }
    }
}
