//! First steps: put, get, remove, many keys at once, from several threads.
//!
//! `cargo run -p whimbrel-mvcc --example first_steps`

use std::thread;

use whimbrel_mvcc::{Clock, Error, Store};

fn main() -> Result<(), Error> {
    // A clock is the one order of time of all stores that are made with it.
    let clock = Clock::new();
    let birds = Store::new(&clock);

    // Keys and values are bytes, as str, String, arrays, slices or vectors.
    birds.put("whimbrel", "Numenius phaeopus")?;
    birds.put(String::from("knot"), b"Calidris canutus")?;
    birds.put([0xFF, 0x00], vec![1, 2, 3])?;
    birds.extend([("avocet", "Recurvirostra avosetta"), ("curlew", "Numenius arquata")])?;

    if let Some(name) = birds.get("knot") {
        println!("knot: {}", String::from_utf8_lossy(&name));
    }
    // Without a copy: the closure borrows the value.
    let letters = birds.get_with("whimbrel", <[u8]>::len);
    println!("whimbrel: {letters:?} bytes, curlew there: {}", birds.contains_key("curlew"));

    // A removal returns what it removed, and nobody else's does.
    let removed = birds.remove([0xFF, 0x00])?;
    println!("removed {removed:?}, again {:?}", birds.remove([0xFF, 0x00])?);

    // Several keys at once: the lookups run side by side, so their cache misses overlap.
    let found = birds.get_many(&[b"avocet", b"dodo", b"curlew"]);
    println!("found {} of 3", found.iter().flatten().count());

    // Any number of threads, no locks around it. Handles are clones.
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let numbers = birds.clone();
            scope.spawn(move || -> Result<(), Error> {
                for n in 0..1000_u32 {
                    numbers.put((4 * n + thread).to_be_bytes(), n.to_le_bytes())?;
                }
                Ok(())
            });
        }
    });
    println!("{birds:?}");
    assert_eq!(birds.len_estimate(), 4004);
    Ok(())
}
