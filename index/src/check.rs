//! Checking a view from within: back-indexes and indexes must agree exactly.

use crate::encoding::decode_tuple;
use crate::error::{self, Error};
use crate::layout::{
    UniqueValue, back_prefix, decode_back, entries_prefix, is_reserved, split_entry,
};
use crate::view::{CollectionView, PartitionView};

/// What [`CollectionView::check`] went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Documents, those without entries included.
    pub documents: u64,
    /// Entries in all indexes.
    pub entries: u64,
    /// Unique keys that an update was claiming when the snapshot was taken: no entries yet.
    pub reservations: u64,
}

impl CollectionView {
    /// Checks everything the view shows: each document is in the partition its id hashes to, every
    /// entry that its back-index lists is there and is its own, every value can be decoded, and
    /// there is no entry besides.
    ///
    /// # Complexity
    /// O(n log n): a lookup per entry.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the first disagreement.
    pub fn check(&self) -> Result<CheckReport, Error> {
        let mut report = CheckReport::default();
        for partition in self.partitions() {
            let listed = partition.check_documents(&mut report)?;
            let found = partition.check_entries(&mut report)?;
            if listed != found {
                return Err(partition.wrong(
                    format!("{found} entries, {listed} listed in back-indexes"),
                    "entries that no document lists",
                ));
            }
        }
        Ok(report)
    }
}

impl PartitionView {
    fn wrong(&self, what: String, cause: &'static str) -> Error {
        Error::Corrupt { place: format!("{}: {what}", self.place()), at: 0, cause }
    }

    /// Every listed entry is there; returns how many are listed.
    fn check_documents(&self, report: &mut CheckReport) -> Result<u64, Error> {
        let head = back_prefix(self.prefix());
        let mut cursor = self.snapshot().prefix(&head);
        let mut listed = 0;
        while let Some((key, value)) = cursor.next_entry() {
            let doc_id = &key[head.len()..];
            let wrong = |cause| self.wrong(format!("document {}", error::id(doc_id)), cause);
            if self.def().partition_of(doc_id) != self.number() {
                return Err(wrong("its id hashes to another partition"));
            }
            for entry in decode_back(value).map_err(|m| wrong(m.cause))? {
                listed += 1;
                let stored = self
                    .snapshot()
                    .get(&entry.key(self.prefix(), doc_id))
                    .ok_or_else(|| wrong("an entry its back-index lists is missing"))?;
                if entry.claimed {
                    match UniqueValue::decode(&stored).map_err(|m| wrong(m.cause))? {
                        UniqueValue::Claimed { doc_id: holder, .. } if holder == doc_id => {}
                        _ => return Err(wrong("a unique key it lists is not its own")),
                    }
                }
            }
            report.documents += 1;
        }
        Ok(listed)
    }

    /// Every entry can be decoded; returns how many there are.
    fn check_entries(&self, report: &mut CheckReport) -> Result<u64, Error> {
        let head = entries_prefix(self.prefix());
        let mut cursor = self.snapshot().prefix(&head);
        let mut found = 0;
        while let Some((key, value)) = cursor.next_entry() {
            let key = &key[head.len() - 1..];
            let wrong = |cause| self.wrong(format!("entry {}", error::id(key)), cause);
            let Some((number, body)) = split_entry(key) else {
                return Err(wrong("a key without an index number"));
            };
            let Some((index, directions)) = self.schema().index(number) else {
                return Err(wrong("an index that the schema does not have"));
            };
            if index.is_unique() && is_reserved(value) {
                report.reservations += 1;
                continue;
            }
            decode_tuple(body, directions)?;
            found += 1;
        }
        report.entries += found;
        Ok(found)
    }
}
