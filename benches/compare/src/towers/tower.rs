//! Linking a tower, and taking it out: the hand-shake of inserter and remover.
//!
//! After Harris (2001) and Fraser (2004): a node is removed by marking its links, from the top
//! down; whoever marks level 0 is the remover; marked nodes are unlinked by searches. The classic
//! defect is an inserter that links an upper level after the remover's search has passed it. Here
//! the inserter says when it links no more ([`INSERTER_DONE`]) and the remover when all is marked
//! ([`REMOVED`]); the second of the two searches once more, and retires.
//!
//! # Invariants
//!
//! - **L1** A marked link never changes again: every exchange expects an unmarked value.
//! - **L2** A node is linked at a level only by its inserter, once, bottom up, and unlinked only
//!   when it is marked there. So an unmarked node that is linked at a level is linked at all below.
//! - **L3** Whoever sees a node marked at a level sees it marked on all levels above.
//! - **L4** At a level only one node of a key is linked at any moment, and links lead to greater
//!   keys. (A record comes into being only when no other of its key is linked at level 0, so all
//!   older ones are marked on all levels by then; the exchange that links it acquires that. An
//!   older node cannot be linked in front of it any more, as that would need a new successor for a
//!   marked link.)
//! - **L5** A path without a node of the key holds no successor with the key on any level:
//!   otherwise an inserter could link its node in front of a removed one, and the removed one's
//!   last search, which ends at the first unmarked node of the key, would not reach it.
//! - **L6** Once a node is marked everywhere and its inserter is done, a search for its key that
//!   begins at its height finds it wherever it is still linked, and after it no link that anybody
//!   can follow leads to it. Such a search ends every removal, before the node is retired, once.

use super::List;
use super::node::{INSERTER_DONE, NodeRef, REMOVED};
use super::search::Path;
use whimbrel_skiplist::Guard;

impl List {
    /// Links a fresh node at level 0. False when the place has changed.
    #[must_use]
    pub(crate) fn link_bottom(&self, node: NodeRef<'_>, path: &Path<'_>) -> bool {
        for level in 0..node.height() {
            node.link(level).prepare(path.succ[level]);
        }
        path.pred[0].link(0).publish(path.succ[0], node.as_ptr())
    }

    /// Links the levels above 0, as long as nobody removes the node, and says that it is done.
    pub(crate) fn link_upper<'g>(
        &'g self,
        node: NodeRef<'g>,
        mut path: Path<'g>,
        g: &'g Guard<'_>,
    ) {
        self.raise_levels(node.height());
        for level in 1..node.height() {
            if !self.link_level(node, level, &mut path, g) {
                break;
            }
        }
        if node.transition(INSERTER_DONE) {
            self.finish_removal(node, g);
        }
    }

    /// Links one level. False when the node is marked there.
    #[must_use]
    fn link_level<'g>(
        &'g self,
        node: NodeRef<'g>,
        level: usize,
        path: &mut Path<'g>,
        g: &'g Guard<'_>,
    ) -> bool {
        let link = node.link(level);
        loop {
            let own = link.load();
            let succ = path.succ[level];
            if own.marked || (own.ptr != succ && !link.retarget(own.ptr, succ)) {
                return false;
            }
            if path.pred[level].link(level).publish(succ, node.as_ptr()) {
                return true;
            }
            *path = self.search(node.key(), node.height(), g);
        }
    }

    /// Marks a node with a sealed cell on all levels and unlinks it where it is linked.
    pub(crate) fn take_out<'g>(&'g self, node: NodeRef<'g>, g: &'g Guard<'_>) {
        if node.mark_tower() && node.transition(REMOVED) {
            self.finish_removal(node, g);
        } else {
            let _ = self.search(node.key(), node.height(), g);
        }
    }

    /// The last step of a removal, by the second of inserter and remover.
    fn finish_removal<'g>(&'g self, node: NodeRef<'g>, g: &'g Guard<'_>) {
        let _ = self.search(node.key(), node.height(), g);
        // SAFETY: all levels are marked and the inserter links no more, so the search has met the
        // node wherever it was still linked, and unlinked it; the state makes one caller the
        // second.
        unsafe { self.retire(node, g) };
    }
}
