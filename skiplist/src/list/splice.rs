//! Whole blocks at once, into a range of keys that has no record.
//!
//! A decision (step 3) may put any number of blocks in the place of one. Here it puts blocks of new records
//! between what the block had to their left and to their right: one search, one freeze and one decision for
//! hundreds of records, where inserting takes a search and a claim for each, and a rebuild for every twenty-fifth.
//! Nothing else differs: whoever meets the frozen block helps to replace it, without the new records, and where
//! that decision comes first the splice looks again.
//!
//! Why no record of an equal key can come beside a new one: the block is frozen before its words are read, so
//! nobody claims a word of it any more, and its range has no key of the new records' range then. Who
//! wants to insert such a key finds the block full, helps to decide it, and searches again.

use std::ops::{Bound, ControlFlow, Range};

use super::bulk::next_record;
use super::hint::Needle;
use super::raw::{BlockRef, Plan, Repl};
use super::rebuild::Kept;
use super::record::{OwnedRec, RecRef};
use super::search::{Place, records};
use super::work::{Built, Gathered, Work, separator};
use super::{List, Record};
use crate::mutant::{Mutant, Step, planted};
use crate::{BulkError, Guard};

/// Records in ascending order that no list has yet, for [`List::splice`].
///
/// ```
/// use whimbrel_skiplist::{Barrier, List, Run, sync::Arc};
///
/// let list = List::new(Arc::new(Barrier::new()));
/// let guard = list.barrier().pin();
/// list.find_or_insert(b"avocet", 0, |_| 8, &guard)?;
/// let mut run = Run::new();
/// for key in ["knot", "ruff", "whimbrel"] {
///     run.push(key.as_bytes(), 0, |_| 8)?;
/// }
/// assert_eq!(list.splice(run, &guard).expect("nothing is there").len(), 3);
/// assert!(list.find(b"ruff", &guard).is_some());
///
/// let mut run = Run::new();
/// run.push(b"a", 0, |_| 8)?;
/// run.push(b"b", 0, |_| 8)?;
/// assert_eq!(list.splice(run, &guard).expect_err("avocet is in between").len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct Run {
    records: Vec<OwnedRec>,
}

impl Run {
    /// A run without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a record behind all others. `init` as in [`List::find_or_insert`].
    ///
    /// # Errors
    ///
    /// [`BulkError::OutOfOrder`] when the key is not greater than the one before,
    /// [`BulkError::KeyTooLong`]. The run is unchanged then.
    ///
    /// # Panics
    ///
    /// When `inline_len` does not fit in 32 bits.
    pub fn push(
        &mut self,
        key: &[u8],
        inline_len: usize,
        init: impl FnOnce(Record<'_>) -> u64,
    ) -> Result<(), BulkError> {
        let last = self.records.last().map(|last| last.record().key());
        self.records.push(next_record(last, key, inline_len, init)?);
        Ok(())
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn key(&self, at: usize) -> &[u8] {
        self.records[at].record().key()
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What a decision with a run came to.
enum Spliced {
    Done,
    /// A record is in its range.
    Taken,
    /// Another decision came first.
    Again,
}

/// What one of the new blocks is made of: a part of what was there, or of the run.
#[derive(Clone)]
enum Piece {
    Kept(Range<usize>),
    Run(Range<usize>),
}

impl List {
    /// How far a run may reach that begins with `key`: to the next record, or to where the block ends that
    /// covers the key. None when the key has a record. As seen at a moment of the call.
    ///
    /// # Complexity
    ///
    /// O(log n).
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn gap(&self, key: &[u8], g: &Guard<'_>) -> Option<Bound<Vec<u8>>> {
        let mut next: Option<Record<'_>> = None;
        self.walk(Bound::Included(key), g, |record| {
            next = Some(record);
            ControlFlow::Break(())
        });
        let next = next.map(Record::key);
        if next == Some(key) {
            return None;
        }
        let high = self.seek_leaf(Needle::new(key)).high().map(RecRef::key);
        let end = match (next, high) {
            (Some(next), Some(high)) => Some(next.min(high)),
            (next, high) => next.or(high),
        };
        Some(end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec())))
    }

    /// Puts all records of a run into the list, in blocks of their own, if the list has no record in the range
    /// from the run's first key to its last and one block covers that range. Else gives the run back, and
    /// the list has none of them.
    ///
    /// Linearization point: the decision about the block; all records are there from it on.
    ///
    /// # Complexity
    ///
    /// O(log n) for the run, and for each block that it fills; O(1) a record.
    ///
    /// # Errors
    ///
    /// The run, when a record that is not sealed is in its range, or blocks meet in it.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn splice<'g>(&'g self, run: Run, g: &'g Guard<'_>) -> Result<Vec<Record<'g>>, Run> {
        self.check(g);
        if run.is_empty() {
            return Ok(Vec::new());
        }
        let mut work = Work::new(self, g);
        let is_done = work.splice(&run);
        work.clean_up();
        if !is_done {
            return Err(run);
        }
        // SAFETY: shared since the decision, and protected by the session like all that the list has.
        let share = |owned: OwnedRec| Record(unsafe { RecRef::protect(owned.into_raw()) });
        Ok(run.records.into_iter().map(share).collect())
    }
}

impl<'g> Work<'g> {
    fn splice(&mut self, run: &Run) -> bool {
        let (first, last) = (Needle::new(run.key(0)), Needle::new(run.key(run.len() - 1)));
        loop {
            let block = self.list.seek_leaf(first);
            match block.repl() {
                Repl::Undecided => {}
                Repl::Absorb => {
                    self.absorb(block);
                    continue;
                }
                Repl::Block(_) => continue,
            }
            if block.ends_before(Place::At(last)) || has_between(block, first.key, last.key) {
                return false;
            }
            match self.decide_with(block, run) {
                Spliced::Done => return true,
                Spliced::Taken => return false,
                Spliced::Again => {}
            }
        }
    }

    /// As `decide`, with the records of a run between what is there.
    fn decide_with(&mut self, block: BlockRef<'g>, run: &Run) -> Spliced {
        let mut kept = Kept::new();
        let early = planted(Mutant::SplicedBeforeFreeze).then(|| Self::gather(block, &mut kept));
        block.freeze();
        self.step(Step::Frozen);
        if !matches!(block.repl(), Repl::Undecided) {
            return Spliced::Again;
        }
        let gathered = early.unwrap_or_else(|| Self::gather(block, &mut kept));
        let (first, last) = (run.key(0), run.key(run.len() - 1));
        let left = (0..kept.len()).take_while(|at| kept.key(*at) < first).count();
        if left < kept.len() && kept.key(left) <= last && !planted(Mutant::SplicedOverRecords) {
            self.decide(block);
            return Spliced::Taken;
        }
        let built = self.lay_out_with(gathered, &kept, left, run);
        if block.decide(built.first) {
            self.list.note_built(built.first, &built.task.anchors);
            let bytes = run.records.iter().map(|owned| owned.record().bytes()).sum();
            self.list.note_bulk(run.len(), bytes);
            self.todo.push(built.task);
            self.step(Step::Decided);
            Spliced::Done
        } else {
            self.discard(built);
            Spliced::Again
        }
    }

    /// Spreads what was there and the run over blocks, of which each has records of one of the two.
    fn lay_out_with(
        &self,
        gathered: Gathered<'g>,
        kept: &Kept<'g>,
        left: usize,
        run: &Run,
    ) -> Built<'g> {
        let Gathered { mut task, mut high, mut next } = gathered;
        let (capacity, fill) = self.list.shape().of_level(0);
        let mut pieces = Vec::new();
        // The first keeps the block's anchor; so there is none without records.
        pieces.extend(cut(0..left, fill).map(Piece::Kept));
        pieces.extend(cut(0..run.len(), fill).map(Piece::Run));
        pieces.extend(cut(left..kept.len(), fill).map(Piece::Kept));
        for pair in pieces.windows(2) {
            let key = separator(0, last_key(&pair[0], kept, run), first_key(&pair[1], kept, run));
            // SAFETY: nobody frees it before `discard`, or before the barrier says so.
            task.anchors.push(unsafe { RecRef::protect(OwnedRec::new(key, 0, false).into_raw()) });
        }
        let mut make = |piece: &Piece, anchor: RecRef<'g>| {
            let plan = Plan { anchor, high, next, level: 0, capacity };
            let made = match piece.clone() {
                Piece::Kept(part) => BlockRef::of_kept(plan, kept, part),
                Piece::Run(part) => BlockRef::new(plan, &shared(&run.records[part])),
            };
            (high, next) = (Some(anchor), Some(made));
            made
        };
        for (piece, anchor) in pieces[1..].iter().zip(&task.anchors).rev() {
            anchor.prepare_child(make(piece, *anchor));
        }
        Built { first: make(&pieces[0], task.block.anchor()), task }
    }
}

/// The records of a run as they will be in blocks.
fn shared<'g>(records: &[OwnedRec]) -> Vec<RecRef<'g>> {
    let share = |owned: &OwnedRec| {
        // SAFETY: the run keeps it until the decision, from which on the session protects it; blocks that
        // lose the decision are freed before the run is.
        unsafe { RecRef::protect(owned.record().as_ptr()) }
    };
    records.iter().map(share).collect()
}

/// Cuts a range evenly into parts of at most `fill`.
fn cut(range: Range<usize>, fill: usize) -> impl Iterator<Item = Range<usize>> {
    let (from, len) = (range.start, range.len());
    let parts = len.div_ceil(fill);
    (0..parts).map(move |part| from + len * part / parts..from + len * (part + 1) / parts)
}

fn first_key<'k>(piece: &Piece, kept: &'k Kept<'_>, run: &'k Run) -> &'k [u8] {
    match piece {
        Piece::Kept(part) => kept.key(part.start),
        Piece::Run(part) => run.key(part.start),
    }
}

fn last_key<'k>(piece: &Piece, kept: &'k Kept<'_>, run: &'k Run) -> &'k [u8] {
    match piece {
        Piece::Kept(part) => kept.key(part.end - 1),
        Piece::Run(part) => run.key(part.end - 1),
    }
}

/// Whether a record that is not sealed is in a range of keys of the block: a look before it is frozen.
fn has_between(block: BlockRef<'_>, first: &[u8], last: &[u8]) -> bool {
    let is_between = |record: RecRef<'_>| first <= record.key() && record.key() <= last;
    records(block).any(|record| is_between(record) && record.live().is_some())
}
