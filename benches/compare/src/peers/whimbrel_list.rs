//! Ours: the list in blocks alone.

use std::ptr::NonNull;

use whimbrel_skiplist as list;

use super::list::list_imports;
use list::{FindOrInsert, Record};
list_imports!();

fn inline(fresh: Record<'_>) -> NonNull<u8> {
    fresh.inline()
}

list_peer!(list, inline, |list, keys, sum| {
    let g = list.barrier().pin();
    list.find_many(keys, &g, |_, record| {
        // ORDERING: Relaxed; the value is a number and leads to nothing.
        sum.found(record.map(|record| value(record).load(Ordering::Relaxed)));
    });
});
