//! Linking a tower, and taking it out: the hand-shake of inserter and remover.

use crate::node::{INSERTER_DONE, NodeRef, REMOVED};
use crate::search::Path;
use crate::{Guard, List};

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
        // node wherever it was still linked, and unlinked it; the state makes one caller the second.
        unsafe { self.retire(node, g) };
    }
}
