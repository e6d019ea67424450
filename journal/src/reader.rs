//! Reads one segment from front to back, and judges where it ends.

use std::io::{self, BufReader, Read};
use std::path::PathBuf;

use crate::error::{Damage, Error};
use crate::format::{
    BadHeader, GROUP_HEADER, GROUP_MARK, GroupHeader, MAX_GROUP_LEN, MAX_SEQUENCE, Records,
    SEGMENT_HEADER, SegmentHeader, VERSION, payload_crc,
};
use crate::storage::SegmentStorage;

/// Bytes that the search for a later group looks at together.
const SEARCHED: usize = 1 << 16;

/// What stands at the place where a group may begin.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole group; its records can be read.
    Group,
    /// The end.
    End,
    /// No whole group: torn by a crash, or damaged.
    Bad(Damage),
}

/// A segment that is being read.
pub(crate) struct SegmentReader<'a> {
    storage: &'a dyn SegmentStorage,
    name: String,
    bytes: BufReader<Box<dyn Read + Send>>,
    len: u64,
    header: SegmentHeader,
    seed: u32,
    /// Where the next group begins.
    at: u64,
    chain: u32,
    next: u64,
    /// What the groups so far prove to be durable.
    proven: u64,
    first: u64,
    payload: Vec<u8>,
}

impl<'a> SegmentReader<'a> {
    /// Opens a segment and checks its header.
    pub(crate) fn open(
        storage: &'a dyn SegmentStorage,
        name: &str,
        number: u64,
    ) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "read", path: storage.path(name), source };
        let damaged = |damage| Error::Damaged { path: storage.path(name), offset: 0, damage };
        let contents = storage.read(name).map_err(failed)?;
        if contents.len < SEGMENT_HEADER as u64 {
            return Err(damaged(Damage::HeaderCut));
        }
        let mut bytes = BufReader::with_capacity(1 << 18, contents.bytes);
        let mut head = [0; SEGMENT_HEADER];
        bytes.read_exact(&mut head).map_err(failed)?;
        let (header, seed) = SegmentHeader::decode(&head).map_err(|bad| match bad {
            BadHeader::Magic => damaged(Damage::Magic),
            BadHeader::Checksum => damaged(Damage::Header),
            BadHeader::Reserved => damaged(Damage::Reserved),
            BadHeader::Version(found) => {
                Error::UnsupportedVersion { path: storage.path(name), found, supported: VERSION }
            }
        })?;
        if header.number != number {
            return Err(damaged(Damage::Number { expected: number, got: header.number }));
        }
        if header.first == 0 {
            return Err(damaged(Damage::Malformed("sequences begin at 1")));
        }
        if header.first > MAX_SEQUENCE {
            let (limit, got) = (MAX_SEQUENCE, header.first);
            return Err(damaged(Damage::Limit { limit, got }));
        }
        Ok(Self {
            storage,
            name: name.to_owned(),
            bytes,
            len: contents.len,
            header,
            seed,
            at: SEGMENT_HEADER as u64,
            chain: seed,
            next: header.first,
            proven: header.first,
            first: header.first,
            payload: Vec::new(),
        })
    }

    pub(crate) fn header(&self) -> &SegmentHeader {
        &self.header
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.storage.path(&self.name)
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Behind the last whole group: where the next begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Checksum that the next group carries.
    pub(crate) fn chain(&self) -> u32 {
        self.chain
    }

    /// Sequence behind the last record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// All records below were durable when the last group was written.
    pub(crate) fn proven(&self) -> u64 {
        self.proven
    }

    /// Sequence of the first record of the last group.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The payload of the last group.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// An error about the place where the next group begins.
    pub(crate) fn damaged(&self, damage: Damage) -> Error {
        Error::Damaged { path: self.path(), offset: self.at, damage }
    }

    /// Reads the next group; groups lie before `end`.
    ///
    /// # Errors
    /// When the file cannot be read, and for damage that no crash can leave.
    pub(crate) fn step(&mut self, end: u64) -> Result<Step, Error> {
        let rest = end.saturating_sub(self.at);
        if rest == 0 {
            return Ok(Step::End);
        }
        if rest < GROUP_HEADER as u64 {
            return Ok(Step::Bad(Damage::Group));
        }
        let mut head = [0; GROUP_HEADER];
        self.fill(&mut head)?;
        let Some((group, crc)) = GroupHeader::decode(&head, self.seed) else {
            return Ok(Step::Bad(Damage::Group));
        };
        self.judge(&group)?;
        if u64::from(group.len) > rest - GROUP_HEADER as u64 {
            return Ok(Step::Bad(Damage::Group));
        }
        // At most what the file holds, and at most 1 GiB: `judge` has looked.
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(usize::try_from(group.len).unwrap_or(usize::MAX), 0);
        self.fill(&mut payload)?;
        self.payload = payload;
        let got = payload_crc(self.seed, &self.payload);
        if got != group.payload {
            return Ok(Step::Bad(Damage::Payload { expected: group.payload, got }));
        }
        self.check_records(group.count)?;
        self.at += GROUP_HEADER as u64 + u64::from(group.len);
        (self.chain, self.first, self.next) = (crc, group.first, group.next());
        self.proven = group.proven;
        Ok(Step::Group)
    }

    /// What the header of a group says must follow from what came before. No crash leaves a group whose
    /// header is whole and wrong.
    fn judge(&self, group: &GroupHeader) -> Result<(), Error> {
        if group.chain != self.chain || group.first != self.next {
            let (expected, got) = (self.next, group.first);
            return Err(self.damaged(Damage::Chain { expected, got }));
        }
        if group.count == 0 || group.next() > MAX_SEQUENCE {
            return Err(self.damaged(Damage::Malformed("the number of records")));
        }
        if group.proven > group.first || group.proven < self.proven {
            return Err(self.damaged(Damage::Malformed("what is durable")));
        }
        if u64::from(group.len) > MAX_GROUP_LEN {
            let (limit, got) = (MAX_GROUP_LEN, u64::from(group.len));
            return Err(self.damaged(Damage::Limit { limit, got }));
        }
        Ok(())
    }

    fn check_records(&self, count: u32) -> Result<(), Error> {
        let mut records = Records::new(&self.payload);
        let whole = (0..count).all(|_| records.next_record().is_some()) && records.is_empty();
        if whole { Ok(()) } else { Err(self.damaged(Damage::Malformed("the records of a group"))) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), Error> {
        let read = self.bytes.read_exact(buffer);
        read.map_err(|source| Error::Io { action: "read", path: self.path(), source })
    }

    /// Whether a group behind the bad one says that what is missing was durable. Then the bad one was
    /// damaged later; otherwise a crash has torn what nobody was told to be durable.
    pub(crate) fn is_proven_later(&self) -> Result<bool, Error> {
        let failed = |source| Error::Io { action: "read", path: self.path(), source };
        let contents = self.storage.read(&self.name).map_err(failed)?;
        let mut bytes = contents.bytes;
        io::copy(&mut bytes.by_ref().take(self.at), &mut io::sink()).map_err(failed)?;
        let mut window = Vec::new();
        loop {
            let read = bytes.by_ref().take(SEARCHED as u64).read_to_end(&mut window);
            if read.map_err(failed)? == 0 {
                return Ok(false);
            }
            if self.finds_proof(&window) {
                return Ok(true);
            }
            // A header may begin in one window and end in the next.
            let kept = window.len().saturating_sub(GROUP_HEADER - 1);
            window.drain(..kept);
        }
    }

    fn finds_proof(&self, window: &[u8]) -> bool {
        let places = window.windows(GROUP_HEADER).filter_map(<[u8]>::first_chunk::<GROUP_HEADER>);
        let mut marked = places.filter(|bytes| bytes[..GROUP_MARK.len()] == GROUP_MARK);
        marked.any(|bytes| {
            GroupHeader::decode(bytes, self.seed).is_some_and(|(group, _)| group.proven > self.next)
        })
    }
}
