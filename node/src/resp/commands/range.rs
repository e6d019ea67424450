//! WRANGE: the keys between two keys of one slot, in order.

use bytes::Bytes;
use whimbrel_mvcc::Store;

use super::integer;
use super::keys::{PLAIN, plain};
use super::refusal::Refusal;
use crate::resp::ReplyWriter;

/// Most keys of one reply; a client continues behind the last.
const LIMIT_MAX: usize = 100_000;

/// What follows the last plain key.
const AFTER_PLAIN: &[u8] = b"l";

/// Whether an upper end means "to the end of the slot".
pub(crate) fn is_open(end: &[u8]) -> bool {
    end == b"+"
}

/// The options of a `WRANGE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeOptions {
    reverse: bool,
    with_values: bool,
    limit: usize,
}

impl RangeOptions {
    /// Reads what follows the two ends.
    pub(crate) fn parse(mut args: &[Bytes]) -> Result<Self, Refusal> {
        let mut options = Self { reverse: false, with_values: false, limit: LIMIT_MAX };
        while let Some((option, rest)) = args.split_first() {
            args = rest;
            match option.to_ascii_uppercase().as_slice() {
                b"REV" => options.reverse = true,
                b"WITHVALUES" => options.with_values = true,
                b"LIMIT" => {
                    let (count, rest) = args.split_first().ok_or(Refusal::Syntax(""))?;
                    args = rest;
                    let count =
                        usize::try_from(integer(count)?).map_err(|_| Refusal::NotAnInteger)?;
                    options.limit = count.min(LIMIT_MAX);
                }
                _ => return Err(Refusal::Syntax("")),
            }
        }
        Ok(options)
    }
}

/// `WRANGE start end [REV] [LIMIT n] [WITHVALUES]`: keys from `start` (inclusive) to `end`
/// (exclusive, `+` for none), of one moment, smallest first or with `REV` largest first.
///
/// Both ends carry the hash tag of the slot; the range holds whatever keys of that slot are
/// between.
pub(crate) fn wrange(
    store: &Store,
    args: &[Bytes],
    options: RangeOptions,
    reply: &mut ReplyWriter,
) {
    let snapshot = store.snapshot_named("range");
    let from = plain(&args[0]);
    let to = if is_open(&args[1]) { AFTER_PLAIN.to_vec() } else { plain(&args[1]) };
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    if from < to {
        let cursor = snapshot.range(from..to);
        let mut cursor = if options.reverse { cursor.rev() } else { cursor };
        while found.len() < options.limit {
            let Some((key, value)) = cursor.next_entry() else { break };
            let value = if options.with_values { value.to_vec() } else { Vec::new() };
            found.push((key[PLAIN.len()..].to_vec(), value));
        }
    }
    reply.array(if options.with_values { found.len() * 2 } else { found.len() });
    for (key, value) in &found {
        reply.bulk(key);
        if options.with_values {
            reply.bulk(value);
        }
    }
}
