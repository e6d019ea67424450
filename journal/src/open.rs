//! From a directory of segments to a journal that goes on: find, check, replay, cut.
//!
//! 1. Remove what was being made when a process died (`.tmp`).
//! 2. Take the newest segments whose numbers follow one another; older ones behind a gap must be covered
//!    by the checkpoint, and are what a removal left.
//! 3. Read the headers, and pass over segments that the checkpoint covers.
//! 4. Read every group: in all segments but the last up to the end that the next header states, in the
//!    last up to the end of what is whole. Hand each record behind the checkpoint to the caller.
//! 5. Make the next segment. Its header says where the last one ends; groups of that one which no later
//!    group proves to be durable are written again, because the system may not have them on the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

use crate::Mark;
use crate::commit::Group;
use crate::error::{Damage, Error, Found};
use crate::format::{Identity, Records, SEGMENT_HEADER, SegmentHeader};
use crate::reader::{SegmentReader, Step};
use crate::segment::{Closed, SegmentWriter, SharedRef, UNFINISHED, segment_name, segment_number};
use crate::storage::SegmentStorage;

/// What opening a journal found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenReport {
    /// Records handed to the caller.
    pub replayed: u64,
    /// Bytes of the segments that were read.
    pub read_bytes: u64,
    /// Bytes at the end of the last segment that a crash has torn; nobody was told that they are durable.
    pub cut_bytes: u64,
    /// Segments there are, the new one included.
    pub segments: usize,
}

/// Hands a record to whoever replays.
pub(crate) type Replay<'a> =
    &'a mut dyn FnMut(u64, &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Where the last segment ends.
struct Tail {
    number: u64,
    /// The groups up to here stay where they are.
    kept_end: u64,
    kept_chain: u32,
    kept_next: u64,
    /// The groups from there up to here are written again.
    whole_end: u64,
    next: u64,
}

struct Opening<'a> {
    storage: &'a Arc<dyn SegmentStorage>,
    after: u64,
    report: OpenReport,
}

/// Opens the journal in `storage`, or makes one, and gives the segment that is to be written next.
pub(crate) fn open(
    storage: &Arc<dyn SegmentStorage>,
    shared: &SharedRef,
    (full, identity): (u64, Option<Identity>),
    after: Option<&Mark>,
    replay: Replay<'_>,
) -> Result<(SegmentWriter, Identity, OpenReport), Error> {
    let sequence = after.map_or(0, |mark| mark.sequence);
    let mut opening = Opening { storage, after: sequence, report: OpenReport::default() };
    let (run, older) = opening.find()?;
    let Some(headers) = opening.headers(&run, after)? else {
        return opening.make(shared, full, identity, after);
    };
    let tail = opening.read(&headers, replay)?;
    let last = headers.len() - 1;
    let identity = headers[last].identity;
    let header = SegmentHeader {
        identity,
        number: tail.number + 1,
        first: tail.kept_next,
        previous_end: tail.kept_end,
        previous_chain: tail.kept_chain,
    };
    let again = |writer: &mut SegmentWriter| opening.write_again(&tail, writer);
    let writer =
        SegmentWriter::begin(Arc::clone(storage), Arc::clone(shared), full, &header, again)?;
    debug_assert_eq!(writer.next(), tail.next, "every whole group was kept or written again");
    opening.report.segments = run.len() + 1;
    let mut known = shared.lock().unwrap_or_else(PoisonError::into_inner);
    known.closed = opening.closed(&run, &headers, &tail)?;
    drop(known);
    opening.clean(&older);
    Ok((writer, identity, opening.report))
}

impl Opening<'_> {
    fn io(&self, action: &'static str, name: &str, source: io::Error) -> Error {
        Error::Io { action, path: self.storage.path(name), source }
    }

    /// The newest segments without a gap, and those before the gap.
    fn find(&self) -> Result<(Vec<u64>, Vec<u64>), Error> {
        let files = self.storage.list().map_err(|source| self.io("list", "", source))?;
        let mut numbers = Vec::new();
        let mut removed = false;
        for name in files.into_iter().map(|file| file.name) {
            let unfinished = name.strip_suffix(UNFINISHED).and_then(segment_number);
            if let Some(number) = segment_number(&name) {
                numbers.push(number);
            } else if unfinished.is_some() {
                let gone = self.storage.remove(&name);
                gone.map_err(|source| self.io("remove", &name, source))?;
                removed = true;
            } else if name != crate::LOCK {
                return Err(Error::ForeignFile { dir: self.storage.path(""), file: name });
            }
        }
        if removed {
            // Its name is used again.
            self.storage.sync_names().map_err(|source| self.io("sync", "", source))?;
        }
        numbers.sort_unstable();
        let gap = numbers.windows(2).rposition(|pair| pair[0] + 1 != pair[1]);
        let run = numbers.split_off(gap.map_or(0, |at| at + 1));
        Ok((run, numbers))
    }

    /// The headers of a run, which must be of one journal, the checkpoint's.
    fn headers(
        &self,
        run: &[u64],
        after: Option<&Mark>,
    ) -> Result<Option<Vec<SegmentHeader>>, Error> {
        if run.is_empty() {
            return Ok(None);
        }
        let mut expected = after.map(|mark| mark.identity);
        let mut headers: Vec<SegmentHeader> = Vec::with_capacity(run.len());
        for number in run {
            let name = segment_name(*number);
            let reader = SegmentReader::open(&**self.storage, &name, *number)?;
            let header = *reader.header();
            let expected = *expected.get_or_insert(header.identity);
            if header.identity != expected {
                let (path, found) = (self.storage.path(&name), header.identity);
                return Err(Error::OtherJournal { path, expected, found });
            }
            if let Some(before) = headers.last()
                && header.first < before.first
            {
                let damage = Damage::Chain { expected: before.first, got: header.first };
                return Err(Error::Damaged { path: self.storage.path(&name), offset: 0, damage });
            }
            headers.push(header);
        }
        if headers[0].first > self.needed() {
            return Err(self.missing(Found::Later(headers[0].first)));
        }
        Ok(Some(headers))
    }

    /// Sequence of the first record that the checkpoint does not cover.
    fn needed(&self) -> u64 {
        // A checkpoint can say anything.
        self.after.saturating_add(1)
    }

    fn missing(&self, found: Found) -> Error {
        Error::Missing { dir: self.storage.path(""), needed: self.needed(), found }
    }

    /// A journal where there is none.
    fn make(
        mut self,
        shared: &SharedRef,
        full: u64,
        identity: Option<Identity>,
        after: Option<&Mark>,
    ) -> Result<(SegmentWriter, Identity, OpenReport), Error> {
        if after.is_some() {
            return Err(self.missing(Found::Nothing));
        }
        let identity = identity.unwrap_or_else(Identity::random);
        let header =
            SegmentHeader { identity, number: 1, first: 1, previous_end: 0, previous_chain: 0 };
        let (storage, shared) = (Arc::clone(self.storage), Arc::clone(shared));
        let writer = SegmentWriter::begin(storage, shared, full, &header, |_| Ok(()))?;
        self.report.segments = 1;
        Ok((writer, identity, self.report))
    }

    /// Reads all segments that the checkpoint does not cover, and hands out their records.
    fn read(&mut self, headers: &[SegmentHeader], replay: Replay<'_>) -> Result<Tail, Error> {
        // The last one is read in any case: it says where the journal ends.
        let covered = headers[1..].iter().take_while(|next| next.first <= self.needed()).count();
        let mut tail = None;
        for (at, header) in headers.iter().enumerate().skip(covered) {
            tail = Some(self.read_segment(header, headers.get(at + 1), replay)?);
        }
        let tail = tail.ok_or_else(|| self.missing(Found::Nothing))?;
        if tail.next <= self.after {
            return Err(self.missing(Found::End(tail.next)));
        }
        Ok(tail)
    }

    fn read_segment(
        &mut self,
        header: &SegmentHeader,
        next: Option<&SegmentHeader>,
        replay: Replay<'_>,
    ) -> Result<Tail, Error> {
        let name = segment_name(header.number);
        let mut reader = SegmentReader::open(&**self.storage, &name, header.number)?;
        let end = next.map_or(reader.len(), |next| next.previous_end);
        if reader.len() < end {
            return Err(reader.damaged(Damage::Cut { expected: end }));
        }
        let mut tail = Tail {
            number: header.number,
            kept_end: SEGMENT_HEADER as u64,
            kept_chain: reader.chain(),
            kept_next: header.first,
            whole_end: SEGMENT_HEADER as u64,
            next: header.first,
        };
        // Groups that are not proven yet: where each ends.
        let mut unproven: VecDeque<(u64, u32, u64)> = VecDeque::new();
        loop {
            match reader.step(end)? {
                Step::Group => self.hand_out(&reader, replay)?,
                Step::End => break,
                Step::Bad(damage) if next.is_some() || reader.is_proven_later()? => {
                    return Err(reader.damaged(damage));
                }
                Step::Bad(damage) => {
                    self.report.cut_bytes = reader.len() - reader.at();
                    tracing::warn!(
                        path = %reader.path().display(), from = reader.at(),
                        bytes = self.report.cut_bytes, %damage,
                        "cutting off what a crash has torn at the end of the journal"
                    );
                    break;
                }
            }
            unproven.push_back((reader.at(), reader.chain(), reader.next()));
            while let Some(&(at, chain, behind)) = unproven.front()
                && behind <= reader.proven()
            {
                (tail.kept_end, tail.kept_chain, tail.kept_next) = (at, chain, behind);
                unproven.pop_front();
            }
        }
        self.report.read_bytes += reader.at();
        (tail.whole_end, tail.next) = (reader.at(), reader.next());
        if let Some(next) = next {
            follows(&reader, next)?;
        }
        Ok(tail)
    }

    fn hand_out(&mut self, reader: &SegmentReader<'_>, replay: Replay<'_>) -> Result<(), Error> {
        let mut records = Records::new(reader.payload());
        let mut sequence = reader.first();
        while let Some(record) = records.next_record() {
            if sequence > self.after {
                replay(sequence, record).map_err(|source| Error::Replay {
                    path: reader.path(),
                    sequence,
                    source,
                })?;
                self.report.replayed += 1;
            }
            sequence += 1;
        }
        Ok(())
    }

    /// Writes the groups of the last segment that are not proven into the next one.
    fn write_again(&self, tail: &Tail, writer: &mut SegmentWriter) -> Result<(), Error> {
        if tail.kept_end == tail.whole_end {
            return Ok(());
        }
        let name = segment_name(tail.number);
        let mut reader = SegmentReader::open(&**self.storage, &name, tail.number)?;
        while reader.at() < tail.whole_end {
            match reader.step(tail.whole_end)? {
                Step::Group => {}
                Step::End => break,
                Step::Bad(damage) => return Err(reader.damaged(damage)),
            }
            if reader.at() > tail.kept_end {
                let count = u32::try_from(reader.next() - reader.first()).unwrap_or(u32::MAX);
                let mut group = Group::of_payload(reader.first(), count, reader.payload());
                writer.append(&mut group)?;
            }
        }
        Ok(())
    }

    /// What may be removed when a later checkpoint covers it.
    fn closed(
        &self,
        run: &[u64],
        headers: &[SegmentHeader],
        tail: &Tail,
    ) -> Result<VecDeque<Closed>, Error> {
        let nexts = headers[1..].iter().map(|next| next.first).chain([tail.kept_next]);
        let closed = run.iter().zip(nexts).map(|(number, next)| {
            let name = segment_name(*number);
            let contents = self.storage.read(&name);
            let bytes = contents.map_err(|source| self.io("read", &name, source))?.len;
            Ok(Closed { number: *number, next, bytes })
        });
        closed.collect()
    }

    /// Removes segments before a gap: the checkpoint covers them, or the journal would not have opened.
    fn clean(&self, older: &[u64]) {
        for number in older {
            let name = segment_name(*number);
            if let Err(error) = self.storage.remove(&name) {
                tracing::warn!(%error, name, "a segment that is not needed stays");
            }
        }
    }
}

/// Whether the next segment was made as this one's successor.
fn follows(reader: &SegmentReader<'_>, next: &SegmentHeader) -> Result<(), Error> {
    if next.previous_chain == reader.chain() && next.first == reader.next() {
        return Ok(());
    }
    Err(reader.damaged(Damage::Chain { expected: reader.next(), got: next.first }))
}
