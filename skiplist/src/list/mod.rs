//! The list: an ordered map from byte keys to cells, kept in blocks of many keys.
//!
//! A *block* holds up to 50 *words* at level 0 (512 bytes) and 53 above (1024 bytes); a word leads to a
//! *record*: key, cell, inline part. The blocks of a level form a chain in key order and cut the key
//! space into ranges. For each block but the leftmost of its level there is an *anchor*: a record
//! whose key is the low end of the range and whose cell leads to the block. Anchors are the entries of
//! the blocks one level up, so one protocol serves all levels. A search goes right and down.
//!
//! ```text
//! level 1   head -> [ a  m ] ----------------------> (end)
//!                     |   \____________
//! level 0   head -> [ .. ] -> [ a b d c ] -> [ m p n ] -> (end)
//! ```
//!
//! # What a search reads
//!
//! A lookup goes down by *order hints* (the 16 bits of a key that follow what all keys of the block share):
//! the hints of an inner block's sorted words lie together and are counted in six vectors. At level 0
//! it compares *fingerprints*, a byte of a hash for each word, in four. So a level costs about three
//! cache lines of its block and one of the anchor, whatever the number of words, and keys are read
//! where hints are equal. A walk reads a block's sorted words in place, orders those that came later by
//! their order hints, puts them between, and loads records a few ahead of the one that it hands out.
//!
//! # How it changes
//!
//! - **Insert**: claim the *first* empty word of the block that covers the key, by one
//!   compare-and-swap. Two inserters of one key meet at that word, and the loser looks again. This is
//!   the linearization point. A record whose cell is sealed is passed over.
//! - **Replace**: a block that is full, or has much garbage, is *frozen* (its first empty word closed,
//!   then its `next`), copied without its dead records into one or more new blocks, and *decided*: one
//!   compare-and-swap sets its `repl` to the first of them. Whoever meets a frozen block does the same;
//!   one wins. The winner alone cleans up: unlinks the old block, moves its anchor's cell, retires what
//!   is gone and *announces* the new blocks' anchors to the level above.
//! - **Merge**: a block with few records left is frozen and marked ABSORB; the next decision about its
//!   live predecessor takes its content and its range over, and then its anchor is sealed.
//! - **Splice**: many new records in ascending order go in as whole blocks, by one decision about the block that
//!   covers their range, where that has no record (`splice.rs`).
//! - **Move**: a record is copied, and one compare-and-swap makes the cell of the old one lead to the
//!   copy. Whoever reads the old one's cell goes on to the copy; the next rebuild keeps the copy
//!   and drops the old one. Values come to lie beside their keys again that way, and keys side by side.
//! - **Read**: never writes, never helps. A frozen block that is not decided is simply read.
//!
//! No operation waits for another thread. A thread that stops in the middle costs the memory of what
//! it was about to retire, and nothing else.
//!
//! # Invariants
//!
//! - **B1** The range of a block object never changes; a merge makes a new object.
//! - **B2** At most one `next` of the live chain leads to a block, and once the block is decided and
//!   passed by, none ever does again.
//! - **B3** A block that is not decided is on the chain (ABSORB counts as not decided until the
//!   predecessor's decision).
//! - **B4** The cell of an anchor moves along `repl` only, and ends at SEALED.
//! - **B5** An anchor is sealed only when its block has left the chain.
//! - **B6** A decided block is retired after its unlinking and its anchor's advance have both seen a
//!   successor that was not decided: from then on no new access finds it.
//! - **B7** An anchor enters the level above at most once, by the winner that made it. It is retired by
//!   that winner when it is sealed before it entered; else by the rebuild that drops it; on the
//!   topmost level, where anchors enter nothing, by who absorbed its block.
//! - **B8** Of the words of a block with equal keys all but the last are sealed, or moved to a record
//!   that is. An unsealed record is in the live chain, or one in the live chain moved to it.
//! - **B9** Anchor, `high` and a frozen `next` of a block may be used only where its `repl` was seen
//!   null in the same session, or by who reached an ABSORB block over the chain in that session.
//!
//! - **B10** A record is moved once, to a record that nobody else has. A decision drops with a moved
//!   record all that it moved through, and keeps or drops the last of them. So what a record moved to is
//!   retired by that decision, or by a later one about a block that holds it; and who begins a session
//!   after that does not come to the moved record, which was only in blocks decided before.
//!
//! Reclamation: memory that B5 to B7 set free goes to the [`crate::Barrier`]. What a session could
//! reach when it began stays until it ends.
//!
//! # Complexity
//!
//! A lookup reads about one block and one anchor a level, and one record: log n to the base of 40.
//! A rebuild costs O(block) and happens once in about 25 insertions into a block.
//!
//! # Sources
//!
//! Frozen and replaced chunks: KiWi (PPoPP 2017); B-link trees (Lehman and Yao 1981) for ranges that
//! lead right; B-skiplist (ICPP 2025). Different here: anchors instead of child pointers, so that a
//! change of a child never meets a freeze of its parent, and the merge into whatever the live
//! predecessor turns out to be.

mod audit;
mod bulk;
mod clean;
mod compact;
mod entry;
mod found;
mod handle;
mod hint;
mod inner;
#[expect(clippy::module_inception, reason = "the type that the module is about")]
mod list;
#[cfg(any(whimbrel_loom, whimbrel_shuttle))]
pub(crate) mod model;
mod raw;
mod rebuild;
mod record;
mod scan;
mod search;
mod shape;
mod splice;
mod split;
mod tally;
mod tend;
mod walk;
mod window;
mod words;
mod work;

pub use bulk::{Segment, SegmentBuilder};
pub use compact::Compacted;
pub use found::Found;
pub use handle::{EMPTY, FindOrInsert, MAX_KEY_LEN, Record, SEALED, Seen};
pub use list::List;
pub(crate) use scan::prefetch;
pub use shape::Shape;
pub use splice::Run;
