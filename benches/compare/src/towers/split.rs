//! Cutting a range into parts of about equal size.

use std::ops::Bound;

use super::List;
use super::node::NodeRef;
use super::search::Edge;
use whimbrel_skiplist::Guard;

/// Nodes per part that a level above 0 must have to be cut by: their number then follows the number
/// of records closely (standard deviation about 3 %).
const SAMPLES: usize = 1024;

impl List {
    /// At most `n - 1` ascending keys of the range that cut it into about equal parts (within 20 %
    /// where there are 100 `n` records or more). Each key begins the part on its right.
    ///
    /// # Complexity
    ///
    /// Reads one level: about 1,000 to 4,000 nodes a part, all records when there are fewer.
    ///
    /// # Panics
    ///
    /// When the guard is of another barrier.
    #[must_use]
    pub fn split(
        &self,
        n: usize,
        lo: Bound<&[u8]>,
        hi: Bound<&[u8]>,
        g: &Guard<'_>,
    ) -> Vec<Vec<u8>> {
        self.check(g);
        if n < 2 {
            return Vec::new();
        }
        let wanted = n.saturating_mul(SAMPLES);
        let mut nodes = Vec::new();
        for level in (0..self.levels()).rev() {
            self.read_level(level, Edge::lower(lo), Edge::upper(hi), &mut nodes, g);
            if nodes.len() >= wanted {
                break;
            }
        }
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let parts = n.min(nodes.len());
        for part in 1..parts {
            let node = nodes[cut(nodes.len(), part, parts)];
            keys.push(node.key().to_vec());
        }
        keys
    }

    /// Replaces `nodes` by the unsealed nodes of a range on one level.
    fn read_level<'g>(
        &'g self,
        level: usize,
        lo: Edge<'_>,
        hi: Edge<'_>,
        nodes: &mut Vec<NodeRef<'g>>,
        g: &'g Guard<'_>,
    ) {
        nodes.clear();
        let mut next = self.seek(lo, level, g).next;
        while let Some(node) = next.filter(|node| hi.is_right_of(node.key())) {
            if !node.is_sealed() {
                nodes.push(node);
            }
            // SAFETY: S1: it was linked at a moment of this session.
            next = unsafe { NodeRef::protect(node.link(level).load().ptr) };
        }
    }
}

/// `len * part / parts` without overflow.
fn cut(len: usize, part: usize, parts: usize) -> usize {
    let whole = (len as u128) * (part as u128) / (parts as u128);
    usize::try_from(whole).expect("part < parts, so the cut is below len")
}
