//! What the lists of ours share: both have the same interface.
//!
//! The value lies in the inline part of a record, which has 8 bytes; the cell only says whether the
//! record is there.

/// The value of a record's cell while the record is there.
pub(super) const PRESENT: u64 = 8;

/// A peer over a module with `List` and `SegmentBuilder`; `$many` looks a group of keys up, and `$inline`
/// leads from what a new record is announced with to its inline part.
macro_rules! list_peer {
    ($list:ident, $inline:ident, $many:expr) => {
        struct OurList(std::sync::Arc<$list::List>);

        pub(super) fn make(_: Begin<'_>) -> anyhow::Result<Box<dyn Peer>> {
            Ok(Box::new(OurList(std::sync::Arc::new($list::List::new(Arc::new(Barrier::new()))))))
        }

        impl Peer for OurList {
            fn workers<'a>(&'a mut self, threads: usize) -> Vec<Box<dyn Worker + Send + 'a>> {
                let worker = || -> Box<dyn Worker + Send> { Box::new(Hand(&self.0)) };
                std::iter::repeat_with(worker).take(threads).collect()
            }

            fn bulk_build(&mut self, sorted: &Keys) -> bool {
                let mut builder = $list::SegmentBuilder::new();
                for (at, key) in sorted.iter().enumerate() {
                    let pushed = builder.push(key, 8, |fresh| {
                        // SAFETY: the inline part is 8 bytes, aligned to 8, and nobody else sees
                        // it.
                        unsafe { $inline(fresh).cast::<u64>().write(at as u64) };
                        PRESENT
                    });
                    pushed.expect("the keys ascend");
                }
                let segments = vec![builder.finish()];
                let list = $list::List::from_segments(Arc::new(Barrier::new()), segments);
                self.0 = std::sync::Arc::new(list.expect("one segment"));
                true
            }

            fn collect(&mut self) {
                self.0.barrier().flush();
            }
        }

        struct Hand<'a>(&'a $list::List);

        /// The value of a record, which is of a list that this file has filled.
        fn value<'g>(record: Record<'g>) -> &'g AtomicU64 {
            debug_assert_eq!(record.inline_len(), 8);
            // SAFETY: the inline part of every record here is 8 bytes, aligned to 8, and only ever
            // accessed as this atomic once the record is shared; it lives as long as the handle.
            unsafe { record.inline().cast::<AtomicU64>().as_ref() }
        }

        impl Worker for Hand<'_> {
            fn insert(&mut self, key: &[u8], new: u64) {
                let g = self.0.barrier().pin();
                let made = self.0.find_or_insert(
                    key,
                    8,
                    |fresh| {
                        // SAFETY: as above; nobody else sees the record yet.
                        unsafe { $inline(fresh).cast::<u64>().write(new) };
                        PRESENT
                    },
                    &g,
                );
                if let FindOrInsert::Found(record) = made.expect("short keys") {
                    // ORDERING: Relaxed; the value is a number and leads to nothing.
                    value(record).store(new, Ordering::Relaxed);
                }
            }

            fn remove(&mut self, key: &[u8]) {
                let g = self.0.barrier().pin();
                if let Some(record) = self.0.find(key, &g) {
                    // ORDERING: AcqRel; the list reads the cell with Acquire before it drops the
                    // record.
                    if record.cell().swap(SEALED, Ordering::AcqRel) != SEALED {
                        self.0.unlink_sealed(record, &g);
                    }
                }
            }

            fn get(&mut self, key: &[u8]) -> Option<u64> {
                let g = self.0.barrier().pin();
                let record = self.0.find(key, &g)?;
                // ORDERING: Relaxed; as in `insert`.
                Some(value(record).load(Ordering::Relaxed))
            }

            fn get_many(&mut self, keys: &[&[u8]], sum: &mut Sum) {
                let many: fn(&$list::List, &[&[u8]], &mut Sum) = $many;
                many(self.0, keys, sum);
            }

            fn scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
                let g = self.0.barrier().pin();
                let mut left = limit;
                self.0.walk(Bound::Included(from), &g, |record| {
                    // ORDERING: Relaxed; as in `insert`.
                    sum.entry(record.key(), value(record).load(Ordering::Relaxed));
                    left -= 1;
                    if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
            }

            fn rev_scan(&mut self, from: &[u8], limit: usize, sum: &mut Sum) {
                let g = self.0.barrier().pin();
                let mut left = limit;
                self.0.walk_back(Bound::Included(from), &g, |record| {
                    // ORDERING: Relaxed; as in `insert`.
                    sum.entry(record.key(), value(record).load(Ordering::Relaxed));
                    left -= 1;
                    if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
            }
        }
    };
}

/// What a peer of [`list_peer`] needs in scope.
macro_rules! list_imports {
    () => {
        use std::ops::{Bound, ControlFlow};

        use whimbrel_skiplist::sync::Arc;
        use whimbrel_skiplist::sync::atomic::{AtomicU64, Ordering};
        use whimbrel_skiplist::{Barrier, SEALED};

        use super::list::{PRESENT, list_peer};
        use crate::keys::Keys;
        use crate::peer::{Begin, Peer, Worker};
        use crate::sum::Sum;
    };
}

pub(super) use {list_imports, list_peer};
