//! Walking the entries of a block, with everything checked, and the key that is made from the one before.

use super::malformed;
use super::read::{Block, RawEntry};
use crate::Error;
use crate::error::KeyExcerpt;

/// An entry's key and value; no value means that the key was removed.
pub type Entry<'k, 'v> = (&'k [u8], Option<&'v [u8]>);

/// Walks the entries of a block in key order; each key is lent until the next step.
///
/// Every step checks bounds, limits, and that the key is greater than the one before; the last step
/// checks that nothing is left over. The walk ends at the first error.
#[derive(Debug)]
pub struct Entries<'a> {
    block: Block<'a>,
    at: usize,
    left: u32,
    key: KeyBuffer,
    /// False until a key was read, which every later one must exceed.
    started: bool,
    /// Restart points passed, and where the next one is (beyond every entry when there is none).
    restart: usize,
    restart_at: usize,
}

impl<'a> Entries<'a> {
    pub(super) fn new(block: Block<'a>) -> Self {
        match block.restart_inside(0) {
            Some(0) => Self::from_restart(block, 0, 0),
            // No entry is there, and `broken_rule` says why.
            _ => Self::from_restart(block, 0, usize::MAX),
        }
    }

    /// A walk that begins at a restart point and knows nothing of what comes before it.
    pub(super) fn from_restart(block: Block<'a>, restart: usize, at: usize) -> Self {
        let (left, key, started) = (block.len(), KeyBuffer::default(), false);
        Self { block, at, left, key, started, restart, restart_at: at }
    }

    /// The next entry, or `None` after the last.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::LimitExceeded`] or [`Error::OutOfOrder`] when the entries break
    /// the format although the checksum is right.
    #[inline(always)]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, 'a>>, Error> {
        if self.left == 0 {
            return if self.is_at_end() { Ok(None) } else { Err(self.left_over()) };
        }
        match self.step() {
            Some(value) => {
                self.left -= 1;
                Ok(Some((self.key.get(), value)))
            }
            None => Err(self.fail()),
        }
    }

    /// The next value, or `None` where the bytes of the entries end, however many were walked.
    pub(super) fn step_within(&mut self) -> Result<Option<Option<&'a [u8]>>, Error> {
        if self.at >= self.block.body.len() {
            return Ok(None);
        }
        match self.step() {
            Some(value) => Ok(Some(value)),
            None => Err(self.fail()),
        }
    }

    /// The key of the last entry returned.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.key.get()
    }

    fn is_at_end(&self) -> bool {
        self.at == self.block.body.len() && self.restart == self.block.restart_points()
    }

    #[cold]
    fn left_over(&self) -> Error {
        malformed(self.block.place, "bytes are left over after the last entry")
    }

    /// Moves by one entry; answers its value. `None`, with nothing moved, when a rule is broken.
    #[inline(always)]
    fn step(&mut self) -> Option<Option<&'a [u8]>> {
        let body = self.block.body;
        let entry = self.block.entry(self.at)?;
        let value = entry.value(body);
        if self.at == self.restart_at {
            self.pass_restart(entry.shared, entry.rest(body))?;
        } else if !self.ascends(&entry) {
            return None;
        }
        self.key.set(entry.shared, body, entry.rest_at, entry.value_at - entry.rest_at);
        self.at = entry.end;
        Some(value)
    }

    /// Goes past a restart point, at which an entry stands that shares so many bytes.
    #[inline(never)]
    fn pass_restart(&mut self, shared: usize, rest: &[u8]) -> Option<()> {
        if shared != 0 || (self.started && rest <= self.key.get()) {
            return None;
        }
        self.restart_at = self.restart_after()?;
        self.restart += 1;
        self.started = true;
        Some(())
    }

    /// True when the entry's key comes after the one before.
    #[inline(always)]
    fn ascends(&self, entry: &RawEntry) -> bool {
        // Writers share as much as there is, so the first byte that is not shared decides.
        let differ = entry.shared < self.key.len && entry.rest_at < entry.value_at;
        let bytes = (self.key.bytes.get(entry.shared), self.block.body.get(entry.rest_at));
        let decided = matches!(bytes, (Some(old), Some(new)) if old < new);
        (differ && decided) || self.ascends_further(entry.shared, entry.rest(self.block.body))
    }

    #[inline(never)]
    fn ascends_further(&self, shared: usize, rest: &[u8]) -> bool {
        self.key.get().get(shared..).is_some_and(|previous| previous < rest)
    }

    /// Where the restart point behind the current one is; beyond every entry when there is none.
    #[inline]
    fn restart_after(&self) -> Option<usize> {
        let next = self.restart + 1;
        if next == self.block.restart_points() {
            return Some(usize::MAX);
        }
        self.block.restart_inside(next)
    }

    /// Neither another entry nor a clean end may follow. Says which rule is broken.
    #[cold]
    fn fail(&mut self) -> Error {
        let error = self.broken_rule();
        (self.left, self.at) = (0, usize::MAX);
        error
    }

    fn broken_rule(&self) -> Error {
        let block = &self.block;
        if !self.started && self.restart_at == usize::MAX {
            return malformed(block.place, "the first entry is not a restart point");
        }
        let Some(entry) = block.entry(self.at) else { return block.bad_entry(self.at) };
        let what = if self.at == self.restart_at && entry.shared != 0 {
            "a restart point shares bytes"
        } else if self.started && entry.shared > self.key.get().len() {
            "an entry shares more than the key before has"
        } else if self.started && !self.ascends(&entry) {
            return self.out_of_order(&entry);
        } else {
            "a restart point outside of the entries"
        };
        malformed(block.place, what)
    }

    fn out_of_order(&self, entry: &RawEntry) -> Error {
        let previous = self.key.get();
        let got = [&previous[..entry.shared], entry.rest(self.block.body)].concat();
        Error::OutOfOrder {
            place: self.block.place.clone(),
            previous: KeyExcerpt::of(previous),
            got: KeyExcerpt::of(&got),
        }
    }
}

/// Bytes of a key that are written together.
const LANE: usize = 16;

/// For each place in a lane the bits from there on; the first byte is the lowest.
const FROM: [u128; LANE] = {
    let (mut masks, mut at) = ([0; LANE], 0);
    while at < LANE {
        masks[at] = u128::MAX << (8 * at);
        at += 1;
    }
    masks
};

/// A key that is made from the one before it. Bytes behind its end are left over from longer ones.
///
/// It is written in whole lanes, the one in which the shared bytes end with these. A processor that has to put
/// together what it reads from two recent writes waits until both have left it, and who gets the key reads
/// it at once.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl KeyBuffer {
    #[inline]
    pub(super) fn get(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Keeps `shared` bytes and puts behind them the `len` bytes that stand at `at` in `body`.
    #[inline(always)]
    pub(super) fn set(&mut self, shared: usize, body: &[u8], at: usize, len: usize) {
        debug_assert!(shared <= self.len, "the caller compares it with the key before");
        self.len = shared + len;
        let kept = shared % LANE;
        if kept + len > LANE || self.set_lane(shared - kept, kept, body, at).is_none() {
            self.set_long(shared, body, at);
        }
    }

    /// Keeps so many bytes of a lane and fills the others with what stands at `at` in `body`, whatever it is.
    /// None where one of both does not reach as far.
    #[inline(always)]
    fn set_lane(&mut self, lane: usize, kept: usize, body: &[u8], at: usize) -> Option<()> {
        let at = at.wrapping_sub(kept);
        let from = body.get(at..at.wrapping_add(LANE))?.first_chunk()?;
        let to = self.bytes.get_mut(lane..lane + LANE)?.first_chunk_mut()?;
        let (old, new) = (u128::from_le_bytes(*to), u128::from_le_bytes(*from));
        *to = (old ^ ((old ^ new) & FROM[kept])).to_le_bytes();
        Some(())
    }

    /// As [`set`](Self::set) where the rest does not end in the lane in which it begins. The length is set.
    #[inline(never)]
    fn set_long(&mut self, shared: usize, body: &[u8], at: usize) {
        if self.bytes.len() < self.len + LANE {
            self.bytes.resize(2 * self.len + LANE, 0);
        }
        let (mut lane, mut from) = (shared, at);
        // To the end of the lane, and whole ones from there on.
        let kept = shared % LANE;
        if kept > 0 && self.set_lane(shared - kept, kept, body, at).is_some() {
            (lane, from) = (shared - kept + LANE, at + LANE - kept);
        }
        if lane < self.len {
            let rest = &body[from..from + self.len - lane];
            self.bytes[lane..self.len].copy_from_slice(rest);
        }
    }
}
