//! The classic: a lock-free skiplist of towers, one key a node, on our barrier.
//!
//! Whimbrel's first list, kept for the comparison only: the same interface as
//! [`whimbrel_skiplist::List`], marked links after Harris (2001) and Fraser (2004), and a hand-shake
//! between inserter and remover that decides who unlinks last and retires.

mod bulk;
mod height;
mod list;
mod node;
mod record;
mod search;
mod split;
mod tower;
mod walk;

pub use bulk::{Segment, SegmentBuilder};
pub use list::{FindOrInsert, List};
pub use record::Record;
