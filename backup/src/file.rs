//! Layout of a file of blocks: header, blocks, index, footer. Shards and deltas share it.
//!
//! The blocks follow the header without gaps, so the index needs no offsets: a block begins where the
//! one before ends, and there is no place for bytes that nothing covers.

use crate::Error;
use crate::block::FORMAT_VERSION;
use crate::bytes::Fields;
use crate::error::{Part, Place};
use whimbrel_mvcc::{Digest, Digester};

/// Bytes of the header.
pub(crate) const HEADER_LEN: usize = 40;
/// Bytes of the footer.
pub(crate) const FOOTER_LEN: usize = 80;

const MAGIC: [u8; 8] = *b"WHIMBREL";
const END_MAGIC: [u8; 8] = *b"LERBMIHW";

/// What a file holds. Numbers 4 and up are not used in version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// Entries of one key range of one store.
    Shard,
    /// Puts and removes between two snapshots of one store.
    ChangeDelta,
    /// Entries of one store's snapshot that were collected before its shards came to them.
    GcDelta,
    /// Puts and removes to be ingested. Not part of a backup.
    Sorted,
}

impl FileKind {
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Shard => 1,
            Self::ChangeDelta => 2,
            Self::GcDelta => 3,
            Self::Sorted => 4,
        }
    }
}

/// Identity of a backup: 128 bits that no two backups share.
///
/// Every file carries it, so a file of another backup is noticed even where it fits otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BackupId(pub [u8; 16]);

impl BackupId {
    /// A fresh identity from the system's random hash keys, the time and the process number.
    #[must_use]
    pub fn generate() -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let mut id = [0; 16];
        for half in id.chunks_exact_mut(8) {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u128(now.as_ref().map_or(0, std::time::Duration::as_nanos));
            hasher.write_u32(std::process::id());
            half.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        Self(id)
    }
}

impl std::fmt::Display for BackupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a file says about itself in its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Shard or delta.
    pub kind: FileKind,
    /// The backup it belongs to; of a sorted file, its own identity.
    pub backup: BackupId,
    /// Position of its store in the manifest.
    pub store: u32,
    /// Number of the file, as in its name.
    pub number: u32,
}

impl FileIdentity {
    /// The name that the file has in a backup: `shard-0007`, `delta-0001`, `gc-0000`. A sorted file has what name it
    /// was given; this one stands for it in errors of its writer.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self.kind {
            FileKind::Shard => format!("shard-{:04}", self.number),
            FileKind::ChangeDelta => format!("delta-{:04}", self.number),
            FileKind::GcDelta => format!("gc-{:04}", self.number),
            FileKind::Sorted => format!("sorted-{:04}", self.number),
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        header[10..12].copy_from_slice(&self.kind.number().to_le_bytes());
        header[12..28].copy_from_slice(&self.backup.0);
        header[28..32].copy_from_slice(&self.store.to_le_bytes());
        header[32..36].copy_from_slice(&self.number.to_le_bytes());
        let crc = crc32c::crc32c(&header[..36]);
        header[36..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Reads a header that must be of `kind`.
    pub(crate) fn decode(bytes: &[u8], kind: FileKind, place: &Place) -> Result<Self, Error> {
        let place = place.at(Part::Header);
        check_magic(bytes.get(..8), MAGIC, &place)?;
        check_crc(bytes, HEADER_LEN - 4, 0, &place)?;
        let short = || Error::WrongLength {
            place: place.clone(),
            expected: HEADER_LEN as u64,
            got: bytes.len() as u64,
        };
        let mut fields = Fields::new(&bytes[8..]);
        let version = fields.u16().ok_or_else(short)?;
        if version != FORMAT_VERSION {
            return Err(Error::UnsupportedVersion {
                place,
                found: u32::from(version),
                supported: u32::from(FORMAT_VERSION),
            });
        }
        let number = fields.u16().ok_or_else(short)?;
        if number != kind.number() {
            return Err(Error::WrongKind { place, expected: kind.number(), got: number });
        }
        let backup = BackupId(fields.array().ok_or_else(short)?);
        let store = fields.u32().ok_or_else(short)?;
        let number = fields.u32().ok_or_else(short)?;
        Ok(Self { kind, backup, store, number })
    }
}

/// Counts over the entries of a file or of a run of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Entries with a value.
    pub entries: u64,
    /// Removes.
    pub removes: u64,
    /// Bytes of keys and values.
    pub raw_bytes: u64,
    /// Digest of the entries with a value.
    pub digest: Digest,
}

impl Tally {
    /// Counts one entry; no value means a remove.
    #[inline]
    pub fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.add_counts(key, value);
        if let Some(value) = value {
            self.digest.add(key, value);
        }
    }

    /// Counts one entry and leaves the digest alone.
    #[inline]
    pub(crate) fn add_counts(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.raw_bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        match value {
            Some(_) => self.entries += 1,
            None => self.removes += 1,
        }
    }
}

/// A tally of entries that come one after the other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tallying {
    /// Without the digest.
    counts: Tally,
    digester: Digester,
}

impl Tallying {
    /// Counts one entry; no value means a remove.
    #[inline]
    pub(crate) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.counts.add_counts(key, value);
        if let Some(value) = value {
            self.digester.add(key, value);
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { digest: self.digester.digest(), ..self.counts }
    }
}

/// The last bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) index_at: u64,
    pub(crate) index_len: u64,
    pub(crate) blocks: u32,
    pub(crate) last_key_len: u32,
    pub(crate) tally: Tally,
    pub(crate) index_crc: u32,
}

impl Footer {
    /// The footer's bytes; their checksum begins with the header's bytes, which ties the two together.
    pub(crate) fn encode(&self, header: &[u8; HEADER_LEN]) -> [u8; FOOTER_LEN] {
        let mut footer = [0; FOOTER_LEN];
        footer[..8].copy_from_slice(&self.index_at.to_le_bytes());
        footer[8..16].copy_from_slice(&self.index_len.to_le_bytes());
        footer[16..20].copy_from_slice(&self.blocks.to_le_bytes());
        footer[20..24].copy_from_slice(&self.last_key_len.to_le_bytes());
        footer[24..32].copy_from_slice(&self.tally.entries.to_le_bytes());
        footer[32..40].copy_from_slice(&self.tally.removes.to_le_bytes());
        footer[40..48].copy_from_slice(&self.tally.raw_bytes.to_le_bytes());
        footer[48..56].copy_from_slice(&self.tally.digest.sum.to_le_bytes());
        footer[56..60].copy_from_slice(&self.index_crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(header), &footer[..68]);
        footer[68..72].copy_from_slice(&crc.to_le_bytes());
        footer[72..].copy_from_slice(&END_MAGIC);
        footer
    }

    /// Checksum over header and footer, as [`encode`](Self::encode) stored it.
    pub(crate) fn crc(footer: &[u8; FOOTER_LEN]) -> u32 {
        u32::from_le_bytes([footer[68], footer[69], footer[70], footer[71]])
    }

    pub(crate) fn decode(header: &[u8], bytes: &[u8], place: &Place) -> Result<Self, Error> {
        let place = place.at(Part::Footer);
        check_magic(bytes.get(72..), END_MAGIC, &place)?;
        check_crc(bytes, 68, crc32c::crc32c(header), &place)?;
        if bytes[60..68] != [0; 8] {
            return Err(Error::Malformed { place, what: "unknown flags" });
        }
        Self::fields(bytes).ok_or(Error::WrongLength {
            place,
            expected: FOOTER_LEN as u64,
            got: bytes.len() as u64,
        })
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(bytes);
        let (index_at, index_len) = (fields.u64()?, fields.u64()?);
        let (blocks, last_key_len) = (fields.u32()?, fields.u32()?);
        let (entries, removes) = (fields.u64()?, fields.u64()?);
        let (raw_bytes, sum) = (fields.u64()?, fields.u64()?);
        let digest = Digest { count: entries, sum };
        let tally = Tally { entries, removes, raw_bytes, digest };
        Some(Self { index_at, index_len, blocks, last_key_len, tally, index_crc: fields.u32()? })
    }
}

fn check_magic(got: Option<&[u8]>, expected: [u8; 8], place: &Place) -> Result<(), Error> {
    let got = got.unwrap_or_default();
    if got == expected {
        return Ok(());
    }
    let (expected, got) = (expected.to_vec(), got.to_vec());
    Err(Error::BadMagic { place: place.clone(), expected, got })
}

/// The checksum stored at `at` must be the one of the bytes before it, continued from `seed`.
fn check_crc(bytes: &[u8], at: usize, seed: u32, place: &Place) -> Result<(), Error> {
    let stored = crate::bytes::array(bytes, at).map(u32::from_le_bytes);
    let expected = stored.ok_or_else(|| Error::WrongLength {
        place: place.clone(),
        expected: at as u64 + 4,
        got: bytes.len() as u64,
    })?;
    let got = crc32c::crc32c_append(seed, &bytes[..at]);
    if got == expected {
        return Ok(());
    }
    Err(Error::ChecksumMismatch { place: place.clone(), expected, got })
}
