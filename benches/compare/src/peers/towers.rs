//! Ours before: the list of towers.

use whimbrel_skiplist as towers;

use super::list::list_imports;
use towers::{FindOrInsert, Record};
list_imports!();

list_peer!(towers, |_, _, _| unreachable!("the table says that it lacks get_many"));
