//! Hands out the entries of a whole range: each block is decoded into one buffer, or lies in the mapping as it
//! is stored, and is checked in the very walk that hands its entries out.

use std::ops::ControlFlow;

use whimbrel_backup::shard::Buffers;
use whimbrel_mvcc::KeyRange;

use super::BackupView;
use super::cursor::ViewCursor;
use super::file::ViewFile;
use super::layer::Layer;
use crate::Error;
use crate::plan::{first_block, reaches};

/// Hands the entries of a range to `each`, in key order, until it answers `Break`.
pub(super) fn scan(
    view: &BackupView,
    layers: &[Layer],
    range: KeyRange,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    if let [layer] = layers {
        return scan_files(layer.files(view), &range, each);
    }
    let mut cursor = ViewCursor::new(view, layers, range);
    while let Some((key, value)) = cursor.next_entry()? {
        if each(key, value).is_break() {
            break;
        }
    }
    Ok(())
}

/// The same of a store that is in one layer: nothing is to be merged.
fn scan_files(
    files: &[ViewFile],
    range: &KeyRange,
    mut each: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    let mut buffers = Buffers::default();
    for file in files.iter().filter(|file| file.meets(range)) {
        let reader = file.reader()?;
        for number in first_block(reader, range)..reader.blocks() {
            let first = reader.block_key(number);
            if !reaches(range, first) {
                return Ok(());
            }
            let is_last = number + 1 == reader.blocks();
            let behind = if is_last { reader.last_key() } else { reader.block_key(number + 1) };
            // Keys ascend: what lies between two keys of the range is in it.
            let whole = range.contains(first) && range.contains(behind);
            let scanned = file.scan_block(number, &mut buffers, |key, value| match value {
                Some(value) if whole || range.contains(key) => each(key, value),
                // Outside of the range, or a remove, which has nothing older to hide.
                _ => ControlFlow::Continue(()),
            })?;
            if scanned.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}
