//! Ours: the list in blocks alone.

use whimbrel_skiplist::block as list;

use super::list::list_imports;
use list::{FindOrInsert, Record};
list_imports!();

list_peer!(list, |list, keys, sum| {
    let g = list.barrier().pin();
    list.find_many(keys, &g, |_, record| {
        // ORDERING: Relaxed; the value is a number and leads to nothing.
        sum.found(record.map(|record| value(record).load(Ordering::Relaxed)));
    });
});
