//! Goal: damaged bytes are refused with file, place and cause, or cut off where a crash could have torn
//! them, exactly as docs/format.md says; never a panic, never a record that was not written.
//!
//! Method: a small journal of two segments; every single bit flipped, every file cut at every length,
//! files removed, exchanged and taken from another journal, and thousands of random damages.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{Double, Image, options, record, replay};
use whimbrel_journal::{Damage, Error, Found, Identity, Journal, JournalOptions, Mark, SyncPolicy};

const HEADER: usize = 64;
const GROUP_HEADER: usize = 40;
const FIRST: &str = "journal-0000000001";
const SECOND: &str = "journal-0000000002";
const THIRD: &str = "journal-0000000003";

/// Where groups begin and end in a segment, and the sequence behind each.
type Groups = Vec<(usize, usize, u64)>;

/// A journal of two segments with three groups each; records 1 to 8.
struct Sample {
    image: Image,
    groups: [Groups; 2],
}

fn sample() -> Sample {
    let double = Double::default();
    let options = options(SyncPolicy::Always).with_segment_bytes(1 << 20);
    let (journal, _) = Journal::open_in(double.shared(), &options, None, |_, _| Ok(())).unwrap();
    let mut groups = [Groups::new(), Groups::new()];
    for (segment, name) in [FIRST, SECOND].into_iter().enumerate() {
        for group in 0..3 {
            let begin = usize::try_from(double.len(name)).unwrap();
            let mut last = 0;
            for _ in 0..=group % 2 {
                last = journal.append(&record(journal.mark().sequence + 1)).unwrap();
            }
            journal.wait(last).unwrap();
            let end = usize::try_from(double.len(name)).unwrap();
            groups[segment].push((begin, end, last + 1));
        }
        if segment == 0 {
            journal.turn_over().unwrap();
        }
    }
    Sample { image: double.image(), groups }
}

fn open(image: &Image) -> Result<u64, Error> {
    let (_, found) = replay(&Double::of(image), SyncPolicy::Always, None)?;
    Ok(found.last().copied().unwrap_or(0))
}

#[track_caller]
fn assert_refused(opened: Result<u64, Error>, what: &str) {
    match opened {
        Err(Error::Damaged { .. } | Error::UnsupportedVersion { .. }) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn the_sample_is_whole() {
    let sample = sample();
    assert_eq!(open(&sample.image).unwrap(), 8);
    assert_eq!(sample.groups[0].last().unwrap().2, 5);
    assert_eq!(sample.groups[1].last().unwrap().2, 9);
}

#[test]
fn every_flipped_bit_is_refused_or_a_torn_end() {
    let sample = sample();
    let (begin, _, behind) = sample.groups[1][2];
    let records_before = sample.groups[1][1].2 - 1;
    assert_eq!((records_before, behind), (7, 9));
    for name in [FIRST, SECOND] {
        for bit in 0..sample.image[name].len() * 8 {
            let mut image = sample.image.clone();
            image.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let what = format!("bit {bit} of {name}");
            if name == SECOND && bit / 8 >= begin {
                // The last group: nothing behind it says that it was durable.
                assert_eq!(open(&image).unwrap(), records_before, "{what}");
            } else {
                assert_refused(open(&image), &what);
            }
        }
    }
}

#[test]
fn every_cut_is_refused_or_a_torn_end() {
    let sample = sample();
    for name in [FIRST, SECOND] {
        for len in 0..sample.image[name].len() {
            let mut image = sample.image.clone();
            image.get_mut(name).unwrap().truncate(len);
            let what = format!("{name} cut to {len} bytes");
            if name == FIRST || len < HEADER {
                assert_refused(open(&image), &what);
            } else {
                let whole = sample.groups[1].iter().rev().find(|(_, end, _)| *end <= len);
                let last = whole.map_or(4, |(_, _, behind)| behind - 1);
                assert_eq!(open(&image).unwrap(), last, "{what}");
            }
        }
    }
}

#[test]
fn what_stands_behind_the_end_that_the_next_segment_states_counts_for_nothing() {
    let sample = sample();
    let mut image = sample.image.clone();
    image.get_mut(FIRST).unwrap().extend_from_slice(&[0xaa; 100]);
    assert_eq!(open(&image).unwrap(), 8);
    // At the end of the last one it is torn: zeros, noise, a group of this very segment again.
    let (begin, end, _) = sample.groups[1][0];
    let again = sample.image[SECOND][begin..end].to_vec();
    for tail in [vec![0; 4096], vec![0x57; 333], sample.image[FIRST].clone()] {
        let mut image = sample.image.clone();
        image.get_mut(SECOND).unwrap().extend_from_slice(&tail);
        assert_eq!(open(&image).unwrap(), 8);
    }
    let mut image = sample.image.clone();
    image.get_mut(SECOND).unwrap().extend_from_slice(&again);
    assert_refused(open(&image), "a group that comes twice");
}

#[test]
fn groups_in_another_order_are_noticed() {
    let sample = sample();
    for segment in 0..2 {
        let name = [FIRST, SECOND][segment];
        let [a, b, c] = sample.groups[segment][..] else { panic!("three groups") };
        let bytes = &sample.image[name];
        let part = |(begin, end, _): (usize, usize, u64)| bytes[begin..end].to_vec();
        for order in [[b, a, c], [a, c, b], [c, b, a], [a, a, b], [a, c, c]] {
            let mut image = sample.image.clone();
            let mut other = bytes[..HEADER].to_vec();
            order.map(part).iter().for_each(|part| other.extend_from_slice(part));
            image.insert(name.to_owned(), other);
            assert_refused(open(&image), &format!("{order:?} in {name}"));
        }
    }
}

/// Damage to a proven group is told apart from a torn end even where the file was cut behind it too.
#[test]
fn a_middle_group_that_is_damaged_names_file_and_offset() {
    let sample = sample();
    let mut image = sample.image.clone();
    let (begin, _, _) = sample.groups[1][1];
    image.get_mut(SECOND).unwrap()[begin + GROUP_HEADER] ^= 1;
    match open(&image).unwrap_err() {
        Error::Damaged { path, offset, damage: Damage::Payload { .. } } => {
            assert!(path.ends_with(SECOND));
            assert_eq!(offset, begin as u64);
        }
        other => panic!("{other}"),
    }
}

#[test]
fn missing_exchanged_and_foreign_segments_are_noticed() {
    let sample = sample();
    let without = |name: &str| {
        let mut image = sample.image.clone();
        image.remove(name);
        image
    };
    assert!(matches!(
        open(&without(FIRST)).unwrap_err(),
        Error::Missing { needed: 1, found: Found::Later(5), .. }
    ));
    // The newest one gone looks like a journal that ended earlier; only a mark tells.
    let mark = Mark { identity: Identity::from_bytes(*b"sixteen birds fl"), sequence: 6 };
    let found = replay(&Double::of(&without(SECOND)), SyncPolicy::Always, Some(&mark));
    let found = found.map(|(_, found)| found);
    assert!(matches!(found.unwrap_err(), Error::Missing { needed: 7, found: Found::End(5), .. }));
    let found = replay(&Double::of(&Image::new()), SyncPolicy::Always, Some(&mark));
    let found = found.map(|(_, found)| found);
    assert!(matches!(found.unwrap_err(), Error::Missing { found: Found::Nothing, .. }));
    let mut exchanged = sample.image.clone();
    exchanged.insert(FIRST.to_owned(), sample.image[SECOND].clone());
    exchanged.insert(SECOND.to_owned(), sample.image[FIRST].clone());
    assert_refused(open(&exchanged), "exchanged");
    let mut named = sample.image.clone();
    named.insert("notes.txt".to_owned(), Vec::new());
    assert!(matches!(open(&named).unwrap_err(), Error::ForeignFile { .. }));
    named.remove("notes.txt");
    named.insert("journal-3".to_owned(), Vec::new());
    assert!(matches!(open(&named).unwrap_err(), Error::ForeignFile { .. }));
}

#[test]
fn a_segment_of_another_journal_is_noticed() {
    let sample = sample();
    let double = Double::default();
    let options = JournalOptions::new(SyncPolicy::Always);
    let (journal, _) = Journal::open_in(double.shared(), &options, None, |_, _| Ok(())).unwrap();
    for sequence in 1..=4 {
        journal.append(&record(sequence)).unwrap();
    }
    journal.turn_over().unwrap();
    let other = journal.mark().identity;
    drop(journal);
    let mut image = sample.image.clone();
    image.insert(SECOND.to_owned(), double.image()[SECOND].clone());
    match open(&image).unwrap_err() {
        Error::OtherJournal { expected, found, .. } => assert!(expected != found && found == other),
        error => panic!("{error}"),
    }
    let mark = Mark { identity: other, sequence: 0 };
    let opened = replay(&Double::of(&sample.image), SyncPolicy::Always, Some(&mark));
    assert!(matches!(opened.map(|_| ()).unwrap_err(), Error::OtherJournal { .. }));
}

/// A mark lets the journal open without what the mark covers.
#[test]
fn covered_segments_may_be_gone_and_gaps_among_them_are_no_matter() {
    let sample = sample();
    let double = Double::of(&sample.image);
    let (journal, _) = replay(&double, SyncPolicy::Always, None).unwrap();
    let mark = journal.mark();
    journal.append(&record(9)).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let image = double.image();
    assert_eq!(image.len(), 3);
    for gone in [&[FIRST][..], &[SECOND], &[FIRST, SECOND]] {
        let mut image = image.clone();
        gone.iter().for_each(|name| drop(image.remove(*name)));
        let double = Double::of(&image);
        let (_, found) = replay(&double, SyncPolicy::Always, Some(&mark)).unwrap();
        assert_eq!(found, [9], "without {gone:?}");
        // Segments before a gap go too.
        assert_eq!(double.image().contains_key(FIRST), gone.is_empty());
        assert!(double.image().contains_key(THIRD));
    }
}

/// A generator of small numbers (splitmix64).
fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[test]
fn random_damage_is_refused_or_leaves_a_beginning() {
    let sample = sample();
    let mut state = 17;
    let (mut refused, mut cut, mut untouched) = (0, 0, 0);
    for _ in 0..20_000 {
        let mut image = sample.image.clone();
        for _ in 0..=scramble(&mut state) % 4 {
            let name = if scramble(&mut state).is_multiple_of(3) { FIRST } else { SECOND };
            let bytes = image.get_mut(name).unwrap();
            let at = usize::try_from(scramble(&mut state)).unwrap() % bytes.len().max(1);
            let many = usize::try_from(scramble(&mut state) % 70).unwrap();
            let end = (at + many).min(bytes.len());
            match scramble(&mut state) % 4 {
                0 => bytes[at..end].fill(0),
                1 => bytes[at..end].iter_mut().for_each(|b| {
                    *b = scramble(&mut state).to_le_bytes()[0];
                }),
                2 => drop(bytes.drain(at..end)),
                _ => bytes.truncate(end.max(1)),
            }
        }
        // `replay` looks at every record that comes.
        match open(&image) {
            Ok(8) => untouched += 1,
            Ok(last) => {
                assert!((4..8).contains(&last), "{last} records and no word");
                cut += 1;
            }
            Err(error) => {
                assert!(error.is_corruption(), "{error}");
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {cut} cut, {untouched} as before");
    assert!(refused > 0 && cut > 0);
}

/// A checkpoint's mark, and a header whose checksum somebody made right, can say anything.
#[test]
fn sequences_beyond_all_counting_are_refused() {
    let sample = sample();
    let identity = Identity::from_bytes(*b"sixteen birds fl");
    let open = |image: &Image, sequence| {
        let mark = Mark { identity, sequence };
        replay(&Double::of(image), SyncPolicy::Always, Some(&mark)).map(|_| ()).unwrap_err()
    };
    let error = open(&sample.image, u64::MAX);
    assert!(matches!(error, Error::Missing { found: Found::End(9), .. }), "{error}");
    // A journal whose first record has the last number of all: none could follow.
    let mut header = sample.image[FIRST][..HEADER].to_vec();
    header[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
    let seed = crc32c::crc32c(&header[..60]);
    header[60..].copy_from_slice(&seed.to_le_bytes());
    let error = open(&Image::from([(FIRST.to_owned(), header)]), u64::MAX - 1);
    let limit = matches!(error, Error::Damaged { offset: 0, damage: Damage::Limit { .. }, .. });
    assert!(limit, "{error}");
}

/// A group is found to have been durable wherever the header that says so lies: the search looks at 64 KiB
/// together, and a header may begin in one piece and end in the next.
#[test]
fn the_proof_behind_a_long_group_is_found_at_every_place() {
    const SEARCHED: usize = 1 << 16;
    for behind in SEARCHED - GROUP_HEADER..=SEARCHED {
        let double = Double::default();
        let options = options(SyncPolicy::Always).with_segment_bytes(1 << 20);
        let opened = Journal::open_in(double.shared(), &options, None, |_, _| Ok(()));
        let (journal, _) = opened.unwrap();
        // Three bytes say how long the record is.
        for len in [behind - GROUP_HEADER - 3, 1] {
            let sequence = journal.append(&vec![7; len]).unwrap();
            journal.wait(sequence).unwrap();
        }
        drop(journal);
        let mut image = double.image();
        image.get_mut(FIRST).unwrap()[HEADER + GROUP_HEADER + 100] ^= 1;
        assert_refused(open(&image), &format!("the next group {behind} bytes behind"));
    }
}
