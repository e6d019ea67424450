//! The words of records, apart from their blocks: hint and address in one, and their order.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::raw::{BlockRef, MOST_WORDS};
use super::record::RecRef;

/// Bits of a word that hold the address of a record; the order hint lies above.
const ADDRESS_BITS: u32 = 48;

/// The address in a word.
pub(super) const ADDRESS: u64 = (1 << ADDRESS_BITS) - 1;

/// Records that begin to be loaded before a block is ordered.
const EARLY: usize = 6;

/// The word of a record: its address, and the order hint of its key in the block where it was found.
///
/// Invariant: the record is protected for `'g`.
#[derive(Clone, Copy)]
pub(super) struct Entry<'g> {
    word: u64,
    protected: PhantomData<RecRef<'g>>,
}

impl<'g> Entry<'g> {
    /// In a place that is not filled yet. Leads nowhere.
    pub(super) const NONE: Self = Self { word: u64::MAX, protected: PhantomData };

    /// # Safety
    ///
    /// `word` is [`Entry::word_of`] a record that is not reclaimed during `'g`.
    #[inline]
    pub(super) unsafe fn from_word(word: u64) -> Self {
        Self { word, protected: PhantomData }
    }

    /// The word that leads to a record.
    #[inline]
    pub(super) fn word_of(record: RecRef<'_>, hint: u16) -> u64 {
        let address = record.as_ptr().as_ptr().expose_provenance() as u64;
        assert!(address & !ADDRESS == 0, "records lie in the lower 48 bits of the address space");
        address | (u64::from(hint) << ADDRESS_BITS)
    }

    #[inline]
    pub(super) fn hint(self) -> u16 {
        (self.word >> ADDRESS_BITS) as u16
    }

    #[inline]
    pub(super) fn record(self) -> RecRef<'g> {
        let ptr = std::ptr::with_exposed_provenance_mut((self.word & ADDRESS) as usize);
        let ptr = NonNull::new(ptr).expect("no record lies at address 0");
        // SAFETY: the invariant of the type.
        unsafe { RecRef::protect(ptr) }
    }

    /// The same place in the order, for another record of the same key.
    pub(super) fn of(self, record: RecRef<'g>) -> Self {
        Self { word: Self::word_of(record, self.hint()), protected: PhantomData }
    }

    /// Begins to load the record.
    #[inline]
    pub(super) fn prefetch(self) {
        self.record().prefetch();
    }

    /// Compares the record's key with another one; by their order hints where these differ.
    #[inline]
    pub(super) fn compare(self, key: &[u8], hint: u16) -> Ordering {
        self.hint().cmp(&hint).then_with(|| self.record().key().cmp(key))
    }
}

/// The entries of one block, given out in the order of their keys.
///
/// A block has its first words in order and those that came later behind them: they are ordered for
/// themselves, and both are merged as far as somebody asks. By their hints where these differ; keys
/// are read where they do not.
pub(super) struct Ordered<'g> {
    /// Both are followed by [`Entry::LAST`].
    first: [Entry<'g>; MOST_WORDS + 1],
    later: [Entry<'g>; MOST_WORDS + 1],
    firsts: usize,
    laters: usize,
    /// What was taken of both.
    taken: (usize, usize),
    merged: [Entry<'g>; MOST_WORDS],
}

impl<'g> Ordered<'g> {
    pub(super) fn new() -> Self {
        Self {
            first: [Self::LAST; MOST_WORDS + 1],
            later: [Self::LAST; MOST_WORDS + 1],
            firsts: 0,
            laters: 0,
            taken: (0, 0),
            merged: [Self::LAST; MOST_WORDS],
        }
    }

    /// Replaces the entries by those of a block for which `keep` holds. Its words are read once, in order.
    /// `keep` may put another record of the key in the place of one.
    #[inline]
    pub(super) fn fill(
        &mut self,
        block: BlockRef<'g>,
        mut keep: impl FnMut(&mut Entry<'g>) -> bool,
    ) {
        (self.firsts, self.laters, self.taken) = (0, 0, (0, 0));
        let (words, sorted) = (block.words(), block.sorted().min(MOST_WORDS));
        for at in 0..sorted {
            let Some(mut entry) = words.entry(at) else { break };
            let kept = keep(&mut entry);
            self.first[self.firsts] = entry;
            self.firsts += usize::from(kept);
        }
        for at in sorted..words.len().min(MOST_WORDS) {
            let Some(mut entry) = words.entry(at) else { break };
            let kept = keep(&mut entry);
            self.later[self.laters] = entry;
            self.laters += usize::from(kept);
        }
        // Begun before the rest is ordered: most of them are among the first in the end.
        self.first[..self.firsts.min(EARLY)].iter().for_each(|entry| entry.prefetch());
        if self.laters == 0 {
            return;
        }
        self.first[self.firsts] = Self::LAST;
        self.later[self.laters] = Self::LAST;
        self.later[..self.laters].sort_unstable_by(|a, b| {
            a.hint().cmp(&b.hint()).then_with(|| a.record().key().cmp(b.record().key()))
        });
    }

    /// In the place of an entry: behind all others.
    const LAST: Entry<'g> = Entry { word: u64::MAX, protected: PhantomData };

    /// Number of entries.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.firsts + self.laters
    }

    /// Number of entries with this hint, when none has a smaller one.
    pub(super) fn count_of_hint(&self, hint: u16) -> usize {
        let count = |of: &[Entry<'g>]| of.iter().take_while(|entry| entry.hint() == hint).count();
        count(&self.first[..self.firsts]) + count(&self.later[..self.laters])
    }

    /// The first `wanted` entries, or all if there are fewer.
    #[inline]
    pub(super) fn first(&mut self, wanted: usize) -> &[Entry<'g>] {
        let (mut first, mut later) = self.taken;
        let wanted = wanted.min(self.len());
        if self.laters == 0 {
            return &self.first[..wanted];
        }
        while first + later < wanted {
            let (one, other) = (self.first[first], self.later[later]);
            let is_first = match one.hint().cmp(&other.hint()) {
                Ordering::Equal => self.is_first_in_turn(first, later),
                unequal => unequal.is_lt(),
            };
            self.merged[first + later] = if is_first { one } else { other };
            first += usize::from(is_first);
            later += usize::from(!is_first);
        }
        self.taken = (first, later);
        &self.merged[..wanted]
    }

    /// All entries.
    pub(super) fn all(&mut self) -> &[Entry<'g>] {
        self.first(MOST_WORDS)
    }

    /// Whether, of two with equal hints, the one of the words in order comes first.
    #[cold]
    fn is_first_in_turn(&self, first: usize, later: usize) -> bool {
        if first == self.firsts || later == self.laters {
            return first < self.firsts;
        }
        self.first[first].record().key() < self.later[later].record().key()
    }
}
