//! Merges the layers of a store into one ordered walk.

use std::cmp::Ordering;
use std::ops::Bound;

use whimbrel_mvcc::KeyRange;

use super::BackupView;
use super::layer::{Direction, Layer, LayerCursor};
use crate::Error;

/// Key and value of an entry, lent until the cursor moves.
pub type ViewEntry<'c> = (&'c [u8], &'c [u8]);

/// Walks the entries of a range of a [`StoreView`](super::StoreView), in key order or against it.
///
/// # Performance
/// Keeps one decoded block for each layer, in the cache or not. Going back costs about half a restart
/// interval (8 entries) a step. To read much in key order, [`StoreView::scan`](super::StoreView::scan) takes half of
/// the time and less.
///
/// # Examples
/// See [`BackupView`].
#[derive(Debug)]
pub struct ViewCursor<'v> {
    range: KeyRange,
    direction: Direction,
    state: State,
    /// Newest first.
    heads: Vec<Head<'v>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No head was placed yet.
    New,
    Inside,
    /// At the end, or after an error.
    Done,
}

#[derive(Debug)]
struct Head<'v> {
    cursor: LayerCursor<'v>,
    /// Its entry was returned or hidden: it moves before the next step.
    used: bool,
}

impl<'v> ViewCursor<'v> {
    pub(super) fn new(view: &'v BackupView, layers: &'v [Layer], range: KeyRange) -> Self {
        let newest_first = layers.iter().rev();
        let heads = newest_first
            .map(|layer| Head { cursor: LayerCursor::new(view, layer), used: false })
            .collect();
        Self { range, direction: Direction::Forward, state: State::New, heads }
    }

    /// The same range from its other end, in the other direction.
    #[must_use]
    pub fn rev(mut self) -> Self {
        self.direction = match self.direction {
            Direction::Forward => Direction::Back,
            Direction::Back => Direction::Forward,
        };
        self.state = State::New;
        self
    }

    /// The next entry: key and value, valid until the next step. None at the end, and from then on.
    ///
    /// # Errors
    /// [`Error::Backup`] naming file and block of the first damage met. The walk is over then.
    pub fn next_entry(&mut self) -> Result<Option<ViewEntry<'_>>, Error> {
        let found = match self.advance() {
            Ok(found) => found,
            Err(error) => {
                self.state = State::Done;
                return Err(error);
            }
        };
        let Some(head) = found else {
            self.state = State::Done;
            return Ok(None);
        };
        let entry = self.heads[head].cursor.entry();
        Ok(entry.and_then(|(key, value)| Some((key, value?))))
    }

    /// The rest as an iterator of owned entries. It ends after an error.
    #[must_use]
    pub fn entries(self) -> ViewEntries<'v> {
        ViewEntries(self)
    }

    /// The head whose entry is next, or none at the end of the range. Never one with a remove.
    fn advance(&mut self) -> Result<Option<usize>, Error> {
        if self.state == State::New {
            self.place_heads()?;
        }
        while self.state == State::Inside {
            for head in self.heads.iter_mut().filter(|head| head.used) {
                head.cursor.step(self.direction)?;
                head.used = false;
            }
            let Some(next) = self.nearest() else { return Ok(None) };
            if self.use_key_of(next) {
                return Ok(Some(next));
            }
        }
        Ok(None)
    }

    fn place_heads(&mut self) -> Result<(), Error> {
        if self.range.is_empty() {
            self.state = State::Done;
            return Ok(());
        }
        let start = match self.direction {
            Direction::Forward => self.range.lo(),
            Direction::Back => self.range.hi(),
        };
        for head in &mut self.heads {
            head.cursor.seek(start, self.direction)?;
            head.used = false;
        }
        self.state = State::Inside;
        Ok(())
    }

    /// The head with the next key of the range; of several the newest, which comes first.
    fn nearest(&self) -> Option<usize> {
        let mut nearest: Option<(usize, &[u8])> = None;
        for (number, head) in self.heads.iter().enumerate() {
            let Some((key, _)) = head.cursor.entry() else { continue };
            let before = nearest.is_none_or(|(_, best)| match key.cmp(best) {
                Ordering::Less => self.direction == Direction::Forward,
                Ordering::Equal => false,
                Ordering::Greater => self.direction == Direction::Back,
            });
            if before {
                nearest = Some((number, key));
            }
        }
        nearest.filter(|(_, key)| self.is_inside(key)).map(|(number, _)| number)
    }

    /// True when the key is not past the end of the range that the walk goes to.
    fn is_inside(&self, key: &[u8]) -> bool {
        match (self.direction, &self.range.lo, &self.range.hi) {
            (Direction::Forward, _, Bound::Included(hi)) => key <= hi.as_slice(),
            (Direction::Forward, _, Bound::Excluded(hi)) => key < hi.as_slice(),
            (Direction::Back, Bound::Included(lo), _) => key >= lo.as_slice(),
            (Direction::Back, Bound::Excluded(lo), _) => key > lo.as_slice(),
            (Direction::Forward, _, Bound::Unbounded) | (Direction::Back, Bound::Unbounded, _) => {
                true
            }
        }
    }

    /// Marks every head that stands at the key of head `next`. False when that one is a remove.
    fn use_key_of(&mut self, next: usize) -> bool {
        let (newer, older) = self.heads.split_at_mut(next + 1);
        let Some(head) = newer.last_mut() else { return false };
        head.used = true;
        let Some((key, value)) = head.cursor.entry() else { return false };
        for head in older {
            head.used = head.cursor.entry().is_some_and(|(other, _)| other == key);
        }
        value.is_some()
    }
}

/// Owned entries of a cursor; see [`ViewCursor::entries`].
#[derive(Debug)]
pub struct ViewEntries<'v>(ViewCursor<'v>);

impl Iterator for ViewEntries<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.next_entry() {
            Ok(entry) => entry.map(|(key, value)| Ok((key.to_vec(), value.to_vec()))),
            Err(error) => Some(Err(error)),
        }
    }
}
