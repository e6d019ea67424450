//! Cursors and tokens: pages for a client that comes back when it likes, in both directions.
//!
//! A page is a scan of a few entries and a token that says where it ended. The server keeps nothing between
//! two pages: no snapshot, no session. So keys that come or go between two pages are seen or not, by where they
//! lie; whoever wants one moment keeps its snapshot.
//!
//! `cargo run -p whimbrel-mvcc --example cursors`

use whimbrel_mvcc::{Clock, Cursor, CursorToken, Error, KeyRange, Store};

/// A page as a client gets it: keys, and the bytes to ask for the next one with.
struct Page {
    keys: Vec<String>,
    next: Option<Vec<u8>>,
}

fn page_of(mut cursor: Cursor, entries: usize) -> Page {
    let mut keys = Vec::new();
    while keys.len() < entries
        && let Some((key, _)) = cursor.next_entry()
    {
        keys.push(String::from_utf8_lossy(key).into_owned());
    }
    let next = (keys.len() == entries).then(|| cursor.token().encode());
    Page { keys, next }
}

/// The page behind another one. The token comes from outside: it is checked, and it may be a token of a
/// range that this client is not to see.
fn next_page(store: &Store, allowed: &KeyRange, token: &[u8]) -> Result<Option<Page>, Error> {
    let token = CursorToken::decode(token)?;
    if token.range() != allowed {
        return Ok(None);
    }
    Ok(Some(page_of(store.snapshot().resume(&token), 4)))
}

fn main() -> Result<(), Error> {
    let store = Store::new(&Clock::new());
    store.extend((0..20).map(|n| (format!("user/{n:02}"), "")))?;
    store.put("secret", "")?;
    let users = KeyRange::prefix("user/");

    for reverse in [false, true] {
        let cursor = store.snapshot().range(users.clone());
        let mut page = page_of(if reverse { cursor.rev() } else { cursor }, 4);
        let mut seen = 0;
        loop {
            println!("{:?}", page.keys);
            seen += page.keys.len();
            let Some(token) = page.next else { break };
            // In between the store is written, and memory is reclaimed: nothing is held.
            store.remove("user/05")?;
            store.collect_all();
            let barrier = store.clock().barrier().stats();
            assert_eq!((store.clock().open_holds(), barrier.retired), (0, barrier.reclaimed));
            page = match next_page(&store, &users, &token)? {
                Some(page) => page,
                None => unreachable!("a token of this range"),
            };
        }
        println!("{seen} keys, reverse: {reverse}");
        assert_eq!(seen, 19);
    }

    // What is no token, or none of the range, is refused.
    let all = store.snapshot().range(..).token().encode();
    assert!(next_page(&store, &users, &all)?.is_none());
    let mut damaged = all;
    damaged[1] ^= 1;
    match next_page(&store, &users, &damaged) {
        Err(error) => println!("refused: {error}"),
        Ok(_) => unreachable!("its checksum is wrong"),
    }

    // A cursor can also be sent somewhere by hand.
    let mut cursor = store.snapshot().range(users);
    cursor.seek("user/07");
    assert_eq!(cursor.next_entry().map(|(key, _)| key), Some(&b"user/07"[..]));
    Ok(())
}
