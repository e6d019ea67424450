//! Writes that depend on what is there: insert where nothing is, compare and set, read-modify-write.
//!
//! `cargo run -p whimbrel-mvcc --example update`

use std::thread;

use whimbrel_mvcc::{CasOutcome, Clock, Error, Inserted, Store, Update, Updated};

/// Counts a word; returns the new count.
fn count(store: &Store, word: &str) -> Result<u64, Error> {
    let mut count = 0;
    // May run several times; what the last run assigned is what was written.
    store.update(word, |value| {
        let before = value.and_then(|value| value.try_into().ok());
        count = before.map_or(0, u64::from_be_bytes) + 1;
        Update::Put(count.to_be_bytes())
    })?;
    Ok(count)
}

/// Takes the head of a list of words under a key; removes the key with the last one.
fn take_first(store: &Store, key: &str) -> Result<Option<String>, Error> {
    let mut first = None;
    store.update(key, |value| {
        let Some(list) = value else {
            first = None;
            return Update::Keep;
        };
        let mut words = list.splitn(2, |byte| *byte == b' ');
        first = words.next().map(|word| String::from_utf8_lossy(word).into_owned());
        words.next().map_or(Update::Remove, |rest| Update::Put(rest.to_vec()))
    })?;
    Ok(first)
}

fn main() -> Result<(), Error> {
    let store = Store::new(&Clock::new());

    // One of many becomes the leader; only the leader can resign.
    for name in ["ann", "bob"] {
        match store.insert_unique("leader", name)? {
            Inserted::Inserted => println!("{name} leads"),
            Inserted::Exists => println!("{name} is too late"),
        }
    }
    for name in ["bob", "ann"] {
        match store.compare_and_set("leader", Some(name.as_bytes()), None)? {
            CasOutcome::Done => println!("{name} resigned"),
            CasOutcome::Differs(other) => {
                let other = other.unwrap_or_default();
                println!("{name} cannot: {} leads", String::from_utf8_lossy(&other));
            }
        }
    }

    // Nothing is lost, whoever counts beside.
    let text = "the knot and the whimbrel and the knot";
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| -> Result<(), Error> {
                for _ in 0..250 {
                    for word in text.split(' ') {
                        count(&store, word)?;
                    }
                }
                Ok(())
            });
        }
    });
    for word in ["the", "and", "knot", "whimbrel"] {
        println!("{word}: {}", count(&store, word)? - 1);
    }
    assert_eq!(count(&store, "the")?, 3_002);

    store.put("queue", "first second third")?;
    while let Some(word) = take_first(&store, "queue")? {
        println!("took {word}");
    }
    assert_eq!(store.update("queue", |_| Update::<&[u8]>::Remove)?, Updated::Kept);
    Ok(())
}
