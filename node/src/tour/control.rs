//! Asks a node for the slot of a name, and to move a slot; waits for the end of the move.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::Value;

use super::error::TourError;
use super::resp::{Connection, Reply};
use crate::interrupt::Interrupt;

/// Pause between two looks at the move.
const POLL: Duration = Duration::from_millis(5);
/// How long a move may take.
const GIVE_UP: Duration = Duration::from_secs(90);
const SOURCE: &str = "A";

/// What the source says about a finished move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    /// Keys of the slot.
    pub keys: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    /// Catch-up rounds.
    pub rounds: u64,
    /// From freezing the slot to the target's serving it, by the source's clock.
    pub blackout_ms: f64,
}

/// The slot that the partition `tag` and all keys with this hash tag live in.
pub(super) fn slot_of(source: SocketAddr, tag: &str) -> Result<u16, TourError> {
    match call(&mut open(source)?, &[b"CLUSTER", b"KEYSLOT", tag.as_bytes()])? {
        Reply::Integer(slot) => u16::try_from(slot).map_err(|_| failed(format!("slot {slot}"))),
        other => Err(failed(format!("answered CLUSTER KEYSLOT with {other:?}"))),
    }
}

/// Moves the slot to `target` and waits until the source reports the end.
pub(super) fn move_slot(
    source: SocketAddr,
    slot: u16,
    target: SocketAddr,
    bar: &ProgressBar,
    interrupt: &Interrupt,
) -> Result<Moved, TourError> {
    let mut connection = open(source)?;
    let (slot, target) = (slot.to_string(), target.to_string());
    call(&mut connection, &[b"WMIGRATE", b"START", slot.as_bytes(), target.as_bytes()])?;
    let start = Instant::now();
    loop {
        if interrupt.is_raised() {
            return Err(TourError::Interrupted);
        }
        let reply = call(&mut connection, &[b"WMIGRATE", b"STATUS", slot.as_bytes()])?;
        let job: Value = reply
            .text()
            .and_then(|text| serde_json::from_str(&text).ok())
            .ok_or_else(|| failed(format!("answered WMIGRATE STATUS with {reply:?}")))?;
        bar.set_length(job["entries_total"].as_u64().unwrap_or(0));
        bar.set_position(job["entries_done"].as_u64().unwrap_or(0));
        match job["state"].as_str() {
            Some("done") => return moved(&job["report"]),
            Some("running") if start.elapsed() < GIVE_UP => thread::sleep(POLL),
            Some("running") => return Err(refused(&format!("no end within {GIVE_UP:?}: {job}"))),
            _ => return Err(refused(job["error"].as_str().unwrap_or("ended without a reason"))),
        }
    }
}

/// The figures of a finished move.
fn moved(report: &Value) -> Result<Moved, TourError> {
    let number = |name: &str| {
        report[name].as_f64().ok_or_else(|| failed(format!("reports no {name}: {report}")))
    };
    let count = |name: &str| {
        report[name].as_u64().ok_or_else(|| failed(format!("reports no {name}: {report}")))
    };
    Ok(Moved {
        keys: count("keys")?,
        bytes: count("bytes")?,
        rounds: count("rounds")?,
        blackout_ms: number("write_blackout_ms")?,
    })
}

/// The check that a move that did not take place fails.
fn refused(reason: &str) -> TourError {
    let check = if reason.contains("digest") { "migration-digest" } else { "migration" };
    TourError::Check {
        check,
        expected: "the slot handed over, with equal digests at source and target".to_owned(),
        got: reason.to_owned(),
    }
}

fn open(address: SocketAddr) -> Result<Connection, TourError> {
    Connection::open(address).map_err(|error| failed(format!("cannot be reached: {error}")))
}

fn call(connection: &mut Connection, words: &[&[u8]]) -> Result<Reply, TourError> {
    match connection.call(words) {
        Ok(Reply::Error(error)) => Err(failed(error)),
        Ok(reply) => Ok(reply),
        Err(error) => Err(failed(format!("does not answer: {error}"))),
    }
}

fn failed(cause: String) -> TourError {
    TourError::Node { node: SOURCE, cause }
}
