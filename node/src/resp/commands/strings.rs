//! GET, SET, MGET, MSET: plain keys and their values.

use bytes::Bytes;
use whimbrel_mvcc::{CasOutcome, Inserted, Store};

use super::keys::plain;
use super::refusal::Refusal;
use crate::resp::ReplyWriter;
use crate::server::Writes;

/// `GET key`
pub(crate) fn get(store: &Store, args: &[Bytes], reply: &mut ReplyWriter) {
    if store.get_with(&plain(&args[0]), |value| reply.bulk(value)).is_none() {
        reply.null();
    }
}

/// `MGET key ..`: all values are of one moment.
pub(crate) fn mget(store: &Store, args: &[Bytes], reply: &mut ReplyWriter) {
    let snapshot = store.snapshot_named("mget");
    reply.array(args.len());
    for key in args {
        if snapshot.get_with(&plain(key), |value| reply.bulk(value)).is_none() {
            reply.null();
        }
    }
}

/// When a `SET` sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum When {
    /// Always.
    #[default]
    Always,
    /// `NX`: if there is no value.
    Absent,
    /// `XX`: if there is one.
    Present,
}

/// The options of a `SET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetOptions {
    when: When,
    get: bool,
}

impl SetOptions {
    /// Reads what follows key and value.
    pub(crate) fn parse(args: &[Bytes]) -> Result<Self, Refusal> {
        let mut options = Self::default();
        for option in args {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" if options.when != When::Present => options.when = When::Absent,
                b"XX" if options.when != When::Absent => options.when = When::Present,
                b"GET" => options.get = true,
                b"EX" | b"PX" | b"EXAT" | b"PXAT" | b"KEEPTTL" => {
                    return Err(Refusal::Unsupported(
                        "SET: keys do not expire on this node; leave EX, PX, EXAT, PXAT and \
                         KEEPTTL out",
                    ));
                }
                _ => return Err(Refusal::Syntax("")),
            }
        }
        Ok(options)
    }
}

/// `SET key value [NX | XX] [GET]`: one compare-and-swap, also where the old value matters.
pub(crate) fn set(
    writes: &mut Writes<'_>,
    args: &[Bytes],
    options: SetOptions,
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let (key, value) = (plain(&args[0]), args[1].as_ref());
    if !options.get && options.when == When::Always {
        writes.put(&key, value).map_err(Refusal::failed)?;
        reply.ok();
        return Ok(());
    }
    if !options.get && options.when == When::Absent {
        match writes.insert_unique(&key, value).map_err(Refusal::failed)? {
            Inserted::Inserted => reply.ok(),
            Inserted::Exists => reply.null(),
        }
        return Ok(());
    }
    loop {
        let old = writes.store().get(&key);
        let sets = match options.when {
            When::Always => true,
            When::Absent => old.is_none(),
            When::Present => old.is_some(),
        };
        if sets {
            let outcome =
                writes.compare_and_set(&key, old.as_deref(), value).map_err(Refusal::failed)?;
            if !matches!(outcome, CasOutcome::Done) {
                continue;
            }
        }
        match (options.get, sets) {
            (true, _) => reply.bulk_or_null(old.as_deref()),
            (false, true) => reply.ok(),
            (false, false) => reply.null(),
        }
        return Ok(());
    }
}

/// `MSET key value ..`: all keys change at one moment.
pub(crate) fn mset(
    writes: &mut Writes<'_>,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    if !args.len().is_multiple_of(2) {
        return Err(Refusal::WrongArity("mset"));
    }
    let pairs: Vec<_> =
        args.chunks_exact(2).map(|pair| (plain(&pair[0]), pair[1].clone())).collect();
    writes.put_all(&pairs).map_err(Refusal::failed)?;
    reply.ok();
    Ok(())
}
