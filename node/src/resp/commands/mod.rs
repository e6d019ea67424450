//! The commands, one file per group, and how a request finds its code.
//!
//! A keyed command runs inside one access of its slot: the slot is found from the keys (several
//! slots: `CROSSSLOT`), the slot's gate is entered (`MOVED`, `CLUSTERDOWN`, or a short wait while
//! the slot is handed over), the command runs to its end, the gate is left. No access is held
//! while bytes are read or sent.

mod backup;
mod checkpoint;
mod cluster;
mod connection;
mod glob;
mod ingest;
mod introspect;
mod keys;
mod migrate;
mod query;
mod range;
mod refusal;
mod strings;
mod table;

use bytes::Bytes;
use whimbrel_migrate::{Slot, slot_of};

pub(crate) use cluster::cluster_id;
pub(crate) use keys::{PLAIN, count_plain};
pub(crate) use query::partition_prefix;
pub(crate) use refusal::Refusal;
pub(crate) use table::Access;

use self::strings::SetOptions;
use self::table::{Run, Spec};
use crate::resp::{ReplyWriter, Request};
use crate::server::{Node, Session};

/// What the connection does after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Flow {
    /// Goes on.
    Continue,
    /// Sends what is left and closes.
    Close,
}

/// Runs one request and writes exactly one reply.
pub(crate) async fn execute(
    node: &Node,
    session: &Session,
    request: &Request,
    reply: &mut ReplyWriter,
) -> Flow {
    node.count_command();
    let before = reply.buffer().len();
    let Some((name, args)) = request.split_first() else { return Flow::Continue };
    let outcome = match table::find(name) {
        None => Err(Refusal::unknown_command(name)),
        Some(spec) if !spec.takes(request.len()) => Err(Refusal::WrongArity(spec.name)),
        Some(spec) => {
            session.set_last_command(spec.name);
            dispatch(node, session, spec, args, reply).await
        }
    };
    if let Err(refusal) = outcome {
        // A refused request has one reply, the error; whatever it wrote before is taken back.
        reply.buffer_mut().truncate(before);
        reply.error(&refusal.to_string());
    }
    if name.eq_ignore_ascii_case(b"QUIT") { Flow::Close } else { Flow::Continue }
}

async fn dispatch(
    node: &Node,
    session: &Session,
    spec: &Spec,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    match spec.run {
        Run::Client => connection::client(node, session, args, reply),
        Run::Cluster => cluster::cluster(node, args, reply).await,
        Run::Command => introspect::command(args, reply),
        Run::Dbsize => keys::dbsize(node, reply).await,
        Run::Echo => {
            reply.bulk(&args[0]);
            Ok(())
        }
        Run::Hello => connection::hello(node, session, args, reply),
        Run::Info => introspect::info(node, args, reply).await,
        Run::Ping => connection::ping(args, reply),
        Run::Quit | Run::Readonly => {
            reply.ok();
            Ok(())
        }
        Run::Scan => keys::scan(node, session, args, reply).await,
        Run::Select => connection::select(args, reply),
        Run::Wbackup => backup::wbackup(node, args, reply).await,
        Run::Wingest => ingest::wingest(node, args, reply).await,
        Run::Wcheckpoint => checkpoint::wcheckpoint(node, reply).await,
        Run::Wmigrate => migrate::wmigrate(node, args, reply).await,
        Run::Wquery => query::wquery(node, session, args, reply).await,
        Run::Wstatus => introspect::wstatus(node, reply).await,
        Run::Del | Run::Exists | Run::Get | Run::Mget | Run::Mset | Run::Set | Run::Wrange => {
            keyed(node, session, spec, args, reply).await
        }
    }
}

/// The commands that run inside one access of one slot.
async fn keyed(
    node: &Node,
    session: &Session,
    spec: &Spec,
    args: &[Bytes],
    reply: &mut ReplyWriter,
) -> Result<(), Refusal> {
    let slot = one_slot(spec, args)?;
    match spec.run {
        Run::Set => {
            let options = SetOptions::parse(&args[2..])?;
            node.write(session, slot, |writes| strings::set(writes, args, options, reply)).await?
        }
        Run::Mset => node.write(session, slot, |writes| strings::mset(writes, args, reply)).await?,
        Run::Del => node.write(session, slot, |writes| keys::del(writes, args, reply)).await?,
        Run::Exists => node.read(session, slot, |store| keys::exists(store, args, reply)).await,
        Run::Mget => node.read(session, slot, |store| strings::mget(store, args, reply)).await,
        Run::Wrange => {
            let options = range::RangeOptions::parse(&args[2..])?;
            if !range::is_open(&args[1]) && slot_of(&args[1]) != slot {
                return Err(Refusal::CrossSlot);
            }
            node.read(session, slot, |store| range::wrange(store, args, options, reply)).await
        }
        _ => node.read(session, slot, |store| strings::get(store, args, reply)).await,
    }
}

/// The slot of all keys of a request.
fn one_slot(spec: &Spec, args: &[Bytes]) -> Result<Slot, Refusal> {
    let mut slots = match spec.keys {
        table::Keys::Pairs => args.iter().step_by(2),
        table::Keys::All => args.iter().step_by(1),
        table::Keys::One | table::Keys::None => args[..1].iter().step_by(1),
    };
    let slot = slots.next().map(|key| slot_of(key)).ok_or(Refusal::WrongArity(spec.name))?;
    if slots.all(|key| slot_of(key) == slot) { Ok(slot) } else { Err(Refusal::CrossSlot) }
}

/// A whole number as an argument.
pub(crate) fn integer(text: &[u8]) -> Result<i64, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::NotAnInteger)?;
    text.parse().map_err(|_| Refusal::NotAnInteger)
}
