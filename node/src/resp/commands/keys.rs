//! DEL, EXISTS, SCAN and counting: keys as such.
//!
//! A slot holds plain keys under the prefix `k` and partitions of collections under `c`, so a key
//! of a client is `k` followed by its bytes.

use bytes::Bytes;
use whimbrel_mvcc::{Snapshot, Store};

use super::refusal::Refusal;
use super::{glob, integer};
use crate::resp::ReplyWriter;
use crate::server::{Node, Session, Writes};

/// What stands before a plain key in its slot.
pub(crate) const PLAIN: &[u8] = b"k";
/// What stands before the entries of a collection's partition.
pub(crate) const COLLECTION: &[u8] = b"c";

/// Keys that one `SCAN` looks at if the client does not say.
const SCAN_COUNT_DEFAULT: usize = 10;
/// Most keys that one `SCAN` looks at, whatever the client says.
const SCAN_COUNT_MAX: usize = 10_000;

/// A client's key as it stands in its slot.
pub(crate) fn plain(key: &[u8]) -> Vec<u8> {
    [PLAIN, key].concat()
}

/// `DEL key ..`: each key is removed on its own, so another client may see some gone and some not.
pub(crate) fn del(
    writes: &mut Writes<'_>,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let mut removed = 0;
    for key in args {
        if writes.remove(&plain(key)).map_err(Refusal::failed)? {
            removed += 1;
        }
    }
    reply.integer(removed);
    Ok(())
}

/// `EXISTS key ..`: counts a key as often as it is named.
pub(crate) fn exists(store: &Store, args: &[Bytes], reply: &mut ReplyWriter) {
    let present = args.iter().filter(|key| store.contains_key(plain(key))).count();
    reply.count(present as u64);
}

/// How many plain keys a slot holds.
///
/// O(stripes) by the running digest where the slot holds nothing else, else a walk.
pub(crate) fn count_plain(store: &Store) -> u64 {
    let snapshot = store.snapshot_named("count");
    let foreign = snapshot.prefix(COLLECTION).next_entry().is_some();
    match store.digest() {
        Some(digest) if !foreign => digest.count,
        _ => {
            let mut cursor = snapshot.prefix(PLAIN);
            let mut count = 0;
            while cursor.next_entry().is_some() {
                count += 1;
            }
            count
        }
    }
}

/// The first plain keys of a slot, in order.
pub(crate) fn first_plain(snapshot: &Snapshot, count: usize) -> Vec<Vec<u8>> {
    let mut cursor = snapshot.prefix(PLAIN);
    let mut found = Vec::new();
    while found.len() < count {
        let Some((key, _)) = cursor.next_entry() else { break };
        found.push(key[PLAIN.len()..].to_vec());
    }
    found
}

/// `DBSIZE`: the plain keys of all slots that this node serves.
pub(crate) async fn dbsize(node: &Node, reply: &mut ReplyWriter) -> Result<(), Refusal> {
    reply.count(node.count_keys().await);
    Ok(())
}

/// `SCAN cursor [MATCH pattern] [COUNT n] [TYPE string]`
///
/// Walks the served slots in order and the keys of each in order. A cursor is the slot's number and
/// a ticket; the node keeps the last key behind each ticket for the newest
/// [`CURSORS_MAX`](crate::server::CURSORS_MAX) of them. A cursor that has been dropped continues at
/// the beginning of its slot: keys may come twice, none that stays is missed, as `SCAN` promises.
pub(crate) async fn scan(
    node: &Node,
    session: &Session,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let cursor: u64 = std::str::from_utf8(&args[0])
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Refusal::Unsupported("invalid cursor"))?;
    let options = ScanOptions::parse(&args[1..])?;
    let (first, mut after) =
        node.cursors().resolve(cursor).ok_or(Refusal::Unsupported("invalid cursor"))?;
    let mut found = Vec::new();
    let mut left = options.count;
    let mut next = 0;
    for slot in node.filled().into_iter().filter(|slot| *slot >= first) {
        let from = after.take().filter(|_| slot == first);
        // Not served any more: the slot's keys are elsewhere, as in any cluster scan.
        let snapshot = match node.read(session, slot, Store::snapshot).await {
            Ok(snapshot) => snapshot,
            Err(refusal @ Refusal::Journal(_)) => return Err(refusal),
            Err(_) => continue,
        };
        if let Some(last) = scan_slot(&snapshot, from, &mut left, &options, &mut found) {
            next = node.cursors().remember(slot, last);
            break;
        }
    }
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

/// Looks at up to `left` keys after `from`; gives the last key when there may be more.
fn scan_slot(
    snapshot: &Snapshot,
    from: Option<Vec<u8>>,
    left: &mut usize,
    options: &ScanOptions,
    found: &mut Vec<Vec<u8>>,
) -> Option<Vec<u8>> {
    let mut cursor = snapshot.prefix(PLAIN);
    if let Some(mut key) = from {
        key.push(0); // the least key after it
        cursor.seek(&key);
    }
    while let Some((key, _)) = cursor.next_entry() {
        let name = &key[PLAIN.len()..];
        if options.strings && options.pattern.as_ref().is_none_or(|p| glob::matches(p, name)) {
            found.push(name.to_vec());
        }
        *left -= 1;
        if *left == 0 {
            return Some(key.to_vec());
        }
    }
    None
}

#[derive(Debug)]
struct ScanOptions {
    pattern: Option<Bytes>,
    count: usize,
    /// Whether strings, which all plain keys are, are asked for.
    strings: bool,
}

impl ScanOptions {
    fn parse(args: &[Bytes]) -> Result<Self, Refusal> {
        let mut options = Self { pattern: None, count: SCAN_COUNT_DEFAULT, strings: true };
        if !args.len().is_multiple_of(2) {
            return Err(Refusal::Syntax(""));
        }
        for pair in args.chunks_exact(2) {
            match pair[0].to_ascii_uppercase().as_slice() {
                b"MATCH" => options.pattern = Some(pair[1].clone()),
                b"COUNT" => {
                    let count = usize::try_from(integer(&pair[1])?).unwrap_or(0);
                    if count == 0 {
                        return Err(Refusal::Syntax(""));
                    }
                    options.count = count.min(SCAN_COUNT_MAX);
                }
                b"TYPE" => options.strings = pair[1].eq_ignore_ascii_case(b"string"),
                _ => return Err(Refusal::Syntax("")),
            }
        }
        Ok(options)
    }
}
