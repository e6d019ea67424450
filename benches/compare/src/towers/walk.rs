//! Walks over level 0, both ways.

use std::ops::{Bound, ControlFlow};

use super::node::NodeRef;
use super::search::Edge;
use super::{List, Record};
use whimbrel_skiplist::Guard;

/// A walk back jumps from node to node of this level and reads forwards between them.
const BACK_LEVEL: usize = 2;

impl List {
    /// Calls `f` for every record from the lower bound `from` upwards that is not sealed, in
    /// strictly ascending order, until it breaks or the list ends.
    ///
    /// A record that is there from the beginning of the walk to its end is seen; of those that come
    /// or go meanwhile some may be.
    ///
    /// # Complexity
    ///
    /// O(log n) to begin, O(1) a step.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn walk<'g>(
        &'g self,
        from: Bound<&[u8]>,
        g: &'g Guard<'_>,
        mut f: impl FnMut(Record<'g>) -> ControlFlow<()>,
    ) {
        self.check(g);
        let mut next = self.seek(Edge::lower(from), 0, g).next;
        while let Some(node) = next {
            if !node.is_sealed() && f(Record { node, list: self }).is_break() {
                return;
            }
            next = self.successor(node, g);
        }
    }

    /// Calls `f` for every record from the upper bound `from` downwards that is not sealed, in
    /// strictly descending order, until it breaks or the list ends. As complete as [`List::walk`].
    ///
    /// # Complexity
    ///
    /// O(log n) for every 16 steps or so: the list has no links backwards. The walk reads short
    /// runs forwards and hands them out in reverse.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    pub fn walk_back<'g>(
        &'g self,
        from: Bound<&[u8]>,
        g: &'g Guard<'_>,
        mut f: impl FnMut(Record<'g>) -> ControlFlow<()>,
    ) {
        self.check(g);
        let mut run = Vec::new();
        let mut start = self.read_run(Edge::upper(from), &mut run, g);
        loop {
            while let Some(node) = run.pop() {
                if !node.is_sealed() && f(Record { node, list: self }).is_break() {
                    return;
                }
            }
            if start == self.head() {
                return;
            }
            start = self.read_run(Edge::Before(start.key()), &mut run, g);
        }
    }

    /// Fills `run` with the last nodes before the edge, ascending; returns the first of them,
    /// or the head when nothing lies before them.
    fn read_run<'g>(
        &'g self,
        edge: Edge<'_>,
        run: &mut Vec<NodeRef<'g>>,
        g: &'g Guard<'_>,
    ) -> NodeRef<'g> {
        let start = self.seek(edge, BACK_LEVEL, g).pred;
        let mut next = if start == self.head() { self.successor(start, g) } else { Some(start) };
        while let Some(node) = next.filter(|node| edge.is_right_of(node.key())) {
            run.push(node);
            next = self.successor(node, g);
        }
        start
    }

    /// The next node on level 0, marked or not.
    pub(crate) fn successor<'g>(
        &'g self,
        node: NodeRef<'g>,
        _: &'g Guard<'_>,
    ) -> Option<NodeRef<'g>> {
        // SAFETY: S1: it was linked at a moment of this session.
        unsafe { NodeRef::protect(node.link(0).load().ptr) }
    }
}
