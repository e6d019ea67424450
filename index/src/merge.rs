//! One ordered stream from the cursors of all partitions.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Bound;

use whimbrel_mvcc::{Cursor, KeyRange};

use crate::query::Order;
use crate::span::KeySpan;
use crate::view::PartitionView;

/// Merges the partitions' entries of one span. Keys are given without the partitions' prefixes.
#[derive(Debug)]
pub(crate) struct Merge {
    sources: BinaryHeap<Source>,
    /// The top of the heap has been given and is to be replaced by its cursor's next entry.
    top_given: bool,
}

/// A partition's cursor with the entry it stands at. The greatest is the one to give next.
#[derive(Debug)]
struct Source {
    cursor: Cursor,
    prefix_len: usize,
    order: Order,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Source {
    /// Stands at the next entry; false at the end.
    fn advance(&mut self) -> bool {
        let Some((key, value)) = self.cursor.next_entry() else { return false };
        self.key.clear();
        self.key.extend_from_slice(&key[self.prefix_len..]);
        self.value.clear();
        self.value.extend_from_slice(value);
        true
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.key.cmp(&other.key);
        match self.order {
            Order::Forward => keys.reverse(),
            Order::Reverse => keys,
        }
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Source {}

impl Merge {
    pub(crate) fn new(partitions: &[PartitionView], span: &KeySpan, order: Order) -> Self {
        let sources = partitions.iter().filter_map(|partition| {
            let prefix = partition.prefix();
            let range = KeyRange {
                lo: Bound::Included([prefix, &span.lo].concat()),
                hi: Bound::Excluded([prefix, &span.hi].concat()),
            };
            let cursor = partition.snapshot().range(range);
            let cursor = match order {
                Order::Forward => cursor,
                Order::Reverse => cursor.rev(),
            };
            let (key, value) = (Vec::new(), Vec::new());
            let mut source = Source { cursor, prefix_len: prefix.len(), order, key, value };
            source.advance().then_some(source)
        });
        Self { sources: sources.collect(), top_given: false }
    }

    /// The next key, without its partition's prefix, and its value.
    pub(crate) fn next_entry(&mut self) -> Option<(&[u8], &[u8])> {
        if std::mem::replace(&mut self.top_given, true)
            && let Some(mut top) = self.sources.peek_mut()
            && !top.advance()
        {
            PeekMut::pop(top);
        }
        self.sources.peek().map(|top| (&top.key[..], &top.value[..]))
    }
}
