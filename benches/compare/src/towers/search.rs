//! Searches: one that only reads, one that unlinks marked nodes on its way.
//!
//! # Invariant
//!
//! - **S1** Every node that a search or a walk looks at was linked, at the level on which it was
//!   found, at a moment since the search began; so it was not retired before, and the session of
//!   the guard protects it (R5).
//!
//! For the head it is trivial. Take a node N that was linked at a moment, and its link read later.
//! If the link is unmarked, N is linked right then (L2), and so is the successor. If it is marked
//! and was marked after that moment, N was linked when it was marked, with this successor behind
//! it. If it was marked before that moment, N was linked at that moment already with this successor
//! behind it. So going *right* over marked nodes is safe. Going *down* from N is safe only when its
//! link was seen unmarked: then the links below were marked later than that (L3), if at all. From a
//! node that was seen marked it is not: it may still be linked here, long unlinked below, and what
//! it leads to there may be reclaimed. Hence readers never descend from a marked node, and the
//! search that unlinks begins anew when it finds its predecessor marked.
//!
//! It follows that every key that is in the list from the beginning of a search or walk to its end
//! is met, and that "absent" was true at a moment between the two.

use std::cmp::Ordering::{Equal, Greater, Less};
use std::ops::Bound;

use super::List;
use super::height::MAX_HEIGHT;
use super::node::{Header, NodeRef};
use whimbrel_skiplist::Guard;

/// For each level the last node whose key is below, and what its link held.
pub(crate) struct Path<'g> {
    pub(crate) pred: [NodeRef<'g>; MAX_HEIGHT],
    pub(crate) succ: [*mut Header; MAX_HEIGHT],
    /// The node of the key itself at level 0. Without one no successor has the key (L5).
    pub(crate) found: Option<NodeRef<'g>>,
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

    /// Finds the place of `key` on every level below `height` at least, and unlinks the marked
    /// nodes that it meets, up to and including those of equal key.
    pub(crate) fn search<'g>(&'g self, key: &[u8], height: usize, g: &'g Guard<'_>) -> Path<'g> {
        loop {
            if let Some(path) = self.try_search(key, height, g) {
                return path;
            }
            whimbrel_skiplist::sync::hint::spin_loop();
        }
    }

    /// One attempt; `None` when a predecessor was removed or changed under it.
    fn try_search<'g>(&'g self, key: &[u8], height: usize, _: &'g Guard<'_>) -> Option<Path<'g>> {
        let head = self.head();
        let null = std::ptr::null_mut();
        let mut path = Path { pred: [head; MAX_HEIGHT], succ: [null; MAX_HEIGHT], found: None };
        let mut above = false;
        let mut pred = head;
        for level in (0..self.levels().max(height)).rev() {
            above |= path.found.take().is_some();
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
                match node.key().cmp(key) {
                    Less => (pred, link) = (node, next),
                    Equal => {
                        path.found = Some(node);
                        break;
                    }
                    Greater => break,
                }
            }
            path.pred[level] = pred;
            path.succ[level] = link.ptr;
        }
        if above && path.found.is_none() {
            // L5: the node of this key that was seen above has been removed meanwhile
            return None;
        }
        Some(path)
    }
}
