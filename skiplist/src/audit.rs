//! A check of the whole structure, for tests and models.

use std::collections::HashSet;

use crate::List;
use crate::height::MAX_HEIGHT;
use crate::node::NodeRef;

impl List {
    /// Checks that every level is in strictly ascending order, holds no removed node, and is part
    /// of the level below; and that the accounts agree. Returns the number of records.
    ///
    /// For the tests of this crate and of those who build on it. Ends what it meets in a panic.
    ///
    /// # Complexity
    ///
    /// O(n) time and memory.
    ///
    /// # Panics
    ///
    /// When the structure is broken.
    pub fn audit(&mut self) -> usize {
        let mut below: Option<HashSet<*mut u8>> = None;
        let mut records = 0;
        for level in 0..MAX_HEIGHT {
            let here = self.audit_level(level, below.as_ref());
            if level == 0 {
                records = here.len();
            }
            assert!(here.is_empty() || level < self.levels(), "level {level} is above the hint");
            below = Some(here);
        }
        assert_eq!(records, self.len_estimate(), "the number of records is wrong");
        records
    }

    fn audit_level(&self, level: usize, below: Option<&HashSet<*mut u8>>) -> HashSet<*mut u8> {
        let mut here = HashSet::new();
        let mut pred = self.head();
        let mut next = pred.link(level).load();
        // SAFETY: called under `&mut self` only: what is linked stays.
        while let Some(node) = unsafe { NodeRef::protect(next.ptr) } {
            assert!(
                pred == self.head() || pred.key() < node.key(),
                "level {level} is not in order: {:?} before {:?}",
                pred.key().escape_ascii().to_string(),
                node.key().escape_ascii().to_string()
            );
            next = node.link(level).load();
            assert!(!next.marked, "a removed node is still linked at level {level}");
            let address = node.as_raw().as_ptr();
            assert!(below.is_none_or(|below| below.contains(&address)), "level {level} hangs free");
            here.insert(address);
            pred = node;
        }
        here
    }
}
