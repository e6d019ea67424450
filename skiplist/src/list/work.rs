//! Claims, freezes and decisions (steps 2, 3 and 5).

use super::List;
use super::hint::{Needle, fingerprint, shared_bytes};
use super::raw::{BlockRef, Plan, Repl};
use super::rebuild::Kept;
use super::record::{OwnedRec, RecRef};
use super::search::{self, MOST_UNSORTED, Place};
use super::words::Word;
use crate::Guard;
use crate::mutant::{Mutant, Step, planted};

/// One writing operation: what it has to clean up before it returns.
///
/// Decisions never clean up themselves: they put a [`Task`] on the list, so helping is a loop and
/// not a recursion.
pub(super) struct Work<'g> {
    pub(super) list: &'g List,
    pub(super) g: &'g Guard<'g>,
    pub(super) todo: Vec<Task<'g>>,
    #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
    stop_after: Option<Step>,
}

/// What the winner of a decision alone has to do (step 4).
pub(super) struct Task<'g> {
    /// The block that was decided.
    pub(super) block: BlockRef<'g>,
    /// The successor that gave its content.
    pub(super) absorbed: Option<BlockRef<'g>>,
    /// Dead records that the new blocks left out.
    pub(super) dropped: Vec<RecRef<'g>>,
    /// Anchors of the new blocks but the first.
    pub(super) anchors: Vec<RecRef<'g>>,
}

/// What a claim led to.
pub(super) enum Claim<'g> {
    Claimed(RecRef<'g>),
    /// An unsealed record of the key is there.
    Found(RecRef<'g>),
    /// The block takes no more records.
    Full,
}

/// A key that is looked for, to be inserted where it is missing.
#[derive(Clone, Copy)]
pub(super) struct Sought<'k> {
    pub(super) needle: Needle<'k>,
    fingerprint: u8,
}

impl<'k> Sought<'k> {
    #[inline]
    pub(super) fn new(key: &'k [u8]) -> Self {
        Self { needle: Needle::new(key), fingerprint: fingerprint(key) }
    }

    /// As [`search::find_in`].
    #[inline]
    pub(super) fn find_in<'g>(
        self,
        block: BlockRef<'g>,
        skip_sealed: bool,
    ) -> Result<RecRef<'g>, usize> {
        if block.level() > 0 {
            return search::find_in(block, self.needle, skip_sealed);
        }
        search::find_among(block, self.needle, block.matches(self.fingerprint), skip_sealed)
    }
}

/// What the winner has to do about a frozen block, and where the range of what takes its place ends.
pub(super) struct Gathered<'g> {
    pub(super) task: Task<'g>,
    pub(super) high: Option<RecRef<'g>>,
    pub(super) next: Option<BlockRef<'g>>,
}

/// New blocks that nobody else can see: a chain.
pub(super) struct Built<'g> {
    pub(super) first: BlockRef<'g>,
    pub(super) task: Task<'g>,
}

impl<'g> Work<'g> {
    pub(super) fn new(list: &'g List, g: &'g Guard<'g>) -> Self {
        Self {
            list,
            g,
            todo: Vec::new(),
            #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
            stop_after: super::model::take_stop(),
        }
    }

    /// Stops for ever after this step where a model asks for it.
    #[inline]
    pub(super) fn step(&self, step: Step) {
        #[cfg(any(whimbrel_loom, whimbrel_shuttle))]
        if self.stop_after == Some(step) {
            super::model::stop();
        }
        let _ = step;
    }

    /// Claims the first empty word of the block for a record of the key (step 2). `make` is called
    /// when an empty word is met.
    pub(super) fn claim(
        block: BlockRef<'g>,
        sought: Sought<'_>,
        make: impl FnMut() -> RecRef<'g>,
    ) -> Claim<'g> {
        match sought.find_in(block, !planted(Mutant::SealIgnored)) {
            Ok(found) => Claim::Found(found),
            Err(end) => Self::claim_from(end, block, sought, make),
        }
    }

    /// As [`Work::claim`], where it is known that the key is in no word before one.
    #[inline]
    pub(super) fn claim_from(
        mut at: usize,
        block: BlockRef<'g>,
        sought: Sought<'_>,
        mut make: impl FnMut() -> RecRef<'g>,
    ) -> Claim<'g> {
        let Sought { needle, fingerprint } = sought;
        // Above level 0 few words stay out of order: searches look at so many.
        let end = match block.level() {
            0 => block.capacity(),
            _ => block.capacity().min(block.sorted() + MOST_UNSORTED),
        };
        if planted(Mutant::NotTheFirstEmptyWord) && at + 1 < block.capacity() {
            at += 1;
        }
        while at < end {
            let mut word = block.word(at);
            if matches!(word, Word::Empty) {
                let record = make();
                let hint = block.hint_of_needle(needle);
                match block.claim(at, record, hint, fingerprint) {
                    Ok(()) => return Claim::Claimed(record),
                    Err(_) if planted(Mutant::FailedClaimNotJudged) => {
                        at += 1;
                        continue;
                    }
                    Err(found) => word = found,
                }
            }
            match word {
                Word::Empty | Word::Closed => return Claim::Full,
                Word::Record(entry) => {
                    let record = entry.record();
                    let dead_too = planted(Mutant::SealIgnored).then_some(record);
                    if record.key() == needle.key
                        && let Some(found) = record.live().or(dead_too)
                    {
                        return Claim::Found(found);
                    }
                }
            }
            at += 1;
        }
        Claim::Full
    }

    /// Makes room where a block took no record: decides it, or has it absorbed.
    pub(super) fn make_room(&mut self, block: BlockRef<'g>) {
        match block.repl() {
            Repl::Undecided => self.decide(block),
            Repl::Absorb => self.absorb(block),
            Repl::Block(_) => {}
        }
    }

    /// Decides what takes the place of a block (step 3). Does nothing when that is decided, or when
    /// the block is marked ABSORB.
    pub(super) fn decide(&mut self, block: BlockRef<'g>) {
        let early = planted(Mutant::LiveSetBeforeFreeze).then(|| self.build(block));
        while planted(Mutant::DecisionAwaited) && block.next().1 {
            if !matches!(block.repl(), Repl::Undecided) {
                return;
            }
            crate::sync::thread::yield_now();
        }
        block.freeze();
        self.step(Step::Frozen);
        if !matches!(block.repl(), Repl::Undecided) && !planted(Mutant::DecisionByStore) {
            if let Some(built) = early {
                self.discard(built);
            }
            return;
        }
        let built = early.unwrap_or_else(|| self.build(block));
        if block.decide(built.first) {
            self.list.note_built(built.first, &built.task.anchors);
            self.todo.push(built.task);
            self.step(Step::Decided);
        } else if planted(Mutant::HelpersAnnounce) {
            self.todo.push(Task { dropped: Vec::new(), absorbed: None, ..built.task });
        } else {
            self.discard(built);
        }
    }

    /// Builds the blocks that may take the place of a frozen block.
    fn build(&self, block: BlockRef<'g>) -> Built<'g> {
        let mut kept = Kept::new();
        let gathered = Self::gather(block, &mut kept);
        self.lay_out(gathered, &kept)
    }

    /// Reads what a frozen block has, and the successor that it absorbs.
    pub(super) fn gather(block: BlockRef<'g>, kept: &mut Kept<'g>) -> Gathered<'g> {
        kept.take(block);
        let mut next = block.next().0;
        let mut high = block.high();
        let mut absorbed = None;
        while let Some(successor) = next {
            match successor.repl() {
                Repl::Block(_) if planted(Mutant::BuilderIgnoresRepl) => break,
                Repl::Block(heir) => next = Some(heir),
                Repl::Undecided => break,
                Repl::Absorb => {
                    if !planted(Mutant::AbsorbedContentIgnored) {
                        kept.take(successor);
                    }
                    absorbed = Some(successor);
                    if !planted(Mutant::AbsorbedRangeIgnored) {
                        high = successor.high();
                    }
                    next = successor.next().0;
                    break;
                }
            }
        }
        let dropped = std::mem::take(&mut kept.dropped);
        let task = Task { block, absorbed, dropped, anchors: Vec::new() };
        Gathered { task, high, next }
    }

    /// Spreads the records evenly over as many blocks as they need.
    fn lay_out(&self, gathered: Gathered<'g>, kept: &Kept<'g>) -> Built<'g> {
        let Gathered { mut task, mut high, mut next } = gathered;
        let level = task.block.level();
        let (mut capacity, fill) = self.list.shape().of_level(level);
        let parts = kept.len().div_ceil(fill).max(1);
        if parts == 1 && high.is_none() && task.block.is_leftmost() {
            capacity = self.list.shape().words_of_the_only_block(level, kept.len());
        }
        let middle = if parts == 2 { kept.cut_in_two(task.block, fill) } else { 0 };
        let cut = |part: usize| match part {
            1 if parts == 2 => middle,
            _ => kept.len() * part / parts,
        };
        for part in 1..parts {
            let key = separator(level, kept.key(cut(part) - 1), kept.key(cut(part)));
            // SAFETY: nobody frees it before `discard`, or before the barrier says so.
            task.anchors.push(unsafe { RecRef::protect(OwnedRec::new(key, 0, false).into_raw()) });
        }
        let mut make = |part: usize, anchor: RecRef<'g>| {
            let plan = Plan { anchor, high, next, level, capacity };
            let made = BlockRef::of_kept(plan, kept, cut(part)..cut(part + 1));
            (high, next) = (Some(anchor), Some(made));
            made
        };
        for part in (1..parts).rev() {
            let anchor = task.anchors[part - 1];
            anchor.prepare_child(make(part, anchor));
        }
        Built { first: make(0, task.block.anchor()), task }
    }

    /// Frees what lost a decision.
    pub(super) fn discard(&self, built: Built<'g>) {
        if planted(Mutant::LoserKeepsBlocks) {
            return;
        }
        let mut next = Some(built.first);
        for _ in 0..=built.task.anchors.len() {
            let block = next.expect("so many blocks were made");
            next = block.next().0;
            // SAFETY: nobody else has seen it.
            unsafe { block.free() };
        }
        for anchor in built.task.anchors {
            // SAFETY: nobody else has seen it.
            unsafe { anchor.free() };
        }
    }

    /// Merges a block into its left neighbour (step 5). Not for leftmost blocks.
    pub(super) fn merge(&mut self, block: BlockRef<'g>) {
        debug_assert!(!block.is_leftmost(), "nothing could absorb the leftmost block");
        if planted(Mutant::AbsorbBeforeFreeze) {
            block.mark_absorb();
            self.step(Step::Marked);
        }
        block.freeze();
        block.mark_absorb();
        if let Repl::Absorb = block.repl() {
            self.step(Step::Marked);
            if planted(Mutant::AnchorSealedEarly) {
                block.anchor().seal_anchor();
            }
            if planted(Mutant::MarkedNotAbsorbed) {
                return;
            }
            self.absorb(block);
        }
    }

    /// Has a block that is marked ABSORB absorbed: decides the last predecessor that is not marked
    /// until the block is off the chain.
    pub(super) fn absorb(&mut self, block: BlockRef<'g>) {
        let low = block.anchor().key();
        loop {
            let mut keeper = None;
            let mut at = self.list.start(block.level(), Needle::new(low));
            while at != block {
                match at.repl() {
                    Repl::Block(heir) => {
                        at = heir;
                        continue;
                    }
                    Repl::Undecided => keeper = Some(at),
                    Repl::Absorb => {}
                }
                if !at.ends_before(Place::at(low)) {
                    return;
                }
                at = at.next().0.expect("a block with an end has a successor");
            }
            if let Some(keeper) = keeper {
                self.decide(keeper);
            }
        }
    }

    /// Inserts an anchor into a level. Gives back an unsealed record of its key that is in the way.
    pub(super) fn insert_anchor(
        &mut self,
        level: usize,
        anchor: RecRef<'g>,
    ) -> Result<(), RecRef<'g>> {
        self.list.grow(level);
        loop {
            let block = self.list.seek(level, Place::at(anchor.key()));
            match Self::claim(block, Sought::new(anchor.key()), || anchor) {
                Claim::Claimed(_) => return Ok(()),
                Claim::Found(found) => return Err(found),
                Claim::Full => self.make_room(block),
            }
        }
    }
}

/// The low end of a block that begins with `right` and follows `left`.
///
/// At level 0 the shortest key that tells them apart: anchors stay small. Above, the key itself: a
/// block there must have an entry at its low end, or lookups between the low end and the first
/// entry would always have to begin further left.
pub(super) fn separator<'k>(level: usize, left: &[u8], right: &'k [u8]) -> &'k [u8] {
    if level > 0 {
        return right;
    }
    let same = shared_bytes(left, right);
    &right[..right.len().min(same + 1)]
}
