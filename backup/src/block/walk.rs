//! Walking the entries of a block, with everything checked, and the key that is made from the one before.

use std::ops::ControlFlow;

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
        // The first entry must be a restart point; `step` compares the two.
        let restart_at = block.restart_inside(0).unwrap_or(usize::MAX);
        Self { at: 0, ..Self::from_restart(block, 0, restart_at) }
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
    #[inline]
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, 'a>>, Error> {
        if self.left == 0 {
            return self.end().map(|()| None);
        }
        match self.step() {
            Some(value) => {
                self.left -= 1;
                Ok(Some((self.key.get(), value)))
            }
            None => Err(self.fail()),
        }
    }

    /// Hands what is left to `each`, until it answers `Break`: [`next_entry`](Self::next_entry) in a loop of its own,
    /// which takes fewer instructions.
    ///
    /// # Errors
    /// As [`next_entry`](Self::next_entry), or what `each` says.
    #[inline]
    pub fn try_for_each<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(&[u8], Option<&'a [u8]>) -> Result<ControlFlow<()>, E>,
    ) -> Result<ControlFlow<()>, E> {
        while self.left > 0 {
            let Some(value) = self.step() else { return Err(self.fail().into()) };
            self.left -= 1;
            if each(self.key.get(), value)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.end()?;
        Ok(ControlFlow::Continue(()))
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

    fn end(&self) -> Result<(), Error> {
        if self.at == self.block.body.len() && self.restart == self.block.restart_points() {
            return Ok(());
        }
        Err(malformed(self.block.place, "bytes are left over after the last entry"))
    }

    /// Moves by one entry; answers its value. `None`, with nothing moved, when a rule is broken.
    #[inline(always)]
    fn step(&mut self) -> Option<Option<&'a [u8]>> {
        match self.step_short() {
            Some(value) => Some(Some(value)),
            None => self.step_any(),
        }
    }

    /// [`step`](Self::step) of the usual entry: lengths of one byte each, few bytes that are not shared, no restart
    /// point, no remove. `None`, with nothing moved, for any other, and for one that breaks a rule.
    #[inline(always)]
    fn step_short(&mut self) -> Option<&'a [u8]> {
        let ([shared, rest, value], behind) =
            self.block.body.get(self.at..)?.split_first_chunk()?;
        let (shared, rest, value) = (usize::from(*shared), usize::from(*rest), usize::from(*value));
        let bytes = behind.first_chunk::<WIDE>()?;
        let at_restart = self.at == self.restart_at;
        if shared | value >= 0x80 || rest > WIDE || rest == 0 || value == 0 || at_restart {
            return None;
        }
        let end = rest + value - 1;
        let value = behind.get(rest..end)?;
        self.key.replace_short(shared, bytes, rest)?;
        self.at += 3 + end;
        Some(value)
    }

    #[inline(never)]
    fn step_any(&mut self) -> Option<Option<&'a [u8]>> {
        let entry = self.block.entry(self.at)?;
        if self.at == self.restart_at {
            self.pass_restart(&entry)?;
        } else if !self.started || !self.ascends(&entry) {
            return None;
        }
        let body = self.block.body;
        self.key.set(entry.shared, &body[entry.rest_at..], entry.value_at - entry.rest_at);
        self.at = entry.end;
        Some(entry.value(body))
    }

    /// The entry is at a restart point: looks for the next one. `None`, with nothing moved, when a rule is broken.
    fn pass_restart(&mut self, entry: &RawEntry) -> Option<()> {
        if entry.shared != 0 || (self.started && !self.ascends(entry)) {
            return None;
        }
        self.restart_at = self.restart_after()?;
        self.restart += 1;
        self.started = true;
        Some(())
    }

    /// True when the entry's key comes after the one before.
    #[inline]
    fn ascends(&self, entry: &RawEntry) -> bool {
        let (previous, rest) = (self.key.get(), entry.rest(self.block.body));
        match (previous.get(entry.shared), rest.first()) {
            // Writers share as much as there is, so the first byte that is not shared decides.
            (Some(old), Some(new)) if old != new => old < new,
            _ => entry.shared <= previous.len() && rest > &previous[entry.shared..],
        }
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
        let Some(entry) = block.entry(self.at) else { return block.bad_entry(self.at) };
        let passes = self.at == self.restart_at;
        let what = if passes && entry.shared != 0 {
            "a restart point shares bytes"
        } else if !self.started && !passes {
            "the first entry is not a restart point"
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

/// Bytes that are copied at once where the rest of a key is no longer.
const WIDE: usize = 32;

const _: () = assert!(WIDE < 0x80, "such a length has one byte");

/// A key that is made from the one before it. Bytes behind its end are left over from longer ones.
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

    /// Keeps `shared` bytes and puts the first `len` bytes of `from` behind them. There must be as many.
    #[inline]
    pub(super) fn set(&mut self, shared: usize, from: &[u8], len: usize) {
        debug_assert!(shared <= self.len, "the caller compares it with the key before");
        self.len = shared + len;
        // One copy of known length for a short rest; what is too much lies behind the end.
        if len <= WIDE
            && let Some(from) = from.first_chunk::<WIDE>()
            && let Some(to) = self.bytes.get_mut(shared..)
            && let Some(to) = to.first_chunk_mut::<WIDE>()
        {
            *to = *from;
            return;
        }
        self.set_long(shared, &from[..len]);
    }

    /// As [`set`](Self::set), if the first byte behind what is kept makes the key greater. `None`, with nothing done, if
    /// it does not, is the first one of all, or has no room.
    #[inline(always)]
    fn replace_short(&mut self, shared: usize, from: &[u8; WIDE], len: usize) -> Option<()> {
        let to = self.bytes.get_mut(shared..)?.first_chunk_mut::<WIDE>()?;
        if shared >= self.len || to[0] >= from[0] {
            return None;
        }
        *to = *from;
        self.len = shared + len;
        Some(())
    }

    #[inline(never)]
    fn set_long(&mut self, shared: usize, rest: &[u8]) {
        if self.bytes.len() < self.len + WIDE {
            self.bytes.resize(2 * self.len + WIDE, 0);
        }
        self.bytes[shared..self.len].copy_from_slice(rest);
    }
}
