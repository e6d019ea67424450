//! `MANIFEST.json`: what a backup consists of. Written last; without it there is no backup.
//!
//! It is plain JSON, with one rule more: its last member is `crc32c`, and the file ends in exactly
//! `"crc32c": "xxxxxxxx"`, a line feed, `}`, a line feed. The checksum covers every byte before that member.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::block::FORMAT_VERSION;
use crate::error::{KeyExcerpt, Part, Place};
use crate::file::{BackupId, FileKind, Tally};
use crate::hex::{hex_bytes, hex_id, hex_u32, hex_u64};
use crate::writer::FileSummary;
use whimbrel_mvcc::Digest;

/// Name of the manifest.
pub const MANIFEST: &str = "MANIFEST.json";
/// Name of the manifest before it is published; its presence claims the directory.
pub const MANIFEST_TMP: &str = "MANIFEST.json.tmp";
/// Name of the manifest of a backup that is being pruned.
pub(crate) const MANIFEST_PRUNED: &str = "MANIFEST.json.pruned";
/// Longest manifest that is read (64 MiB).
pub const MAX_MANIFEST_LEN: u64 = 64 << 20;
/// Longest name of a store in bytes.
pub const MAX_STORE_NAME_LEN: usize = 1024;

const FORMAT_NAME: &str = "whimbrel-backup";
const TAIL_LEN: usize = 23;

/// One shard or delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Name of the file.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Entries with a value.
    pub entries: u64,
    /// Removes; 0 in a shard and in a GC delta.
    pub removes: u64,
    /// Bytes of keys and values.
    pub raw_bytes: u64,
    /// First key.
    #[serde(with = "hex_bytes")]
    pub first_key: Vec<u8>,
    /// Last key.
    #[serde(with = "hex_bytes")]
    pub last_key: Vec<u8>,
    /// Sum of the digest of the entries with a value.
    #[serde(with = "hex_u64")]
    pub digest: u64,
    /// Checksum over header and footer of the file.
    #[serde(with = "hex_u32")]
    pub crc32c: u32,
}

impl FileRecord {
    /// The record of a file that was written or opened.
    #[must_use]
    pub fn of(summary: &FileSummary) -> Self {
        Self {
            file: summary.identity.file_name(),
            bytes: summary.bytes,
            blocks: summary.blocks,
            entries: summary.tally.entries,
            removes: summary.tally.removes,
            raw_bytes: summary.tally.raw_bytes,
            first_key: summary.first_key.clone(),
            last_key: summary.last_key.clone(),
            digest: summary.tally.digest.sum,
            crc32c: summary.crc,
        }
    }

    /// Counts and digest.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let digest = Digest { count: self.entries, sum: self.digest };
        Tally { entries: self.entries, removes: self.removes, raw_bytes: self.raw_bytes, digest }
    }

    /// The number in the file's name, when the name is one of the format's.
    #[must_use]
    pub fn number(&self, kind: FileKind) -> Option<u32> {
        let prefix = match kind {
            FileKind::Shard => "shard-",
            FileKind::ChangeDelta => "delta-",
            FileKind::GcDelta => "gc-",
            FileKind::Sorted => return None,
        };
        let digits = self.file.strip_prefix(prefix)?;
        let number: u32 = digits.parse().ok()?;
        (format!("{number:04}") == digits).then_some(number)
    }
}

/// One store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreRecord {
    /// Its name.
    pub name: String,
    /// Entries it has when everything is restored.
    pub entries: u64,
    /// Sum of the digest of these entries.
    #[serde(with = "hex_u64")]
    pub digest: u64,
    /// Its shards in key order; none when the store was empty.
    pub shards: Vec<FileRecord>,
    /// Its GC deltas: entries of the snapshot that the shards lack (the member is missing where there are
    /// none).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gc_deltas: Vec<FileRecord>,
    /// Its change deltas in the order in which they are replayed.
    pub deltas: Vec<FileRecord>,
}

impl StoreRecord {
    /// Digest of the store when everything is restored.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest { count: self.entries, sum: self.digest }
    }

    /// Shards and deltas with their kinds, in the order in which they are restored.
    pub fn files(&self) -> impl Iterator<Item = (FileKind, &FileRecord)> {
        let shards = self.shards.iter().map(|record| (FileKind::Shard, record));
        let gc_deltas = self.gc_deltas.iter().map(|record| (FileKind::GcDelta, record));
        let deltas = self.deltas.iter().map(|record| (FileKind::ChangeDelta, record));
        shards.chain(gc_deltas).chain(deltas)
    }
}

/// Names one backup for good: its identity and the checksum of its manifest, which leads to every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// Identity of the backup.
    pub id: BackupId,
    /// The checksum in its manifest's last member.
    pub crc32c: u32,
}

/// The backup that an incremental backup continues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Identity of that backup.
    #[serde(with = "hex_id")]
    pub id: BackupId,
    /// The checksum in that backup's manifest.
    #[serde(with = "hex_u32")]
    pub crc32c: u32,
    /// Backups before this one in the chain, at least 1.
    pub position: u32,
    /// Names of the stores that begin as they were in that backup, and have nothing but deltas here. The
    /// others begin empty.
    pub stores: Vec<String>,
}

impl Base {
    /// The backup that is continued.
    #[must_use]
    pub fn link(&self) -> Link {
        Link { id: self.id, crc32c: self.crc32c }
    }
}

/// What a backup consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `whimbrel-backup`.
    format: String,
    /// Version of the format.
    version: u32,
    /// Identity of the backup, which every file carries.
    #[serde(with = "hex_id")]
    pub id: BackupId,
    /// When it was made, in milliseconds since 1970-01-01 UTC, by the machine's clock.
    pub created_unix_ms: u64,
    /// The snapshot number it shows.
    pub snapshot: u64,
    /// The backup that this one continues; none (the member is missing) for a full backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The stores, in the order in which they were given.
    pub stores: Vec<StoreRecord>,
    /// Whatever the layer above keeps with the backup, such as a schema and a resume token.
    pub user: serde_json::Value,
}

impl Manifest {
    /// A manifest of this release's format version.
    #[must_use]
    pub fn new(id: BackupId, created_unix_ms: u64, snapshot: u64) -> Self {
        Self {
            format: FORMAT_NAME.to_owned(),
            version: u32::from(FORMAT_VERSION),
            id,
            created_unix_ms,
            snapshot,
            base: None,
            stores: Vec::new(),
            user: serde_json::Value::Null,
        }
    }

    /// Version of the format.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Backups before this one in its chain: 0 for a full backup.
    #[must_use]
    pub fn position(&self) -> u32 {
        self.base.as_ref().map_or(0, |base| base.position)
    }

    /// Names of the stores that begin as they were in the backup before.
    #[must_use]
    pub fn continued(&self) -> HashSet<&str> {
        let names = self.base.iter().flat_map(|base| &base.stores);
        names.map(String::as_str).collect()
    }

    /// The store of that name.
    #[must_use]
    pub fn store(&self, name: &str) -> Option<&StoreRecord> {
        self.stores.iter().find(|store| store.name == name)
    }

    /// Entries of all stores.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.stores.iter().map(|store| store.entries).sum()
    }

    /// Every file: position of its store, kind, record.
    pub fn files(&self) -> impl Iterator<Item = (u32, FileKind, &FileRecord)> {
        let numbered = (0_u32..).zip(&self.stores);
        numbered.flat_map(|(at, store)| store.files().map(move |(kind, file)| (at, kind, file)))
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`Error::StoreName`] and whatever else [`decode`](Self::decode) would refuse: a manifest that
    /// cannot be read must not be written.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let syntax = |source| Error::ManifestSyntax { place: place(), source };
        let mut text = serde_json::to_string_pretty(self).map_err(syntax)?;
        text.truncate(text.len() - "\n}".len());
        text.push_str(",\n  ");
        let tail = tail(crc32c::crc32c(text.as_bytes()));
        text.push_str(&tail);
        if text.len() as u64 > MAX_MANIFEST_LEN {
            return Err(too_long(text.len() as u64));
        }
        Ok(text.into_bytes())
    }

    /// What names the backup for good.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn link(&self) -> Result<Link, Error> {
        Ok(Link { id: self.id, crc32c: crc_of(&self.encode()?) })
    }

    /// Reads the file's bytes and checks everything that can be checked without the other files.
    ///
    /// # Errors
    /// [`Error::ChecksumMismatch`] for every flipped bit and every cut, [`Error::UnsupportedVersion`],
    /// [`Error::ManifestSyntax`], and errors for statements that contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() as u64 > MAX_MANIFEST_LEN {
            return Err(too_long(bytes.len() as u64));
        }
        let json = checked_json(bytes)?;
        let syntax = |source| Error::ManifestSyntax { place: place(), source };
        let head: Head = serde_json::from_slice(&json).map_err(syntax)?;
        if head.format != FORMAT_NAME {
            return Err(malformed("not the manifest of a Whimbrel backup"));
        }
        if head.version != u32::from(FORMAT_VERSION) {
            return Err(Error::UnsupportedVersion {
                place: place(),
                found: head.version,
                supported: u32::from(FORMAT_VERSION),
            });
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(syntax)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), Error> {
        if u32::try_from(self.stores.len()).is_err() {
            return Err(malformed("too many stores"));
        }
        let continued = self.check_base()?;
        let (mut names, mut files) = (HashSet::new(), HashSet::new());
        for store in &self.stores {
            check_store_name(&store.name)?;
            if !names.insert(store.name.as_str()) {
                let (name, why) = (store.name.clone(), "another store has this name");
                return Err(Error::StoreName { name, why });
            }
            for (kind, file) in store.files() {
                if file.number(kind).is_none() || !files.insert(&file.file) {
                    return Err(malformed("a file is listed twice or has a name of another kind"));
                }
            }
            check_store(store, continued.contains(store.name.as_str()))?;
        }
        if let Some(name) = continued.into_iter().find(|name| !names.contains(*name)) {
            let (name, why) = (name.to_owned(), "it is continued and not listed");
            return Err(Error::StoreName { name, why });
        }
        Ok(())
    }

    /// Answers the stores that begin as they were in the base.
    fn check_base(&self) -> Result<HashSet<&str>, Error> {
        let continued = self.continued();
        let Some(base) = &self.base else { return Ok(continued) };
        if base.position == 0 {
            return Err(malformed("an incremental backup at the first place of its chain"));
        }
        if base.id == self.id {
            return Err(malformed("a backup that continues itself"));
        }
        if continued.len() != base.stores.len() {
            return Err(malformed("a continued store is listed twice"));
        }
        Ok(continued)
    }
}

/// Checks a name before any work is done for it.
pub(crate) fn check_store_name(name: &str) -> Result<(), Error> {
    let refuse = |why| Err(Error::StoreName { name: name.to_owned(), why });
    match name.len() {
        0 => refuse("it is empty"),
        1..=MAX_STORE_NAME_LEN => Ok(()),
        _ => refuse("it is longer than 1024 bytes"),
    }
}

/// Shards ascend without overlap, and without deltas they add up to the store. A continued store has
/// none, and what it adds up to only its chain knows.
fn check_store(store: &StoreRecord, continued: bool) -> Result<(), Error> {
    if continued && !store.shards.is_empty() {
        return Err(malformed("a continued store has shards"));
    }
    let mut previous: Option<&FileRecord> = None;
    let mut sum = Digest::default();
    for shard in &store.shards {
        let place = || Place::new(&shard.file, Part::Whole);
        if shard.entries == 0 || shard.removes != 0 || shard.first_key > shard.last_key {
            return Err(Error::Malformed {
                place: place(),
                what: "impossible counts or key range",
            });
        }
        if let Some(previous) = previous.filter(|previous| previous.last_key >= shard.first_key) {
            return Err(Error::OutOfOrder {
                place: place(),
                previous: KeyExcerpt::of(&previous.last_key),
                got: KeyExcerpt::of(&shard.first_key),
            });
        }
        sum.count = sum.count.wrapping_add(shard.entries);
        sum.sum = sum.sum.wrapping_add(shard.digest);
        previous = Some(shard);
    }
    for delta in &store.gc_deltas {
        if delta.entries == 0 || delta.removes != 0 || delta.first_key > delta.last_key {
            let place = Place::new(&delta.file, Part::Whole);
            return Err(Error::Malformed { place, what: "impossible counts or key range" });
        }
    }
    // A GC delta may repeat entries of shards.
    let shards_are_all = store.deltas.is_empty() && store.gc_deltas.is_empty();
    if !continued && shards_are_all && sum != store.digest() {
        return Err(Error::Mismatch {
            place: place(),
            what: "the sum of a store's shards",
            expected: format!("{:?}", store.digest()),
            got: format!("{sum:?}"),
        });
    }
    Ok(())
}

#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

/// The checksum that a manifest which was decoded, or encoded, ends in.
pub(crate) fn crc_of(bytes: &[u8]) -> u32 {
    crc32c::crc32c(&bytes[..bytes.len().saturating_sub(TAIL_LEN)])
}

/// Checks and takes off the last member.
fn checked_json(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let Some((body, end)) = bytes.split_last_chunk::<TAIL_LEN>() else {
        let (expected, got) = (TAIL_LEN as u64, bytes.len() as u64);
        return Err(Error::WrongLength { place: place(), expected, got });
    };
    let got = crc32c::crc32c(body);
    if *end != *tail(got).as_bytes() {
        let stated = end.get(11..19).and_then(|hex| std::str::from_utf8(hex).ok());
        let expected = stated.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        return match expected {
            Some(expected) if expected != got => {
                Err(Error::ChecksumMismatch { place: place(), expected, got })
            }
            _ => Err(malformed("it does not end in its checksum: cut or damaged")),
        };
    }
    let Some(members) = body.strip_suffix(b",\n  ") else {
        return Err(malformed("the checksum is not the last member"));
    };
    let mut json = members.to_vec();
    json.push(b'}');
    Ok(json)
}

fn tail(crc: u32) -> String {
    let tail = format!("\"crc32c\": \"{crc:08x}\"\n}}\n");
    debug_assert_eq!(tail.len(), TAIL_LEN, "the tail's length is part of the format");
    tail
}

fn place() -> Place {
    Place::new(MANIFEST, Part::Whole)
}

fn malformed(what: &'static str) -> Error {
    Error::Malformed { place: place(), what }
}

pub(crate) fn too_long(got: u64) -> Error {
    let what = "length of the manifest";
    Error::LimitExceeded { place: place(), what, limit: MAX_MANIFEST_LEN, got }
}
