//! What can be wrong with a backup, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::storage::LOCK;

/// The part of a file that an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// The file as a whole: its length, its presence, its place in the backup.
    Whole,
    /// The first bytes, which say what kind of file it is and to which backup it belongs.
    Header,
    /// One block, counted from 0 in file order.
    Block(u64),
    /// The index of blocks.
    Index,
    /// The last bytes, which hold counts, digest and the place of the index.
    Footer,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("the file as a whole"),
            Self::Header => f.write_str("header"),
            Self::Block(number) => write!(f, "block {number}"),
            Self::Index => f.write_str("index"),
            Self::Footer => f.write_str("footer"),
        }
    }
}

/// Where in a backup something was found: file and part of it.
///
/// Data frames of a migration are blocks without a file; there `file` names the stream and the block
/// number is the frame's sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    file: Arc<str>,
    part: Part,
}

impl Place {
    /// The place `part` of `file`.
    ///
    /// # Examples
    /// ```
    /// use whimbrel_backup::{Part, Place};
    /// assert_eq!(Place::new("shard-0001", Part::Footer).to_string(), "shard-0001, footer");
    /// ```
    #[must_use]
    pub fn new(file: &str, part: Part) -> Self {
        Self { file: file.into(), part }
    }

    /// Block `number` of `file`.
    #[must_use]
    pub fn block(file: &str, number: u64) -> Self {
        Self::new(file, Part::Block(number))
    }

    /// Another part of the same file. Does not allocate.
    #[must_use]
    pub fn at(&self, part: Part) -> Self {
        Self { file: Arc::clone(&self.file), part }
    }

    /// Name of the file, without its directory.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The part of the file.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.file, self.part)
    }
}

/// The first bytes of a key, for messages: printable ASCII as it is, the rest as `\xNN`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyExcerpt {
    bytes: Box<[u8]>,
    full_len: usize,
}

impl KeyExcerpt {
    /// Bytes of a key that are kept.
    pub const MAX_LEN: usize = 48;

    /// Takes the first [`Self::MAX_LEN`] bytes of `key`.
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self { bytes: key[..key.len().min(Self::MAX_LEN)].into(), full_len: key.len() }
    }
}

impl fmt::Display for KeyExcerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes.escape_ascii())?;
        if self.full_len > self.bytes.len() {
            write!(f, "... ({} bytes)", self.full_len)?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyExcerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a backup could not be written or must not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused. Nothing was published; free space, fix permissions, run again.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier write to this file failed, so it has a hole. Discard it.
    #[error("an earlier write to {} failed", path.display())]
    WriterFailed {
        /// The file.
        path: PathBuf,
    },
    /// There is no `MANIFEST.json`: not a backup, or one whose export never finished. Use another
    /// directory; the files here are not a whole backup.
    #[error("{} holds no backup: it has no MANIFEST.json", dir.display())]
    NoManifest {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory already holds a backup. Export into a new directory.
    #[error("{} already holds a backup; export into an empty directory", dir.display())]
    AlreadyABackup {
        /// The directory.
        dir: PathBuf,
    },
    /// Another export into this directory is running, or one was interrupted. Wait, or remove the
    /// directory: what it holds is no backup.
    #[error(
        "{} holds an unfinished backup; unless an export into it is running, remove it",
        dir.display()
    )]
    Unfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds a file that does not belong to the backup. Move it elsewhere.
    #[error("{} holds `{file}`, which does not belong to a backup there", dir.display())]
    ForeignFile {
        /// The directory.
        dir: PathBuf,
        /// Name of the first such file.
        file: String,
    },
    /// A file that the manifest lists is not there. The backup cannot be used.
    #[error("{} lacks `{file}`, which its manifest lists", dir.display())]
    MissingFile {
        /// The directory.
        dir: PathBuf,
        /// Name of the file.
        file: String,
    },
    /// The bytes do not begin (or end) as they must: another kind of file, or damage.
    #[error("{place}: not a Whimbrel backup file (magic {got:02x?}, expected {expected:02x?})")]
    BadMagic {
        /// Where.
        place: Place,
        /// The bytes a sound file has there.
        expected: Vec<u8>,
        /// The bytes found.
        got: Vec<u8>,
    },
    /// Written by a later version of the format. Use a newer release.
    #[error("{place}: format version {found} is not supported (this release reads {supported})")]
    UnsupportedVersion {
        /// Where.
        place: Place,
        /// The version found.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// The bytes are not the ones that were written.
    #[error("{place}: checksum mismatch (expected {expected:08x}, got {got:08x})")]
    ChecksumMismatch {
        /// Where.
        place: Place,
        /// The checksum that was stored.
        expected: u32,
        /// The checksum of the bytes found.
        got: u32,
    },
    /// Bytes are missing at the end, or there are more than there may be.
    #[error("{place}: {got} bytes where {expected} are needed")]
    WrongLength {
        /// Where.
        place: Place,
        /// Bytes needed.
        expected: u64,
        /// Bytes there.
        got: u64,
    },
    /// A length or count exceeds what the format allows; no memory was taken for it.
    #[error("{place}: {what} is {got}, the limit is {limit}")]
    LimitExceeded {
        /// Where.
        place: Place,
        /// The length or count.
        what: &'static str,
        /// The largest value allowed.
        limit: u64,
        /// The value found.
        got: u64,
    },
    /// The checksum is right and the content is not: a writer's defect, or a forged file.
    #[error("{place}: malformed: {what}")]
    Malformed {
        /// Where.
        place: Place,
        /// Which rule of the format is broken.
        what: &'static str,
    },
    /// The content is of another kind than the place calls for, such as changes in a shard.
    #[error("{place}: kind {got} where kind {expected} belongs")]
    WrongKind {
        /// Where.
        place: Place,
        /// The kind that belongs there, by its number in the format.
        expected: u16,
        /// The kind found.
        got: u16,
    },
    /// Keys are not strictly ascending: reordered, doubled or overlapping content.
    #[error("{place}: key {got} does not come after {previous}")]
    OutOfOrder {
        /// Where.
        place: Place,
        /// The key before.
        previous: KeyExcerpt,
        /// The key that should be greater.
        got: KeyExcerpt,
    },
    /// Two statements about the same thing differ, such as a shard's and the manifest's count.
    #[error("{place}: {what} is {got}, expected {expected}")]
    Mismatch {
        /// Where.
        place: Place,
        /// The thing.
        what: &'static str,
        /// What was stated elsewhere.
        expected: String,
        /// What was found.
        got: String,
    },
    /// `MANIFEST.json` has the right checksum and is not a manifest.
    #[error("{place}: {source}")]
    ManifestSyntax {
        /// Where.
        place: Place,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A key is longer than the format allows.
    #[error("a key of {len} bytes is too long (limit {limit})")]
    KeyTooLong {
        /// Its length.
        len: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// A value is longer than the format allows.
    #[error("the value of {key} has {len} bytes, too long (limit {limit})")]
    ValueTooLong {
        /// Whose value it is.
        key: KeyExcerpt,
        /// Its length.
        len: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// An entry was added to a block that has no room for it. Finish the block first.
    #[error("the block has no room for the entry of {key}; finish it first")]
    BlockFull {
        /// The key that was to be added.
        key: KeyExcerpt,
    },
    /// A remove was added to a block of entries.
    #[error("the remove of {key} cannot be written among entries")]
    RemoveAmongEntries {
        /// The removed key.
        key: KeyExcerpt,
    },
    /// A block or file that holds nothing was to be finished.
    #[error("a block must hold at least one entry")]
    EmptyBlock,
    /// A store's name is used twice, empty or too long.
    #[error("`{name}` cannot name a store of a backup: {why}")]
    StoreName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The snapshots have different numbers: together they would show no one moment. Take them with
    /// `snapshot_at` under one hold.
    #[error("snapshots {first} and {other} do not show one moment")]
    MixedSnapshots {
        /// Number of the first snapshot.
        first: u64,
        /// A number that differs.
        other: u64,
    },
    /// What was given cannot name a place for a backup.
    #[error("`{location}` names no place for a backup: {why}")]
    BadLocation {
        /// What was given.
        location: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The place is in an object store, and this build knows directories only. Build with the feature `s3`.
    #[error(
        "{location} is in an object store, and this build knows directories only: build it with \
         `--features s3`, or use a directory"
    )]
    NoObjectStores {
        /// The place.
        location: String,
    },
    /// A backup of a chain does not fit to the one that it continues: that one is missing, or is not the
    /// one that was continued. Neither it nor what continues it can be used; those before it can.
    #[error("{} continues backup {base}, {what}", backup.display())]
    BrokenChain {
        /// Directory of the backup that continues.
        backup: PathBuf,
        /// Identity of the backup that it continues.
        base: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Something is wrong with one backup of a repository or a chain.
    #[error("{}: {source}", backup.display())]
    InBackup {
        /// Its directory.
        backup: PathBuf,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A repository holds no backup of that name. `whimbrel inspect` lists what there is.
    #[error("{} holds no backup `{wanted}`", root.display())]
    NoSuchBackup {
        /// The repository.
        root: PathBuf,
        /// What was asked for.
        wanted: String,
    },
    /// Several backups have names that begin like this. Give more of it.
    #[error("{} holds several backups that `{wanted}` may mean", root.display())]
    AmbiguousBackup {
        /// The repository.
        root: PathBuf,
        /// What was asked for.
        wanted: String,
    },
    /// Another backup or prune works on this repository. Wait until it is done. In an object store the lock is
    /// an object, which outlives a holder that was killed: then remove it.
    #[error(
        "{} is being written to by another backup or prune{}",
        root.display(),
        holder.as_ref().map_or_else(String::new, |holder| format!(
            " ({holder}); if that process was killed, remove {}", root.join(LOCK).display(),
        )),
    )]
    RepositoryBusy {
        /// The repository.
        root: PathBuf,
        /// Who says that it is at work, where that is known.
        holder: Option<String>,
    },
    /// Worker threads could not be started.
    #[error("cannot start {threads} worker threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the pool said.
        reason: String,
    },
    /// A store's snapshot could not be given up for an observer, or the observer was lost. Nothing was
    /// published; run again with a new snapshot.
    #[error("non-intrusive export: {0}")]
    Observation(#[from] whimbrel_mvcc::Error),
    /// The caller cancelled. Nothing was published.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// True when the bytes of a backup are damaged, foreign or forged: another copy is needed.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        if let Self::InBackup { source, .. } = self {
            return source.is_corruption();
        }
        matches!(
            self,
            Self::BadMagic { .. }
                | Self::ChecksumMismatch { .. }
                | Self::WrongLength { .. }
                | Self::LimitExceeded { .. }
                | Self::Malformed { .. }
                | Self::WrongKind { .. }
                | Self::OutOfOrder { .. }
                | Self::Mismatch { .. }
                | Self::ManifestSyntax { .. }
                | Self::MissingFile { .. }
                | Self::ForeignFile { .. }
                | Self::BrokenChain { .. }
        )
    }

    /// True when the same call may succeed later without any change to its input.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::InBackup { source, .. } => source.is_retryable(),
            Self::Io { .. } | Self::Cancelled | Self::Threads { .. } => true,
            Self::RepositoryBusy { .. } | Self::Observation(_) => true,
            _ => false,
        }
    }

    /// The place of the damage, where there is one.
    #[must_use]
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::InBackup { source, .. } => source.place(),
            Self::BadMagic { place, .. }
            | Self::UnsupportedVersion { place, .. }
            | Self::ChecksumMismatch { place, .. }
            | Self::WrongLength { place, .. }
            | Self::LimitExceeded { place, .. }
            | Self::Malformed { place, .. }
            | Self::WrongKind { place, .. }
            | Self::OutOfOrder { place, .. }
            | Self::Mismatch { place, .. }
            | Self::ManifestSyntax { place, .. } => Some(place),
            _ => None,
        }
    }

    /// The same, in the backup at `dir`.
    pub(crate) fn within(self, dir: &std::path::Path) -> Self {
        match self {
            named @ (Self::InBackup { .. } | Self::BrokenChain { .. } | Self::Cancelled) => named,
            source => Self::InBackup { backup: dir.to_owned(), source: Box::new(source) },
        }
    }
}
