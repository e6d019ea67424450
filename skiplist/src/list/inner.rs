//! What a search above level 0 reads of a block: the order hints of its words in order side by side, the
//! window that they are taken from, and the children's addresses beside the words.

use super::entry::Entry;
use super::hint::Needle;
use super::raw::{BlockRef, MOST_SORTED};
use super::record::RecRef;
use super::scan::{count_below, prefetch};
use super::window::Window;
use super::words::{Word, Words, hints_bytes};
use crate::mutant::{Mutant, order};
use crate::sync::atomic::{AtomicU64, Ordering};
use std::ptr::NonNull;

/// Bytes of hints and window.
pub(super) const HINTS_BYTES: usize = MOST_SORTED * size_of::<i16>() + size_of::<Window>();

/// A word above level 0, and beside it the address of the block that its record led to when it came:
/// prefetched only, never followed.
#[repr(C)]
pub(super) struct Pair {
    word: AtomicU64,
    child: AtomicU64,
}

impl Pair {
    /// The record of a word that holds one.
    #[inline]
    pub(super) fn entry(&self) -> Option<Entry<'_>> {
        // SAFETY: it is the word of a pair that is protected as long as the answer.
        unsafe { entry_of(self.raw()) }
    }

    /// The word as it stands.
    #[inline]
    pub(super) fn raw(&self) -> u64 {
        // ORDERING: Acquire; pairs with the Release in `claim`: the record is complete.
        self.word.load(order(Mutant::RelaxedWordLoad, Ordering::Acquire))
    }

    /// Begins to load so many bytes of the child.
    #[inline]
    pub(super) fn prefetch_child(&self, bytes: u64) {
        if !cfg!(whimbrel_loom) {
            // ORDERING: Relaxed; never followed.
            prefetch(self.child.load(Ordering::Relaxed), bytes);
        }
    }
}

/// The record of a word that holds one.
///
/// # Safety
///
/// The word was read in a block that is protected for `'g`.
#[inline]
pub(super) unsafe fn entry_of<'g>(raw: u64) -> Option<Entry<'g>> {
    if let Word::Record(entry) = Words::judge(raw) { Some(entry) } else { None }
}

/// An order hint as the blocks above level 0 keep it: signed, because vector instructions compare signed
/// numbers.
#[inline]
fn signed(hint: u16) -> i16 {
    (hint ^ 0x8000).cast_signed()
}

impl<'g> BlockRef<'g> {
    /// Writes that there are no hints into a block that is being made.
    pub(super) fn prepare_no_hints(self) {
        // No hint is above those that are not there.
        let hints = self.hints_start().cast::<[i16; MOST_SORTED]>();
        // SAFETY: the hints lie behind the header.
        unsafe { hints.write([i16::MAX; MOST_SORTED]) };
        self.prepare_window(Window::PLAIN);
    }

    /// Writes the order hint of a word in order of a block that no other thread can reach.
    pub(super) fn prepare_order_hint(self, at: usize, hint: u16) {
        assert!(at < MOST_SORTED, "words in order have hints");
        // SAFETY: there are so many hints.
        let place = unsafe { self.hints_start().cast::<i16>().add(at) };
        // SAFETY: as above; nobody else has the block.
        unsafe { place.write(signed(hint)) };
    }

    /// Address of the window. Above level 0.
    #[inline]
    fn window_start(self) -> NonNull<Window> {
        debug_assert!(self.level() > 0);
        // SAFETY: it follows the hints, inside of the allocation.
        unsafe { self.hints_start().add(MOST_SORTED * size_of::<i16>()).cast() }
    }

    /// Sets where the order hints of a block are taken from that no other thread can reach. Above level 0.
    fn prepare_window(self, window: Window) {
        // SAFETY: as the header it is aligned, and nobody else has the block.
        unsafe { self.window_start().write(window) };
    }

    /// As [`BlockRef::prepare_window`], by the records that will be the words in order.
    pub(super) fn choose_window(self, records: impl Iterator<Item = RecRef<'g>>) {
        let (mut keys, mut len) = ([&[][..]; MOST_SORTED], 0);
        for (key, record) in keys.iter_mut().zip(records) {
            *key = record.key();
            len += 1;
        }
        self.prepare_window(Window::choose(&keys[..len], self.shared()));
    }

    /// Where the order hints are taken from. Above level 0.
    #[inline]
    fn window(self) -> &'g Window {
        // SAFETY: `prepare_window` wrote it before the block was published, and it never changes.
        unsafe { self.window_start().as_ref() }
    }

    #[inline(never)]
    fn hint_by_window(self, key: &[u8]) -> u16 {
        // The first word is written first of all.
        let model = self.entry(0).map_or(key, |entry| entry.record().key());
        self.window().hint(key, self.shared(), model)
    }

    /// The order hint of a key of the range, by the window.
    #[inline]
    pub(super) fn order_hint(self, needle: Needle<'_>) -> u16 {
        if self.window().is_plain() {
            needle.order_hint(self.shared())
        } else {
            self.hint_by_window(needle.key)
        }
    }

    /// The order hints of the words in order, and the greatest hint in all other places. Above level 0.
    #[inline]
    fn hints(self) -> &'g [i16; MOST_SORTED] {
        debug_assert!(self.level() > 0);
        // SAFETY: `prepare_empty` and `prepare_hint` wrote them before the block was published, and they
        // never change.
        unsafe { self.hints_start().cast().as_ref() }
    }

    /// The words and children. Above level 0.
    #[inline]
    pub(super) fn pairs(self) -> &'g [Pair] {
        debug_assert!(self.level() > 0);
        // SAFETY: inside of the allocation, see `block_bytes`.
        let first = unsafe { self.hints_start().add(hints_bytes(1)) };
        // SAFETY: `prepare_empty` wrote so many, and they are only shared.
        unsafe { std::slice::from_raw_parts(first.cast().as_ptr(), self.capacity()) }
    }

    /// Number of the words in order that have hints below this one, and whether the next one has this
    /// hint itself. Above level 0.
    #[inline]
    pub(super) fn rank(self, hint: u16) -> (usize, bool) {
        let (hints, hint) = (self.hints(), signed(hint));
        let rank = count_below(hints, hint);
        (rank, hints.get(rank) == Some(&hint) && rank < self.sorted())
    }

    /// Number of the words in order that have hints up to this one.
    pub(super) fn rank_behind(self, hint: u16) -> usize {
        let hint = signed(hint);
        self.hints()[..self.sorted()].partition_point(|other| *other <= hint)
    }
}
