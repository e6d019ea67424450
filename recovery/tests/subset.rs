//! Goal: a part of a chain is restored as exactly that part, and what does not fit is refused beforehand.
//! Method: stores and key ranges of a chain of three backups against the same parts of what its snapshot
//! saw; files that are unreadable behind a refusal.

mod world;

use std::fs;

use whimbrel_backup::repository::Kind;
use whimbrel_mvcc::{Clock, KeyRange};
use whimbrel_recovery::{Error, RestoreOptions, estimate, restore};
use world::{Content, Entries, World, chain, fill, key};

#[test]
fn a_subset_by_stores_and_by_keys_is_restored() {
    let mut world = World::new(&["a", "b", "c"], None);
    for value in 1..4 {
        for name in ["a", "b", "c"] {
            fill(world.store(name), 3000, value);
        }
        world.store("b").remove(&key(value)).unwrap();
        world.back_up(Kind::Incremental);
    }
    let (dir, content) = world.expected.last().unwrap().clone();
    let part = |options: &RestoreOptions| -> Content {
        let restored = restore(&dir, &Clock::new(), options).unwrap();
        let stores = restored.stores.into_iter();
        stores.map(|(name, store)| (name, world::content(&store.snapshot()))).collect()
    };
    let only = part(&RestoreOptions::default().with_store("b").with_store("c"));
    assert_eq!(only.keys().collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(only["b"], content["b"]);
    let error = restore(&dir, &Clock::new(), &RestoreOptions::default().with_store("d"));
    assert!(matches!(error, Err(Error::UnknownStore { .. })));
    let all: Vec<&Vec<u8>> = content["b"].keys().collect();
    let ranges = [
        KeyRange::all(),
        KeyRange::from(all[10].clone()..all[2000].clone()),
        KeyRange::from(all[10].clone()..=all[10].clone()),
        KeyRange::from((
            std::ops::Bound::Excluded(all[1500].clone()),
            std::ops::Bound::<Vec<u8>>::Unbounded,
        )),
        KeyRange::from("z"..),
        KeyRange::from(.."key/00"),
        KeyRange::from("b".."a"),
    ];
    for range in ranges {
        let options = RestoreOptions::default().with_key_range(range.clone());
        let restored = part(&options);
        for (name, entries) in &content {
            let mut expected = entries.clone();
            expected.retain(|key, _| range.contains(key));
            assert_eq!(restored[name], expected, "{name}, {range:?}");
        }
        let prefixed = part(&options.clone().with_key_prefix("a", b"p/"));
        let bare: Entries =
            prefixed["a"].iter().map(|(key, value)| (key[2..].to_vec(), value.clone())).collect();
        assert_eq!(bare, restored["a"]);
        assert!(estimate(&dir, &options).unwrap().entries >= restored["a"].len() as u64);
    }
    let whole = estimate(&dir, &RestoreOptions::default()).unwrap();
    let one = estimate(&dir, &RestoreOptions::default().with_store("a")).unwrap();
    assert!(one.memory_bytes * 2 < whole.memory_bytes && one.memory_bytes > 3000 * 16);
    assert!(whole.memory_limit.is_some_and(|limit| limit > 1 << 20), "{whole:?}");
}

#[test]
fn a_need_above_the_limit_is_refused_before_anything_is_read() {
    let world = chain();
    let (dir, _) = &world.expected[2];
    let needs = estimate(dir, &RestoreOptions::default()).unwrap();
    let with = |bytes| {
        let options = RestoreOptions::default().with_max_memory(bytes);
        restore(dir, &Clock::new(), &options)
    };
    assert!(with(needs.memory_bytes).is_ok());
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("MANIFEST.json") {
            let len = fs::metadata(&path).unwrap().len();
            fs::write(&path, vec![0; usize::try_from(len).unwrap()]).unwrap();
        }
    }
    let error = with(needs.memory_bytes - 1).unwrap_err();
    assert!(matches!(error, Error::MemoryLimit { .. }), "{error}");
}
