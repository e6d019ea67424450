//! Says what a backup consists of, from manifest, indexes, footers, and the headers of blocks; no stored byte of a
//! block is read.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use crate::block::Compression;
use crate::file::FileKind;
use crate::manifest::{FileRecord, Manifest};
use crate::open::Backup;
use crate::progress::rate;
use crate::repository::Chain;

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
    /// Directories of the chain's backups up to this one, the full one first; none when it is broken.
    pub chain: Option<Vec<PathBuf>>,
    /// What is wrong with the chain.
    pub chain_error: Option<String>,
}

/// One file of an [`Inspection`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FileInspection {
    /// Name of the file.
    pub file: String,
    /// `shard`, `change delta` or `GC delta`.
    pub kind: &'static str,
    /// Name of its store.
    pub store: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of its keys and values.
    pub raw_bytes: u64,
    /// `raw_bytes / bytes`.
    pub ratio: f64,
    /// Digest of its entries with a value, 16 hex digits.
    pub digest: String,
    /// Blocks in it.
    pub blocks: usize,
    /// Blocks that are compressed; the others are stored as they are.
    pub lz4_blocks: usize,
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
/// Linear in manifest and indexes, and 32 bytes are read for every block.
///
/// # Errors
/// Whatever is wrong with manifest, headers, indexes and footers. Damage inside of blocks is found by
/// [`verify`](crate::verify()) only. That the chain of an incremental backup is broken is no error here, but
/// told.
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
        let mut lz4_blocks = 0;
        for number in 0..file.blocks() {
            let header = file.block_header(number)?;
            lz4_blocks += usize::from(header.compression() == Compression::Lz4);
        }
        files.push(FileInspection {
            file: record.file.clone(),
            kind: match kind {
                FileKind::Shard => "shard",
                FileKind::ChangeDelta => "change delta",
                FileKind::GcDelta => "GC delta",
                FileKind::Sorted => "sorted file",
            },
            store: manifest.stores[store as usize].name.clone(),
            bytes: record.bytes,
            raw_bytes: record.raw_bytes,
            ratio: ratio(record.raw_bytes, record.bytes),
            digest: format!("{:016x}", record.digest),
            blocks: file.blocks(),
            lz4_blocks,
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
    let ratio = ratio(raw_bytes, stored_bytes);
    let manifest = manifest.clone();
    let dir = backup.dir().to_owned();
    let (chain, chain_error) = match Chain::ending_in(backup.clone()) {
        Ok(chain) => (Some(chain.backups().iter().map(|it| it.dir().to_owned()).collect()), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(Inspection { dir, manifest, raw_bytes, stored_bytes, ratio, files, chain, chain_error })
}

/// How many bytes of keys and values a stored byte stands for.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
fn ratio(raw_bytes: u64, stored_bytes: u64) -> f64 {
    rate(raw_bytes, stored_bytes as f64)
}
