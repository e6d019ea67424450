//! Says what a backup consists of, from manifest, indexes and footers; no block is read.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use crate::file::FileKind;
use crate::manifest::{FileRecord, Manifest};
use crate::open::Backup;
use crate::progress::rate;

/// What [`inspect()`] found. Serializes to a JSON object.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// Where the backup is.
    pub dir: PathBuf,
    /// The manifest as it is, without its checksum.
    pub manifest: Manifest,
    /// Bytes of keys and values in shards and deltas.
    pub raw_bytes: u64,
    /// Bytes of shards and deltas.
    pub stored_bytes: u64,
    /// `raw_bytes / stored_bytes`, 0 when there are no files.
    pub ratio: f64,
    /// One for every file, in the manifest's order.
    pub files: Vec<FileInspection>,
}

/// One file of an [`Inspection`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FileInspection {
    /// Name of the file.
    pub file: String,
    /// `shard` or `change delta`.
    pub kind: &'static str,
    /// Name of its store.
    pub store: String,
    /// Blocks in it.
    pub blocks: usize,
    /// Length of its longest block in bytes.
    pub longest_block: usize,
    /// Entries with a value.
    pub entries: u64,
    /// Removes.
    pub removes: u64,
    /// First key, printable.
    pub first_key: String,
    /// Last key, printable.
    pub last_key: String,
}

/// Looks at the backup in `dir`.
///
/// # Complexity
/// Linear in manifest and indexes.
///
/// # Errors
/// Whatever is wrong with manifest, headers, indexes and footers. Damage inside of blocks is found by
/// [`verify`](crate::verify()) only.
pub fn inspect(dir: &Path) -> Result<Inspection, Error> {
    inspect_backup(&Backup::open(dir)?)
}

/// [`inspect`] of a backup that is open, wherever it is.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_backup(backup: &Backup) -> Result<Inspection, Error> {
    let manifest = backup.manifest();
    let mut files = Vec::new();
    let mut add = |store: u32, kind: FileKind, record: &FileRecord| {
        let file = backup.open_file(backup.source(record)?, store, kind, record)?;
        files.push(FileInspection {
            file: record.file.clone(),
            kind: match kind {
                FileKind::Shard => "shard",
                FileKind::ChangeDelta => "change delta",
            },
            store: manifest.stores[store as usize].name.clone(),
            blocks: file.blocks(),
            longest_block: file.longest_block(),
            entries: record.entries,
            removes: record.removes,
            first_key: record.first_key.escape_ascii().to_string(),
            last_key: record.last_key.escape_ascii().to_string(),
        });
        Ok::<(), Error>(())
    };
    manifest.files().try_for_each(|(store, kind, record)| add(store, kind, record))?;
    let sum = |of: fn(&FileRecord) -> u64| manifest.files().map(|(_, _, record)| of(record)).sum();
    let (raw_bytes, stored_bytes): (u64, u64) =
        (sum(|record| record.raw_bytes), sum(|record| record.bytes));
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    let ratio = rate(raw_bytes, stored_bytes as f64);
    let manifest = manifest.clone();
    Ok(Inspection { dir: backup.dir().to_owned(), manifest, raw_bytes, stored_bytes, ratio, files })
}
