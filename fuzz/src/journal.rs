//! Journals in memory, and what must hold of every reading of one.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use whimbrel_backup::shard::Source;
use whimbrel_backup::storage::{Listed, Storage, StorageFile};
use whimbrel_journal::changes::Record;
use whimbrel_journal::storage::{Contents, SegmentStorage};
use whimbrel_journal::{Error, Found, Identity, Journal, JournalOptions, Mark, SyncPolicy};

const MAGIC: &[u8] = b"WHIMJRNL";
const GROUP_MARK: &[u8] = b"WJGR";
const HEADER: usize = 64;
const GROUP_HEADER: usize = 40;
/// Segments of an input at most.
const MOST_SEGMENTS: usize = 64;

/// Where the segments of an input lie: one begins wherever their first bytes stand.
fn segments(bytes: &[u8]) -> Vec<Range<usize>> {
    let places = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    let later = places.map(|(at, _)| at).filter(|at| *at > 0).take(MOST_SEGMENTS - 1);
    let begins: Vec<usize> = std::iter::once(0).chain(later).collect();
    let ends = begins[1..].iter().copied().chain([bytes.len()]);
    begins.iter().copied().zip(ends).map(|(begin, end)| begin..end).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Makes the checksums of headers and groups right, and the links from one to the next, as far as lengths
/// lead.
pub fn fix_journal(bytes: &mut [u8]) {
    let mut before = None;
    for range in segments(bytes) {
        let segment = &mut bytes[range];
        if segment.len() < HEADER {
            return;
        }
        if let Some(chain) = before {
            put(segment, 56, chain);
        }
        let seed = crc32c::crc32c(&segment[..60]);
        put(segment, 60, seed);
        before = Some(fix_groups(segment, seed));
    }
}

fn fix_groups(segment: &mut [u8], seed: u32) -> u32 {
    let (mut at, mut chain) = (HEADER, seed);
    while segment.get(at..at + 4) == Some(GROUP_MARK) && segment.len() >= at + GROUP_HEADER {
        let end = at + GROUP_HEADER + word(segment, at + 4) as usize;
        if end > segment.len() {
            break;
        }
        put(segment, at + 28, chain);
        let payload = crc32c::crc32c_append(seed, &segment[at + GROUP_HEADER..end]);
        put(segment, at + 32, payload);
        chain = crc32c::crc32c_append(seed, &segment[at..at + 36]);
        put(segment, at + 36, chain);
        at = end;
    }
    chain
}

fn put(bytes: &mut [u8], at: usize, word: u32) {
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
}

type Files = BTreeMap<String, Vec<u8>>;
type Records = Vec<(u64, Vec<u8>)>;

/// Opens the journal of these bytes, and what that made of it again. Each reading must agree with the first.
pub fn read_journal(bytes: &[u8]) {
    match open(&Memory::of(bytes), None) {
        Ok((_, found)) if found.is_empty() => {}
        Ok((memory, found)) => read_again(bytes, &memory, &found),
        // A checkpoint covers what is not there.
        Err(Error::Missing { found: Found::Later(first), .. }) => {
            let identity = Identity::from_bytes(bytes[16..32].try_into().expect("sixteen bytes"));
            assert_eq!(long(bytes, 40), first, "what the first header says");
            let _ = open(&Memory::of(bytes), Some(Mark { identity, sequence: first - 1 }));
        }
        Err(_) => {}
    }
}

fn read_again(bytes: &[u8], memory: &Memory, found: &Records) {
    let (memory, again) = open(memory, None).expect("what was opened can be opened again");
    assert!(again == *found, "{again:?} after {found:?}");
    let mark = memory.append(b"one more");
    let (_, more) = open(&memory, None).expect("what was written can be read");
    assert_eq!((mark.sequence, &more[..found.len()]), (found.len() as u64 + 1, &found[..]));
    assert_eq!(more[found.len()..], [(mark.sequence, b"one more".to_vec())]);
    // Behind a record in the middle come the others, before the journal was opened and after.
    let middle = found.len() / 2;
    let behind = Mark { sequence: found[middle].0, ..mark };
    let (_, rest) = open(&Memory::of(bytes), Some(behind)).expect("it has no fault");
    assert!(rest == found[middle + 1..], "{rest:?} behind record {middle} of {found:?}");
    let (_, rest) = open(&memory, Some(behind)).expect("it has no fault");
    assert!(rest == more[middle + 1..], "{rest:?} behind record {middle} of {more:?}");
}

/// Opens and closes a journal; answers with what it left and with the records. A journal that is refused
/// is as it was, and the error says which it is.
fn open(memory: &Memory, after: Option<Mark>) -> Result<(Memory, Records), Error> {
    let before = memory.files().clone();
    let mut found = Records::new();
    let opened = memory.open(after, |sequence, record| {
        found.push((sequence, record.to_vec()));
        decode(record);
    });
    match opened {
        Ok(_) => {
            let first = after.map_or(0, |mark| mark.sequence) + 1;
            assert!((first..).zip(&found).all(|(sequence, (got, _))| sequence == *got), "a gap");
            Ok((memory.clone(), found))
        }
        Err(error) => {
            let known = matches!(error, Error::UnsupportedVersion { .. });
            assert!(known || error.is_corruption(), "{error}");
            assert!(error.to_string().contains("/memory"), "{error}");
            assert!(*memory.files() == before, "{error}: it is not as it was");
            Err(error)
        }
    }
}

/// As far as it is a record of a node.
fn decode(record: &[u8]) {
    if let Ok(Record::Changes { mut changes, .. } | Record::CopyPart { mut changes, .. }) =
        Record::decode(record)
    {
        while let Ok(Some(change)) = changes.next_change() {
            std::hint::black_box(change);
        }
    }
}

/// A directory in memory. Clones are the same directory.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Files>>);

impl Memory {
    fn of(bytes: &[u8]) -> Self {
        let named = (1..).zip(segments(bytes));
        let files =
            named.map(|(number, range)| (format!("journal-{number:010}"), bytes[range].to_vec()));
        Self(Arc::new(Mutex::new(files.collect())))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().expect("nothing panics with it")
    }

    fn open(
        &self,
        after: Option<Mark>,
        mut each: impl FnMut(u64, &[u8]),
    ) -> Result<Journal, Error> {
        let options = JournalOptions::new(SyncPolicy::Always);
        let opened =
            Journal::open_in(Arc::new(self.clone()), &options, after.as_ref(), |at, record| {
                each(at, record);
                Ok(())
            });
        opened.map(|(journal, _)| journal)
    }

    /// Appends a record; answers with the mark behind it.
    fn append(&self, record: &[u8]) -> Mark {
        let journal = self.open(None, |_, _| ()).expect("it was opened before");
        let sequence = journal.append(record).expect("short");
        journal.wait(sequence).expect("memory takes it");
        journal.mark()
    }
}

struct File {
    memory: Memory,
    name: String,
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A file keeps its content when it gets another name.
        let mut files = self.memory.files();
        let name = self.name.trim_end_matches(".tmp");
        let file = if files.contains_key(&self.name) { self.name.as_str() } else { name };
        files.get_mut(file).ok_or(io::ErrorKind::NotFound)?.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StorageFile for File {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Storage for Memory {
    fn list(&self) -> io::Result<Vec<Listed>> {
        let listed = |(name, bytes): (&String, &Vec<u8>)| Listed {
            name: name.clone(),
            bytes: bytes.len() as u64,
        };
        Ok(self.files().iter().map(listed).collect())
    }

    fn open(&self, _: &str) -> io::Result<Box<dyn Source>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_new(&self, name: &str) -> io::Result<Box<dyn StorageFile>> {
        let before = self.files().insert(name.to_owned(), Vec::new());
        assert!(before.is_none(), "{name} is there");
        Ok(Box::new(File { memory: self.clone(), name: name.to_owned() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        assert!(files.insert(to.to_owned(), bytes).is_none(), "{to} is written over");
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files().remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new("/memory").join(name)
    }
}

impl SegmentStorage for Memory {
    fn read(&self, name: &str) -> io::Result<Contents> {
        let bytes = self.files().get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Contents { len: bytes.len() as u64, bytes: Box::new(Cursor::new(bytes)) })
    }
}
