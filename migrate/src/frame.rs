//! Frames: the unit of the wire between two nodes.
//!
//! ```text
//! offset  bytes  field
//!      0      2  mark "WB"
//!      2      1  protocol version, 1
//!      3      1  kind
//!      4      2  slot
//!      6      2  flags (bit 0: more parts of the same block or delta follow)
//!      8      4  length of the content, at most 1 MiB
//!     12      8  migration id
//!     20      8  epoch
//!     28      8  sequence
//!     36      4  CRC32C over bytes 0..36 and the content
//!     40      .  content
//! ```
//! Numbers are little-endian. A receiver drops every frame whose (id, slot, epoch) are not those of
//! its current attempt, so a late frame of a cancelled migration never reaches the next one.

use crate::{FrameError, MigrationId, Slot};

/// Bytes before the content.
pub const HEADER_LEN: usize = 40;
/// Longest content of one frame; longer blocks travel in parts.
pub const MAX_CONTENT: u32 = 1 << 20;
/// Longest block or delta that is put together from parts.
pub const MAX_PARTS: usize = (512 << 20) + (1 << 20);

const MAGIC: [u8; 2] = *b"WB";
const VERSION: u8 = 1;
const FLAG_MORE: u16 = 1;
const CRC_AT: usize = 36;

/// What a frame is for. Letters in front: S source to target, T target to source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Kind {
    /// S: opens a migration.
    Open = 1,
    /// T: takes part.
    Accept = 2,
    /// T: will not, or can no longer; the content says why.
    Refuse = 3,
    /// S: the ranges are ready to be pulled.
    Ranges = 4,
    /// T: asks for a range, with its first credit.
    Pull = 5,
    /// T: more credit for the range.
    Credit = 6,
    /// S: one block of the range.
    Block = 7,
    /// S: the range is complete; the content has its count and digest.
    RangeEnd = 8,
    /// T: is alive; the content has its progress.
    Progress = 9,
    /// T: has built all ranges.
    Built = 10,
    /// S: the change delta of one round; the sequence is the round.
    Round = 11,
    /// T: has applied the round.
    RoundAck = 12,
    /// S: the last round, sent while writes are frozen, then the digest.
    Final = 13,
    /// T: its copy has the digest of the source.
    Verified = 14,
    /// T: its copy has not; the content has its digest.
    Mismatch = 15,
    /// S: promises not to serve the slot in this epoch again.
    Grant = 16,
    /// T: owns the slot; the sequence is the new epoch.
    Taken = 17,
    /// S: the attempt is over without a hand-over.
    Abort = 18,
    /// S, restarted: offers the slot to a target that holds the verified copy.
    Offer = 19,
    /// T: holds no verified copy of that attempt and never will.
    NoCopy = 20,
    /// Anybody: are you there?
    Ping = 21,
    /// The answer, with the node's name.
    Pong = 22,
}

impl Kind {
    const ALL: [Self; 22] = [
        Self::Open,
        Self::Accept,
        Self::Refuse,
        Self::Ranges,
        Self::Pull,
        Self::Credit,
        Self::Block,
        Self::RangeEnd,
        Self::Progress,
        Self::Built,
        Self::Round,
        Self::RoundAck,
        Self::Final,
        Self::Verified,
        Self::Mismatch,
        Self::Grant,
        Self::Taken,
        Self::Abort,
        Self::Offer,
        Self::NoCopy,
        Self::Ping,
        Self::Pong,
    ];

    fn from_byte(found: u8) -> Result<Self, FrameError> {
        let at = usize::from(found).wrapping_sub(1);
        Self::ALL.get(at).copied().ok_or(FrameError::Kind { found })
    }
}

/// Which attempt a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The migration.
    pub id: MigrationId,
    /// Its slot.
    pub slot: Slot,
    /// The epoch of the slot's record when it began.
    pub epoch: u64,
}

/// One message between two nodes.
///
/// # Examples
///
/// ```
/// use whimbrel_migrate::{Attempt, Frame, Kind, MigrationId, Slot};
///
/// let attempt =
///     Attempt { id: MigrationId::from_u64(9), slot: Slot::new(3).expect("exists"), epoch: 4 };
/// let frame = Frame::new(attempt, Kind::RoundAck, 2, Vec::new());
/// let mut bytes = Vec::new();
/// frame.encode(&mut bytes);
/// assert_eq!(Frame::decode(&bytes), Ok((frame, bytes.len())));
/// bytes[28] ^= 1;
/// assert!(Frame::decode(&bytes).is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The attempt it belongs to.
    pub attempt: Attempt,
    /// What it is for.
    pub kind: Kind,
    /// Whether more parts of the same block or delta follow.
    pub more: bool,
    /// Round, range or epoch, by kind.
    pub sequence: u64,
    /// The content, at most [`MAX_CONTENT`] bytes.
    pub content: Vec<u8>,
}

/// A checked header: what is needed to read the content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    attempt: Attempt,
    kind: Kind,
    more: bool,
    sequence: u64,
    len: u32,
    checksum: u32,
    head_crc: u32,
}

impl Frame {
    /// A frame without further parts.
    #[must_use]
    pub fn new(attempt: Attempt, kind: Kind, sequence: u64, content: Vec<u8>) -> Self {
        Self { attempt, kind, more: false, sequence, content }
    }

    /// Appends the frame's bytes.
    ///
    /// # Panics
    ///
    /// Panics if the content is longer than [`MAX_CONTENT`]; [`Frame::parts`] cuts longer ones.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.content.len()).expect("content is cut into parts");
        assert!(len <= MAX_CONTENT, "content is cut into parts");
        let start = out.len();
        out.reserve(HEADER_LEN + self.content.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, self.kind as u8]);
        out.extend_from_slice(&self.attempt.slot.number().to_le_bytes());
        out.extend_from_slice(&(if self.more { FLAG_MORE } else { 0 }).to_le_bytes());
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.attempt.id.as_u64().to_le_bytes());
        out.extend_from_slice(&self.attempt.epoch.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[start..]), &self.content);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&self.content);
    }

    /// Frames that carry `bytes`, in as many parts as they need (one where they are empty).
    pub fn parts(
        attempt: Attempt,
        kind: Kind,
        sequence: u64,
        bytes: &[u8],
    ) -> impl Iterator<Item = Self> + '_ {
        let last = bytes.len().div_ceil(MAX_CONTENT as usize).max(1) - 1;
        (0..=last).map(move |i| {
            let from = i * MAX_CONTENT as usize;
            let to = bytes.len().min(from + MAX_CONTENT as usize);
            Self { attempt, kind, more: i < last, sequence, content: bytes[from..to].to_vec() }
        })
    }

    /// Decodes the frame at the front of `bytes`, and says how long it is.
    ///
    /// # Errors
    ///
    /// What is wrong with it; [`FrameError::Content`] where the bytes end before the frame does.
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), FrameError> {
        let head = bytes.first_chunk::<HEADER_LEN>().ok_or(FrameError::Content)?;
        let header = Header::decode(head)?;
        let end = HEADER_LEN + header.len();
        let content = bytes.get(HEADER_LEN..end).ok_or(FrameError::Content)?;
        Ok((header.with_content(content.to_vec())?, end))
    }
}

impl Header {
    /// Checks everything that can be checked before the content is read.
    ///
    /// # Errors
    ///
    /// What is wrong: mark, version, kind, slot or length.
    pub fn decode(head: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let found = [head[0], head[1]];
        if found != MAGIC {
            return Err(FrameError::Magic { found });
        }
        if head[2] != VERSION {
            return Err(FrameError::Version { found: head[2], supported: VERSION });
        }
        let kind = Kind::from_byte(head[3])?;
        let number = u16_at(head, 4);
        let slot = Slot::new(number).ok_or(FrameError::SlotNumber { found: number })?;
        let len = u32_at(head, 8);
        if len > MAX_CONTENT {
            return Err(FrameError::TooLong { len, max: MAX_CONTENT });
        }
        Ok(Self {
            attempt: Attempt {
                id: MigrationId::from_u64(u64_at(head, 12)),
                slot,
                epoch: u64_at(head, 20),
            },
            kind,
            more: u16_at(head, 6) & FLAG_MORE != 0,
            sequence: u64_at(head, 28),
            len,
            checksum: u32_at(head, CRC_AT),
            head_crc: crc32c::crc32c(&head[..CRC_AT]),
        })
    }

    /// Length of the content, at most [`MAX_CONTENT`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a header is not a container")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// The frame, once its content was read.
    ///
    /// # Errors
    ///
    /// [`FrameError::Checksum`] if header or content were damaged, [`FrameError::Content`] if
    /// `content` has not the announced length.
    pub fn with_content(self, content: Vec<u8>) -> Result<Frame, FrameError> {
        if content.len() != self.len() {
            return Err(FrameError::Content);
        }
        let got = crc32c::crc32c_append(self.head_crc, &content);
        if got != self.checksum {
            return Err(FrameError::Checksum { expected: self.checksum, got });
        }
        let Self { attempt, kind, more, sequence, .. } = self;
        Ok(Frame { attempt, kind, more, sequence, content })
    }
}

fn u16_at(head: &[u8; HEADER_LEN], at: usize) -> u16 {
    u16::from_le_bytes([head[at], head[at + 1]])
}

fn u32_at(head: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| head[at + i]))
}

fn u64_at(head: &[u8; HEADER_LEN], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| head[at + i]))
}
