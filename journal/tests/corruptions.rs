//! Goal: damage of many bytes to a larger journal is refused, naming file and place, or it is a torn end that
//! nothing proves to have been durable; opening never panics, and takes no more memory than docs/format.md
//! states.
//!
//! Method: a journal of several segments with some hundred groups; files are overwritten, cut, shifted and
//! mixed at random, at first as an accident leaves them, then as a forger does, who makes every checksum
//! right. What must come of an accident follows from where the groups lay and from nothing that the crate
//! computes. The program's allocator counts.
//!
//! `ci/damage.sh N` does N damages of each sort (`WHIMBREL_DAMAGES`); without it there are few.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

#[path = "../../recovery/tests/counting/mod.rs"]
mod counting;
#[expect(dead_code, reason = "the layout of backups is in it too")]
#[path = "../../recovery/tests/corruptions/damage.rs"]
mod damage;

use std::fs;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use damage::{Random, damage};
use whimbrel_backup::storage::Directory;
use whimbrel_journal::{Error, Identity, Journal, JournalOptions, OpenReport, SyncPolicy};

const HEADER: usize = 64;
const GROUP_HEADER: usize = 40;
const RECORDS: usize = 800;

/// Bytes of memory that opening takes at most: the bound of docs/format.md.
fn bound(longest_payload: usize) -> usize {
    2 * longest_payload + (1 << 20)
}

/// A group of a sound segment, as its header says.
struct Group {
    bytes: Range<usize>,
    first: u64,
    proven: u64,
}

struct Segment {
    name: String,
    good: Vec<u8>,
    groups: Vec<Group>,
}

struct Sample {
    dir: tempfile::TempDir,
    records: Vec<Vec<u8>>,
    segments: Vec<Segment>,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where the payload of the group at `at` ends by its header.
fn end_of(bytes: &[u8], at: usize) -> usize {
    at + GROUP_HEADER + usize::try_from(u32_at(bytes, at + 4)).unwrap()
}

impl Segment {
    fn new(name: String, good: Vec<u8>) -> Self {
        let (mut groups, mut at) = (Vec::new(), HEADER);
        while at < good.len() {
            let (bytes, first) = (at..end_of(&good, at), u64_at(&good, at + 12));
            let proven = u64_at(&good, at + 20);
            at = bytes.end;
            groups.push(Group { bytes, first, proven });
        }
        assert_eq!(at, good.len(), "groups fill a segment");
        Self { name, good, groups }
    }

    /// The group whose header these bytes are.
    fn group_of(&self, header: &[u8]) -> Option<&Group> {
        let header_at = |at: usize| &self.good[at..at + GROUP_HEADER];
        self.groups.iter().find(|group| header_at(group.bytes.start) == header)
    }
}

impl Sample {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let mut random = Random(1);
        let records: Vec<Vec<u8>> = (0..RECORDS)
            .map(|_| {
                let len = 1 << random.below(12);
                (0..random.below(len)).map(|_| random.byte()).collect()
            })
            .collect();
        let storage = Arc::new(Directory::at(dir.path()));
        let options = JournalOptions::new(SyncPolicy::Always)
            .with_segment_bytes(30_000)
            .with_identity(Identity::from_bytes(*b"sixteen birds fl"));
        let (journal, _) = Journal::open_in(storage, &options, None, |_, _| Ok(())).unwrap();
        for record in &records {
            let sequence = journal.append(record).unwrap();
            if random.below(3) == 0 {
                journal.wait(sequence).unwrap();
            }
        }
        journal.sync().unwrap();
        drop(journal);
        let read = |name: String| {
            let good = fs::read(dir.path().join(&name)).unwrap();
            Segment::new(name, good)
        };
        let segments: Vec<Segment> = names(dir.path()).into_iter().map(read).collect();
        assert!(segments.len() > 3, "{} segments", segments.len());
        assert!(segments.iter().all(|segment| segment.groups.len() > 5), "few groups");
        Self { dir, records, segments }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn put(&self, segment: &Segment, bytes: &[u8]) {
        fs::write(self.path().join(&segment.name), bytes).unwrap();
    }

    /// Opens the journal; a panic and too much memory end the test with a message that names the damage.
    /// What is replayed goes to `each`. What opening made is taken away again.
    fn open(
        &self,
        longest_payload: usize,
        what: &str,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<OpenReport, Error> {
        let options = JournalOptions::new(SyncPolicy::Always);
        let storage = Arc::new(Directory::at(self.path()));
        let run = || {
            let opened = Journal::open_in(storage, &options, None, |sequence, record| {
                each(sequence, record);
                Ok(())
            });
            opened.map(|(_, report)| report)
        };
        let (most, opened) = counting::most_during(|| catch_unwind(AssertUnwindSafe(run)));
        let Ok(opened) = opened else { panic!("it panicked: {what}") };
        let bound = bound(longest_payload);
        assert!(most <= bound, "{most} bytes of at most {bound}: {what}");
        let known = |name: &String| self.segments.iter().any(|segment| segment.name == *name);
        let made: Vec<String> =
            names(self.path()).into_iter().filter(|name| !known(name)).collect();
        assert_eq!(made.len(), usize::from(opened.is_ok()), "{made:?}: {what}");
        made.iter().for_each(|name| fs::remove_file(self.path().join(name)).unwrap());
        opened
    }

    fn longest_payload(&self) -> usize {
        let groups = self.segments.iter().flat_map(|segment| &segment.groups);
        groups.map(|group| group.bytes.len() - GROUP_HEADER).max().unwrap()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(dir).unwrap().flatten().map(name).collect();
    names.sort_unstable();
    names
}

/// What must come of a damage.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// Refused at this byte of the damaged file.
    Refused(usize),
    /// The records up to this one.
    Records(u64),
}

/// What docs/format.md says of the journal when this segment of it has become `bad`.
fn judge(sample: &Sample, number: usize, bad: &[u8]) -> Wanted {
    let segment = &sample.segments[number];
    let good = &segment.good;
    if bad.get(..HEADER) != Some(&good[..HEADER]) {
        return Wanted::Refused(0);
    }
    let is_last = number + 1 == sample.segments.len();
    if !is_last && bad.len() < good.len() {
        return Wanted::Refused(HEADER);
    }
    let differs = |group: &&Group| bad.get(group.bytes.clone()) != Some(&good[group.bytes.clone()]);
    let all = sample.records.len() as u64;
    let (at, missing) = match segment.groups.iter().find(differs) {
        Some(group) => (group.bytes.start, group.first),
        None => (good.len(), all + 1),
    };
    if !is_last {
        let whole = at == good.len();
        return if whole { Wanted::Records(all) } else { Wanted::Refused(at) };
    }
    let stands = bad.get(at..at + GROUP_HEADER).and_then(|header| segment.group_of(header));
    let contradicts = stands.is_some_and(|group| group.first != missing);
    let marked = bad[at..].windows(GROUP_HEADER).filter(|header| header.starts_with(b"WJGR"));
    let mut later = marked.filter_map(|header| segment.group_of(header));
    if contradicts || later.any(|group| group.proven > missing) {
        return Wanted::Refused(at);
    }
    Wanted::Records(missing - 1)
}

fn damages() -> u64 {
    let told = std::env::var("WHIMBREL_DAMAGES").ok().and_then(|text| text.parse().ok());
    told.unwrap_or(1000)
}

#[test]
fn random_damage_is_refused_naming_file_and_place_or_is_a_torn_end() {
    let _alone = counting::turn();
    let sample = Sample::new();
    let longest = sample.longest_payload();
    let check = |what: &str| {
        let mut last = 0;
        let opened = sample.open(longest, what, |sequence, record| {
            assert_eq!(sequence, last + 1, "a gap: {what}");
            last = sequence;
            let written = &sample.records[usize::try_from(sequence - 1).unwrap()];
            assert_eq!(record, written, "record {sequence}: {what}");
        });
        opened.map(|_| last)
    };
    assert_eq!(check("nothing is damaged").unwrap(), RECORDS as u64);
    let (mut refused, mut torn) = (0_u64, 0_u64);
    for seed in 0.. {
        if refused + torn == damages() {
            break;
        }
        let mut random = Random(seed);
        // Half of them in the last one, where two ends are possible.
        let last = sample.segments.len() - 1;
        let number = if random.below(2) == 0 { last } else { random.below(last) };
        let other = &sample.segments[random.below(last + 1)].good;
        let segment = &sample.segments[number];
        let mut bad = segment.good.clone();
        let kind = damage(&mut bad, other, &mut random);
        if bad == segment.good {
            continue;
        }
        let what = format!("seed {seed}, {}: {kind}", segment.name);
        sample.put(segment, &bad);
        match (judge(&sample, number, &bad), check(&what)) {
            (Wanted::Records(wanted), Ok(found)) => {
                assert_eq!(found, wanted, "{what}");
                torn += 1;
            }
            (Wanted::Refused(at), Err(Error::Damaged { path, offset, .. })) => {
                assert_eq!((path.file_name(), offset), (Some(segment.name.as_ref()), at as u64));
                refused += 1;
            }
            (wanted, found) => panic!("{what}: {wanted:?} was to come, {found:?} has"),
        }
        sample.put(segment, &segment.good);
    }
    assert_eq!(check("whole again").unwrap(), RECORDS as u64);
    println!("{refused} refused, {torn} torn ends");
    assert!(refused > torn && torn > damages() / 50, "{refused} refused, {torn} torn ends");
}

/// With right checksums only numbers, places and limits are left.
#[test]
fn random_damage_with_right_checksums_makes_nothing_panic_or_take_memory() {
    let _alone = counting::turn();
    let sample = Sample::new();
    let longest_file = sample.segments.iter().map(|segment| segment.good.len()).max().unwrap();
    let (mut refused, mut accepted) = (0_u64, 0_u64);
    for seed in 0..damages() {
        let mut random = Random(seed);
        let mut bad: Vec<Vec<u8>> =
            sample.segments.iter().map(|segment| segment.good.clone()).collect();
        let number = random.below(bad.len());
        let what = format!("seed {seed}: {}", change(&mut bad[number], &mut random));
        forge(&mut bad);
        for (segment, bytes) in sample.segments.iter().zip(&bad) {
            sample.put(segment, bytes);
        }
        let mut last = 0;
        let opened = sample.open(longest_file, &what, |sequence, _| {
            assert_eq!(sequence, last + 1, "a gap: {what}");
            last = sequence;
        });
        match opened {
            Ok(_) => accepted += 1,
            Err(Error::UnsupportedVersion { .. }) => refused += 1,
            Err(error) => {
                assert!(error.is_corruption(), "{what}: {error}");
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {accepted} accepted");
    assert!(refused > accepted, "{refused} refused, {accepted} accepted");
}

/// Changes a few bytes of a segment's header, of a group's header, or of a payload, where the lengths of its
/// records are.
fn change(bytes: &mut [u8], random: &mut Random) -> &'static str {
    let mut begins = vec![HEADER];
    while let Some(&at) = begins.last().filter(|at| end_of(bytes, **at) < bytes.len()) {
        begins.push(end_of(bytes, at));
    }
    let group = begins[random.below(begins.len())];
    let (range, what) = match random.below(6) {
        0 => (8..60, "header of a segment"),
        1 | 2 => (group + 4..group + 28, "header of a group"),
        3 => (group + 4..group + 12, "length and count of a group"),
        _ => (group + GROUP_HEADER..end_of(bytes, group), "records of a group"),
    };
    for _ in 0..1 + random.below(3) {
        bytes[range.start + random.below(range.len())] = random.byte();
    }
    what
}

/// Makes all checksums right, and the links from one to the next, as far as lengths lead.
fn forge(segments: &mut [Vec<u8>]) {
    let put = |bytes: &mut [u8], at: usize, crc: u32| {
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    };
    let mut before = 0;
    for bytes in segments {
        put(bytes, 56, before);
        let seed = crc32c::crc32c(&bytes[..60]);
        put(bytes, 60, seed);
        let mut at = HEADER;
        before = seed;
        while at + GROUP_HEADER <= bytes.len() && end_of(bytes, at) <= bytes.len() {
            let end = end_of(bytes, at);
            put(bytes, at + 28, before);
            let payload = crc32c::crc32c_append(seed, &bytes[at + GROUP_HEADER..end]);
            put(bytes, at + 32, payload);
            before = crc32c::crc32c_append(seed, &bytes[at..at + 36]);
            put(bytes, at + 36, before);
            at = end;
        }
    }
}
