//! Handle of a record.

use std::ptr::NonNull;

use super::List;
use super::node::NodeRef;
use whimbrel_skiplist::sync::atomic::AtomicU64;

/// A record of a list: key, cell, and the inline part of the layer above.
///
/// A copyable handle that lives as long as the guard it was read under: the record may be taken out
/// of the list meanwhile, but its memory stays.
#[derive(Clone, Copy)]
pub struct Record<'g> {
    pub(crate) node: NodeRef<'g>,
    pub(crate) list: &'g List,
}

impl<'g> Record<'g> {
    /// The key.
    #[must_use]
    pub fn key(self) -> &'g [u8] {
        self.node.key()
    }

    /// The cell. Once it is [`whimbrel_skiplist::SEALED`] it must stay so.
    #[must_use]
    pub fn cell(self) -> &'g AtomicU64 {
        self.node.cell()
    }

    /// Start of the inline part, aligned to 8 bytes. The list never reads it.
    #[must_use]
    pub fn inline(self) -> NonNull<u8> {
        self.node.inline()
    }

    /// Length of the inline part in bytes.
    #[must_use]
    pub fn inline_len(self) -> usize {
        self.node.inline_len()
    }

    /// Address of the record, to come back to it later with [`List::record_from_raw`].
    #[must_use]
    pub fn as_raw(self) -> NonNull<u8> {
        self.node.as_raw()
    }
}

impl PartialEq for Record<'_> {
    /// Whether both are the same record (not: of equal keys).
    fn eq(&self, other: &Self) -> bool {
        self.node == other.node
    }
}

impl Eq for Record<'_> {}

impl std::fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("key", &format_args!("\"{}\"", self.key().escape_ascii()))
            .field("inline_len", &self.inline_len())
            .finish_non_exhaustive()
    }
}
