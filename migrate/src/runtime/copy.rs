//! The copy: ranges of the snapshot, pulled by the target under credits and built in parallel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use whimbrel_backup::Place;
use whimbrel_backup::block::{BlockBuilder, BlockKind, BlockOptions};
use whimbrel_mvcc::{Digest, KeyRange, Snapshot, Store, StoreSegment};
use whimbrel_recovery::Rebuild;

use super::outgoing::Outgoing;
use super::wire::{Connection, Hello, Sum, from_json, number, to_json};
use crate::server::Inner;
use crate::{Attempt, Error, Frame, Kind, SlotServer};

/// Blocks that are made, or wait to be built, ahead of the network.
const BLOCKS_AHEAD: usize = 4;

/// What the thread that scans a range makes.
enum Piece {
    Block(Vec<u8>, u64),
    End(Sum),
    Failed(Error),
}

/// Source: answers the pulls of one connection, one range after the other.
pub(crate) async fn serve_pulls(
    inner: &Arc<Inner>,
    mut connection: Connection,
    first: Frame,
) -> Result<(), Error> {
    let mut pull = first;
    loop {
        let attempt = pull.attempt;
        let outgoing = inner.outgoing(attempt.slot).filter(|o| o.attempt() == attempt);
        let work = outgoing.and_then(|o| Some((o.range(pull.sequence)?, o)));
        let Some(((snapshot, range), outgoing)) = work else {
            let why = b"no such migration or range".to_vec();
            return connection.send(&Frame::new(attempt, Kind::Refuse, 0, why)).await;
        };
        let credit = number(&pull.content).map_err(|cause| connection.bad(cause))?;
        let index = pull.sequence;
        serve_range(&mut connection, &outgoing, index, credit, snapshot, range).await?;
        loop {
            pull = connection.receive("waiting for the next pull").await?;
            if pull.kind == Kind::Pull {
                break;
            }
        }
    }
}

async fn serve_range(
    connection: &mut Connection,
    outgoing: &Arc<Outgoing>,
    index: u64,
    credit: u64,
    snapshot: Snapshot,
    range: KeyRange,
) -> Result<(), Error> {
    let attempt = outgoing.attempt();
    let mut credit = i64::try_from(credit).unwrap_or(i64::MAX);
    let (to, mut pieces) = mpsc::channel(BLOCKS_AHEAD);
    let scanned = outgoing.clone();
    tokio::task::spawn_blocking(move || scan_range(&scanned, &snapshot, range, &to));
    while let Some(piece) = pieces.recv().await {
        let (block, entries) = match piece {
            Piece::Block(block, entries) => (block, entries),
            Piece::Failed(error) => return Err(error),
            Piece::End(sum) => {
                let end = Frame::new(attempt, Kind::RangeEnd, index, to_json(&sum));
                return connection.send(&end).await;
            }
        };
        // Take what credit has come, and wait for some when there is none.
        loop {
            let frame = match connection.try_receive() {
                Some(frame) => frame?,
                None if credit > 0 => break,
                None => connection.receive("waiting for credit").await?,
            };
            if frame.attempt == attempt && frame.kind == Kind::Credit {
                let more = number(&frame.content).map_err(|cause| connection.bad(cause))?;
                credit = credit.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
            }
        }
        credit = credit.saturating_sub(i64::try_from(block.len()).unwrap_or(i64::MAX));
        let before = connection.sent();
        connection.send_parts(attempt, Kind::Block, index, &block).await?;
        outgoing.note_copied(entries, connection.sent() - before);
    }
    Ok(())
}

fn scan_range(outgoing: &Outgoing, snapshot: &Snapshot, range: KeyRange, to: &mpsc::Sender<Piece>) {
    let ended = scan(outgoing, snapshot, range, to);
    let piece = ended.map_or_else(
        |cause| Piece::Failed(outgoing.damaged("a range", &cause)),
        |digest| Piece::End(digest.into()),
    );
    // Whoever went away does not need the end.
    let _ = to.blocking_send(piece);
}

fn scan(
    outgoing: &Outgoing,
    snapshot: &Snapshot,
    range: KeyRange,
    to: &mpsc::Sender<Piece>,
) -> Result<Digest, whimbrel_backup::Error> {
    let mut builder = BlockBuilder::new(BlockKind::Entries, BlockOptions::default());
    let mut digest = Digest::default();
    let mut cursor = snapshot.range(range);
    while let Some((key, value)) = cursor.next_entry() {
        if !builder.fits(key.len(), value.len()) && !ship(outgoing, &mut builder, to)? {
            return Ok(digest);
        }
        builder.add(key, value)?;
        digest.add(key, value);
    }
    if !builder.is_empty() {
        ship(outgoing, &mut builder, to)?;
    }
    Ok(digest)
}

/// False when nobody wants the blocks any more.
fn ship(
    outgoing: &Outgoing,
    builder: &mut BlockBuilder,
    to: &mpsc::Sender<Piece>,
) -> Result<bool, whimbrel_backup::Error> {
    let entries = u64::from(builder.len());
    let mut block = Vec::new();
    builder.finish_into(&mut block)?;
    if outgoing.flips_a_block() {
        let middle = block.len() / 2;
        block[middle] ^= 1;
    }
    Ok(!outgoing.is_cancelled() && to.blocking_send(Piece::Block(block, entries)).is_ok())
}

/// Target: pulls all ranges over a few connections and builds the staging store.
pub(crate) async fn pull_all(
    inner: Arc<Inner>,
    attempt: Attempt,
    hello: Hello,
    ranges: u64,
    keys: Arc<AtomicU64>,
) -> Result<Store, Error> {
    let next = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..hello.pulls.clamp(1, 64) {
        let puller = Puller {
            attempt,
            patience: inner.options.io_timeout,
            bus: hello.source_bus.clone(),
            credit: hello.credit_bytes,
            keys: keys.clone(),
        };
        workers.spawn(pull_ranges(puller, next.clone(), ranges));
    }
    let mut segments = Vec::new();
    while let Some(done) = workers.join_next().await {
        // An error drops the set, which ends the other workers.
        segments.extend(done.map_err(|_| Error::ShuttingDown)??);
    }
    segments.sort_by_key(|(index, _)| *index);
    let segments = segments.into_iter().map(|(_, s)| s).filter(|s| !s.is_empty()).collect();
    let slot = attempt.slot;
    let stitch = move |inner: &Inner| {
        Store::from_segments(&inner.clock, SlotServer::slot_store_options(), segments)
            .map_err(|source| Error::Store { slot, action: "the copied ranges", source })
    };
    inner.blocking(stitch).await
}

/// What each worker needs.
struct Puller {
    attempt: Attempt,
    patience: Duration,
    bus: String,
    credit: u64,
    keys: Arc<AtomicU64>,
}

async fn pull_ranges(
    puller: Puller,
    next: Arc<AtomicU64>,
    ranges: u64,
) -> Result<Vec<(u64, StoreSegment)>, Error> {
    let mut connection = Connection::open(&puller.bus, puller.patience).await?;
    let mut segments = Vec::new();
    loop {
        // ORDERING: Relaxed; only that the numbers differ matters.
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= ranges {
            return Ok(segments);
        }
        segments.push((index, pull_range(&puller, &mut connection, index).await?));
    }
}

async fn pull_range(
    puller: &Puller,
    connection: &mut Connection,
    index: u64,
) -> Result<StoreSegment, Error> {
    let attempt = puller.attempt;
    let credit = puller.credit.to_le_bytes().to_vec();
    connection.send(&Frame::new(attempt, Kind::Pull, index, credit)).await?;
    let (to, blocks) = mpsc::channel(BLOCKS_AHEAD);
    let keys = puller.keys.clone();
    let building =
        tokio::task::spawn_blocking(move || build_segment(attempt, index, blocks, &keys));
    let expected: Sum = loop {
        let frame = connection.receive("pulling a range").await?;
        if frame.attempt != attempt {
            continue;
        }
        match frame.kind {
            Kind::Block if frame.sequence == index => {
                let len = frame.content.len() as u64;
                if to.send(frame.content).await.is_err() {
                    // The builder has failed: its error says more.
                    break Sum { count: 0, sum: 0 };
                }
                let credit = len.to_le_bytes().to_vec();
                connection.send(&Frame::new(attempt, Kind::Credit, index, credit)).await?;
            }
            Kind::RangeEnd if frame.sequence == index => {
                break from_json(&frame.content).map_err(|cause| connection.bad(cause))?;
            }
            Kind::Refuse => {
                let cause = String::from_utf8_lossy(&frame.content).into_owned();
                return Err(damaged(attempt, index, cause));
            }
            _ => {}
        }
    };
    drop(to);
    let segment = building.await.map_err(|_| Error::ShuttingDown)??;
    let got = Sum::from(segment.digest());
    if got != expected {
        let cause = format!("digest {got:?}, the source counted {expected:?}");
        return Err(damaged(attempt, index, cause));
    }
    Ok(segment)
}

fn damaged(attempt: Attempt, index: u64, cause: impl ToString) -> Error {
    let place = format!("range {index}");
    Error::DamagedData { slot: attempt.slot, id: attempt.id, place, cause: cause.to_string() }
}

/// Builds one range with the tower buffer, on a thread that may block.
fn build_segment(
    attempt: Attempt,
    index: u64,
    mut blocks: mpsc::Receiver<Vec<u8>>,
    keys: &AtomicU64,
) -> Result<StoreSegment, Error> {
    let name = format!("range {index}");
    let failed = |e: whimbrel_recovery::Error| damaged(attempt, index, e);
    let mut rebuild = Rebuild::new(KeyRange::from(..));
    let mut number = 0;
    while let Some(bytes) = blocks.blocking_recv() {
        let entries = rebuild.push_block(&bytes, Place::block(&name, number)).map_err(failed)?;
        // ORDERING: Relaxed; a progress figure.
        keys.fetch_add(u64::from(entries), Ordering::Relaxed);
        number += 1;
    }
    Ok(rebuild.finish(Place::block(&name, number)).map_err(failed)?.segment)
}
