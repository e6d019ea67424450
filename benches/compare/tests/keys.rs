//! Goal: every process makes the same keys from a seed, no two are equal, and they have the shape
//! that their name says.
//! Method: make a few thousand of each kind and look.

use std::collections::HashSet;
use std::io::Write;

use whimbrel_compare::debian::name_of;
use whimbrel_compare::keys::{Input, KeyKind, Keys};

const COUNT: usize = 5_000;

fn made(kind: KeyKind, seed: u64) -> Input {
    Input::new(kind, COUNT, seed, None).expect("generated keys")
}

fn set(keys: &Keys) -> HashSet<&[u8]> {
    keys.iter().collect()
}

const KINDS: [KeyKind; 3] = [KeyKind::Random16, KeyKind::Structured32, KeyKind::Paths];

#[test]
fn the_seed_decides() {
    for kind in KINDS {
        let (first, again, other) = (made(kind, 7), made(kind, 7), made(kind, 8));
        assert_eq!(first.entries, again.entries, "{kind:?}");
        assert_eq!(first.shuffled, again.shuffled, "{kind:?}");
        assert_eq!(first.misses, again.misses, "{kind:?}");
        assert_ne!(first.entries, other.entries, "{kind:?}");
    }
}

#[test]
fn keys_are_distinct_and_misses_miss() {
    for kind in KINDS {
        let input = made(kind, 42);
        assert_eq!(set(&input.entries).len(), COUNT, "{kind:?}");
        assert_eq!(set(&input.misses).len(), COUNT, "{kind:?}");
        assert!(set(&input.entries).is_disjoint(&set(&input.misses)), "{kind:?}");
    }
}

#[test]
fn orders_hold_the_same_keys() {
    for kind in KINDS {
        let input = made(kind, 42);
        assert_eq!(set(&input.sorted), set(&input.entries), "{kind:?}");
        assert_eq!(set(&input.shuffled), set(&input.entries), "{kind:?}");
        assert!(input.sorted.iter().is_sorted(), "{kind:?}");
        let stays = input.entries.iter().zip(input.shuffled.iter()).filter(|(a, b)| a == b);
        assert!(stays.count() < 20, "{kind:?}: the second order is another one");
        assert!(!input.entries.iter().is_sorted(), "{kind:?}");
    }
}

#[test]
fn random_keys_have_16_bytes_that_vary() {
    let input = made(KeyKind::Random16, 42);
    for at in 0..16 {
        let values: HashSet<u8> = input.entries.iter().map(|key| key[at]).collect();
        assert_eq!(values.len(), 256, "byte {at}");
    }
    assert!(input.entries.iter().all(|key| key.len() == 16));
}

#[test]
fn structured_keys_have_500_tenants_and_long_prefixes() {
    let input = made(KeyKind::Structured32, 42);
    assert!(input.entries.iter().all(|key| key.len() == 32 && key.starts_with(b"tenant")));
    let tenants: HashSet<&[u8]> = input.entries.iter().map(|key| &key[..14]).collect();
    assert_eq!(tenants.len(), 500);
    let shared = |(a, b): (&[u8], &[u8])| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let pairs = input.sorted.iter().zip(input.sorted.iter().skip(1));
    let mean = pairs.map(shared).sum::<usize>() / COUNT;
    assert!(mean >= 13, "neighbours share {mean} bytes");
}

#[test]
fn stand_in_paths_look_like_paths() {
    let input = made(KeyKind::Paths, 42);
    assert!(input.entries.iter().all(|key| key.starts_with(b"usr/") && key.ends_with(b".gz")));
    let lengths: HashSet<usize> = input.entries.iter().map(<[u8]>::len).collect();
    assert!(lengths.len() > 20, "{} lengths", lengths.len());
}

#[test]
fn real_paths_come_from_a_file_and_must_suffice() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"etc/b\netc/a\nusr/c d\nusr/d\n").expect("written");
    let read = |count| Input::new(KeyKind::Paths, count, 1, Some(file.path()));
    let input = read(2).expect("two entries and two misses");
    assert_eq!(input.entries.iter().collect::<Vec<_>>(), [b"etc/b", b"etc/a"]);
    assert_eq!(input.misses.iter().collect::<Vec<_>>(), [&b"usr/c d"[..], b"usr/d"]);
    let error = read(3).expect_err("too few lines").to_string();
    assert!(error.contains("4 lines and 6 are wanted"), "{error}");
}

#[test]
fn lines_of_debians_lists_are_taken_apart() {
    assert_eq!(name_of(b"usr/bin/x           utils/x,utils/y"), Some(&b"usr/bin/x"[..]));
    assert_eq!(name_of(b"usr/share/a b.txt\tdoc/a"), Some(&b"usr/share/a b.txt"[..]));
    assert_eq!(name_of(b"nothing-else"), None);
    assert_eq!(name_of(b""), None);
}

#[test]
fn keys_in_ascending_order_are_those_of_the_input_and_need_no_misses() {
    for kind in KINDS {
        let keys = Keys::ascending(kind, COUNT, 42, None).expect("keys");
        assert_eq!(keys, made(kind, 42).sorted, "{kind:?}");
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(b"etc/b\netc/a\n").expect("written");
    let keys =
        Keys::ascending(KeyKind::Paths, 2, 1, Some(file.path())).expect("as many as there are");
    assert_eq!(keys.iter().collect::<Vec<_>>(), [b"etc/a", b"etc/b"]);
}
