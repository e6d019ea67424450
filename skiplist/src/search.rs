//! Searches: one that only reads, one that unlinks marked nodes on its way.

use std::ops::Bound;

use crate::height::MAX_HEIGHT;
use crate::node::{Header, NodeRef};
use crate::{Guard, List};

/// For each level the last node whose key is below, and what its link held.
pub(crate) struct Path<'g> {
    pub(crate) pred: [NodeRef<'g>; MAX_HEIGHT],
    pub(crate) succ: [*mut Header; MAX_HEIGHT],
    first: Option<NodeRef<'g>>,
}

impl<'g> Path<'g> {
    /// The node of exactly this key at level 0.
    pub(crate) fn found(&self, key: &[u8]) -> Option<NodeRef<'g>> {
        self.first.filter(|node| node.key() == key)
    }
}

/// Where a read-only search ended.
pub(crate) struct Place<'g> {
    /// The last node before the place that was seen unmarked, on the lowest level looked at.
    pub(crate) pred: NodeRef<'g>,
    /// The first node behind it, on the same level.
    pub(crate) next: Option<NodeRef<'g>>,
}

/// A place between keys.
#[derive(Clone, Copy)]
pub(crate) enum Edge<'k> {
    /// Before every key.
    Start,
    /// Just before this key.
    Before(&'k [u8]),
    /// Just behind this key.
    Behind(&'k [u8]),
    /// Behind every key.
    End,
}

impl<'k> Edge<'k> {
    /// The place where a range with this lower bound begins.
    pub(crate) fn lower(bound: Bound<&'k [u8]>) -> Self {
        match bound {
            Bound::Unbounded => Self::Start,
            Bound::Included(key) => Self::Before(key),
            Bound::Excluded(key) => Self::Behind(key),
        }
    }

    /// The place where a range with this upper bound ends.
    pub(crate) fn upper(bound: Bound<&'k [u8]>) -> Self {
        match bound {
            Bound::Unbounded => Self::End,
            Bound::Included(key) => Self::Behind(key),
            Bound::Excluded(key) => Self::Before(key),
        }
    }

    /// Whether a key lies on the left of the place.
    pub(crate) fn is_right_of(self, key: &[u8]) -> bool {
        match self {
            Self::Start => false,
            Self::Before(edge) => key < edge,
            Self::Behind(edge) => key <= edge,
            Self::End => true,
        }
    }
}

impl List {
    /// Reads its way to an edge on level `lowest`.
    pub(crate) fn seek<'g>(&'g self, edge: Edge<'_>, lowest: usize, _: &'g Guard<'_>) -> Place<'g> {
        let mut place = Place { pred: self.head(), next: None };
        for level in (lowest..self.levels().max(lowest + 1)).rev() {
            let mut next = place.pred.link(level).load();
            loop {
                // SAFETY: S1: it was linked at a moment of this session.
                place.next = unsafe { NodeRef::protect(next.ptr) };
                let Some(node) = place.next.filter(|node| edge.is_right_of(node.key())) else {
                    break;
                };
                next = node.link(level).load();
                if !next.marked {
                    place.pred = node;
                }
            }
        }
        place
    }

    /// Finds the place of `key` on every level below `height` at least, and unlinks the marked nodes
    /// that it meets, up to and including those of equal key.
    pub(crate) fn search<'g>(&'g self, key: &[u8], height: usize, g: &'g Guard<'_>) -> Path<'g> {
        loop {
            if let Some(path) = self.try_search(key, height, g) {
                return path;
            }
            crate::sync::hint::spin_loop();
        }
    }

    /// One attempt; `None` when a predecessor was removed or changed under it.
    fn try_search<'g>(&'g self, key: &[u8], height: usize, _: &'g Guard<'_>) -> Option<Path<'g>> {
        let head = self.head();
        let null = std::ptr::null_mut();
        let mut path = Path { pred: [head; MAX_HEIGHT], succ: [null; MAX_HEIGHT], first: None };
        let mut pred = head;
        for level in (0..self.levels().max(height)).rev() {
            let mut link = pred.link(level).load();
            if link.marked {
                return None;
            }
            // SAFETY: S1: `pred` was unmarked when the link was read, so the node was linked.
            while let Some(node) = unsafe { NodeRef::protect(link.ptr) } {
                let next = node.link(level).load();
                if next.marked {
                    if !pred.link(level).bypass(link.ptr, next.ptr) {
                        return None;
                    }
                    link.ptr = next.ptr;
                    continue;
                }
                if node.key() >= key {
                    break;
                }
                pred = node;
                link = next;
            }
            path.pred[level] = pred;
            path.succ[level] = link.ptr;
        }
        // SAFETY: S1: as in the loop.
        path.first = unsafe { NodeRef::protect(path.succ[0]) };
        Some(path)
    }
}
